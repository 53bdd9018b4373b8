"""Facts, told after the commit that made them true. Frozen; a listener's failure changes nothing (I28).

Each job has at most one `JobStarted` and one `JobFinished` in a process. A rescue tells `LeaseLapsed` and `JobFinished`.
"""

from datetime import datetime

from attrs import frozen

from .ids import OrgId, ScheduleId
from .job import MaintenanceJob
from .trigger import Trigger


@frozen
class Event:
    """Something that has happened to one organisation. `at` is the store's wall time of the deciding commit."""

    org_id: OrgId
    at: datetime


@frozen
class JobStarted(Event):
    """A job was granted and is in progress."""

    job: MaintenanceJob


@frozen
class JobFinished(Event):
    """A job has ended, as done or failed."""

    job: MaintenanceJob


@frozen
class LeaseLapsed(Event):
    """A job was ended because its worker stopped renewing, its deadline passed or the machine was started anew."""

    job: MaintenanceJob


@frozen
class RequestQueued(Event):
    """A request waits: for the running job (`behind`), for a free slot, or for a back-off to end."""

    trigger: Trigger
    behind: MaintenanceJob | None
    requests_folded: int


@frozen
class SlotSkipped(Event):
    """A slot was consumed without a run.

    `why` is `running`, `paused`, `schedule_paused`, or, of one that waited, `schedule_deactivated` or `schedule_removed`.
    """

    schedule_id: ScheduleId
    slot: int
    why: str


@frozen
class ScheduleStopped(Event):
    """A schedule whose expression this version can not run any more was deactivated; `reason` says why."""

    schedule_id: ScheduleId
    reason: str


@frozen
class SlotsMissed(Event):
    """Slots that nobody noticed in time; `missed` of them, the newest being `slot`."""

    schedule_id: ScheduleId
    slot: int
    missed: int
