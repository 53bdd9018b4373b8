"""Whole runs over the small world: first build, nothing to do, every kind of change, definitions that come and go."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import duckdb
import pytest
from attrs import evolve

from aggmaint.aggregates.decisions import Subject
from aggmaint.aggregates.model import AggregateDefinition, Measure, PartitionBy, Source
from aggmaint.aggregates.policy import Policy
from aggmaint.errors import InvalidValueError

from .support import NOON, ORG, Lab, Sale, actions, reasons, refreshed


@pytest.fixture
def lab() -> Lab:
    lab = Lab()
    lab.seed()
    return lab


def test_the_first_run_builds_everything_and_it_equals_the_source(lab: Lab) -> None:
    report = lab.run()
    assert report.complete
    assert set(actions(report)) == {("build", name) for name in ("by_month", "totals", "by_region", "weights")}
    lab.assert_right()


def test_a_run_without_changes_issues_no_write_statement(lab: Lab) -> None:
    lab.run()
    for _ in range(2):
        report = lab.run()
        assert report.complete
        assert lab.writes() == []
        assert set(reasons(report).values()) == {"definition_fresh"}


def test_a_run_without_changes_scans_each_source_once(lab: Lab) -> None:
    lab.run()
    lab.run()
    scans = [sql for sql in lab.statements if "aggmaint_h0" in sql and 'FROM "sales"' in sql]
    assert len(scans) == 1


def test_plan_shows_what_a_run_would_do_and_writes_nothing(lab: Lab) -> None:
    plan = lab.maintenance.plan(ORG, now=NOON)
    assert plan.writes
    assert lab.execute("SELECT COUNT(*) FROM duckdb_schemas() WHERE schema_name LIKE 'agg_%'") == [(0,)]
    lab.run()
    lab.statements.clear()
    lab.put(Sale(50, date(2024, 2, 9), "north", Decimal("1.00"), 1))
    plan = lab.maintenance.plan(ORG, now=NOON)
    stale = [d for d in plan.decisions if d.subject is Subject.PARTITION and d.reason.value != "partition_fresh"]
    assert {(d.aggregate, key) for d in stale for key in d.partitions} >= {
        ("sales.by_month", "2024-02"),
        ("sales.by_region", "2024-02"),
    }
    assert lab.writes() == []
    assert hash(plan) == hash(lab.maintenance.plan(ORG, now=NOON))


@pytest.mark.parametrize(
    ("change", "months"),
    [
        pytest.param(lambda lab: lab.put(Sale(20, date(2021, 7, 31), "north", Decimal(1), 1)), {"2021-07"}, id="late"),
        pytest.param(lambda lab: lab.remove(0), {"2024-01"}, id="deletion"),
        pytest.param(lambda lab: lab.remove(0, 4, 8), {"2024-01"}, id="a month emptied"),
        pytest.param(lambda lab: lab.put(evolve(lab.rows[1], qty=4)), {"2024-02"}, id="correction"),
        pytest.param(
            lambda lab: lab.put(evolve(lab.rows[1], day=date(2024, 4, 1))), {"2024-02", "2024-04"}, id="moved row"
        ),
        pytest.param(lambda lab: lab.put(evolve(lab.rows[12], qty=9)), {"null"}, id="row without a date"),
        pytest.param(lambda lab: lab.put(evolve(lab.rows[1], day=None)), {"2024-02", "null"}, id="date lost"),
        pytest.param(
            lambda lab: lab.put(evolve(lab.rows[0], id=0), evolve(lab.rows[0], id=70)), {"2024-01"}, id="twin"
        ),
    ],
)
def test_only_the_changed_partitions_are_refreshed(lab: Lab, change: object, months: set[str]) -> None:
    lab.run()
    assert callable(change)
    change(lab)
    report = lab.run()
    assert refreshed(report)["by_month"] == months
    assert refreshed(report).get("by_region", set()) <= months
    lab.assert_right()
    assert report.inventory is not None
    for each in report.inventory["definitions"]:
        keys = [state["key"] for state in each["partition_states"]]
        assert len(keys) == len(set(keys))
        assert each["rows"] == len(lab.view(each["name"])) == sum(state["rows"] for state in each["partition_states"])
    assert lab.run().details["steps"] == []


def test_a_balanced_delete_and_insert_is_seen(lab: Lab) -> None:
    """Same count, same sum, same maximum: only the rows differ."""
    lab.put(Sale(30, date(2024, 1, 5), "north", Decimal(5), 1), Sale(31, date(2024, 1, 6), "south", Decimal(6), 1))
    lab.run()
    lab.remove(30, 31)
    lab.put(Sale(32, date(2024, 1, 5), "south", Decimal(5), 1), Sale(33, date(2024, 1, 6), "north", Decimal(6), 1))
    assert refreshed(lab.run())["by_month"] == {"2024-01"}
    lab.assert_right()


def test_a_pair_of_equal_rows_is_seen(lab: Lab) -> None:
    """XOR of row hashes would not see it."""
    lab.run()
    twin = Sale(40, date(2024, 1, 5), "north", Decimal(5), 1)
    lab.put(twin, evolve(twin, id=41))
    assert refreshed(lab.run())["by_month"] == {"2024-01"}
    lab.assert_right()


def test_a_dimension_change_refreshes_only_the_partitions_that_it_reaches(lab: Lab) -> None:
    lab.put(Sale(60, date(2024, 1, 3), "west", Decimal(3), 1, 2.0))
    lab.run()
    lab.set_region("west", "warm")
    report = lab.run()
    assert refreshed(report) == {"by_region": {"2024-01"}, "weights": {"2024"}}
    lab.assert_right()


def test_a_new_dimension_row_that_nobody_uses_rebuilds_nothing_and_is_noted_once(lab: Lab) -> None:
    lab.run()
    lab.set_region("moon", "cold")
    report = lab.run()
    assert reasons(report)["by_region"] == "definition_unaffected"
    assert set(actions(report)) == {("note", "by_region"), ("note", "weights")}
    assert lab.run().details["steps"] == []
    lab.assert_right()


def test_joins_are_judged_by_their_content_and_by_joined_rows_where_floats_are_added(lab: Lab) -> None:
    """Sums of floats differ from run to run, so their content can not tell that nothing changed."""
    lab.run()
    kinds = lab.execute(
        f"""SELECT DISTINCT i.label, split_part(p.token, '-', 2), p.token = p.content
        FROM "{lab.schema}".aggmaint_partition p JOIN "{lab.schema}".aggmaint_instance i ON i.id = p.instance_id
        WHERE i.label IN ('sales.by_region', 'sales.weights') ORDER BY 1"""
    )
    assert kinds == [("sales.by_region", "content", True), ("sales.weights", "joined", False)]


def test_a_changed_definition_is_rebuilt_beside_and_switched(lab: Lab) -> None:
    lab.run()
    old = lab.table_of("totals")
    position = next(i for i, each in enumerate(lab.wanted) if each.name == "totals")
    lab.wanted[position] = evolve(lab.wanted[position], measures=[Measure("n", "count")])
    report = lab.run()
    assert reasons(report)["totals"] == "build_measures_added"
    assert lab.view("totals") == [(13,)]
    assert lab.table_of("totals") != old
    assert (old, "BASE TABLE") in lab.objects(), "kept for queries that still read it"
    lab.clock[0] += timedelta(hours=2)
    assert ("drop", "totals") in actions(lab.run())
    assert (old, "BASE TABLE") not in lab.objects()
    assert lab.run().details["steps"] == []


def test_a_renamed_aggregate_with_an_id_moves_its_view(lab: Lab) -> None:
    lab.wanted = [evolve(lab.wanted[1], id="6a7e0d8f-0000-4000-8000-000000000001")]
    lab.run()
    lab.wanted = [evolve(lab.wanted[0], name="sums")]
    lab.run()
    names = {name for name, kind in lab.objects() if kind == "VIEW"}
    assert names == {"sales__sums"}


def test_a_source_type_change_rebuilds(lab: Lab) -> None:
    lab.run()
    lab.execute("ALTER TABLE sales ALTER amount TYPE DECIMAL(18, 4)")
    report = lab.run()
    assert reasons(report)["by_month"] == "build_source_types_changed"
    lab.assert_right()


def test_a_blocked_aggregate_leaves_the_view_and_comes_back(lab: Lab) -> None:
    lab.run()
    plain = lab.wanted[1]
    lab.wanted[1] = evolve(plain, blocked=True)
    report = lab.run()
    assert reasons(report)["totals"] == "definition_blocked"
    assert reasons(report, Subject.INSTANCE)["totals"] == "instance_deactivated"
    assert ("sales__totals", "VIEW") not in lab.objects()
    assert lab.run().details["steps"] == []
    lab.wanted[1] = plain
    assert reasons(lab.run())["totals"] == "build_again"
    lab.assert_right()


def test_a_removed_definition_is_retired_then_dropped_then_forgotten(lab: Lab) -> None:
    lab.run()
    table = lab.table_of("totals")
    lab.wanted = [each for each in lab.wanted if each.name != "totals"]
    report = lab.run()
    assert ("retire", "totals") in actions(report)
    assert ("sales__totals", "VIEW") not in lab.objects()
    assert (table, "BASE TABLE") in lab.objects()
    lab.clock[0] += timedelta(hours=2)
    assert ("drop", "totals") in actions(lab.run())
    assert (table, "BASE TABLE") not in lab.objects()
    lab.clock[0] += timedelta(days=31)
    assert ("forget", "totals") in actions(lab.run())
    assert lab.execute(f'SELECT COUNT(*) FROM "{lab.schema}".aggmaint_instance') == [(3,)]


def test_the_brake_refuses_a_mass_drop_until_it_is_approved(lab: Lab) -> None:
    lab.run()
    wanted, lab.wanted = lab.wanted, []
    report = lab.run()
    assert not report.complete
    assert lab.writes() == []
    assert {f["code"] for f in report.details["findings"]} == {"mass_drop_refused"}
    lab.wanted = wanted
    lab.assert_right()
    lab.wanted = []
    report = lab.run(options={"approve_mass_drop": True})
    assert report.complete
    assert len([a for a, _ in actions(report) if a == "retire"]) == 4


def test_the_brake_counts_as_well_as_it_weighs(lab: Lab) -> None:
    lab.policy = Policy(retired_max=0, retired_share_max=1.0)
    lab.run()
    lab.wanted = lab.wanted[:3]
    assert not lab.run().complete


def test_progress_tells_step_and_partition(lab: Lab) -> None:
    lab.run()
    lab.put(evolve(lab.rows[1], amount=Decimal(4)))
    context = lab.context()
    lab.maintenance.run(context)
    assert ("compute", 0, 3, "sales.by_month: 1 partition (2024-02)") in context.seen
    assert ("refresh", 2, 3, "sales.totals") in context.seen


def test_verify_names_what_differs(lab: Lab) -> None:
    lab.run()
    lab.put(Sale(90, date(2030, 1, 1), "north", Decimal(1), 1, 1.0), evolve(lab.rows[1], amount=Decimal(99)))
    found = {each.aggregate: each for each in lab.maintenance.verify(ORG)}
    month = found["sales.by_month"]
    assert (month.missing, month.extra, month.wrong) == (1, 0, 1)
    assert not found["sales.totals"].equal
    lab.execute(
        f'INSERT INTO "{lab.schema}"."{lab.table_of("by_month")}" FROM "{lab.schema}"."{lab.table_of("by_month")}"'
    )
    month = lab.maintenance.verify(ORG, "by_month")[0]
    assert month.extra == month.rows_found // 2
    with pytest.raises(InvalidValueError, match=r"aggregate 'nope' is not known"):
        lab.maintenance.verify(ORG, "nope")


def test_instants_with_a_zone_are_cut_in_utc_whatever_the_hosts_session_says() -> None:
    made = AggregateDefinition(
        organization_id=ORG,
        cube="sales",
        name="clicks",
        source=Source(table="clicks"),
        measures=[Measure("n", "count")],
        partition=PartitionBy("at", "day"),
    )
    lab = Lab(wanted=[made])
    with suppress(duckdb.Error):  # DuckDB 1.x knows no default for all sessions
        lab.connection.execute("SET GLOBAL TimeZone = 'Asia/Tokyo'")
    lab.execute("CREATE TABLE clicks AS SELECT TIMESTAMPTZ '2024-06-30 23:00:00+00' AS at")
    lab.run()
    assert lab.view("clicks") == [(date(2024, 6, 30), 1)]
    lab.execute("INSERT INTO clicks VALUES (TIMESTAMPTZ '2024-06-30 01:00:00+00')")
    assert refreshed(lab.run())["clicks"] == {"2024-06-30"}
    assert lab.view("clicks") == [(date(2024, 6, 30), 2)]


def test_no_definitions_at_all_is_a_quiet_run() -> None:
    lab = Lab(wanted=[])
    report = lab.run()
    assert report.complete
    assert lab.writes() == []
    assert report.summary == "0 aggregates: nothing to do"


def test_the_inventory_tells_how_all_stands(lab: Lab) -> None:
    report = lab.run()
    inventory = report.inventory
    assert inventory is not None
    assert [each["name"] for each in inventory["definitions"]] == ["by_month", "by_region", "totals", "weights"]
    first = inventory["definitions"][0]
    assert first["status"] == "active"
    assert (first["partitions"], first["stale_partitions"]) == (5, 0)
    assert first["partition_states"][0]["starts_at"] == "2024-01-01T00:00:00Z"
    assert first["last_build"]["rows"] == first["rows"] == 13
    assert {each["status"] for each in inventory["instances"]} == {"active"}
    assert inventory["observed_at"].endswith("Z")
    assert first["sources"] == ["sales"] and first["sql"].startswith("SELECT ")
    sizes = {each["definition_id"]: each for each in report.details["aggregates"]}
    assert sizes[first["id"]] == {"definition_id": first["id"], "rows": 13, "partitions": 5, "stale_partitions": 0}


def test_instants_in_the_ledger_are_utc(lab: Lab) -> None:
    lab.run()
    stored = lab.execute(f'SELECT started_at FROM "{lab.schema}".aggmaint_instance LIMIT 1')[0][0]
    assert NOON < stored.replace(tzinfo=UTC) < datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
