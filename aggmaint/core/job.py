"""The job: one maintenance run of one organisation, from its grant to its end.

A job exists from the commit that grants it, in progress, and ends once, as done or failed. Why it failed is a code in
its error information, not another status. There is no queued job: waiting demand is part of the organisation's document
(`organization.py`), so nothing can be stuck in a queue.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from attrs import Factory, field, frozen

from ..errors import InvalidValueError
from .ids import JobId, OrgId, ScheduleId
from .instants import StoreTime, require_utc
from .trigger import Trigger

MESSAGE_CHARACTERS_MAX: Final = 2000


class JobStatus(StrEnum):
    """`status` on the wire: born in progress, ended once."""

    INPROGRESS = "inprogress"
    DONE = "done"
    FAILED = "failed"


class FailureCode(StrEnum):
    """Why a job failed; `errorInformation.code` on the wire."""

    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    SHUTDOWN = "shutdown"


@frozen
class StepError:
    """One thing that went wrong inside a job: which step, about which aggregate, in words."""

    step: str
    message: str
    definition_id: str | None = None
    instance_id: str | None = None


def _shortened(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[: MESSAGE_CHARACTERS_MAX - 1] + "…"


@frozen
class ErrorInformation:
    """Why a job failed. `cause` is a stable word below the code, e.g. `warehouse_busy`. Long messages are shortened."""

    code: FailureCode
    message: str = field(converter=_shortened)
    cause: str | None = None
    errors: tuple[StepError, ...] = ()


@frozen(order=True)
class Fence:
    """The newest grant wins: ordered by generation, then number. The number grows by one with each granted start.

    The generation is raised only by an operator's recovery, after a job store was lost or restored from a copy.
    """

    generation: int
    number: int


@frozen
class MaintenanceJob:
    """A job as it stands. Never changes after its end (I4); id, organisation, fence, trigger and slot never change (I5)."""

    id: JobId
    org_id: OrgId
    fence: Fence
    trigger: Trigger
    created_at: datetime = field(validator=require_utc)
    started_at: datetime = field(validator=require_utc)
    holder: str
    requests_folded: int = 1
    schedule_id: ScheduleId | None = None
    slot: int | None = None
    status: JobStatus = JobStatus.INPROGRESS
    ended_at: datetime | None = field(default=None, validator=require_utc)
    error: ErrorInformation | None = None
    complete: bool | None = None

    def __attrs_post_init__(self) -> None:
        if (self.status is JobStatus.INPROGRESS) != (self.ended_at is None):
            raise InvalidValueError(f"job {self.id}: status {self.status} with ended_at={self.ended_at} (I6)")
        if (self.status is JobStatus.FAILED) != (self.error is not None):
            raise InvalidValueError(f"job {self.id}: status {self.status} with error={self.error} (I6)")


@frozen
class Lease:
    """Permission to stay in progress without being rescued, in the store's steady time.

    `until_s` moves with each renewal and never backwards; `deadline_s` never moves (I14).
    """

    boot: str
    until_s: float
    deadline_s: float

    def lapsed(self, time: StoreTime) -> bool:
        return self.boot != time.boot or time.steady_s >= min(self.until_s, self.deadline_s)

    def past_deadline(self, time: StoreTime) -> bool:
        return self.boot == time.boot and time.steady_s >= self.deadline_s

    def left_s(self, time: StoreTime) -> float:
        """Seconds until the lease may be taken; 0 when it may be taken now."""
        if self.boot != time.boot:
            return 0.0
        return max(0.0, min(self.until_s, self.deadline_s) - time.steady_s)


@frozen
class Progress:
    """How far the running job is, as its worker last wrote it: step, done of total, and a word about what."""

    step: str
    done: int
    total: int | None
    detail: str
    at: datetime = field(validator=require_utc)


@frozen
class RunningJob:
    """The job in progress as the organisation's document holds it: the job, its lease, and what may change meanwhile.

    `demand_seen` is the demand per cube at the grant, `marks_seen` the newest change mark and `uses_seen` the newest use:
    what a complete done job will have covered.
    """

    job: MaintenanceJob
    lease: Lease
    options: Mapping[str, Any] = Factory(dict)
    demand_seen: Mapping[str, int] = Factory(dict)
    marks_seen: int = 0
    cancel_requested: bool = False
    progress: Progress | None = None
    uses_seen: int = 0
