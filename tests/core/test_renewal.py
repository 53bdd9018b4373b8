"""A next slot that was stored under older rules of cron or of time zones says when to look, no more (I11, I23)."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from aggmaint import JobId, Schedule, ScheduleId
from aggmaint.core.deciding import decide_attention, decide_register
from aggmaint.core.ids import OrgId
from aggmaint.core.instants import StoreTime, epoch_s
from aggmaint.core.organization import OrgSnapshot
from aggmaint.core.schedule import activate, new_schedule, notice, renewed
from aggmaint.core.settings import JobSettings
from aggmaint.core.steps import Basis, Grant
from aggmaint.stores import _codec

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = 3600
EXPRESSIONS = st.sampled_from(["*/5 * * * *", "@hourly", "0 30 2 ? * * *", "0 0 4 ? * MON", "0 0 4 1 1 ?"])


def schedule_of(expression: str = "0 0 14 ? * * *", spread_s: float = 0.0) -> Schedule:
    return new_schedule(
        ScheduleId("s"), expression, zone="Europe/Berlin", created_by_user="a", now=NOON, spread_s=spread_s
    )


def by_older_rules(schedule: Schedule, later_s: int) -> Schedule:
    """As if an older zone database had put the next slot elsewhere."""
    assert schedule.next_slot is not None
    slot = schedule.next_slot + later_s
    return evolve(schedule, next_slot=slot, next_start=slot)


def document_of(schedule: Schedule) -> OrgSnapshot:
    return OrgSnapshot(OrgId("acme"), revision=1, schedules=(schedule,))


def basis_at(at: datetime) -> Basis:
    return Basis(StoreTime(at, 0.0, "boot"), "change", JobSettings())


def attended(document: OrgSnapshot, at: datetime) -> OrgSnapshot:
    change = decide_attention(document, basis_at(at), grant=Grant(JobId("job"), "holder")).change
    return change.document if change else document


@given(EXPRESSIONS, st.floats(0, 86_400), st.integers(0, 40 * 86_400))
def test_I23_renewed_by_the_same_rules_it_is_the_same(expression: str, spread_s: float, wait_s: int) -> None:
    schedule = schedule_of(expression, spread_s)
    assert renewed(schedule) == schedule
    later = NOON + timedelta(seconds=wait_s)
    if schedule.next_start is not None and schedule.next_start <= epoch_s(later):
        moved = notice(schedule, later, blocked=False, grace_s=1e9).schedule
        assert renewed(moved) == moved
    again = activate(evolve(schedule, active=False), later)
    assert renewed(again) == again


def test_a_slot_that_older_rules_put_too_early_is_not_fired_before_its_time() -> None:
    right = schedule_of()
    assert right.next_slot is not None
    early = attended(document_of(by_older_rules(right, -HOUR)), NOON + timedelta(minutes=1))
    assert early.schedules == (right,)
    assert early.running is None and early.pending is None
    fired = attended(early, NOON + timedelta(hours=1))
    assert fired.running is not None and fired.running.job.slot == right.next_slot


def test_a_slot_that_older_rules_put_too_late_keeps_its_name_when_it_is_noticed() -> None:
    right = schedule_of()
    fired = attended(document_of(by_older_rules(right, 900)), NOON + timedelta(hours=1, minutes=15))
    assert fired.running is not None and fired.running.job.slot == right.next_slot


def test_registering_again_computes_next_slots_by_todays_rules_and_changes_nothing_else() -> None:
    right = schedule_of()
    stored = document_of(by_older_rules(right, 86_400))
    decision = decide_register(stored, stored.org_id, ScheduleId("unused"), basis_at(NOON))
    assert decision.answer is False, "it is not new"
    assert decision.change is not None and decision.change.document.schedules == (right,)
    again = decide_register(decision.change.document, stored.org_id, ScheduleId("unused"), basis_at(NOON))
    assert again.change is None


@pytest.mark.parametrize("active", [True, False])
def test_an_expression_that_is_refused_today_stops_nobody_from_registering(active: bool) -> None:
    schedule = evolve(schedule_of(), time_expression="0 0 4 ? * LW *", active=active)
    decision = decide_register(document_of(schedule), OrgId("acme"), ScheduleId("unused"), basis_at(NOON))
    assert decision.change is None
    due = evolve(schedule, active=True, next_start=0, next_slot=0)
    assert attended(document_of(due), NOON).schedules[0].active is False


def test_a_document_of_the_first_release_is_read_and_trusted_as_it_is() -> None:
    schedule = schedule_of()
    text = _codec.schedule_to_json(schedule)
    assert _codec.schedule_from_json(text) == schedule
    del text["after"]
    old = _codec.schedule_from_json(text)
    assert old == evolve(schedule, slots_after=None) == renewed(old)
