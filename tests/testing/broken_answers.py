"""Stores that break what history, pages and find_due promise."""

from datetime import datetime, timedelta
from typing import Any

from attrs import evolve

from aggmaint.core.ids import JobId, OrgId
from aggmaint.core.instants import StoreTime
from aggmaint.core.job import JobStatus
from aggmaint.core.organization import OrgChange, OrgSnapshot
from aggmaint.errors import JobNotFoundError
from aggmaint.store import CommitResult, DueOrgs, JobPage, JobQuery, JobRecord, OrgPage, OrgQuery
from aggmaint.stores.memory import MemoryStore
from tests.testing.broken_base import Broken

# -- history -----------------------------------------------------------------------------------------------------------


class ShortReports(Broken):
    """Keeps reports in a column of 64 KiB."""

    FAILS = ("a_report_is_kept_with_its_job",)

    def get_job(self, org_id: OrgId, job_id: JobId) -> JobRecord:
        record = super().get_job(org_id, job_id)
        return evolve(record, report=record.report and record.report[:65536])


class KeepsEveryInventory(Broken):
    """Never drops an older inventory."""

    FAILS = ("an_inventory_is_kept_of_the_newest_job_only",)

    def applied(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> CommitResult:
        older = dict(self._orgs[change.org_id].jobs) if change.org_id in self._orgs else {}
        result = super().applied(change, stored, now)
        self._orgs[change.org_id].jobs |= {job_id: record for job_id, record in older.items() if record.inventory}
        return result


class DropsTheInventoryAtEachEnd(Broken):
    """A job that leaves no inventory takes the older one away."""

    FAILS = ("an_inventory_is_kept_of_the_newest_job_only",)

    def applied(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> CommitResult:
        if change.ended and change.ended.inventory is None:
            jobs = self._orgs[change.org_id].jobs
            jobs |= {job_id: evolve(record, inventory=None) for job_id, record in jobs.items()}
        return super().applied(change, stored, now)


class FindsJobsAnywhere(Broken):
    """Looks jobs up by id alone."""

    FAILS = ("get_job_of_another_organization_is_not_found_I2",)

    def get_job(self, org_id: OrgId, job_id: JobId) -> JobRecord:
        for org in self._orgs.values():
            if job_id in org.jobs:
                return org.jobs[job_id]
        raise JobNotFoundError(org_id, job_id)


class HidesTheRunningJob(Broken):
    """Writes a job to the history when it ends, and so lists it only then."""

    FAILS = (
        "list_jobs_is_newest_first_with_the_running_one",
        "commit_answers_each_change_by_itself",
        "commit_twice_in_one_batch_is_one_change_I10",
        "commit_again_is_known_among_the_newest_32_I10",
        "commit_ends_and_grants_in_one_change_I1",
        "list_jobs_leaves_out_as_many_as_offset_says",
        "list_jobs_goes_on_before_a_fence",
        "list_jobs_gives_what_the_filters_ask_for",
        "pruning_never_takes_the_job_in_progress_I1",
        "list_jobs_counts_from_the_newest_after_pruning",
    )

    def list_jobs(self, query: JobQuery) -> JobPage:
        ended = [status for status in query.statuses or JobStatus if status is not JobStatus.INPROGRESS]
        return super().list_jobs(evolve(query, statuses=ended)) if ended else JobPage((), None)


class KnowsNoStrangers(Broken):
    """Takes the history of an organisation that it does not know for an error."""

    FAILS = (
        "list_jobs_of_an_unknown_organization_is_empty",
        "a_new_store_is_empty",
        "commit_of_one_organization_changes_no_other_I2",
    )

    def list_jobs(self, query: JobQuery) -> JobPage:
        self._orgs[query.org_id]
        return super().list_jobs(query)


class BeforeIsIncluded(Broken):
    """Takes `before` for "up to"."""

    FAILS = (
        "list_jobs_goes_on_before_a_fence",
        "list_jobs_gives_what_the_filters_ask_for",
        "list_jobs_counts_from_the_newest_after_pruning",
    )

    def list_jobs(self, query: JobQuery) -> JobPage:
        return super().list_jobs(evolve(query, before=query.before and query.before + 1))


class OffsetBeforeFilters(Broken):
    """Leaves out the newest first, and filters then."""

    FAILS = ("list_jobs_gives_what_the_filters_ask_for", "list_jobs_counts_from_the_newest_after_pruning")

    def list_jobs(self, query: JobQuery) -> JobPage:
        if not query.filtered or not query.offset:
            return super().list_jobs(query)
        skipped = super().list_jobs(JobQuery(query.org_id, limit=min(query.offset, 1000), before=query.before))
        before = skipped.next if skipped.next is not None else 0
        return super().list_jobs(evolve(query, offset=0, before=before))


class NextOfAFullPage(Broken):
    """Takes a full page for a sign that there is more."""

    FAILS = (
        "list_jobs_leaves_out_as_many_as_offset_says",
        "list_jobs_gives_what_the_filters_ask_for",
        "list_jobs_counts_from_the_newest_after_pruning",
    )

    def list_jobs(self, query: JobQuery) -> JobPage:
        page = super().list_jobs(query)
        return evolve(page, next=page.jobs[-1].fence.number) if len(page.jobs) == query.limit else page


class OffsetCountsFromTheCount(Broken):
    """Computes the fence of an offset from how many jobs there are, as if none had been pruned."""

    FAILS = ("list_jobs_counts_from_the_newest_after_pruning",)

    def list_jobs(self, query: JobQuery) -> JobPage:
        if query.filtered or not query.offset or query.before is not None:
            return super().list_jobs(query)
        count = len(super().list_jobs(JobQuery(query.org_id, limit=1000)).jobs)
        return super().list_jobs(evolve(query, offset=0, before=count - query.offset + 1))


class _Prunes(Broken):
    def applied(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> CommitResult:
        result = super().applied(change, stored, now)
        if change.document.pruned_through > stored.pruned_through:
            self.prune(change.org_id, change.document.pruned_through)
        return result

    def prune(self, org_id: OrgId, through: int) -> None:
        raise NotImplementedError

    def drop(self, org_id: OrgId, through: int) -> None:
        jobs = self._orgs[org_id].jobs
        for job_id in [job_id for job_id, record in jobs.items() if record.job.fence.number <= through]:
            del jobs[job_id]


class PrunesOneMore(_Prunes):
    """Prunes up to and including the next one."""

    FAILS = (
        "pruning_deletes_exactly_the_old_ones",
        "pruning_never_takes_the_job_in_progress_I1",
        "list_jobs_counts_from_the_newest_after_pruning",
        "pruning_goes_with_the_commit_that_ends_a_job",
    )

    def prune(self, org_id: OrgId, through: int) -> None:
        self.drop(org_id, through + 1)


class PrunesEverybody(_Prunes):
    """Prunes by fence and forgets to name the organisation."""

    FAILS = ("pruning_deletes_exactly_the_old_ones", "commit_of_one_organization_changes_no_other_I2")

    def prune(self, org_id: OrgId, through: int) -> None:
        for each in self._orgs:
            self.drop(each, through)


class NeverPrunes(Broken):
    """Keeps everything."""

    FAILS = (
        "pruning_deletes_exactly_the_old_ones",
        "pruning_never_takes_the_job_in_progress_I1",
        "list_jobs_counts_from_the_newest_after_pruning",
        "pruning_goes_with_the_commit_that_ends_a_job",
    )

    def applied(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> CommitResult:
        wanted = change.document
        result = super().applied(evolve(change, document=evolve(wanted, pruned_through=0)), stored, now)
        self._orgs[change.org_id].document = wanted
        return result


# -- finding -----------------------------------------------------------------------------------------------------------


class Utf16Order(Broken):
    """Orders ids by their UTF-16 code units, as some databases and languages do."""

    FAILS = ("list_organizations_pages_in_code_point_order",)

    def list_organizations(self, query: OrgQuery) -> OrgPage:
        everybody = super().list_organizations(OrgQuery(limit=1000, removed=query.removed)).snapshots

        def key(org_id: str) -> bytes:
            return org_id.encode("utf-16-be")

        after = [each for each in everybody if query.after is None or key(each.org_id) > key(query.after)]
        page = tuple(sorted(after, key=lambda each: key(each.org_id))[: query.limit])
        return OrgPage(page, page[-1].org_id if len(after) > query.limit else None)


class ShowsTombstones(Broken):
    """Lists removed organisations."""

    FAILS = ("list_organizations_leaves_out_removed_ones",)

    def list_organizations(self, query: OrgQuery) -> OrgPage:
        return super().list_organizations(evolve(query, removed=True))


class Finds(Broken):
    """Answers find_due as `found` makes it."""

    def find_due(self, orgs_max: int, now: datetime | None = None) -> DueOrgs:
        everything = super().find_due(1000, now)
        due = self.found(everything, now or self.now().wall_at, orgs_max)
        return evolve(
            due, lapsed=due.lapsed[:orgs_max], noticing=due.noticing[:orgs_max], claiming=due.claiming[:orgs_max]
        )

    def found(self, due: DueOrgs, at: datetime, orgs_max: int) -> DueOrgs:
        raise NotImplementedError

    def document(self, org_id: OrgId) -> OrgSnapshot:
        return self._orgs[org_id].document


class DueAfterTheInstant(Finds):
    """Compares with "earlier than" where "not later than" is meant."""

    FAILS = ("find_due_finds_slots_from_their_start_on", "find_due_finds_the_earliest_slots_first")

    def found(self, due: DueOrgs, at: datetime, orgs_max: int) -> DueOrgs:
        return evolve(due, noticing=tuple(org_id for org_id in due.noticing if self.document(org_id).notice_at != at))


class SlotsById(Finds):
    """Orders what is to be noticed by id."""

    FAILS = ("find_due_finds_the_earliest_slots_first",)

    def found(self, due: DueOrgs, at: datetime, orgs_max: int) -> DueOrgs:
        return evolve(due, noticing=tuple(sorted(due.noticing)))


class NewestFirst(Finds):
    """Serves the newest request first."""

    FAILS = (
        "find_due_finds_the_longest_waiting_first",
        "find_due_holds_requests_back_until_the_back_off_ends",
        "find_due_gives_each_group_at_most_so_many",
    )

    def found(self, due: DueOrgs, at: datetime, orgs_max: int) -> DueOrgs:
        return evolve(due, claiming=due.claiming[::-1])


class ForgetsBackOffs(Finds):
    """Offers requests that a back-off holds."""

    FAILS = ("find_due_holds_requests_back_until_the_back_off_ends",)

    def found(self, due: DueOrgs, at: datetime, orgs_max: int) -> DueOrgs:
        return evolve(due, claiming=self.find_due_at(at + timedelta(days=1)).claiming)

    def find_due_at(self, at: datetime) -> DueOrgs:
        return MemoryStore.find_due(self, 1000, at)


class IgnoresDeadlines(Finds):
    """Looks at the lease of a running job, not at its deadline."""

    FAILS = ("find_due_finds_lapsed_jobs_in_steady_time",)

    def found(self, due: DueOrgs, at: datetime, orgs_max: int) -> DueOrgs:
        time = self.now()
        running = {org_id: self.document(org_id).running for org_id in due.lapsed}
        kept = [o for o, job in running.items() if job and (job.lease.boot, job.lease.until_s) != (time.boot, 0)]
        return evolve(due, lapsed=tuple(o for o in kept if not _only_deadline(running[o], time)))


def _only_deadline(running: Any, time: StoreTime) -> bool:
    return bool(running.lease.boot == time.boot and running.lease.until_s > time.steady_s)


class LapsesByTheWall(Finds):
    """Judges leases by `now`, so that a stepped wall clock ends jobs."""

    FAILS = ("find_due_finds_lapsed_jobs_in_steady_time",)

    def found(self, due: DueOrgs, at: datetime, orgs_max: int) -> DueOrgs:
        late = at - self.now().wall_at > timedelta(days=20)
        running = [org_id for org_id, org in self._orgs.items() if org.document.running]
        return evolve(due, lapsed=tuple(sorted(running)) if late else due.lapsed)


class OneLimitForAll(Finds):
    """Counts all groups against one limit: many lapsed jobs starve everybody else."""

    FAILS = ("find_due_gives_each_group_at_most_so_many",)

    def found(self, due: DueOrgs, at: datetime, orgs_max: int) -> DueOrgs:
        left = max(0, orgs_max - len(due.lapsed))
        return evolve(due, noticing=due.noticing[:left], claiming=due.claiming[:left])


class WakesForTheDisabled(Finds):
    """Keeps the next wake of an organisation when it is disabled."""

    FAILS = ("find_due_leaves_out_disabled_and_removed_ones",)

    def found(self, due: DueOrgs, at: datetime, orgs_max: int) -> DueOrgs:
        later = [
            start
            for org in self._orgs.values()
            if (start := evolve(org.document, enabled=True, removed_at=None).notice_at) is not None and start > at
        ]
        return evolve(due, next_wake_at=min(later, default=due.next_wake_at))


class NeedsNow(Finds):
    """Finds nothing unless it is told the time."""

    FAILS = ("find_due_without_now_takes_the_stores_time",)

    def find_due(self, orgs_max: int, now: datetime | None = None) -> DueOrgs:
        lapsed = MemoryStore.find_due(self, orgs_max).lapsed
        return MemoryStore.find_due(self, orgs_max, now) if now else DueOrgs(lapsed, (), (), None)
