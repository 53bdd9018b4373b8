"""A job's context in a simulation: the real one, with a switch point at each call and a question to the oracle after it.

A call that returns says "this job is still ours". At that instant the lease must not have lapsed: a worker stops to
believe in it a margin earlier (I7).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from ..core.ids import OrgId
from ..core.job import Fence, MaintenanceJob
from ..core.marks import ChangeMark
from ..task import TaskContext
from .stepped import Stepper

Answer = TypeVar("Answer")


class SteppedContext:
    """See `aggmaint.task.TaskContext`, which it is."""

    def __init__(self, context: TaskContext, stepper: Stepper, trusted: Callable[[], None]) -> None:
        self._context = context
        self._stepper = stepper
        self._trusted = trusted

    @property
    def org_id(self) -> OrgId:
        return self._context.org_id

    @property
    def job(self) -> MaintenanceJob:
        return self._context.job

    @property
    def fence(self) -> Fence:
        return self._context.fence

    @property
    def options(self) -> Mapping[str, Any]:
        return self._context.options

    @property
    def manual(self) -> bool:
        return self._context.manual

    def last_inventory(self) -> Mapping[str, Any] | None:
        return self._context.last_inventory()

    @property
    def marks(self) -> Sequence[ChangeMark]:
        return self._context.marks

    @property
    def lost(self) -> bool:
        lost = self._context.lost
        if not lost:
            self._trusted()
        return lost

    def now(self) -> datetime:
        return self._context.now()

    def progress(self, step: str, *, done: int = 0, total: int | None = None, detail: str = "") -> None:
        self._stepper.switch()
        self._context.progress(step, done=done, total=total, detail=detail)
        self._trusted()

    def check(self) -> None:
        self._stepper.switch()
        self._context.check()
        self._trusted()

    def publish(self, write: Callable[[Any], Answer]) -> Answer:
        return self._context.publish(write)

    def confirm(self) -> None:
        self._context.confirm()
        self._trusted()
