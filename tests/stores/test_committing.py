"""The Committer over a store that fails: what is unknown is found out, what is stale is decided again, nothing twice."""

from collections.abc import Callable, Sequence

import pytest

from aggmaint import JobStarted, JobStore
from aggmaint._committing import Committer
from aggmaint.clock import SystemClock
from aggmaint.core.ids import OrgId
from aggmaint.core.organization import OrgChange, OrgSnapshot
from aggmaint.core.outcomes import IfBusy
from aggmaint.core.steps import Basis, Decision
from aggmaint.errors import ContentionError, OrganizationNotFoundError, StoreUnavailableError, UnknownOutcomeError
from aggmaint.store import CommitResult, JobQuery
from tests.support.driving import SETTINGS, Driver
from tests.support.operations import Ask, Renew
from tests.support.tasks import Recorder

ACME, OTHER = OrgId("acme"), OrgId("other")
ASK = Ask(free=True, if_busy=IfBusy.FOLD, options={})


class Faulty:
    """A store whose commits misbehave as planned: each fault takes the real commit and the changes."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self.faults: list[Callable[[Sequence[OrgChange]], Sequence[CommitResult]]] = []
        self.commits = 0
        for verb in ("load", "prepare", "find_due", "list_organizations", "get_job", "list_jobs", "close"):
            setattr(self, verb, getattr(store, verb))

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        self.commits += 1
        return self.faults.pop(0)(changes) if self.faults else self._store.commit(changes)


@pytest.fixture
def driver(store: JobStore) -> Driver:
    driver = Driver(store)
    driver.register("acme", "other")
    return driver


@pytest.fixture
def faulty(store: JobStore, driver: Driver) -> Faulty:
    return Faulty(store)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def committer(faulty: Faulty, recorder: Recorder) -> Committer:
    return Committer(faulty, SETTINGS, [recorder], SystemClock())  # type: ignore[arg-type]


def start(driver: Driver) -> Callable[[OrgSnapshot, Basis], Decision[object]]:
    return lambda document, basis: ASK.decide(document, basis, driver.grant())


def commit_then_fail(store: JobStore) -> Callable[[Sequence[OrgChange]], Sequence[CommitResult]]:
    def fault(changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        store.commit(changes)
        raise UnknownOutcomeError

    return fault


def only_fail(changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
    raise UnknownOutcomeError


def others_then_fail(driver: Driver, count: int) -> Callable[[Sequence[OrgChange]], Sequence[CommitResult]]:
    def fault(changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        for _ in range(count):
            running = driver.document("acme").running
            driver.do("acme", Renew(mine=True, step=None) if running else ASK)
        raise UnknownOutcomeError

    return fault


def fences(store: JobStore, org_id: OrgId = ACME) -> list[int]:
    return [job.fence.number for job in store.list_jobs(JobQuery(org_id)).jobs]


def test_unknown_but_committed_is_committed_once(
    store: JobStore, driver: Driver, faulty: Faulty, committer: Committer, recorder: Recorder
) -> None:
    faulty.faults = [commit_then_fail(store)]
    settled = committer.change(ACME, start(driver))
    assert settled.written and settled.document == driver.document("acme")
    assert fences(store) == [1] and len(recorder.of(JobStarted)) == 1


def test_unknown_and_not_committed_is_committed_again(
    store: JobStore, driver: Driver, faulty: Faulty, committer: Committer, recorder: Recorder
) -> None:
    faulty.faults = [only_fail]
    assert committer.change(ACME, start(driver)).written
    assert fences(store) == [1] and len(recorder.of(JobStarted)) == 1


def test_unknown_and_overtaken_is_decided_again(
    store: JobStore, driver: Driver, faulty: Faulty, committer: Committer, recorder: Recorder
) -> None:
    faulty.faults = [others_then_fail(driver, 3)]
    settled = committer.change(ACME, start(driver))
    assert settled.document.pending is not None, "another writer's job runs: the request folds into the follow-up"
    assert fences(store) == [1] and not recorder.of(JobStarted)


def test_unknown_and_overtaken_far_is_said(
    store: JobStore, driver: Driver, faulty: Faulty, committer: Committer, recorder: Recorder
) -> None:
    faulty.faults = [others_then_fail(driver, 33)]
    with pytest.raises(UnknownOutcomeError):
        committer.change(ACME, start(driver))
    assert not recorder.events


def test_unknown_twice_is_said(driver: Driver, faulty: Faulty, committer: Committer, recorder: Recorder) -> None:
    faulty.faults = [only_fail, only_fail]
    with pytest.raises(UnknownOutcomeError):
        committer.change(ACME, start(driver))
    assert not recorder.events


def test_an_unknown_batch_is_found_out_one_by_one(
    store: JobStore, driver: Driver, faulty: Faulty, committer: Committer, recorder: Recorder
) -> None:
    faulty.faults = [lambda changes: commit_then_fail(store)(changes[:1])]
    settled = committer.change_many([ACME, OTHER, OrgId("unknown")], start(driver))
    assert [bool(each and each.written) for each in settled.values()] == [True, True]
    assert fences(store) == fences(store, OTHER) == [1]
    assert len(recorder.of(JobStarted)) == 2


def test_an_unavailable_store_is_said_and_no_event_is_told(
    driver: Driver, faulty: Faulty, committer: Committer, recorder: Recorder
) -> None:
    def away(changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        raise StoreUnavailableError

    faulty.faults = [away]
    with pytest.raises(StoreUnavailableError):
        committer.change(ACME, start(driver))
    assert not recorder.events


def test_stale_is_decided_again_on_the_new_document(
    store: JobStore, driver: Driver, faulty: Faulty, committer: Committer
) -> None:
    def overtaken(changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        driver.do("acme", ASK)
        return store.commit(changes)

    faulty.faults = [overtaken]
    settled = committer.change(ACME, start(driver))
    assert faulty.commits == 2
    assert settled.document.running is not None and settled.document.pending is not None


def test_a_batch_leaves_the_stale_ones_out(
    store: JobStore, driver: Driver, faulty: Faulty, committer: Committer
) -> None:
    def overtaken(changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        driver.do("acme", ASK)
        return store.commit(changes)

    faulty.faults = [overtaken]
    settled = committer.change_many([ACME, OTHER], start(driver))
    assert settled[ACME] is None and settled[OTHER] is not None


def test_endless_contention_is_an_error(
    driver: Driver, faulty: Faulty, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        driver.do("acme", ASK)
        return faulty._store.commit(changes)

    monkeypatch.setattr("aggmaint._committing.PATIENCE_S", 0.0)
    faulty.faults = [overtaken] * 50
    with pytest.raises(ContentionError, match="acme"):
        committer.change(ACME, start(driver))


def test_an_unknown_organisation_is_not_found(committer: Committer, driver: Driver) -> None:
    with pytest.raises(OrganizationNotFoundError):
        committer.change(OrgId("nobody"), start(driver))
