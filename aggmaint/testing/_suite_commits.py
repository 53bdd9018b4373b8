"""Checks of commit: one result per change, whole or not at all, judged in order, known again when it is retried."""

from datetime import timedelta
from typing import Any

from attrs import evolve

from ..core.ids import OrgId
from ..core.instants import DECISION_AGE_MAX_S, WALL_STEP_MAX_S
from ..core.job import FailureCode, JobStatus
from ..core.organization import CHANGE_IDS_MAX
from ..store import Committed, JobQuery, Stale
from ._expect import equal, holds, present
from ._suite_base import ACME, OTHER, SuiteBase
from .clocks import passed
from .driving import Driver
from .operations import Ask, Attend, Finish, Lapse, Renew, Update


def everything_of(driver: Driver, org_id: str) -> Any:
    """All that a store says about one organisation."""
    jobs = driver.history(org_id)
    records = [driver.store.get_job(OrgId(org_id), job.id) for job in jobs]
    return driver.store.load([OrgId(org_id)]).snapshots.get(OrgId(org_id)), jobs, records


class CommitChecks(SuiteBase):
    """commit."""

    def test_commit_answers_each_change_by_itself(self) -> None:
        """One result per change, in the order of the changes; a stale one in the middle takes no other with it."""
        driver = self.driver
        driver.register("third")
        driver.do(OTHER, Update(free=False))
        good, late, other = (driver.change(org_id, Ask()) for org_id in (ACME, "third", OTHER))
        stale = evolve(late, base_revision=late.base_revision + 1)
        results = list(driver.store.commit([good, stale, other]))
        equal(results, [Committed(2), Stale(), Committed(3)], "the results of a good, a stale and a good change")
        equal([len(driver.history(org_id)) for org_id in (ACME, "third", OTHER)], [1, 0, 1], "jobs that they granted")
        equal(list(driver.store.commit([])), [], "the results of no changes")

    def test_commit_on_another_revision_changes_nothing(self) -> None:
        """A change on any revision but the present one is Stale, and neither document nor history nor reports change."""
        driver = self.driver
        older = [driver.change(ACME, Ask()), driver.change(ACME, Update())]
        driver.start(ACME)
        finish = driver.change(ACME, Finish(report="{}", inventory="{}"))
        driver.keep(driver.change(ACME, Renew()))
        ahead = driver.change(ACME, Finish())
        ahead = evolve(ahead, base_revision=ahead.base_revision + 1)
        before = everything_of(driver, ACME)
        for change in (*older, finish, ahead, driver.registration(ACME)):
            equal(driver.commit(change), Stale(), f"a change on revision {change.base_revision} of 3")
        unknown = evolve(driver.registration("unknown"), base_revision=1)
        equal(driver.commit(unknown), Stale(), "a change on revision 1 of an organisation that is not there")
        equal(everything_of(driver, ACME), before, "document, history and reports after stale changes")
        holds("unknown" not in driver.store.load([OrgId("unknown")]).snapshots, "a stale change makes no organisation")

    def test_commit_of_a_decision_older_than_5_s_is_stale(self) -> None:
        """A decision is too old after 5 s of the store's steady time."""
        change = self.driver.change(ACME, Ask())
        old = evolve(change, decided_at=passed(self.store.load([]).time, -DECISION_AGE_MAX_S - 1))
        equal(self.driver.commit(old), Stale(), "a decision made 6 s of steady time ago")
        equal(self.driver.history(ACME), (), "I19: the history after a stale grant")

    def test_commit_across_a_step_of_the_wall_clock_is_stale(self) -> None:
        """A fresh decision is Stale if the wall clock was stepped by more than 5 s since, and committed if by less (I12)."""
        for org_id, step_s in ((ACME, -3600), (ACME, 3600), (ACME, -8), (OTHER, 8), (ACME, -2), (OTHER, 2)):
            change = self.driver.change(org_id, Ask())
            stepped = evolve(change.decided_at, wall_at=change.decided_at.wall_at - timedelta(seconds=step_s))
            wanted = Committed(change.document.revision) if abs(step_s) < WALL_STEP_MAX_S else Stale()
            found = self.driver.commit(evolve(change, decided_at=stepped))
            equal(found, wanted, f"a decision made before the wall clock was stepped by {step_s} s")

    def test_commit_of_a_decision_of_another_boot_is_stale(self) -> None:
        """Steady seconds of another life of the clock can not be compared: such a decision is Stale."""
        change = self.driver.change(ACME, Ask())
        foreign = evolve(change, decided_at=evolve(change.decided_at, boot="another life"))
        equal(self.driver.commit(foreign), Stale(), "a decision of before the machine was started anew")

    def test_commit_again_of_one_change_is_one_change_I10(self) -> None:
        """A retry of a committed change answers Committed and does nothing, also when it is old by now."""
        driver = self.driver
        change = driver.change(ACME, Ask())
        driver.keep(change)
        driver.keep(driver.change(ACME, Finish(report="{}")))
        before = everything_of(driver, ACME)
        holds(isinstance(driver.commit(change), Committed), "I10: a retry of a committed change is Committed")
        age = evolve(change, decided_at=evolve(change.decided_at, steady_s=change.decided_at.steady_s - 3600))
        holds(isinstance(driver.commit(age), Committed), "I10: a retry after an hour is Committed")
        equal(everything_of(driver, ACME), before, "I10: the organisation after two retries")

    def test_commit_twice_in_one_batch_is_one_change_I10(self) -> None:
        """The same change twice in one batch is committed once, and both answers say so."""
        change = self.driver.change(ACME, Ask())
        results = list(self.store.commit([change, change]))
        equal(results, [Committed(2), Committed(2)], "I10: the results of one change given twice")
        equal(len(self.driver.history(ACME)), 1, "I10: jobs granted by one change given twice")

    def test_commit_again_is_known_among_the_newest_32_I10(self) -> None:
        """A change is known again while its id is among the newest 32 of its organisation; then it is Stale."""
        driver = self.driver
        change = driver.change(ACME, Ask())
        driver.keep(change)
        for _ in range(CHANGE_IDS_MAX - 1):
            driver.do(ACME, Renew())
        holds(isinstance(driver.commit(change), Committed), "I10: a retry after 31 more changes is Committed")
        driver.do(ACME, Renew())
        equal(driver.commit(change), Stale(), "a retry after 32 more changes")
        equal(len(driver.history(ACME)), 1, "I10: jobs granted")

    def test_commit_of_one_organization_twice_is_judged_in_order(self) -> None:
        """Two changes of one organisation in a batch: each is judged on what the one before it left."""
        driver = self.driver
        one, rival = driver.change(ACME, Ask()), driver.change(ACME, Update())
        equal(list(driver.store.commit([one, rival])), [Committed(2), Stale()], "two changes on one revision")
        first = driver.change(OTHER, Ask())
        second = Renew().decide(first.document, driver.basis(), driver.grant()).change
        chained = [first, driver.stamped(present(second, "renewing is a change"))]
        equal(list(driver.store.commit(chained)), [Committed(2), Committed(3)], "two changes, one on the other")
        equal(driver.document(OTHER), chained[1].document, "the document after both")

    def test_commit_ends_and_grants_in_one_change_I1(self) -> None:
        """A rescue ends the old job and grants the next in one commit: never two in progress, fences without holes (I3)."""
        driver = self.driver
        old = driver.start(ACME)
        driver.do(ACME, Ask(free=False))
        driver.do(ACME, Lapse())
        rescue = driver.change(ACME, Attend())
        holds(rescue.ended and rescue.granted, "a rescue ends one job and grants another")
        driver.keep(rescue)
        jobs = driver.history(ACME)
        equal([job.fence.number for job in jobs], [2, 1], "I3: fences, newest first")
        equal([job.status for job in jobs], [JobStatus.INPROGRESS, JobStatus.FAILED], "I1: statuses, newest first")
        equal(jobs[0], rescue.granted, "the job that was granted")
        equal(jobs[1].id, old.id, "the job that was ended")
        equal(driver.document(ACME), rescue.document, "the document after a rescue")

    def test_commit_never_changes_an_ended_job_I4(self) -> None:
        """Ended jobs stay as they ended, with their reports, whatever is committed afterwards."""
        driver = self.driver
        kept: list[Any] = []
        endings = [Finish(report='{"n":1}'), Finish(code=FailureCode.ERROR, report='{"n":2}'), Finish(complete=False)]
        for ending in endings:
            driver.start(ACME)
            job = driver.finish(ACME, ending)
            kept.append(driver.store.get_job(ACME, job.id))
            equal(kept[-1].job, job, "I5: the ended job, with the identity it was granted with")
        driver.start(ACME)
        driver.do(ACME, Renew(step="build"))
        driver.run_through(OTHER)
        found = [driver.store.get_job(ACME, record.job.id) for record in kept]
        equal(found, kept, "I4: jobs and reports that had ended before")

    def test_commit_of_one_organization_changes_no_other_I2(self) -> None:
        """Whatever one organisation does, all that is kept of another stays as it is."""
        driver = self.driver
        driver.run_through(OTHER, report="{}", inventory="{}")
        driver.start(OTHER)
        before = everything_of(driver, OTHER)
        driver.run_through(ACME, report='{"n":1}', inventory='{"n":1}')
        driver.start(ACME)
        for operation in (Ask(free=False), Lapse(), Attend(), Finish(code=FailureCode.CANCELLED)):
            driver.do(ACME, operation)
        driver.keep(driver.edited(ACME, pruned_through=1))
        equal(everything_of(driver, OTHER), before, "I2: all of an organisation that nothing was done to")
        equal(driver.store.list_jobs(JobQuery(OrgId("unknown"))).jobs, (), "I2: an organisation that is not there")
