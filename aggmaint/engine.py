"""The facade: everything that a host application does with maintenance jobs goes through one `MaintenanceEngine`.

Theory of operation. The engine holds no truth: every answer is read from the store, every change is decided by `core/`
and committed by `_committing.py`. What it owns are places to run jobs (`jobs_max`), threads, and a scheduler that calls
`tick`. Any number of engines, in one process or on many hosts, may share a store.

Running and what follows a job's end are in `_running.py`; what waits elsewhere is found by the scheduler, or by the host's
own calls of `tick`.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from types import TracebackType
from typing import Any, Final, TypeVar, cast
from uuid import uuid4

from attrs import frozen

from ._administration import Administration
from ._committing import Committer, Listener
from ._pulse import Pulse, PulseKeeper
from ._running import Runner
from ._slots import Slots
from ._use_buffer import UseBuffer
from .clock import Clock, SystemClock
from .core import deciding
from .core.ids import JobId, parse_org_id
from .core.instants import StoreTime
from .core.job import JobStatus, MaintenanceJob
from .core.organization import OrgSnapshot, Request
from .core.outcomes import IfBusy, RequestOutcome
from .core.settings import JobSettings
from .core.steps import Basis, Decision, Grant
from .core.trigger import MANUAL, CubeUpdate
from .errors import InvalidValueError, JobNotFoundError
from .scheduler import Scheduler, Tick
from .store import DueOrgs, JobPage, JobQuery, JobStore, OrgPage, OrgQuery
from .task import MaintenanceTask
from .worker import Worker

Answer = TypeVar("Answer")

DUE_BATCH: Final = 500
DUE_WINDOW: Final = 4000
"""How far an engine looks that has met others."""
MEETINGS_MAX: Final = 8
TICK_WAIT_MAX_S: Final = 60.0
POLL_S: Final = 0.2
OPTIONS_BYTES_MAX: Final = 16 * 1024


class Default:
    """Stands for "what the engine makes itself"."""


DEFAULT: Final = Default()


@frozen
class JobDetails:
    """A job with its report (`{"complete", "summary", "details", "errors"}`), None while it runs or without one."""

    job: MaintenanceJob
    report: Mapping[str, Any] | None


@frozen
class Inventory:
    """What the newest job that left one found: the task's own mapping, and the job that wrote it."""

    job: MaintenanceJob
    content: Mapping[str, Any]


class MaintenanceEngine(Administration):
    """Runs maintenance jobs of many organisations, at most one at a time for each.

    store         where jobs are kept; prepared here. The host closes it.
    task          what a job does; `AggregateMaintenance`, or the host's own.
    scheduler     calls `tick` while the engine is started. Default: a `ThreadScheduler` of its own. None: the host ticks.
    jobs_max      jobs at once in this engine, over all organisations. 1 if the executor is None.
    executor      a thread executor of the host's. Default: one of the engine's own. None: jobs run in the calling thread,
                  inside the call that starts them, and renew their lease when they report progress.
    settings      leases, deadlines, graces, back-offs.
    listeners     called with each event after its commit, in the thread that made it. A failure is logged, no more.
    clock         by which workers judge how long they may trust their lease. Default: this machine's. For tests.
    auto_register an unknown organisation is registered by the first request or change that names it.

    All methods may be called from any thread, before and after `start`. Methods that name an organisation raise
    InvalidOrgIdError and OrganizationNotFoundError; all raise StoreUnavailableError when the store can not be used, and
    those that write raise ContentionError when very many write the same organisation.
    """

    def __init__(  # noqa: PLR0913 - the composition root: each part is named once, by keyword
        self,
        *,
        store: JobStore,
        task: MaintenanceTask,
        scheduler: Scheduler | Default | None = DEFAULT,
        jobs_max: int = 4,
        executor: Executor | Default | None = DEFAULT,
        settings: JobSettings | None = None,
        listeners: Sequence[Listener] = (),
        clock: Clock | None = None,
        auto_register: bool = False,
    ) -> None:
        if jobs_max < 1:
            raise InvalidValueError(f"jobs_max={jobs_max} must be 1 or more")
        self.settings = settings or JobSettings()
        self._store = store
        self._committer = Committer(store, self.settings, listeners, clock or SystemClock())
        self._own_executor = _thread_pool(jobs_max) if isinstance(executor, Default) else None
        self._runner = Runner(
            self._committer,
            Worker(task, self._committer),
            Slots(1 if executor is None else jobs_max, _holder()),
            None if executor is None else self._own_executor or cast(Executor, executor),
            wake=self._wake,
        )
        self._auto_register = auto_register
        self._uses = UseBuffer(self._committer, self._register if auto_register else None)
        self._scheduler = scheduler
        self._pulse = PulseKeeper(hosted=scheduler is None)
        store.prepare()

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the scheduler. Start-up is no trigger: nothing runs but what is due."""
        if isinstance(self._scheduler, Default):
            from .schedulers.thread import ThreadScheduler  # the default; the layer test names this one exception

            self._scheduler = ThreadScheduler()
        if self._scheduler is not None:
            self._scheduler.start(self.tick)
        self._pulse.started()

    def close(self, *, timeout_s: float = 30.0) -> bool:
        """Stop: no new jobs; running ones are told to stop and waited for, then ended as `failed(shutdown)`.

        False: a task did not stop in time; its job was ended, but its thread still runs. Idempotent. The store stays open.
        """
        give_up_at = time.monotonic() + timeout_s
        self._pulse.closed()
        if self._scheduler is not None and not isinstance(self._scheduler, Default):
            self._scheduler.stop(timeout_s)
        stopped = self._runner.close(max(0.0, give_up_at - time.monotonic()))
        self._uses.flush()
        if self._own_executor is not None:
            self._own_executor.shutdown(wait=False)
        return stopped

    def __enter__(self) -> "MaintenanceEngine":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- organisations -------------------------------------------------------------------------------------------------

    def get_organization(self, org_id: str) -> OrgSnapshot:
        """The organisation's document: running job with progress, waiting request, schedules, pause, demand.

        Reading registers nobody: an unknown organisation is OrganizationNotFoundError, also with auto_register.
        """
        return self._committer.load(parse_org_id(org_id))[0]

    def list_organizations(self, *, after: str | None = None, limit: int = 100) -> OrgPage:
        """A page of documents, by id."""
        return self._store.list_organizations(OrgQuery(None if after is None else parse_org_id(after), limit))

    def store_time(self) -> StoreTime:
        """What the store's clock says: the one by which leases are judged."""
        return self._store.load([]).time

    # -- requests ------------------------------------------------------------------------------------------------------

    def run_immediately(
        self, org_id: str, *, options: Mapping[str, Any] | None = None, if_busy: IfBusy = IfBusy.FOLD
    ) -> RequestOutcome:
        """Ask for a job now. `Started(job)`, `Queued(behind)`, or `Refused(reason)`.

        While a job runs the request folds into the one follow-up; or it is refused (IfBusy.REJECT); or the running job is
        the answer, `Joined(job)` (IfBusy.JOIN). It ignores pauses and back-offs; a disabled organisation refuses. `options`
        are handed to the task as they are; they must be JSON.
        """
        asked = _as_json(options or {})

        def decide(document: OrgSnapshot, basis: Basis, grant: Grant | None) -> Decision[RequestOutcome]:
            request = Request(MANUAL, created_at=basis.time.wall_at, automatic=False, options=asked)
            return deciding.decide_request(document, request, basis, grant=grant, if_busy=if_busy)

        return self._request(org_id, decide)

    def cube_updated(
        self, org_id: str, *, cube_id: str, change: CubeUpdate, version: int | None = None
    ) -> RequestOutcome:
        """Tell that a cube was updated; a job that starts after this call will cover it.

        `version` numbers the updates of a cube (None: the next number); one that was told before asks for nothing more
        and is `Refused(covered)`. An acknowledged update is never lost: if its job fails another follows by itself.
        """

        def decide(document: OrgSnapshot, basis: Basis, grant: Grant | None) -> Decision[RequestOutcome]:
            return deciding.decide_cube_update(document, cube_id, change, version, basis, grant=grant)

        return self._request(org_id, decide)

    def _request(
        self, org_id: str, decide: Callable[[OrgSnapshot, Basis, Grant | None], Decision[RequestOutcome]]
    ) -> RequestOutcome:
        return self._runner.request(lambda grant: self._change(org_id, lambda doc, basis: decide(doc, basis, grant)))

    def cancel(self, org_id: str, job_id: str) -> bool:
        """Ask a job in progress to stop; it stays in progress until its worker ends it. False: it is not in progress."""
        job = JobId(job_id)
        cancelled = self._change(org_id, lambda document, basis: deciding.decide_cancel(document, job, basis)).answer
        if cancelled:
            self._tell(job)
        return cancelled

    # -- reading -------------------------------------------------------------------------------------------------------

    def get_current_job(self, org_id: str) -> MaintenanceJob | None:
        """The job in progress, or None."""
        running = self.get_organization(org_id).running
        return running.job if running else None

    def get_job(self, org_id: str, job_id: str) -> JobDetails:
        """A job and its report. Raises JobNotFoundError, also for another organisation's job."""
        record = self._store.get_job(parse_org_id(org_id), JobId(job_id))
        return JobDetails(record.job, None if record.report is None else json.loads(record.report))

    def get_inventory(self, org_id: str) -> Inventory | None:
        """What the newest job that left an inventory found; None before the first, and once that job was pruned.

        (A job that could not run leaves none, so only very many such jobs in a row outlive it.)
        """
        document = self.get_organization(org_id)
        if document.inventory_job_id is None:
            return None
        try:
            record = self._store.get_job(document.org_id, document.inventory_job_id)
        except JobNotFoundError:
            return None
        return None if record.inventory is None else Inventory(record.job, json.loads(record.inventory))

    def list_jobs(  # noqa: PLR0913 - a query: every part by keyword
        self,
        org_id: str,
        *,
        limit: int = 10,
        offset: int = 0,
        before: int | None = None,
        statuses: Sequence[JobStatus] = (),
        trigger_types: Sequence[str] = (),
        removed: bool = False,
    ) -> JobPage:
        """A page of the organisation's jobs, newest first, the running one included. `before`: `next` of the last page.

        With `removed`, the history of an organisation that was removed can be read too.
        """
        known = parse_org_id(org_id) if removed else self.get_organization(org_id).org_id
        return self._store.list_jobs(JobQuery(known, limit, offset, before, tuple(statuses), tuple(trigger_types)))

    def wait(self, org_id: str, job_id: str, *, timeout_s: float) -> MaintenanceJob:
        """The job when it has ended, or as it stands after `timeout_s`. Works for jobs of other processes too."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            job = self.get_job(org_id, job_id).job
            left_s = give_up_at - time.monotonic()
            if job.status is not JobStatus.INPROGRESS or left_s <= 0:
                return job
            self._runner.wait_for_an_end(min(left_s, POLL_S))

    def wait_until_idle(self, *, timeout_s: float | None = None) -> bool:
        """Wait until this engine runs no job and none follows at once; False when `timeout_s` passed before."""
        return self._runner.wait_until_idle(timeout_s)

    # -- ticking -------------------------------------------------------------------------------------------------------

    def tick(self) -> Tick:
        """Do what is due now: rescue, notice slots, claim waiting requests while places are free.

        Slots are noticed at once, however many are due; requests are claimed the longest waiting first. Passes over what
        is due until a pass changes nothing (and meets no other engine, a bounded number of times). With `executor=None` the
        jobs run inside this call. Use counts are written to the store once a minute.
        """
        self._uses.flush_if_due()
        granted = changed = met = 0
        while True:
            due = self._store.find_due(DUE_WINDOW if met else DUE_BATCH)
            attended = self._runner.attend(due, batch=DUE_BATCH, met=met)
            granted += attended.granted
            changed += attended.changed
            met = met + 1 if attended.lost else 0
            if not attended.changed and not 0 < met <= MEETINGS_MAX:
                self._pulse.ticked()
                return Tick(self._wait_s(due), granted, changed)

    def pulse(self) -> Pulse:
        """Who ticks, and how long ago the last tick ended: for probes. Reads no store."""
        return self._pulse.read()

    def run_due(self, *, limit_s: float) -> Tick:
        """One shot, for cron, serverless and Celery: tick and run what is due, until nothing is or `limit_s` has passed.

        No job is claimed after the limit. Those that still run then go on; `close` ends them.
        """
        give_up_at = time.monotonic() + limit_s
        granted = changed = 0
        while True:
            tick = self.tick()
            granted += tick.granted
            changed += tick.changed
            idle = self._runner.wait_until_idle(max(0.0, give_up_at - time.monotonic()))
            if not tick.changed or not idle:
                return Tick(tick.wait_s, granted, changed)

    def _wait_s(self, due: DueOrgs) -> float:
        if due.next_wake_at is None:
            return TICK_WAIT_MAX_S
        left = due.next_wake_at - self.store_time().wall_at
        return min(max(left.total_seconds(), 0.0), TICK_WAIT_MAX_S)

    def _tell(self, job: JobId) -> None:
        self._runner.tell(job)

    def _wake(self) -> None:
        if self._scheduler is not None and not isinstance(self._scheduler, Default):
            self._scheduler.wake()


def _thread_pool(jobs_max: int) -> Executor:
    from concurrent.futures import ThreadPoolExecutor  # imported where used, so that `import aggmaint` stays light

    return ThreadPoolExecutor(jobs_max, "aggmaint-job")


def _as_json(options: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that no caller can change any more. Raises InvalidValueError for what is no JSON object."""
    try:
        text = json.dumps(dict(options), allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise InvalidValueError(f"options={options!r} are no JSON object: {exc}") from exc
    if len(text) > OPTIONS_BYTES_MAX:
        raise InvalidValueError(f"options of {len(text)} bytes; at most {OPTIONS_BYTES_MAX} are kept with a request")
    copy: dict[str, Any] = json.loads(text)
    return copy


def _holder() -> str:
    """Who holds a job, for people: host, process and a word that tells engines of one process apart."""
    return f"{platform.node() or 'host'}/{os.getpid()}/{uuid4().hex[:6]}"
