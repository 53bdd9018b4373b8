"""The life of definitions: retention, removal of the unused, coming back, and uses that count once."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from aggmaint.aggregates.life import (
    ANY_DEFINITION,
    Deactivated,
    Deactivation,
    DefinitionRecord,
    Lives,
    Told,
    UseEntry,
    judge_lives,
    use_order,
)
from aggmaint.aggregates.model import AggregateDefinition, DefinitionType
from aggmaint.aggregates.policy import Policy
from aggmaint.errors import InvalidValueError

from .test_model import definition

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DEMANDED = evolve(definition(), type="system_defined", subtype="demand_defined")


def known(wanted: AggregateDefinition, age: timedelta = 0 * DAY, **parts: Any) -> DefinitionRecord:
    then = NOW - age
    return DefinitionRecord(wanted.id, wanted.label, **{"created_at": then, "counted_from_at": then, **parts})


def judge(wanted: list[AggregateDefinition], records: list[DefinitionRecord], **parts: Any) -> Lives:
    options: dict[str, Any] = {"first_seen": {}, "told": Told(), "policy": Policy(), "now": NOW, **parts}
    return judge_lives(wanted, records, **options)


def gone(lives: Lives) -> set[str]:
    return {key for key, life in lives.by_id.items() if life.gone}


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "excess", "effective"),
    [(100, 2, (100, 2)), (0, 2, (100, 2)), (7, 0, (100, 2)), (0, 0, (100, 2)), (1, 1, (1, 1)), (7, 3, (7, 3))],
)
def test_a_zero_in_either_reverts_both_and_one_is_valid(limit: int, excess: int, effective: tuple[int, int]) -> None:
    policy = Policy(retention_limit=limit, retention_excess=excess)
    assert (policy.retention_limit, policy.retention_excess) == effective


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("unused_days", 9),
        ("unused_days", 366),
        ("unused_days", 45.5),
        ("unused_days", True),
        ("retention_limit", -1),
        ("retention_excess", 1.5),
        ("remove_unused", 1),
        ("query_max_s", -1),
        ("query_max_s", 3601),
    ],
)
def test_settings_out_of_range_are_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(InvalidValueError, match=key):
        Policy(**{key: value})


def test_the_grace_is_at_least_the_longest_query() -> None:
    assert Policy(query_max_s=3600).retired_grace_s == 3600
    with pytest.raises(InvalidValueError, match="raise retired_grace_s"):
        Policy(query_max_s=60, retired_grace_s=59)


# -- unused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [10, 45, 365])
def test_unused_ends_at_its_very_instant(days: int) -> None:
    policy = Policy(unused_days=days)
    assert gone(judge([DEMANDED], [known(DEMANDED, days * DAY)], policy=policy)) == {DEMANDED.id}
    young = known(DEMANDED, days * DAY - timedelta(microseconds=1))
    assert not gone(judge([DEMANDED], [young], policy=policy))
    used = known(DEMANDED, 400 * DAY, last_used_at=NOW - days * DAY + timedelta(microseconds=1), use_count=1)
    assert not gone(judge([DEMANDED], [used], policy=policy))
    back = known(DEMANDED, 400 * DAY, counted_from_at=NOW - days * DAY + timedelta(microseconds=1))
    assert not gone(judge([DEMANDED], [back], policy=policy)), "it came back since"


def test_only_demand_defined_ones_of_the_system_are_removed_and_only_if_it_is_so_set() -> None:
    old = 400 * DAY
    others = [
        evolve(DEMANDED, type="user_defined"),
        evolve(DEMANDED, subtype="prediction_defined"),
        evolve(DEMANDED, subtype="manual"),
        evolve(DEMANDED, blocked=True),
    ]
    for other in others:
        assert not gone(judge([other], [known(other, old)]))
    assert not gone(judge([DEMANDED], [known(DEMANDED, old)], policy=Policy(remove_unused=False)))


def test_a_clock_that_is_behind_removes_nothing_and_what_is_new_has_its_time() -> None:
    assert not gone(judge([DEMANDED], [known(DEMANDED, -400 * DAY)]))
    fresh = judge([DEMANDED], [])
    assert not gone(fresh) and fresh.by_id[DEMANDED.id].record.created_at == NOW
    assert gone(judge([DEMANDED], [], first_seen={DEMANDED.id: NOW - 45 * DAY})) == {DEMANDED.id}


def test_the_brake_stops_the_removal_of_very_many_at_once() -> None:
    many = [evolve(definition(name=f"d{n}"), type="system_defined", subtype="demand_defined") for n in range(21)]
    records = [known(each, 50 * DAY) for each in many]
    lives = judge(many, records)
    assert not gone(lives) and set(lives.refused) == {each.id for each in many}
    assert "21 demand-defined" in lives.refused[many[0].id] and "approve_mass_drop" in lives.refused[many[0].id]
    assert len(gone(judge(many[:20], records))) == 20
    assert len(gone(judge(many, records, policy=Policy(retired_max=21)))) == 21


# -- retention --------------------------------------------------------------------------------------------------------


@st.composite
def cubes(draw: st.DrawFn) -> tuple[list[AggregateDefinition], list[DefinitionRecord], Policy]:
    """Definitions of two cubes, of all kinds, with many equal counts and instants."""
    chance = random.Random(draw(st.integers()))
    wanted = [
        evolve(
            definition(name=f"n{number}", cube=chance.choice(["sales", "SALES", "stock"])),
            type=chance.choice(["user_defined", "system_defined", "system_defined"]),
            subtype=chance.choice(["manual", "demand_defined", "prediction_defined"]),
            blocked=chance.random() < 0.1,
        )
        for number in range(draw(st.integers(0, 25)))
    ]
    records = [
        known(
            each,
            chance.choice([1, 2, 20]) * DAY,
            use_days=tuple((f"2026-02-{chance.choice([1, 20]):02}", chance.randint(1, 2)) for _ in range(1)),
            last_used_at=chance.choice([None, NOW - DAY, NOW - 9 * DAY]),
        )
        for each in wanted
        if chance.random() < 0.9
    ]
    return wanted, records, Policy(retention_limit=draw(st.integers(1, 6)), retention_excess=draw(st.integers(1, 3)))


@given(cubes())
def test_the_least_used_go_down_to_the_limit(
    drawn: tuple[list[AggregateDefinition], list[DefinitionRecord], Policy],
) -> None:
    wanted, records, policy = drawn
    lives = judge(wanted, records, policy=policy)
    by_id = {each.id: each for each in wanted}
    assert all(by_id[key].type is DefinitionType.SYSTEM_DEFINED and not by_id[key].blocked for key in gone(lives))
    for cube in ("sales", "stock"):
        mine = [d for d in wanted if d.cube.casefold() == cube and d.type is DefinitionType.SYSTEM_DEFINED]
        mine = [d for d in mine if not d.blocked]
        leaving = [d for d in mine if d.id in gone(lives)]
        staying = [d for d in mine if d.id not in gone(lives)]
        over = len(mine) > policy.retention_limit + policy.retention_excess
        assert len(staying) == (policy.retention_limit if over else len(mine))

        def order(each: AggregateDefinition) -> Any:
            return use_order(lives.by_id[each.id].record, policy, NOW)

        assert not leaving or not staying or max(map(order, leaving)) < min(map(order, staying))
    shuffled = list(reversed(wanted))
    assert gone(judge(shuffled, records[::-1], policy=policy)) == gone(lives), "whatever the order"
    assert not gone(judge(wanted, [life.record for life in lives.by_id.values()], policy=policy)), "once is enough"


def test_least_used_is_by_recent_uses_then_by_idleness_then_by_age_then_by_id() -> None:
    policy = Policy(unused_days=10)
    names = ["old_glory", "once", "idle", "idle_older", "idle_older_too"]
    mine = {name: evolve(definition(name=name), type="system_defined") for name in names}
    records = {
        "old_glory": known(mine["old_glory"], 99 * DAY, use_days=(("2026-02-19", 10**6),), last_used_at=NOW - 10 * DAY),
        "once": known(mine["once"], 99 * DAY, use_days=(("2026-02-20", 1),), last_used_at=NOW - 9 * DAY),
        "idle": known(mine["idle"], 98 * DAY, counted_from_at=NOW - 20 * DAY),
        "idle_older": known(mine["idle_older"], 99 * DAY, counted_from_at=NOW - 20 * DAY),
        "idle_older_too": known(mine["idle_older_too"], 99 * DAY, counted_from_at=NOW - 20 * DAY),
    }
    ranked = sorted(names, key=lambda name: use_order(records[name], policy, NOW))
    twins = sorted(["idle_older", "idle_older_too"], key=lambda name: mine[name].id)
    assert ranked == [*twins, "idle", "old_glory", "once"]


def test_the_unused_go_first_and_then_the_cube_is_counted() -> None:
    three = [evolve(definition(name=f"d{n}"), type="system_defined", subtype="demand_defined") for n in range(3)]
    records = [known(three[0], 50 * DAY), known(three[1], DAY), known(three[2], DAY)]
    lives = judge(three, records, policy=Policy(retention_limit=1, retention_excess=1))
    assert {key: life.deactivation.reason for key, life in lives.by_id.items() if life.deactivation} == {
        three[0].id: Deactivated.UNUSED
    }


# -- coming back ------------------------------------------------------------------------------------------------------


def deactivated(at: datetime, **parts: Any) -> DefinitionRecord:
    gone_at = Deactivation(at, Deactivated.UNUSED, DEMANDED.definition_hash)
    return known(DEMANDED, 99 * DAY, deactivation=gone_at, **parts)


def test_what_brings_a_definition_back() -> None:
    record = deactivated(NOW - DAY)
    assert judge([DEMANDED], [record]).by_id[DEMANDED.id].record == record, "nothing does"
    early = UseEntry(DEMANDED.id, "b", 1, NOW - DAY)
    assert judge([DEMANDED], [record], told=Told((early,))).deactivation(DEMANDED.id), "a use before it went"
    late = evolve(early, last_at=NOW - DAY + timedelta(microseconds=1))
    ways: list[dict[str, Any]] = [
        {"told": Told((late,))},
        *({"told": Told(activate=frozenset({name}))} for name in (DEMANDED.id, DEMANDED.name, DEMANDED.label)),
    ]
    for way in ways:
        life = judge([DEMANDED], [record], **way).by_id[DEMANDED.id]
        assert life.deactivation is None and life.back and life.record.counted_from_at == NOW
    other = evolve(record, deactivation=Deactivation(NOW - DAY, Deactivated.UNUSED, "another"))
    life = judge([DEMANDED], [other]).by_id[DEMANDED.id]
    assert life.back == "its definition changed" and life.deactivation is None


def test_what_came_back_has_its_whole_time_again() -> None:
    back = judge([DEMANDED], [deactivated(NOW - DAY)], told=Told(activate=frozenset({DEMANDED.id}))).noted[0]
    assert not gone(judge([DEMANDED], [back], now=NOW + 44 * DAY))
    assert gone(judge([DEMANDED], [back], now=NOW + 45 * DAY)) == {DEMANDED.id}


def test_asking_for_one_that_is_there_restarts_its_time_only() -> None:
    lives = judge([DEMANDED], [known(DEMANDED, 50 * DAY)], told=Told(activate=frozenset({"sales.revenue"})))
    assert not gone(lives) and lives.by_id[DEMANDED.id].back is None


# -- uses -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(["id", "label", "LABEL"]), st.integers(0, 4), st.booleans()), max_size=12))
def test_entries_count_by_what_they_have_grown(growth: list[tuple[str, int, bool]]) -> None:
    """The same entries come again and again, grown or not, until they leave; the record holds what was told."""
    names = {"id": DEMANDED.id, "label": DEMANDED.label, "LABEL": DEMANDED.label.upper()}
    waiting: dict[str, UseEntry] = {}
    record: DefinitionRecord | None = None
    told = births = 0
    for name, more, leaves in growth:
        births += name not in waiting
        entry = waiting.get(name, UseEntry(names[name], f"b{births}", 0, NOW))
        waiting[name] = evolve(entry, count=entry.count + more)
        told += more
        for _ in range(2):  # carried, and carried again after a job that failed
            lives = judge([DEMANDED], [] if record is None else [record], told=Told(tuple(waiting.values())))
            again = lives.by_id[DEMANDED.id].record
            assert record is None or lives.noted == (() if again == record else (again,))
            record = again
        if leaves:
            waiting.clear()
    if record is not None:
        assert record.use_count == told == sum(count for _, count in record.use_days)


def test_uses_count_on_their_day_and_old_days_are_let_go() -> None:
    record = known(DEMANDED, use_days=(("2025-02-28", 5), ("2025-03-01", 6), ("2026-02-28", 1)), use_count=12)
    entry = UseEntry(DEMANDED.id, "b", 3, NOW - DAY)
    after = judge([DEMANDED], [record], told=Told((entry,))).by_id[DEMANDED.id].record
    assert after.use_days == (("2025-03-01", 6), ("2026-02-28", 4)) and after.use_count == 15
    assert after.last_used_at == NOW - DAY
    assert after.recent_uses(NOW, 2) == 4 and after.recent_uses(NOW, 1) == 0


def test_uses_of_anything_spare_everything_and_count_for_nothing() -> None:
    told = Told((UseEntry(ANY_DEFINITION, "b", 9, NOW - DAY),))
    lives = judge([DEMANDED], [known(DEMANDED, 50 * DAY)], told=told)
    record = lives.by_id[DEMANDED.id].record
    assert not gone(lives) and (record.use_count, record.last_used_at, record.counted_from_at) == (0, None, NOW - DAY)


def test_only_what_the_rules_are_about_and_what_was_used_has_a_row() -> None:
    plain = definition(name="plain")
    assert [each.definition_id for each in judge([plain, DEMANDED], []).noted] == [DEMANDED.id]
    told = Told((UseEntry(plain.id, "b", 1, NOW),))
    assert [each.definition_id for each in judge([plain], [], told=told).noted] == [plain.id]
