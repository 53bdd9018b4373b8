"""What an engine owns while jobs run: places, contexts, the heart, and its own short queue.

Theory of operation. A job is granted only together with a free place, and is launched at once. When it ends, requests
that this engine queued for want of a place are claimed, the oldest first, the organisation's own follow-up among them: one
that asks again in each of its runs can not starve the others. Whatever else waits in the store is found by ticks, of this
engine or of any other; each end of a job asks for one, since a place is free.

Engines that look at the same moment see the same organisations. Alone, an engine takes the longest waiting ones. Once a pass
has met others (their commits came first), it looks further, and begins at a place of its own, by a hash of its name: soon
each of many engines works on another part, and what one passes over is another's first.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import Any, Final

from attrs import frozen

from ._committing import Committer, Settled
from ._slots import CallingThreadExecutor, Slots
from .core.administering import decide_prune, needs_pruning
from .core.deciding import decide_attention
from .core.hashing import spread_hash, turned
from .core.ids import JobId, OrgId
from .core.job import ErrorInformation, FailureCode, MaintenanceJob
from .core.organization import OrgSnapshot
from .core.outcomes import RequestOutcome, Started
from .core.steps import Basis, Decision, Ending, Grant
from .errors import OrganizationNotFoundError, ShutdownError, StoreError
from .store import DueOrgs, JobQuery
from .worker import Heart, JobRun, Pacemaker, Worker

PRUNE_BATCH: Final = 500
ENGINES_AHEAD_MAX: Final = 16
"""A request is passed over for at most this many engines' places, whoever else looks."""

_log = logging.getLogger("aggmaint.engine")


@frozen
class Attended:
    """What a pass came to: jobs granted, documents changed, and changes that another engine's commit came before."""

    granted: int
    changed: int
    lost: int


class Runner:
    """Runs granted jobs on `executor` (None: in the calling thread) in at most as many places as `slots` has."""

    def __init__(
        self, committer: Committer, worker: Worker, slots: Slots, executor: Executor | None, *, wake: Callable[[], None]
    ) -> None:
        self._committer = committer
        self._worker = worker
        self._slots = slots
        pacemaker = executor if isinstance(executor, Pacemaker) else None
        self._heart = None if executor is None else Heart(committer.settings.heartbeat_s, pacemaker)
        self._executor = executor or CallingThreadExecutor()
        self._wake = wake
        self._ended = threading.Condition()
        self._working = 0
        self._lock = threading.Lock()
        self._runs: dict[JobId, JobRun] = {}
        self._queued: dict[OrgId, datetime] = {}

    def request(self, change: Callable[[Grant | None], Settled[RequestOutcome]]) -> RequestOutcome:
        """Make a change that may grant a job, offering a free place; launch what was granted."""
        grant = self._slots.offer()
        settled: Settled[RequestOutcome] | None = None
        try:
            settled = change(grant)
        finally:
            if grant and (settled is None or not isinstance(settled.answer, Started)):
                self._slots.give_back()
        if isinstance(settled.answer, Started):
            self._launch(settled)
            return settled.answer
        if settled.document.pending and not settled.document.running:
            self._queue(settled.document)
        self._claim_queued()  # a place may have become free meanwhile, or have looked taken because of our offer
        return settled.answer

    def attend(self, due: DueOrgs, *, batch: int, met: int = 0) -> Attended:
        """Do what a tick does, for up to `batch` organisations of each group. `met`: so many passes in a row met others.

        Slots are noticed first, and started in the same commit only if nobody waits already; then requests are claimed,
        the longest waiting first, as many as there are free places.
        """
        place = spread_hash(self._slots.holder.rpartition("/")[2], met) if met else 0
        urgent = dict.fromkeys([*turned(due.lapsed, place)[:batch], *turned(due.noticing, place)[:batch]])
        noticed = self._attend(list(urgent), claiming=not due.claiming)
        free = self._slots.free
        waiting = [org_id for org_id in due.claiming if org_id not in urgent][: free * ENGINES_AHEAD_MAX]
        claimed = self._attend(turned(waiting, place)[:free], claiming=True)
        return Attended(
            noticed.granted + claimed.granted, noticed.changed + claimed.changed, noticed.lost + claimed.lost
        )

    def _attend(self, org_ids: Sequence[OrgId], *, claiming: bool) -> Attended:
        if not org_ids:
            return Attended(0, 0, 0)
        offers: dict[OrgId, Grant] = {}

        def decide(document: OrgSnapshot, basis: Basis) -> Decision[MaintenanceJob | None]:
            grant = self._slots.offer() if claiming else None
            try:
                decision = decide_attention(document, basis, grant=grant)
            except BaseException:
                if grant:
                    self._slots.give_back()
                raise
            if grant and decision.answer:
                offers[document.org_id] = grant
            elif grant:
                self._slots.give_back()
            return decision

        attended: Mapping[OrgId, Settled[MaintenanceJob | None] | None] = {}
        try:
            attended = self._committer.change_many(org_ids, decide)
        finally:
            for org_id in offers:
                if attended.get(org_id) is None:
                    self._slots.give_back()
        granted = [settled for org_id in offers if (settled := attended.get(org_id)) is not None]
        for settled in granted:
            self._launch(settled)
        changed = sum(1 for settled in attended.values() if settled and settled.written)
        return Attended(len(granted), changed, sum(1 for settled in attended.values() if settled is None))

    def tell(self, job_id: JobId) -> None:
        """Let a job of this engine learn at once what has changed about it."""
        with self._lock:
            run = self._runs.get(job_id)
        if run is not None:
            run.renew()

    def wait_for_an_end(self, timeout_s: float) -> None:
        """Return when a job of this engine ends, or after `timeout_s`."""
        with self._ended:
            self._ended.wait(timeout_s)

    def wait_until_idle(self, timeout_s: float | None) -> bool:
        """Wait until nothing runs here and nothing follows; False when `timeout_s` passed before (None: no limit)."""
        with self._ended:
            return self._ended.wait_for(lambda: self._working == 0, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Offer no places any more, tell running jobs to stop, wait, and end those that do not listen (then False)."""
        self._slots.close()
        for run in self._local_runs():
            run.stop(ShutdownError())
        stopped = self._slots.wait_until_free(timeout_s)
        if not stopped:
            error = ErrorInformation(FailureCode.SHUTDOWN, "the process shut down while the job ran")
            for run in self._local_runs():
                self._worker.finish(run, Ending(error=error))
        if self._heart:
            self._heart.stop()
        return stopped

    def _launch(self, granted: Settled[Any]) -> None:
        run = JobRun(granted.document, self._committer, granted.asked_s, self_renewing=self._heart is None)
        with self._lock:
            self._runs[run.job.id] = run
        with self._ended:
            self._working += 1
        if self._heart:
            self._heart.add(run)
        try:
            self._executor.submit(self._work, run)
        except RuntimeError as exc:
            if not self._forget(run):
                raise  # the calling thread ran it
            _log.exception("job %s of %r can not run: the executor takes no work", run.job.id, run.org_id)
            error = ErrorInformation(FailureCode.SHUTDOWN, f"the executor takes no work: {exc}")
            self._worker.finish(run, Ending(error=error))
            self._done_working()

    def _work(self, run: JobRun) -> None:
        try:
            document = self._run(run)
            if document is not None:
                self._prune(document)
            if document is not None and document.pending:
                self._queue(document)
            self._claim_queued()
            self._wake()  # a place may be free now for what waits elsewhere
        finally:
            self._done_working()

    def _done_working(self) -> None:
        with self._ended:
            self._working -= 1
            self._ended.notify_all()

    def _run(self, run: JobRun) -> OrgSnapshot | None:
        try:
            return self._worker.run(run)
        finally:
            self._forget(run)

    def _forget(self, run: JobRun) -> bool:
        """Give the job's place back; False if that was done before."""
        with self._lock:
            if self._runs.pop(run.job.id, None) is None:
                return False
        if self._heart:
            self._heart.remove(run)
        self._slots.give_back()
        with self._ended:
            self._ended.notify_all()
        return True

    def _prune(self, document: OrgSnapshot) -> None:
        """Forget jobs that ended too long ago, when the oldest one has come to that age. History is no reason to fail."""
        store = self._committer.store
        kept = document.last_fence - document.pruned_through
        try:
            if not needs_pruning(document, store.load([]).time, self._committer.settings):
                return
            page = store.list_jobs(JobQuery(document.org_id, limit=PRUNE_BATCH, offset=max(0, kept - PRUNE_BATCH)))
            oldest = tuple(reversed(page.jobs))
            self._committer.try_change(document.org_id, lambda doc, basis: decide_prune(doc, oldest, basis))
        except StoreError as exc:
            _log.warning("history of %r not pruned: %s", document.org_id, exc)

    def _queue(self, document: OrgSnapshot) -> None:
        assert document.pending is not None, "only what waits is queued"
        with self._lock:
            self._queued.setdefault(document.org_id, document.pending.created_at)
        self._wake()

    def _claim_queued(self) -> None:
        """Claim what waits in this engine's own queue, the oldest first, as long as places are free.

        Whoever calls has an answer of its own to give (I9), so a store that is away only ends this: ticks find the rest.
        """
        while True:
            grant = self._slots.offer()
            if grant is None:
                return
            with self._lock:
                org_id = min(self._queued, key=self._queued.__getitem__, default=None)
                if org_id is not None:
                    del self._queued[org_id]
            if org_id is None:
                self._slots.give_back()
                return
            try:
                self._claim(org_id, grant)
            except OrganizationNotFoundError:
                _log.debug("organisation %r was removed while its request waited", org_id)
            except StoreError as exc:
                _log.warning("the request of %r waits for a tick: %s", org_id, exc)
                return

    def _claim(self, org_id: OrgId, grant: Grant) -> None:
        settled: Settled[MaintenanceJob | None] | None = None
        try:
            settled = self._committer.change(org_id, lambda doc, basis: decide_attention(doc, basis, grant=grant))
        finally:
            if settled is None or settled.answer is None:
                self._slots.give_back()
        if settled.answer is not None:
            self._launch(settled)

    def _local_runs(self) -> list[JobRun]:
        with self._lock:
            return list(self._runs.values())
