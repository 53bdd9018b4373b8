"""I27: a look at what is due costs what is due, not what there is. Work is counted, not timed."""

import re
from pathlib import Path

import pytest

from aggmaint import MaintenanceEngine
from aggmaint.stores import _sqlite_due
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import ManualClock
from tests.support.tasks import FunctionTask

STEPS_PER_CALL = 10


def make(path: Path, organizations: int) -> tuple[MaintenanceEngine, SQLiteStore, ManualClock]:
    clock = ManualClock()
    store = SQLiteStore(path, clock=clock)
    engine = MaintenanceEngine(store=store, task=FunctionTask(), scheduler=None, executor=None)
    engine.register_organizations(f"org{number:05}" for number in range(organizations))
    return engine, store, clock


def work_of_a_tick(engine: MaintenanceEngine, store: SQLiteStore) -> tuple[int, int]:
    """Statements, and tens of steps of SQLite's virtual machine."""
    connection = store._connections.get()
    statements: list[str] = []
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_trace_callback(statements.append)
    connection.set_progress_handler(count, STEPS_PER_CALL)
    try:
        engine.tick()
    finally:
        connection.set_trace_callback(None)
        connection.set_progress_handler(None, 0)
    return len(statements), steps


def test_I27_an_idle_tick_costs_the_same_at_any_number_of_organizations(tmp_path: Path) -> None:
    few = work_of_a_tick(*make(tmp_path / "few.db", 10)[:2])
    many = work_of_a_tick(*make(tmp_path / "many.db", 3000)[:2])
    assert many[0] == few[0]
    assert many[1] <= few[1] + 2


@pytest.mark.parametrize("waiting", [0, 40])
def test_I27_a_tick_costs_what_is_due_and_not_what_there_is(tmp_path: Path, waiting: int) -> None:
    """Some are due, some wait held back, most sleep."""
    work = []
    for name, sleeping in (("few", 10), ("many", 3000)):
        engine, store, clock = make(tmp_path / f"{name}.db", sleeping + 5 + waiting)
        for number in range(5):
            engine.add_schedule(f"org{number:05}", "0 0 13 ? * * *")
        for number in range(5, 5 + waiting):
            engine.pause(f"org{number:05}", reason="sleeps too")
        clock.pass_s(3600)
        work.append(work_of_a_tick(engine, store))
    (few_statements, few_steps), (many_statements, many_steps) = work
    assert many_statements == few_statements
    assert many_steps <= few_steps * 1.3, "deeper trees only"


@pytest.mark.parametrize("query", ["_LAPSED", "_NOTICING", "_WAITING", "_HELD", "_LATER"])
def test_every_look_goes_through_an_index(tmp_path: Path, query: str) -> None:
    _, store, _ = make(tmp_path / "jobs.db", 1)
    sql = getattr(_sqlite_due, query)
    values = [1] * (1 if "?1" in sql else len(re.findall(r"\?", sql)))
    rows = store._connections.get().execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    reads = [detail for *_, detail in rows if "aggmaint_organization" in detail]
    assert reads
    assert all("INDEX aggmaint_organization_" in detail for detail in reads), reads
