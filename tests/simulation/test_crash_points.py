"""A process dies at its n-th store call, before or after the store did it: for every call of every engine operation.

Whatever the point: what was committed is whole, the next process goes on over the same store, and I1 to I20 and I26 hold.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aggmaint import CubeUpdate, IfBusy, JobStatus, MaintenanceEngine, MaintenanceReport, Started, TaskContext
from aggmaint.core.ids import OrgId
from aggmaint.errors import AggmaintError
from aggmaint.store import JobQuery, JobStore
from aggmaint.stores.memory import MemoryStore
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing._simulation_oracle import InvariantBrokenError, Oracle
from aggmaint.testing._simulation_world import Trace, Witness
from aggmaint.testing.clocks import ManualClock
from aggmaint.testing.faulty import Crash, Die, FaultyStore, ScriptedPlan
from aggmaint.testing.stepped import Stepper

POINTS_MAX = 200
ACME = OrgId("acme")
MakeStore = Callable[[], JobStore]


class PublishingTask:
    """Two steps; publishes in each, if the store can."""

    def run(self, context: TaskContext) -> MaintenanceReport:
        for step in range(2):
            context.progress("work", done=step, total=2)
            context.confirm()
            context.publish(lambda data, step=step: data.update({f"{context.org_id}/{step}": context.fence}))  # type: ignore[misc]
        return MaintenanceReport(complete=True, inventory={"fence": context.fence.number})


class FailingTask:
    def run(self, context: TaskContext) -> MaintenanceReport:
        raise ValueError("as planned")


class Reentrant:
    """Asks for more while it runs, cancels itself, and marks a change."""

    def __init__(self) -> None:
        self.engine: MaintenanceEngine | None = None

    def run(self, context: TaskContext) -> MaintenanceReport:
        if self.engine and context.fence.number < 4:
            self.engine.run_immediately(context.org_id)
            self.engine.cube_updated(context.org_id, cube_id="sales", change=CubeUpdate.STATIC_CUBE_UPDATED)
            self.engine.mark_changed(context.org_id, "orders")
            self.engine.cancel(context.org_id, context.job.id)
            context.check()
        return MaintenanceReport(complete=True)


class World:
    """One store with an oracle below it, and the engines that live and die over it."""

    def __init__(self, make_store: MakeStore, clock: ManualClock) -> None:
        self.broken: list[InvariantBrokenError] = []
        self.clock = clock
        self.oracle = Oracle(self.broken.append)
        stepper = Stepper()
        self.store = make_store()
        self.witness = Witness(self.store, self.oracle, stepper, lambda: self.process, Trace(stepper))
        self.process = "setup"
        first = self.engine(PublishingTask(), self.witness)
        first.register_organizations(["acme", "other"])
        first.add_schedule("acme", "*/5 * * * *")

    def engine(self, task: Any, store: JobStore) -> MaintenanceEngine:
        engine = MaintenanceEngine(store=store, task=task, scheduler=None, executor=None, clock=self.clock)
        if isinstance(task, Reentrant):
            task.engine = engine
        return engine


def schedule_of(engine: MaintenanceEngine) -> str:
    return engine.get_organization("acme").schedules[-1].id


def tick_late(engine: MaintenanceEngine, world: World) -> None:
    world.clock.pass_s(600)
    engine.tick()


def run_due_late(engine: MaintenanceEngine, world: World) -> None:
    world.clock.pass_s(300)
    engine.run_due(limit_s=5)


def pause_and_resume(engine: MaintenanceEngine, world: World) -> None:
    engine.pause("acme", reason="r")
    engine.resume("acme")


def rescue(engine: MaintenanceEngine, world: World) -> None:
    """A job that an earlier process left behind is rescued by a request."""
    world.clock.pass_s(61)
    engine.run_immediately("acme")


def close_while_running(engine: MaintenanceEngine, world: World) -> None:
    engine.close(timeout_s=0)


OPERATIONS: dict[str, tuple[type, Callable[[MaintenanceEngine, World], Any]]] = {
    "run_immediately": (PublishingTask, lambda engine, _: engine.run_immediately("acme")),
    "run_immediately, failing": (FailingTask, lambda engine, _: engine.run_immediately("acme")),
    "run_immediately, reject": (
        PublishingTask,
        lambda engine, _: engine.run_immediately("acme", if_busy=IfBusy.REJECT),
    ),
    "from inside a job": (Reentrant, lambda engine, _: engine.run_immediately("acme")),
    "cube_updated": (
        PublishingTask,
        lambda engine, _: engine.cube_updated("acme", cube_id="sales", change=CubeUpdate.DYNAMIC_CUBE_UPDATED),
    ),
    "cube_updated, failing": (
        FailingTask,
        lambda engine, _: engine.cube_updated("acme", cube_id="sales", change=CubeUpdate.DYNAMIC_CUBE_UPDATED),
    ),
    "tick": (PublishingTask, tick_late),
    "tick, failing": (FailingTask, tick_late),
    "run_due": (PublishingTask, run_due_late),
    "rescue": (PublishingTask, rescue),
    "pause": (PublishingTask, lambda engine, _: engine.pause("acme", reason="r")),
    "resume": (PublishingTask, pause_and_resume),
    "disable, enable": (
        PublishingTask,
        lambda engine, _: (engine.enable("acme", enabled=False), engine.enable("acme")),
    ),
    "add schedule": (PublishingTask, lambda engine, _: engine.add_schedule("acme", "@hourly")),
    "remove schedule": (PublishingTask, lambda engine, _: engine.remove_schedule("acme", schedule_of(engine))),
    "activate schedule": (
        PublishingTask,
        lambda engine, _: [
            engine.activate_schedule("acme", schedule_of(engine), active=active) for active in (False, True)
        ],
    ),
    "pause schedule": (
        PublishingTask,
        lambda engine, _: (
            engine.pause_schedule("acme", schedule_of(engine), reason="r"),
            engine.resume_schedule("acme", schedule_of(engine)),
        ),
    ),
    "mark_changed": (PublishingTask, lambda engine, _: engine.mark_changed("acme", "orders")),
    "register": (PublishingTask, lambda engine, _: engine.register_organizations(["acme", "new", "newer"])),
    "remove, register": (
        PublishingTask,
        lambda engine, _: (engine.remove_organization("acme"), engine.register_organizations(["acme"])),
    ),
    "raise_generation": (PublishingTask, lambda engine, _: engine.raise_generation("acme")),
    "close": (PublishingTask, close_while_running),
}


@pytest.fixture(params=["memory", "sqlite"])
def make_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], World]]:
    """Worlds over new, empty stores of one kind."""
    opened: list[JobStore] = []

    def make() -> World:
        clock = ManualClock()

        def make_store() -> JobStore:
            if request.param == "memory":
                return MemoryStore(clock=clock)
            return SQLiteStore(tmp_path / f"{len(opened)}.db", clock=clock, synchronous="NORMAL")

        def keep() -> JobStore:
            opened.append(make_store())
            return opened[-1]

        return World(keep, clock)

    yield make
    for store in opened:
        store.close()


def crash_at(world: World, name: str, point: int, after: bool) -> bool:
    """Run the operation in a process that dies at its `point`-th call; False if it ended before."""
    task, operation = OPERATIONS[name]
    world.process = "first"
    line = FaultyStore(world.witness, ScriptedPlan({point: Die(after=after)}), clock=world.clock)
    with suppress(Crash, AggmaintError):
        operation(world.engine(task(), line), world)
        return False
    return line.calls >= point


def check_goes_on(world: World) -> None:
    """A new process: nothing is broken, and public calls lead to a start that ends well (I26), with all demand covered."""
    world.process = "second"
    engine = world.engine(PublishingTask(), world.witness)
    engine.register_organizations(["acme", "other"])
    engine.tick()
    world.clock.pass_s(61)
    engine.tick()
    engine.enable("acme")
    outcome = engine.run_immediately("acme")
    assert isinstance(outcome, Started), outcome
    assert engine.get_job("acme", outcome.job.id).job.status is JobStatus.DONE
    world.clock.pass_s(4000)
    engine.tick()
    document = engine.get_organization("acme")
    assert document.running is None and not document.uncovered and not document.marks
    world.oracle.reconcile(world.store)
    assert not world.broken, world.broken[0]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_I1_to_I20_and_I26_at_every_crash_point(make_world: Callable[[], World], name: str, after: bool) -> None:
    for point in range(1, POINTS_MAX):
        world = make_world()
        if name == "rescue":  # a process that died while its job ran
            left = crash_at(world, "run_immediately", 4, after=True)
            assert left and world.oracle.in_progress(ACME)
        crashed = crash_at(world, name, point, after)
        check_goes_on(world)
        if not crashed:
            assert point > 1 or name == "close", "nothing was crashed"
            return
    pytest.fail(f"{name} makes more than {POINTS_MAX} calls")


def test_I19_what_was_answered_is_there_after_the_crash(make_world: Callable[[], World]) -> None:
    """The crash comes right after each answer: what was acknowledged is in the store."""
    world = make_world()
    line = FaultyStore(world.witness, ScriptedPlan({}), clock=world.clock)
    world.process = "first"
    engine = world.engine(PublishingTask(), line)
    outcome = engine.run_immediately("acme")
    assert isinstance(outcome, Started)
    engine.cube_updated("acme", cube_id="sales", change=CubeUpdate.STATIC_CUBE_UPDATED, version=7)
    del engine
    (document,) = world.store.load([ACME]).snapshots.values()
    assert document.demand == {"sales": 7} and document.last_fence == 2
    assert [job.id for job in world.store.list_jobs(JobQuery(ACME)).jobs][-1] == outcome.job.id
