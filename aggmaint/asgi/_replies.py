"""Answers as values: what a handler returns, what a refused request raises, and how both become a body.

Every error body has an object under `response`, because the published client reads `response.error` and crashes on null
or a list. What a caller is told about a failure inside is a sentence that stands in the code, never the failure's own
text, which may hold SQL or paths.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from attrs import Factory, frozen

from ..errors import AggmaintError, InvalidOrgIdError, OrganizationNotFoundError, StoreError, UnknownOutcomeError
from .wire import WireEnvelope

HIDDEN: Final = "no such organisation, or no right to it"
"""One text for both, by intention: who has no right does not learn whether the organisation exists."""


@frozen
class Reply:
    """An answer to be sent: HTTP status, the envelope's code and message, and what it carries."""

    status: int
    code: int
    message: str
    response: Any
    headers: Mapping[str, str] = Factory(dict)

    def encode(self, at: datetime) -> bytes:
        """The body. Lone surrogates in a task's own message become `?` instead of a failure."""
        body = WireEnvelope(self.code, self.message, at, self.response).to_json()
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


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


def hidden() -> RequestError:
    return RequestError(404, HIDDEN)


def translate(error: Exception) -> RequestError:
    """What the caller is told about an exception from below."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, OrganizationNotFoundError):
        return hidden()
    if isinstance(error, InvalidOrgIdError):
        return RequestError(400, error.message)
    if isinstance(error, UnknownOutcomeError):
        return RequestError(
            503, "it is not known whether this took effect; look at the current job before repeating it"
        )
    if isinstance(error, StoreError):
        return RequestError(503, "the job store can not be used at the moment; try again")
    return RequestError(500, "an error inside the server; its log tells more")
