"""How the app is put together: *families* of routes behind one set of guards.

    Lifespan › Shield › HostGuard › CsrfGuard › Families ┬ Door: jobs, schedules, aggregates, operations
                                                         └ what is mounted: pages, such as a dashboard

A family that is mounted gets the engine, the admission (who may do what) and the threads that blocking calls run in, and is
guarded like the rest. The app keeps nothing: every answer is read from the store.
"""

from collections.abc import Sequence

from attrs import frozen
from starlette.types import ASGIApp

from ..engine import MaintenanceEngine
from ._door import Door
from ._lifespan import Lifespan, engine_lifespan
from ._operations import Operations
from ._paths import Route, RouteTable
from ._threads import Threads
from .access import Authorize
from .admission import Admission
from .families import Families, Mounted, check_mount
from .guards import CsrfGuard, HostGuard, Shield
from .metrics import Metrics
from .rates import RateGuard, RateLimit


@frozen
class Parts:
    """What an app is made of; the names are those of `create_app`."""

    engine: MaintenanceEngine
    authorize: Authorize
    rate_limit: RateLimit | None
    threads_max: int
    metrics: Metrics | None
    mounted: tuple[Mounted, ...]
    trusted_origins: tuple[str, ...]
    allowed_hosts: tuple[str, ...] | None


def compose(parts: Parts, published: Sequence[Route], prefixes: Sequence[str], *, shutdown_s: float | None) -> ASGIApp:
    """The app. `shutdown_s` None: the engine's life is the host's. Raises InvalidValueError for parts that can not work."""
    threads = Threads(parts.threads_max)
    admission = Admission(parts.authorize, threads, RateGuard(parts.rate_limit))
    table = RouteTable.build((*published, *Operations(parts.engine, parts.metrics).routes()), prefixes)
    door = Door(table, admission, threads, None if parts.metrics is None else parts.metrics.observe)
    apps = {check_mount(each.path): each.build(parts.engine, admission, threads) for each in parts.mounted}
    index = next((each.path for each in parts.mounted if each.index), None)
    guarded: ASGIApp = CsrfGuard(Families(apps, door, index), trusted_origins=parts.trusted_origins)
    if parts.allowed_hosts is not None:
        guarded = HostGuard(guarded, parts.allowed_hosts)
    return Lifespan(
        Shield(guarded), None if shutdown_s is None else engine_lifespan(parts.engine, shutdown_s=shutdown_s)
    )
