"""The wire's objects: lenient reading, exact writing (spec/http-api.md, sections 2 and 3).

Theory of operation. Wire types are not the core's types. They carry what a payload said, odd things included: a job in
progress that has an end time, an id that is no UUID, a trigger nobody knows. So a foreign body is read and written again
without loss, and the core's invariants never meet foreign data. `from_json` accepts; `to_json` writes the published form
and nothing else: a job has exactly eight keys, instants have six fractional digits and a `Z`.

The CLI writes jobs through `job_to_wire` too, so this module imports no web framework.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Self

from attrs import Factory, frozen

from ..core.job import ErrorInformation, MaintenanceJob
from ..core.trigger import MANUAL
from ..errors import InvalidValueError

ZERO_YEAR: Final = 1
"""`0001-01-01T00:00:00Z` is how some writers say "no such instant yet"."""


def format_instant(at: datetime) -> str:
    """`2022-03-31T22:01:18.370769Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_instant(value: object) -> datetime | None:
    """An instant in UTC; None for null and for the zero time. A text without offset is taken as UTC."""
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(read_text(value, "instant"))
    except ValueError as exc:
        raise InvalidValueError(f"{value!r} is no ISO-8601 instant; expected e.g. 2022-03-31T22:01:18.370769Z") from exc
    if at.year == ZERO_YEAR:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def read_text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidValueError(f"{what} is {value!r}; a string was expected")
    return value


def read_object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidValueError(f"{what} is {str(value)[:40]!r}; a JSON object was expected")
    return value


def read_array(value: object, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise InvalidValueError(f"{what} is {str(value)[:40]!r}; a JSON array was expected")
    return value


def _opt(at: datetime | None) -> str | None:
    return None if at is None else format_instant(at)


@frozen
class WireJob:
    """A job as a payload tells it: every text is kept as it came, known or not."""

    id: str
    organization_id: str
    trigger_type: str
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    status: str
    error_information: Mapping[str, Any] = Factory(dict)

    @classmethod
    def from_json(cls, payload: object) -> Self:
        """Accepts absent, null and zero instants, and unknown keys, which it drops. Raises InvalidValueError."""
        job = read_object(payload, "job")
        return cls(
            id=read_text(job.get("id"), "job.id"),
            organization_id=read_text(job.get("organizationId"), "job.organizationId"),
            trigger_type=read_text(job.get("triggerType"), "job.triggerType"),
            created_at=parse_instant(job.get("creationTime")),
            started_at=parse_instant(job.get("startTime")),
            ended_at=parse_instant(job.get("endTime")),
            status=read_text(job.get("status"), "job.status"),
            error_information=read_object(job.get("errorInformation") or {}, "job.errorInformation"),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "organizationId": self.organization_id,
            "triggerType": self.trigger_type,
            "creationTime": _opt(self.created_at),
            "startTime": _opt(self.started_at),
            "endTime": _opt(self.ended_at),
            "status": self.status,
            "errorInformation": dict(self.error_information),
        }


def job_to_wire(job: MaintenanceJob, *, manual_trigger_type: str | None = None) -> dict[str, Any]:
    """The job as the API writes it. `manual_trigger_type` is what manual jobs are called (None: what they are)."""
    renamed = manual_trigger_type is not None and job.trigger == MANUAL
    wire = WireJob(
        id=job.id,
        organization_id=job.org_id,
        trigger_type=str(manual_trigger_type if renamed else job.trigger),
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        status=job.status.value,
        error_information={} if job.error is None else _error_to_wire(job.error),
    )
    return wire.to_json()


def _error_to_wire(error: ErrorInformation) -> dict[str, Any]:
    written: dict[str, Any] = {"code": error.code.value, "message": error.message}
    if error.cause is not None:
        written["cause"] = error.cause
    if error.errors:
        written["errors"] = [
            {
                "step": step.step,
                "definitionId": step.definition_id,
                "instanceId": step.instance_id,
                "message": step.message,
            }
            for step in error.errors
        ]
    return written


@frozen
class WireHistoryPage:
    """A page of history. `next` is written only when `has_next_key`: the caller paged by cursor; None = the last page."""

    data: tuple[Mapping[str, Any], ...]
    limit: int
    offset: int
    force_pull: bool
    has_next_key: bool = False
    next: str | None = None

    @classmethod
    def from_json(cls, payload: object) -> Self:
        """Reads each job leniently. Raises InvalidValueError."""
        page = read_object(payload, "history")
        return cls(
            data=tuple(WireJob.from_json(job).to_json() for job in read_array(page.get("data"), "history.data")),
            limit=int(page.get("limit", 10)),
            offset=int(page.get("offset", 0)),
            force_pull=bool(page.get("force_pull", False)),
            has_next_key="next" in page,
            next=page.get("next"),
        )

    def to_json(self) -> dict[str, Any]:
        page: dict[str, Any] = {
            "data": list(self.data),
            "limit": self.limit,
            "offset": self.offset,
            "force_pull": self.force_pull,
        }
        if self.has_next_key:
            page["next"] = self.next
        return page


@frozen
class WireEnvelope:
    """What wraps every answer. `code` is 0 in the engine style, the HTTP status in the action style and in errors."""

    code: int
    message: str
    created_at: datetime
    response: Any

    @classmethod
    def from_json(cls, payload: object, read_response: Callable[[object], Any] = lambda response: response) -> Self:
        """Raises InvalidValueError. `read_response` parses what is inside."""
        body = read_object(payload, "body")
        status = read_object(body.get("status"), "status")
        created_at = parse_instant(body.get("responseCreated"))
        if created_at is None:
            raise InvalidValueError("responseCreated is missing")
        message = read_text(status.get("message"), "status.message")
        return cls(int(status.get("code", 0)), message, created_at, read_response(body.get("response")))

    def to_json(self) -> dict[str, Any]:
        return {
            "status": {"code": self.code, "message": self.message},
            "responseCreated": format_instant(self.created_at),
            "response": self.response,
        }
