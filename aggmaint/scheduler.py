"""The Scheduler port: something that calls the engine's tick in time. It knows no cron and no organisations."""

from collections.abc import Callable
from typing import Protocol

from attrs import frozen


@frozen
class Tick:
    """What a tick came to: when to come again at the latest, how many jobs it granted, and how many changes it made."""

    wait_s: float
    granted: int = 0
    changed: int = 0


class Scheduler(Protocol):
    """Calls `tick` at or before the time that the last Tick asked for, one call at a time."""

    def start(self, tick: Callable[[], Tick]) -> None:
        """Begin calling `tick`, in a thread or loop of its own. A tick that raises is logged and tried again later."""

    def wake(self) -> None:
        """Tick soon. Callable from any thread; several calls may become one tick."""

    def stop(self, timeout_s: float) -> bool:
        """No tick begins after this. True: the last one has ended; False: it still runs after `timeout_s`."""
