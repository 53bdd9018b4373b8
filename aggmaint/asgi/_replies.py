"""Answers as values: what a handler returns, what a refused request raises, and how both become a body.

Every error body has an object under `response`, because the published client reads `response.error` and crashes on null
or a list. What a caller is told about a failure inside is a sentence that stands in the code, never the failure's own
text, which may hold SQL or paths.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import Factory, frozen

from ..errors import (
    AggmaintError,
    InvalidOrgIdError,
    OrganizationNotFoundError,
    ScheduleNotFoundError,
    StoreError,
    UnknownOutcomeError,
)
from .wire import WireEnvelope

if TYPE_CHECKING:
    from starlette.types import Scope, Send

HIDDEN: Final = "no such organisation, or no right to it"
"""One text for both, by intention: who has no right does not learn whether the organisation exists."""


_to_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Answer(Protocol):
    """What a handler returns: a status, a media type, headers besides the usual ones, and a body to be encoded."""

    @property
    def status(self) -> int: ...

    @property
    def media_type(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def encode(self, at: datetime) -> bytes:
        """The body; `at` is the instant of the answer."""


@frozen
class Document:
    """An answer outside of the envelope, in the format of its media type."""

    content: bytes
    media_type: str
    status: int = 200
    headers: Mapping[str, str] = Factory(dict)

    def encode(self, at: datetime) -> bytes:  # noqa: ARG002 - its instant, if it has one, is in its content
        return self.content


@frozen
class Reply:
    """An answer in the envelope: HTTP status, the envelope's code and message, and what it carries."""

    status: int
    code: int
    message: str
    response: Any
    headers: Mapping[str, str] = Factory(dict)
    media_type: str = "application/json"

    def encode(self, at: datetime) -> bytes:
        """The body. Lone surrogates in a task's own message become `?` instead of a failure."""
        body = WireEnvelope(self.code, self.message, at, self.response).to_json()
        return _to_json(body).encode("utf-8", "replace")


def read_reply(response: Any) -> Reply:
    """The engine style: code 0 under HTTP 200."""
    return Reply(200, 0, "200 OK", response)


def action_reply(message: str, response: Any) -> Reply:
    """The action style: code 200 and a sentence."""
    return Reply(200, 200, message, response)


class RequestError(AggmaintError):
    """The request can not be answered as asked; `status` is the HTTP status."""

    http_status = 400

    def __init__(
        self,
        status: int,
        error: str,
        *,
        phrase: str | None = None,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.phrase = phrase or HTTPStatus(status).phrase
        self.details = details or {}
        self.headers = headers or {}

    def reply(self) -> Reply:
        response = {"error": self.message, "message": self.phrase, **self.details}
        return Reply(self.status, self.status, self.phrase, response, self.headers)


@frozen
class Encoded:
    """An answer in bytes, as ASGI sends it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    async def send(self, scope: "Scope", send: "Send") -> None:
        """To HEAD the headers of GET are sent, the length included, and no body."""
        body = b"" if scope["method"] == "HEAD" else self.body
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": body})


def encode(answer: Answer) -> Encoded:
    """The answer in bytes, as of now. Long ones take a while: call it in a thread."""
    body = answer.encode(datetime.now(UTC))
    usual = ((b"content-type", answer.media_type.encode()), (b"content-length", str(len(body)).encode()))
    more = ((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items())
    return Encoded(answer.status, (*usual, *more), body)


def hidden() -> RequestError:
    return RequestError(404, HIDDEN)


def translate(error: Exception) -> RequestError:
    """What the caller is told about an exception from below."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, OrganizationNotFoundError):
        return hidden()
    if isinstance(error, ScheduleNotFoundError):
        return RequestError(404, "the organisation has no such schedule", details={"scheduleId": error.schedule_id})
    if isinstance(error, InvalidOrgIdError):
        return RequestError(400, error.message)
    if isinstance(error, UnknownOutcomeError):
        return RequestError(
            503, "it is not known whether this took effect; look at the current job before repeating it"
        )
    if isinstance(error, StoreError):
        return RequestError(503, "the job store can not be used at the moment; try again")
    return RequestError(500, "an error inside the server; its log tells more")
