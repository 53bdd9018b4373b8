"""The thread scheduler, alone and under an engine. Waiting is polling a condition, with a deadline."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aggmaint import FailureCode, JobStatus, MaintenanceReport, Queued, Started, TaskContext, Tick
from aggmaint.engine import DEFAULT
from aggmaint.errors import InvalidValueError
from aggmaint.schedulers.thread import ThreadScheduler
from aggmaint.testing.clocks import ManualClock
from tests.engine.conftest import MakeEngine, ended
from tests.support.tasks import FunctionTask, GateTask, until


class Ticks:
    """A tick that counts itself, one call at a time."""

    def __init__(self, wait_s: float = 60.0, failures: int = 0) -> None:
        self.count = 0
        self._wait_s = wait_s
        self._failures = failures
        self._busy = threading.Lock()

    def __call__(self) -> Tick:
        assert self._busy.acquire(blocking=False), "two ticks at once"
        try:
            self.count += 1
            if self.count <= self._failures:
                raise RuntimeError("the store is away")
            return Tick(self._wait_s)
        finally:
            self._busy.release()


def test_it_ticks_at_start_and_when_woken_and_never_after_stop() -> None:
    ticks, scheduler = Ticks(), ThreadScheduler(poll_s=3600)
    scheduler.start(ticks)
    until(lambda: ticks.count == 1)
    scheduler.wake()
    until(lambda: ticks.count == 2)
    assert scheduler.stop(20)
    count = ticks.count
    scheduler.wake()
    assert ticks.count == count
    assert scheduler.stop(20)


def test_it_comes_again_when_the_tick_asked_and_at_least_every_poll() -> None:
    for ticks, poll_s in ((Ticks(wait_s=0.001), 3600), (Ticks(wait_s=3600), 0.001)):
        scheduler = ThreadScheduler(poll_s=poll_s)
        scheduler.start(ticks)
        until(lambda ticks=ticks: ticks.count >= 5)  # type: ignore[misc]
        assert scheduler.stop(20)


def test_a_failing_tick_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    ticks, scheduler = Ticks(failures=3), ThreadScheduler(poll_s=3600, retry_s=0.001)
    with caplog.at_level(logging.ERROR):
        scheduler.start(ticks)
        until(lambda: ticks.count == 4)
    assert scheduler.stop(20)
    assert caplog.text.count("tick failed") == 3 and "the store is away" in caplog.text


def test_stop_tells_when_a_tick_still_runs() -> None:
    gate, entered = threading.Event(), threading.Event()

    def tick() -> Tick:
        entered.set()
        gate.wait(20)
        return Tick(60.0)

    scheduler = ThreadScheduler()
    scheduler.start(tick)
    assert entered.wait(20)
    assert not scheduler.stop(0.01)
    gate.set()
    assert scheduler.stop(20)


def test_it_starts_once_and_can_be_stopped_before() -> None:
    assert ThreadScheduler().stop(1)
    scheduler = ThreadScheduler()
    scheduler.start(Ticks())
    with pytest.raises(InvalidValueError, match="started before"):
        scheduler.start(Ticks())
    scheduler.stop(20)


@pytest.mark.parametrize("parts", [{"poll_s": 0.0}, {"retry_s": -1.0}])
def test_impossible_periods_are_refused(parts: dict[str, float]) -> None:
    with pytest.raises(InvalidValueError):
        ThreadScheduler(**parts)


# -- under an engine --------------------------------------------------------------------------------------------------


def test_a_started_engine_runs_slots_by_itself(make_engine: MakeEngine, clock: ManualClock) -> None:
    engine = make_engine(scheduler=ThreadScheduler(poll_s=0.005))
    with engine:
        engine.register_organizations(["acme"])
        engine.add_schedule("acme", "*/5 * * * *")
        for runs in (1, 2, 3):
            clock.pass_s(300)
            until(lambda runs=runs: len(engine.list_jobs("acme").jobs) == runs)  # type: ignore[misc]
    clock.pass_s(300)
    assert len(engine.list_jobs("acme").jobs) == 3


def test_administering_wakes_the_scheduler(make_engine: MakeEngine, clock: ManualClock) -> None:
    """A poll of an hour: only waking can bring the tick."""
    engine = make_engine(scheduler=ThreadScheduler(poll_s=3600))
    with engine:
        engine.register_organizations(["acme"])
        engine.add_schedule("acme", "*/5 * * * *")
        clock.pass_s(300)
        engine.resume("acme")
        until(lambda: engine.list_jobs("acme").jobs)


def test_what_a_tick_left_waiting_runs_when_places_are_free_again(make_engine: MakeEngine, clock: ManualClock) -> None:
    """Eight slots at once and one place: each end of a job asks for the next tick; the poll of an hour plays no part."""
    org_ids = [f"org-{n}" for n in range(8)]

    def body(_: TaskContext) -> MaintenanceReport:
        gate.wait(20)
        return MaintenanceReport(True)

    gate = threading.Event()
    scheduler = ThreadScheduler(poll_s=3600)
    engine = make_engine(task=FunctionTask(body), scheduler=scheduler, executor=ThreadPoolExecutor(1), jobs_max=1)
    with engine:
        engine.register_organizations(org_ids)
        for org_id in org_ids:
            engine.add_schedule(org_id, "*/5 * * * *")
        clock.pass_s(300)
        scheduler.wake()
        until(lambda: sum(o.pending is not None for o in engine.list_organizations().snapshots) == 7)
        gate.set()
        for org_id in org_ids:
            until(lambda org_id=org_id: ended(engine, org_id), org_id)  # type: ignore[misc]


def test_default_executor_and_scheduler_are_the_engines_own(make_engine: MakeEngine) -> None:
    gate = GateTask()
    engine = make_engine(task=gate, executor=DEFAULT, scheduler=DEFAULT, jobs_max=2)
    with engine:
        engine.register_organizations(["a", "b", "c"])
        outcomes = [engine.run_immediately(org_id) for org_id in ("a", "b", "c")]
        assert [type(outcome) for outcome in outcomes] == [Started, Started, Queued]
        assert {gate.next_entered().org_id, gate.next_entered().org_id} == {"a", "b"}
        gate.open()
        assert gate.next_entered().org_id == "c"
        until(lambda: ended(engine, "c"))
        first = outcomes[0]
        assert isinstance(first, Started)
        assert engine.wait("a", first.job.id, timeout_s=20).status is JobStatus.DONE


def test_leaving_the_engine_ends_what_runs(make_engine: MakeEngine) -> None:
    gate = GateTask()
    engine = make_engine(task=gate, executor=DEFAULT, scheduler=DEFAULT)
    with engine:
        engine.register_organizations(["acme"])
        engine.run_immediately("acme")
        gate.next_entered()
    (job,) = engine.list_jobs("acme").jobs
    assert job.error is not None and job.error.code is FailureCode.SHUTDOWN
