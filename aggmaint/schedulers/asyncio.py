"""A scheduler on the host's asyncio event loop, for applications that would rather not have another thread that sleeps.

Theory of operation. One asyncio task waits on an event, for as long as the last tick asked but never longer than `poll_s`,
and runs each tick in a worker thread: stores block, and an event loop must not. `start` is called on the loop's thread;
`wake` and `stop` from any.
"""

import asyncio
import logging
import threading
from collections.abc import Callable

from ..errors import InvalidValueError
from ..scheduler import Tick

_log = logging.getLogger("aggmaint.scheduler")


class AsyncioScheduler:
    """Ticks from the running event loop, in its default thread pool; at least every `poll_s` seconds. Start it once."""

    def __init__(self, *, poll_s: float = 5.0, retry_s: float = 1.0) -> None:
        if poll_s <= 0 or retry_s <= 0:
            raise InvalidValueError(f"poll_s={poll_s} and retry_s={retry_s} must be above 0")
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._stopping = False
        self._idle = threading.Event()
        self._idle.set()

    def start(self, tick: Callable[[], Tick]) -> None:
        """Begin. Raises InvalidValueError outside a running event loop, or when it was started before."""
        if self._task is not None:
            raise InvalidValueError("this AsyncioScheduler was started before; make a new one for another engine")
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise InvalidValueError("start an engine with an AsyncioScheduler inside a running event loop") from None
        self._task = self._loop.create_task(self._run(tick), name="aggmaint-scheduler")

    def wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._woken.set)

    def stop(self, timeout_s: float) -> bool:
        """No tick begins after this. Called on the loop's own thread it can not wait: True if no tick runs just now."""
        self._stopping = True
        if self._loop is None or self._loop.is_closed():
            return True
        self.wake()
        return self._idle.wait(0.0 if self._on_the_loop() else timeout_s)

    def _on_the_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    async def _run(self, tick: Callable[[], Tick]) -> None:
        while True:
            self._idle.clear()  # before asking: who stops then sees that a tick may begin, and waits
            if self._stopping:
                self._idle.set()
                return
            try:
                wait_s = min((await asyncio.to_thread(tick)).wait_s, self._poll_s)
            except Exception:
                _log.exception("tick failed; trying again in %s s", self._retry_s)
                wait_s = self._retry_s
            finally:
                self._idle.set()
            try:
                await asyncio.wait_for(self._woken.wait(), wait_s)
            except TimeoutError:
                continue
            self._woken.clear()
