"""Answers: what a request, a renewal or a finish came to. Values, because a caller must expect each of them.

I9: `Started` means that the job exists, `Queued` that one more run will come, `Refused` that nothing was made.
"""

from enum import StrEnum

from attrs import frozen

from .ids import OrgId
from .job import MaintenanceJob, RunningJob


class IfBusy(StrEnum):
    """What a manual request does while a job runs."""

    FOLD = "fold"
    REJECT = "reject"
    JOIN = "join"


class RefusalReason(StrEnum):
    """Why nothing was made: switched off, a job runs, or the update was seen by a job before."""

    DISABLED = "disabled"
    BUSY = "busy"
    COVERED = "covered"


@frozen
class Started:
    """The job exists, in progress, held by this process."""

    job: MaintenanceJob


@frozen
class Queued:
    """One more run will follow: behind the running job, or (None) when a slot is free."""

    org_id: OrgId
    behind: MaintenanceJob | None
    requests_folded: int = 1


@frozen
class Refused:
    """Nothing was made. `running` and `lease_left_s` tell who is in the way when the reason is `busy`."""

    org_id: OrgId
    reason: RefusalReason
    running: MaintenanceJob | None = None
    lease_left_s: float = 0.0


@frozen
class Joined:
    """Nothing new was asked for: the running job is the answer (IfBusy.JOIN)."""

    job: MaintenanceJob


RequestOutcome = Started | Queued | Refused | Joined


@frozen
class Renewed:
    """The lease holds. `cancel_requested` and `past_deadline` tell the worker to stop."""

    running: RunningJob
    past_deadline: bool

    @property
    def cancel_requested(self) -> bool:
        return self.running.cancel_requested


@frozen
class Lost:
    """The job is no longer this worker's: it was rescued, ended by an operator, or never existed here."""


@frozen
class Finished:
    job: MaintenanceJob
