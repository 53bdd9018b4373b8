"""Every point at which a run can be cut off, one after the other, for each kind of run.

Before each statement the process dies, the connection breaks, or the statement fails; after each commit the
acknowledgement is lost. What readers see is wholly old or wholly new, the next job makes all right, the one after has
nothing to do, and what was left behind is swept after its grace. With each change the points are sampled, every few in turn;
AGGMAINT_DEEP=1 does them all.
"""

import os
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import evolve, frozen

from aggmaint.aggregates.policy import Policy
from aggmaint.core.job import JobStatus

from .model import KINDS, Sale, narrowed, shortened
from .tap import CrashError, nothing
from .world import WRITES, World, break_connection, cancel_job, fail_statement, fork, lose_store

DEEP = bool(os.environ.get("AGGMAINT_DEEP"))

SALES = [
    Sale(1, date(2024, 1, 31), None, "north", Decimal("1.25"), 1, 0.5),
    Sale(2, date(2024, 2, 1), None, "south", Decimal("2.50"), 3, 0.25),
    Sale(3, date(2024, 2, 29), None, None, None, None, None),
    Sale(4, None, None, "north", Decimal("4.00"), 4, 2.0),
]


def new(directory: Path, *names: str) -> World:
    world = World(directory, names, Policy(retired_share_max=1.0))
    world.change({sale.id: sale for sale in SALES}, [("north", "cold"), ("south", "warm")])
    return world


def built(directory: Path, *names: str) -> World:
    world = new(directory, *names)
    world.settle()
    return world


# -- the runs ------------------------------------------------------------------------------------------------------------


def first_build(directory: Path) -> World:
    return new(directory, "by_month", "totals")


def refresh(directory: Path) -> World:
    """Rows came, went and moved between months."""
    world = built(directory, "by_month", "by_region")
    world.change({1: evolve(SALES[0], day=date(2024, 2, 2)), 4: None, 5: evolve(SALES[1], id=5, day=date(2020, 5, 5))})
    return world


def note_tokens(directory: Path) -> World:
    """A joined source moved, and no partition with it."""
    world = built(directory, "by_region", "weights")
    world.change({}, [*world.state.shops, ("moon", "cold")])
    return world


def switch(directory: Path) -> World:
    """The definitions changed: one in its contents, one in its columns."""
    world = built(directory, "by_month", "by_region")
    world.redefine("by_month", narrowed(KINDS["by_month"]))
    world.redefine("by_region", shortened(KINDS["by_region"]))
    return world


def retire(directory: Path) -> World:
    world = built(directory, "by_month", "totals")
    world.blocked.add("totals")
    return world


def restore_view(directory: Path) -> World:
    world = built(directory, "by_month", "totals")
    world.execute(f'DROP VIEW "{world.schema}".sales__totals')
    world.broken.add("totals")
    return world


def replace_broken(directory: Path) -> World:
    """A table was dropped behind our back: off the view at once, then built again."""
    world = built(directory, "by_month", "totals")
    world.execute(f'DROP TABLE "{world.schema}"."{world.in_service("totals")}"')
    world.broken.add("totals")
    return world


def drop(directory: Path) -> World:
    """Superseded tables, past their grace."""
    world = switch(directory)
    world.settle()
    world.clock.pass_s(7200)
    return world


def forget(directory: Path) -> World:
    """Records of tables that were dropped long ago."""
    world = drop(directory)
    world.settle()
    world.clock.pass_s(31 * 86400)
    return world


def take_over(directory: Path) -> World:
    """The one before died in the middle of a build: its claim stands, its intent and perhaps its table are there."""
    world = first_build(directory)
    left = [2]

    def die(sql: str) -> None:
        left[0] -= sql.startswith("CREATE TABLE") and "AS SELECT" in sql
        if left[0] == 0:
            world.kill()

    world.listen(after=die)
    with pytest.raises(CrashError):
        world.job()
    world.restart()
    return world


RUNS = (*(first_build, refresh, note_tokens, switch, retire, restore_view, replace_broken, drop, forget, take_over),)


# -- what cuts them off --------------------------------------------------------------------------------------------------


@frozen
class Cut:
    """What happens, at which statements, and every how many of them with each change."""

    name: str
    act: Callable[[World], None]
    stride: int
    after_commits: bool = False


CUTS = (
    Cut("dies", World.kill, 5),
    Cut("lost_acknowledgement", break_connection, 2, after_commits=True),
    Cut("broken_connection", break_connection, 17),
    Cut("failing_statement", fail_statement, 17),
    Cut("job_store_away", lose_store, 23),
    Cut("cancelled", cancel_job, 23),
)


def points(statements: list[str], cut: Cut) -> list[int]:
    """The places in a run: after its commits, or before each statement, from shortly before the first write on."""
    if cut.after_commits:
        return [index for index, sql in enumerate(statements) if sql == "COMMIT"]
    first = next(index for index, sql in enumerate(statements) if WRITES.match(sql))
    return list(range(max(0, first - 2), len(statements)))


def cut_off(world: World, cut: Cut, at: int) -> None:
    """Run a job, and cut it off at its statement number `at`."""
    reached = [0]

    def count(_sql: str) -> None:
        reached[0] += 1
        if reached[0] == at + 1:
            cut.act(world)

    def after(sql: str) -> None:
        if sql == "COMMIT":
            world.look_at_all()
        if cut.after_commits:
            count(sql)

    world.listen(nothing if cut.after_commits else count, after)
    try:
        world.job()
    except CrashError:
        world.restart()
    finally:
        world.listen()
    assert reached[0] > at, "the run came to the point"


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_a_run_that_is_cut_off_anywhere_leaves_old_or_new(
    run: Callable[[Path], World], cut: Cut, tmp_path: Path
) -> None:
    start = run(tmp_path)
    start.look_at_all()
    (tmp_path / "whole").mkdir()
    whole = fork(start, tmp_path / "whole")
    done = whole.job()
    assert done.job.status is JobStatus.DONE
    places = points(list(whole.statements), cut)
    assert len(places) >= 3
    number = RUNS.index(run)
    for at in places if DEEP else places[number % cut.stride :: cut.stride]:
        directory = tmp_path / f"at-{at}"
        directory.mkdir()
        world = fork(start, directory)
        cut_off(world, cut, at)
        world.look_at_all()
        world.settle()
        world.settle()
        assert world.writes() == [], at
        world.clock.pass_s(2 * 3600)
        world.settle()
        tables = {name for name, _ in world.objects() if name.startswith("as_agg_")}
        assert tables == {world.in_service(name) for name in world.served}, at
        world.tap.close()
