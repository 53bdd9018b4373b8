"""The health check and the proofs of ownership: what is broken is found and mended, what is not ours is never touched."""

from datetime import UTC, datetime, timedelta

import pytest

from aggmaint.aggregates.decisions import Subject
from aggmaint.aggregates.naming import parse_tag
from aggmaint.aggregates.policy import Policy
from aggmaint.core.marks import ChangeMark

from .support import Lab, actions, definitions, reasons, refreshed


@pytest.fixture
def lab() -> Lab:
    lab = Lab()
    lab.seed()
    lab.run()
    return lab


def comment_of(lab: Lab, name: str) -> str | None:
    rows = lab.execute(
        "SELECT comment FROM duckdb_tables() WHERE table_name = ? UNION ALL SELECT comment FROM duckdb_views() "
        "WHERE view_name = ?",
        [name, name],
    )
    return rows[0][0] if rows else None


def test_a_dropped_table_is_found_taken_off_the_view_and_built_again(lab: Lab) -> None:
    table = lab.table_of("by_month")
    lab.execute(f'DROP TABLE "{lab.schema}"."{table}"')
    report = lab.run()
    assert actions(report) == [("retire", "by_month"), ("build", "by_month")]
    assert reasons(report)["by_month"] == "build_broken"
    assert reasons(report, Subject.INSTANCE)["by_month"] in {"instance_missing", "instance_healthy"}
    assert [each["code"] for each in report.details["findings"]] == ["instance_missing"]
    lab.assert_right()


def test_a_broken_table_leaves_the_view_even_if_it_can_not_be_built_again(lab: Lab) -> None:
    lab.execute(f'DROP TABLE "{lab.schema}"."{lab.table_of("totals")}"')
    lab.execute("ALTER TABLE sales RENAME TO elsewhere")
    report = lab.run()
    assert not report.complete
    assert ("sales__totals", "VIEW") not in lab.objects()
    assert ("sales__by_month", "VIEW") in lab.objects(), "an unreachable source condemns nothing"
    lab.execute("ALTER TABLE elsewhere RENAME TO sales")
    assert lab.run().complete
    lab.assert_right()


@pytest.mark.parametrize(
    ("damage", "months"),
    [
        ("DELETE FROM {} WHERE aggmaint_period = DATE '2024-02-01'", {"2024-02"}),
        ("UPDATE {} SET amount = amount + 1 WHERE aggmaint_period IS NULL", {"null"}),
        ("INSERT INTO {} SELECT * FROM {} WHERE aggmaint_period = DATE '2024-01-01'", {"2024-01"}),
        ("INSERT INTO {} SELECT * REPLACE (DATE '1999-01-01' AS aggmaint_period) FROM {} LIMIT 1", {"1999-01"}),
        ("UPDATE {} SET shop = 'x' WHERE aggmaint_period = DATE '2024-03-01'", {"2024-03"}),
    ],
)
def test_damaged_partitions_are_found_and_only_they_are_mended(lab: Lab, damage: str, months: set[str]) -> None:
    table = lab.table_of("by_month")
    lab.execute(damage.replace("{}", f'"{lab.schema}"."{table}"'))
    report = lab.run()
    assert refreshed(report) == {"by_month": months}
    assert {each["code"] for each in report.details["findings"]} == {"partition_damaged"}
    assert report.complete, "what was mended is a finding, not an error"
    lab.assert_right()
    assert lab.run().details["steps"] == []


def test_altered_columns_are_found(lab: Lab) -> None:
    lab.execute(f'ALTER TABLE "{lab.schema}"."{lab.table_of("totals")}" ADD COLUMN extra INTEGER')
    assert {each["code"] for each in lab.run().details["findings"]} == {"instance_columns_differ"}
    lab.assert_right()


def test_a_missing_view_is_made_again_and_a_replaced_one_is_not_touched(lab: Lab) -> None:
    lab.execute(f'DROP VIEW "{lab.schema}".sales__totals')
    report = lab.run()
    assert actions(report) == [("restore_view", "totals")]
    lab.assert_right()
    lab.execute(f'CREATE OR REPLACE VIEW "{lab.schema}".sales__totals AS SELECT 1 AS one')
    report = lab.run()
    assert reasons(report)["totals"] == "view_name_taken"
    assert not report.complete
    assert lab.view("totals") == [(1,)]
    lab.execute(f'DROP VIEW "{lab.schema}".sales__totals')
    assert lab.run().complete
    lab.assert_right()


def test_a_view_that_somebody_makes_between_plan_and_switch_is_not_replaced() -> None:
    lab = Lab(wanted=definitions()[1:2])
    lab.seed()
    calls: list[int] = []

    def plant() -> None:
        calls.append(1)
        if len(calls) == 3:
            lab.execute(f'CREATE VIEW "{lab.schema}".sales__totals AS SELECT 7 AS mine')

    report = lab.run(on_confirm=plant)
    assert [(each["outcome"], each["action"]) for each in report.details["steps"]] == [("failed", "build")]
    assert "is not ours" in report.errors[0].message
    assert lab.view("totals") == [(7,)]
    assert lab.execute(f'SELECT status FROM "{lab.schema}".aggmaint_instance') == [("failed",)]


def test_a_view_of_others_over_our_table_survives_as_an_object(lab: Lab) -> None:
    """Nothing is dropped with CASCADE."""
    lab.execute(f'CREATE VIEW mine AS SELECT * FROM "{lab.schema}"."{lab.table_of("totals")}"')
    lab.wanted = [each for each in lab.wanted if each.name != "totals"]
    lab.run()
    lab.clock[0] += timedelta(hours=2)
    assert ("drop", "totals") in actions(lab.run())
    assert lab.execute("SELECT COUNT(*) FROM duckdb_views() WHERE view_name = 'mine'") == [(1,)]
    assert not [sql for sql in lab.statements if "CASCADE" in sql.upper()]


def test_a_table_with_the_name_of_the_view_is_not_touched() -> None:
    lab = Lab()
    lab.seed()
    lab.execute(f'CREATE SCHEMA "{lab.schema}"')
    lab.execute(f'CREATE TABLE "{lab.schema}"."SALES__TOTALS" AS SELECT 7 AS mine')
    report = lab.run()
    assert reasons(report)["totals"] == "view_name_taken"
    assert lab.execute(f'SELECT * FROM "{lab.schema}"."SALES__TOTALS"') == [(7,)]
    lab.assert_right("by_month")


def test_look_alikes_are_reported_and_never_touched(lab: Lab) -> None:
    """Names like ours, even with a copied tag, prove nothing without the ledger."""
    tag = comment_of(lab, lab.table_of("totals"))
    assert parse_tag(tag) is not None
    for name, comment in (("as_agg_deadbeef_totals", None), ("as_agg_00000000_x", tag), ("notes", None)):
        lab.execute(f'CREATE TABLE "{lab.schema}"."{name}" AS SELECT 42 AS answer')
        if comment is not None:
            lab.execute(f'COMMENT ON TABLE "{lab.schema}"."{name}" IS \'{comment}\'')
    lab.execute(f'CREATE VIEW "{lab.schema}".sales__other AS SELECT 42 AS answer')
    for _ in range(3):
        report = lab.run()
        assert lab.writes() == []
        lab.clock[0] += timedelta(days=40)
    assert [each["code"] for each in report.details["findings"]] == ["object_foreign"] * 4
    assert report.complete
    for name in ("as_agg_deadbeef_totals", "as_agg_00000000_x", "notes", "sales__other"):
        assert lab.execute(f'SELECT * FROM "{lab.schema}"."{name}"') == [(42,)]


def test_a_table_made_in_the_place_of_ours_is_not_dropped(lab: Lab) -> None:
    table = lab.table_of("totals")
    lab.execute(f'CREATE OR REPLACE TABLE "{lab.schema}"."{table}" AS SELECT 42 AS answer')
    report = lab.run()
    assert [each["code"] for each in report.details["findings"]] == ["instance_replaced", "object_foreign"]
    lab.assert_right()
    lab.clock[0] += timedelta(hours=2)
    assert ("drop", "totals") in actions(lab.run())
    assert lab.execute(f'SELECT * FROM "{lab.schema}"."{table}"') == [(42,)]


def test_a_table_swapped_between_plan_and_drop_is_not_dropped(lab: Lab) -> None:
    """The tag is proved again inside the transaction that drops."""
    lab.wanted = lab.wanted[1:]
    table = lab.table_of("by_month")
    lab.run()
    lab.clock[0] += timedelta(hours=2)

    def swap() -> None:
        lab.execute(f'CREATE OR REPLACE TABLE "{lab.schema}"."{table}" AS SELECT 42 AS answer')

    with pytest.raises(Exception, match="no longer the one that was observed"):
        lab.run(on_confirm=swap)
    assert lab.execute(f'SELECT * FROM "{lab.schema}"."{table}"') == [(42,)]


def test_what_a_zombie_left_after_it_was_swept_is_dropped_later(lab: Lab) -> None:
    """Its intent was deleted by the successor before its table came."""
    lab.wanted = lab.wanted[1:]
    lab.run()
    lab.clock[0] += timedelta(hours=2)
    table = lab.execute(f"SELECT table_name FROM \"{lab.schema}\".aggmaint_instance WHERE label = 'sales.by_month'")[0][
        0
    ]
    tag = comment_of(lab, table)
    lab.run()
    assert (table, "BASE TABLE") not in lab.objects()
    lab.execute(f'CREATE TABLE "{lab.schema}"."{table}" AS SELECT 1 AS late')
    lab.execute(f'COMMENT ON TABLE "{lab.schema}"."{table}" IS \'{tag}\'')
    report = lab.run()
    assert reasons(report, Subject.INSTANCE)["by_month"] == "instance_left_over"
    assert (table, "BASE TABLE") not in lab.objects()


def upgrade_engine(lab: Lab) -> None:
    """All that is published was fingerprinted by another major version of the engine."""
    for table in ("partition", "source"):
        lab.execute(f"UPDATE \"{lab.schema}\".aggmaint_{table} SET token = replace(token, 'duckdb', 'duckdb9')")


def test_a_token_of_another_engine_version_is_its_own_reason(lab: Lab) -> None:
    upgrade_engine(lab)
    report = lab.run()
    assert set(reasons(report, Subject.PARTITION).values()) >= {"partition_unverifiable"}
    lab.assert_right()
    assert lab.run().details["steps"] == []


def test_after_an_upgrade_a_run_refreshes_as_many_partitions_as_the_policy_allows(lab: Lab) -> None:
    """Those that are left serve on, are told of, and keep the report from being complete; what changed is never left."""
    upgrade_engine(lab)
    lab.policy = Policy(reverified_max=3)
    months = [len(keys) for keys in iter(lambda: refreshed(lab.run()), {})]
    assert len(months) > 3
    report = lab.run()
    assert report.complete
    assert set(reasons(report).values()) == {"definition_fresh"}
    lab.assert_right()


def test_what_an_upgrade_leaves_is_unknown_until_it_was_refreshed_and_a_mark_does_not_wait(lab: Lab) -> None:
    upgrade_engine(lab)
    lab.policy = Policy(reverified_max=1)
    lab.wanted = [each for each in lab.wanted if each.name == "by_month"]
    report = lab.run(marks=[ChangeMark(1, "sales", datetime(2024, 3, 5, tzinfo=UTC), datetime(2024, 3, 6, tzinfo=UTC))])
    assert not report.complete
    assert refreshed(report)["by_month"] >= {"2024-03"}
    assert report.inventory is not None
    states = {each["key"]: each["state"] for each in report.inventory["definitions"][0]["partition_states"]}
    assert states["2024-03"] == "fresh"
    assert "unknown" in states.values()
    assert {each["code"] for each in report.details["findings"]} >= {"partition_unverified"}
