"""Engines that run their jobs inside the call that starts them: no thread, no waiting, a clock that stands still."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aggmaint import JobStatus, JobStore, MaintenanceEngine
from aggmaint.stores.memory import MemoryStore
from aggmaint.testing.clocks import ManualClock
from tests.support.tasks import FunctionTask, Recorder

MakeEngine = Callable[..., MaintenanceEngine]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> JobStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def task() -> FunctionTask:
    return FunctionTask()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def make_engine(store: JobStore, task: FunctionTask, recorder: Recorder) -> Iterator[MakeEngine]:
    """Makes engines over the one `store`; closes them all. By default: no scheduler, no executor."""
    made: list[MaintenanceEngine] = []

    def make(**parts: Any) -> MaintenanceEngine:
        defaults: dict[str, Any] = {
            "store": store,
            "task": task,
            "scheduler": None,
            "executor": None,
            "listeners": [recorder],
        }
        engine = MaintenanceEngine(**(defaults | parts))
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close(timeout_s=10)


@pytest.fixture
def engine(make_engine: MakeEngine) -> MaintenanceEngine:
    engine = make_engine()
    engine.register_organizations(["acme", "other"])
    return engine


def ended(engine: MaintenanceEngine, org_id: str) -> bool:
    """The organisation's newest job has ended."""
    jobs = engine.list_jobs(org_id).jobs
    return bool(jobs) and jobs[0].status is not JobStatus.INPROGRESS
