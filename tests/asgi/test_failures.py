"""Every error has the envelope and leaks nothing: methods, bodies, HEAD, failing stores, bugs; nothing blocks the loop."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine
from aggmaint.asgi import Anonymous, create_app
from aggmaint.asgi._door import announced
from aggmaint.asgi._threads import Threads
from aggmaint.errors import ContentionError, InvalidValueError, StoreUnavailableError, UnknownOutcomeError
from aggmaint.stores.memory import MemoryStore
from tests.asgi.support import (
    AGGREGATES,
    ORG,
    SCHEDULES,
    TOKENS,
    ask,
    engine_with,
    exchange,
    run_through,
    send_raw,
    served,
)

READS = (
    f"{ORG}/default",
    f"{ORG}/default/history",
    f"{SCHEDULES}/default",
    f"{AGGREGATES}/default",
    f"{AGGREGATES}/default/instances",
)
ROUTES = [
    ("POST", f"{ORG}/default/run-immediately"),
    ("POST", f"{SCHEDULES}/default?time_expression=0+0+5+?+*+*"),
    *(("GET", path) for path in READS),
]
SECRET = "SELECT * FROM aggmaint_job -- /var/lib/secret.db"


class FailingStore(MemoryStore):
    """Fails with `error` once it is set."""

    error: Exception | None = None

    def load(self, org_ids: Any) -> Any:
        if self.error:
            raise self.error
        return super().load(org_ids)


# -- methods -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allow", "methods"),
    [
        (READS[0], "GET, HEAD", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"]),
        (READS[1], "GET, HEAD", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        (READS[3], "GET, HEAD", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        (READS[4], "GET, HEAD", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        (f"{ORG}/default/run-immediately", "POST", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"]),
    ],
)
def test_other_methods_are_405_with_allow(app: ASGIApp, path: str, allow: str, methods: list[str]) -> None:
    for method in methods:
        for prefix in ("", "/api/1.0"):
            answer = ask(app, method, prefix + path, token=None)
            assert (answer.status, answer.headers["allow"]) == (405, allow)
            if method != "HEAD":
                answer.error(405)


def test_head_is_get_without_the_body(app: ASGIApp, engine: MaintenanceEngine) -> None:
    run_through(engine, "default")
    for path in [*READS, f"{ORG}/nobody", "/nothing", f"{ORG}/default/history?limit=0"]:
        get, head = (ask(app, method, path) for method in ("GET", "HEAD"))
        assert (head.status, head.content) == (get.status, b"")
        assert head.headers == get.headers
    for method in ("GET", "HEAD"):  # httpx hides a body that is sent after HEAD
        start, body = exchange(app, {"method": method, "path": READS[0], "raw_path": READS[0].encode()})
        assert start["status"] == 401 and bool(body.get("body")) is (method == "GET")
    with served(app) as port:
        answer = send_raw(port, f"HEAD {READS[1]} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head_part, _, rest = answer.partition(b"\r\n\r\n")
    assert head_part.startswith(b"HTTP/1.1 401 ") and rest == b""


# -- bodies ------------------------------------------------------------------------------------------------------------

FULL = b" " * 65536


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_bodies_over_64_kib_are_413(app: ASGIApp, engine: MaintenanceEngine, method: str, path: str) -> None:
    ask(app, method, path, content=FULL + b"x").error(413)
    ask(app, method, path, content=[FULL, b"x"]).error(413)
    ask(app, method, path, content=[b"x" * 1000] * 100).error(413)
    assert engine.list_jobs("default").jobs == ()
    assert ask(app, method, path, content=FULL).status == 200
    assert ask(app, method, path, content=[FULL[1:], b"\n"]).status == 200


def test_an_announced_length_is_refused_before_it_is_sent(app: ASGIApp) -> None:
    head = f"POST {ORG}/default/run-immediately HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer root\r\n"
    with served(app) as port:
        assert send_raw(port, f"{head}Content-Length: 65537\r\n\r\n".encode()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("length", ["65537", "0065537", "9" * 5000, "9" * 19 + "x"])
def test_any_length_that_is_too_long_is_refused(app: ASGIApp, length: str) -> None:
    path = f"{ORG}/default/run-immediately"
    headers = [(b"authorization", b"Bearer root"), (b"content-length", length.encode())]
    scope = {"method": "POST", "path": path, "raw_path": path.encode(), "headers": headers}
    start, _ = exchange(app, scope, {"type": "http.request", "body": b""})
    assert start["status"] == 413


@pytest.mark.parametrize("length", ["", "0", "-1", "x", "65536", "\u0665", "0x20000", "1e9"])
def test_other_lengths_are_the_bodys(length: str) -> None:
    assert announced(length) in (0, 65536)


def test_chunks_are_counted_on_a_real_socket(app: ASGIApp, engine: MaintenanceEngine) -> None:
    head = f"POST {ORG}/default/run-immediately HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer root\r\n"
    chunk = b"4001\r\n" + b"x" * 0x4001 + b"\r\n"
    with served(app) as port:
        sent = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + 4 * chunk
        answer = send_raw(port, sent)
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"response":{' in answer
    assert engine.list_jobs("default").jobs == ()


def test_who_may_not_in_sends_no_body(app: ASGIApp) -> None:
    ask(app, "POST", f"{ORG}/default/run-immediately", token=None, content=FULL * 2).error(401)
    ask(app, "POST", f"{ORG}/default/run-immediately", token="other", content=FULL * 2).error(404)


def test_a_client_that_leaves_half_way_starts_nothing(engine: MaintenanceEngine) -> None:
    path = f"{ORG}/default/run-immediately"
    scope = {"method": "POST", "path": path, "raw_path": path.encode()}
    half, gone = {"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}
    assert exchange(create_app(engine, authorize=Anonymous()), scope, half, gone) == []
    assert engine.list_jobs("default").jobs == ()


# -- failures inside ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (StoreUnavailableError(SECRET), 503, "try again"),
        (ContentionError(SECRET), 503, "try again"),
        (UnknownOutcomeError(SECRET), 503, "not known whether"),
        (RuntimeError(SECRET), 500, "inside the server"),
        (InvalidValueError(SECRET), 500, "inside the server"),
        (AssertionError(SECRET), 500, "inside the server"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_failures_inside_are_logged_and_not_told(
    caplog: pytest.LogCaptureFixture, method: str, path: str, error: Exception, status: int, said: str
) -> None:
    store = FailingStore()
    with engine_with(store=store, inline=True) as engine:
        store.error = error
        answer = ask(create_app(engine, authorize=TOKENS), method, path)
        store.error = None
    assert said in answer.error(status)["error"]
    for part in (b"SELECT", b"secret", b"Traceback", b"Error"):
        assert part not in answer.content.replace(b"Internal Server Error", b"")
    assert SECRET in caplog.text


def test_no_id_forges_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore()
    with engine_with(store=store, inline=True) as engine:
        store.error = RuntimeError("away")
        ask(create_app(engine, authorize=TOKENS), "GET", f"{ORG}/a%0AERROR%20all%20is%20lost").error(500)
        store.error = None
    assert "\nERROR all is lost" not in caplog.text and "all is lost" in caplog.text


def test_expected_errors_are_not_logged(app: ASGIApp, caplog: pytest.LogCaptureFixture) -> None:
    ask(app, "GET", f"{ORG}/nobody")
    ask(app, "GET", "/nothing", token=None)
    ask(app, "GET", f"{ORG}/default/history?limit=0")
    assert caplog.text == ""


def test_answers_are_not_to_be_cached(app: ASGIApp) -> None:
    for path in (READS[0], "/nothing"):
        assert ask(app, "GET", path).headers["cache-control"] == "no-store"


def test_web_sockets_are_refused(app: ASGIApp) -> None:
    sent = exchange(app, {"type": "websocket", "path": READS[0]}, {"type": "websocket.connect"})
    assert [message["type"] for message in sent] == ["websocket.close"]


# -- the event loop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_engine_is_never_called_on_the_event_loop(method: str, path: str) -> None:
    threads: list[threading.Thread] = []

    class WatchedStore(MemoryStore):
        def load(self, org_ids: Any) -> Any:
            threads.append(threading.current_thread())
            return super().load(org_ids)

    with engine_with(store=WatchedStore(), inline=True) as engine:
        app = create_app(engine, authorize=TOKENS)
        threads.clear()
        assert ask(app, method, path).status == 200
    assert threads and threading.main_thread() not in threads  # asyncio.run has its loop in this thread


def test_blocking_calls_are_bounded_and_the_others_wait_in_order() -> None:
    threads, gate = Threads(2), threading.Event()

    async def talk() -> list[int]:
        def block(number: int) -> int:
            assert gate.wait(20)
            return number

        tasks = [asyncio.create_task(threads.run(block, number)) for number in range(5)]
        await asyncio.sleep(0)
        limiter = threads._limiter.get()
        while limiter.statistics().borrowed_tokens + limiter.statistics().tasks_waiting < 5:
            await asyncio.sleep(0)
        assert (limiter.statistics().borrowed_tokens, limiter.statistics().tasks_waiting) == (2, 3)
        gate.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(asyncio.wait_for(talk(), 30)) == [0, 1, 2, 3, 4]
    gate.clear()
    assert (
        asyncio.run(threads.run(threading.get_ident)) != threading.get_ident()
    )  # on another loop, with one of its own


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefixes": ["api"]},
        {"prefixes": ["/api/"]},
        {"prefixes": ["/"]},
        {"manual_trigger_type": ""},
        {"threads_max": 0},
    ],
    ids=str,
)
def test_arguments_that_can_not_work_are_refused(engine: MaintenanceEngine, wrong: dict[str, Any]) -> None:
    make: Callable[..., ASGIApp] = create_app
    with pytest.raises(InvalidValueError):
        make(engine, authorize=TOKENS, **wrong)
