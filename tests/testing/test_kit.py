"""The parts of the kit by themselves: clocks, strategies, words of a failing check, timings."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import NOTHING, fields
from hypothesis import HealthCheck, given, settings

import aggmaint.testing
from aggmaint.core.cron import parse_cron, parse_zone
from aggmaint.core.ids import OrgId, parse_org_id
from aggmaint.core.instants import StoreTime
from aggmaint.core.job import Lease
from aggmaint.core.organization import OrgChange, OrgSnapshot
from aggmaint.core.schedule import Schedule
from aggmaint.core.trigger import Trigger
from aggmaint.testing import NOON, CheckFailedError, FileClock, ManualClock, measure, strategies
from aggmaint.testing._expect import difference, equal, raises
from aggmaint.testing._suite_documents import full_document, full_job
from tests.testing.stores import make_memory


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    assert clock.read() == clock.read() == StoreTime(NOON, 1000.0, "boot-1")
    clock.pass_s(5)
    clock.step_wall(-3600)
    assert clock.read() == StoreTime(NOON + timedelta(seconds=5 - 3600), 1005.0, "boot-1")
    clock.sleep(1)
    clock.reboot()
    assert (clock.read().steady_s, clock.read().boot) == (5.0, "boot-2")
    clock.pass_until(NOON)
    assert clock.wall_at == NOON
    clock.set(StoreTime(NOON, 1.0, "x"))
    assert clock.read() == StoreTime(NOON, 1.0, "x")


def pass_often(clock: ManualClock) -> None:
    for _ in range(200):
        clock.pass_s(1)


def test_a_manual_clock_is_for_many_threads() -> None:
    clock = ManualClock()
    threads = [threading.Thread(target=pass_often, args=(clock,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.read().steady_s == 1800.0


def test_a_file_clock_is_one_clock_for_all_who_read_the_file(tmp_path: Path) -> None:
    parent, child = FileClock(tmp_path / "clock"), FileClock(str(tmp_path / "clock"))
    parent.set(StoreTime(NOON.replace(microsecond=1), 0.1, "b"))
    assert child.read() == StoreTime(NOON.replace(microsecond=1), 0.1, "b")
    parent.pass_s(10)
    parent.step_wall(60)
    assert child.read().wall_at == NOON.replace(microsecond=1) + timedelta(seconds=70)
    parent.reboot("c")
    assert (child.read().boot, child.read().steady_s) == ("c", 5.0)
    child.sleep(0)


FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@FEW
@given(strategies.org_ids(), strategies.triggers(), strategies.zones())
def test_strategies_give_ids_triggers_and_zones_that_the_core_takes(org_id: OrgId, trigger: Trigger, zone: str) -> None:
    assert parse_org_id(org_id) == org_id
    assert Trigger.parse(str(trigger)) == trigger
    parse_zone(zone)


@FEW
@given(strategies.time_expressions(), strategies.schedules())
def test_strategies_give_schedules_that_fire(expression: str, schedule: Schedule) -> None:
    parse_cron(expression)
    assert schedule.next_slot is not None and schedule.next_start is not None


@FEW
@given(strategies.histories())
def test_histories_are_made_by_the_rules(changes: tuple[OrgChange, ...]) -> None:
    """I3: each change stands on the one before; fences have no holes; a document says what its rows say."""
    fences: list[int] = []
    for number, change in enumerate(changes):
        assert change.base_revision == number and change.document.revision == number + 1
        fences += [change.granted.fence.number] if change.granted else []
        assert (change.document.running is not None) == (
            change.document.last_fence in fences and not ended(change, changes)
        )
    assert fences == list(range(1, len(fences) + 1))


def ended(change: OrgChange, changes: tuple[OrgChange, ...]) -> bool:
    """Whether the newest job granted up to `change` has ended by it."""
    until = [each for each in changes if each.document.revision <= change.document.revision]
    return any(each.ended and each.ended.job.fence.number == change.document.last_fence for each in until)


def test_the_full_document_leaves_no_field_at_its_default() -> None:
    """A field that is added to the document must be added to the round trip."""
    document = full_document(OrgSnapshot(OrgId("acme")), "c", Lease("b", 1.0, 2.0))
    values: list[Any] = [document, document.running, document.pending, document.schedules[0], full_job(OrgId("acme"))]
    ended_later = {"status", "ended_at", "error", "complete", "pruned_through"}
    for value in values:
        for field in fields(type(value)):
            if field.default is not NOTHING and field.name not in ended_later:
                default = field.default.factory() if hasattr(field.default, "factory") else field.default
                assert getattr(value, field.name) != default, f"{type(value).__name__}.{field.name}"


def test_a_failing_check_says_where_two_values_part() -> None:
    one, two = full_job(OrgId("a")), full_job(OrgId("b"))
    assert difference(one, two) == "org_id: found 'a' instead of 'b'"
    assert difference([1, {"a": one}], [1, {"a": two}]) == "[1]['a'].org_id: found 'a' instead of 'b'"
    assert difference("x" * 300, "y").endswith("(302 characters) instead of 'y'")
    with pytest.raises(CheckFailedError, match="the answer: found 1 instead of 2"):
        equal(1, 2, "the answer")
    with pytest.raises(CheckFailedError, match="KeyError was not raised; the answer was 7"):
        raises(KeyError, lambda: 7, "asking")


def test_timings_are_numbers_above_zero() -> None:
    timings = measure(make_memory, orgs=20, jobs=3)
    assert timings.orgs == 20
    assert all(getattr(timings, field.name) > 0 for field in fields(type(timings)))


def test_the_menu_is_complete_and_documented() -> None:
    for name in aggmaint.testing.__all__:
        value = getattr(aggmaint.testing, name)
        assert not isinstance(value, type) or value.__doc__, f"{name} has no docstring"
    assert sorted(aggmaint.testing.__all__) == sorted(set(aggmaint.testing.__all__))
