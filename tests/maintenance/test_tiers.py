"""The tiers of staleness: marks, the engine's token, declarations, the audit; what each is spared, and what none may hide.

A small world of its own: one table `events` with `day`, `n`, `seen` (set with every insert and update).
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pytest
from attrs import evolve

from aggmaint.aggregates.looking import SourceMark
from aggmaint.aggregates.model import AggregateDefinition, Attribute, Join, Measure, PartitionBy, Source
from aggmaint.aggregates.policy import Policy
from aggmaint.core.marks import ChangeMark
from aggmaint.errors import WarehouseQueryError
from aggmaint.maintenance import AggregateMaintenance
from aggmaint.task import MaintenanceReport
from aggmaint.warehouses.duckdb import DuckDBOptions, DuckDBWarehouse

from .support import NOON, ORG, WRITES, FakeContext, refreshed

UPDATED = Source(table="events", updated_at="seen", deletes="none")
APPENDED = Source(table="events", append_only="id")
PLAIN = Source(table="events")
FULL_SCAN = "FROM (SELECT"


def by_month(source: Source, **more: Any) -> AggregateDefinition:
    given: dict[str, Any] = {
        "organization_id": ORG,
        "cube": "events",
        "name": "by_month",
        "source": source,
        "measures": [Measure("n", "sum", "n"), Measure("rows", "count")],
        "partition": PartitionBy("day", "month"),
        **more,
    }
    return AggregateDefinition(**given)


class World:
    """One run after the other; what a run's inventory says is what the next is given."""

    def __init__(self, *definitions: AggregateDefinition, policy: Policy | None = None, **options: Any) -> None:
        self.connection = duckdb.connect(config={"threads": "1"})
        self.statements: list[str] = []
        self.wanted = list(definitions)
        self.clock = [NOON]
        self.number = 0
        self.inventory: Mapping[str, Any] | None = None
        self.broken = ""
        """A statement with this text breaks off."""
        made = DuckDBOptions(on_statement=self._statement, pause=lambda _s: None, **options)
        warehouse = DuckDBWarehouse(connection=self.connection, options=made)
        self.maintenance = AggregateMaintenance(
            definitions=lambda _org: tuple(self.wanted),
            warehouse_for=lambda _org: warehouse,
            policy=policy or Policy(),
        )
        self.sql("CREATE TABLE events (id INTEGER, day DATE, n INTEGER, seen TIMESTAMP)")
        self.sql(
            "INSERT INTO events SELECT i, DATE '2024-01-01' + CAST(i * 10 AS INTEGER), i, TIMESTAMP '2025-01-01' "
            "+ INTERVAL (i) SECOND FROM range(36) AS r(i)"
        )

    def _statement(self, sql: str) -> None:
        self.statements.append(sql)
        if self.broken and self.broken in sql:
            raise WarehouseQueryError("broke off")

    def sql(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        cursor = self.connection.cursor()
        return (cursor.execute(sql, parameters) if parameters else cursor.execute(sql)).fetchall()

    def insert(self, number: int, at: date, seen: str = "2025-02-01") -> None:
        self.sql("INSERT INTO events VALUES (?, ?, 1, CAST(? AS TIMESTAMP))", [number, at, seen])

    def run(self, *marks: ChangeMark, **later: float) -> MaintenanceReport:
        self.number += 1
        self.clock[0] += timedelta(**(later or {"seconds": 1}))
        self.statements.clear()
        report = self.maintenance.run(FakeContext(ORG, self.number, self.clock, inventory=self.inventory, marks=marks))
        self.inventory = report.inventory
        return report

    def scans(self) -> list[str]:
        """The statements of the last run that hashed rows of the source."""
        return [
            sql for sql in self.statements if FULL_SCAN in sql and "HASH(" in sql and '"events" AS aggmaint_s' in sql
        ]

    def right(self) -> bool:
        return all(each.equal for each in self.maintenance.verify(ORG))


def mark(source: str, starts: date | None = None, ends: date | None = None) -> ChangeMark:
    def at(day: date | None) -> datetime | None:
        return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)

    return ChangeMark(1, source, at(starts), at(ends))


def reasons(report: MaintenanceReport, subject: str = "partition") -> dict[str, set[str]]:
    """Partitions by reason."""
    found: dict[str, set[str]] = {}
    for each in report.details["decisions"]:
        if each["subject"] == subject:
            found.setdefault(each["reason"], set()).update(each["partitions"])
    return found


# -- declared sources --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [UPDATED, APPENDED], ids=["updated_at", "append_only"])
def test_a_declared_source_that_did_not_change_is_not_scanned(source: Source) -> None:
    world = World(by_month(source))
    world.run()
    report = world.run()
    assert world.scans() == []
    assert report.details["steps"] == []
    assert set(reasons(report)) == {"partition_vouched"}
    assert report.inventory is not None
    assert {each["state"] for each in report.inventory["definitions"][0]["partition_states"]} == {"fresh"}
    assert not [sql for sql in world.statements if WRITES.match(sql)]


@pytest.mark.parametrize("source", [UPDATED, APPENDED], ids=["updated_at", "append_only"])
def test_new_rows_of_any_month_are_found_and_only_their_months_are_fingerprinted(source: Source) -> None:
    world = World(by_month(source))
    world.run()
    world.insert(100, date(2019, 7, 1))
    world.insert(101, date(2024, 3, 31))
    report = world.run()
    assert refreshed(report) == {"by_month": {"2019-07", "2024-03"}}
    assert all("WHERE" in sql for sql in world.scans())
    assert world.right()
    assert world.run().details["steps"] == []


def test_changed_rows_and_rows_that_moved_to_another_month_are_found_by_updated_at() -> None:
    world = World(by_month(UPDATED))
    world.run()
    world.sql("UPDATE events SET n = 50, seen = TIMESTAMP '2025-03-01' WHERE id = 4")
    world.sql("UPDATE events SET day = DATE '2024-06-15', seen = TIMESTAMP '2025-03-01' WHERE id = 0")
    report = world.run()
    assert refreshed(report)["by_month"] >= {"2024-01", "2024-02", "2024-06"}
    assert world.right()
    assert world.run().details["steps"] == []


def test_a_row_with_the_very_same_updated_at_as_the_newest_is_found() -> None:
    """Clocks are coarse: `>` would miss it."""
    world = World(by_month(UPDATED))
    world.run()
    newest = world.sql("SELECT CAST(MAX(seen) AS VARCHAR) FROM events")[0][0]
    world.sql(f"UPDATE events SET n = 99, seen = TIMESTAMP '{newest}' WHERE id = 0")
    assert refreshed(world.run())["by_month"] >= {"2024-01"}
    world.sql(f"UPDATE events SET n = 98 WHERE id = 0 AND seen = TIMESTAMP '{newest}'")
    assert refreshed(world.run())["by_month"] >= {"2024-01"}, "the tail is hashed, not counted"
    assert world.right()


def test_a_row_without_updated_at_is_never_overlooked() -> None:
    world = World(by_month(UPDATED))
    world.run()
    world.sql("INSERT INTO events VALUES (100, DATE '2024-01-20', 7, NULL)")
    assert refreshed(world.run())["by_month"] >= {"2024-01"}
    world.sql("UPDATE events SET n = 8 WHERE id = 100")
    assert refreshed(world.run())["by_month"] >= {"2024-01"}
    assert world.right()


def test_a_soft_deletion_that_leaves_the_filter_is_found() -> None:
    world = World(by_month(evolve(UPDATED, deletes="soft", where="n > 0")))
    world.run()
    world.sql("UPDATE events SET n = -1, seen = TIMESTAMP '2025-03-01' WHERE id = 5")
    report = world.run()
    assert refreshed(report) == {"by_month": {"2024-02"}}
    assert report.details["findings"] == []
    assert world.right()


@pytest.mark.parametrize("source", [UPDATED, APPENDED], ids=["updated_at", "append_only"])
def test_rows_that_vanish_though_none_may_are_a_finding_and_everything_is_looked_at(source: Source) -> None:
    world = World(by_month(source))
    world.run()
    world.sql("UPDATE events SET n = 77 WHERE id = 20")  # a change that the declaration hides …
    world.sql("DELETE FROM events WHERE id = 3")  # … comes to light with the broken promise
    report = world.run()
    assert reasons(report)["partition_undeclared_change"] == {"2024-01", "2024-07"}
    assert world.right()
    assert world.run().details["steps"] == []


def test_a_source_that_was_emptied_and_filled_again() -> None:
    world = World(by_month(evolve(UPDATED, deletes="soft", where="n >= 0")))
    world.run()
    world.sql("UPDATE events SET n = -1, seen = TIMESTAMP '2025-03-01'")
    assert world.run().complete
    assert world.right()
    world.insert(100, date(2024, 5, 5))
    world.run()
    assert world.right()


def test_declaring_a_source_rebuilds_nothing() -> None:
    world = World(by_month(PLAIN))
    world.run()
    world.wanted = [by_month(UPDATED)]
    report = world.run()
    assert [step["action"] for step in report.details["steps"]] == ["note"]
    world.run()
    assert world.scans() == []


def test_another_aggregate_over_a_declared_source_makes_nothing_stale() -> None:
    world = World(by_month(UPDATED))
    world.run()
    world.wanted.append(by_month(UPDATED, name="ids", measures=[Measure("most", "max", "id")]))
    report = world.run()
    assert refreshed(report) == {}
    assert world.run().details["steps"] == []


def test_a_declared_column_must_be_there_and_grow_like_a_clock() -> None:
    world = World(
        by_month(evolve(UPDATED, updated_at="sen")), by_month(evolve(UPDATED, updated_at="word"), name="words")
    )
    world.sql("ALTER TABLE events ADD COLUMN word VARCHAR")
    errors = [each.message for each in world.run().errors]
    assert "source 'events' updated_at = 'sen'" in errors[0]
    assert "VARCHAR" in errors[1]


def test_joined_sources_with_declarations_are_not_scanned_while_they_stand_still() -> None:
    world = World()
    world.sql("CREATE TABLE kinds (id INTEGER, kind VARCHAR, seen TIMESTAMP)")
    world.sql("INSERT INTO kinds SELECT i, 'k' || i % 2, TIMESTAMP '2025-01-01' FROM range(36) AS r(i)")
    kinds = Join(source=Source(table="kinds", updated_at="seen", deletes="none"), on="kinds.id = events.id")
    world.wanted = [
        by_month(UPDATED, joins=[kinds], attributes=[Attribute("kind")], partition=PartitionBy("day", "month"))
    ]
    world.run()
    report = world.run()
    assert set(reasons(report)) == {"partition_vouched"}
    assert not [sql for sql in world.statements if "JOIN" in sql and "DESCRIBE" not in sql]
    world.sql("UPDATE kinds SET kind = 'new', seen = TIMESTAMP '2025-03-01' WHERE id = 4")
    assert refreshed(world.run()) == {"by_month": {"2024-02"}}
    assert world.right()


# -- change marks ------------------------------------------------------------------------------------------------------

LIE = "UPDATE events SET n = 500 WHERE id = 4"
"""A change in February 2024 that its declaration hides."""


@pytest.mark.parametrize(
    ("marked", "stale"),
    [
        (mark("events", date(2024, 2, 1), date(2024, 3, 1)), {"2024-02"}),
        (mark("EVENTS", date(2024, 2, 10), date(2024, 2, 11)), {"2024-02"}),
        (mark("events"), {"2024-02"}),
        (mark("*"), {"2024-02"}),
        (mark("events", date(2024, 2, 10)), {"2024-02"}),
        (mark("events", date(2024, 6, 1), date(2024, 7, 1)), None),
    ],
    ids=["range", "other case", "whole source", "everything", "one bound", "elsewhere"],
)
def test_a_mark_looks_where_the_declaration_would_not(marked: ChangeMark, stale: set[str] | None) -> None:
    world = World(by_month(UPDATED))
    world.run()
    world.sql(LIE)
    report = world.run(marked)
    assert reasons(report).get("partition_marked") == stale
    assert world.right() is (stale is not None)


def test_a_mark_on_a_month_that_is_not_there_yet() -> None:
    world = World(by_month(UPDATED))
    world.run()
    world.insert(100, date(2026, 1, 5), seen="2024-01-01")  # an old updated_at: only its number gives it away
    report = world.run(mark("events", date(2026, 1, 1), date(2026, 2, 1)))
    assert refreshed(report) == {"by_month": {"2026-01"}}
    assert world.right()


def test_a_marked_month_of_an_undeclared_source_has_its_own_reason_and_is_scanned_once() -> None:
    world = World(by_month(PLAIN))
    world.run()
    world.sql(LIE)
    world.sql("UPDATE events SET n = 500 WHERE id = 20")
    report = world.run(mark("events", date(2024, 2, 1), date(2024, 2, 5)))
    assert reasons(report)["partition_marked"] == {"2024-02"}
    assert reasons(report)["partition_changed"] == {"2024-07"}, "a mark is a hint: what is not marked is found too"
    assert len(world.scans()) == 1
    assert world.right()


def test_a_mark_on_a_joined_source_looks_at_every_month() -> None:
    world = World()
    world.sql("CREATE TABLE kinds (id INTEGER, kind VARCHAR, seen TIMESTAMP)")
    world.sql("INSERT INTO kinds SELECT i, 'k', TIMESTAMP '2025-01-01' FROM range(36) AS r(i)")
    kinds = Join(source=Source(table="kinds", updated_at="seen", deletes="none"), on="kinds.id = events.id")
    world.wanted = [
        by_month(UPDATED, joins=[kinds], attributes=[Attribute("kind")], partition=PartitionBy("day", "month"))
    ]
    world.run()
    world.sql("UPDATE kinds SET kind = 'hidden' WHERE id = 4")
    world.sql("UPDATE kinds SET seen = TIMESTAMP '2025-01-01' WHERE id = 4")
    world.run(mark("kinds", date(1990, 1, 1), date(1990, 1, 2)))
    assert world.right()


def test_a_mark_that_names_no_source_is_told() -> None:
    world = World(by_month(UPDATED))
    world.run()
    report = world.run(mark("evnts"))
    assert [each["code"] for each in report.details["findings"]] == ["mark_unknown"]
    assert report.complete


# -- the engine's own tokens -------------------------------------------------------------------------------------------


def versioned(source: Source, query: Any) -> str | None:
    """The state of `events`, as a host names it that raises its version with each change."""
    return str(query("SELECT version FROM versions")[0][0]) if source.table == "events" else None


def engine_world() -> World:
    world = World(by_month(PLAIN), source_token=versioned)
    world.sql("CREATE TABLE versions AS SELECT 1 AS version")
    world.run()
    return world


def test_a_source_whose_engine_token_is_the_same_is_not_scanned() -> None:
    world = engine_world()
    assert world.maintenance is not None
    report = world.run()
    assert world.scans() == []
    assert set(reasons(report)) == {"partition_vouched"}
    world.sql("UPDATE events SET n = 3 WHERE id = 4")
    world.sql("UPDATE versions SET version = 2")
    assert refreshed(world.run()) == {"by_month": {"2024-02"}}
    assert world.run().details["steps"] == []
    assert world.right()


def test_an_engine_token_that_moves_without_a_change_is_noted_once() -> None:
    world = engine_world()
    world.sql("UPDATE versions SET version = 2")
    assert [step["action"] for step in world.run().details["steps"]] == ["note"]
    assert world.run().details["steps"] == []


def test_a_mark_and_the_audit_look_behind_an_engine_token() -> None:
    world = engine_world()
    world.sql(LIE)
    assert world.run().details["steps"] == []
    assert reasons(world.run(mark("events", date(2024, 2, 1), date(2024, 3, 1))))["partition_marked"] == {"2024-02"}
    world.sql("UPDATE events SET n = 501 WHERE id = 4")
    assert "2024-02" in reasons(world.run(days=31))["partition_undeclared_change"]


# -- the audit ---------------------------------------------------------------------------------------------------------


def test_the_audit_finds_what_a_lying_declaration_hides_within_its_days() -> None:
    world = World(by_month(UPDATED), policy=Policy(audit_days=12))
    world.run()
    world.sql(LIE)
    found: list[set[str]] = []
    for _ in range(13):
        report = world.run(days=1)
        found.append(reasons(report).get("partition_undeclared_change", set()))
        audited = len(reasons(report).get("partition_fresh", set()) | found[-1])
        assert audited <= 2, "the history is spread over the days"
    assert {"2024-02"} in found
    assert world.right()
    codes = {each["code"] for each in report.details["findings"]}
    assert codes <= {"partition_undeclared_change"}


def test_no_audit_is_made_twice_and_none_is_forgotten_whatever_the_rhythm_of_runs() -> None:
    world = World(by_month(UPDATED), policy=Policy(audit_days=12))
    world.run()
    months = len(reasons(world.run())["partition_vouched"])
    audited = [reasons(world.run(hours=7)).get("partition_fresh", set()) for _ in range(42)]
    counted = [month for found in audited for month in found]
    assert len(counted) == len(set(counted)) == months


def test_a_large_table_is_compared_in_rotation_and_at_once_if_its_number_of_rows_is_wrong() -> None:
    world = World(by_month(PLAIN), policy=Policy(audit_days=12, compared_rows_max=3))
    world.run()
    (table,) = world.sql(
        "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_name LIKE 'as_agg%'"
    )
    world.sql(f"UPDATE {table[0]} SET n = 0 WHERE aggmaint_period = DATE '2024-02-01'")
    assert reasons(world.run()).keys() == {"partition_vouched"}
    found: set[str] = set()
    for _ in range(13):
        found |= reasons(world.run(days=1)).get("partition_damaged", set())
    assert found == {"2024-02"}
    world.sql(f"DELETE FROM {table[0]} WHERE aggmaint_period = DATE '2024-03-01'")
    assert reasons(world.run())["partition_damaged"] == {"2024-03"}
    assert world.right()


def test_a_plan_knows_marks_and_the_last_inventory() -> None:
    world = World(by_month(UPDATED), policy=Policy(audit_days=12))
    world.run()
    world.sql(LIE)
    plan = world.maintenance.plan(
        ORG,
        now=world.clock[0],
        marks=[mark("events", date(2024, 2, 1), date(2024, 3, 1))],
        last_inventory=world.inventory,
    )
    assert {key for d in plan.decisions for key in d.partitions if d.reason.value == "partition_marked"} == {"2024-02"}


def test_source_marks_name_tables_files_and_aliases() -> None:
    source = Source(table='raw."Line Items"', alias="lines")
    assert all(SourceMark(name).names(source) for name in ("lines", "LINE ITEMS", 'raw."line items"', "*"))
    assert not SourceMark("raw").names(source)
