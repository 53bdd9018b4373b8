"""Live progress: what a stream says, how often it looks, and when it ends. Time is passed by the streams' own waiting."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from attrs import define, evolve, field
from starlette.types import Message

from aggmaint.asgi._threads import Threads
from aggmaint.asgi.dashboard.live import HEARTBEAT_S, LIFE_S, POLL_S, Stream, Streams, tell
from aggmaint.core.ids import JobId, OrgId
from aggmaint.core.job import Progress
from aggmaint.core.organization import OrgSnapshot, Request
from aggmaint.core.trigger import MANUAL
from aggmaint.errors import OrganizationNotFoundError, StoreUnavailableError
from tests.asgi.support import ask
from tests.dashboard.support import act, address, app_of, engine_of
from tests.dashboard.test_states import NEVER, NOON, running
from tests.support.tasks import GateTask

ORG = OrgId("acme")


def at(done: int) -> OrgSnapshot:
    return evolve(NEVER, running=evolve(running(), progress=Progress("refresh", done, 9, "sales", NOON)))


@define
class World:
    """Documents as a store gives them one after the other, a clock, and a client."""

    documents: Sequence[OrgSnapshot | Exception]
    now_s: float = 0.0
    looks: list[float] = field(factory=list)
    sent: list[str] = field(factory=list)
    before_sleep: Callable[[int], None] = lambda _count: None
    sleeps: int = 0
    asleep: int = 0
    streams_: Streams = field(init=False)
    gone: anyio.Event | None = None

    def read(self, org_id: OrgId) -> OrgSnapshot:
        self.looks.append(self.now_s)
        found = self.documents[min(len(self.looks), len(self.documents)) - 1]
        if isinstance(found, Exception):
            raise found
        return found

    async def sleep(self, seconds: float) -> None:
        """Time passes when all streams sleep; nobody waits for it."""
        self.sleeps += 1
        self.before_sleep(self.sleeps)
        until_s = self.now_s + seconds
        self.asleep += 1
        while self.now_s < until_s:
            if self.asleep >= self.streams_._open:
                self.now_s, self.asleep = until_s, 0
            await anyio.lowlevel.checkpoint()

    def streams(self, **more: Any) -> Streams:
        self.streams_ = Streams(self.read, Threads(4), sleep=self.sleep, steady=lambda: self.now_s, **more)
        return self.streams_

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.sent.append(message["body"].decode())

    async def receive(self) -> Message:
        assert self.gone is not None
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def run(self, streams: Streams, job: str | None = "j", count: int = 1) -> None:
        async def main() -> None:
            self.gone = anyio.Event()
            async with anyio.create_task_group() as group:
                for _ in range(count):
                    assert streams.enter(ORG)
                    group.start_soon(Stream(streams, ORG, job), {"type": "http"}, self.receive, self.send)

        asyncio.run(main())

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for text in self.sent:
            if text.startswith("event: "):
                name, data = text.strip().split("\n")
                found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
        return found


def test_progress_is_told_as_it_moves_and_the_end_ends_the_stream() -> None:
    world = World([at(1), at(1), at(2), at(5), NEVER])
    world.run(world.streams())
    assert [(name, body.get("done")) for name, body in world.events] == [
        ("state", 1),
        ("state", 2),
        ("state", 5),
        ("over", None),
    ]
    assert world.events[0][1]["step"] == "Publishing partitions" and world.events[0][1]["total"] == 9
    assert world.sent[-1] == ""  # the answer is finished, so the connection is free


def test_the_store_is_asked_once_a_second_however_many_watch() -> None:
    world = World([at(number) for number in range(10)] + [NEVER])
    world.run(world.streams(), count=20)
    assert all(later - earlier >= POLL_S for earlier, later in zip(world.looks, world.looks[1:], strict=False))
    assert sum(name == "over" for name, _ in world.events) == 20


def test_silence_is_broken_by_heartbeats() -> None:
    world = World([at(1)] * int(3 * HEARTBEAT_S) + [NEVER])
    world.run(world.streams())
    assert sum(text.startswith(": ") for text in world.sent) == 2


def test_a_stream_ends_in_time_so_that_rights_are_asked_again() -> None:
    world = World([at(1)])
    world.run(world.streams())
    assert LIFE_S <= world.now_s <= LIFE_S + POLL_S
    assert [name for name, _ in world.events] == ["state"]  # not over: the browser is to come back
    assert world.sent[0].startswith("retry: ")


def test_a_client_that_leaves_ends_its_stream_and_frees_its_place() -> None:
    world = World([at(1)])
    streams = world.streams(streams_max=1)

    def leave(count: int) -> None:
        if count == 3:
            assert world.gone is not None
            world.gone.set()

    world.before_sleep = leave
    world.run(streams)
    assert world.sleeps < 10
    assert streams.enter(ORG)


def test_places_are_bounded_and_given_back() -> None:
    world = World([NEVER])
    streams = world.streams(streams_max=2)
    assert streams.enter(ORG) and streams.enter(OrgId("other")) and not streams.enter(ORG)
    streams.leave(ORG)
    assert streams.enter(ORG)
    for org in (ORG, OrgId("other")):
        streams.leave(org)
    for _ in range(3):
        world.run(streams)
    assert world.events == [("over", {"state": "over"})] * 3


def test_a_server_that_stops_ends_all_streams() -> None:
    world = World([at(1)])
    stopping = threading.Event()
    streams = world.streams(stopping=stopping)
    world.before_sleep = lambda count: stopping.set() if count == 2 else None
    world.run(streams)
    assert world.sleeps == 2
    assert not streams.enter(ORG)


def test_a_store_that_is_away_for_a_while_is_no_end() -> None:
    world = World([at(1), StoreUnavailableError("away"), StoreUnavailableError("away"), at(2), NEVER])
    world.run(world.streams())
    assert [name for name, _ in world.events] == ["state", "state", "over"]


def test_an_organisation_that_is_gone_is_an_end() -> None:
    world = World([at(1), OrganizationNotFoundError(ORG)])
    world.run(world.streams())
    assert [name for name, _ in world.events] == ["state", "over"]


def test_a_stream_of_the_organisation_ends_with_the_job_that_it_began_with() -> None:
    other = evolve(at(1), running=evolve(running(), job=evolve(running().job, id=JobId("k"))))
    waiting = evolve(NEVER, pending=Request(MANUAL, created_at=NOON, automatic=False))
    world = World([waiting, at(1), other])
    world.run(world.streams(), job=None)
    assert [body["state"] for _, body in world.events] == ["waiting", "running", "over"]


@pytest.mark.parametrize(
    ("document", "job", "state"),
    [
        (at(1), None, "running"),
        (at(1), "j", "running"),
        (at(1), "k", "over"),
        (evolve(NEVER, running=evolve(running(), cancel_requested=True)), "j", "cancelling"),
        (NEVER, None, "over"),
        (evolve(NEVER, pending=Request(MANUAL, created_at=NOON, automatic=False)), None, "waiting"),
        (evolve(NEVER, pending=Request(MANUAL, created_at=NOON, automatic=False)), "j", "over"),
    ],
)
def test_what_is_told(document: OrgSnapshot, job: str | None, state: str) -> None:
    told = tell(document, job)
    assert (told.body["state"], told.over) == (state, state == "over")


def test_the_address_of_a_stream() -> None:
    gate = GateTask()
    with engine_of("acme", task=gate, inline=False) as engine:
        app = app_of(engine, streams_max=0)
        act(app, "acme", "run")
        gate.next_entered()
        answer = ask(app, "GET", address("events", org="acme"))
        assert answer.status == 503 and answer.headers["retry-after"] == "10"
        assert ask(app, "HEAD", address("events", org="acme")).status == 405
        gate.open()
        engine.wait_until_idle(timeout_s=20)
        over = ask(app_of(engine), "GET", address("events", org="acme"))
        assert over.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "event: over" in over.content.decode()
