"""Clocks that move only when a test says so."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aggmaint.core.instants import StoreTime

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class ManualClock:
    """A clock that stands still. `pass_s` moves wall and steady time together, `step_wall` the wall alone."""

    def __init__(self, wall_at: datetime = NOON, steady_s: float = 1000.0, boot: str = "boot-1") -> None:
        self._lock = threading.Lock()
        self._time = StoreTime(wall_at, steady_s, boot)
        self._boots = 1

    def read(self) -> StoreTime:
        with self._lock:
            return self._time

    @property
    def wall_at(self) -> datetime:
        return self.read().wall_at

    def pass_s(self, seconds: float) -> None:
        with self._lock:
            time = self._time
            self._time = StoreTime(time.wall_at + timedelta(seconds=seconds), time.steady_s + seconds, time.boot)

    def pass_until(self, wall_at: datetime) -> None:
        self.pass_s((wall_at - self.wall_at).total_seconds())

    def step_wall(self, seconds: float) -> None:
        with self._lock:
            time = self._time
            self._time = StoreTime(time.wall_at + timedelta(seconds=seconds), time.steady_s, time.boot)

    def sleep(self, seconds: float) -> None:
        self.pass_s(seconds)

    def reboot(self) -> None:
        """Another life of the steady clock; the wall clock goes on."""
        with self._lock:
            self._boots += 1
            self._time = StoreTime(self._time.wall_at, 5.0, f"boot-{self._boots}")


class FileClock:
    """Reads its time from a file that another process steps: one clock for many processes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> StoreTime:
        wall_s, steady_s, boot = json.loads(self._path.read_text(encoding="utf-8"))
        return StoreTime(datetime.fromtimestamp(wall_s, UTC), steady_s, boot)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def set(self, reading: StoreTime) -> None:
        """Only the parent calls this. The file is replaced whole, so that no reader meets half a time."""
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps([reading.wall_at.timestamp(), reading.steady_s, reading.boot]), encoding="utf-8")
        beside.replace(self._path)

    def pass_s(self, seconds: float) -> None:
        now = self.read()
        self.set(StoreTime(now.wall_at + timedelta(seconds=seconds), now.steady_s + seconds, now.boot))
