"""A run is killed before each of its statements, one after the other: what readers see is wholly old or wholly new.

Then the next job is run: it takes the schema, sweeps what the dead one left, and everything is right.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal

import pytest
from attrs import evolve

from aggmaint.aggregates.model import Measure
from aggmaint.errors import FenceLostError, TaskFailedError

from .growing import Growing, entry, merged, named
from .support import WRITES, Lab, Sale, definitions, multiset


class CrashError(BaseException):
    """Not an Exception: no handler of ours may catch it."""


class Killer:
    """Raises before statement number `at` of the run, and before every later one: a dead process says nothing more."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def __call__(self, _sql: str) -> None:
        self.count += 1
        if self.count > self.at:
            raise CrashError


def small() -> Lab:
    lab = Lab(wanted=definitions()[:2])
    lab.seed()
    return lab


def built_and_changed() -> Lab:
    lab = small()
    lab.run()
    lab.put(Sale(50, date(2024, 2, 9), "north", Decimal("1.00"), 1, 1.0))
    lab.put(evolve(lab.rows[1], day=date(2024, 4, 2)))
    return lab


def redefined() -> Lab:
    lab = small()
    lab.run()
    lab.wanted[1] = evolve(lab.wanted[1], measures=[Measure("n", "count")])
    return lab


def expired() -> Lab:
    """One superseded table past its grace, one dropped behind our back."""
    lab = redefined()
    lab.run()
    lab.clock[0] += timedelta(hours=2)
    lab.execute(f'DROP TABLE "{lab.schema}"."{lab.table_of("by_month")}"')
    return lab


def shown(lab: Lab) -> dict[str, list[str]]:
    """What each view shows; views that are not there, or read nothing, are left out."""
    answer = {}
    for name, kind in lab.objects():
        if kind == "VIEW":
            try:
                answer[name] = multiset(lab.execute(f'SELECT * FROM "{lab.schema}"."{name}"'))
            except Exception:
                continue
    return answer


@pytest.mark.parametrize(("world", "stride"), [(small, 1), (built_and_changed, 1), (redefined, 2), (expired, 3)])
def test_a_kill_between_any_two_statements_leaves_old_or_new(world: Callable[[], Lab], stride: int) -> None:
    """All points of a build and of a refresh; of the longer stories, whose parts these are, each second or third."""
    whole = world()
    before = shown(whole)
    whole.run()
    points = kill_points(whole.statements)
    after = shown(whole)
    assert len(points) > 20
    for at in points[::stride]:
        lab = world()
        lab.before = Killer(at)
        with suppress(CrashError):
            lab.run()
        lab.before = lambda _sql: None
        for name, rows in shown(lab).items():
            assert rows in (before.get(name), after.get(name)), (at, name)
        assert set(before) <= set(shown(lab)), "nothing that was served is gone"
        report = lab.run()
        assert report.complete, (at, report.errors)
        assert shown(lab) == after
        leftovers = {name for name, _ in lab.objects() if name.startswith("as_agg_")}
        lab.clock[0] += timedelta(hours=2)
        lab.run()
        in_service = {lab.table_of(each.name) for each in lab.wanted}
        assert {name for name, _ in lab.objects() if name.startswith("as_agg_")} == in_service, leftovers


def kill_points(statements: Sequence[str]) -> list[int]:
    """Before and after each statement that writes, begins or commits, from the first write on (kills before are alike)."""
    marks = [
        index for index, sql in enumerate(statements) if WRITES.match(sql) or sql in ("BEGIN TRANSACTION", "COMMIT")
    ]
    first = next(index for index, sql in enumerate(statements) if WRITES.match(sql))
    return sorted({each for index in marks if index >= first for each in (index, index + 1)})


@pytest.mark.parametrize("at", range(0, 45, 4))
def test_an_ordinary_exception_at_a_statement_condemns_nothing(at: int) -> None:
    """As above, but seen by our handlers: they clean up, and let it pass."""
    lab = built_and_changed()
    before = shown(lab)
    failing = Killer(at)

    def fail(sql: str) -> None:
        try:
            failing(sql)
        except CrashError as dead:
            raise OSError("disk on fire") from dead

    lab.before = fail
    with pytest.raises(OSError, match="fire"):
        lab.run()
    lab.before = lambda _sql: None
    assert set(shown(lab)) == set(before)
    assert lab.run().complete
    lab.assert_right()


# -- merging -----------------------------------------------------------------------------------------------------------


def grown() -> Growing:
    world = Growing(named("by_month", "whole", "regions")).seed(30)
    world.append(entry(30), entry(31, shop=None), entry(32, day=date(2025, 1, 1)), entry(33, shop="moon"))
    return world


def test_a_merge_that_is_killed_between_any_two_statements_counts_each_row_once() -> None:
    """Also when more rows came before the next run, and when only the answer to the commit was lost."""
    whole = grown()
    before = {each.name: whole.view(each.name) for each in whole.wanted}
    report = whole.run()
    assert set(merged(report)) == set(before)
    points = kill_points(whole.statements)
    after = {each.name: whole.view(each.name) for each in whole.wanted}
    assert len(points) > 40
    for at in points:
        world = grown()
        world.before = Killer(at)
        with suppress(CrashError):
            world.run()
        world.before = lambda _sql: None
        for name in before:
            assert world.view(name) in (before[name], after[name]), (at, name)
        world.append(entry(34, shop=None), entry(35))
        assert world.run().complete, at
        world.assert_right()
        world.assert_quiet()


def test_two_runs_that_race_merge_each_row_once() -> None:
    """The second run claims while the first is before each of its statements; the first may not publish then."""
    whole = grown()
    whole.run()
    for at in kill_points(whole.statements):
        world = grown()
        racer = Growing(world.wanted, connection=world.connection)
        racer.number, racer.entries = 100, world.entries
        count = [0]

        def race(_sql: str, count: list[int] = count, at: int = at, racer: Growing = racer) -> None:
            count[0] += 1
            if count[0] == at:
                assert racer.run().complete

        world.before = race
        with suppress(FenceLostError, TaskFailedError):
            world.run()
        world.before = lambda _sql: None
        world.number = 200
        assert world.run().complete, at
        world.assert_right()
        world.assert_quiet()
