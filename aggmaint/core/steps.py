"""A change in the making, and the steps that every decision is made of: rescue, notice, claim, end.

Theory of operation. A `Draft` starts from a document and collects what becomes of it: the new document, the job that ended,
the job that was granted, the events to tell. The steps change the draft and nothing else; `deciding.py` puts them in order.

    rescue   needs evidence: the lease or the deadline has passed in steady time, or the machine was started anew (I13)
    notice   consumes every due slot exactly once: fired, skipped or missed (schedule.py)
    claim    needs a free place, nothing in progress and no back-off; fence, lease and row of history are one commit (I1, I3)
    end      earns coverage only for a complete done job (I16); leaves a follow-up for what is still uncovered (I25), a
             back-off after a failure, and forgets history beyond the newest jobs. A job that failed in nothing and did a
             part of its work is no failure: the next one follows at the pace of the first wait, however often that happens
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from attrs import define, evolve, field, frozen

from ..errors import InvalidCronError
from .events import Event, JobFinished, JobStarted, LeaseLapsed, ScheduleStopped, SlotSkipped, SlotsMissed
from .hashing import spread_hash
from .ids import JobId, ScheduleId
from .instants import StoreTime
from .job import ErrorInformation, FailureCode, Fence, JobStatus, Lease, MaintenanceJob, RunningJob
from .organization import CHANGE_IDS_MAX, EndedJob, OrgChange, OrgSnapshot, Request
from .schedule import Execution, Pause, Schedule, SlotFate, is_due, notice, renewed
from .settings import JobSettings
from .transitions import EVENT_BY_CODE, JobEvent, advance
from .trigger import TIME_BASED, CubeUpdate, TriggerKind, cube_update_trigger
from .use import not_carried

STREAK_CODES: Final = frozenset({FailureCode.ERROR, FailureCode.TIMEOUT, FailureCode.ABANDONED})
"""Failures that call for a back-off. Cancelled and shut down are somebody's wish."""

Answer = TypeVar("Answer", covariant=True)


@frozen
class Decision(Generic[Answer]):
    """A change to commit, or None when nothing is to be written, and the answer that holds once it is committed."""

    change: OrgChange | None
    answer: Answer


@frozen
class Grant:
    """A free slot, offered: if the waiting request is claimed, the job gets this id and this holder."""

    job_id: JobId
    holder: str


@frozen
class Ending:
    """How a worker says that its job ended. `error` None means done; `complete` False: something was left undone, and
    `progressed`: not because anything failed, and some of the work was done."""

    error: ErrorInformation | None = None
    complete: bool = True
    report: str | None = None
    inventory: str | None = None
    progressed: bool = False


@frozen
class Basis:
    """What every decision stands on: the store's time, the id of the change to be, and the settings."""

    time: StoreTime
    change_id: str
    settings: JobSettings


@define
class Draft:
    """A change in the making; lives inside one decision."""

    base: OrgSnapshot
    basis: Basis
    doc: OrgSnapshot = field(init=False)
    ended: EndedJob | None = None
    granted: MaintenanceJob | None = None
    events: list[Event] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.doc = self.base

    def set(self, **changes: Any) -> None:
        self.doc = evolve(self.doc, **changes)

    def change(self) -> OrgChange | None:
        """The change, or None if the document is as it was."""
        if self.doc is self.base:
            return None
        change_id = self.basis.change_id
        document = evolve(
            self.doc,
            revision=self.base.revision + 1,
            change_ids=(*self.base.change_ids[1 - CHANGE_IDS_MAX :], change_id),
        )
        return OrgChange(
            change_id=change_id,
            base_revision=self.base.revision,
            decided_at=self.basis.time,
            document=document,
            ended=self.ended,
            granted=self.granted,
            events=tuple(self.events),
        )


def rescue(draft: Draft) -> None:
    """End the job in progress if there is evidence that nobody can hold it: lease, deadline or boot."""
    running, time = draft.doc.running, draft.basis.time
    if running is None or not running.lease.lapsed(time):
        return
    if running.lease.past_deadline(time):
        error = ErrorInformation(FailureCode.TIMEOUT, "the job passed its deadline and did not end by itself")
    elif running.lease.boot != time.boot:
        error = ErrorInformation(FailureCode.ABANDONED, "the machine that ran the job was started anew")
    else:
        error = ErrorInformation(FailureCode.ABANDONED, f"its worker {running.job.holder} stopped renewing the lease")
    job = end(draft, running, Ending(error=error))
    draft.events.insert(0, LeaseLapsed(job.org_id, time.wall_at, job))


def notice_due(draft: Draft) -> None:
    doc, now = draft.doc, draft.basis.time.wall_at
    due = [schedule for schedule in doc.schedules if is_due(schedule, now)]
    if not due:
        return
    fired: dict[ScheduleId, int] = {}
    moved = {schedule.id: _noticed(draft, schedule, fired) for schedule in due}
    pending = doc.pending
    if fired:
        request = Request(TIME_BASED, created_at=now, automatic=True, slots=fired)
        pending = pending.fold(request) if pending else request
    draft.set(schedules=tuple(moved.get(schedule.id, schedule) for schedule in doc.schedules), pending=pending)


def _noticed(draft: Draft, schedule: Schedule, fired: dict[ScheduleId, int]) -> Schedule:
    """One schedule that looks due: with its slots consumed, or as the rules of today have it. Adds to `fired`."""
    doc, now = draft.doc, draft.basis.time.wall_at
    blocked = _in_the_way(doc, schedule)
    try:
        schedule = renewed(schedule)
        if not is_due(schedule, now):
            return schedule
        noticed = notice(schedule, now, blocked=bool(blocked), grace_s=draft.basis.settings.grace_s)
    except InvalidCronError as exc:  # accepted by another version; it must not stop the others
        draft.events.append(ScheduleStopped(doc.org_id, now, schedule.id, exc.message))
        return evolve(schedule, active=False, next_slot=None, next_start=None)
    if noticed.missed:
        draft.events.append(SlotsMissed(doc.org_id, now, schedule.id, noticed.slot, noticed.missed))
    if noticed.fate is SlotFate.SKIPPED:
        draft.events.append(SlotSkipped(doc.org_id, now, schedule.id, noticed.slot, blocked))
    if noticed.fate is SlotFate.FIRED:
        fired[schedule.id] = noticed.slot
    return noticed.schedule


def _in_the_way(doc: OrgSnapshot, schedule: Schedule) -> str:
    """Why a slot can not fire now; empty if it can."""
    if doc.running:
        return "running"
    return "paused" if doc.paused else "schedule_paused" if schedule.paused else ""


def claim(draft: Draft, grant: Grant | None) -> None:
    doc, time, pending = draft.doc, draft.basis.time, draft.doc.pending
    if grant is None or pending is None or doc.running or _held_back(doc, time):
        return
    slots = pending.slots if pending.trigger.kind is TriggerKind.TIME else {}
    schedule_id = max(slots, key=lambda schedule: slots[schedule], default=None)
    job = MaintenanceJob(
        id=grant.job_id,
        org_id=doc.org_id,
        fence=Fence(doc.generation, doc.last_fence + 1),
        trigger=pending.trigger,
        created_at=pending.created_at,
        started_at=max(time.wall_at, pending.created_at),
        holder=grant.holder,
        requests_folded=pending.folded,
        schedule_id=schedule_id,
        slot=slots[schedule_id] if schedule_id else None,
    )
    settings = draft.basis.settings
    lease = Lease(time.boot, time.steady_s + settings.lease_s, time.steady_s + settings.deadline_s)
    draft.set(
        running=RunningJob(
            job,
            lease,
            options=pending.options,
            demand_seen=doc.demand,
            marks_seen=doc.last_mark,
            uses_seen=doc.last_use,
        ),
        pending=None,
        last_fence=job.fence.number,
        schedules=tuple(_executed(schedule, pending.slots, job) for schedule in doc.schedules),
    )
    draft.granted = job
    draft.events.append(JobStarted(doc.org_id, time.wall_at, job))


def _held_back(doc: OrgSnapshot, time: StoreTime) -> bool:
    assert doc.pending is not None, "only asked while a request waits"
    return doc.pending.automatic and doc.not_before_at is not None and doc.not_before_at > time.wall_at


def _executed(schedule: Schedule, slots: Mapping[ScheduleId, int], job: MaintenanceJob) -> Schedule:
    if schedule.id not in slots:
        return schedule
    return evolve(schedule, latest_execution=Execution(job.id, job.started_at))


def end(draft: Draft, running: RunningJob, ending: Ending) -> MaintenanceJob:
    """Put the job to its end, earn coverage or a back-off, and leave a follow-up for what is still uncovered."""
    time, error = draft.basis.time, ending.error
    event = EVENT_BY_CODE[error.code] if error else JobEvent.SUCCEED
    status = advance(running.job.status, event)
    job = evolve(
        running.job,
        status=status,
        ended_at=max(time.wall_at, running.job.started_at),
        error=error,
        complete=ending.complete if status is JobStatus.DONE else None,
    )
    draft.ended = EndedJob(job, ending.report, ending.inventory)
    draft.events.append(JobFinished(job.org_id, time.wall_at, job))
    draft.set(running=None)
    if ending.inventory is not None:
        draft.set(inventory_job_id=job.id)
    if status is JobStatus.DONE and ending.complete:
        draft.set(
            covered=_covered(draft.doc, running),
            marks=tuple(mark for mark in draft.doc.marks if mark.number > running.marks_seen),
            uses=not_carried(draft.doc.uses, running.uses_seen),
            failure_streak=0,
            not_before_at=None,
        )
    elif error is None and ending.progressed:
        draft.set(failure_streak=0, not_before_at=_not_before(draft.basis, job, 1))
    elif error is None or error.code in STREAK_CODES:
        _back_off(draft, job)
    _owe_follow_up(draft, running, job)
    _prune_by_count(draft, job)
    return job


def _back_off(draft: Draft, job: MaintenanceJob) -> None:
    """One more failure in a row: automatic starts wait, and after many scheduled runs are paused, if it is so set."""
    streak, settings = draft.doc.failure_streak + 1, draft.basis.settings
    draft.set(failure_streak=streak, not_before_at=_not_before(draft.basis, job, streak))
    if settings.pause_after_failures and streak >= settings.pause_after_failures and draft.doc.paused is None:
        draft.set(paused=Pause("aggmaint", f"{streak} failures in a row", draft.basis.time.wall_at))


def _prune_by_count(draft: Draft, ended: MaintenanceJob) -> None:
    """Forget jobs beyond the newest so many; all of them have ended, since only the newest can be in progress."""
    doc = draft.doc
    through = max(doc.pruned_through, doc.last_fence - draft.basis.settings.history_jobs_max)
    draft.set(pruned_through=through, oldest_ended_at=doc.oldest_ended_at or ended.ended_at)


def _covered(doc: OrgSnapshot, running: RunningJob) -> Mapping[str, int]:
    seen = running.demand_seen
    return {cube: max(doc.covered.get(cube, 0), seen.get(cube, 0)) for cube in {**doc.covered, **seen}}


def _not_before(basis: Basis, job: MaintenanceJob, streak: int) -> datetime:
    """When automatic starts may go on: base × 2^(streak - 1) up to the cap, less up to a tenth by a hash of the job."""
    wait_s = min(basis.settings.backoff_cap_s, basis.settings.backoff_base_s * 2.0 ** min(streak - 1, 30))
    jitter = spread_hash(job.org_id, job.fence.generation, job.fence.number) / 2**64 / 10
    return basis.time.wall_at + timedelta(seconds=wait_s * (1 - jitter))


def _owe_follow_up(draft: Draft, running: RunningJob, ended: MaintenanceJob) -> None:
    """For what is still uncovered; and where the job stood for several requests: some may have asked for what it left."""
    left_of_many = ended.requests_folded > 1 and ended.complete is False
    if draft.doc.pending or not (draft.doc.uncovered or left_of_many):
        return
    trigger = running.job.trigger
    if draft.doc.uncovered and trigger.kind is not TriggerKind.CUBE_UPDATE:
        trigger = cube_update_trigger(CubeUpdate.DYNAMIC_CUBE_UPDATED)
    draft.set(pending=Request(trigger, created_at=draft.basis.time.wall_at, automatic=True))
