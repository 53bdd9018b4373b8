"""Ways to talk to the door: through httpx in this process, and through a real uvicorn socket, byte by byte.

The bodies are compared exactly but for T, which is compared by its pattern and taken out.
"""

import asyncio
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, Final

import httpx
import uvicorn
from attrs import frozen
from starlette.types import ASGIApp, Message

from aggmaint import MaintenanceEngine, MaintenanceTask, Started
from aggmaint.asgi import StaticTokens, Token, hash_token
from aggmaint.asgi.serving import bind
from aggmaint.store import JobStore
from aggmaint.stores.memory import MemoryStore
from tests.support.tasks import FunctionTask

T: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
ORG: Final = "/aggregates/maintenance/orgId"
SCHEDULES: Final = "/aggregates/maintenance/scheduler/jobs/orgId"
AGGREGATES: Final = "/aggregates/orgId"
JOB_KEYS: Final = [
    "id",
    "organizationId",
    "triggerType",
    "creationTime",
    "startTime",
    "endTime",
    "status",
    "errorInformation",
]

TOKENS: Final = StaticTokens(
    [
        Token("root", hash_token("root"), manage=frozenset({"*"})),
        Token("viewer", hash_token("viewer"), view=frozenset({"default"})),
        Token("manager", hash_token("manager"), manage=frozenset({"default"})),
        Token("other", hash_token("other"), manage=frozenset({"acme-eu"})),
    ]
)


@frozen
class Answer:
    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.content)
        return body

    @property
    def response(self) -> Any:
        return self.body["response"]

    def timeless(self) -> dict[str, Any]:
        """The body without T, after T was found well-formed."""
        body = self.body
        assert T.fullmatch(body.pop("responseCreated"))
        return body

    def error(self, status: int) -> dict[str, Any]:
        """The error object, after everything that holds for every error was found to hold."""
        body = self.timeless()
        assert self.status == status, self.content
        assert self.headers["content-type"] == "application/json"
        assert list(body) == ["status", "response"]
        assert body["status"]["code"] == status
        response = body["response"]
        assert isinstance(response, dict)
        assert response["message"] == body["status"]["message"]
        assert isinstance(response["error"], str) and response["error"]
        assert ("www-authenticate" in self.headers) is (status == 401)
        return response


def ask(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    token: str | None = "root",
    headers: Mapping[str, str] | None = None,
    content: bytes | list[bytes] | None = None,
    root_path: str = "",
) -> Answer:
    """One request through ASGITransport. A list as `content` is sent in chunks, without a content length."""
    return ask_together(app, [(method, path)], token=token, headers=headers, content=content, root_path=root_path)[0]


def ask_together(
    app: ASGIApp,
    requests: list[tuple[str, str]],
    *,
    token: str | None = "root",
    headers: Mapping[str, str] | None = None,
    content: bytes | list[bytes] | None = None,
    root_path: str = "",
) -> list[Answer]:
    """All requests at once on one event loop. An exception out of the app is a failure of the test."""
    sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}

    async def chunks() -> AsyncIterator[bytes]:
        assert isinstance(content, list)
        for chunk in content:
            yield chunk

    async def one(client: httpx.AsyncClient, method: str, path: str) -> Answer:
        body = chunks() if isinstance(content, list) else content
        answer = await client.request(method, path, headers=sent, content=body)
        return Answer(answer.status_code, answer.headers, answer.content)

    async def all_of_them() -> list[Answer]:
        transport = httpx.ASGITransport(app, root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return list(await asyncio.gather(*(one(client, method, path) for method, path in requests)))

    return asyncio.run(all_of_them())


def exchange(app: ASGIApp, scope: Mapping[str, Any], *messages: Message) -> list[Message]:
    """What the app sends for this very scope, completed with what ASGI demands, when it receives these messages."""
    waiting = list(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def talk() -> None:
        usual = {"type": "http", "method": "GET", "headers": [], "query_string": b"", "http_version": "1.1"}
        await app({**usual, **scope}, receive, send)

    asyncio.run(talk())
    return sent


@contextmanager
def engine_with(
    task: MaintenanceTask | None = None, *, store: JobStore | None = None, inline: bool = False, jobs_max: int = 4
) -> Iterator[MaintenanceEngine]:
    """An engine that knows `default` and `acme-eu`. `inline`: jobs run to their end inside the call that starts them."""
    store = store or MemoryStore()
    task = task or FunctionTask()
    if inline:
        engine = MaintenanceEngine(store=store, task=task, scheduler=None, executor=None)
    else:
        engine = MaintenanceEngine(store=store, task=task, scheduler=None, jobs_max=jobs_max)
    engine.register_organizations(["default", "acme-eu"])
    try:
        yield engine
    finally:
        engine.close()


def run_through(engine: MaintenanceEngine, org_id: str, times: int = 1) -> list[str]:
    """Jobs from start to end; their ids, the first first. The engine must be inline."""
    started = [engine.run_immediately(org_id) for _ in range(times)]
    ids = [outcome.job.id for outcome in started if isinstance(outcome, Started)]
    assert len(ids) == times
    return [str(job_id) for job_id in ids]


@contextmanager
def served(app: ASGIApp, *, root_path: str = "") -> Iterator[int]:
    """The port of a real uvicorn in a thread. The socket listens before the thread starts, so nobody waits."""
    listener = bind("127.0.0.1", 0)
    config = uvicorn.Config(app, log_level="critical", lifespan="on", ws="none", root_path=root_path)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def ask_socket(port: int, method: str, target: str, *, token: str | None = "root") -> Answer:
    """One request whose target is sent as it is written."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, httpx.Headers(answer.getheaders()), answer.read())
    finally:
        connection.close()


def send_raw(port: int, data: bytes) -> bytes:
    """What a server answers to these very bytes, until it closes or the headers and body of one answer are there."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        received = b""
        while not _whole(received):
            part = connection.recv(65536)
            if not part:
                break
            received += part
        return received


def _whole(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(found and length and len(body) >= int(length[1]))
