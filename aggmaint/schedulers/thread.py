"""A scheduler in one daemon thread of this process.

Theory of operation. The thread ticks, then sleeps on a condition for as long as the tick asked, but never longer than
`poll_s`: other processes may have queued work that this one was not woken for, and the wall clock may have been moved.
A tick that fails (a store that is away for a while) is logged and tried again after `retry_s`.
"""

import logging
import threading
from collections.abc import Callable

from ..errors import InvalidValueError
from ..scheduler import Tick

_log = logging.getLogger("aggmaint.scheduler")


class ThreadScheduler:
    """Ticks in a daemon thread; at least every `poll_s` seconds. Start it once."""

    def __init__(self, *, poll_s: float = 5.0, retry_s: float = 1.0) -> None:
        if poll_s <= 0 or retry_s <= 0:
            raise InvalidValueError(f"poll_s={poll_s} and retry_s={retry_s} must be above 0")
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._condition = threading.Condition()
        self._woken = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self, tick: Callable[[], Tick]) -> None:
        with self._condition:
            if self._thread is not None:
                raise InvalidValueError("this ThreadScheduler was started before; make a new one for another engine")
            self._thread = threading.Thread(target=self._run, args=(tick,), name="aggmaint-scheduler", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        with self._condition:
            self._woken = True
            self._condition.notify()

    def stop(self, timeout_s: float) -> bool:
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, tick: Callable[[], Tick]) -> None:
        while not self._stopping:
            wait_s = self._tick(tick)
            with self._condition:
                self._condition.wait_for(lambda: self._woken or self._stopping, wait_s)
                self._woken = False

    def _tick(self, tick: Callable[[], Tick]) -> float:
        try:
            return min(tick().wait_s, self._poll_s)
        except Exception:
            _log.exception("tick failed; trying again in %s s", self._retry_s)
            return self._retry_s
