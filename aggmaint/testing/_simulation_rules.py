"""The invariants that one committed change can break, as pure functions of the documents before and after it.

Each yields `(rule, message)` for what does not hold. They are written against the words of design/jobs.md, not against
the code that decides: slots are counted by walking from one to the next, coverage is compared with what the job had seen.
"""

from collections.abc import Iterator
from typing import Final

from ..core.cron import next_slot
from ..core.instants import StoreTime, epoch_s
from ..core.job import FailureCode, JobStatus, Lease
from ..core.marks import EVERYTHING
from ..core.organization import OrgChange, OrgSnapshot
from ..core.schedule import MISSED_COUNT_MAX, Schedule
from ..core.trigger import TriggerKind

Broken = Iterator[tuple[str, str]]
TOLERANCE_S: Final = 5
DRIFT_S: Final = 60
"""What a worker's clock may be ahead of the store's over a whole deadline."""


def broken_rules(change: OrgChange, before: OrgSnapshot, after: OrgSnapshot, now: StoreTime) -> Broken:
    """Every rule that this change breaks."""
    yield from _lease(before, after)
    yield from _rescue(change, before, now)
    yield from _demand(change, before, after)
    yield from _coverage(change, before, after)
    yield from _marks(change, before, after)
    yield from _pause(change, before, after)
    yield from _cancel(change, before, after)
    yield from _slots(change, before, after, now)
    if after.revision != before.revision + 1:
        yield "I10", f"revision {before.revision} became {after.revision}"


def _lease(before: OrgSnapshot, after: OrgSnapshot) -> Broken:
    """I14: a renewal never shortens, and the deadline never moves. I5: the job in progress stays what it is."""
    old, new = before.running, after.running
    if old is None or new is None or old.job.id != new.job.id:
        return
    if new.lease.until_s < old.lease.until_s:
        yield "I14", f"the lease was shortened from {old.lease.until_s} to {new.lease.until_s}"
    if (new.lease.deadline_s, new.lease.boot) != (old.lease.deadline_s, old.lease.boot):
        yield "I14", f"the deadline moved: {old.lease} became {new.lease}"
    if new.job != old.job:
        yield "I5", f"the job in progress changed: {old.job} became {new.job}"


def has_lapsed(lease: Lease, now: StoreTime) -> bool:
    """The evidence for a rescue, in our own words: the store lives another life, or steady time has come."""
    return now.boot != lease.boot or now.steady_s >= lease.until_s or now.steady_s >= lease.deadline_s


def _rescue(change: OrgChange, before: OrgSnapshot, now: StoreTime) -> Broken:
    """I13: only with evidence. A time-out by the worker itself is a deadline too."""
    error = change.ended.job.error if change.ended else None
    if error is None or before.running is None:
        return
    lease = before.running.lease
    if (
        error.code is FailureCode.ABANDONED
        and not error.message.startswith("abandoned by ")
        and not has_lapsed(lease, now)
    ):
        yield "I13", f"rescued before its lease {lease} lapsed, at {now}"
    if error.code is FailureCode.TIMEOUT and lease.boot == now.boot and now.steady_s < lease.deadline_s - DRIFT_S:
        yield "I13", f"timed out {lease.deadline_s - now.steady_s:.1f} s before its deadline"


def _demand(change: OrgChange, before: OrgSnapshot, after: OrgSnapshot) -> Broken:
    """I15: demand only grows. I25: while it is uncovered and nothing runs, a request waits."""
    for cube, number in before.demand.items():
        if after.demand.get(cube, 0) < number:
            yield "I15", f"demand of {cube} fell from {number} to {after.demand.get(cube, 0)}"
    if change.granted and after.running and dict(after.running.demand_seen) != dict(after.demand):
        yield "I16", f"the job saw {dict(after.running.demand_seen)}, demanded are {dict(after.demand)}"
    if after.running is None and after.uncovered and after.pending is None and not _removed(before, after):
        yield "I25", f"{dict(after.uncovered)} is owed and nothing waits"


def _coverage(change: OrgChange, before: OrgSnapshot, after: OrgSnapshot) -> Broken:
    """I16: covered is earned by a complete done job, exactly up to what that job had seen."""
    earned = _earned(change)
    seen = before.running.demand_seen if before.running and earned else {}
    for cube in {**before.covered, **after.covered, **seen}:
        expected = max(before.covered.get(cube, 0), seen.get(cube, 0))
        if after.covered.get(cube, 0) != expected:
            yield "I16", f"{cube} is covered up to {after.covered.get(cube, 0)}, not {expected} (earned: {earned})"


def _earned(change: OrgChange) -> bool:
    ended = change.ended.job if change.ended else None
    return ended is not None and ended.status is JobStatus.DONE and bool(ended.complete)


def _removed(before: OrgSnapshot, after: OrgSnapshot) -> bool:
    return before.removed_at is not None or after.removed_at is not None


def _marks(change: OrgChange, before: OrgSnapshot, after: OrgSnapshot) -> Broken:
    """I15: a mark goes when a complete job has seen it, or when a wider one stands for it."""
    if before.marks == after.marks:
        return
    seen = before.running.marks_seen if before.running and _earned(change) else 0
    kept = {mark.number for mark in after.marks}
    for mark in before.marks:
        if mark.number in kept or mark.number <= seen or _removed(before, after):
            continue
        if not any(other.number > mark.number and other.covers(mark) for other in after.marks) and not any(
            other.source == EVERYTHING for other in after.marks
        ):
            yield "I15", f"mark {mark} is lost"


def _pause(change: OrgChange, before: OrgSnapshot, after: OrgSnapshot) -> Broken:
    """I17: nothing automatic starts while paused; what a pause drops is counted as skipped (I20)."""
    if change.granted and after.paused and change.granted.trigger.kind is TriggerKind.TIME:
        yield "I17", f"job {change.granted.fence} was started by a slot while paused"
    if before.paused and (fired := list(fired_slots(change, before, after))):
        yield "I17", f"{fired} fired while paused"
    if before.pending and after.pending is None and change.granted is None and not _removed(before, after):
        dropped = before.pending
        stopped = all(_is_stopped(after.schedule(schedule_id)) for schedule_id in dropped.slots)
        if dropped.trigger.kind is not TriggerKind.TIME or not (after.paused or stopped):
            yield "I9", f"the waiting request {dropped.trigger} is lost"
    if not before.enabled and change.granted:
        yield "I17", "a job was granted to a disabled organisation"


def _is_stopped(schedule: Schedule | None) -> bool:
    return schedule is None or not schedule.active or schedule.paused is not None


def _cancel(change: OrgChange, before: OrgSnapshot, after: OrgSnapshot) -> Broken:
    """I18: asking to cancel ends nothing and is not forgotten."""
    old, new = before.running, after.running
    if old and new and old.job.id == new.job.id and old.cancel_requested and not new.cancel_requested:
        yield "I18", "the request to cancel was forgotten"
    error = change.ended.job.error if change.ended else None
    if old and not old.cancel_requested and error and error.code is FailureCode.CANCELLED:
        yield "I18", "cancelled, and nobody had asked for it"


def _slots(change: OrgChange, before: OrgSnapshot, after: OrgSnapshot, now: StoreTime) -> Broken:
    """I12: no slot from the future of the commit that consumes it. I20: each slot is fired, skipped or missed."""
    old = {schedule.id: schedule for schedule in before.schedules}
    fired = dict(fired_slots(change, before, after))
    if fired and before.running and change.ended is None:
        yield "I20", f"{fired} fired while a job ran: a slot is skipped then"
    for schedule in after.schedules:
        was = old.get(schedule.id)
        if was is None or schedule == was:
            continue
        moved = schedule.last_slot != was.last_slot
        if moved and schedule.last_slot is not None and schedule.last_slot > epoch_s(now.wall_at) + TOLERANCE_S:
            yield "I12", f"slot {schedule.last_slot} was consumed at {now.wall_at} ({epoch_s(now.wall_at)})"
        if moved and was.last_slot is not None and (schedule.last_slot or 0) <= was.last_slot:
            yield "I11", f"the cursor went back from {was.last_slot} to {schedule.last_slot}"
        dropped = _dropped(before, after, schedule) if not moved and not change.granted else 0
        nominal = _nominal(was, schedule) if moved else 0
        counted = (schedule.skipped - was.skipped) + (schedule.missed - was.missed) + (schedule.id in fired) - dropped
        if nominal <= MISSED_COUNT_MAX and counted != nominal:
            yield "I20", f"{nominal} slots passed and {counted} were counted: {was} became {schedule}, fired {fired}"
        if (
            schedule.next_slot is not None
            and schedule.last_slot is not None
            and schedule.next_slot <= schedule.last_slot
        ):
            yield "I11", f"slot {schedule.next_slot} is to come, and {schedule.last_slot} was consumed"


def _dropped(before: OrgSnapshot, after: OrgSnapshot, schedule: Schedule) -> int:
    """A slot that had fired and is now counted as skipped, since a pause dropped the request."""
    pending = before.pending
    if pending is None or schedule.id not in pending.slots:
        return 0
    return int(after.pending is None or schedule.id not in after.pending.slots)


def _nominal(was: Schedule, schedule: Schedule) -> int:
    """How many slots lie from the one that was to come through the one consumed last."""
    if was.next_slot is None or schedule.last_slot is None:
        return 0
    count, slot = 0, was.next_slot
    while slot is not None and slot <= schedule.last_slot and count <= MISSED_COUNT_MAX:
        count += 1
        following = next_slot(was.time_expression, was.zone, slot)
        if following is None:
            break
        slot = following
    return count


def fired_slots(change: OrgChange, before: OrgSnapshot, after: OrgSnapshot) -> Iterator[tuple[str, int]]:
    """Slots that fired with this change: consumed, and part of the waiting request or of the job that was granted."""
    old = {schedule.id: schedule.last_slot for schedule in before.schedules}
    granted = change.granted
    for schedule in after.schedules:
        slot = schedule.last_slot
        if slot is None or schedule.id not in old or old[schedule.id] == slot:
            continue
        waits = after.pending is not None and after.pending.slots.get(schedule.id) == slot
        latest = schedule.latest_execution
        if waits or (granted and latest is not None and latest.job_id == granted.id):
            yield schedule.id, slot
