"""Checks of get_job, list_jobs and pruning: what ended is kept whole, in order, and forgotten from the old end only."""

import json
from typing import Any

from attrs import evolve

from ..core.ids import JobId, OrgId, ScheduleId
from ..core.job import ErrorInformation, FailureCode, JobStatus, MaintenanceJob, StepError
from ..core.organization import EndedJob
from ..core.report import REPORT_BYTES_MAX
from ..core.trigger import CubeUpdate
from ..errors import JobNotFoundError
from ..store import JobPage, JobQuery, JobRecord
from ._expect import equal, holds, present, raises
from ._suite_base import ACME, OTHER, SuiteBase
from ._suite_documents import EXACT, LONG_AGO
from .driving import Driver
from .operations import Ask, Finish, Update
from .strategies import HOSTILE_JOB_IDS


class HistoryChecks(SuiteBase):
    """get_job, list_jobs, pruning."""

    # -- one job --

    def test_get_job_gives_back_every_field(self) -> None:
        """Every field of a job comes back, in progress, done and failed: steps that went wrong, slots, microseconds."""
        driver, steps = self.driver, (StepError("build", "ü" * 2000, "d", "i"), StepError("", "", None, None))
        error = ErrorInformation(FailureCode.TIMEOUT, "it took\ntoo long \ud800", "warehouse_busy", steps)
        for org_id, status, ended_error in ((ACME, JobStatus.FAILED, error), (OTHER, JobStatus.DONE, None)):
            change = driver.change(org_id, Ask())
            granted = evolve(
                present(change.granted, "a job was granted"),
                created_at=LONG_AGO,
                started_at=EXACT,
                requests_folded=2**31,
                slot=2**40,
                schedule_id=ScheduleId("s-ü"),
            )
            running = evolve(present(change.document.running, "it runs"), job=granted)
            document = evolve(change.document, running=running)
            driver.keep(evolve(change, granted=granted, document=document))
            equal(driver.store.get_job(org_id, granted.id), JobRecord(granted), "the job in progress")
            complete = False if status is JobStatus.DONE else None
            ended = evolve(granted, status=status, ended_at=EXACT, error=ended_error, complete=complete)
            driver.keep(evolve(driver.edited(org_id, running=None), ended=EndedJob(ended)))
            equal(driver.store.get_job(org_id, granted.id), JobRecord(ended), "the job that ended")
            equal(driver.history(org_id), (ended,), "the job that ended, in the history")

    def test_get_job_of_another_organization_is_not_found_I2(self) -> None:
        """A job is found under its own organisation only; any other id, however strange, is JobNotFoundError."""
        job = self.driver.run_through(ACME, report="{}")
        strangers = [(OTHER, job.id), (OrgId("unknown"), job.id), (OrgId("ACME"), job.id)]
        strangers += [(ACME, JobId(job_id)) for job_id in HOSTILE_JOB_IDS]
        for org_id, job_id in strangers:
            asked = f"get_job({org_id!r}, {job_id[:20]!r})"
            exc = raises(JobNotFoundError, lambda o=org_id, j=job_id: self.store.get_job(o, j), asked)  # type: ignore[misc]
            equal((exc.org_id, exc.job_id), (org_id, job_id), "the ids that the error names")
        equal(self.store.get_job(ACME, job.id).job, job, "the job under its own organisation")

    def test_a_report_is_kept_with_its_job(self) -> None:
        """A job's report comes back to the byte, up to 256 KiB; a job without one has None, which is not an empty text."""
        big = json.dumps({"details": ["Größe \U0001f409 " * 50] * 400}, ensure_ascii=False)
        big += " " * (REPORT_BYTES_MAX - len(big.encode()))
        reports = ['{"n": 1}', None, "", big, '"\\ud800"']
        jobs = [self.driver.run_through(ACME, report=report) for report in reports]
        for job, report in zip(jobs, reports, strict=True):
            equal(self.store.get_job(ACME, job.id).report, report, "the report of a job")
        holds(not hasattr(self.driver.history(ACME)[0], "report"), "list_jobs gives jobs, not reports")

    def test_an_inventory_is_kept_of_the_newest_job_only(self) -> None:
        """The newest job that left an inventory has it; a job that leaves none takes none away; others' stay."""
        driver = self.driver
        foreign = driver.run_through(OTHER, inventory='{"other":1}')
        first = driver.run_through(ACME, report="{}", inventory='{"n":1}')
        driver.run_through(ACME)
        equal(driver.store.get_job(ACME, first.id).inventory, '{"n":1}', "an inventory, after a job that left none")
        third = driver.run_through(ACME, inventory='{"ü":3}')
        equal(driver.store.get_job(ACME, third.id).inventory, '{"ü":3}', "the newest inventory")
        equal(driver.store.get_job(ACME, first.id), JobRecord(first, "{}", None), "the job of an older inventory")
        equal(driver.store.get_job(OTHER, foreign.id).inventory, '{"other":1}', "I2: another organisation's inventory")

    # -- pages --

    def five_jobs(self) -> Driver:
        """done, failed, done, failed, in progress; the even ones by a cube update."""
        for number in range(1, 6):
            self.driver.do(ACME, Ask() if number % 2 else Update(change=CubeUpdate.STATIC_CUBE_UPDATED), at=EXACT)
            if number < 5:
                self.driver.finish(ACME, Finish(code=None if number % 2 else FailureCode.CANCELLED))
        self.driver.run_through(OTHER)
        return self.driver

    def page(self, **parts: Any) -> JobPage:
        return self.store.list_jobs(JobQuery(ACME, **parts))

    def fences(self, **parts: Any) -> list[int]:
        return [job.fence.number for job in self.page(**parts).jobs]

    def test_list_jobs_is_newest_first_with_the_running_one(self) -> None:
        """History is ordered by fence, newest first, and holds the job in progress; fences have no holes (I3)."""
        self.five_jobs()
        jobs = self.page().jobs
        equal([job.fence.number for job in jobs], [5, 4, 3, 2, 1], "I3: the fences of a history")
        equal([job.status for job in jobs].count(JobStatus.INPROGRESS), 1, "I1: jobs in progress")
        equal(jobs[0].status, JobStatus.INPROGRESS, "the status of the newest")
        equal({job.org_id for job in jobs}, {ACME}, "I2: whose jobs they are")

    def test_list_jobs_leaves_out_as_many_as_offset_says(self) -> None:
        """`offset` leaves out so many of the newest; `next` is the last fence of the page if there is more, else None."""
        self.five_jobs()
        equal(self.fences(limit=2, offset=1), [4, 3], "limit=2, offset=1")
        equal(self.fences(offset=5), [], "offset=5 of 5")
        equal(self.fences(offset=10**30), [], "a huge offset")
        equal(self.page(limit=4).next, 2, "next of a page of 4 of 5")
        equal(self.page(limit=5).next, None, "next of a page of 5 of 5")
        equal(self.page(limit=2, offset=3).next, None, "next of the last page")

    def test_list_jobs_goes_on_before_a_fence(self) -> None:
        """`before` gives lower fences only, so that following `next` gives every job once; `offset` counts from there."""
        self.five_jobs()
        equal(self.fences(limit=2, before=3), [2, 1], "limit=2, before=3")
        equal(self.fences(before=4, offset=1), [2, 1], "before=4, offset=1")
        equal(self.fences(before=100, offset=1), [4, 3, 2, 1], "before=100, offset=1 of what is there")
        for before in (1, 0, -1):
            equal(self.fences(before=before), [], f"before={before}")
        equal(self.fences(before=10**30), [5, 4, 3, 2, 1], "a huge before")
        seen: list[int] = []
        before_next: int | None = None
        for _ in range(6):
            page = self.page(limit=2, before=before_next)
            seen += [job.fence.number for job in page.jobs]
            before_next = page.next
            if before_next is None:
                break
        equal(seen, [5, 4, 3, 2, 1], "the fences met by following next")

    def test_list_jobs_gives_what_the_filters_ask_for(self) -> None:
        """`statuses` and `trigger_types` both hold; `offset`, `limit` and `next` count what passes them."""
        self.five_jobs()
        done, failed, running = [JobStatus.DONE], [JobStatus.FAILED], [JobStatus.INPROGRESS]
        manual, update = ["ManualMaintenance"], ["CubeUpdateMaintenance(StaticCubeUpdated)"]
        equal(self.fences(statuses=done), [3, 1], "done")
        equal(self.fences(statuses=failed + running), [5, 4, 2], "failed or in progress")
        equal(self.fences(trigger_types=manual), [5, 3, 1], "manual")
        equal(self.fences(statuses=failed, trigger_types=manual), [], "failed and manual")
        equal(self.fences(statuses=failed, trigger_types=update + manual), [4, 2], "failed, manual or update")
        equal(self.fences(trigger_types=manual, offset=2), [1], "manual, offset=2")
        equal(self.fences(trigger_types=manual, before=5), [3, 1], "manual, before=5")
        equal(self.page(trigger_types=manual, limit=2).next, 3, "next of 2 of 3 manual ones")
        equal(self.page(trigger_types=manual, limit=3).next, None, "next of 3 of 3 manual ones")
        for strange in ("manualmaintenance", "\ud800", "\x00", "%", ""):
            equal(self.fences(trigger_types=[strange]), [], f"trigger type {strange!r}")

    def test_list_jobs_of_an_unknown_organization_is_empty(self) -> None:
        """An organisation without jobs, or that the store does not know, has an empty history."""
        self.driver.run_through(ACME)
        for org_id in (OTHER, OrgId("unknown")):
            for query in (JobQuery(org_id), JobQuery(org_id, before=2), JobQuery(org_id, statuses=[JobStatus.DONE])):
                equal(self.store.list_jobs(query), JobPage((), None), f"the history of {org_id!r}")

    # -- pruning --

    def test_pruning_deletes_exactly_the_old_ones(self) -> None:
        """Ended jobs through `pruned_through` go, with their reports; all later ones stay, and other organisations' too."""
        driver = self.driver
        jobs = [driver.run_through(ACME, report=f'{{"n":{number}}}') for number in range(1, 5)]
        foreign = [driver.run_through(OTHER, report="{}") for _ in range(2)]
        driver.keep(driver.edited(ACME, pruned_through=2))
        for job in jobs[:2]:
            raises(JobNotFoundError, lambda j=job: driver.store.get_job(ACME, j.id), f"pruned job {job.fence.number}")  # type: ignore[misc]
        equal(driver.history(ACME), tuple(reversed(jobs[2:])), "the history after pruning through 2")
        equal([driver.store.get_job(ACME, job.id).report for job in jobs[2:]], ['{"n":3}', '{"n":4}'], "kept reports")
        equal(driver.history(OTHER), tuple(reversed(foreign)), "I2: another organisation's history")
        equal([driver.store.get_job(OTHER, job.id).report for job in foreign], ["{}"] * 2, "I2: its reports")

    def test_pruning_never_takes_the_job_in_progress_I1(self) -> None:
        """A job in progress stays, even if `pruned_through` reaches its fence; it can still end."""
        driver = self.driver
        driver.run_through(ACME)
        job = driver.start(ACME)
        driver.keep(driver.edited(ACME, pruned_through=1))
        equal(driver.history(ACME), (job,), "the history after pruning through 1 of 2")
        equal(driver.finish(ACME).id, job.id, "the job that ended after the pruning")
        equal(len(driver.history(ACME)), 1, "jobs that are kept")

    def test_list_jobs_counts_from_the_newest_after_pruning(self) -> None:
        """After pruning, `offset` still counts from the newest job, and the last page has no `next`."""
        driver = self.driver
        for _ in range(5):
            driver.run_through(ACME)
        driver.keep(driver.edited(ACME, pruned_through=2))
        driver.start(ACME)
        equal(self.fences(), [6, 5, 4, 3], "the history after pruning through 2 of 6")
        equal(self.fences(limit=2, offset=1), [5, 4], "limit=2, offset=1")
        equal(self.page(limit=2, offset=2), JobPage(self.page().jobs[2:], None), "the last page")
        equal(self.fences(offset=4), [], "offset=4 of 4 kept ones")
        equal(self.fences(statuses=[JobStatus.DONE], offset=1), [4, 3], "done, offset=1")
        equal(self.fences(before=4), [3], "before=4")

    def test_pruning_goes_with_the_commit_that_ends_a_job(self) -> None:
        """One change may end a job and prune: the job it ended is there, and what lies before is not."""
        driver = self.driver
        first = driver.run_through(ACME, report="{}")
        driver.start(ACME)
        finish = driver.change(ACME, Finish(report='{"n":2}'))
        document = evolve(finish.document, pruned_through=1)
        driver.keep(evolve(finish, document=document))
        jobs: tuple[MaintenanceJob, ...] = driver.history(ACME)
        equal([job.fence.number for job in jobs], [2], "the history after a finish that prunes")
        equal(driver.store.get_job(ACME, jobs[0].id).report, '{"n":2}', "the report of the job that ended")
        raises(JobNotFoundError, lambda: driver.store.get_job(ACME, first.id), "the job that was pruned")
