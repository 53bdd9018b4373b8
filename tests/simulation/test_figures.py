"""The figures that are promised (issue 3): many at one barrier, many updates, a long sleep, and clocks that are set."""

import multiprocessing
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from aggmaint import CubeUpdate, JobStatus, MaintenanceEngine, MaintenanceReport, Queued, Started, TaskContext
from aggmaint.core.ids import OrgId
from aggmaint.core.schedule import MISSED_COUNT_MAX
from aggmaint.stores.memory import MemoryStore
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import ManualClock
from aggmaint.testing.stepped import SteppedClock, SteppedExecutor, Stepper

PARTIES = 64
UPDATES = 1000
YEAR_S = 365 * 86_400
ACME = OrgId("acme")


class Quick:
    def run(self, context: TaskContext) -> MaintenanceReport:
        return MaintenanceReport(complete=True)


class Sleeper:
    """Takes an hour of virtual time, and looks up every ten seconds."""

    def __init__(self, clock: SteppedClock) -> None:
        self._clock = clock

    def run(self, context: TaskContext) -> MaintenanceReport:
        for step in range(360):
            self._clock.sleep(10)
            context.progress("work", done=step, total=360)
        return MaintenanceReport(complete=True)


def stepped_engine(jobs_max: int = 2) -> tuple[MaintenanceEngine, SteppedExecutor, SteppedClock]:
    stepper = Stepper(1)
    clock = SteppedClock(stepper)
    executor = SteppedExecutor(stepper)
    store = MemoryStore(clock=clock)
    engine = MaintenanceEngine(
        store=store, task=Sleeper(clock), scheduler=None, executor=executor, clock=clock, jobs_max=jobs_max
    )
    engine.register_organizations(["acme"])
    return engine, executor, clock


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_I1_64_threads_at_one_barrier_one_started(tmp_path: Path, kind: str) -> None:
    store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "jobs.db", synchronous="NORMAL")
    stepper = Stepper()  # the one job does not move: all 64 meet it in progress
    engine = MaintenanceEngine(
        store=store, task=Quick(), scheduler=None, executor=SteppedExecutor(stepper), jobs_max=PARTIES
    )
    engine.register_organizations(["acme"])
    barrier = threading.Barrier(PARTIES)

    def ask(_: int) -> object:
        barrier.wait(30)
        return engine.run_immediately("acme")

    with ThreadPoolExecutor(PARTIES) as pool:
        answers = list(pool.map(ask, range(PARTIES)))
    started = [answer for answer in answers if isinstance(answer, Started)]
    queued = [answer for answer in answers if isinstance(answer, Queued)]
    assert len(started) == 1 and len(queued) == PARTIES - 1
    assert {answer.behind and answer.behind.id for answer in queued} == {started[0].job.id}
    assert sorted(answer.requests_folded for answer in queued) == list(range(1, PARTIES))
    assert engine.get_organization("acme").last_fence == 1
    stepper.close()
    store.close()


def ask_at_barrier(path: Path, arrived: Path, number: int) -> str:
    """In a process of its own: wait until all have arrived, then ask. The job is left in progress."""
    store = SQLiteStore(path, synchronous="NORMAL", patience_s=60)
    engine = MaintenanceEngine(store=store, task=Quick(), scheduler=None, executor=SteppedExecutor(Stepper()))
    (arrived / str(number)).touch()
    gate = threading.Event()
    while len(list(arrived.iterdir())) < PARTIES:
        gate.wait(0.002)
    return type(engine.run_immediately("acme")).__name__


def test_I1_64_processes_at_one_barrier_one_started(tmp_path: Path) -> None:
    path, arrived = tmp_path / "jobs.db", tmp_path / "arrived"
    arrived.mkdir()
    store = SQLiteStore(path)
    engine = MaintenanceEngine(store=store, task=Quick(), scheduler=None, executor=None)
    engine.register_organizations(["acme"])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["aggmaint.stores.sqlite", "aggmaint.testing.stepped"])
    with ProcessPoolExecutor(PARTIES, context) as pool:
        futures = [pool.submit(ask_at_barrier, path, arrived, number) for number in range(PARTIES)]
        answers = Counter(future.result(timeout=120) for future in futures)
    assert answers == {"Started": 1, "Queued": PARTIES - 1}
    document = engine.get_organization("acme")
    assert document.last_fence == 1 and document.pending is not None
    assert document.pending.folded == PARTIES - 1
    store.close()


def test_I15_1000_cube_updates_during_a_run_make_one_follow_up() -> None:
    engine, executor, _ = stepped_engine()
    first = engine.run_immediately("acme")
    assert isinstance(first, Started)
    answers = [
        engine.cube_updated("acme", cube_id=f"cube-{number % 7}", change=CubeUpdate.DYNAMIC_CUBE_UPDATED)
        for number in range(UPDATES)
    ]
    assert all(isinstance(answer, Queued) for answer in answers)
    executor.run()
    jobs = engine.list_jobs("acme").jobs
    document = engine.get_organization("acme")
    assert [job.requests_folded for job in jobs] == [UPDATES, 1]
    assert {job.status for job in jobs} == {JobStatus.DONE}
    assert sum(document.demand.values()) == UPDATES and document.covered == document.demand
    assert document.pending is None


def test_I20_asleep_for_a_year_with_a_slot_every_minute() -> None:
    """One tick, one run at most, in a bounded number of steps; the rest is missed, "> 1,000"."""
    clock = ManualClock()
    engine = MaintenanceEngine(store=MemoryStore(clock=clock), task=Quick(), scheduler=None, executor=None, clock=clock)
    engine.register_organizations(["acme"])
    schedule = engine.add_schedule("acme", "* * * * *")
    clock.pass_s(YEAR_S)
    tick = engine.tick()
    assert tick.granted == 1
    (job,) = engine.list_jobs("acme").jobs
    assert job.status is JobStatus.DONE
    after = engine.get_organization("acme").schedule(schedule.id)
    assert after is not None and after.missed_over and after.missed == MISSED_COUNT_MAX
    assert engine.tick().changed == 0


@pytest.mark.parametrize("seconds", [10_800, -10_800])
def test_I13_I11_the_wall_clock_is_set_by_3_hours_in_the_middle_of_a_run(seconds: int) -> None:
    """No rescue, no double slot: leases are steady time, slots have a cursor."""
    engine, executor, clock = stepped_engine()
    schedule = engine.add_schedule("acme", "*/15 * * * *")
    stepper = executor.stepper
    stepper.run(until_s=900)
    assert engine.tick().granted == 1
    stepper.run(until_s=1200)
    clock.step_wall(seconds)
    for until_s in range(1260, 5400, 60):
        stepper.run(until_s=until_s)
        engine.tick()
        document = engine.get_organization("acme")
        assert document.running is not None or document.last_fence > 1 or until_s >= 4500
    stepper.run()
    jobs = engine.list_jobs("acme", limit=100).jobs
    assert {job.status for job in jobs} == {JobStatus.DONE}, "nobody was rescued"
    slots = [job.slot for job in jobs if job.slot is not None]
    assert len(slots) == len(set(slots)) and slots == sorted(slots, reverse=True)
    after = engine.get_organization("acme").schedule(schedule.id)
    assert after is not None and after.last_slot is not None and after.last_slot >= max(slots)


def test_I11_a_schedule_that_is_switched_off_and_on_after_the_clock_was_set_back_fires_no_slot_again() -> None:
    """Found by seed 55: the cursor went back with the clock."""
    clock = ManualClock()
    engine = MaintenanceEngine(store=MemoryStore(clock=clock), task=Quick(), scheduler=None, executor=None, clock=clock)
    engine.register_organizations(["acme"])
    schedule = engine.add_schedule("acme", "*/15 * * * *")
    clock.pass_s(900)
    assert engine.tick().granted == 1
    clock.step_wall(-1000)
    engine.activate_schedule("acme", schedule.id, active=False)
    engine.activate_schedule("acme", schedule.id)
    engine.enable("acme", enabled=False)
    engine.enable("acme")
    clock.pass_s(1000)
    assert engine.tick().granted == 0
    assert len(engine.list_jobs("acme").jobs) == 1
    clock.pass_s(900)
    assert engine.tick().granted == 1


def test_I7_trust_in_a_lease_begins_before_the_grant() -> None:
    """Found by seed 16: a process that stood still right after its grant believed in a lease that had lapsed."""
    clock = ManualClock()

    class Stalls(MemoryStore):
        def commit(self, changes: object) -> object:  # type: ignore[override]
            results = super().commit(changes)  # type: ignore[arg-type]
            if any(change.granted for change in changes):  # type: ignore[attr-defined]
                clock.pass_s(61)
            return results

    believed: list[float] = []

    class Looks:
        def run(self, context: TaskContext) -> MaintenanceReport:
            running = engine.get_organization("acme").running
            assert running is not None and not context.lost
            believed.append(running.lease.left_s(clock.read()))
            return MaintenanceReport(complete=True)

    engine = MaintenanceEngine(store=Stalls(clock=clock), task=Looks(), scheduler=None, executor=None, clock=clock)  # type: ignore[arg-type]
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    assert believed == [60.0], "it asked again before it began to believe"
