"""A change mark on its way: set through the engine, shown to readers, looked at by a job, removed by a complete one."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from aggmaint import MaintenanceEngine
from aggmaint.aggregates.freshness import with_marks
from aggmaint.aggregates.model import AggregateDefinition, Measure, PartitionBy, Source
from aggmaint.engine import Inventory
from aggmaint.stores.memory import MemoryStore

from .support import ORG, Lab

SALES = Source(table="sales", append_only="id")
WANTED = AggregateDefinition(
    organization_id=ORG,
    cube="sales",
    name="qty",
    source=SALES,
    measures=[Measure("qty", "sum", "qty")],
    partition=PartitionBy("day", "month"),
)
SICK = AggregateDefinition(
    organization_id=ORG, cube="sales", name="sick", source=Source(table="nowhere"), measures=[Measure("n", "count")]
)


@pytest.fixture
def lab() -> Lab:
    lab = Lab(wanted=[WANTED])
    lab.seed()
    return lab


@pytest.fixture
def engine(lab: Lab) -> MaintenanceEngine:
    engine = MaintenanceEngine(store=MemoryStore(), task=lab.maintenance, scheduler=None, executor=None)
    engine.register_organizations([ORG])
    engine.run_immediately(ORG)
    return engine


def inventory_of(engine: MaintenanceEngine) -> Inventory:
    found = engine.get_inventory(ORG)
    assert found is not None
    return found


def stale(engine: MaintenanceEngine) -> Sequence[str]:
    """What a reader sees that can not open the warehouse."""
    (definition,) = [
        each
        for each in with_marks(inventory_of(engine).content, engine.get_organization(ORG).marks)["definitions"]
        if each["name"] == "qty"
    ]
    return [each["key"] for each in definition["partition_states"] if each["state"] != "fresh"]


def test_a_mark_lives_until_a_complete_job_has_looked(lab: Lab, engine: MaintenanceEngine) -> None:
    lab.execute("UPDATE sales SET qty = 77 WHERE id = 1")  # what append_only rules out
    engine.mark_changed(
        ORG, "sales", starts_at=datetime(2024, 2, 1, tzinfo=UTC), ends_at=datetime(2024, 2, 28, tzinfo=UTC)
    )
    assert "2024-02" in stale(engine)
    assert "2024-04" not in stale(engine)
    lab.wanted = [WANTED, SICK]
    engine.run_immediately(ORG)
    assert len(engine.get_organization(ORG).marks) == 1, "a job with a sick aggregate is not complete"
    lab.wanted = [WANTED]
    engine.run_immediately(ORG)
    assert engine.get_organization(ORG).marks == ()
    assert stale(engine) == []
    assert lab.execute(f'SELECT SUM(qty) FROM "{lab.schema}"."sales__qty"') == lab.execute("SELECT SUM(qty) FROM sales")
