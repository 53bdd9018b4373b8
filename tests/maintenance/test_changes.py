"""Changed definitions on DuckDB: only what a change needs is computed, and readers never see less than a whole aggregate."""

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from aggmaint import MaintenanceReport
from aggmaint.aggregates.decisions import Subject
from aggmaint.aggregates.model import AggregateDefinition, Attribute, Measure, PartitionBy, Source
from aggmaint.warehouses._duckdb_derive import Deriver

from .support import NOON, ORG, Lab, actions, definitions, reasons

LEAST = Measure("most_qty", "max", "qty")


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab(wanted=[evolve(definitions()[0], id="11111111-0000-4000-8000-000000000000")])
    made.seed()
    made.run()
    yield made
    made.connection.close()


def change(lab: Lab, **parts: Any) -> AggregateDefinition:
    lab.wanted = [evolve(lab.wanted[0], **parts)]
    return lab.wanted[0]


def add(lab: Lab, *measures: Measure) -> None:
    change(lab, measures=(*lab.wanted[0].measures, *measures))


def is_right(lab: Lab) -> bool:
    return all(each.equal for each in lab.maintenance.verify(ORG))


def computing(lab: Lab) -> list[str]:
    """The statements of the last run that aggregate source rows into rows of a table."""
    return [sql for sql in lab.writes() if "GROUP BY" in sql and "LIMIT 0" not in sql]


def instances(lab: Lab) -> list[tuple[Any, ...]]:
    return lab.execute(f'SELECT status FROM "{lab.schema}".aggmaint_instance ORDER BY started_at')


def test_of_an_added_measure_only_its_columns_are_computed(lab: Lab) -> None:
    before = {row[:2]: row[2] for row in lab.view("by_month")}
    add(lab, LEAST, Measure("avg_amount", "avg", "amount"))
    report = lab.run()
    assert report.complete and reasons(report) == {"by_month": "build_measures_added"}
    (sql,) = computing(lab)
    assert 'MAX("qty")' in sql and "AVG" not in sql and 'SUM("amount") AS "avg_amount__sum"' in sql
    assert 'MIN("qty")' not in sql and 'AS "big"' not in sql.split(" JOIN (")[1], "nothing else is computed again"
    assert is_right(lab) and {row[:2]: row[2] for row in lab.view("by_month")} == before
    assert instances(lab) == [("invalid",), ("active",)]
    assert lab.run().details["steps"] == [], "its tokens are those of the new definition"


def test_what_is_stale_when_a_measure_is_added_is_computed_whole(lab: Lab) -> None:
    lab.execute("UPDATE sales SET amount = amount + 1 WHERE id = 1")
    lab.execute("INSERT INTO sales VALUES (90, DATE '2031-05-05', 'north', 1, 2, 3)")
    add(lab, LEAST)
    report = lab.run()
    assert report.complete and is_right(lab)
    copy, whole = computing(lab)
    assert " JOIN (" in copy and " JOIN (" not in whole
    assert lab.run().details["steps"] == []


def test_rows_that_are_damaged_are_not_copied(lab: Lab) -> None:
    lab.execute(
        f'UPDATE "{lab.schema}"."{lab.table_of("by_month")}" SET amount = 0 WHERE "month" = DATE \'2024-02-01\''
    )
    add(lab, LEAST)
    assert lab.run().complete and is_right(lab)


def test_a_copy_that_lost_a_row_is_not_used(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate. No rule of ours loses a row; so a hand does."""
    copy = Deriver._copy

    def lossy(self: Deriver, request: Any, before: Any, table: str, periods: Any) -> None:
        copy(self, request, before, table, periods)
        self._connection.run(f"DELETE FROM {table} WHERE shop = 'north'")

    monkeypatch.setattr(Deriver, "_copy", lossy)
    add(lab, LEAST)
    assert lab.run().complete and is_right(lab)


def test_a_removed_measure_is_computed_no_more_and_the_others_are_copied(lab: Lab) -> None:
    change(lab, measures=[m for m in lab.wanted[0].measures if m.name not in ("big", "avg_qty")])
    report = lab.run()
    assert report.complete and reasons(report) == {"by_month": "build_measures_removed"}
    assert computing(lab) == [] and is_right(lab)
    shown = {name for name, *_ in lab.execute(f'DESCRIBE "{lab.schema}".sales__by_month')}
    assert not shown & {"big", "avg_qty", "avg_qty__sum"} and "amount" in shown
    assert lab.run().details["steps"] == []


def test_measures_that_come_and_go_at_once(lab: Lab) -> None:
    change(lab, measures=[*(m for m in lab.wanted[0].measures if m.name != "big"), LEAST])
    report = lab.run()
    assert report.complete and reasons(report) == {"by_month": "build_measures_added"} and is_right(lab)
    assert 'MAX("qty")' in computing(lab)[0]


def test_another_name_changes_the_view_and_nothing_else(lab: Lab) -> None:
    table = lab.table_of("by_month")
    change(lab, name="per_month")
    report = lab.run()
    assert report.complete and actions(report) == [("redefine", "per_month")]
    assert reasons(report, Subject.VIEW) == {"per_month": "view_changed"}
    assert ("sales__per_month", "VIEW") in lab.objects() and ("sales__by_month", "VIEW") not in lab.objects()
    assert lab.table_of("per_month") == table and is_right(lab) and computing(lab) == []
    assert lab.run().details["steps"] == []


def test_another_name_holds_no_refresh_back(lab: Lab) -> None:
    change(lab, name="per_month")
    lab.remove(1)
    report = lab.run()
    assert [action for action, _ in actions(report)] == ["refresh", "redefine"]
    assert is_right(lab) and lab.run().details["steps"] == []


def test_measures_in_another_order_are_copied(lab: Lab) -> None:
    change(lab, measures=lab.wanted[0].measures[::-1])
    assert lab.run().complete and computing(lab) == [] and is_right(lab)
    assert lab.run().details["steps"] == []


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"attributes": [Attribute("shop")]}, "build_structure_changed"),
        ({"measures": [Measure("amount", "max", "amount")]}, "build_structure_changed"),
        ({"partition": PartitionBy("day", "year")}, "build_partition_changed"),
        ({"partition": None}, "build_partition_changed"),
        ({"source": Source(table="sales", where="qty > 1")}, "build_definition_changed"),
        ({"dependencies": [Source(table="shops")]}, "build_definition_changed"),
    ],
)
def test_other_changes_compute_everything_beside(lab: Lab, parts: dict[str, Any], reason: str) -> None:
    change(lab, **parts)
    report = lab.run()
    assert report.complete and reasons(report) == {"by_month": reason}
    assert is_right(lab) and not any(" JOIN (" in sql for sql in computing(lab))
    assert lab.run().details["steps"] == []


def test_joined_and_unpartitioned_aggregates_are_copied_too() -> None:
    lab = Lab(wanted=[definitions()[2], definitions()[1], definitions()[3]])
    lab.seed()
    lab.run()
    lab.wanted = [evolve(each, measures=(*each.measures, Measure("rows", "count"))) for each in lab.wanted]
    report = lab.run()
    assert report.complete and set(reasons(report).values()) == {"build_measures_added"} and is_right(lab)
    assert sum(" JOIN (" in sql for sql in lab.writes() if sql.startswith("INSERT")) == 3
    lab.wanted = [evolve(each, measures=(*each.measures, Measure("rows2", "count"))) for each in lab.wanted]
    lab.execute("UPDATE sales SET amount = amount + 1, weight = weight + 1 WHERE id = 2")
    assert lab.run().complete and is_right(lab), "a source moved, and no row came or went"


def test_readers_see_the_old_or_the_new_columns_and_every_row(lab: Lab) -> None:
    add(lab, LEAST)
    seen: set[tuple[int, int]] = set()

    def read(_sql: str) -> None:
        cursor = lab.connection.cursor()
        rows = cursor.execute(f'SELECT * FROM "{lab.schema}".sales__by_month').fetchall()
        seen.add((len(rows), len(rows[0])))
        cursor.close()

    lab.before = read
    lab.run()
    lab.before = lambda _sql: None
    width = len(lab.view("by_month")[0])
    assert seen == {(13, width - 1), (13, width)} or seen == {(13, width - 1)}
    assert is_right(lab)


def test_a_backfill_that_breaks_off_leaves_the_old_one_in_service(lab: Lab) -> None:
    add(lab, Measure("bad", "sum", "CAST(shop AS INTEGER)"))
    report = lab.run()
    assert not report.complete and lab.view("by_month")
    assert "Could not convert" in report.errors[0].message
    change(lab, measures=lab.wanted[0].measures[:-1])
    assert lab.run().complete and is_right(lab)


def test_a_ledger_that_does_not_know_how_it_was_rebuilds(lab: Lab) -> None:
    lab.execute(f'UPDATE "{lab.schema}".aggmaint_instance SET parts = NULL, measures = NULL')
    assert lab.maintenance.plan(ORG, now=NOON).writes is False
    add(lab, LEAST)
    report: MaintenanceReport = lab.run()
    assert reasons(report) == {"by_month": "build_definition_changed"} and is_right(lab)
    words = next(e["words"] for e in report.details["decisions"] if e["subject"] == "definition")
    assert "not known" in words
