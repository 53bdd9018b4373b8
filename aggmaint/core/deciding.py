"""The rules of the job half: every change of an organisation's document is decided here, by pure functions.

Theory of operation. Each `decide_*` takes a document, the store's time and what the caller brings (a request, an ending,
a free slot), and returns a `Decision`: the change to commit (None: nothing to write) and the answer to give once it is
committed. If the commit is stale the caller loads again and decides again; nothing here remembers anything.

Four steps do all the work, always in this order, so that every trigger goes one way:

    rescue   end a job whose lease or deadline has passed in steady time, or whose machine was started anew (I13)
    notice   consume due slots: fired, skipped or missed (schedule.py)
    fold     write the request; if one waits already, the two become one
    claim    turn the waiting request into a job, if the caller has a free slot (`grant`), nothing runs and no back-off
             holds it: the next fence, the lease and the row of history are one commit (I1, I3)

What a trigger does while a job runs (OVERLAP): a time slot is skipped, since the next one supersedes it; a cube update
folds, since the running job may have read before it; a manual request folds into the one follow-up, or is refused when
the caller prefers. A finish earns coverage only when the job was done and complete (I16); demand that is still
uncovered then becomes the follow-up, after a back-off if the job failed (I25).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar

from attrs import define, evolve, field, frozen

from .events import Event, JobFinished, JobStarted, LeaseLapsed, RequestQueued, SlotSkipped, SlotsMissed
from .ids import JobId, OrgId, ScheduleId
from .instants import StoreTime
from .job import ErrorInformation, FailureCode, Fence, JobStatus, Lease, MaintenanceJob, Progress, RunningJob
from .organization import CHANGE_IDS_MAX, EndedJob, OrgChange, OrgSnapshot, Request
from .outcomes import Finished, IfBusy, Lost, Queued, RefusalReason, Refused, Renewed, RequestOutcome, Started
from .schedule import Execution, Schedule, SlotFate, default_schedule, is_due, notice
from .settings import JobSettings
from .transitions import EVENT_BY_CODE, JobEvent, advance
from .trigger import TIME_BASED, CubeUpdate, TriggerKind, cube_update_trigger

OVERLAP: Final = {
    TriggerKind.TIME: "skip",
    TriggerKind.CUBE_UPDATE: "fold",
    TriggerKind.MANUAL: "fold, or refuse when the caller asks for it (IfBusy.REJECT)",
}

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
    """How a worker says that its job ended. `error` None means done; `complete` False: findings were left."""

    error: ErrorInformation | None = None
    complete: bool = True
    report: str | None = None
    inventory: str | None = None


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


# -- the organisation itself -------------------------------------------------------------------------------------------


def decide_register(org_id: OrgId, schedule_id: ScheduleId, basis: Basis) -> Decision[None]:
    """A new organisation with the default schedule. For one that exists the caller decides nothing (idempotent)."""
    draft = Draft(OrgSnapshot(org_id), basis)
    draft.set(schedules=(default_schedule(schedule_id, basis.time.wall_at),))
    return Decision(draft.change(), None)


# -- requests ----------------------------------------------------------------------------------------------------------


def decide_request(
    doc: OrgSnapshot, request: Request, basis: Basis, *, grant: Grant | None, if_busy: IfBusy = IfBusy.FOLD
) -> Decision[RequestOutcome]:
    """Start a job for `request` now, or queue it, or refuse it: one path for every kind of trigger."""
    if not doc.enabled:
        return Decision(None, Refused(doc.org_id, RefusalReason.DISABLED))
    draft = Draft(doc, basis)
    _rescue(draft)
    running = draft.doc.running
    if running and if_busy is IfBusy.REJECT:
        left_s = running.lease.left_s(basis.time)
        return Decision(None, Refused(doc.org_id, RefusalReason.BUSY, running.job, left_s))
    return _queue_or_start(draft, request, grant)


def decide_cube_update(
    doc: OrgSnapshot, cube_id: str, change: CubeUpdate, version: int | None, basis: Basis, *, grant: Grant | None
) -> Decision[RequestOutcome]:
    """Remember that the cube was updated (`version` None: its next number) and start or queue a job for it.

    A version that is covered, or that the running job saw when it started, asks for nothing: refused as `covered`. If
    that job fails, the demand is still there and the follow-up comes by itself.
    """
    if not doc.enabled:
        return Decision(None, Refused(doc.org_id, RefusalReason.DISABLED))
    known = max(doc.demand.get(cube_id, 0), doc.covered.get(cube_id, 0))
    number = known + 1 if version is None else version
    draft = Draft(doc, basis)
    _rescue(draft)
    running = draft.doc.running
    seen = max(doc.covered.get(cube_id, 0), running.demand_seen.get(cube_id, 0) if running else 0)
    if number <= seen:
        return Decision(draft.change(), Refused(doc.org_id, RefusalReason.COVERED, running.job if running else None))
    draft.set(demand={**draft.doc.demand, cube_id: max(number, draft.doc.demand.get(cube_id, 0))})
    request = Request(cube_update_trigger(change), created_at=basis.time.wall_at, automatic=True)
    return _queue_or_start(draft, request, grant)


def _queue_or_start(draft: Draft, request: Request, grant: Grant | None) -> Decision[RequestOutcome]:
    pending = draft.doc.pending
    waiting = pending.fold(request) if pending else request
    draft.set(pending=waiting)
    _claim(draft, grant)
    if draft.granted:
        return Decision(draft.change(), Started(draft.granted))
    behind = draft.doc.running.job if draft.doc.running else None
    at = draft.basis.time.wall_at
    draft.events.append(RequestQueued(draft.doc.org_id, at, waiting.trigger, behind, waiting.folded))
    return Decision(draft.change(), Queued(draft.doc.org_id, behind, waiting.folded))


def decide_attention(doc: OrgSnapshot, basis: Basis, *, grant: Grant | None) -> Decision[MaintenanceJob | None]:
    """What a tick does for one organisation: rescue, notice, claim. The answer is the job that was granted, if any."""
    draft = Draft(doc, basis)
    _rescue(draft)
    if draft.doc.enabled:
        _notice_due(draft)
        _claim(draft, grant)
    return Decision(draft.change(), draft.granted)


# -- the running job ---------------------------------------------------------------------------------------------------


def decide_renew(
    doc: OrgSnapshot, job_id: JobId, basis: Basis, *, progress: Progress | None = None
) -> Decision[Renewed | Lost]:
    """Lengthen the lease (never shorten it; the deadline stays, I14) and write progress. Late is fine while unrescued."""
    running = doc.running
    if running is None or running.job.id != job_id or running.lease.boot != basis.time.boot:
        return Decision(None, Lost())
    lease = running.lease
    renewed = evolve(lease, until_s=max(lease.until_s, basis.time.steady_s + basis.settings.lease_s))
    running = evolve(running, lease=renewed, progress=progress or running.progress)
    draft = Draft(doc, basis)
    draft.set(running=running)
    return Decision(draft.change(), Renewed(running, renewed.past_deadline(basis.time)))


def decide_finish(doc: OrgSnapshot, job_id: JobId, ending: Ending, basis: Basis) -> Decision[Finished | Lost]:
    """End the job as its worker says. Only while it is the one in progress (I7)."""
    if doc.running is None or doc.running.job.id != job_id:
        return Decision(None, Lost())
    draft = Draft(doc, basis)
    job = _end(draft, doc.running, ending)
    return Decision(draft.change(), Finished(job))


def decide_cancel(doc: OrgSnapshot, job_id: JobId, basis: Basis) -> Decision[bool]:
    """Ask the running job to stop; its lock stays until its worker ends it (I18). False: it is not in progress."""
    running = doc.running
    if running is None or running.job.id != job_id:
        return Decision(None, False)
    draft = Draft(doc, basis)
    if not running.cancel_requested:
        draft.set(running=evolve(running, cancel_requested=True))
    return Decision(draft.change(), True)


# -- the four steps ----------------------------------------------------------------------------------------------------


def _rescue(draft: Draft) -> None:
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
    job = _end(draft, running, Ending(error=error))
    draft.events.insert(0, LeaseLapsed(job.org_id, time.wall_at, job))


def _notice_due(draft: Draft) -> None:
    doc, now = draft.doc, draft.basis.time.wall_at
    due = [schedule for schedule in doc.schedules if is_due(schedule, now)]
    if not due:
        return
    blocked = "running" if doc.running else "paused" if doc.paused else ""
    fired: dict[ScheduleId, int] = {}
    moved: dict[ScheduleId, Schedule] = {}
    for schedule in due:
        noticed = notice(schedule, now, blocked=bool(blocked), grace_s=draft.basis.settings.grace_s)
        moved[schedule.id] = noticed.schedule
        if noticed.missed:
            draft.events.append(SlotsMissed(doc.org_id, now, schedule.id, noticed.slot, noticed.missed))
        if noticed.fate is SlotFate.SKIPPED:
            draft.events.append(SlotSkipped(doc.org_id, now, schedule.id, noticed.slot, blocked))
        if noticed.fate is SlotFate.FIRED:
            fired[schedule.id] = noticed.slot
    draft.set(schedules=tuple(moved.get(schedule.id, schedule) for schedule in doc.schedules))
    if fired:
        request = Request(TIME_BASED, created_at=now, automatic=True, slots=fired)
        draft.set(pending=doc.pending.fold(request) if doc.pending else request)


def _claim(draft: Draft, grant: Grant | None) -> None:
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
        running=RunningJob(job, lease, options=pending.options, demand_seen=doc.demand),
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


def _end(draft: Draft, running: RunningJob, ending: Ending) -> MaintenanceJob:
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
        draft.set(covered=_covered(draft.doc, running), failure_streak=0, not_before_at=None)
    elif error is None or error.code in STREAK_CODES:
        streak = draft.doc.failure_streak + 1
        draft.set(failure_streak=streak, not_before_at=_not_before(draft.basis, job, streak))
    _owe_follow_up(draft, running)
    return job


def _covered(doc: OrgSnapshot, running: RunningJob) -> Mapping[str, int]:
    seen = running.demand_seen
    return {cube: max(doc.covered.get(cube, 0), seen.get(cube, 0)) for cube in {**doc.covered, **seen}}


def _not_before(basis: Basis, job: MaintenanceJob, streak: int) -> datetime:
    """When automatic starts may go on: base × 2^(streak - 1) up to the cap, less up to a tenth by a hash of the job."""
    wait_s = min(basis.settings.backoff_cap_s, basis.settings.backoff_base_s * 2.0 ** min(streak - 1, 30))
    digest = sha256(f"{job.org_id}|{job.fence.generation}|{job.fence.number}".encode()).digest()
    jitter = int.from_bytes(digest[:4]) / 2**32 / 10
    return basis.time.wall_at + timedelta(seconds=wait_s * (1 - jitter))


def _owe_follow_up(draft: Draft, running: RunningJob) -> None:
    if draft.doc.pending or not draft.doc.uncovered:
        return
    trigger = running.job.trigger
    if trigger.kind is not TriggerKind.CUBE_UPDATE:
        trigger = cube_update_trigger(CubeUpdate.DYNAMIC_CUBE_UPDATED)
    draft.set(pending=Request(trigger, created_at=draft.basis.time.wall_at, automatic=True))
