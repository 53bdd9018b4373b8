"""Tasks, listeners and waiting. Nothing here sleeps to wait: it polls a condition, with a deadline."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from aggmaint import Event, MaintenanceReport, TaskContext

PATIENCE_S = 20.0
E = TypeVar("E", bound=Event)


def until(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Return when `condition()` is true; fail when it is not within PATIENCE_S."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, f"waited {PATIENCE_S} s in vain for {what}"
        time.sleep(0.002)


class FunctionTask:
    """Calls `body(context)`; a body that returns None gives a complete report. Keeps the contexts that it was given."""

    def __init__(self, body: Callable[[TaskContext], MaintenanceReport | None] | None = None) -> None:
        self._body = body
        self.contexts: list[TaskContext] = []

    def run(self, context: TaskContext) -> MaintenanceReport:
        self.contexts.append(context)
        report = self._body(context) if self._body else None
        return report or MaintenanceReport(complete=True, summary="nothing to do")


class GateTask:
    """Blocks until `open()`, or until its context says stop (unless `deaf`). Each run shows itself in `next_entered`."""

    def __init__(self, *, deaf: bool = False) -> None:
        self._gate = threading.Event()
        self._entered: SimpleQueue[TaskContext] = SimpleQueue()
        self._deaf = deaf
        self.running = 0
        self.running_most: dict[str, int] = {}
        self._running: dict[str, int] = {}
        self._lock = threading.Lock()

    def run(self, context: TaskContext) -> MaintenanceReport:
        with self._lock:
            now = self._running[context.org_id] = self._running.get(context.org_id, 0) + 1
            self.running_most[context.org_id] = max(now, self.running_most.get(context.org_id, 0))
        self._entered.put(context)
        give_up_at = time.monotonic() + PATIENCE_S
        try:
            while not self._gate.wait(0.002):
                assert time.monotonic() < give_up_at, "nobody opened the gate"
                if not self._deaf:
                    context.check()
        finally:
            with self._lock:
                self._running[context.org_id] -= 1
        return MaintenanceReport(complete=True, summary="through the gate")

    def open(self) -> None:
        self._gate.set()

    def next_entered(self) -> TaskContext:
        try:
            return self._entered.get(timeout=PATIENCE_S)
        except Empty:
            raise AssertionError("no run has entered the task") from None


class FileGateTask:
    """Blocks until the file `gate` exists: for child processes."""

    def __init__(self, gate: Path) -> None:
        self._gate = gate

    def run(self, context: TaskContext) -> MaintenanceReport:
        while not self._gate.exists():
            context.check()
            time.sleep(0.001)
        return MaintenanceReport(complete=True, summary="through the gate")


class Recorder:
    """A listener that keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]
