"""One call from beginning to end, as a generator that does no input or output: sending, waiting, retrying, what errors mean.

Theory of operation. `converse(call, retries)` yields what is to be done, `Send()` or `Wait(seconds)`, and is sent what came
of it: the answer, or the failure to get one. The sync and the async client differ in how they do these two things and in
nothing else, so neither can drift from the other.

Tried again are only calls that may be sent twice, and only after what may pass: no connection, 429, 502, 503, 504. A request
for a job is never sent twice: when its answer was lost, the caller has to look at what runs.
"""

import json
import random
from collections.abc import Callable, Generator
from typing import Final, TypeVar

from attrs import frozen

from ..asgi.wire import WireEnvelope, read_object
from ..errors import (
    AggmaintError,
    ApiAuthenticationError,
    ApiError,
    ApiProtocolError,
    ApiRateLimitError,
    ApiUnavailableError,
    InvalidValueError,
    OrganizationNotFoundError,
    ScheduleNotFoundError,
)
from ._calls import Call, Received

T = TypeVar("T")
PASSING: Final = frozenset({429, 502, 503, 504})


@frozen
class Send:
    """Send the request, and send back what came of it."""


@frozen
class Wait:
    seconds: float


@frozen
class Failed:
    """There was no answer. `error` is the transport's."""

    error: Exception


@frozen
class Retries:
    """How often a call that may be sent twice is tried, and how long is waited in between: doubled each time, with jitter.

    A `Retry-After` of the server counts instead, up to `wait_s_max`; longer ones are left to the caller.
    """

    attempts: int = 3
    wait_s: float = 0.2
    wait_s_max: float = 10.0
    jitter: Callable[[], float] = random.random

    def __attrs_post_init__(self) -> None:
        if self.attempts < 1 or self.wait_s < 0 or self.wait_s_max < self.wait_s:
            raise InvalidValueError(
                f"attempts={self.attempts}, wait_s={self.wait_s}, wait_s_max={self.wait_s_max}: give at least one attempt, "
                "and waits from 0 on"
            )

    def pause_s(self, attempt: int, retry_after_s: float | None) -> float | None:
        """Before the attempt after `attempt` (from 1); None: no more."""
        if attempt >= self.attempts or (retry_after_s or 0) > self.wait_s_max:
            return None
        if retry_after_s is not None:
            return retry_after_s
        return min(self.wait_s_max, self.wait_s * 2.0 ** (attempt - 1)) * (0.5 + self.jitter() / 2)


def converse(call: Call[T], retries: Retries) -> Generator[Send | Wait, Received | Failed | None, T]:
    """Raises what the last attempt came to."""
    attempt = 0
    while True:
        attempt += 1
        came = yield Send()
        assert came is not None, "Send is answered by what came of it"
        if isinstance(came, Received) and (200 <= came.status < 300 or came.status in call.accepted):
            return _read(call, came)
        passing = isinstance(came, Failed) or came.status in PASSING
        pause_s = retries.pause_s(attempt, _retry_after_s(came)) if passing and call.idempotent else None
        if pause_s is None:
            raise error_of(call, came) from (came.error if isinstance(came, Failed) else None)
        yield Wait(pause_s)


def _read(call: Call[T], came: Received) -> T:
    try:
        return call.read(came)
    except (InvalidValueError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ApiProtocolError(
            f"{call.method} {call.path} answered {came.status} and not as the API does: {exc}; check the base URL",
            status=came.status,
        ) from exc


def error_of(call: Call[T], came: Received | Failed) -> AggmaintError:
    """The exception for an answer that is none of those expected."""
    what = f"{call.method} {call.path}"
    if isinstance(came, Failed):
        return ApiUnavailableError(f"{what}: no answer ({type(came.error).__name__}: {came.error})")
    try:
        body = WireEnvelope.from_json(json.loads(came.content))
        details = read_object(body.response, "response")
    except (InvalidValueError, ValueError):
        return ApiProtocolError(f"{what} answered {came.status}, and not as the API does", status=came.status)
    said = f"{body.message}: {details.get('error', '')}"
    if came.status == 404 and "scheduleId" in details and call.org_id is not None:
        return ScheduleNotFoundError(call.org_id, str(details["scheduleId"]))
    if came.status == 404 and call.org_id is not None:
        return OrganizationNotFoundError(call.org_id, f"organisation {call.org_id!r}: {details.get('error', '')}")
    if came.status in (400, 413):
        return InvalidValueError(f"{what}: {said}")
    if came.status == 401:
        return ApiAuthenticationError(f"{what}: {said}", status=401)
    if came.status == 429:
        return ApiRateLimitError(f"{what}: {said}", retry_after_s=_retry_after_s(came))
    kind = ApiUnavailableError if came.status in PASSING else ApiError
    return kind(f"{what} answered {came.status}: {said}", status=came.status)


def _retry_after_s(came: Received | Failed) -> float | None:
    """In seconds; the form with a date is not read."""
    text = "" if isinstance(came, Failed) else came.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
