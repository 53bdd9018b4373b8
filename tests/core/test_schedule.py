"""What becomes of slots: fired, skipped or missed, each exactly once (I11, I20)."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from aggmaint import ScheduleId
from aggmaint.core.cron import next_slot
from aggmaint.core.instants import epoch_s
from aggmaint.core.schedule import (
    MISSED_COUNT_MAX,
    SlotFate,
    activate,
    default_schedule,
    is_due,
    new_schedule,
    notice,
    restart_after,
)
from aggmaint.errors import InvalidCronError

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
GRACE_S = 3600.0


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def nominal(expression: str, zone: str, after: int, until: int) -> list[int]:
    slots: list[int] = []
    slot = next_slot(expression, zone, after)
    while slot is not None and slot <= until:
        slots.append(slot)
        slot = next_slot(expression, zone, slot)
    return slots


LOOKS = st.lists(st.tuples(st.integers(-7200, 40_000), st.booleans()), max_size=25)
EXPRESSIONS = st.sampled_from(["*/5 * * * *", "@hourly", "0 30 2 ? * * *", "0 0 4 ? * MON", "*/50 * * * * ?"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])
STARTS = st.sampled_from([NOON, datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 10, 24, 21, tzinfo=UTC)])


@given(EXPRESSIONS, ZONES, STARTS, LOOKS, st.sampled_from([0.0, 600.0, GRACE_S, 100_000.0]))
def test_I20_fired_skipped_and_missed_are_the_nominal_slots(
    expression: str, zone: str, start: datetime, looks: list[tuple[int, bool]], grace_s: float
) -> None:
    """However the wall clock goes, also backwards: what was consumed adds up, and no slot is consumed twice (I11)."""
    schedule = new_schedule(ScheduleId("s"), expression, zone=zone, created_by_user="a", now=start)
    now, fired, consumed = start, 0, 0
    for passed_s, blocked in looks:
        now += seconds(passed_s)
        if not is_due(schedule, now):
            continue
        before = schedule
        noticed = notice(schedule, now, blocked=blocked, grace_s=grace_s)
        schedule = noticed.schedule
        fired += noticed.fate is SlotFate.FIRED
        assert schedule.last_slot == noticed.slot <= epoch_s(now), "I12: no slot from the future"
        assert before.last_slot is None or schedule.last_slot > before.last_slot, "I11: the cursor only moves forward"
        assert schedule.next_slot is not None and schedule.next_slot > epoch_s(now)
        late_s = epoch_s(now) - noticed.slot
        expected = SlotFate.MISSED if late_s > grace_s else SlotFate.SKIPPED if blocked else SlotFate.FIRED
        assert noticed.fate is expected
        assert not is_due(schedule, now)
    if schedule.last_slot is not None:
        consumed = len(nominal(expression, zone, epoch_s(start), schedule.last_slot))
    if schedule.missed_over:
        assert fired + schedule.skipped + schedule.missed < consumed
    else:
        assert fired + schedule.skipped + schedule.missed == consumed


@pytest.mark.parametrize(("slots", "missed", "over"), [(999, 998, False), (1000, 999, False), (1001, 1000, True)])
def test_missed_slots_are_counted_exactly_to_1000(slots: int, missed: int, over: bool) -> None:
    schedule = new_schedule(ScheduleId("s"), "* * * * *", zone="UTC", created_by_user="a", now=NOON)
    noticed = notice(schedule, NOON + seconds(60 * slots), blocked=False, grace_s=GRACE_S)
    assert (noticed.fate, noticed.missed, noticed.schedule.missed_over) == (SlotFate.FIRED, missed, over)
    assert noticed.slot == epoch_s(NOON) + 60 * slots, "the newest slot, however many were missed"
    assert MISSED_COUNT_MAX == 1000


@pytest.mark.parametrize(("late_s", "fate"), [(3600, SlotFate.FIRED), (3601, SlotFate.MISSED)])
def test_the_grace_is_judged_when_a_slot_is_noticed(late_s: int, fate: SlotFate) -> None:
    schedule = new_schedule(ScheduleId("s"), "0 13 * * *", zone="UTC", created_by_user="a", now=NOON)
    noticed = notice(schedule, NOON + seconds(3600 + late_s), blocked=False, grace_s=3600.0)
    assert (noticed.fate, noticed.missed) == (fate, int(fate is SlotFate.MISSED))


def test_a_new_schedule_never_fires_for_the_past_or_for_now() -> None:
    schedule = new_schedule(ScheduleId("s"), "0 12 * * *", zone="UTC", created_by_user="a", now=NOON)
    assert schedule.next_slot == epoch_s(NOON) + 86_400
    assert not is_due(schedule, NOON + seconds(86_399)) and is_due(schedule, NOON + seconds(86_400))


def test_the_default_schedule() -> None:
    schedule = default_schedule(ScheduleId("s"), NOON)
    assert (schedule.time_expression, schedule.zone, schedule.active) == ("0 0 4 ? * * *", "UTC", True)


def test_activating_never_fires_for_the_past_and_is_idempotent() -> None:
    schedule = new_schedule(ScheduleId("s"), "@hourly", zone="UTC", created_by_user="a", now=NOON)
    assert activate(schedule, NOON + seconds(99_999)) is schedule
    inactive = evolve(schedule, active=False)
    assert not is_due(inactive, NOON + seconds(99_999))
    assert restart_after(inactive, NOON) is inactive
    active = activate(inactive, NOON + seconds(7200))
    assert active.next_slot == epoch_s(NOON) + 3 * 3600
    assert restart_after(schedule, NOON + seconds(7200)).next_slot == epoch_s(NOON) + 3 * 3600


def test_a_schedule_whose_years_are_over_ends_quietly() -> None:
    schedule = new_schedule(ScheduleId("s"), "0 0 13 2 3 ? 2026", zone="UTC", created_by_user="a", now=NOON)
    noticed = notice(schedule, NOON + seconds(3600), blocked=False, grace_s=GRACE_S)
    assert (noticed.fate, noticed.schedule.next_slot) == (SlotFate.FIRED, None)
    assert not is_due(noticed.schedule, NOON + seconds(10**9))
    with pytest.raises(InvalidCronError):
        new_schedule(ScheduleId("t"), "0 0 13 2 3 ? 2026", zone="UTC", created_by_user="a", now=NOON + seconds(3600))
