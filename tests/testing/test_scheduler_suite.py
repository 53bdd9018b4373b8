"""The schedulers pass every check of the Scheduler port; schedulers that break one promise each fail it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, ClassVar

import pytest

from aggmaint import Tick
from aggmaint.scheduler import Scheduler
from aggmaint.schedulers.apscheduler import APSchedulerScheduler
from aggmaint.schedulers.asyncio import AsyncioScheduler
from aggmaint.schedulers.thread import ThreadScheduler
from aggmaint.testing import CheckFailedError, SchedulerSuite, _expect, scheduler_suite
from aggmaint.testing.suite import check_names, promise_of

HOUR_S = 3600.0
RETRY_S = 0.01


@contextmanager
def thread_scheduler() -> Iterator[Scheduler]:
    yield ThreadScheduler(poll_s=HOUR_S, retry_s=RETRY_S)


class OnLoop:
    """An AsyncioScheduler whose `start` is called on the loop's own thread, as its host does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._inner = AsyncioScheduler(poll_s=HOUR_S, retry_s=RETRY_S)

    def start(self, tick: Callable[[], Tick]) -> None:
        async def begin() -> None:
            self._inner.start(tick)

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result(20)

    def wake(self) -> None:
        self._inner.wake()

    def stop(self, timeout_s: float) -> bool:
        return self._inner.stop(timeout_s)


@contextmanager
def asyncio_scheduler() -> Iterator[Scheduler]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield OnLoop(loop)
    finally:
        asyncio.run_coroutine_threadsafe(_finish(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _finish() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)


@contextmanager
def apscheduler() -> Iterator[Scheduler]:
    from apscheduler.schedulers.background import BackgroundScheduler

    host = BackgroundScheduler()
    host.start()
    try:
        yield APSchedulerScheduler(host, poll_s=HOUR_S, retry_s=RETRY_S)
    finally:
        host.shutdown(wait=True)


class TestThreadScheduler(SchedulerSuite):
    factory = staticmethod(thread_scheduler)


class TestAsyncioScheduler(SchedulerSuite):
    factory = staticmethod(asyncio_scheduler)


class TestAPSchedulerScheduler(SchedulerSuite):
    factory = staticmethod(apscheduler)


# -- schedulers that break a promise ----------------------------------------------------------------------------------


class Broken(ThreadScheduler):
    """`FAILS`: the check that is about the promise."""

    FAILS: ClassVar[str]

    def __init__(self) -> None:
        super().__init__(poll_s=HOUR_S, retry_s=RETRY_S)


class WaitsForTheFirstWake(Broken):
    FAILS = "start_begins_to_tick"

    def start(self, tick: Callable[[], Tick]) -> None:
        self._later = tick

    def wake(self) -> None:
        with suppress(Exception):
            super().start(self._later)
        super().wake()


class LosesWakesDuringATick(Broken):
    FAILS = "wake_during_a_tick_is_not_lost"

    def _tick(self, tick: Callable[[], Tick]) -> float:
        wait_s = super()._tick(tick)
        self._woken = False
        return wait_s


class TicksForEachWake(Broken):
    """Each wake is a tick of its own thread."""

    FAILS = "wakes_come_from_any_thread_and_become_few_ticks"

    def start(self, tick: Callable[[], Tick]) -> None:
        self._each = tick
        super().start(tick)

    def wake(self) -> None:
        with suppress(AttributeError):
            threading.Thread(target=self._tick, args=(self._each,), daemon=True).start()


class DeafToWakes(Broken):
    """Leaves it to the poll."""

    FAILS = "wake_brings_a_tick"

    def wake(self) -> None:
        """Nothing."""


class TwoThreads(Broken):
    """Has a second thread, for speed."""

    FAILS = "one_tick_at_a_time"

    def start(self, tick: Callable[[], Tick]) -> None:
        super().start(tick)
        self._second = threading.Thread(target=self._run, args=(tick,), daemon=True)
        self._second.start()

    def stop(self, timeout_s: float) -> bool:
        stopped = super().stop(timeout_s)
        self._second.join(timeout_s)
        return stopped


class WaitsToWake(Broken):
    """wake blocks while a tick runs."""

    FAILS = "wakes_come_from_any_thread_and_become_few_ticks"
    _ticking = threading.Lock()

    def _tick(self, tick: Callable[[], Tick]) -> float:
        with self._ticking:
            return super()._tick(tick)

    def wake(self) -> None:
        if self._ticking.acquire(timeout=5):
            self._ticking.release()
        super().wake()


class PollsOnly(Broken):
    """Takes no notice of when the tick asked to come again."""

    FAILS = "it_comes_again_when_the_tick_asked"

    def _tick(self, tick: Callable[[], Tick]) -> float:
        wait_s = super()._tick(tick)
        return wait_s if wait_s == RETRY_S else HOUR_S


class DiesOfAFailure(Broken):
    FAILS = "a_tick_that_fails_is_tried_again"

    def _tick(self, tick: Callable[[], Tick]) -> float:
        with suppress(RuntimeError):
            return tick().wait_s
        self._stopping = True
        return HOUR_S


class GoesOnAfterStop(Broken):
    FAILS = "no_tick_begins_after_stop"

    def stop(self, timeout_s: float) -> bool:
        return super().stop(0.0) or timeout_s > 1

    def _run(self, tick: Callable[[], Tick]) -> None:
        super()._run(tick)
        for _ in range(20):
            self._tick(tick)


class SaysYes(Broken):
    """Says that all has ended without looking."""

    FAILS = "stop_tells_the_truth"

    def stop(self, timeout_s: float) -> bool:
        super().stop(timeout_s)
        return True


class NeedsAStart(Broken):
    FAILS = "stop_of_one_that_was_not_started"

    def stop(self, timeout_s: float) -> bool:
        return self._thread is not None and super().stop(timeout_s)


BROKEN = (
    WaitsForTheFirstWake,
    LosesWakesDuringATick,
    TicksForEachWake,
    DeafToWakes,
    TwoThreads,
    WaitsToWake,
    PollsOnly,
    DiesOfAFailure,
    GoesOnAfterStop,
    SaysYes,
    NeedsAStart,
)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda kind: str(kind.__name__))
def test_a_broken_scheduler_fails_the_check_that_is_about_it(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the named check is run: it must fail. (What else notices depends on how threads are scheduled.)"""
    monkeypatch.setattr(_expect, "PATIENCE_S", 1.0)
    monkeypatch.setattr(scheduler_suite, "PATIENCE_S", 1.0)

    @contextmanager
    def factory() -> Iterator[Scheduler]:
        yield broken()

    assert fails(factory, f"test_{broken.FAILS}"), f"{broken.FAILS} does not notice {broken.__name__}"


def fails(factory: Callable[[], AbstractContextManager[Scheduler]], name: str) -> bool:
    suite = type("BrokenSuite", (SchedulerSuite,), {"factory": staticmethod(factory)})()
    suite.setup_method()
    try:
        getattr(suite, name)()
    except CheckFailedError:
        return True
    finally:
        suite.teardown_method()
    return False


def test_every_check_says_what_is_promised_and_has_a_scheduler_that_breaks_it() -> None:
    names = check_names(SchedulerSuite)
    assert all(promise_of(SchedulerSuite, name).endswith((".", ":")) for name in names)
    assert {f"test_{broken.FAILS}" for broken in BROKEN} >= set(names)
