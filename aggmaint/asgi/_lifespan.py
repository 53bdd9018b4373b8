"""Starting and stopping an engine with the server that serves its door, by ASGI's lifespan events.

Both block, so both run in threads. A server sends the shutdown after its open requests have ended; then running jobs are
told to stop, waited for, and recorded as failed(shutdown). A mounted application gets no lifespan events from Starlette or
FastAPI: there the host starts the engine itself.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from anyio.to_thread import run_sync
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from ..engine import MaintenanceEngine


class Lifespan:
    """Answers ASGI's lifespan events, by Starlette's router, and hands everything else to `app`."""

    def __init__(self, app: ASGIApp, lifespan: "Callable[[Any], AbstractAsyncContextManager[None]] | None") -> None:
        self._app = app
        self._router = Router(lifespan=lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._router if scope["type"] == "lifespan" else self._app)(scope, receive, send)


def engine_lifespan(
    engine: MaintenanceEngine, *, shutdown_s: float
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """A lifespan that runs `engine`; jobs have `shutdown_s` to stop."""

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        await run_sync(engine.start)
        try:
            yield
        finally:
            await run_sync(lambda: engine.close(timeout_s=shutdown_s))

    return lifespan
