"""One sick aggregate stops no other; a warehouse that can not be reached stops the job and condemns nothing."""

from datetime import date
from decimal import Decimal

import duckdb
import pytest
from attrs import evolve

from aggmaint.aggregates.decisions import Subject
from aggmaint.aggregates.model import AggregateDefinition, Attribute, Measure, PartitionBy, Source
from aggmaint.aggregates.policy import Policy
from aggmaint.errors import JobCancelledError, TaskFailedError
from aggmaint.warehouses.duckdb import DuckDBWarehouse

from .support import ORG, FakeContext, Lab, Sale, actions, definitions, reasons, refreshed


def sick(**parts: object) -> AggregateDefinition:
    values: dict[str, object] = {
        "organization_id": ORG,
        "cube": "sales",
        "name": "sick",
        "source": Source(table="sales"),
        "attributes": [Attribute("shop")],
        "measures": [Measure("n", "count")],
        **parts,
    }
    return AggregateDefinition(**values)  # type: ignore[arg-type]  # each case changes one part


def lab_with(definition: AggregateDefinition) -> Lab:
    lab = Lab(wanted=[definition, *definitions()[:2]])
    lab.seed()
    return lab


@pytest.mark.parametrize(
    ("definition", "reason", "words"),
    [
        pytest.param(
            sick(measures=[Measure("x", "sum", "amuont * 2")]),
            "definition_invalid",
            ["sales.sick", "measure 'x'", "amuont * 2", "did you mean 'amount'?"],
            id="unknown column",
        ),
        pytest.param(
            sick(measures=[Measure("x", "sum", "shop")]),
            "definition_invalid",
            ["sales.sick", "measure 'x'", "sum(shop)", "correct the expression"],
            id="type",
        ),
        pytest.param(
            sick(measures=[Measure("x", "sum", "1 +")]),
            "definition_invalid",
            ["sales.sick", "measure 'x'", "not valid SQL"],
            id="syntax",
        ),
        pytest.param(
            sick(source=Source(table="nowhere"), attributes=[]),
            "source_unavailable",
            ["sales.sick", "source 'nowhere'", "create it, or correct its name"],
            id="no table",
        ),
        pytest.param(
            sick(source=Source(file="/nowhere/x.parquet"), attributes=[]),
            "source_unavailable",
            ["sales.sick", "/nowhere/x.parquet"],
            id="no file",
        ),
        pytest.param(
            sick(attributes=[Attribute("shop"), Attribute("day")], partition=PartitionBy("shop", "month")),
            "definition_invalid",
            ["sales.sick", "partition", "shop"],
            id="partition of a text",
        ),
        pytest.param(
            sick(name="totals"), "definition_invalid", ["sales.totals", "two aggregates"], id="two of one name"
        ),
    ],
)
def test_what_is_wrong_with_a_definition_is_said_and_the_others_go_on(
    definition: AggregateDefinition, reason: str, words: list[str]
) -> None:
    lab = lab_with(definition)
    report = lab.run()
    assert not report.complete
    finding = next(each for each in report.details["findings"] if each["code"] == reason)
    for word in words:
        assert word in finding["message"]
    assert "\n" not in finding["message"]
    assert report.errors[0].message == finding["message"]
    lab.assert_right("by_month")
    assert lab.run().details["steps"] == []


def test_a_query_that_breaks_on_the_data_fails_its_build_only() -> None:
    lab = lab_with(sick(measures=[Measure("x", "sum", "CAST(shop AS INTEGER)")]))
    report = lab.run()
    assert not report.complete and not report.progressed, "some of the work was done, but something failed"
    assert {(a, n) for a, n in actions(report) if n != "sick"} == {("build", "by_month"), ("build", "totals")}
    failed = next(each for each in report.details["steps"] if each["outcome"] == "failed")
    assert failed["aggregate"] == "sales.sick"
    assert "Could not convert string" in failed["error"]
    lab.assert_right("by_month", "totals")
    assert report.inventory is not None
    state = next(each for each in report.inventory["definitions"] if each["name"] == "sick")
    assert state["status"] == "invalid"
    again = lab.run()
    assert reasons(again)["sick"] == "build_again"


def test_a_row_that_breaks_the_refresh_keeps_the_old_rows_and_stops_no_other() -> None:
    whole = sick(attributes=[], measures=[Measure("x", "sum", "CASE WHEN qty = 77 THEN CAST(shop AS INTEGER) END")])
    lab = lab_with(whole)
    assert lab.run().complete
    lab.put(Sale(70, date(2024, 1, 2), "north", Decimal(1), 77))
    report = lab.run()
    assert not report.complete
    assert reasons(report)["sick"] == "query_failed"
    assert refreshed(report)["by_month"] == {"2024-01"}
    assert lab.view("sick") == [(None,)]
    assert report.inventory is not None
    state = next(each for each in report.inventory["definitions"] if each["name"] == "sick")
    assert (state["status"], state["stale_partitions"]) == ("active", 1)
    lab.remove(70)
    assert lab.run().complete


def test_a_row_that_breaks_the_shared_scan_stops_only_those_who_read_it() -> None:
    days = sick(name="days", attributes=[], partition=PartitionBy("CAST(shop AS DATE)", "month", name="of"))
    lab = lab_with(days)
    lab.rows.clear()
    lab.execute("DELETE FROM sales")
    assert lab.run().complete
    lab.put(Sale(70, date(2024, 1, 2), "north", Decimal(1), 3))
    report = lab.run()
    assert reasons(report)["days"] == "query_failed"
    lab.assert_right("by_month", "totals")


def test_too_many_periods_are_refused_before_and_after_a_build() -> None:
    lab = Lab(wanted=definitions()[:1], policy=Policy(partitions_max=4))
    lab.seed()
    report = lab.run()
    assert not report.complete
    assert "partitions_max=4" in report.details["steps"][0]["error"]
    lab.policy = Policy(partitions_max=5)
    assert lab.run().complete
    lab.put(Sale(70, date(9999, 1, 1), "north", Decimal(1), 3))
    report = lab.run()
    assert reasons(report)["by_month"] == "too_many_partitions"
    assert lab.writes() == []


def test_extreme_dates_have_partitions_of_their_own() -> None:
    lab = Lab(wanted=definitions()[:1])
    lab.execute(
        "INSERT INTO sales VALUES (1, DATE '9999-12-31', 'a', 1, 1, 1), (2, CAST('infinity' AS DATE), 'a', 1, 1, 1), "
        "(3, CAST('294247-01-01' AS DATE), 'b', 1, 1, 1), (4, CAST('0044-03-15 (BC)' AS DATE), 'c', 1, 1, 1)"
    )
    assert lab.run().complete
    lab.execute("UPDATE sales SET qty = 4 WHERE id IN (1, 2, 3, 4)")
    report = lab.run()
    assert len(refreshed(report)["by_month"]) == 4
    assert all(each.equal for each in lab.maintenance.verify(ORG))
    assert lab.run().details["steps"] == []


def test_a_cancelled_build_is_marked_and_swept() -> None:
    lab = Lab(wanted=definitions()[:2])
    lab.seed()

    def cancel(step: str, detail: str) -> None:
        if step == "build" and detail == "sales.totals":
            raise JobCancelledError("cancelled by a test")

    context = lab.context(on_progress=cancel)
    with pytest.raises(JobCancelledError):
        lab.maintenance.run(context)
    statuses = lab.execute(f'SELECT status, message FROM "{lab.schema}".aggmaint_instance')
    assert statuses == [("cancelled", "cancelled by a test")] * 2
    assert not [name for name, _ in lab.objects() if name.startswith("as_agg_")]
    assert lab.run().complete
    lab.assert_right()


def test_builds_share_a_snapshot_in_batches() -> None:
    lab = Lab(policy=Policy(builds_per_snapshot=2))
    lab.seed()
    assert lab.run().complete
    lab.assert_right()
    assert sum("aggmaint_h0" in sql and 'FROM "sales"' in sql for sql in lab.statements) == 2


def test_an_unreachable_warehouse_fails_the_job_and_condemns_nothing() -> None:
    lab = Lab()
    lab.seed()
    lab.run()
    reachable = lab.warehouse
    closed = duckdb.connect()
    closed.close()
    lab.warehouse = DuckDBWarehouse(connection=closed)
    with pytest.raises(TaskFailedError, match="open it again") as failed:
        lab.run()
    assert failed.value.cause == "warehouse_unavailable"
    lab.warehouse = reachable
    lab.assert_right()
    assert lab.run().details["steps"] == []


@pytest.mark.parametrize("changed", [True, False])
def test_a_restored_job_store_is_refused_with_the_remedy(changed: bool) -> None:
    lab = Lab()
    lab.number = 5
    lab.seed()
    lab.run()
    lab.number = 0
    if changed:
        lab.put(Sale(80, date(2024, 1, 1), "north", Decimal(1), 1))
    with pytest.raises(TaskFailedError, match=r"doctor --recover acme") as refused:
        lab.run()
    assert refused.value.cause == "fence_behind"
    recovered = FakeContext(ORG, 1, lab.clock, generation=1)
    assert lab.maintenance.run(recovered).complete
    lab.assert_right()


def test_another_installation_is_refused() -> None:
    lab = Lab()
    lab.seed()
    lab.run()
    other = lab.make_maintenance("staging")
    with pytest.raises(TaskFailedError, match=r"belongs to installation 'default'") as refused:
        other.run(lab.context())
    assert refused.value.cause == "warehouse_foreign"


def test_another_organisation_in_the_schema_is_refused() -> None:
    lab = Lab()
    lab.run()
    lab.execute(f"UPDATE \"{lab.schema}\".aggmaint_control SET org = 'ACME'")
    with pytest.raises(TaskFailedError, match=r"belongs to organisation 'ACME'"):
        lab.run()


def test_a_lost_ledger_is_not_begun_again_when_aggregates_are_known() -> None:
    lab = Lab()
    lab.seed()
    lab.maintenance._knows_instances = lambda _org: True
    with pytest.raises(TaskFailedError, match="ledger") as refused:
        lab.run()
    assert refused.value.cause == "ledger_lost"
    assert lab.writes() == []


def test_a_dependency_makes_every_partition_stale() -> None:
    first = definitions()[0]
    lab = Lab(wanted=[evolve(first, dependencies=[Source(table="shops")])])
    lab.seed()
    lab.run()
    lab.set_region("north", "hot")
    report = lab.run()
    assert reasons(report, Subject.PARTITION)["by_month"] == "dependency_changed"
    assert len(refreshed(report)["by_month"]) == 5
    assert lab.run().details["steps"] == []
    lab.assert_right()


def test_a_row_filter_with_parameters_keeps_tenants_apart() -> None:
    source = Source(table="sales", where="shop = :org AND qty >= :least")
    lab = Lab(wanted=[evolve(definitions()[1], source=source, parameters={"least": 1})])
    lab.put(
        Sale(1, date(2024, 1, 1), ORG, Decimal(5), 1),
        Sale(2, date(2024, 1, 1), "other", Decimal(7), 1),
        Sale(3, date(2024, 1, 1), ORG, Decimal(9), 0),
    )
    lab.run()
    assert lab.view("totals") == [(Decimal(5), 1)]
    lab.put(Sale(4, date(2024, 1, 1), "other", Decimal(7), 1))
    assert lab.run().details["steps"] == []
    lab.wanted = [evolve(lab.wanted[0], parameters={"least": 0})]
    assert reasons(lab.run())["totals"] == "build_definition_changed"
    assert lab.view("totals") == [(Decimal(14), 1)]
