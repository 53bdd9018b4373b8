"""Both stores under one name: a contract test that takes `store` runs on each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggmaint import JobStore
from aggmaint.stores.memory import MemoryStore
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[JobStore]:
    store: JobStore
    store = MemoryStore(clock=clock) if request.param == "memory" else SQLiteStore(tmp_path / "jobs.db", clock=clock)
    store.prepare()
    yield store
    store.close()
