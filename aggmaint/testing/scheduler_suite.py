"""`SchedulerSuite`: every promise of the Scheduler port as a named check.

    class TestMyScheduler(SchedulerSuite):
        factory = staticmethod(my_scheduler)

`factory()` is a context manager that gives a scheduler which was not started, and takes down what it needs (a loop, a host)
afterwards. Make it with a poll of an hour, so that only wakes and `wait_s` bring ticks, and with short retries.

Waiting is polling a condition with a deadline. What must *not* happen is watched for a short while: a check can miss a fault
by chance, but it can not find one that is not there.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import ClassVar, Final

from ..scheduler import Scheduler, Tick
from ._expect import PATIENCE_S, comes_true, equal, holds, until
from ._suite_fences import OBSERVED_S

HOUR_S: Final = 3600.0
WAKES: Final = 500


class Ticks:
    """A tick that counts itself, can be held at a gate, can fail, and notices when two are inside."""

    def __init__(self, wait_s: float = HOUR_S, *, failures: int = 0, held: bool = False) -> None:
        self.count = 0
        self.overlaps = 0
        self.entered = threading.Event()
        self.gate = threading.Event()
        self._wait_s = wait_s
        self._failures = failures
        self._busy = threading.Lock()
        if not held:
            self.gate.set()

    def __call__(self) -> Tick:
        alone = self._busy.acquire(blocking=False)
        self.overlaps += not alone
        self.count += 1
        self.entered.set()
        try:
            self.gate.wait(2 * PATIENCE_S)
            if self.count <= self._failures:
                raise RuntimeError("the store is away")
            return Tick(self._wait_s)
        finally:
            if alone:
                self._busy.release()


class SchedulerSuite:
    """Subclass it, set `factory`, and pytest runs one test per promise."""

    factory: ClassVar[Callable[..., AbstractContextManager[Scheduler]]]

    def setup_method(self) -> None:
        self._stack = ExitStack()
        self._gates: list[threading.Event] = []

    def teardown_method(self) -> None:
        for gate in self._gates:
            gate.set()
        self._stack.close()

    def begin(self, ticks: Ticks) -> Scheduler:
        """A started scheduler, stopped after the check."""
        scheduler = self._stack.enter_context(self.factory())
        self._stack.callback(scheduler.stop, PATIENCE_S)
        self._gates.append(ticks.gate)
        scheduler.start(ticks)
        return scheduler

    def test_start_begins_to_tick(self) -> None:
        """`start` returns, and the first tick comes without a wake, in a thread or loop of the scheduler's own."""
        ticks = Ticks(held=True)
        self.begin(ticks)
        until(ticks.entered.is_set, "the first tick begins")

    def test_wake_brings_a_tick(self) -> None:
        """`wake` brings a tick at once, long before the time that the last one asked for."""
        ticks = Ticks()
        scheduler = self.begin(ticks)
        for count in range(1, 6):
            until(lambda count=count: ticks.count >= count, f"tick {count}, brought by a wake")  # type: ignore[misc]
            scheduler.wake()

    def test_wake_during_a_tick_is_not_lost(self) -> None:
        """A wake that comes while a tick runs brings another tick after it: what it was for may have come too late."""
        ticks = Ticks(held=True)
        scheduler = self.begin(ticks)
        until(ticks.entered.is_set, "the first tick begins")
        scheduler.wake()
        ticks.gate.set()
        until(lambda: ticks.count >= 2, "a tick after the one that ran during the wake")

    def test_wakes_come_from_any_thread_and_become_few_ticks(self) -> None:
        """Wakes from many threads never wait for the tick that runs, and many of them become few ticks."""
        ticks = Ticks(held=True)
        scheduler = self.begin(ticks)
        until(ticks.entered.is_set, "the first tick begins")
        threads = [threading.Thread(target=self._wake_often, args=(scheduler,), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: not any(thread.is_alive() for thread in threads), "wake returns while a tick runs")
        ticks.gate.set()
        until(lambda: ticks.count >= 2, "a tick after the wakes")
        many = len(threads) * WAKES // 10
        holds(not comes_true(lambda: ticks.count > many, OBSERVED_S), f"{len(threads) * WAKES} wakes become few ticks")

    def _wake_often(self, scheduler: Scheduler) -> None:
        for _ in range(WAKES):
            scheduler.wake()

    def test_one_tick_at_a_time(self) -> None:
        """Ticks never overlap, however many wakes come while one runs."""
        ticks = Ticks(wait_s=0.0005, held=True)
        scheduler = self.begin(ticks)
        until(ticks.entered.is_set, "the first tick begins")
        self._wake_often(scheduler)
        holds(not comes_true(lambda: ticks.count > 1, OBSERVED_S), "no tick begins while another runs")
        ticks.gate.set()
        until(lambda: ticks.count >= 30, "ticks under many wakes")
        equal(ticks.overlaps, 0, "ticks that began while another ran")

    def test_it_comes_again_when_the_tick_asked(self) -> None:
        """The next tick comes at or before the `wait_s` of the last one, without a wake."""
        ticks = Ticks(wait_s=0.001)
        self.begin(ticks)
        until(lambda: ticks.count >= 5, "ticks that each asked to come again in a millisecond")

    def test_a_tick_that_fails_is_tried_again(self) -> None:
        """A tick that raises ends neither the scheduler nor the process: it is tried again, without a wake."""
        ticks = Ticks(failures=2)
        scheduler = self.begin(ticks)
        until(lambda: ticks.count >= 3, "a tick after two that failed")
        scheduler.wake()
        until(lambda: ticks.count >= 4, "a tick after a wake, when the failures are over")

    def test_no_tick_begins_after_stop(self) -> None:
        """After `stop` has returned no tick begins, whatever wakes come and whatever the last tick asked for."""
        ticks = Ticks(wait_s=0.001)
        scheduler = self.begin(ticks)
        until(lambda: ticks.count >= 3, "ticks before stop")
        holds(scheduler.stop(PATIENCE_S), "stop says that the last tick has ended")
        count = ticks.count
        self._wake_often(scheduler)
        holds(not comes_true(lambda: ticks.count != count, OBSERVED_S), "no tick begins after stop")

    def test_stop_tells_the_truth(self) -> None:
        """`stop` is False while a tick still runs after the time-out, and True when it has ended."""
        ticks = Ticks(held=True)
        scheduler = self.begin(ticks)
        until(ticks.entered.is_set, "the first tick begins")
        scheduler.wake()
        holds(not scheduler.stop(0.01), "stop is False while a tick runs")
        ticks.gate.set()
        holds(scheduler.stop(PATIENCE_S), "stop is True when the last tick has ended")
        count = ticks.count
        holds(
            not comes_true(lambda: ticks.count != count, OBSERVED_S),
            "no tick begins after stop, woken before it or not",
        )
        equal(count, 1, "ticks that began before stop returned")

    def test_stop_of_one_that_was_not_started(self) -> None:
        """A scheduler that was never started stops at once; nothing runs, so the answer is True."""
        scheduler = self._stack.enter_context(self.factory())
        holds(scheduler.stop(PATIENCE_S), "stop of a scheduler that was not started")
