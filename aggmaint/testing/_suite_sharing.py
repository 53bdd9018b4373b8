"""Checks of sharing: threads, handles and processes on one store; exactly one wins, and what was acknowledged stays.

Theory of operation. A race shows a fault only sometimes, so a check runs many rounds in which everybody begins at a barrier
on one revision. In an honest store exactly one is Committed in each round, however the threads are scheduled: a check can
miss a fault by chance, but it can not find one that is not there.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from ..core.job import JobStatus, MaintenanceJob
from ..core.organization import OrgChange, OrgSnapshot
from ..store import Committed, JobQuery, JobRecord, Stale
from ._expect import PATIENCE_S, CheckFailedError, equal, holds, present
from ._processes import Child, children, count_up
from ._suite_base import ACME, OTHER, SuiteBase
from ._suite_commits import everything_of
from .driving import Driver
from .operations import Ask, Finish, Mark, Update

THREADS: Final = 6
ROUNDS: Final = 12
COUNTS: Final = 25


@contextmanager
def switching_often() -> Iterator[None]:
    """Let Python switch threads every few instructions, so that a store in memory has its races as well."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def together(bodies: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each in a thread of its own, begun at a barrier; the answers in order. What one raises is raised here."""
    barrier = threading.Barrier(len(bodies))
    answers: dict[int, Any] = {}
    failures: list[Exception] = []

    def run(number: int, body: Callable[[], Any]) -> None:
        try:
            barrier.wait(PATIENCE_S)
            answers[number] = body()
        except Exception as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(bodies)]
    with switching_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
    if failures:
        raise failures[0]
    if any(thread.is_alive() for thread in threads):
        raise CheckFailedError("threads that use one store at the same time come to an end")
    return [answers[number] for number in range(len(bodies))]


def one_winner(results: Sequence[Any], who: str) -> None:
    names = sorted(type(result).__name__ for result in results)
    equal(
        names, ["Committed"] + ["Stale"] * (len(results) - 1), f"I1: of {len(results)} {who} on one revision, one wins"
    )


def doubtful(document: OrgSnapshot, jobs: Sequence[MaintenanceJob]) -> str:
    """What is wrong with a document and a page of history as a reader met them; empty if nothing is."""
    numbers = [job.fence.number for job in jobs]
    running = [job for job in jobs if job.status is JobStatus.INPROGRESS]
    if numbers != list(range(numbers[0], numbers[0] - len(numbers), -1)) if numbers else False:
        return f"I3: fences with holes: {numbers}"
    if len(running) > 1 or (running and running[0] is not jobs[0]):
        return f"I1: jobs in progress: {[job.fence.number for job in running]} of {numbers}"
    if document.demand.get("counted", 0) != document.last_mark:
        return f"a document of two commits: demand {dict(document.demand)}, last_mark {document.last_mark}"
    return ""


class SharingChecks(SuiteBase):
    """Threads, handles, processes."""

    # -- threads --

    def test_threads_racing_on_one_revision_one_wins_I1(self) -> None:
        """Of several threads that commit on one revision, exactly one is Committed; the others are Stale."""
        driver = self.driver
        for _ in range(ROUNDS):
            changes = [driver.change(ACME, Ask()) for _ in range(THREADS)]
            results = together([lambda c=change: driver.store.commit([c])[0] for change in changes])  # type: ignore[misc]
            one_winner(results, "threads")
            winner = changes[results.index(next(each for each in results if isinstance(each, Committed)))]
            equal(driver.document(ACME), winner.document, "the document of the one that won")
            driver.do(ACME, Finish())
        equal(len(driver.history(ACME)), ROUNDS, "I1: jobs after as many rounds")

    def test_threads_lose_nothing_that_was_acknowledged_I15(self) -> None:
        """Several threads count up in one document at full speed: each acknowledged step is there, on its own revision."""
        store = self.store
        drivers = [Driver(store, f"thread-{number}") for number in range(4)]
        counted = together([lambda d=each: [count_up(d, ACME) for _ in range(COUNTS)] for each in drivers])  # type: ignore[misc]
        self.all_there(self.driver, [revision for revisions in counted for revision in revisions])

    def all_there(self, driver: Driver, revisions: list[int]) -> None:
        document = driver.document(ACME)
        equal(len(set(revisions)), len(revisions), "I15: each acknowledged commit has a revision of its own")
        equal(document.demand, {"counted": len(revisions)}, "I15: what was counted by acknowledged commits")
        equal(document.revision, 1 + len(revisions), "I15: the revision after them")

    def test_readers_see_whole_commits_I1(self) -> None:
        """Who reads while another thread writes sees commits whole: never two in progress, no hole, no mixed document."""
        store, driver, reader = self.store, self.driver, Driver(self.store, "reader")
        done = threading.Event()

        def write() -> None:
            try:
                for number in range(1, COUNTS + 1):
                    driver.start(ACME)
                    driver.keep(driver.edited(ACME, demand={"counted": number}, last_mark=number))
                    driver.do(ACME, Finish())
            finally:
                done.set()

        def read() -> list[str]:
            doubts: list[str] = []
            while not doubts:
                last = done.is_set()
                found = doubtful(reader.document(ACME), store.list_jobs(JobQuery(ACME, limit=5)).jobs)
                doubts += [found] if found else []
                if last:
                    break
            return doubts

        for doubts in together([write, read, read])[1:]:
            equal(doubts, [], "what readers met while another thread wrote")

    # -- handles --

    def two_handles(self) -> tuple[Driver, Driver]:
        self.need_many_handles()
        place = self.place()
        one, two = Driver(self.open(place), "one"), Driver(self.open(place), "two")
        one.register(ACME, OTHER)
        return one, two

    def test_another_handle_sees_commits_at_once(self) -> None:
        """A second handle on the location sees every commit of the first when it has returned, and the other way round."""
        one, two = self.two_handles()
        for _ in range(3):
            for writer, reader in ((one, two), (two, one)):
                equal(reader.document(ACME).running, None, "the document before, through another handle")
                job = writer.start(ACME)
                equal(reader.document(ACME), writer.document(ACME), "the document, through another handle")
                equal(reader.history(ACME)[0], job, "the newest job, through another handle")
                record = JobRecord(reader.finish(ACME, Finish(report="{}", inventory="{}")), "{}", "{}")
                equal(writer.store.get_job(ACME, job.id), record, "the job that another handle ended")
                stale = writer.change(ACME, Mark())
                reader.do(ACME, Mark())
                equal(writer.commit(stale), Stale(), "a change on a revision that another handle has passed")

    def test_closing_one_handle_leaves_the_others(self) -> None:
        """`close` lets go of its own handle only; another one on the location goes on."""
        one, two = self.two_handles()
        job = one.start(ACME)
        one.store.close()
        equal(two.finish(ACME).id, job.id, "the job that another handle ends")
        two.run_through(ACME)

    def test_reopening_gives_everything_back_I19(self) -> None:
        """What was acknowledged is there when the location is opened again: documents, jobs, reports, inventory."""
        self.need_many_handles()
        place = self.place()
        driver = Driver(self.open(place))
        driver.register(ACME, OTHER)
        driver.run_through(ACME, report='{"n":1}', inventory='{"n":1}')
        driver.do(ACME, Mark())
        driver.start(ACME)
        driver.do(OTHER, Update(free=False))
        before = [everything_of(driver, org_id) for org_id in (ACME, OTHER)]
        driver.store.close()
        again = Driver(self.open(place), "again")
        after = [everything_of(again, org_id) for org_id in (ACME, OTHER)]
        equal(after, before, "I19: all of two organisations after reopening")
        equal([each.running is not None for each, _, _ in after], [True, False], "the job in progress")
        again.finish(ACME)

    def test_two_locations_share_nothing(self) -> None:
        """Stores on two locations are two stores: the same organisation in both is two organisations."""
        self.need_many_handles()
        one, two = Driver(self.open(self.place()), "one"), Driver(self.open(self.place()), "two")
        one.register(ACME)
        equal(dict(two.store.load([ACME]).snapshots), {}, "another location's organisations")
        two.register(ACME)
        one.run_through(ACME)
        equal(two.history(ACME), (), "another location's jobs")

    # -- processes --

    def test_processes_prepare_one_place_at_once(self) -> None:
        """Two processes may prepare the same new location at the same time; both can use it then."""
        self.need_many_handles()
        place = self.place()
        with children(type(self).factory, place, 2) as pair:
            equal(self._all(pair, "prepare"), ["prepared"] * 2, "two processes that prepare at once")
            driver = Driver(self.open(place))
            driver.register(ACME)
            counted = self._all(pair, "count", ACME, 2)
        self.all_there(driver, [revision for revisions in counted for revision in revisions])

    def _all(self, pair: list[Child], *words: Any) -> list[Any]:
        for child in pair:
            child.say(*words)
        return [child.hear() for child in pair]

    def test_processes_racing_on_one_revision_one_wins_I1(self) -> None:
        """Of two processes that commit on one revision, one is Committed; nothing that was acknowledged is lost (I15)."""
        self.need_many_handles()
        place = self.place()
        driver = Driver(self.open(place))
        driver.register(ACME)
        with children(type(self).factory, place, 2) as pair:
            for _ in range(ROUNDS):
                rivals: list[OrgChange] = [driver.change(ACME, Ask()) for _ in pair]
                for child, change in zip(pair, rivals, strict=True):
                    child.say("commit", change)
                one_winner([child.hear() for child in pair], "processes")
                driver.do(ACME, Finish())
            driver.register(OTHER)
            counted = self._all(pair, "count", OTHER, COUNTS)
        document = driver.document(OTHER)
        revisions = [revision for each in counted for revision in each]
        equal(document.demand, {"counted": len(revisions)}, "I15: what two processes counted by acknowledged commits")
        equal(len(set(revisions)), len(revisions), "I15: each acknowledged commit has a revision of its own")

    def test_a_killed_process_leaves_whole_commits_I19(self) -> None:
        """A process killed in the midst of commits leaves every acknowledged one, nothing by half, and no lock behind."""
        self.need_many_handles()
        place = self.place()
        driver = Driver(self.open(place))
        driver.register(ACME)
        for moment in (0.25, 0.5, 0.75):
            with children(type(self).factory, place, 1) as (child,):
                child.say("forever", ACME)
                acknowledged = [child.receive()]
                began = time.monotonic()
                acknowledged += [child.receive() for _ in range(COUNTS)]
                one_s = (time.monotonic() - began) / COUNTS
                time.sleep(one_s * moment)  # just acknowledged, it is between two commits: kill it within one
                child.kill()
                acknowledged += self._drained(child)
            document = driver.document(ACME)
            holds(document.revision >= acknowledged[-1], "I19: acknowledged commits are there after a kill")
            equal(document.demand, {"counted": document.revision - 1}, "I19: a document is of one commit after a kill")
            equal(present(document.schedule("default-w-0001"), "its schedule").active, True, "the rest of it")
            count_up(driver, ACME)

    def _drained(self, child: Child) -> list[Any]:
        rest: list[Any] = []
        try:
            while child.pipe.poll(0):
                rest.append(child.pipe.recv())
        except (EOFError, OSError):
            pass
        return rest
