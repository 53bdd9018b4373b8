"""`create_app`: the API as one ASGI application, to be served alone or mounted under any path of a host application.

Starlette is imported when the function is called, so that `aggmaint.asgi` can be imported without it. How the parts are
put together is in `_composition.py`.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ..engine import MaintenanceEngine
from ..errors import InvalidValueError, MissingExtraError
from .access import Authorize
from .families import Mounted
from .metrics import Metrics
from .rates import RateLimit

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def create_app(  # noqa: PLR0913 - the composition root: each part is named once, by keyword
    engine: MaintenanceEngine,
    *,
    authorize: Authorize,
    design_center_enabled: bool = True,
    manual_trigger_type: str | None = None,
    prefixes: Sequence[str] = ("", "/api/1.0"),
    trusted_origins: Collection[str] = (),
    allowed_hosts: Collection[str] | None = None,
    rate_limit: RateLimit | None = None,
    threads_max: int = 40,
    metrics: Metrics | None = None,
    run_engine: bool = False,
    shutdown_s: float = 30.0,
    mounted: Sequence[Mounted] = (),
) -> "ASGIApp":
    """The published routes over `engine`.

    authorize              says who may do what (see `Authorize`); `load_tokens(path)`, your own, or `Anonymous()`.
    design_center_enabled  False: run-immediately answers 503, reading goes on.
    manual_trigger_type    what manual jobs are called on the wire; "TimeBasedMaintenance" is what the original writes.
                           None: "ManualMaintenance", which is what happened.
    prefixes               every route answers under each of them.
    trusted_origins        sites whose pages may start and change things with this site's cookies ("https://a.example").
    allowed_hosts          by which names this server may be addressed (`Host`); None: by any. LOOPBACK_HOSTS for a door
                           without tokens on this machine, which other sites' pages could reach otherwise (DNS rebinding).
    rate_limit             how often one token, or one address without, may ask; more is 429. None: as often as it likes.
    threads_max            blocking calls at once; further ones wait in order.
    metrics                counts requests, and is served at /metrics; None: there is no such route.
    run_engine             True: the server's start and end (ASGI's lifespan) start and close the engine. False: the host's.
    shutdown_s             how long jobs may take to stop when the app closes the engine.
    mounted                further families of routes, each under its own path, such as the dashboard.

    Raises MissingExtraError without Starlette, InvalidValueError for an argument that can not work.
    """
    _check(authorize, manual_trigger_type, prefixes)
    try:
        from ._composition import Parts, compose
        from ._published import published_routes
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in ("starlette", "anyio"):
            raise
        raise MissingExtraError("starlette", "asgi") from exc
    hosts = None if allowed_hosts is None else tuple(allowed_hosts)
    parts = Parts(engine, authorize, rate_limit, threads_max, metrics, tuple(mounted), tuple(trusted_origins), hosts)
    published = published_routes(
        engine, design_center_enabled=design_center_enabled, manual_trigger_type=manual_trigger_type
    )
    return compose(parts, published, prefixes, shutdown_s=shutdown_s if run_engine else None)


def _check(authorize: Authorize, manual_trigger_type: str | None, prefixes: Sequence[str]) -> None:
    if not callable(authorize):
        raise InvalidValueError(
            f"authorize={authorize!r} is not callable; give load_tokens(path), a function, or Anonymous() to admit all"
        )
    if manual_trigger_type == "":
        raise InvalidValueError("manual_trigger_type is empty; give a trigger type, or None for ManualMaintenance")
    for prefix in prefixes:
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise InvalidValueError(f"prefix {prefix!r} must be empty, or begin and not end with a slash")
