"""Live progress: server-sent events about one organisation's job in progress.

Theory of operation. A stream looks at the organisation's document about once a second and tells what has changed. All
streams of one organisation share one look, so that a hundred open pages ask the store no more often than one. A stream
ends when what it is about has ended, when the client leaves, when the app stops, and after a few minutes in any case: the
browser then connects again, and is judged anew by the authoriser. The number of streams is bounded; what is too much is
told so (503), and the page falls back to asking now and then.

The store is read in threads, waiting is done on the loop. `sleep` and `steady` are given, so tests wait for nothing.
"""

import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import anyio
from attrs import define, field, frozen
from starlette.types import Receive, Scope, Send

from ...core.ids import OrgId
from ...core.organization import OrgSnapshot
from ...errors import AggmaintError, StoreError
from .._threads import Threads
from . import links, words

POLL_S: Final = 1.0
HEARTBEAT_S: Final = 15.0
LIFE_S: Final = 300.0
RETRY_MS: Final = 3000
HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


@frozen
class Told:
    """What a stream says now. `over`: there is nothing more to tell; the page should be read again."""

    body: Mapping[str, Any]
    over: bool


def tell(document: OrgSnapshot, job_id: str | None) -> Told:
    """How it stands with this job, or (None) with whatever runs or waits. Pure."""
    running = document.running
    if running is not None and job_id in (None, running.job.id):
        progress = running.progress
        body = {
            "state": "cancelling" if running.cancel_requested else "running",
            "job": running.job.id,
            "link": links.to("job", org=document.org_id, job=running.job.id),
            "step": words.step(progress.step) if progress else "Starting",
            "detail": progress.detail if progress else "",
            "done": progress.done if progress else 0,
            "total": progress.total if progress else None,
        }
        return Told(body, over=False)
    if job_id is None and document.pending is not None:
        return Told({"state": "waiting"}, over=False)
    return Told({"state": "over"}, over=True)


@define
class _Watch:
    """The last look at one organisation, shared by its streams."""

    streams: int = 0
    looked_at_s: float = float("-inf")
    document: OrgSnapshot | None = None


@define
class Streams:
    """All streams of one app. `read` blocks, and gives an organisation's document. Safe for many threads and loops."""

    read: Callable[[OrgId], OrgSnapshot]
    threads: Threads
    streams_max: int = 64
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    steady: Callable[[], float] = time.monotonic
    stopping: threading.Event = field(factory=threading.Event)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _watches: dict[OrgId, _Watch] = field(factory=dict, init=False)
    _open: int = field(default=0, init=False)

    def enter(self, org_id: OrgId) -> bool:
        """Take a place. False: all are taken. `leave` gives it back."""
        with self._lock:
            if self._open >= self.streams_max or self.stopping.is_set():
                return False
            self._open += 1
            self._watches.setdefault(org_id, _Watch()).streams += 1
            return True

    def leave(self, org_id: OrgId) -> None:
        with self._lock:
            self._open -= 1
            watch = self._watches[org_id]
            watch.streams -= 1
            if not watch.streams:
                del self._watches[org_id]

    async def look(self, org_id: OrgId) -> OrgSnapshot | None:
        """The document, at most about a second old; None if it could not be read and never was. Needs a place."""
        with self._lock:
            watch = self._watches[org_id]
            now = self.steady()
            if now - watch.looked_at_s < POLL_S:
                return watch.document
            watch.looked_at_s = now  # whoever comes while this one reads takes the last document
        try:
            document = await self.threads.run(self.read, org_id)
        except StoreError:
            return watch.document
        watch.document = document
        return document


@frozen
class Stream:
    """One client's stream, as an ASGI application. It has a place already, and gives it back."""

    streams: Streams
    org_id: OrgId
    job_id: str | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        try:
            async with anyio.create_task_group() as group:

                async def watch_client() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    group.cancel_scope.cancel()

                group.start_soon(watch_client)
                await self._send_all(send)
                group.cancel_scope.cancel()
        finally:
            self.streams.leave(self.org_id)

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await self._write(send, f"retry: {RETRY_MS}\n\n")
        opened_at_s = written_at_s = self.streams.steady()
        said: Told | None = None
        subject = self.job_id
        while True:
            told = await self._next(subject)
            now_s = self.streams.steady()
            if told is not None and told != said:
                await self._write(send, _event("over" if told.over else "state", told.body))
                said, written_at_s = told, now_s
                subject = subject or told.body.get("job")
            elif now_s - written_at_s >= HEARTBEAT_S:
                await self._write(send, ": still here\n\n")
                written_at_s = now_s
            ended = (said is not None and said.over) or now_s - opened_at_s >= LIFE_S
            if ended or self.streams.stopping.is_set():
                break
            await self.streams.sleep(POLL_S)
        await send({"type": "http.response.body", "body": b""})

    async def _next(self, subject: str | None) -> Told | None:
        """None: nothing is known yet. An organisation that is gone has nothing more to tell."""
        try:
            document = await self.streams.look(self.org_id)
        except AggmaintError:
            return Told({"state": "over"}, over=True)
        return None if document is None else tell(document, subject)

    async def _write(self, send: Send, text: str) -> None:
        body = text.encode("utf-8", "replace")
        await send({"type": "http.response.body", "body": body, "more_body": True})


def _event(name: str, body: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(body)}\n\n"
