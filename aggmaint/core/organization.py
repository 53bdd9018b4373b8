"""The organisation's document, and what a commit changes.

Theory of operation. The organisation is the unit of consistency: one small document with a revision, and every change is
*load → decide → commit if the revision is unchanged*. Nothing is locked while a job runs; the document says that one runs,
and a lease says until when nobody may doubt it. This file holds the values; the rules are in `deciding.py`, which returns
an `OrgChange`. A store compares revisions and stores; it decides nothing.

What may run:   at most one job in progress (`running`), because a grant is a commit on the document that holds it (I1).
What waits:     at most one request (`pending`): further ones fold into it, so 1,000 requests make one run.
What is owed:   `demand` per cube, the highest update number asked for, against `covered`, the highest that a complete
                done job had seen at its start (I15, I16). While demand > covered a follow-up is owed.
When to look:   `notice_at`, the earliest wall instant at which a slot is due, and `waiting`, since when a request could be
                claimed. Lapsed leases are found by steady time instead, so a jump of the wall clock rescues nobody.
What is hinted: `marks`, ranges of sources that the host knows to have changed (marks.py).
What is counted: `uses` of definitions, on their way to the ledger (use.py).
What is gone:   `removed_schedules`, the ids of the newest 32, so that removing one again is known to be done already.
What is kept:   history from `pruned_through` on; a removed organisation keeps its fences and cursors as a tombstone.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from attrs import Factory, field, frozen

from .events import Event
from .ids import JobId, OrgId, ScheduleId
from .instants import DECISION_AGE_MAX_S, WALL_STEP_MAX_S, StoreTime, from_epoch_s, require_utc
from .job import Fence, MaintenanceJob, RunningJob
from .marks import ChangeMark
from .schedule import Pause, Schedule
from .trigger import Trigger
from .use import DefinitionUse

CHANGE_IDS_MAX = 32
REMOVED_SCHEDULES_MAX = 32


@frozen
class Request:
    """A request that waits, or several folded into one: the strongest trigger, the first instant, the union of options.

    Options unite as JSON does: objects key by key, lists one after the other without repetitions; of other values the later
    one stands.

    automatic    no person asked: a back-off holds it back.
    slots        the slots that fired into it, by schedule.
    """

    trigger: Trigger
    created_at: datetime = field(validator=require_utc)
    automatic: bool
    options: Mapping[str, Any] = Factory(dict)
    slots: Mapping[ScheduleId, int] = Factory(dict)
    folded: int = 1

    def fold(self, other: "Request") -> "Request":
        stronger = max(self, other, key=lambda request: request.trigger.strength)
        return Request(
            trigger=stronger.trigger,
            created_at=min(self.created_at, other.created_at),
            automatic=self.automatic and other.automatic,
            options=_united(self.options, other.options),
            slots={**self.slots, **other.slots},
            folded=self.folded + other.folded,
        )


def _united(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        both = {key: _united(one[key], other[key]) for key in one.keys() & other.keys()}
        return {**one, **other, **both}
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return [*one, *(each for each in other if each not in one)]
    return other


@frozen
class Waiting:
    """A request that could be claimed: since when it waits or, if a back-off holds it, from when on it may go."""

    at: datetime
    held: bool


@frozen
class OrgSnapshot:
    """The document of one organisation at one revision. Revision 0 has never been committed."""

    org_id: OrgId
    revision: int = 0
    change_ids: tuple[str, ...] = ()
    generation: int = 1
    last_fence: int = 0
    running: RunningJob | None = None
    pending: Request | None = None
    demand: Mapping[str, int] = Factory(dict)
    covered: Mapping[str, int] = Factory(dict)
    schedules: tuple[Schedule, ...] = ()
    removed_schedules: tuple[ScheduleId, ...] = ()
    enabled: bool = True
    paused: Pause | None = None
    failure_streak: int = 0
    not_before_at: datetime | None = field(default=None, validator=require_utc)
    inventory_job_id: JobId | None = None
    marks: tuple[ChangeMark, ...] = ()
    last_mark: int = 0
    pruned_through: int = 0
    oldest_ended_at: datetime | None = field(default=None, validator=require_utc)
    removed_at: datetime | None = field(default=None, validator=require_utc)
    uses: tuple[DefinitionUse, ...] = ()
    last_use: int = 0

    @property
    def uncovered(self) -> Mapping[str, int]:
        """The cubes whose newest update no complete job has seen yet."""
        return {cube: number for cube, number in self.demand.items() if number > self.covered.get(cube, 0)}

    @property
    def notice_at(self) -> datetime | None:
        """The earliest wall instant at which a slot is to be noticed; None: no schedule will fire."""
        if not self.enabled or self.removed_at is not None:
            return None
        starts = [each.next_start for each in self.schedules if each.active and each.next_start is not None]
        return from_epoch_s(min(starts)) if starts else None

    @property
    def waiting(self) -> Waiting | None:
        """The request that waits for a free slot, or for a back-off to end; None while a job runs."""
        if self.pending is None or self.running is not None or not self.enabled or self.removed_at is not None:
            return None
        if self.pending.automatic and self.not_before_at is not None:
            return Waiting(self.not_before_at, held=True)
        return Waiting(self.pending.created_at, held=False)

    @property
    def next_run_at(self) -> datetime | None:
        """When the next run is to be expected, for people: a paused organisation's schedules run nothing."""
        if not self.enabled or self.removed_at is not None:
            return None
        running_schedules = () if self.paused else self.schedules
        instants = [
            from_epoch_s(each.next_start)
            for each in running_schedules
            if each.active and each.paused is None and each.next_start is not None
        ]
        if self.pending:
            held = self.pending.automatic and self.not_before_at is not None
            instants.append(self.not_before_at if held and self.not_before_at else self.pending.created_at)
        return min(instants, default=None)

    def is_held_by(self, fence: Fence) -> bool:
        """Whether the job with this fence is in progress, and so the newest: the proof that a publish needs (I8)."""
        return self.running is not None and self.running.job.fence == fence

    def schedule(self, schedule_id: str) -> Schedule | None:
        return next((schedule for schedule in self.schedules if schedule.id == schedule_id), None)


@frozen
class EndedJob:
    """A job's end as it is stored: the terminal job, its report and inventory as JSON texts (None = none was left)."""

    job: MaintenanceJob
    report: str | None = None
    inventory: str | None = None


@frozen
class OrgChange:
    """One atomic change: the new document, the job it ended and the job it granted, in this order.

    Ended jobs with fences up to `document.pruned_through` are deleted with it, with their reports.

    A store applies it all or not at all, only while the stored revision is `base_revision`. `change_id` is made by the
    client; the new document carries it among its newest 32, so a retry of a change that was committed is told so (I10).
    """

    change_id: str
    base_revision: int
    decided_at: StoreTime
    document: OrgSnapshot
    ended: EndedJob | None = None
    granted: MaintenanceJob | None = None
    events: tuple[Event, ...] = ()

    @property
    def org_id(self) -> OrgId:
        return self.document.org_id


class Verdict(StrEnum):
    """What a store does with a change. The only question that a store asks, and it is answered here for all of them."""

    APPLY = "apply"
    COMMITTED_BEFORE = "committed_before"
    STALE = "stale"


def judge(change: OrgChange, revision: int, change_ids: Collection[str], now: StoreTime) -> Verdict:
    """Judge `change` against what is stored now (revision 0 and no ids: nothing is stored).

    A retry of a committed change is told so before anything else. A decision is stale if it was made on another revision,
    is too old, or was made before the wall clock was stepped: else a slot that is in the future now could be consumed (I12).
    """
    if change.change_id in change_ids:
        return Verdict.COMMITTED_BEFORE
    decided_at = change.decided_at
    if decided_at.age_s(now) > DECISION_AGE_MAX_S or decided_at.step_s(now) > WALL_STEP_MAX_S:
        return Verdict.STALE
    return Verdict.APPLY if change.base_revision == revision else Verdict.STALE
