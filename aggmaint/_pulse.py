"""Whether an engine still ticks, as its own process knows it: what a readiness probe asks. No store is read for it."""

import time
from collections.abc import Callable
from enum import StrEnum

from attrs import define, field, frozen


class Ticking(StrEnum):
    """Who calls `tick`: nobody yet or any more, the engine's scheduler, or the host (`scheduler=None`)."""

    STOPPED = "stopped"
    RUNNING = "running"
    HOST = "host"


@frozen
class Pulse:
    """`age_s`: seconds since a tick came to its end, or since the start if none has yet; None before that."""

    ticking: Ticking
    age_s: float | None


@define
class PulseKeeper:
    """Told by the engine. Setting one attribute at a time, so that any thread may tell and ask."""

    hosted: bool
    monotonic: Callable[[], float] = time.monotonic
    _beat_at_s: float | None = field(default=None, init=False)
    _running: bool = field(default=False, init=False)

    def started(self) -> None:
        self._running = True
        self.ticked()

    def ticked(self) -> None:
        self._beat_at_s = self.monotonic()

    def closed(self) -> None:
        self._running = False

    def read(self) -> Pulse:
        running = Ticking.RUNNING if self._running else Ticking.STOPPED
        age_s = None if self._beat_at_s is None else self.monotonic() - self._beat_at_s
        return Pulse(Ticking.HOST if self.hosted else running, age_s)
