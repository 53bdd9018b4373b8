"""Live progress of a job that this process runs: a bar on a terminal, lines when piped, nothing when quiet.

The task is wrapped, and its context with it: each `progress` is shown, then handed on. So the display knows every
partition at once, while the store is told once a second.
"""

import sys
from typing import Protocol

import click

from ..task import ContextWrapper, MaintenanceReport, MaintenanceTask, TaskContext


class Display(Protocol):
    def begin(self) -> None: ...

    def show(self, step: str, done: int, total: int | None, detail: str) -> None: ...

    def end(self) -> None: ...


class Quiet:
    def begin(self) -> None: ...

    def show(self, step: str, done: int, total: int | None, detail: str) -> None: ...

    def end(self) -> None: ...


class Lines:
    """One line to standard error for each new step and detail."""

    def __init__(self) -> None:
        self._last: tuple[str, str] | None = None

    def begin(self) -> None: ...

    def show(self, step: str, done: int, total: int | None, detail: str) -> None:
        if (step, detail) == self._last:
            return
        self._last = (step, detail)
        count = "" if total is None else f" {done}/{total}"
        click.echo(f"{step}{count} {detail}".rstrip(), err=True)

    def end(self) -> None: ...


class Bar:
    """One line: a spinner, the step, a bar as soon as it is known how much there is to do. It goes when the job ends."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<8}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("start", total=None, detail="")

    def begin(self) -> None:
        self._progress.start()

    def show(self, step: str, done: int, total: int | None, detail: str) -> None:
        self._progress.update(self._task, description=step, completed=done, total=total, detail=detail)

    def end(self) -> None:
        self._progress.stop()


def make_display(*, quiet: bool) -> Display:
    if quiet:
        return Quiet()
    return Bar() if sys.stderr.isatty() else Lines()


class Watched:
    """A task whose progress is shown while it runs."""

    def __init__(self, task: MaintenanceTask, display: Display) -> None:
        self._task = task
        self._display = display

    def run(self, context: TaskContext) -> MaintenanceReport:
        self._display.begin()
        try:
            return self._task.run(_WatchedContext(context, self._display))
        finally:
            self._display.end()


class _WatchedContext(ContextWrapper):
    def __init__(self, context: TaskContext, display: Display) -> None:
        super().__init__(context)
        self._display = display

    def progress(self, step: str, *, done: int = 0, total: int | None = None, detail: str = "") -> None:
        self._display.show(step, done, total, detail)
        super().progress(step, done=done, total=total, detail=detail)
