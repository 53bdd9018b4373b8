"""The additive path, run by run: what is merged, what is computed anew and why, and what a false promise costs."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggmaint.aggregates.model import AggregateDefinition, Measure
from aggmaint.aggregates.options import Adopt, TaskOptions
from aggmaint.aggregates.policy import Policy
from aggmaint.core.marks import ChangeMark
from aggmaint.errors import TaskFailedError

from .growing import (
    ALWAYS,
    ENTRIES,
    NEVER,
    Growing,
    by_reason,
    definitions,
    entry,
    expected,
    merged,
    named,
    words,
)
from .support import ORG, refreshed

NEW = (
    entry(60),
    entry(61, shop=None, day=date(2024, 2, 2)),
    entry(62, day=date(2031, 7, 1)),
    entry(63, qty=None, amount=None),
)


def world(*names: str, policy: Policy = ALWAYS) -> Growing:
    return Growing(named(*names) if names else None, policy=policy).seed()


# -- merging is computing anew -------------------------------------------------------------------------------------------


def test_new_rows_are_merged_into_every_sort_of_aggregate() -> None:
    """By month, whole, without attributes, by value, merged over months, joined; NULL keys, NULL sums, a new month."""
    grown = world()
    grown.append(*NEW, entry(64))
    report = grown.run()
    assert set(merged(report)) == {each.name for each in grown.wanted}
    assert merged(report)["by_month"] == {"2024-01", "2024-02", "2024-04", "null"}
    assert by_reason(report, "partition_new")["by_month"] == {"2031-07"}
    grown.assert_right()
    assert grown.run().details["steps"] == []
    grown.assert_quiet()
    grown.assert_right()


appended = st.lists(
    st.builds(
        lambda day, shop, amount, qty, weight: {
            "day": day,
            "shop": shop,
            "amount": amount,
            "qty": qty,
            "weight": weight,
        },
        st.none() | st.dates(date(2024, 1, 1), date(2024, 9, 30)) | st.just(date(1999, 12, 31)),
        st.sampled_from([None, "north", "south", "east", "moon"]),
        st.none() | st.decimals(-1000, 1000, places=2),
        st.none() | st.integers(-5, 9),
        st.floats(-1e6, 1e6),
    ),
    max_size=5,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs=st.lists(appended, min_size=1, max_size=4), base=st.integers(0, 12))
def test_merging_gives_what_computing_anew_gives_and_what_the_oracle_says(
    runs: list[list[dict[str, object]]], base: int
) -> None:
    merging = Growing()
    computing = Growing(definitions(org="beta"), policy=NEVER, connection=merging.connection, org="beta")
    merging.append(*(entry(number) for number in range(base)))
    merging.run()
    computing.run()
    for rows in runs:
        first = len(merging.entries)
        merging.append(*(entry(first + index, **row) for index, row in enumerate(rows)))
        reports = [each.run() for each in (merging, computing)]
        assert all(each.complete for each in reports)
        assert merged(reports[1]) == {}
        for each in merging.wanted:
            shown = merging.view(each.name)
            assert shown == expected(each.name, merging.entries), each.name
            assert shown == computing.view(each.name), each.name
    merging.assert_right()
    merging.assert_quiet()


def test_only_the_new_rows_are_read() -> None:
    grown = world("by_month", "whole", "regions")
    grown.append(*NEW)
    grown.run()
    reading = [sql for sql in grown.statements if '"entries"' in sql and not sql.startswith("DESCRIBE")]
    assert len(reading) > 3
    assert [sql for sql in reading if "$aggmaint_mark" not in sql] == []
    scans = [sql for sql in reading if "GROUPING SETS" in sql]
    assert len(scans) <= 1, "one scan for all that are not joined"


def test_where_a_measure_can_not_be_merged_the_new_rows_still_tell_what_to_compute() -> None:
    """Only periods with new rows are computed, and nothing is fingerprinted but the new rows."""
    grown = world("by_month", "whole")
    distinct = [Measure("shops", "count_distinct", "shop"), Measure("n", "count")]
    grown.wanted[1] = evolve(grown.wanted[0], name="shops", id="", measures=distinct)
    grown.run()
    grown.append(*NEW)
    report = grown.run()
    assert set(merged(report)) == {"by_month"}
    assert by_reason(report, "partition_changed") == {"shops": {"2024-01", "2024-02", "2024-04"}}
    hashing = [sql for sql in grown.statements if '"entries"' in sql and "HASH(" in sql]
    assert hashing and all("$aggmaint_mark" in sql for sql in hashing)
    assert all(each.equal for each in grown.maintenance.verify(ORG))
    grown.assert_quiet()


def test_many_new_rows_are_computed_from_a_slice_that_holds_exactly_what_was_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aggmaint.aggregates.slices.ROWS_MIN", 0)
    monkeypatch.setattr("aggmaint.aggregates.slices.SHARE_MAX", 1.0)
    grown = world("by_month", "by_value", policy=NEVER)
    grown.append(*NEW)
    assert set(by_reason(grown.run(), "partition_merge_small")) == {"by_month", "by_value"}
    sliced = [
        sql for sql in grown.statements if "CREATE TEMP TABLE temp.aggmaint_stage" in sql and "aggmaint_slice" in sql
    ]
    assert len(sliced) == 2
    grown.assert_right()
    grown.sql("UPDATE entries SET day = DATE '2024-05-20' WHERE id = 6")  # one row less in January than was counted
    grown.append(entry(65), entry(66))
    grown.run()
    sliced = [
        sql for sql in grown.statements if "CREATE TEMP TABLE temp.aggmaint_stage" in sql and "aggmaint_slice" in sql
    ]
    assert len(sliced) == 1, "the other's copy does not hold what was counted"


def test_many_runs_of_merging_stay_right() -> None:
    grown = world("by_month", "whole")
    for number in range(60, 100, 4):
        new = [entry(each) for each in range(number, number + 4)]
        grown.append(*new)
        months = {f"{each.day:%Y-%m}" if each.day else "null" for each in new}
        assert merged(grown.run()) == {"by_month": months, "whole": {"all"}}
    grown.assert_right()
    grown.assert_quiet()


def test_types_of_stored_columns_stay_what_they_are() -> None:
    grown = world("by_month", "whole")
    before = grown.sql(f"DESCRIBE {grown.table('by_month')}")
    grown.append(*NEW)
    grown.run()
    assert grown.sql(f"DESCRIBE {grown.table('by_month')}") == before
    assert ("amount", "DECIMAL(38,2)") in {(name, kind) for name, kind, *_ in before}


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("UTINYINT", "3", "4"),
        ("HUGEINT", "170141183460469231731687303715884105726", "170141183460469231731687303715884105727"),
        ("DECIMAL(18, 3)", "1.001", "1.002"),
        ("DATE", "'2024-01-01'", "'2024-01-02'"),
        ("TIMESTAMP", "'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00.000002'"),
        ("TIMESTAMP_NS", "'2024-01-01 00:00:00.000000001'", "'2024-01-01 00:00:00.000000002'"),
        ("TIMESTAMPTZ", "'2024-01-01 00:00:00+02'", "'2023-12-31 22:00:00.5+00'"),
    ],
)
def test_marks_of_every_type_tell_new_rows_apart(kind: str, first: str, second: str) -> None:
    grown = Growing([])
    grown.sql(f'CREATE TABLE odd ("the ""mark""" {kind}, a INTEGER)')
    source = evolve(ENTRIES, table="odd", alias="odd", append_only='the "mark"', where="a > :least -- of all")
    grown.wanted = [
        AggregateDefinition(
            organization_id=ORG,
            cube="grow",
            name="odd",
            source=source,
            measures=[Measure("a", "sum", "a"), Measure("n", "count")],
            parameters={"least": 0},
        )
    ]
    grown.sql(f"INSERT INTO odd VALUES ({first}, 1)")
    grown.run()
    grown.sql(f"INSERT INTO odd VALUES ({second}, 2), ({second}, -1)")
    assert merged(grown.run()) == {"odd": {"all"}}
    assert grown.sql(f'SELECT a, n FROM "{grown.schema}"."grow__odd"') == [(3, 2)]


def test_sums_of_very_large_numbers_keep_their_width() -> None:
    grown = Growing([])
    grown.sql("CREATE TABLE wide AS SELECT 1 AS id, 9223372036854775807 AS a")
    measures = [Measure("a", "sum", "a"), Measure("d", "sum", "CAST(a AS DECIMAL(38, 0))")]
    source = evolve(ENTRIES, table="wide", alias="wide")
    grown.wanted = [
        AggregateDefinition(organization_id=ORG, cube="grow", name="wide", source=source, measures=measures)
    ]
    grown.run()
    grown.sql("INSERT INTO wide VALUES (2, 9223372036854775807)")
    assert merged(grown.run()) == {"wide": {"all"}}
    assert grown.sql(f'SELECT * FROM "{grown.schema}"."grow__wide"') == [(2**64 - 2, Decimal(2**64 - 2))]


# -- the choice ----------------------------------------------------------------------------------------------------------


def test_small_partitions_are_computed_anew_and_the_report_says_so() -> None:
    grown = world("by_month", policy=NEVER)
    grown.append(*NEW)
    report = grown.run()
    assert merged(report) == {}
    assert by_reason(report, "partition_merge_small")["by_month"] == {"2024-01", "2024-02", "2024-04"}
    grown.assert_right()
    grown.assert_quiet()


def test_a_plan_shows_the_merge_with_its_rows_and_its_sql() -> None:
    grown = world("by_month")
    grown.append(*NEW)
    plan = grown.maintenance.plan(ORG, now=grown.clock[0])
    (step,) = plan.steps
    assert step.rows == 4, "at most one for each new row"
    text = "\n".join(step.sql)
    assert "\"id\" > '59'" in text
    assert text.count("CREATE TEMP TABLE") == 3
    reasons = {key: each.reason.value for each in plan.decisions for key in each.partitions}
    assert reasons["2024-01"] == "partition_merged"
    assert reasons["2024-05"] == "partition_vouched"
    grown.sql("CREATE SCHEMA scratch")
    before = grown.view("by_month")
    for statement in step.sql:
        grown.connection.execute(statement)
    assert grown.view("by_month") == expected("by_month", grown.entries) != before, "the text does what it says"


NOT_MERGED: dict[str, tuple[Callable[[Growing], object], str]] = {
    "not promised": (lambda grown: promise(grown, marks_commit_in_order=False), ""),
    "a measure": (lambda grown: replace(grown, Measure("shops", "count_distinct", "shop")), "'shops' (count_distinct)"),
    "a sketch": (
        lambda grown: replace(grown, Measure("shops", "approx_count_distinct", "shop")),
        "(approx_count_distinct)",
    ),
    "another source": (
        lambda grown: grown.sql("UPDATE shops SET region = 'far' WHERE shop = 'east'"),
        "shops changed too",
    ),
    "a tie": (lambda grown: grown.append(entry(59, shop="moon")), "at or below the mark 59"),
    "no mark": (lambda grown: grown.append(entry(-1, shop="moon", day=date(2024, 3, 3))), "at or below the mark 59"),
    "a wide mark": (lambda _grown: None, "marked as changed"),
}


def promise(grown: Growing, **changed: Any) -> None:
    grown.wanted = [evolve(each, source=evolve(each.source, **changed)) for each in grown.wanted]
    grown.run()


def replace(grown: Growing, measure: Measure) -> None:
    grown.wanted = [evolve(each, measures=[measure]) for each in grown.wanted]
    grown.run()


@pytest.mark.parametrize("case", NOT_MERGED)
def test_what_hinders_a_merge_is_told_and_all_is_right(case: str) -> None:
    hinder, told = NOT_MERGED[case]
    name = "regions" if case == "another source" else "by_month"
    grown = world(name)
    hinder(grown)
    grown.append(*NEW)
    marks = [ChangeMark(1, "entries", None, None)] if case == "a wide mark" else []
    report = grown.run(*marks)
    assert merged(report) == {}
    assert told in words(report, name)
    assert ("computed anew, since" in words(report, name)) is bool(told)
    assert grown.maintenance.verify(ORG)[0].equal


def test_a_row_without_a_mark_is_not_taken_for_an_old_one() -> None:
    grown = world("by_month")
    grown.sql("INSERT INTO entries VALUES (NULL, DATE '2024-03-03', 'north', 1, 1, 1)")
    grown.append(*NEW)
    report = grown.run()
    assert merged(report) == {} and "at or below the mark" in words(report, "by_month")
    assert grown.maintenance.verify(ORG)[0].equal
    grown.append(entry(65))
    assert merged(grown.run()) == {"by_month": {"2024-06"}}, "it is known now"
    grown.sql("UPDATE entries SET amount = 2 WHERE id IS NULL")
    grown.append(entry(66))
    assert merged(grown.run()) == {}, "it was changed"
    assert grown.maintenance.verify(ORG)[0].equal


def test_another_definition_that_reads_more_costs_the_others_one_computation() -> None:
    """The source's hash then covers other columns: what was noted can not be compared for once."""
    grown = world("by_value")
    grown.wanted = [evolve(named("by_value")[0], measures=[Measure("n", "count")])]
    grown.run()
    grown.wanted.extend(named("by_month"))
    grown.append(*NEW)
    assert "fingerprinted otherwise" in words(grown.run(), "by_value")
    grown.append(entry(64))
    assert "by_value" in merged(grown.run())
    assert all(each.equal for each in grown.maintenance.verify(ORG))


def test_marked_and_audited_periods_are_computed_whole_the_others_merged() -> None:
    grown = world("by_month")
    grown.append(*NEW)
    mark = ChangeMark(1, "entries", datetime(2024, 1, 5, tzinfo=UTC), datetime(2024, 1, 6, tzinfo=UTC))
    report = grown.run(mark)
    assert merged(report) == {"by_month": {"2024-02", "2024-04"}}
    assert by_reason(report, "partition_changed") == {"by_month": {"2024-01"}}
    grown.assert_right()
    grown.append(entry(65), entry(66))
    report = grown.run(days=40)
    assert merged(report) == {}, "all are due for the audit"
    assert by_reason(report, "partition_changed") == {"by_month": {"2024-01", "2024-06"}}
    assert report.details["findings"] == []
    grown.assert_right()


def test_damaged_periods_are_computed_whole_the_others_merged() -> None:
    grown = world("by_month", policy=evolve(ALWAYS, compared_rows_max=1000))
    grown.sql(f"UPDATE {grown.table('by_month')} SET n = n + 1 WHERE aggmaint_period = DATE '2024-01-01'")
    grown.append(*NEW)
    report = grown.run()
    assert by_reason(report, "partition_damaged") == {"by_month": {"2024-01"}}
    assert merged(report) == {"by_month": {"2024-02", "2024-04"}}
    grown.assert_right()
    grown.assert_quiet()


def test_who_asks_for_a_partition_gets_it_computed() -> None:
    """Also where rows were only added, as far as anybody can know: all of its rows are read."""
    grown = world("by_month")
    grown.append(*NEW)
    grown.sql("UPDATE entries SET amount = 1000 WHERE id = 6")
    report = grown.run(options={"rebuild": {grown.wanted[0].id: ["2024-01"]}})
    assert by_reason(report, "partition_requested") == {"by_month": {"2024-01"}}
    assert refreshed(report) == {"by_month": {"2024-01"}}
    january = f"SELECT SUM(amount) FROM {grown.table('by_month')} WHERE aggmaint_period = DATE '2024-01-01'"
    assert grown.sql(january) == grown.sql("SELECT SUM(amount) FROM entries WHERE MONTH(day) = 1")
    grown.run()
    assert grown.maintenance.verify(ORG)[0].equal


# -- exactly once --------------------------------------------------------------------------------------------------------


def test_a_split_refresh_counts_no_row_twice() -> None:
    """The source's mark stays the old one until all is done: a period that is ahead of it is not merged again."""
    grown = world("by_month", policy=evolve(ALWAYS, run_partitions_max=1))
    grown.append(*NEW)
    first = grown.run()
    assert not first.complete and len(refreshed(first)["by_month"]) == 1
    grown.append(entry(64), entry(65, day=date(2024, 1, 9)), entry(66, day=date(2031, 7, 2)))
    assert [grown.run().complete for _ in range(5)] == [False] * 4 + [True], "one partition a run"
    grown.assert_right()
    grown.policy = ALWAYS
    grown.append(entry(67), entry(68))
    assert merged(grown.run()) == {"by_month": {"2024-02", "2024-03"}}
    grown.assert_right()
    grown.assert_quiet()


def test_a_partition_that_was_asked_for_counts_no_row_twice() -> None:
    grown = world("by_month")
    grown.append(*NEW)
    grown.run(options={"rebuild": {grown.wanted[0].id: ["2024-01"]}})
    report = grown.run()
    assert "2024-01" not in merged(report)["by_month"]
    grown.assert_right()
    grown.assert_quiet()


def test_a_table_that_somebody_changed_between_stage_and_publish_is_not_written() -> None:
    grown = world("by_month")
    before = grown.view("by_month")
    grown.append(*NEW)

    def meddle(sql: str) -> None:
        if sql.startswith("UPDATE") and "aggmaint_control" in sql and "touch = $touch" in sql:
            grown.sql(
                f"DELETE FROM {grown.table('by_month')} WHERE shop IS NULL AND aggmaint_period = DATE '2024-01-01'"
            )

    grown.before = meddle
    with pytest.raises(TaskFailedError, match="was changed since it was observed"):
        grown.run()
    grown.before = lambda _sql: None
    assert len(grown.view("by_month")) == len(before) - 1, "only what the meddler took is gone"
    assert by_reason(grown.run(), "partition_damaged")["by_month"] >= {"2024-01"}
    grown.assert_right()


def test_a_merge_that_does_not_pass_the_gate_is_computed_anew_and_is_a_finding() -> None:
    """The table has a key twice, in a place where nobody has looked yet."""
    grown = world("by_month")
    table = grown.table("by_month")
    grown.sql(f"UPDATE {table} SET shop = 'north' WHERE shop = 'east' AND aggmaint_period = DATE '2024-02-01'")
    grown.append(entry(60, shop="north", day=date(2024, 2, 9)), entry(61, shop="east", day=date(2024, 4, 9)))
    report = grown.run()
    assert merged(report) == {}
    assert by_reason(report, "partition_merge_refused") == {"by_month": {"2024-02", "2024-04"}}
    assert "did not" not in words(report, "by_month") and "merging its new rows failed" in words(report, "by_month")
    assert {each["code"] for each in report.details["findings"]} == {"partition_merge_refused"}
    assert report.complete
    grown.assert_right()
    grown.append(entry(62))
    assert merged(grown.run()) == {"by_month": {"2024-03"}}, "and the next run merges again"
    grown.assert_right()


def test_hidden_damage_is_not_washed_clean_by_a_merge() -> None:
    """The content that is noted is the published one and what was merged: the damage still shows when it is looked at."""
    grown = world("by_month")
    grown.sql(
        f"UPDATE {grown.table('by_month')} SET n = n + 1 WHERE shop = 'east' AND aggmaint_period = DATE '2024-02-01'"
    )
    grown.append(entry(60, shop="north", day=date(2024, 2, 9)))
    assert merged(grown.run()) == {"by_month": {"2024-02"}}
    report = grown.run(days=40)
    assert by_reason(report, "partition_damaged") == {"by_month": {"2024-02"}}
    grown.assert_right()


# -- promises that are not kept ------------------------------------------------------------------------------------------


def test_a_late_commit_below_the_mark_is_seen_at_once_by_the_number_of_rows() -> None:
    grown = world("by_month")
    grown.append(entry(80))
    assert merged(grown.run()) == {"by_month": {"2024-03"}}
    grown.append(entry(70, day=date(2024, 5, 5)))
    assert refreshed(grown.run()) == {"by_month": {"2024-05"}}
    grown.append(entry(75, day=date(2024, 6, 6)), entry(90))
    report = grown.run()
    assert merged(report) == {}
    assert "late commits" in words(report, "by_month")
    grown.assert_right()


FALSE: dict[str, str] = {
    "changed in place": "UPDATE entries SET amount = 1000 WHERE id = 8",
    "late while another went": (
        "UPDATE entries SET id = -7, amount = 999, day = day + 1 WHERE id = 8"  # one row less and one more, below the mark
    ),
    "moved to another month": "UPDATE entries SET day = DATE '2024-05-20' WHERE id = 8",
}


@pytest.mark.parametrize("case", FALSE)
def test_what_a_false_promise_hides_from_a_merge_the_audit_finds_and_repairs(case: str) -> None:
    grown = world("by_month")
    grown.sql(FALSE[case])
    found: set[str] = set()
    for days in range(31):
        grown.append(entry(100 + days, day=date(2024, 3, 16)))
        report = grown.run(days=1)
        assert merged(report).get("by_month", set()) <= {"2024-03"}
        found |= by_reason(report, "partition_undeclared_change").get("by_month", set())
    assert "2024-03" in found, "the month that grew in every run had its turn too"
    assert grown.maintenance.verify(ORG)[0].equal


def test_rows_that_vanish_are_seen_at_once() -> None:
    grown = world("by_month")
    grown.sql("DELETE FROM entries WHERE id = 8")
    grown.append(entry(60))
    report = grown.run()
    assert merged(report) == {}
    assert "2024-03" in by_reason(report, "partition_undeclared_change")["by_month"]
    assert grown.maintenance.verify(ORG)[0].equal


def test_a_merge_is_no_look_at_the_partition() -> None:
    """`verified_at` stays when it was last computed, also for the next inventory, and when an inventory was lost."""
    grown = world("by_month")
    assert grown.inventory is not None

    def verified(key: str) -> str:
        assert grown.inventory is not None
        states = grown.inventory["definitions"][0]["partition_states"]
        return str(next(each["verified_at"] for each in states if each["key"] == key))

    before = verified("2024-01")
    grown.append(entry(60))
    assert merged(grown.run(days=1)) == {"by_month": {"2024-01"}}
    assert verified("2024-01") == before
    grown.inventory = None
    grown.append(entry(66))
    assert merged(grown.run(days=1)) == {"by_month": {"2024-01"}}
    assert verified("2024-01") == before
    grown.append(entry(72))
    grown.policy = NEVER
    grown.run(days=1)
    assert verified("2024-01") > before


# -- older ledgers, and declarations that come and go --------------------------------------------------------------------


def test_a_ledger_without_marks_computes_once_and_merges_then() -> None:
    grown = world("by_month")
    grown.sql(f'ALTER TABLE "{grown.schema}".aggmaint_partition DROP COLUMN mark')
    grown.sql(f'ALTER TABLE "{grown.schema}".aggmaint_partition DROP COLUMN computed_at')
    grown.sql(f'UPDATE "{grown.schema}".aggmaint_control SET version = 2')
    grown.append(*NEW)
    assert merged(grown.run()) == {}
    grown.append(entry(65), entry(66))
    assert merged(grown.run()) == {"by_month": {"2024-01", "2024-06"}}
    grown.assert_right()


def test_promising_later_and_taking_it_back() -> None:
    grown = Growing(named("by_month", source=evolve(ENTRIES, marks_commit_in_order=False))).seed()
    grown.wanted = named("by_month")
    grown.append(entry(60))
    assert merged(grown.run()) == {}, "up to which mark the partitions were published was not noted"
    grown.append(entry(61), entry(62))
    assert merged(grown.run()) == {"by_month": {"2024-02", "2024-03"}}
    grown.wanted = named("by_month", source=evolve(ENTRIES, marks_commit_in_order=False))
    grown.append(entry(63), entry(64))
    assert merged(grown.run()) == {}
    grown.wanted = named("by_month")
    grown.append(entry(66, day=date(2024, 4, 1)), entry(67, day=date(2024, 2, 1)))
    grown.run()
    grown.assert_right()
    grown.assert_quiet()


# -- beside other ways in which tables come to be ------------------------------------------------------------------------


def test_new_rows_that_meet_nothing_are_noted_only() -> None:
    grown = world("regions")
    inner = evolve(grown.wanted[0], joins=[evolve(grown.wanted[0].joins[0], kind="inner")])
    grown.wanted = [inner]
    grown.run()
    grown.append(entry(60, shop="moon"), entry(61, shop=None))
    report = grown.run()
    assert [step["action"] for step in report.details["steps"]] == ["note"]
    grown.append(entry(62, shop="north"), entry(63, shop="moon"))
    assert merged(grown.run()) == {"regions": {"2024-03"}}
    assert grown.maintenance.verify(ORG)[0].equal
    assert grown.run().details["steps"] == []


def test_what_was_built_in_pieces_or_copied_for_a_new_measure_is_merged_into_at_once() -> None:
    grown = world("by_month", policy=evolve(ALWAYS, build_partitions_per_publish=2))
    grown.append(entry(60))
    assert merged(grown.run()) == {"by_month": {"2024-01"}}
    more = evolve(grown.wanted[0], measures=[*grown.wanted[0].measures, Measure("ids", "max", "id")])
    grown.wanted = [more]
    assert grown.run().details["steps"][0]["action"] == "build"
    grown.append(entry(61), entry(62))
    report = grown.run()
    assert merged(report) == {"by_month": {"2024-02", "2024-03"}}, words(report, "by_month")
    assert grown.maintenance.verify(ORG)[0].equal
    grown.assert_quiet()


def test_an_adopted_table_is_computed_where_rows_came_and_merged_into_then() -> None:
    grown = world("by_month")
    for table in ("instance", "partition", "source"):
        grown.sql(f'DELETE FROM "{grown.schema}".aggmaint_{table}')
    assert grown.run(options=TaskOptions(adopt=Adopt()).to_json()).complete
    grown.append(entry(60))
    assert merged(grown.run()) == {}
    grown.append(entry(61), entry(66))
    assert merged(grown.run()) == {"by_month": {"2024-01", "2024-02"}}
    grown.assert_right()
    grown.assert_quiet()


def test_a_plan_is_applied_with_the_rows_that_are_there_then_or_computed_if_they_do_not_add_up() -> None:
    grown = world("by_month")
    grown.append(entry(60))
    plan = grown.maintenance.plan(ORG, now=grown.clock[0])
    grown.append(entry(66), entry(61))
    report = grown.run(options=TaskOptions(apply=plan).to_json())
    assert merged(report) == {"by_month": {"2024-01"}}, "what was planned, as it is now"
    grown.run()
    grown.assert_right()
    grown.append(entry(72))
    plan = grown.maintenance.plan(ORG, now=grown.clock[0])
    assert {each.reason.value for each in plan.decisions} >= {"partition_merged"}
    grown.append(entry(65, day=date(2024, 1, 3)))  # below the mark by now: something moved in between
    report = grown.run(options=TaskOptions(apply=plan).to_json())
    assert merged(report) == {} and refreshed(report) == {"by_month": {"2024-01"}}
    grown.assert_right()
