"""Every point at which a run can be cut off, one after the other, for each kind of run (crash_runs.py).

Before each statement the process dies, the connection breaks, or the statement fails; after each commit the
acknowledgement is lost. What readers see is wholly old or wholly new, the next job makes all right, the one after has
nothing to do, and what was left behind is swept after its grace. With each change the points are sampled, every few in turn;
AGGMAINT_DEEP=1 does them all.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from aggmaint.core.job import JobStatus

from .crash_runs import RUNS, Run
from .mishaps import break_connection, cancel_job, fail_statement, lose_store
from .readers import WRITES
from .tap import CrashError, nothing
from .world import World, fork

DEEP = bool(os.environ.get("AGGMAINT_DEEP"))

# -- what cuts them off --------------------------------------------------------------------------------------------------


@frozen
class Cut:
    """What happens, at which statements, and every how many of them with each change."""

    name: str
    act: Callable[[World], None]
    stride: int
    after_commits: bool = False


CUTS = (
    Cut("dies", World.kill, 8),
    Cut("lost_acknowledgement", break_connection, 3, after_commits=True),
    Cut("broken_connection", break_connection, 29),
    Cut("failing_statement", fail_statement, 29),
    Cut("job_store_away", lose_store, 37),
    Cut("cancelled", cancel_job, 37),
)


def points(statements: list[str], cut: Cut) -> list[int]:
    """The places in a run: after its commits, or before each statement, from shortly before the first write on."""
    if cut.after_commits:
        return [index for index, sql in enumerate(statements) if sql == "COMMIT"]
    first = next(index for index, sql in enumerate(statements) if WRITES.match(sql))
    return list(range(max(0, first - 2), len(statements)))


def cut_off(world: World, run: Run, cut: Cut, at: int) -> None:
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
        with world.on_a_budget(run.budget):
            world.job(**run.options)
    except CrashError:
        world.restart()
    finally:
        world.listen()
    assert reached[0] > at, "the run came to the point"


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_run_that_is_cut_off_anywhere_leaves_old_or_new(run: Run, cut: Cut, tmp_path: Path) -> None:
    start = run.make(tmp_path)
    start.look_at_all()
    (tmp_path / "whole").mkdir()
    whole = fork(start, tmp_path / "whole")
    with whole.on_a_budget(run.budget):
        done = whole.job(**run.options)
    assert done.job.status is JobStatus.DONE
    places = points(list(whole.statements), cut)
    assert len(places) >= 3
    number = RUNS.index(run)
    for at in places if DEEP else places[number % cut.stride :: cut.stride]:
        directory = tmp_path / f"at-{at}"
        directory.mkdir()
        world = fork(start, directory)
        cut_off(world, run, cut, at)
        world.look_at_all()
        if run.again:
            world.job(**run.options)
        world.settle()
        world.settle()
        assert world.writes() == [], at
        world.clock.pass_s(2 * 3600)
        world.settle()
        tables = {name for name, _ in world.objects() if name.startswith("as_agg_")}
        assert tables == {world.in_service(name) for name in world.served}, at
        world.tap.close()
