"""Where blocking calls of the doors run: worker threads, a bounded number of them, never the event loop."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

from ..errors import InvalidValueError

P = ParamSpec("P")
Result = TypeVar("Result")


class Threads:
    """At most `threads_max` blocking calls at once on each event loop that the app is used from.

    Further ones wait in order, on the loop, where waiting costs little. Raises InvalidValueError below 1.
    """

    def __init__(self, threads_max: int) -> None:
        if threads_max < 1:
            raise InvalidValueError(f"threads_max={threads_max} must be 1 or more")
        self._threads_max = threads_max
        self._limiter: RunVar[CapacityLimiter] = RunVar("aggmaint.threads")  # limiters belong to one loop each

    async def run(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        try:
            limiter = self._limiter.get()
        except LookupError:
            limiter = CapacityLimiter(self._threads_max)
            self._limiter.set(limiter)
        if kwargs:
            return await run_sync(lambda: function(*args, **kwargs), limiter=limiter)
        return await run_sync(function, *args, limiter=limiter)
