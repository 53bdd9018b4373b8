"""A job's context in a simulation: the real one, with a switch point at each call and a question to the oracle after it.

A call that returns says "this job is still ours". At that instant the lease must not have lapsed: a worker stops to
believe in it a margin earlier (I7).
"""

from collections.abc import Callable

from ..task import ContextWrapper, TaskContext
from .stepped import Stepper


class SteppedContext(ContextWrapper):
    """See `aggmaint.task.TaskContext`, which it is."""

    def __init__(self, context: TaskContext, stepper: Stepper, trusted: Callable[[], None]) -> None:
        super().__init__(context)
        self._stepper = stepper
        self._trusted = trusted

    @property
    def lost(self) -> bool:
        lost = super().lost
        if not lost:
            self._trusted()
        return lost

    def progress(self, step: str, *, done: int = 0, total: int | None = None, detail: str = "") -> None:
        self._stepper.switch()
        super().progress(step, done=done, total=total, detail=detail)
        self._trusted()

    def check(self) -> None:
        self._stepper.switch()
        super().check()
        self._trusted()

    def confirm(self) -> None:
        super().confirm()
        self._trusted()
