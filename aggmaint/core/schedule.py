"""Schedules: when an organisation's maintenance is due, and what becomes of firings that nobody could use.

A *slot* is one nominal firing, a UTC epoch second. Slots are computed from the expression, the zone and an instant,
nothing else (I23). The *cursor* is the newest slot that was consumed; it only moves forward and lives in the
organisation's document, so a slot is consumed by the same compare-and-set that acts on it: a late node, a restart, a
pruned history or a stepped clock can not fire it twice (I11).

The next slot is kept beside the cursor, so that a store can find what is due, together with the second after which it is
the first. Rules may change meanwhile: a government moves its clocks, a release mends a rule. So what is kept only says when
to look; the slot is computed again from that second (`renewed`) before it is used, and when a host registers its
organisations.

Every slot that passes is exactly one of

* fired    the newest slot due, noticed within the grace, nothing in its way;
* skipped  the organisation was paused, or a job was running: the next slot supersedes it;
* missed   older than the newest due (nobody looked in time), or noticed later than the grace.

*Spread* moves the start of a slot by a hash of schedule and slot within a window, never beyond the next slot. The slot
keeps its name, so every node moves it alike, and no random numbers are drawn.

Nothing is back-filled: a run maintains the present state, it does not compute an interval. A new or edited schedule
never fires for the past. `missed` is counted exactly up to 1,000 at a time; what lies beyond is told by `missed_over`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from attrs import evolve, field, frozen

from ..errors import InvalidValueError
from .cron import newest_slot, next_slot
from .hashing import spread_hash
from .ids import JobId, ScheduleId, check_text
from .instants import epoch_s, require_utc

DEFAULT_TIME_EXPRESSION: Final = "0 0 4 ? * * *"
DEFAULT_CREATED_BY: Final = "admin"
MISSED_COUNT_MAX: Final = 1000
SPREAD_S_MAX: Final = 86_400


@frozen
class Pause:
    """Scheduled runs are paused: since when, by whom and why."""

    by: str
    reason: str
    since: datetime = field(validator=require_utc)

    def __attrs_post_init__(self) -> None:
        check_text("by", self.by, 255)
        check_text("reason", self.reason, 2000)


@frozen
class Execution:
    """The newest job that a schedule started: the maintenance job's id and when it was granted."""

    job_id: JobId
    executed_at: datetime = field(validator=require_utc)


@frozen
class Schedule:
    """One schedule of one organisation.

    next_slot   the first slot after `slots_after` (a UTC second), by the rules of when it was computed.
    next_start  the same, moved by the spread.
    """

    id: ScheduleId
    time_expression: str
    created_by_user: str
    created_at: datetime = field(validator=require_utc)
    zone: str = "UTC"
    active: bool = True
    paused: Pause | None = None
    spread_s: float = 0.0
    key: str = ""
    last_slot: int | None = None
    slots_after: int | None = None
    next_slot: int | None = None
    next_start: int | None = None
    skipped: int = 0
    missed: int = 0
    missed_over: bool = False
    latest_execution: Execution | None = None


class SlotFate(StrEnum):
    FIRED = "fired"
    SKIPPED = "skipped"
    MISSED = "missed"


@frozen
class Noticed:
    """What noticing a due schedule gave: the schedule with its cursor moved, and the fate of the newest slot."""

    schedule: Schedule
    slot: int
    fate: SlotFate
    missed: int


def new_schedule(  # noqa: PLR0913 - the parts of a schedule, each by keyword
    schedule_id: ScheduleId,
    time_expression: str,
    *,
    zone: str,
    created_by_user: str,
    now: datetime,
    spread_s: float = 0.0,
    key: str = "",
) -> Schedule:
    """A schedule whose first slot lies after `now`. Raises InvalidCronError (also: no slot is left in the future).

    `key` is what `H` in the expression is hashed from (`cron.hash_key`); without one `H` is refused.
    """
    if not 0 <= spread_s <= SPREAD_S_MAX:
        raise InvalidValueError(f"spread_s={spread_s!r} must be 0 to {SPREAD_S_MAX} seconds")
    check_text("created_by_user", created_by_user, 255)
    next_slot(time_expression, zone, epoch_s(now), key, required=True)
    schedule = Schedule(
        id=schedule_id,
        time_expression=time_expression,
        zone=zone,
        created_by_user=created_by_user,
        created_at=now,
        spread_s=float(spread_s),
        key=key,
    )
    return _waiting_after(schedule, epoch_s(now))


def activate(schedule: Schedule, now: datetime) -> Schedule:
    """Active again from `now` on; slots that passed meanwhile do not count. An active one stays as it is."""
    return schedule if schedule.active else _waiting_after(evolve(schedule, active=True), epoch_s(now))


def restart_after(schedule: Schedule, now: datetime) -> Schedule:
    """The same schedule with nothing due: its next slot lies after `now`. For time in which it had no nominal slots."""
    return _waiting_after(schedule, epoch_s(now)) if schedule.active else schedule


def renewed(schedule: Schedule) -> Schedule:
    """The same schedule with its next slot by today's rules: equal, unless the rules of cron or of its zone changed.

    Raises InvalidCronError for an expression that is no longer accepted.
    """
    if not schedule.active or schedule.slots_after is None:
        return schedule
    return _waiting_after(schedule, schedule.slots_after)


def is_due(schedule: Schedule, now: datetime) -> bool:
    return schedule.active and schedule.next_start is not None and schedule.next_start <= epoch_s(now)


def notice(schedule: Schedule, now: datetime, *, blocked: bool, grace_s: float) -> Noticed:
    """Consume every slot of a due schedule that should have started by `now`. `blocked`: a pause or a job is in the way."""
    assert schedule.next_slot is not None, "only due schedules are noticed"
    second = epoch_s(now)
    passed, newest = _newest_due(schedule, schedule.next_slot, second)
    late = second - _start_of(schedule, newest) > grace_s
    fate = SlotFate.MISSED if late else SlotFate.SKIPPED if blocked else SlotFate.FIRED
    missed = (MISSED_COUNT_MAX if passed is None else passed - 1) + (fate is SlotFate.MISSED)
    moved = _waiting_after(
        schedule,
        newest,
        last_slot=newest,
        skipped=schedule.skipped + (fate is SlotFate.SKIPPED),
        missed=schedule.missed + missed,
        missed_over=schedule.missed_over or passed is None,
    )
    return Noticed(moved, newest, fate, missed)


def _waiting_after(schedule: Schedule, second: int, **changes: Any) -> Schedule:
    """Waits for the first slot after `second` and after all that were consumed: the clock may have been set back (I11)."""
    second = max(second, schedule.last_slot or second)
    following = next_slot(schedule.time_expression, schedule.zone, second, schedule.key)
    start = None if following is None else _start_of(schedule, following)
    if not changes and (second, following, start) == (schedule.slots_after, schedule.next_slot, schedule.next_start):
        return schedule
    return evolve(schedule, slots_after=second, next_slot=following, next_start=start, **changes)


def _start_of(schedule: Schedule, slot: int) -> int:
    """When the slot is to start: hash(schedule, slot) mod window, the window capped at the gap to the next slot."""
    if schedule.spread_s < 1:
        return slot
    following = next_slot(schedule.time_expression, schedule.zone, slot, schedule.key)
    gap = following - slot if following is not None else SPREAD_S_MAX
    window = max(1, min(int(schedule.spread_s), gap))
    return slot + spread_hash(schedule.id, slot) % window


def _newest_due(schedule: Schedule, first: int, second: int) -> tuple[int | None, int]:
    """How many slots should have started by `second` (None: more than are counted), and the newest of them."""
    count, newest = _count_slots(schedule, first, second)
    if newest == first or _start_of(schedule, newest) <= second:
        return count, newest
    before = newest_slot(schedule.time_expression, schedule.zone, first, newest - 1, schedule.key)
    return (None if count is None else count - 1), before


def _count_slots(schedule: Schedule, first: int, until: int) -> tuple[int | None, int]:
    """How many slots lie in first…until (None: more than are counted), and the newest of them."""
    slot = first
    for count in range(1, MISSED_COUNT_MAX + 1):
        following = next_slot(schedule.time_expression, schedule.zone, slot, schedule.key)
        if following is None or following > until:
            return count, slot
        slot = following
    return None, newest_slot(schedule.time_expression, schedule.zone, slot, until, schedule.key)


def default_schedule(schedule_id: ScheduleId, now: datetime) -> Schedule:
    """What a new organisation starts with: every day at 04:00 UTC (spec/http-api.md, section 4, rule 6)."""
    return new_schedule(schedule_id, DEFAULT_TIME_EXPRESSION, zone="UTC", created_by_user=DEFAULT_CREATED_BY, now=now)
