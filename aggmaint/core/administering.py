"""Rules for what people change: schedules, pause, enabling.

Pausing consumes time slots as skipped, keeps demand and leaves a running job alone; manual and event-triggered runs still
go (as published; spec/domain.md, section 5). Disabling stops all new runs, and time while disabled has no nominal slots.
Removing an organisation leaves a tombstone: its fences, cursors and history stay, so that registering it again goes on where
it was. Pruning forgets the longest prefix of old jobs; fences stay dense, so history pages stay comparisons. All of these
are idempotent: asked twice they are done once.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import evolve

from ..errors import InvalidValueError, ScheduleNotFoundError
from .events import SlotSkipped
from .ids import ScheduleId
from .instants import StoreTime
from .job import MaintenanceJob
from .marks import ChangeMark, add_mark
from .organization import REMOVED_SCHEDULES_MAX, OrgSnapshot
from .outcomes import RefusalReason, Refused
from .schedule import Pause, Schedule, activate, restart_after
from .settings import JobSettings
from .steps import Basis, Decision, Draft
from .trigger import TriggerKind
from .use import Use, add_uses


def decide_pause(doc: OrgSnapshot, basis: Basis, *, by: str, reason: str) -> Decision[Pause]:
    """Pause scheduled runs. A request that waits only because of a slot is skipped; already paused: stays as it was."""
    if doc.paused:
        return Decision(None, doc.paused)
    draft = Draft(doc, basis)
    pause = Pause(by, reason, basis.time.wall_at)
    draft.set(paused=pause)
    _skip_waiting(draft, {schedule.id for schedule in doc.schedules}, "paused")
    return Decision(draft.change(), pause)


def _skip_waiting(draft: Draft, schedule_ids: Collection[ScheduleId], reason: str) -> None:
    """Skip slots of these schedules that have fired and wait for a free place. A request of slots alone goes with its last.

    A request that something else asked for too stays as it is: it will run anyway.
    """
    waiting = draft.doc.pending
    if waiting is None or waiting.trigger.kind is not TriggerKind.TIME:
        return
    skipped = {schedule_id: slot for schedule_id, slot in waiting.slots.items() if schedule_id in schedule_ids}
    if not skipped:
        return
    for schedule_id, slot in skipped.items():
        draft.events.append(SlotSkipped(draft.doc.org_id, draft.basis.time.wall_at, schedule_id, slot, reason))
    kept = {schedule_id: slot for schedule_id, slot in waiting.slots.items() if schedule_id not in skipped}
    draft.set(
        pending=evolve(waiting, slots=kept) if kept else None,
        schedules=tuple(
            evolve(schedule, skipped=schedule.skipped + 1) if schedule.id in skipped else schedule
            for schedule in draft.doc.schedules
        ),
    )


def decide_resume(doc: OrgSnapshot, basis: Basis) -> Decision[bool]:
    """Resume scheduled runs; what was skipped stays skipped. False: was not paused."""
    draft = Draft(doc, basis)
    if doc.paused:
        draft.set(paused=None)
    return Decision(draft.change(), doc.paused is not None)


def decide_enable(doc: OrgSnapshot, basis: Basis, *, enabled: bool) -> Decision[bool]:
    """Enable or disable maintenance. Enabling starts every schedule afresh from now. False: it was so already."""
    draft = Draft(doc, basis)
    if doc.enabled != enabled:
        now = basis.time.wall_at
        schedules = tuple(restart_after(schedule, now) for schedule in doc.schedules) if enabled else doc.schedules
        draft.set(enabled=enabled, schedules=schedules)
    return Decision(draft.change(), doc.enabled != enabled)


def decide_add_schedule(doc: OrgSnapshot, schedule: Schedule, basis: Basis) -> Decision[Schedule]:
    """Add a schedule; its first slot lies in the future."""
    added = restart_after(schedule, basis.time.wall_at)
    draft = Draft(doc, basis)
    draft.set(schedules=(*doc.schedules, added))
    return Decision(draft.change(), added)


def decide_pause_schedule(
    doc: OrgSnapshot, schedule_id: ScheduleId, basis: Basis, *, pause: Pause | None
) -> Decision[Schedule]:
    """Pause one schedule (its slots are skipped, one that waits too), or resume it (`pause` None).

    Raises ScheduleNotFoundError.
    """
    if pause is None:
        return _edit(doc, schedule_id, basis, lambda each: evolve(each, paused=None))
    return _edit(doc, schedule_id, basis, lambda each: evolve(each, paused=each.paused or pause), "schedule_paused")


def decide_remove_schedule(doc: OrgSnapshot, schedule_id: ScheduleId, basis: Basis) -> Decision[Schedule | None]:
    """Remove a schedule, and a slot of it that waits; None: it was removed before. Its jobs stay in the history.

    Raises ScheduleNotFoundError.
    """
    if schedule_id in doc.removed_schedules:
        return Decision(None, None)
    removed = _find(doc, schedule_id)
    draft = Draft(doc, basis)
    _skip_waiting(draft, {schedule_id}, "schedule_removed")
    draft.set(
        schedules=tuple(schedule for schedule in draft.doc.schedules if schedule.id != schedule_id),
        removed_schedules=(*doc.removed_schedules, schedule_id)[-REMOVED_SCHEDULES_MAX:],
    )
    return Decision(draft.change(), removed)


def decide_activate_schedule(
    doc: OrgSnapshot, schedule_id: ScheduleId, basis: Basis, *, active: bool
) -> Decision[Schedule]:
    """Activate or deactivate. Raises ScheduleNotFoundError. An activated one never fires for the past.

    A slot of a deactivated one that waits is skipped.
    """
    if active:
        return _edit(doc, schedule_id, basis, lambda schedule: activate(schedule, basis.time.wall_at))
    return _edit(doc, schedule_id, basis, lambda schedule: evolve(schedule, active=False), "schedule_deactivated")


def _edit(
    doc: OrgSnapshot,
    schedule_id: ScheduleId,
    basis: Basis,
    edit: Callable[[Schedule], Schedule],
    skipping: str | None = None,
) -> Decision[Schedule]:
    """Edit one schedule; `skipping`: a slot of it that waits is skipped for this reason."""
    draft = Draft(doc, basis)
    if skipping is not None:
        _skip_waiting(draft, {schedule_id}, skipping)
    before = _find(draft.doc, schedule_id)
    after = edit(before)
    if after != before:
        draft.set(schedules=tuple(after if s.id == schedule_id else s for s in draft.doc.schedules))
    return Decision(draft.change(), after)


def _find(doc: OrgSnapshot, schedule_id: ScheduleId) -> Schedule:
    schedule = doc.schedule(schedule_id)
    if schedule is None:
        raise ScheduleNotFoundError(doc.org_id, schedule_id)
    return schedule


def decide_remove(doc: OrgSnapshot, basis: Basis) -> Decision[Refused | None]:
    """Remove the organisation, leaving a tombstone; refused while a job runs. What waits is dropped with it, and the
    inventory forgotten, so that its warehouse may be begun anew."""
    if doc.running is not None:
        left_s = doc.running.lease.left_s(basis.time)
        return Decision(None, Refused(doc.org_id, RefusalReason.BUSY, doc.running.job, left_s))
    draft = Draft(doc, basis)
    draft.set(removed_at=basis.time.wall_at, pending=None, marks=(), uses=(), inventory_job_id=None)
    return Decision(draft.change(), None)


def decide_mark(
    doc: OrgSnapshot, source: str, starts_at: datetime | None, ends_at: datetime | None, basis: Basis
) -> Decision[ChangeMark]:
    """Remember that rows of `source` in this range have changed (I15). Raises InvalidValueError for an empty range."""
    mark = ChangeMark(doc.last_mark + 1, source, starts_at, ends_at)
    draft = Draft(doc, basis)
    draft.set(marks=add_mark(doc.marks, mark), last_mark=mark.number)
    return Decision(draft.change(), mark)


def decide_uses(doc: OrgSnapshot, told: Mapping[str, Use], basis: Basis) -> Decision[int]:
    """Remember that definitions were used; the answer is the number of this use. Nothing told: nothing is written."""
    draft = Draft(doc, basis)
    if told:
        number, now = doc.last_use + 1, basis.time.wall_at
        uses = add_uses(doc.uses, told, number=number, change_id=basis.change_id, now=now)
        draft.set(uses=uses, last_use=number)
    return Decision(draft.change(), draft.doc.last_use)


def needs_pruning(doc: OrgSnapshot, time: StoreTime, settings: JobSettings) -> bool:
    """Whether the oldest kept job has come to the age at which jobs are forgotten. Costs nothing to ask."""
    if doc.oldest_ended_at is None:
        return False
    return (time.wall_at - doc.oldest_ended_at).total_seconds() > settings.history_age_s


def decide_prune(doc: OrgSnapshot, oldest: Sequence[MaintenanceJob], basis: Basis) -> Decision[int]:
    """Forget jobs that ended too long ago. `oldest`: the oldest that are kept, ascending; the answer: how many went.

    Only a prefix goes, never the newest job, never one in progress.
    """
    before = basis.time.wall_at - timedelta(seconds=basis.settings.history_age_s)
    gone = 0
    for job in oldest:
        if job.ended_at is None or job.ended_at >= before or job.fence.number >= doc.last_fence:
            break
        gone += 1
    kept = next((job.ended_at for job in oldest[gone:] if job.ended_at is not None), None)
    through = oldest[gone - 1].fence.number if gone else doc.pruned_through
    draft = Draft(doc, basis)
    if gone or kept != doc.oldest_ended_at:
        draft.set(pruned_through=max(through, doc.pruned_through), oldest_ended_at=kept)
    return Decision(draft.change(), gone)


def decide_raise_generation(doc: OrgSnapshot, at_least: int, basis: Basis) -> Decision[int]:
    """Recovery: let this store's fences outrank all that a warehouse has seen, up to generation `at_least` - 1.

    Raises InvalidValueError while a job runs: its fence must not change under it.
    """
    if doc.running is not None:
        raise InvalidValueError(f"organisation {doc.org_id!r} runs job {doc.running.job.id}; recover when it has ended")
    draft = Draft(doc, basis)
    draft.set(generation=max(doc.generation + 1, at_least))
    return Decision(draft.change(), draft.doc.generation)
