"""The door itself: one ASGI application that admits a request, hands it to a handler in a thread, and answers.

Theory of operation. The order of questions is fixed, and it is what keeps secrets: path (400, 404), method (405), shape of
the id (400), authorisation (401, 404), size of the body (413), then the handler, which checks parameters and asks the
engine. Nothing before the authorisation reads the store, so who has no right gets the same answer for every organisation.

Whatever goes wrong becomes an error body in this one place. Engine calls block; they run in threads, never on the loop.
"""

import inspect
import logging
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, Final, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from ..core.ids import OrgId, parse_org_id
from ..errors import AggmaintError
from ._paths import Call, RouteTable, read_path
from ._replies import Reply, RequestError, hidden, translate
from .access import Access, Authorize, Permission

BODY_BYTES_MAX: Final = 64 * 1024
_log = logging.getLogger("aggmaint.asgi")


class InvalidVerdictError(AggmaintError, TypeError):
    """An authoriser must return a member of aggmaint.asgi.Access; the request was denied."""


class LimitedBody:
    """An ASGI `receive` that counts: more than 64 KiB of body are a RequestError (413), however they were announced."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes = 0
        self._finished = False
        self.disconnected = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            self._finished = not message.get("more_body", False)
            self.check(self._bytes)
        else:
            self.disconnected = self._finished = True
        return message

    async def drain(self) -> None:
        """Read what nobody has read yet."""
        self.check(self._bytes)
        while not self._finished:
            await self()

    def check(self, size: int) -> None:
        if size > BODY_BYTES_MAX:
            raise RequestError(413, f"the request's body is longer than {BODY_BYTES_MAX} bytes")


class Door:
    """Routes, admits and answers HTTP requests; refuses web sockets."""

    def __init__(self, table: RouteTable, authorize: Authorize) -> None:
        self._table = table
        self._authorize = authorize
        call = getattr(authorize, "__call__", None)  # noqa: B004 - a callable object may have a coroutine function
        self._authorize_is_async = inspect.iscoroutinefunction(authorize) or inspect.iscoroutinefunction(call)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await WebSocketClose()(scope, receive, send)
            return
        body = LimitedBody(receive)
        reply = await self._reply(Request(scope, body), body)
        if not body.disconnected:
            await _response(reply, head=scope["method"] == "HEAD")(scope, receive, send)

    async def _reply(self, request: Request, body: LimitedBody) -> Reply:
        try:
            return await self._answer(request, body)
        except Exception as exc:
            error = translate(exc)
            if error.status >= 500 and error is not exc:
                _log.exception("%s %s failed", request.method, request.url.path)
            return error.reply()

    async def _answer(self, request: Request, body: LimitedBody) -> Reply:
        found = self._table.find(read_path(request.scope))
        route = found.select(request.method)
        org_id = parse_org_id(found.org_id)
        await self._admit(request, org_id, route.permission)
        length = request.headers.get("content-length", "")
        body.check(int(length) if length.isdecimal() else 0)
        await body.drain()
        if body.disconnected:
            return RequestError(400, "the client has gone").reply()
        return await run_in_threadpool(route.handler, Call(org_id, request.scope.get("query_string", b"")))

    async def _admit(self, request: Request, org_id: OrgId, permission: Permission) -> None:
        """Raises RequestError: 401, or the 404 that an unknown organisation gets too."""
        verdict = await self._verdict(request, org_id, permission)
        if verdict is Access.GRANTED:
            return
        if verdict is Access.DENIED:
            raise hidden()
        given = "authorization" in request.headers
        error = "the bearer token is invalid or expired" if given else "missing bearer token"
        raise RequestError(401, error, headers={"WWW-Authenticate": "Bearer"})

    async def _verdict(self, request: Request, org_id: OrgId, permission: Permission) -> Access:
        verdict: Any
        if self._authorize_is_async:
            verdict = await cast(Awaitable[Access], self._authorize(request, org_id, permission))
        else:
            verdict = await run_in_threadpool(self._authorize, request, org_id, permission)
            if inspect.isawaitable(verdict):
                verdict = await verdict
        if not isinstance(verdict, Access):
            raise InvalidVerdictError(
                f"authorize returned a {type(verdict).__name__}; it must return a member of aggmaint.asgi.Access. "
                "The request was denied"
            )
        return verdict


def _response(reply: Reply, *, head: bool) -> Response:
    headers = {"Cache-Control": "no-store", **reply.headers}
    body = reply.encode(datetime.now(UTC))
    response = Response(body, reply.status, headers, "application/json")
    if head:
        response.body = b""  # the headers stay those of GET, the length included
    return response
