"""From a request's path to a route, without letting two different ids become one.

Theory of operation. ASGI's `path` is decoded as a whole: `a%2Fhistory` has become two segments in it, and every byte that
is no UTF-8 has become U+FFFD. So the *raw* path is split first, and then each segment is decoded by itself, strictly.

`raw_path` may or may not begin with `root_path`: under uvicorn and inside Starlette's `Mount` it does, under httpx's
ASGITransport it does not. `root_path` is decoded, or, when an operator wrote it so, still encoded. It is taken off where
it is found, at a segment's border; where it is not found, the path is below it already.

A server that gives no raw path can serve plain ids only: an id with U+FFFD, or with what looks like a `/`, is refused.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from attrs import define, frozen

from ..core.ids import OrgId
from ._replies import Reply, RequestError
from .access import Permission

_MALFORMED_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ORG: Final = "{orgId}"


@frozen
class RequestPath:
    """The segments below the mount. `exact` False: they come from a path that the server had decoded already."""

    segments: tuple[str, ...]
    exact: bool


def read_path(scope: Mapping[str, Any]) -> RequestPath:
    """Raises RequestError (400) for a segment that is not percent-encoded UTF-8."""
    root = scope.get("root_path", "").rstrip("/")
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        path: str = scope["path"]
        below = path[len(root) :] if path.startswith(root + "/") else path
        return RequestPath(tuple(below.split("/")[1:]), exact=False)
    if not raw.startswith(b"/"):  # `*`, or a whole URL: no path of ours
        return RequestPath((), exact=True)
    segments = _less_root(raw.partition(b"?")[0].split(b"/"), root)
    return RequestPath(tuple(_decode(segment) for segment in segments), exact=True)


def _less_root(segments: Sequence[bytes], root: str) -> Sequence[bytes]:
    for count in range(1, root.count("/") + 2):
        prefix = b"/".join(segments[:count]).decode("latin-1")
        if root in (prefix, unquote(prefix)):
            return segments[count:]
    return segments[1:]


def _decode(segment: bytes) -> str:
    if _MALFORMED_PERCENT.search(segment):
        raise RequestError(400, "the path holds a % that no two hexadecimal digits follow; write a percent sign as %25")
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise RequestError(400, "the path is not valid UTF-8; percent-encode the UTF-8 bytes of each segment") from exc


@frozen
class Call:
    """A request that was admitted: for whom, and its query."""

    org_id: OrgId
    query_string: bytes


@frozen
class Route:
    """`handler` blocks; it is called in a thread, after the permission was granted."""

    method: str
    path: str
    permission: Permission
    handler: Callable[[Call], Reply]


@frozen
class Found:
    """The routes of one path by method, and the organisation id that the path names (unchecked)."""

    routes: Mapping[str, Route]
    org_id: str

    def select(self, method: str) -> Route:
        """Raises RequestError (405)."""
        route = self.routes.get("GET" if method == "HEAD" else method)
        if route is None:
            methods = sorted({*self.routes, *(["HEAD"] if "GET" in self.routes else [])})
            allow = ", ".join(methods)
            raise RequestError(405, f"{method} is not possible here; use {allow}", headers={"Allow": allow})
        return route


@define
class RouteTable:
    """All routes under all prefixes. Routes that share a path share an entry."""

    _entries: list[tuple[tuple[str, ...], dict[str, Route]]]

    @classmethod
    def build(cls, routes: Sequence[Route], prefixes: Sequence[str]) -> "RouteTable":
        entries: dict[tuple[str, ...], dict[str, Route]] = {}
        for prefix in prefixes:
            for route in routes:
                pattern = tuple((prefix + route.path).split("/")[1:])
                entries.setdefault(pattern, {})[route.method] = route
        return cls(list(entries.items()))

    def find(self, path: RequestPath) -> Found:
        """Raises RequestError: 404 for an unknown path, 400 for an id that this server can not tell exactly."""
        for pattern, routes in self._entries:
            if len(pattern) == len(path.segments) and _agree(pattern, path.segments):
                org_id = path.segments[pattern.index(_ORG)]
                if not path.exact and "\ufffd" in org_id:
                    raise _inexact()
                return Found(routes, org_id)
        if not path.exact and any(_overflows(pattern, path.segments) for pattern, _ in self._entries):
            raise _inexact()
        raise RequestError(404, "no such resource")


def _agree(pattern: Sequence[str], segments: Sequence[str]) -> bool:
    return all(wanted in (_ORG, segment) for wanted, segment in zip(pattern, segments, strict=False))


def _overflows(pattern: Sequence[str], segments: Sequence[str]) -> bool:
    """Whether the path may be this pattern with a `/` in its id: same head, more segments than the head and one id."""
    head = pattern.index(_ORG) + 1
    return len(segments) > head and _agree(pattern[:head], segments)


def _inexact() -> RequestError:
    return RequestError(
        400, "this server passes on no raw path (ASGI raw_path), so ids with a slash or U+FFFD can not be told apart"
    )
