"""What is tried again and what is not, how long is waited, and what an answer means: without any socket."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from aggmaint.client import AsyncMaintenanceClient, MaintenanceClient, Retries
from aggmaint.errors import (
    ApiError,
    ApiProtocolError,
    ApiRateLimitError,
    ApiUnavailableError,
    InvalidValueError,
)

T = "2026-03-02T12:00:00.000000Z"
IDLE = httpx.Response(200, json={"status": {"code": 0, "message": "200 OK"}, "responseCreated": T, "response": None})
STEADY = Retries(attempts=4, wait_s=1.0, wait_s_max=3.0, jitter=lambda: 1.0)
Step = httpx.Response | Exception


def refused(status: int, **headers: str) -> httpx.Response:
    body = {
        "status": {"code": status, "message": "No"},
        "responseCreated": T,
        "response": {"error": "e", "message": "No"},
    }
    return httpx.Response(status, json=body, headers={key.replace("_", "-"): value for key, value in headers.items()})


def fresh(response: httpx.Response) -> httpx.Response:
    """The same once more: a response is read once."""
    return httpx.Response(response.status_code, headers=response.headers, content=response.content)


def play(
    steps: list[Step], use: Callable[[Any], Any], *, is_async: bool, **options: Any
) -> tuple[Any, int, list[float]]:
    """What `use(client)` came to (a value or an exception), how many requests were sent, and the pauses between them."""
    waits: list[float] = []
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        step = steps[len(sent) - 1]
        if isinstance(step, Exception):
            raise step
        return fresh(step)

    transport = httpx.MockTransport(answer)
    options = {"token": "t", "retries": STEADY, **options}

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def run() -> Any:
        async with httpx.AsyncClient(transport=transport) as http:
            return await use(AsyncMaintenanceClient("http://x", http=http, sleep=sleep, **options))

    try:
        if is_async:
            return asyncio.run(run()), len(sent), waits
        with httpx.Client(transport=transport) as http:
            return use(MaintenanceClient("http://x", http=http, sleep=waits.append, **options)), len(sent), waits
    except Exception as exc:
        return exc, len(sent), waits


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def current(client: Any) -> Any:
    return client.get_current_job("default")


NO = httpx.ConnectError("refused")


@pytest.mark.parametrize(
    "passing", [NO, httpx.ReadTimeout("late"), *(refused(s) for s in (429, 502, 503, 504))], ids=repr
)
def test_reading_is_tried_again_after_what_may_pass(passing: Step, is_async: bool) -> None:
    assert play([passing, passing, passing, IDLE], current, is_async=is_async) == (None, 4, [1.0, 2.0, 3.0])
    came, sent, _ = play([passing] * 9, current, is_async=is_async)
    assert isinstance(came, ApiError) and sent == 4


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.activate_schedule("o", "s"),
        lambda client: client.deactivate_schedule("o", "s"),
        lambda client: client.delete_schedule("o", "s"),
    ],
)
def test_idempotent_changes_are_tried_again(use: Callable[[Any], Any], is_async: bool) -> None:
    came, sent, _ = play([NO, NO, refused(401)], use, is_async=is_async)
    assert isinstance(came, ApiError) and sent == 3


@pytest.mark.parametrize(
    "use",
    [lambda client: client.run_immediately("o"), lambda client: client.create_schedule("o", "0 0 4 ? * *")],
    ids=["run", "create"],
)
@pytest.mark.parametrize("passing", [NO, httpx.ReadError("cut"), refused(503), refused(429, retry_after="1")], ids=repr)
def test_what_starts_something_is_never_sent_twice(use: Callable[[Any], Any], passing: Step, is_async: bool) -> None:
    came, sent, waits = play([passing, IDLE], use, is_async=is_async)
    assert isinstance(came, ApiError) and (sent, waits) == (1, [])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 500])
def test_what_will_not_pass_is_not_tried_again(status: int, is_async: bool) -> None:
    came, sent, waits = play([refused(status), IDLE], current, is_async=is_async)
    assert isinstance(came, Exception) and (sent, waits) == (1, [])


def test_the_servers_wish_to_wait_counts(is_async: bool) -> None:
    assert play([refused(429, retry_after="2"), IDLE], current, is_async=is_async) == (None, 2, [2.0])
    came, sent, waits = play([refused(429, retry_after="60"), IDLE], current, is_async=is_async)
    assert isinstance(came, ApiRateLimitError) and came.retry_after_s == 60 and (sent, waits) == (1, [])
    odd = refused(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT")
    assert play([odd, IDLE], current, is_async=is_async) == (None, 2, [1.0])


def test_the_last_error_has_its_cause(is_async: bool) -> None:
    came, _, _ = play([NO], current, is_async=is_async, retries=Retries(attempts=1))
    assert isinstance(came, ApiUnavailableError) and came.__cause__ is NO


def test_jitter_spreads_the_waits() -> None:
    least, most = Retries(jitter=lambda: 0.0).pause_s(1, None), Retries(jitter=lambda: 1.0).pause_s(1, None)
    assert (least, most) == (0.1, 0.2)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[]", b"5", b'{"status": 1}', b'{"status":{"code":0,"message":"x"}}', b"\xff", b"null"],
)
@pytest.mark.parametrize("status", [200, 404, 500])
def test_what_is_not_the_api_is_said_to_be_so(content: bytes, status: int, is_async: bool) -> None:
    came, sent, _ = play([httpx.Response(status, content=content)], current, is_async=is_async)
    assert isinstance(came, ApiProtocolError) and came.status == status and sent == 1


def test_redirects_are_not_followed_with_the_token(is_async: bool) -> None:
    came, sent, _ = play([httpx.Response(307, headers={"location": "http://evil/"}), IDLE], current, is_async=is_async)
    assert isinstance(came, ApiProtocolError) and sent == 1


def test_the_token_is_sent_and_may_be_renewed(is_async: bool) -> None:
    given = iter(["one", "two"])
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return fresh(IDLE) if len(seen) > 1 else refused(503)

    async def sleep(_: float) -> None: ...

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            client = AsyncMaintenanceClient("http://x", http=http, token=lambda: next(given), sleep=sleep)
            await client.get_current_job("o")

    if is_async:
        asyncio.run(run())
    else:
        with httpx.Client(transport=httpx.MockTransport(answer)) as http:
            MaintenanceClient("http://x", http=http, token=lambda: next(given), sleep=lambda _: None).get_current_job(
                "o"
            )
    assert seen == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "ü", "a\x00"])
def test_tokens_that_no_header_carries_are_refused_without_naming_them(token: str) -> None:
    with pytest.raises(InvalidValueError) as caught, MaintenanceClient("http://x", token=token) as client:
        client.get_current_job("o")
    assert not token or token not in caught.value.message


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"wait_s": -1.0}, {"wait_s": 5.0, "wait_s_max": 1.0}])
def test_retries_that_can_not_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        Retries(**wrong)


def test_a_callers_http_client_stays_open() -> None:
    with httpx.Client(transport=httpx.MockTransport(lambda _: fresh(IDLE))) as http:
        with MaintenanceClient("http://x", http=http) as client:
            client.get_current_job("o")
        assert not http.is_closed
    own = MaintenanceClient("http://x")
    own.close()
    assert own._http.is_closed


def test_without_httpx_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from aggmaint.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "httpx", None)
    for kind in (MaintenanceClient, AsyncMaintenanceClient):
        with pytest.raises(MissingExtraError, match=r"aggmaint\[client\]"):
            kind("http://x")
