"""A job that must stop breaks its running query off, whatever the reason, ends at once, and leaves nothing behind."""

import threading
from collections.abc import Callable, Iterator

import duckdb
import pytest

from aggmaint import MaintenanceEngine, MaintenanceJob
from aggmaint.aggregates.model import AggregateDefinition, Attribute, Measure, Source
from aggmaint.aggregates.naming import schema_name
from aggmaint.core.outcomes import Started
from aggmaint.core.settings import JobSettings
from aggmaint.maintenance import AggregateMaintenance
from aggmaint.stores.memory import MemoryStore
from aggmaint.testing.clocks import ManualClock
from aggmaint.warehouses.duckdb import DuckDBOptions, DuckDBWarehouse

ORG = "acme"
PATIENCE_S = 30.0


class Endless:
    """An engine over one aggregate whose table would take years to build."""

    def __init__(self) -> None:
        self.connection = duckdb.connect(config={"threads": "1"})
        self.connection.execute(
            "CREATE VIEW endless AS SELECT a.range % 3 AS k, b.range AS v FROM range(10000000) a, range(10000000) b"
        )
        self.computing = threading.Event()
        self.clock = ManualClock()
        self.engine = self.make_engine()
        self.engine.register_organizations([ORG])

    def make_engine(self) -> MaintenanceEngine:
        definition = AggregateDefinition(
            organization_id=ORG,
            cube="sales",
            name="endless",
            source=Source(table="endless"),
            attributes=[Attribute("k")],
            measures=[Measure("v", "sum", "v")],
        )
        options = DuckDBOptions(on_statement=self._statement)
        warehouse = DuckDBWarehouse(connection=self.connection, options=options)
        task = AggregateMaintenance(definitions={ORG: [definition]}, warehouse_for=lambda _org: warehouse)
        return MaintenanceEngine(
            store=MemoryStore(clock=self.clock),
            task=task,
            scheduler=None,
            clock=self.clock,
            settings=JobSettings(lease_s=60, heartbeat_s=0.4, deadline_s=3600),
        )

    def _statement(self, sql: str) -> None:
        if "HASH(" in sql and '"endless"' in sql:
            self.computing.set()

    def start(self) -> MaintenanceJob:
        outcome = self.engine.run_immediately(ORG)
        assert isinstance(outcome, Started)
        assert self.computing.wait(PATIENCE_S), "the query has begun"
        return outcome.job

    def ended(self, job: MaintenanceJob) -> tuple[str, str | None]:
        found = self.engine.wait(ORG, job.id, timeout_s=PATIENCE_S)
        return found.status.value, found.error.code.value if found.error else None

    def left_behind(self) -> list[tuple[str, str | None]]:
        schema = schema_name(ORG)
        tables = self.connection.execute(
            "SELECT table_name, '' FROM duckdb_tables() WHERE table_name LIKE 'as_agg_%' OR temporary"
        ).fetchall()
        return tables + self.connection.execute(f'SELECT status, message FROM "{schema}".aggmaint_instance').fetchall()


@pytest.fixture
def endless() -> Iterator[Endless]:
    endless = Endless()
    yield endless
    endless.engine.close(timeout_s=PATIENCE_S)
    endless.connection.close()


def cancel(endless: Endless, job: MaintenanceJob) -> None:
    assert endless.engine.cancel(ORG, job.id)


def shut_down(endless: Endless, _job: MaintenanceJob) -> None:
    assert endless.engine.close(timeout_s=PATIENCE_S), "the job listened"


def pass_the_deadline(endless: Endless, _job: MaintenanceJob) -> None:
    endless.clock.pass_s(3601)


@pytest.mark.parametrize(
    ("stop", "code", "words"),
    [
        (cancel, "cancelled", "Cancelling was asked for."),
        (shut_down, "shutdown", "The process is shutting down."),
        (pass_the_deadline, "timeout", "deadline"),
    ],
)
def test_what_stops_a_job_breaks_its_query_off(
    endless: Endless, stop: Callable[[Endless, MaintenanceJob], None], code: str, words: str
) -> None:
    job = endless.start()
    stop(endless, job)
    assert endless.ended(job) == ("failed", code)
    ((status, message),) = endless.left_behind()
    assert status == "cancelled"
    assert words in str(message)


def test_a_job_that_was_lost_breaks_its_query_off_too(endless: Endless) -> None:
    job = endless.start()
    assert endless.engine.abandon(ORG, job.id, reason="a test")
    endless.clock.pass_s(1)
    assert endless.engine.wait_until_idle(timeout_s=PATIENCE_S), "the worker heard of it at a renewal, and let go"
    assert endless.ended(job) == ("failed", "abandoned")
