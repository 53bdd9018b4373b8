"""Runs one claimed job: calls the task, keeps the lease, and ends the job whatever the task does.

Theory of operation. A `JobRun` is the task's context and the worker's memory of the job. The `Heart`, one thread for all
jobs of an engine, renews each lease every `heartbeat_s` and writes progress at most once a second; without it (an engine
that runs jobs in the calling thread) `progress()` does both at step boundaries. What the store says at a renewal (lost,
cancelled, past the deadline) becomes a reason to stop, which the task meets at its next `check()`.

The worker distrusts itself first: it reads its steady clock *before* each renewal, and once `lease - margin` has passed
since the last one that succeeded, it stops and publishes nothing, without asking. A job that was lost is not ended here:
it has been ended by who rescued it. Everything else ends in exactly one finish, retried while the lease is trusted.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from ._committing import Committer
from .clock import Clock
from .core.deciding import decide_finish, decide_renew
from .core.ids import OrgId
from .core.job import ErrorInformation, FailureCode, Fence, MaintenanceJob, Progress, RunningJob
from .core.marks import ChangeMark
from .core.organization import OrgSnapshot
from .core.outcomes import Finished, Lost, Renewed
from .core.report import report_text
from .core.steps import Basis, Decision, Ending
from .core.trigger import TriggerKind
from .core.use import DefinitionUse
from .errors import (
    AggmaintError,
    DeadlineExceededError,
    InvalidValueError,
    JobCancelledError,
    JobNotFoundError,
    LeaseLostError,
    OrganizationNotFoundError,
    ShutdownError,
    StopWorkError,
    StoreError,
    TaskFailedError,
)
from .store import Fences
from .task import MaintenanceReport, MaintenanceTask

Answer = TypeVar("Answer")

PROGRESS_PERIOD_S: Final = 1.0
RETRY_S: Final = 0.25
MARGIN: Final = 1 / 6
"""The part of the lease that the worker does not trust."""

STOP_CODES: Final[Mapping[type[StopWorkError], FailureCode]] = {
    JobCancelledError: FailureCode.CANCELLED,
    DeadlineExceededError: FailureCode.TIMEOUT,
    ShutdownError: FailureCode.SHUTDOWN,
}

_log = logging.getLogger("aggmaint.worker")


class JobRun:
    """One job on this worker; the `TaskContext` of its task. Its methods may be called from the task's threads.

    `asked_s`: see Settled; trust in the lease begins there.
    """

    def __init__(self, document: OrgSnapshot, committer: Committer, asked_s: float, *, self_renewing: bool) -> None:
        assert document.running is not None, "only granted jobs are run"
        self._running: RunningJob = document.running
        self._inventory_job_id = document.inventory_job_id
        self._marks = tuple(mark for mark in document.marks if mark.number <= document.running.marks_seen)
        self._uses = document.uses
        self._committer = committer
        self._self_renewing = self_renewing
        self._renewed_s = self._written_s = asked_s
        self._ends_s = self._steady_s() + committer.settings.deadline_s
        self._progress: Progress | None = None
        self._stop: StopWorkError | None = None
        self._listeners: list[Callable[[StopWorkError], None]] = []
        self._stopping = threading.Lock()
        self._renewing = threading.Lock()

    @property
    def org_id(self) -> OrgId:
        return self._running.job.org_id

    @property
    def job(self) -> MaintenanceJob:
        return self._running.job

    @property
    def fence(self) -> Fence:
        return self._running.job.fence

    @property
    def options(self) -> Mapping[str, Any]:
        return self._running.options

    @property
    def manual(self) -> bool:
        return self._running.job.trigger.kind is TriggerKind.MANUAL

    def last_inventory(self) -> Mapping[str, Any] | None:
        if self._inventory_job_id is None:
            return None
        try:
            text = self._committer.store.get_job(self.org_id, self._inventory_job_id).inventory
        except JobNotFoundError:
            return None
        inventory: Mapping[str, Any] | None = None if text is None else json.loads(text)
        return inventory

    @property
    def marks(self) -> Sequence[ChangeMark]:
        return self._marks

    @property
    def uses(self) -> Sequence[DefinitionUse]:
        return self._uses

    @property
    def lost(self) -> bool:
        return isinstance(self._stop, LeaseLostError) or self.trust_left_s() <= 0

    def on_stop(self, listener: Callable[[StopWorkError], None]) -> Callable[[], None]:
        with self._stopping:
            self._listeners.append(listener)
            stopped = self._stop
        if stopped is not None:
            listener(stopped)

        def take_off() -> None:
            with self._stopping:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return take_off

    def publish(self, write: Callable[[Any], Answer]) -> Answer:
        self.check()
        store = self._committer.store
        if not isinstance(store, Fences):
            raise InvalidValueError(
                f"{type(store).__name__} has no Fences: publish elsewhere, guarded by context.fence, after context.confirm()"
            )
        try:
            with store.fenced(self.org_id, self.fence) as connection:
                return write(connection)
        except LeaseLostError:
            self.stop(self.lost_error())
            raise

    def now(self) -> datetime:
        return self._committer.store.load([]).time.wall_at

    def progress(self, step: str, *, done: int = 0, total: int | None = None, detail: str = "") -> None:
        first = self._progress is None
        self._progress = Progress(step, done, total, detail, self.now())
        if self._self_renewing and (first or self.seconds_to_write() <= 0):
            self.renew()
        self.check()

    def check(self) -> None:
        self.watch()
        if self._stop is not None:
            raise self._stop

    def watch(self) -> None:
        """Judge by the worker's own clock whether the job must stop: its deadline, and its trust in the lease."""
        if self._stop is None and self._steady_s() > self._ends_s:
            self.stop(
                DeadlineExceededError(f"the job passed its deadline of {self._committer.settings.deadline_s:g} s")
            )
        if self._stop is None and self.trust_left_s() <= 0:
            self.stop(self.lost_error())

    def confirm(self) -> None:
        self.check()
        document, now = self._committer.load(self.org_id)
        running = document.running
        if running is None or running.job.id != self.job.id or running.lease.boot != now.boot:
            self.stop(self.lost_error())
        elif running.lease.past_deadline(now):
            self.stop(DeadlineExceededError())
        self.check()

    @property
    def clock(self) -> Clock:
        return self._committer.clock

    def _steady_s(self) -> float:
        return self.clock.read().steady_s

    def stop(self, reason: StopWorkError) -> None:
        """Give the task a reason to stop, and tell who listens; the first one stays."""
        with self._stopping:
            if self._stop is not None:
                return
            self._stop = reason
            listeners = tuple(self._listeners)
        for listener in listeners:
            try:
                listener(reason)
            except Exception:
                _log.exception("job %s of %r: who listens for its stop failed", self.job.id, self.org_id)

    def lost_error(self) -> LeaseLostError:
        return LeaseLostError(self.org_id, self.job.id)

    def trust_left_s(self) -> float:
        """Seconds for which this worker may still believe that the job is its own."""
        return self._renewed_s + self._committer.settings.lease_s * (1 - MARGIN) - self._steady_s()

    def seconds_to_write(self) -> float:
        """Seconds until the next renewal is wanted: a heartbeat, or sooner when there is progress to write."""
        unwritten = self._progress is not None and self._progress is not self._running.progress
        period_s = PROGRESS_PERIOD_S if unwritten else self._committer.settings.heartbeat_s
        return self._written_s + period_s - self._steady_s()

    def renew(self) -> None:
        """Renew once and take note of what the store says. A failure is no reason to stop while trust lasts.

        Does nothing while another thread renews: what that one is told is as good, or stale and asked again at once.
        """
        if not self._renewing.acquire(blocking=False):
            return
        try:
            asked_s = self._written_s = self._steady_s()
            try:
                settled = self._committer.try_change(self.org_id, self._decide_renew)
            except OrganizationNotFoundError:
                self.stop(self.lost_error())
                return
            except StoreError as exc:
                _log.warning("job %s of %r: lease not renewed: %s", self.job.id, self.org_id, exc)
                return
            if settled is None:
                self._written_s = asked_s - self._committer.settings.heartbeat_s + RETRY_S
                return
            self._note(settled.answer, asked_s)
        finally:
            self._renewing.release()

    def _decide_renew(self, document: OrgSnapshot, basis: Basis) -> Decision[Renewed | Lost]:
        return decide_renew(document, self.job.id, basis, progress=self._progress)

    def _note(self, answer: Renewed | Lost, asked_s: float) -> None:
        if isinstance(answer, Lost):
            self.stop(self.lost_error())
            return
        self._running = answer.running
        self._renewed_s = asked_s
        if answer.past_deadline:
            self.stop(DeadlineExceededError())
        elif answer.cancel_requested:
            self.stop(JobCancelledError())


@runtime_checkable
class Pacemaker(Protocol):
    """Optional, for executors: calls an engine's heart itself, so that the engine makes no thread for it (simulation)."""

    def pace(self, beat: Callable[[], bool], period_s: float) -> None:
        """Call `beat` once in `period_s` until it returns False. Called again when there is something to renew again."""


class Heart:
    """One thread that renews the leases of all jobs of an engine. It starts with the first job."""

    def __init__(self, heartbeat_s: float, pacemaker: Pacemaker | None = None) -> None:
        self._period_s = min(PROGRESS_PERIOD_S, heartbeat_s / 4)
        self._pacemaker = pacemaker
        self._paced = False
        self._condition = threading.Condition()
        self._runs: list[JobRun] = []
        self._thread: threading.Thread | None = None
        self._stopping = False

    def add(self, run: JobRun) -> None:
        with self._condition:
            self._runs.append(run)
            if self._pacemaker is not None:
                if not self._paced:
                    self._paced = True
                    self._pacemaker.pace(self.beat, self._period_s)
            elif self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="aggmaint-heart", daemon=True)
                self._thread.start()
            self._condition.notify()

    def remove(self, run: JobRun) -> None:
        with self._condition:
            self._runs.remove(run)

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def beat(self) -> bool:
        """Renew what wants to be renewed, and notice deadlines. False when nothing is left to be renewed."""
        with self._condition:
            runs = list(self._runs)
            going = self._paced = bool(runs) and not self._stopping
        for run in runs:
            if run.seconds_to_write() <= 0:
                self._renew(run)
            run.watch()
        return going

    def _beat(self) -> None:
        while not self._stopping:
            self.beat()
            with self._condition:
                self._condition.wait_for(lambda: self._stopping or bool(self._runs))
                self._condition.wait_for(lambda: self._stopping, self._period_s)

    def _renew(self, run: JobRun) -> None:
        try:
            run.renew()
        except Exception:
            _log.exception("job %s of %r: the renewal failed; trying again", run.job.id, run.org_id)


class Worker:
    """Runs jobs of one task, one call for each job."""

    def __init__(self, task: MaintenanceTask, committer: Committer) -> None:
        self._task = task
        self._committer = committer

    def run(self, run: JobRun) -> OrgSnapshot | None:
        """Run the task and end the job. The document after the end, or None if the job was lost.

        Never raises for a task that failed; lets KeyboardInterrupt and SystemExit pass after the job was ended.
        """
        try:
            if run.trust_left_s() <= 0:
                run.renew()  # this process stood still between asking and running: is the job still ours?
            ending = self._attempt(run)
        except LeaseLostError as exc:
            _log.warning("%s", exc)
            return None
        except BaseException as exc:
            self.finish(run, Ending(error=ErrorInformation(FailureCode.SHUTDOWN, f"interrupted: {type(exc).__name__}")))
            raise
        return self.finish(run, ending)

    def _attempt(self, run: JobRun) -> Ending:
        try:
            report = self._task.run(run)
            return _ending_of(report)
        except LeaseLostError:
            raise
        except StopWorkError as exc:
            return Ending(error=ErrorInformation(STOP_CODES.get(type(exc), FailureCode.ERROR), exc.message))
        except TaskFailedError as exc:
            return Ending(error=ErrorInformation(FailureCode.ERROR, exc.message, exc.cause))
        except AggmaintError as exc:
            return Ending(error=ErrorInformation(FailureCode.ERROR, exc.message, type(exc).__name__))
        except Exception as exc:
            _log.exception("job %s of %r: the task failed", run.job.id, run.org_id)
            return Ending(error=ErrorInformation(FailureCode.ERROR, f"{type(exc).__name__}: {exc}", "exception"))

    def finish(self, run: JobRun, ending: Ending) -> OrgSnapshot | None:
        """End the job, trying as long as the lease is trusted. None if it was lost, or could not be ended in time."""

        def decide(document: OrgSnapshot, basis: Basis) -> Decision[Finished | Lost]:
            return decide_finish(document, run.job.id, ending, basis)

        settled = _while_trusted(run, lambda: self._committer.change(run.org_id, decide))
        if settled is None or isinstance(settled.answer, Lost):
            _log.warning("%s", run.lost_error())
            return None
        return settled.document


def _while_trusted(run: JobRun, attempt: Callable[[], Answer]) -> Answer | None:
    while True:
        try:
            return attempt()
        except StoreError as exc:
            _log.warning("job %s of %r: not ended yet: %s", run.job.id, run.org_id, exc)
            if run.trust_left_s() <= RETRY_S:
                return None
        run.clock.sleep(RETRY_S)


def _ending_of(report: MaintenanceReport) -> Ending:
    """The report as it is stored. A report that is no JSON fails the job with a clear error."""
    try:
        text = report_text(report.complete, report.summary, report.details, report.errors)
        inventory = None if report.inventory is None else json.dumps(report.inventory, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise TaskFailedError(f"the task's report is not JSON: {exc}", cause="report_not_json") from exc
    return Ending(complete=report.complete, report=text, inventory=inventory, progressed=report.progressed)
