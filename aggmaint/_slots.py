"""The places in which an engine may run jobs at once, and the executor for an engine that has no threads.

A place is offered before a commit, because the commit is what grants the job; if nothing was granted the offer is
withdrawn. So an engine never holds more jobs than places, however many threads ask it.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any
from uuid import uuid4

from .core.ids import JobId
from .core.steps import Grant


class Slots:
    """At most `jobs_max` offers and jobs at a time."""

    def __init__(self, jobs_max: int, holder: str) -> None:
        self._jobs_max = jobs_max
        self.holder = holder
        self._taken = 0
        self._closed = False
        self._condition = threading.Condition()

    def offer(self) -> Grant | None:
        """A free place, or None."""
        with self._condition:
            if self._closed or self._taken >= self._jobs_max:
                return None
            self._taken += 1
        return Grant(JobId(str(uuid4())), self.holder)

    @property
    def free(self) -> int:
        """How many places are free at this moment."""
        with self._condition:
            return 0 if self._closed else self._jobs_max - self._taken

    def give_back(self) -> None:
        """A job has ended, or an offer was not used."""
        with self._condition:
            self._taken -= 1
            self._condition.notify_all()

    def close(self) -> None:
        """Offer nothing any more."""
        with self._condition:
            self._closed = True

    def wait_until_free(self, timeout_s: float) -> bool:
        """Wait until no place is taken; False when `timeout_s` passed before."""
        with self._condition:
            return self._condition.wait_for(lambda: self._taken == 0, timeout_s)


class CallingThreadExecutor(Executor):
    """Runs what is submitted in the submitting thread, one after the other: what a run submits comes after it."""

    def __init__(self) -> None:
        self._local = threading.local()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        queue: deque[Callable[[], None]] | None = getattr(self._local, "queue", None)

        def run() -> None:
            future.set_result(fn(*args, **kwargs))

        if queue is not None:
            queue.append(run)
            return future
        queue = self._local.queue = deque([run])
        try:
            while queue:
                queue.popleft()()
        finally:
            del self._local.queue
        return future
