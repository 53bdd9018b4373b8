"""A job store in this process's memory: for tests, notebooks and hosts that need no history after a restart.

Theory of operation. One lock around three dictionaries. All values are frozen, so what is handed out can not change what
is kept. Safe for many threads of one process; other processes see nothing of it.
"""

import threading
from collections.abc import Sequence
from datetime import datetime

from attrs import define, evolve, field

from ..clock import Clock, SystemClock
from ..core.ids import JobId, OrgId
from ..core.instants import StoreTime
from ..core.organization import EndedJob, OrgChange, OrgSnapshot, Verdict, judge
from ..errors import JobNotFoundError
from ..store import (
    CommitResult,
    Committed,
    DueOrgs,
    JobPage,
    JobQuery,
    JobRecord,
    Loaded,
    OrgPage,
    OrgQuery,
    Stale,
)


@define
class _Org:
    document: OrgSnapshot
    jobs: dict[JobId, JobRecord] = field(factory=dict)


class MemoryStore:
    """Keeps everything in memory; gone when the process ends. `clock` is the clock that decides."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._orgs: dict[OrgId, _Org] = {}

    def prepare(self) -> None:
        """Nothing to prepare."""

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        with self._lock:
            found = {org_id: self._orgs[org_id].document for org_id in org_ids if org_id in self._orgs}
            return Loaded(found, self._clock.read())

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        with self._lock:
            return [self._commit_one(change, self._clock.read()) for change in changes]

    def _commit_one(self, change: OrgChange, now: StoreTime) -> CommitResult:
        org = self._orgs.get(change.org_id)
        stored = org.document if org else OrgSnapshot(change.org_id)
        verdict = judge(change, stored.revision, stored.change_ids, now)
        if verdict is Verdict.COMMITTED_BEFORE:
            return Committed(stored.revision)
        if verdict is Verdict.STALE:
            return Stale()
        if org is None:
            org = self._orgs[change.org_id] = _Org(change.document)
        if change.ended:
            _end(org, change.ended)
        if change.granted:
            org.jobs[change.granted.id] = JobRecord(change.granted)
        org.document = change.document
        if change.document.pruned_through > stored.pruned_through:
            _prune(org, change.document.pruned_through)
        return Committed(change.document.revision)

    def find_due(self, orgs_max: int, now: datetime | None = None) -> DueOrgs:
        with self._lock:
            time = self._clock.read()
            at = now or time.wall_at
            documents = [org.document for org in self._orgs.values()]
        lapsed = sorted(d.org_id for d in documents if d.running and d.running.lease.lapsed(time))
        slots = sorted((d.notice_at, d.org_id) for d in documents if d.notice_at is not None)
        waiting = sorted((d.waiting.at, d.org_id, d.waiting.held) for d in documents if d.waiting is not None)
        noticing = [org_id for instant, org_id in slots if instant <= at]
        claiming = [org_id for instant, org_id, held in waiting if not held or instant <= at]
        later = [instant for instant, _ in slots if instant > at]
        later += [instant for instant, _, held in waiting if held and instant > at]
        return DueOrgs(
            tuple(lapsed[:orgs_max]), tuple(noticing[:orgs_max]), tuple(claiming[:orgs_max]), min(later, default=None)
        )

    def list_organizations(self, query: OrgQuery) -> OrgPage:
        with self._lock:
            ids = sorted(
                org_id
                for org_id, org in self._orgs.items()
                if (query.after is None or org_id > query.after) and (query.removed or org.document.removed_at is None)
            )
            snapshots = tuple(self._orgs[org_id].document for org_id in ids[: query.limit])
        return OrgPage(snapshots, snapshots[-1].org_id if len(ids) > query.limit else None)

    def get_job(self, org_id: OrgId, job_id: JobId) -> JobRecord:
        with self._lock:
            org = self._orgs.get(org_id)
            if org is None or job_id not in org.jobs:
                raise JobNotFoundError(org_id, job_id)
            return org.jobs[job_id]

    def list_jobs(self, query: JobQuery) -> JobPage:
        with self._lock:
            org = self._orgs.get(query.org_id)
            jobs = [record.job for record in org.jobs.values()] if org else []
        fitting = [
            job
            for job in sorted(jobs, key=lambda job: job.fence, reverse=True)
            if (query.before is None or job.fence.number < query.before)
            and (not query.statuses or job.status in query.statuses)
            and (not query.trigger_types or str(job.trigger) in query.trigger_types)
        ][query.offset :]
        page = tuple(fitting[: query.limit])
        return JobPage(page, page[-1].fence.number if len(fitting) > query.limit else None)

    def close(self) -> None:
        """Nothing to let go of; the data stays while the store object lives."""


def _end(org: _Org, ended: EndedJob) -> None:
    if ended.inventory is not None:
        for job_id, record in org.jobs.items():
            org.jobs[job_id] = evolve(record, inventory=None)
    org.jobs[ended.job.id] = JobRecord(ended.job, ended.report, ended.inventory)


def _prune(org: _Org, through: int) -> None:
    for job_id in [job_id for job_id, record in org.jobs.items() if record.job.fence.number <= through]:
        del org.jobs[job_id]
