"""`create_app`: the API as one ASGI application, to be served alone or mounted under any path of a host application.

It starts nothing, stops nothing and keeps nothing: the engine's life is the host's business. Starlette is imported here
when the function is called, so that `aggmaint.asgi` can be imported without it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..engine import MaintenanceEngine
from ..errors import InvalidValueError, MissingExtraError
from .access import Authorize

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def create_app(
    engine: MaintenanceEngine,
    *,
    authorize: Authorize,
    design_center_enabled: bool = True,
    manual_trigger_type: str | None = None,
    prefixes: Sequence[str] = ("", "/api/1.0"),
) -> "ASGIApp":
    """The published routes over `engine`.

    authorize              says who may do what (see `Authorize`); `load_tokens(path)`, your own, or `Anonymous()`.
    design_center_enabled  False: run-immediately answers 503, reading goes on.
    manual_trigger_type    what manual jobs are called on the wire; "TimeBasedMaintenance" is what the original writes.
                           None: "ManualMaintenance", which is what happened.
    prefixes               every route answers under each of them.

    Raises MissingExtraError without Starlette, InvalidValueError for an argument that can not work.
    """
    if not callable(authorize):
        raise InvalidValueError(
            f"authorize={authorize!r} is not callable; give load_tokens(path), a function, or Anonymous() to admit all"
        )
    if manual_trigger_type == "":
        raise InvalidValueError("manual_trigger_type is empty; give a trigger type, or None for ManualMaintenance")
    for prefix in prefixes:
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise InvalidValueError(f"prefix {prefix!r} must be empty, or begin and not end with a slash")
    try:
        from starlette.routing import Router

        from ._door import Door
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in ("starlette", "anyio"):
            raise
        raise MissingExtraError("starlette", "asgi") from exc
    from ._handlers import Handlers
    from ._paths import RouteTable

    handlers = Handlers(engine, design_center_enabled, manual_trigger_type)
    door = Door(RouteTable.build(handlers.routes(), prefixes), authorize)
    return Router(default=door, redirect_slashes=False)  # the router answers ASGI's lifespan events
