"""The baton: one call moves at a time, a seed decides who, and nobody is left behind."""

import threading

import pytest

from aggmaint import MaintenanceEngine, MaintenanceReport, Started, TaskContext
from aggmaint.stores.memory import MemoryStore
from aggmaint.testing import stepped
from aggmaint.testing.stepped import Killed, SteppedClock, SteppedExecutor, SteppedScheduler, Stepper, StuckError


def order_of(seed: int) -> list[str]:
    stepper = Stepper(seed)
    order: list[str] = []

    def call(name: str) -> None:
        for _ in range(3):
            order.append(name)
            stepper.switch()

    for name in "abcd":
        stepper.spawn(name, lambda name=name: call(name))  # type: ignore[misc]
    stepper.run()
    return order


def test_a_seed_decides_the_order_and_another_seed_another() -> None:
    assert order_of(1) == order_of(1)
    assert len({tuple(order_of(seed)) for seed in range(20)}) > 10


def test_step_moves_one_call_to_its_next_switch_point() -> None:
    executor = SteppedExecutor()
    seen: list[int] = []

    def call() -> int:
        for number in range(3):
            seen.append(number)
            executor.stepper.switch()
        return 7

    future = executor.submit(call)
    assert seen == [] and executor.moving() == ["call"]
    executor.step()
    assert seen == [0]
    executor.run()
    assert seen == [0, 1, 2] and future.result(0) == 7 and executor.moving() == []
    assert not executor.step()


def test_an_exception_of_a_call_is_in_its_future() -> None:
    executor = SteppedExecutor()
    future = executor.submit(lambda: 1 / 0)
    executor.run()
    assert isinstance(future.exception(0), ZeroDivisionError)


def test_after_shutdown_nothing_is_taken() -> None:
    executor = SteppedExecutor()
    done = executor.submit(lambda: 1)
    executor.shutdown()
    assert done.result(0) == 1
    with pytest.raises(RuntimeError):
        executor.submit(lambda: 2)


def test_time_jumps_to_the_next_waking_and_no_further_than_asked() -> None:
    stepper = Stepper()
    clock = SteppedClock(stepper)
    woken: list[float] = []

    def call() -> None:
        clock.sleep(3600)
        woken.append(stepper.now_s)

    stepper.spawn("sleeper", call)
    assert stepper.run(until_s=60) and stepper.now_s == 60 and not woken
    assert not stepper.run()
    assert woken == [3600]


def test_a_frozen_group_stands_still_while_time_goes_on() -> None:
    stepper = Stepper()
    woken: list[float] = []

    def call() -> None:
        stepper.sleep(10)
        woken.append(stepper.now_s)

    stepper.spawn("zombie", call, group="a")
    stepper.run(until_s=1)
    stepper.freeze("a")
    stepper.run(until_s=100)
    assert not woken
    stepper.thaw("a")
    stepper.run()
    assert woken == [100]


def test_a_killed_group_unwinds_and_each_switch_point_of_it_raises() -> None:
    stepper = Stepper()
    unwound: list[str] = []

    def call() -> None:
        try:
            stepper.sleep(10)
        finally:
            with pytest.raises(Killed):
                stepper.switch()
            unwound.append("finally")

    stepper.spawn("victim", call, group="a")
    stepper.run(until_s=1)
    stepper.kill("a")
    stepper.run()
    assert unwound == ["finally"]


def test_a_call_that_blocks_on_something_real_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepped, "PATIENCE_S", 0.05)
    stepper = Stepper()
    gate = threading.Event()

    def call() -> None:
        gate.wait(20)

    stepper.spawn("blocker", call)
    with pytest.raises(StuckError, match="blocker"):
        stepper.run()
    gate.set()


def test_a_failure_stops_everything() -> None:
    stepper = Stepper()

    def fails() -> None:
        raise ValueError("no")

    stepper.spawn("fails", fails)
    stepper.spawn("goes on", lambda: stepper.sleep(5))
    with pytest.raises(ValueError, match="no"):
        stepper.run()
    stepper.close()


class TwoSteps:
    def __init__(self, clock: SteppedClock) -> None:
        self._clock = clock

    def run(self, context: TaskContext) -> MaintenanceReport:
        for step in range(6):
            self._clock.sleep(30)
            context.progress("work", done=step, total=6)
        return MaintenanceReport(complete=True)


def test_the_heart_is_stepped_too_and_a_tick_is_made_in_virtual_time() -> None:
    """Three minutes of a job are renewed in no time, with no thread of the engine's own."""
    stepper = Stepper()
    clock = SteppedClock(stepper)
    scheduler = SteppedScheduler(stepper)
    engine = MaintenanceEngine(
        store=MemoryStore(clock=clock),
        task=TwoSteps(clock),
        scheduler=scheduler,
        executor=SteppedExecutor(stepper),
        clock=clock,
    )
    engine.register_organizations(["acme"])
    engine.add_schedule("acme", "* * * * *")
    assert isinstance(engine.run_immediately("acme"), Started)
    engine.start()
    stepper.run(until_s=170)
    running = engine.get_organization("acme").running
    assert running is not None and running.lease.left_s(clock.read()) > 38
    assert "aggmaint-heart" not in {thread.name for thread in threading.enumerate()}
    stepper.run(until_s=400)
    assert engine.get_organization("acme").last_fence > 1, "the schedule was noticed"
    stepper.close()


def test_calls_that_move_for_ever_at_one_instant_are_told_by_name() -> None:
    stepper = Stepper()

    def call() -> None:
        while True:
            stepper.switch()

    stepper.spawn("restless", call)
    with pytest.raises(StuckError, match="restless"):
        stepper.run()
    stepper.close()
