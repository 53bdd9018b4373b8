"""Families of routes side by side: each of those that are mounted has its own path, the door has the rest.

Starlette's own Mount answers neither its bare path nor paths with a line break, which organisation ids may hold.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from ..engine import MaintenanceEngine
from ..errors import InvalidValueError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ._threads import Threads
    from .admission import Admission


class Mounted(Protocol):
    """A family of routes with an application of its own, such as a dashboard."""

    @property
    def path(self) -> str:
        """Where it is mounted: "/dashboard"."""

    @property
    def index(self) -> bool:
        """Whether the app's bare address leads here. The first that says so has it."""

    def build(self, engine: MaintenanceEngine, admission: "Admission", threads: "Threads") -> "ASGIApp":
        """The application. It asks `admission` before it reads anything, and blocks in `threads` only.

        Its scopes have a `root_path` that ends in `path`; path and raw_path stay whole, as ASGI demands.
        """


class Families:
    """Sends each request to the family whose path begins its path, else to `door`; the bare address to `index`."""

    def __init__(self, mounted: Mapping[str, "ASGIApp"], door: "ASGIApp", index: str | None = None) -> None:
        self._mounted = mounted
        self._door = door
        self._index = index

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        root: str = scope.get("root_path", "").rstrip("/")
        path: str = scope["path"]
        below = path[len(root) :] if path.startswith(f"{root}/") else path
        for prefix, app in self._mounted.items():
            if below == prefix or below.startswith(f"{prefix}/"):
                await app({**scope, "root_path": root + prefix}, receive, send)
                return
        if self._index is not None and below == "/" and scope.get("method") in ("GET", "HEAD"):
            await _lead_to(self._index, send)
            return
        await self._door(scope, receive, send)


async def _lead_to(path: str, send: "Send") -> None:
    """A redirect that is relative, so it holds under every mount path and behind every proxy."""
    headers = [(b"location", f".{path}/".encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 307, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def check_mount(path: str) -> str:
    """`path`, if a family can be mounted there. Raises InvalidValueError."""
    if not path.startswith("/") or path.endswith("/") or "%" in path or path.startswith("/aggregates"):
        raise InvalidValueError(
            f"a family of routes can not be mounted at {path!r}; use a plain path such as /dashboard, outside of /aggregates"
        )
    return path
