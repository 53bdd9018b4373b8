"""From a request's path to a route, without letting two different ids become one.

Theory of operation. ASGI's `path` is decoded as a whole: `a%2Fhistory` has become two segments in it, and every byte that
is no UTF-8 has become U+FFFD. So the *raw* path is split first, and then each segment is decoded by itself, strictly.

`raw_path` may or may not begin with `root_path`: under uvicorn and inside Starlette's `Mount` it does, under httpx's
ASGITransport it does not. `root_path` is decoded, or, when an operator wrote it so, still encoded. It is taken off where
it is found, at a segment's border; where it is not found, the path is below it already.

A server that gives no raw path can serve plain ids only: an id with U+FFFD, or with what looks like a `/`, is refused.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from attrs import define, field, frozen

from ..core.ids import OrgId
from ._replies import Answer, RequestError
from .access import Permission

_MALFORMED_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


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
    raw = raw.partition(b"?")[0]
    if not root and b"%" not in raw and raw.isascii():  # nothing to decode: the usual case
        return RequestPath(tuple(raw.decode("ascii").split("/")[1:]), exact=True)
    return RequestPath(tuple(_decode(segment) for segment in _less_root(raw.split(b"/"), root)), exact=True)


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
    """A request that was admitted: what its path names, its query, its body, and who sent it, if the host has said so."""

    parameters: Mapping[str, str]
    query_string: bytes = b""
    body: bytes = b""
    user: str | None = None

    @property
    def org_id(self) -> OrgId:
        """The organisation that the path names; checked before the call was made."""
        return OrgId(self.parameters["orgId"])


@frozen
class Route:
    """`handler` blocks; it is called in a thread, after the permission was granted. None: open to everybody."""

    method: str
    path: str
    permission: Permission | None
    handler: Callable[[Call], Answer]


@frozen
class Found:
    """The routes of one path by method, and what the path says for each `{name}` of theirs (unchecked)."""

    routes: Mapping[str, Route]
    parameters: Mapping[str, str]

    def select(self, method: str) -> Route:
        """Raises RequestError (405)."""
        route = self.routes.get("GET" if method == "HEAD" else method)
        if route is None:
            methods = sorted({*self.routes, *(["HEAD"] if "GET" in self.routes else [])})
            allow = ", ".join(methods)
            raise RequestError(405, f"{method} is not possible here; use {allow}", headers={"Allow": allow})
        return route


@frozen
class Pattern:
    """A path with `{name}` segments: each of them takes one whole segment, whatever it holds."""

    segments: tuple[str, ...]
    _fixed: tuple[tuple[int, str], ...] = field(init=False, eq=False)
    _names: tuple[tuple[int, str], ...] = field(init=False, eq=False)

    @_fixed.default
    def _find_fixed(self) -> tuple[tuple[int, str], ...]:
        """From the end: that is where routes differ."""
        return tuple((at, each) for at, each in enumerate(self.segments) if not _is_name(each))[::-1]

    @_names.default
    def _find_names(self) -> tuple[tuple[int, str], ...]:
        return tuple((at, each[1:-1]) for at, each in enumerate(self.segments) if _is_name(each))

    def read(self, segments: Sequence[str]) -> dict[str, str] | None:
        """What the names stand for in a path of as many segments; None if it is another path."""
        if any(segments[at] != wanted for at, wanted in self._fixed):
            return None
        return {name: segments[at] for at, name in self._names}

    def may_overflow(self, segments: Sequence[str]) -> bool:
        """Whether the path may be this one with a `/` in what a name stands for: same head, more segments."""
        head = next((at for at, each in enumerate(self.segments) if _is_name(each)), None)
        return head is not None and len(segments) > head + 1 and tuple(segments[:head]) == self.segments[:head]


def _is_name(segment: str) -> bool:
    return segment.startswith("{")


@define
class RouteTable:
    """All routes under all prefixes, by the number of their segments. Routes that share a path share an entry."""

    _entries: Mapping[int, Sequence[tuple[Pattern, Mapping[str, Route]]]]

    @classmethod
    def build(cls, routes: Iterable[Route], prefixes: Sequence[str]) -> "RouteTable":
        by_pattern: dict[Pattern, dict[str, Route]] = {}
        for route in routes:
            for prefix in prefixes:
                pattern = Pattern(tuple((prefix + route.path).split("/")[1:]))
                by_pattern.setdefault(pattern, {})[route.method] = route
        entries: dict[int, list[tuple[Pattern, Mapping[str, Route]]]] = {}
        for pattern, methods in by_pattern.items():
            entries.setdefault(len(pattern.segments), []).append((pattern, methods))
        return cls(entries)

    def find(self, path: RequestPath) -> Found:
        """Raises RequestError: 404 for an unknown path, 400 for an id that this server can not tell exactly."""
        for pattern, routes in self._entries.get(len(path.segments), ()):
            parameters = pattern.read(path.segments)
            if parameters is not None:
                if not path.exact and any("\ufffd" in value for value in parameters.values()):
                    raise _inexact()
                return Found(routes, parameters)
        if not path.exact and any(
            pattern.may_overflow(path.segments) for entry in self._entries.values() for pattern, _ in entry
        ):
            raise _inexact()
        raise RequestError(404, "no such resource")


def _inexact() -> RequestError:
    return RequestError(
        400, "this server passes on no raw path (ASGI raw_path), so ids with a slash or U+FFFD can not be told apart"
    )
