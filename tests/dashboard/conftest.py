"""The fleet, made once for all tests that only read it."""

import pytest
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine
from tests.dashboard.scene import Scene, fleet
from tests.dashboard.support import app_of


@pytest.fixture(scope="session")
def scene() -> Scene:
    return fleet()


@pytest.fixture(scope="session")
def fleet_engine(scene: Scene) -> MaintenanceEngine:
    return scene.engine()


@pytest.fixture(scope="session")
def fleet_app(fleet_engine: MaintenanceEngine) -> ASGIApp:
    return app_of(fleet_engine)
