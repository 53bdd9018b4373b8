"""The clock port: where a store's time comes from.

`SystemClock` reads a steady clock that every process of this machine shares and that keeps counting while the machine
sleeps (`CLOCK_BOOTTIME`), and names its life by the kernel's boot id. Elsewhere the monotonic clock serves, with the
machine's start as its name.
"""

import time
from datetime import UTC, datetime
from functools import cache
from typing import Protocol

from .core.instants import StoreTime


class Clock(Protocol):
    """Tells the time that decides, and lets it pass. Callable from any thread."""

    def read(self) -> StoreTime:
        """Wall and steady time of now. Steady time never goes back within one `boot`."""

    def sleep(self, seconds: float) -> None:
        """Return when so much steady time has passed. Only ever a short pause between two tries."""


class SystemClock:
    """This machine's clocks."""

    def read(self) -> StoreTime:
        return StoreTime(datetime.now(UTC), _steady_s(), _boot())

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def _steady_s() -> float:
    """Seconds that only grow, also while the machine sleeps where the system can tell."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@cache
def _boot() -> str:
    from pathlib import Path  # 7 ms: imported where used, so that `import aggmaint` stays light

    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"started-{round((time.time() - time.monotonic()) / 60)}"
