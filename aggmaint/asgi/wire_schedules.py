"""The wire's schedule object: lenient reading, exact writing. Its mixed spelling is the published one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from attrs import frozen

from ..core.instants import from_epoch_s
from ..core.organization import OrgSnapshot
from ..core.schedule import Schedule
from ..errors import InvalidValueError
from .wire import format_instant, parse_instant, read_object, read_text


def _instant(payload: Mapping[str, Any], key: str) -> datetime:
    at = parse_instant(payload.get(key))
    if at is None:
        raise InvalidValueError(f"schedule: {key} is missing; an instant was expected")
    return at


@frozen
class WireExecution:
    """The last run of a schedule: `id` is the maintenance job's, `job_id` the schedule's own."""

    id: str
    job_id: str
    executed_at: datetime

    @classmethod
    def from_json(cls, payload: object) -> Self:
        execution = read_object(payload, "latest_execution")
        return cls(
            id=read_text(execution.get("id"), "latest_execution.id"),
            job_id=read_text(execution.get("jobId"), "latest_execution.jobId"),
            executed_at=_instant(execution, "executedAt"),
        )

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "jobId": self.job_id, "executedAt": format_instant(self.executed_at)}


@frozen
class WireScheduleDetails:
    """What `?details=true` adds. `next_at` None: it will start nothing as things are (inactive, paused, disabled, past)."""

    active: bool
    next_at: datetime | None


@frozen
class WireSchedule:
    """A schedule as a payload tells it. Without `details` it is written in the published form, eight keys."""

    job_id: str
    organization_id: str
    full_build: bool
    time_expression: str
    created_by_user: str
    created_at: datetime
    latest_execution: WireExecution | None = None
    path: str = "time-based"
    details: WireScheduleDetails | None = None

    @classmethod
    def from_json(cls, payload: object) -> Self:
        """Raises InvalidValueError; drops unknown keys."""
        schedule = read_object(payload, "schedule")
        latest = schedule.get("latest_execution")
        return cls(
            job_id=read_text(schedule.get("job_id"), "schedule.job_id"),
            organization_id=read_text(schedule.get("organization_Id"), "schedule.organization_Id"),
            full_build=bool(schedule.get("full_build", False)),
            time_expression=read_text(schedule.get("time_expression"), "schedule.time_expression"),
            created_by_user=read_text(schedule.get("created_by_user"), "schedule.created_by_user"),
            created_at=_instant(schedule, "created_at"),
            latest_execution=None if latest is None else WireExecution.from_json(latest),
            path=read_text(schedule.get("path", "time-based"), "schedule.path"),
            details=WireScheduleDetails(bool(schedule["active"]), parse_instant(schedule.get("next_execution")))
            if "active" in schedule
            else None,
        )

    def to_json(self) -> dict[str, Any]:
        written = {
            "job_id": self.job_id,
            "organization_Id": self.organization_id,
            "full_build": self.full_build,
            "time_expression": self.time_expression,
            "created_by_user": self.created_by_user,
            "created_at": format_instant(self.created_at),
            "latest_execution": None if self.latest_execution is None else self.latest_execution.to_json(),
            "path": self.path,
        }
        if self.details is not None:
            next_at = self.details.next_at
            written |= {"active": self.details.active, "next_execution": next_at and format_instant(next_at)}
        return written


def schedule_to_wire(document: OrgSnapshot, schedule: Schedule, *, details: bool = False) -> dict[str, Any]:
    """The schedule as the API writes it; `document` is its organisation's."""
    latest = schedule.latest_execution
    starts = document.enabled and schedule.active and document.paused is None and schedule.paused is None
    start = schedule.next_start if starts else None
    wire = WireSchedule(
        job_id=schedule.id,
        organization_id=document.org_id,
        full_build=False,
        time_expression=schedule.time_expression,
        created_by_user=schedule.created_by_user,
        created_at=schedule.created_at,
        latest_execution=None if latest is None else WireExecution(latest.job_id, schedule.id, latest.executed_at),
        details=WireScheduleDetails(schedule.active, None if start is None else from_epoch_s(start))
        if details
        else None,
    )
    return wire.to_json()
