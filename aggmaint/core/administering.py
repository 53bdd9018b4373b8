"""Rules for what people change: schedules, pause, enabling.

Pausing consumes time slots as skipped, keeps demand and leaves a running job alone; manual and event-triggered runs still
go (as published; spec/domain.md, section 5). Disabling stops all new runs, and time while disabled has no nominal slots.
All of these are idempotent: asked twice they are done once.
"""

from collections.abc import Callable

from attrs import evolve

from ..errors import ScheduleNotFoundError
from .deciding import Basis, Decision, Draft
from .events import SlotSkipped
from .ids import ScheduleId
from .organization import OrgSnapshot, Pause, Request
from .schedule import Schedule, activate, new_schedule, restart_after
from .trigger import TriggerKind


def decide_pause(doc: OrgSnapshot, basis: Basis, *, by: str, reason: str) -> Decision[Pause]:
    """Pause scheduled runs. A request that waits only because of a slot is skipped; already paused: stays as it was."""
    if doc.paused:
        return Decision(None, doc.paused)
    draft = Draft(doc, basis)
    pause = Pause(by, reason, basis.time.wall_at)
    draft.set(paused=pause)
    if doc.pending and doc.pending.trigger.kind is TriggerKind.TIME:
        _skip_waiting(draft, doc.pending)
    return Decision(draft.change(), pause)


def _skip_waiting(draft: Draft, waiting: Request) -> None:
    for schedule_id, slot in waiting.slots.items():
        draft.events.append(SlotSkipped(draft.doc.org_id, draft.basis.time.wall_at, schedule_id, slot, "paused"))
    draft.set(
        pending=None,
        schedules=tuple(
            evolve(schedule, skipped=schedule.skipped + 1) if schedule.id in waiting.slots else schedule
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


def decide_add_schedule(
    doc: OrgSnapshot, schedule_id: ScheduleId, time_expression: str, basis: Basis, *, zone: str, created_by_user: str
) -> Decision[Schedule]:
    """Add a schedule; its first slot lies in the future. Raises InvalidCronError, InvalidValueError (zone)."""
    now = basis.time.wall_at
    schedule = new_schedule(schedule_id, time_expression, zone=zone, created_by_user=created_by_user, now=now)
    draft = Draft(doc, basis)
    draft.set(schedules=(*doc.schedules, schedule))
    return Decision(draft.change(), schedule)


def decide_remove_schedule(doc: OrgSnapshot, schedule_id: ScheduleId, basis: Basis) -> Decision[Schedule]:
    """Remove a schedule. Raises ScheduleNotFoundError. Its jobs stay in the history."""
    removed = _find(doc, schedule_id)
    draft = Draft(doc, basis)
    draft.set(schedules=tuple(schedule for schedule in doc.schedules if schedule.id != schedule_id))
    return Decision(draft.change(), removed)


def decide_activate_schedule(
    doc: OrgSnapshot, schedule_id: ScheduleId, basis: Basis, *, active: bool
) -> Decision[Schedule]:
    """Activate or deactivate. Raises ScheduleNotFoundError. An activated one never fires for the past."""
    if active:
        return _edit(doc, schedule_id, basis, lambda schedule: activate(schedule, basis.time.wall_at))
    return _edit(doc, schedule_id, basis, lambda schedule: evolve(schedule, active=False))


def _edit(
    doc: OrgSnapshot, schedule_id: ScheduleId, basis: Basis, edit: Callable[[Schedule], Schedule]
) -> Decision[Schedule]:
    before = _find(doc, schedule_id)
    after = edit(before)
    draft = Draft(doc, basis)
    if after != before:
        draft.set(schedules=tuple(after if s.id == schedule_id else s for s in doc.schedules))
    return Decision(draft.change(), after)


def _find(doc: OrgSnapshot, schedule_id: ScheduleId) -> Schedule:
    schedule = doc.schedule(schedule_id)
    if schedule is None:
        raise ScheduleNotFoundError(doc.org_id, schedule_id)
    return schedule
