"""The published routes, all families together: the one list that the app, the OpenAPI document and their tests read."""

from ..engine import MaintenanceEngine
from ._aggregates import Aggregates
from ._jobs import Jobs
from ._paths import Route
from ._schedules import Schedules


def published_routes(
    engine: MaintenanceEngine, *, design_center_enabled: bool = True, manual_trigger_type: str | None = None
) -> tuple[Route, ...]:
    """Routes 1 to 8 over `engine`; the arguments are those of `create_app`."""
    jobs = Jobs(engine, design_center_enabled, manual_trigger_type)
    return (*jobs.routes(), *Schedules(engine).routes(), *Aggregates(engine).routes())
