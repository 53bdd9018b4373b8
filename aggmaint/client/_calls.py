"""Each route as a value: what to send, and how to read what comes back. No input or output happens here."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from attrs import Factory, frozen

from ..asgi.wire import WireEnvelope, WireJob, read_array, read_object
from ..asgi.wire_schedules import WireSchedule
from ..core.ids import parse_org_id
from ..core.job import JobStatus
from ..core.outcomes import IfBusy
from ._results import DefinitionPage, InstancePage, JobHistory, Readiness, RunAnswer

T = TypeVar("T")
JOBS = "/aggregates/maintenance/orgId"
SCHEDULES = "/aggregates/maintenance/scheduler/jobs/orgId"
AGGREGATES = "/aggregates/orgId"
PAGE = 200


@frozen
class Received:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@frozen
class Call(Generic[T]):
    """One request. `read` makes the result of a 2xx answer, or of one in `accepted`; it raises ValueError or KeyError."""

    method: str
    path: str
    read: Callable[[Received], T]
    query: Mapping[str, str] = Factory(dict)
    org_id: str | None = None
    accepted: frozenset[int] = frozenset()

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice is as good as once."""
        return self.method != "POST"

    @property
    def target(self) -> str:
        """Path and query, below the base URL."""
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in self.query.items())
        return f"{self.path}?{query}" if query else self.path


def segment(text: str) -> str:
    """One segment of a path, whatever it holds. Dots alone would be taken for steps in a path."""
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def envelope(received: Received) -> WireEnvelope:
    return WireEnvelope.from_json(json.loads(received.content))


def _response(read: Callable[[Any], T]) -> Callable[[Received], T]:
    return lambda received: read(envelope(received).response)


def _given(**parameters: str | None) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value is not None}


def _boolean(value: bool | None) -> str | None:
    return None if value is None else "true" if value else "false"


# -- jobs --------------------------------------------------------------------------------------------------------------


def run_immediately(org_id: str, if_busy: IfBusy | str | None) -> Call[RunAnswer]:
    query = _given(ifBusy=None if if_busy is None else IfBusy(if_busy).value)
    path = f"{JOBS}/{segment(parse_org_id(org_id))}/run-immediately"
    return Call("POST", path, _run_answer, query, org_id, frozenset({409}))


def _run_answer(received: Received) -> RunAnswer:
    from ._results import RunOutcome

    body = envelope(received)
    if received.status == 409:
        return RunAnswer(RunOutcome.REFUSED, body.message, read_object(body.response, "response").get("jobId"))
    return RunAnswer.from_message(body.message)


def get_current_job(org_id: str) -> Call[WireJob | None]:
    def read(response: Any) -> WireJob | None:
        return None if response is None else WireJob.from_json(response)

    return Call("GET", f"{JOBS}/{segment(parse_org_id(org_id))}", _response(read), org_id=org_id)


def list_jobs(
    org_id: str,
    *,
    limit: int,
    offset: int | None = None,
    status: JobStatus | str | None = None,
    trigger_type: str | None = None,
    after: str | None = None,
) -> Call[JobHistory]:
    query = _given(
        limit=str(limit),
        offset=None if offset is None else str(offset),
        status=None if status is None else str(JobStatus(status)),
        triggerType=trigger_type,
        after=after,
    )
    path = f"{JOBS}/{segment(parse_org_id(org_id))}/history"
    return Call("GET", path, _response(JobHistory.from_json), query, org_id)


# -- schedules ---------------------------------------------------------------------------------------------------------


def list_schedules(org_id: str, active: bool | None) -> Call[tuple[WireSchedule, ...]]:
    def read(response: Any) -> tuple[WireSchedule, ...]:
        return tuple(WireSchedule.from_json(each) for each in read_array(response, "schedules"))

    query = _given(active=_boolean(active), details="true")
    return Call("GET", f"{SCHEDULES}/{segment(parse_org_id(org_id))}", _response(read), query, org_id)


def create_schedule(org_id: str, time_expression: str) -> Call[WireSchedule]:
    query = _given(time_expression=time_expression, details="true")
    path = f"{SCHEDULES}/{segment(parse_org_id(org_id))}"
    return Call("POST", path, _response(WireSchedule.from_json), query, org_id)


def set_schedule_active(org_id: str, schedule_id: str, *, active: bool) -> Call[WireSchedule]:
    path = f"{_schedule(org_id, schedule_id)}/{'activate' if active else 'deactivate'}"
    return Call("PUT", path, _response(WireSchedule.from_json), _given(details="true"), org_id)


def delete_schedule(org_id: str, schedule_id: str) -> Call[None]:
    return Call("DELETE", _schedule(org_id, schedule_id), lambda _: None, org_id=org_id)


def _schedule(org_id: str, schedule_id: str) -> str:
    return f"{SCHEDULES}/{segment(parse_org_id(org_id))}/jobId/{segment(schedule_id)}"


# -- aggregates --------------------------------------------------------------------------------------------------------


@frozen
class AggregateQuery:
    """Which definitions or instances: by status, project and cube."""

    status: str | None = None
    project_id: str | None = None
    cube_id: str | None = None

    def parameters(self, limit: int, offset: int) -> dict[str, str]:
        asked = _given(status=self.status, projectId=self.project_id, cubeId=self.cube_id)
        return {"limit": str(limit), "offset": str(offset), **asked}


def list_definitions(org_id: str, query: AggregateQuery, limit: int, offset: int) -> Call[DefinitionPage]:
    path = f"{AGGREGATES}/{segment(parse_org_id(org_id))}"
    return Call("GET", path, _response(DefinitionPage.from_json), query.parameters(limit, offset), org_id)


def list_instances(org_id: str, query: AggregateQuery, limit: int, offset: int) -> Call[InstancePage]:
    path = f"{AGGREGATES}/{segment(parse_org_id(org_id))}/instances"
    return Call("GET", path, _response(InstancePage.from_json), query.parameters(limit, offset), org_id)


# -- operations --------------------------------------------------------------------------------------------------------


def is_alive() -> Call[bool]:
    return Call("GET", "/healthz", _response(lambda response: bool(read_object(response, "response").get("alive"))))


def get_readiness() -> Call[Readiness]:
    return Call("GET", "/readyz", _response(Readiness.from_json), accepted=frozenset({503}))


def get_openapi() -> Call[Mapping[str, Any]]:
    return Call("GET", "/openapi.json", lambda received: read_object(json.loads(received.content), "document"))


def get_metrics() -> Call[str]:
    return Call("GET", "/metrics", lambda received: received.content.decode())
