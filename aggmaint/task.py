"""The seam: what a job runs, what it is given, and what it gives back.

The job half knows nothing about aggregates; it calls `MaintenanceTask.run(context)` once per granted job, in one thread,
and stores the report with the job's end. The built-in task is `aggmaint.maintenance.AggregateMaintenance`; a host may
bring its own.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from attrs import Factory, frozen

from .core.ids import OrgId
from .core.job import Fence, MaintenanceJob, StepError
from .core.marks import ChangeMark
from .core.use import DefinitionUse
from .errors import StopWorkError

__all__ = [
    "ChangeMark",
    "ContextWrapper",
    "DefinitionUse",
    "Fence",
    "MaintenanceReport",
    "MaintenanceTask",
    "StepError",
    "TaskContext",
]


Answer = TypeVar("Answer")


@frozen
class MaintenanceReport:
    """What a task did.

    complete   False when anything that should have been done was not (a failed publish, a sick aggregate, a budget).
               Only a complete report of a done job covers demand.
    progressed  with `complete` False: nothing failed, some of the work was done, and the rest is for later jobs (a budget,
               or a request for a part). Such a job is no failure: what it leaves is taken up after one `backoff_base_s`.
    summary    one line for people.
    details    a JSON-able mapping: decisions, steps, findings. Stored with the job, bounded to 256 KiB.
    errors     what went wrong, step by step; shown in the job's history.
    inventory  a JSON-able mapping of the aggregates as the job left them, kept for the newest job only; None = keep the
               last one.
    """

    complete: bool
    summary: str = ""
    details: Mapping[str, Any] = Factory(dict)
    errors: tuple[StepError, ...] = ()
    inventory: Mapping[str, Any] | None = None
    progressed: bool = False


class TaskContext(Protocol):
    """What a running task is given. One per job; used from the task's thread only."""

    @property
    def org_id(self) -> OrgId: ...

    @property
    def job(self) -> MaintenanceJob: ...

    @property
    def fence(self) -> Fence:
        """The job's fence: newer jobs have greater ones. Guard every write to shared data with it."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What the request asked for beyond running; opaque to the job half."""

    @property
    def manual(self) -> bool:
        """Whether a person asked for this job: then nothing is held back that an automatic run would leave alone."""

    def last_inventory(self) -> Mapping[str, Any] | None:
        """The inventory of the newest job that left one, as it was when this job started; None before the first."""

    @property
    def marks(self) -> Sequence[ChangeMark]:
        """Ranges of sources that are known to have changed, as of this job's start. Hints: look elsewhere too."""

    @property
    def uses(self) -> Sequence[DefinitionUse]:
        """Uses of definitions that wait to be carried, as of this job's start. A complete report says that they were.

        An entry may come again, grown (same `definition` and `born`): count what it has grown by.
        """

    @property
    def lost(self) -> bool:
        """True once this worker must not publish any more: the job was lost, or can not be trusted to be ours."""

    def now(self) -> datetime:
        """The store's wall clock, aware UTC. Tasks read no other clock."""

    def progress(self, step: str, *, done: int = 0, total: int | None = None, detail: str = "") -> None:
        """Tell how far the task is; calls `check()`. Written to the store at most once a second; dropped when stale."""

    def check(self) -> None:
        """Call often. Raises a StopWorkError (lease lost, cancelled, deadline, shutdown) when the task must stop."""

    def on_stop(self, listener: Callable[[StopWorkError], None]) -> Callable[[], None]:
        """Call `listener(reason)` at once when this job must stop, from another thread: to break off what can not `check()`.

        It must be quick and not raise. Called at most once, and at once if the job must stop already. Returns what takes
        the listener off again. An engine that runs jobs in the calling thread learns of most reasons only there.
        """

    def publish(self, write: Callable[[Any], Answer]) -> Answer:
        """Call `write(connection)` in a transaction of the job store's database that first proves that this job is ours.

        For data in the database of the job store: what it writes is committed with the proof, or not at all. Raises
        LeaseLostError, what `check()` raises, and InvalidValueError for a store that has no `Fences`.
        """

    def confirm(self) -> None:
        """Ask the store, directly before a publish, that this job is in progress and newest. Raises LeaseLostError.

        Also raises what `check()` raises, and StoreUnavailableError when the store can not be asked.
        """


class MaintenanceTask(Protocol):
    """One maintenance run. Called at least once per request, never twice at the same time for one organisation."""

    def run(self, context: TaskContext) -> MaintenanceReport:
        """Do the work and report. Raise TaskFailedError when it could not run at all; let StopWorkError pass.

        The engine calls it in one thread of its own choice. Everything it publishes must be fenced with
        `context.fence`. Running again after a crash must be harmless.
        """


class ContextWrapper:
    """A TaskContext that hands everything on to another: the base of those that watch a task, or steer it."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context

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

    @property
    def marks(self) -> Sequence[ChangeMark]:
        return self._context.marks

    @property
    def uses(self) -> Sequence[DefinitionUse]:
        return self._context.uses

    @property
    def lost(self) -> bool:
        return self._context.lost

    def last_inventory(self) -> Mapping[str, Any] | None:
        return self._context.last_inventory()

    def now(self) -> datetime:
        return self._context.now()

    def progress(self, step: str, *, done: int = 0, total: int | None = None, detail: str = "") -> None:
        self._context.progress(step, done=done, total=total, detail=detail)

    def check(self) -> None:
        self._context.check()

    def on_stop(self, listener: Callable[[StopWorkError], None]) -> Callable[[], None]:
        return self._context.on_stop(listener)

    def publish(self, write: Callable[[Any], Answer]) -> Answer:
        return self._context.publish(write)

    def confirm(self) -> None:
        self._context.confirm()
