"""Clocks that move only when a test says so: pass one to a store and an engine instead of `SystemClock`.

Wall and steady time are set apart from each other, because they fail apart: `pass_s` moves both, as time does; `step_wall`
moves the wall clock alone, as NTP and operators do; `reboot` begins another life of the steady clock.
"""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ..core.instants import StoreTime

NOON: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)


def passed(reading: StoreTime, seconds: float, *, wall_s: float = 0.0) -> StoreTime:
    """The reading after `seconds` of both times, with the wall clock stepped by `wall_s` besides."""
    wall_at = reading.wall_at + timedelta(seconds=seconds + wall_s)
    return StoreTime(wall_at, reading.steady_s + seconds, reading.boot)


class ManualClock:
    """A clock that stands still until it is moved. `sleep` moves it, so that code which waits does not wait."""

    def __init__(self, wall_at: datetime = NOON, steady_s: float = 1000.0, boot: str = "boot-1") -> None:
        self._lock = threading.Lock()
        self._time = StoreTime(wall_at, steady_s, boot)
        self._boots = 1

    def read(self) -> StoreTime:
        with self._lock:
            return self._time

    def set(self, reading: StoreTime) -> None:
        with self._lock:
            self._time = reading

    @property
    def wall_at(self) -> datetime:
        return self.read().wall_at

    def pass_s(self, seconds: float) -> None:
        """Time passes: wall and steady time together."""
        with self._lock:
            self._time = passed(self._time, seconds)

    def pass_until(self, wall_at: datetime) -> None:
        self.pass_s((wall_at - self.wall_at).total_seconds())

    def step_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock; steady time does not move."""
        with self._lock:
            self._time = passed(self._time, 0.0, wall_s=seconds)

    def sleep(self, seconds: float) -> None:
        self.pass_s(seconds)

    def reboot(self, steady_s: float = 5.0) -> None:
        """Another life of the steady clock; the wall clock goes on."""
        with self._lock:
            self._boots += 1
            self._time = StoreTime(self._time.wall_at, steady_s, f"boot-{self._boots}")


class FileClock:
    """Reads its time from a file that another process steps: one clock for a parent and its children."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def read(self) -> StoreTime:
        wall, steady_s, boot = json.loads(self._path.read_text(encoding="utf-8"))
        return StoreTime(datetime.fromisoformat(wall), steady_s, boot)

    def sleep(self, seconds: float) -> None:
        """Really sleeps: the pause between two tries of a child is not the time that the parent tells."""
        time.sleep(seconds)

    def set(self, reading: StoreTime) -> None:
        """Only one process calls this. The file is replaced whole, so that no reader meets half a time."""
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps([reading.wall_at.isoformat(), reading.steady_s, reading.boot]), encoding="utf-8")
        beside.replace(self._path)

    def pass_s(self, seconds: float) -> None:
        self.set(passed(self.read(), seconds))

    def step_wall(self, seconds: float) -> None:
        self.set(passed(self.read(), 0.0, wall_s=seconds))

    def reboot(self, boot: str, steady_s: float = 5.0) -> None:
        self.set(StoreTime(self.read().wall_at, steady_s, boot))
