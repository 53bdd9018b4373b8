"""Engines and doors for the tests of the HTTP API."""

from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine
from aggmaint.asgi import create_app
from tests.asgi.support import TOKENS, engine_with
from tests.support.tasks import GateTask


@pytest.fixture
def engine() -> Iterator[MaintenanceEngine]:
    """Jobs run to their end inside the call that starts them."""
    with engine_with(inline=True) as engine:
        yield engine


@pytest.fixture
def app(engine: MaintenanceEngine) -> ASGIApp:
    return create_app(engine, authorize=TOKENS)


@pytest.fixture
def gate() -> GateTask:
    return GateTask()


@pytest.fixture
def gated(gate: GateTask) -> Iterator[MaintenanceEngine]:
    """Jobs stay in progress until `gate.open()`."""
    with engine_with(gate) as engine:
        yield engine


@pytest.fixture
def gated_app(gated: MaintenanceEngine) -> ASGIApp:
    return create_app(gated, authorize=TOKENS)
