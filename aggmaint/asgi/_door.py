"""The door itself: one ASGI application that admits a request, hands it to a handler in a thread, and answers.

Theory of operation. The order of questions is fixed, and it is what keeps secrets: path (400, 404), method (405), shape of
the id (400), authorisation (401, 404), how often (429), size of the body (413), then the handler, which checks parameters
and asks the engine. Nothing before the authorisation reads the store, so who has no right gets the same answer for every
organisation.

Whatever goes wrong becomes an error body in this one place. Engine calls block; they run in threads, never on the loop.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from ..core.ids import OrgId, parse_org_id
from ..errors import InvalidOrgIdError
from ._paths import Call, Found, Route, RouteTable, read_path
from ._replies import Encoded, RequestError, encode, translate
from ._threads import Threads
from .admission import Admission, user_of

Observe = Callable[[str, str | None, int, float], None]
"""Told of each request: method, the route's pattern (None: none of ours), status, seconds."""

BODY_BYTES_MAX: Final = 64 * 1024
_log = logging.getLogger("aggmaint.asgi")


class LimitedBody:
    """An ASGI `receive` that counts: more than 64 KiB of body are a RequestError (413), however they were announced."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes = 0
        self._parts: list[bytes] = []
        self._finished = False
        self.disconnected = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            part = message.get("body", b"")
            self._bytes += len(part)
            self._parts.append(part)
            self._finished = not message.get("more_body", False)
            self.check(self._bytes)
        else:
            self.disconnected = self._finished = True
        return message

    async def drain(self) -> bytes:
        """The whole body, also the part that an authoriser has read."""
        self.check(self._bytes)
        while not self._finished:
            await self()
        return b"".join(self._parts)

    def check(self, size: int) -> None:
        if size > BODY_BYTES_MAX:
            raise RequestError(413, f"the request's body is longer than {BODY_BYTES_MAX} bytes")


class Door:
    """Routes, admits and answers HTTP requests; refuses web sockets."""

    def __init__(
        self, table: RouteTable, admission: Admission, threads: Threads, observe: Observe | None = None
    ) -> None:
        self._table = table
        self._admission = admission
        self._threads = threads
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await WebSocketClose()(scope, receive, send)
            return
        body = LimitedBody(receive)
        request = Request(scope, body)
        arrived_s = time.perf_counter()
        try:
            answer = await self._answer(request, body)
        except Exception as exc:
            answer = encode(_explained(request, exc).reply())
        if self._observe is not None:
            route = scope.get("route")
            pattern = route.path if isinstance(route, Route) else None
            self._observe(scope["method"], pattern, answer.status, time.perf_counter() - arrived_s)
        if not body.disconnected:
            await answer.send(scope, send)

    async def _answer(self, request: Request, body: LimitedBody) -> Encoded:
        found, route = self._find(request)
        if route.permission is not None:
            await self._admission.admit(request, OrgId(found.parameters["orgId"]), route.permission)
        body.check(announced(request.headers.get("content-length", "")))
        content = await body.drain()
        if body.disconnected:
            raise RequestError(400, "the client has gone")
        call = Call(found.parameters, request.scope.get("query_string", b""), content, user_of(request))
        return await self._threads.run(_handle, route, call)

    def _find(self, request: Request) -> tuple[Found, Route]:
        """Raises RequestError for a path, a method or an id that can not be; 429 for too many, also of open routes."""
        try:
            found = self._table.find(read_path(request.scope))
            route = found.select(request.method)
            request.scope["route"] = route  # where tracing looks for a name with few values: its `path` is the pattern
            if route.permission is not None:
                parse_org_id(found.parameters["orgId"])
        except (RequestError, InvalidOrgIdError):
            self._admission.charge_address(request)
            raise
        if route.permission is None:
            self._admission.charge_address(request)
        return found, route


def announced(length: str) -> int:
    """The bytes that a `Content-Length` announces: 0 for none, and for what is no number, which servers refuse."""
    digits = length.lstrip("0")[:19]  # more digits are as much too long, and int() refuses very many
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


def _handle(route: Route, call: Call) -> Encoded:
    return encode(route.handler(call))


def _explained(request: Request, exc: Exception) -> RequestError:
    error = translate(exc)
    if error.status >= 500 and error is not exc:
        _log.error("%s %r failed", request.method, request.scope["path"], exc_info=exc)  # ids may hold line breaks
    return error
