"""What each verb of the JobStore port promises, on every store."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from aggmaint import CubeUpdate, FailureCode, JobStatus, JobStore
from aggmaint.core.ids import JobId, OrgId
from aggmaint.core.organization import OrgChange, Verdict, judge
from aggmaint.core.outcomes import IfBusy
from aggmaint.errors import InvalidValueError, JobNotFoundError
from aggmaint.store import CommitResult, Committed, DueOrgs, JobQuery, OrgQuery, Stale
from aggmaint.testing.clocks import ManualClock
from tests.support.driving import Driver
from tests.support.operations import Ask, Finish, Renew, SetPause, Update

ACME, OTHER = OrgId("acme"), OrgId("other")
ASK = Ask(free=True, if_busy=IfBusy.FOLD, options={"a": [1, None, "ü"]})
DONE = Finish(mine=True, code=None, complete=True, report=None, inventory=None)


@pytest.fixture
def driver(store: JobStore) -> Driver:
    driver = Driver(store)
    driver.register("acme", "other")
    return driver


# -- prepare, load, commit --------------------------------------------------------------------------------------------


def test_prepare_is_idempotent_and_keeps_what_is_there(store: JobStore, driver: Driver) -> None:
    before = driver.document("acme")
    store.prepare()
    assert driver.document("acme") == before


def test_load_answers_for_many_leaves_out_unknown_ones_and_tells_the_time(
    store: JobStore, driver: Driver, clock: ManualClock
) -> None:
    loaded = store.load([OTHER, OrgId("unknown"), ACME])
    assert set(loaded.snapshots) == {ACME, OTHER}
    assert loaded.time == clock.read()
    assert store.load([]).snapshots == {}


def test_load_answers_for_more_organisations_than_a_statement_takes(store: JobStore, driver: Driver) -> None:
    org_ids = [f"org-{n:05}" for n in range(2100)]
    driver.register(*org_ids)
    assert len(store.load([OrgId(org_id) for org_id in org_ids]).snapshots) == 2100


def test_commit_of_a_document_with_everything_gives_it_back(
    store: JobStore, driver: Driver, clock: ManualClock
) -> None:
    driver.start("acme")
    operations = (
        Renew(mine=True, step="build"),
        Update(free=True, cube="Größe", change=CubeUpdate.STATIC_CUBE_UPDATED, version=2**70),
        Ask(free=True, if_busy=IfBusy.FOLD, options={"b": "\ud800"}),
        SetPause(),
    )
    for operation in operations:
        change = driver.change("acme", operation)
        assert driver.commit(change) == Committed(change.document.revision)
        assert driver.document("acme") == change.document
    assert driver.document("other").running is None, "I2"


def test_commit_on_another_revision_is_stale_and_stores_nothing(store: JobStore, driver: Driver) -> None:
    one, two = driver.change("acme", ASK), driver.change("acme", ASK)
    assert driver.commit(one) == Committed(2)
    assert driver.commit(two) == Stale()
    assert driver.document("acme") == one.document
    assert [job.id for job in store.list_jobs(JobQuery(ACME)).jobs] == [one.granted.id if one.granted else None]


def test_I10_a_retry_of_a_committed_change_is_one_change(store: JobStore, driver: Driver, clock: ManualClock) -> None:
    change = driver.change("acme", ASK)
    assert driver.commit(change) == driver.commit(change) == Committed(2)
    driver.do("acme", DONE)
    clock.pass_s(3600)
    assert driver.commit(change) == Committed(3), "also when the organisation has moved on, and much later"
    assert len(store.list_jobs(JobQuery(ACME)).jobs) == 1


def test_I10_a_retry_is_known_among_the_newest_32(store: JobStore, driver: Driver) -> None:
    change = driver.change("acme", ASK)
    driver.commit(change)
    for _ in range(31):
        driver.do("acme", Renew(mine=True, step=None))
    assert driver.commit(change) == Committed(33)
    driver.do("acme", Renew(mine=True, step=None))
    assert driver.commit(change) == Stale()


@pytest.mark.parametrize(("seconds", "result"), [(5.0, Committed(2)), (5.01, Stale())])
def test_a_decision_older_than_5_s_is_stale(
    store: JobStore, driver: Driver, clock: ManualClock, seconds: float, result: CommitResult
) -> None:
    change = driver.change("acme", ASK)
    clock.pass_s(seconds)
    assert driver.commit(change) == result


@pytest.mark.parametrize(
    ("step_s", "result"), [(-5.0, Committed(2)), (4.9, Committed(2)), (-5.01, Stale()), (3600, Stale())]
)
def test_I12_a_decision_of_before_the_wall_clock_was_stepped_is_stale(
    store: JobStore, driver: Driver, clock: ManualClock, step_s: float, result: CommitResult
) -> None:
    change = driver.change("acme", ASK)
    clock.pass_s(1.0)
    clock.step_wall(step_s)
    assert driver.commit(change) == result


def test_a_decision_of_before_the_reboot_is_stale(store: JobStore, driver: Driver, clock: ManualClock) -> None:
    change = driver.change("acme", ASK)
    clock.reboot()
    assert driver.commit(change) == Stale()


def test_a_batch_is_judged_one_by_one_in_order(store: JobStore, driver: Driver) -> None:
    one, two, other = (driver.change(org_id, ASK) for org_id in ("acme", "acme", "other"))
    stale = driver.registration("acme")
    assert store.commit([one, two, stale, other, one]) == [Committed(2), Stale(), Stale(), Committed(2), Committed(2)]
    assert store.commit([]) == []


def test_two_threads_on_one_revision_exactly_one_is_committed(store: JobStore, driver: Driver) -> None:
    update = Update(True, "c", CubeUpdate.DYNAMIC_CUBE_UPDATED, None)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            changes = [driver.change("acme", update) for _ in range(8)]
            barrier = threading.Barrier(8)

            def commit(change: OrgChange, barrier: threading.Barrier = barrier) -> CommitResult:
                barrier.wait(timeout=20)
                return driver.commit(change)

            results = list(pool.map(commit, changes))
            assert sorted(type(result).__name__ for result in results) == ["Committed"] + ["Stale"] * 7


def test_nothing_comes_between_judging_and_writing(
    store: JobStore, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that both wait inside a commit, after it was judged: where that is possible, both would be applied."""
    meeting = threading.Barrier(2)

    def slow_judge(*arguments: Any) -> Verdict:
        verdict = judge(*arguments)
        with suppress(threading.BrokenBarrierError):
            meeting.wait(timeout=0.1)
        return verdict

    monkeypatch.setattr(f"{type(store).__module__}.judge", slow_judge)
    changes = [driver.change("acme", ASK) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(driver.commit, changes))
    assert sorted(type(result).__name__ for result in results) == ["Committed", "Stale"]


# -- finding ----------------------------------------------------------------------------------------------------------


def test_find_due_orders_by_waiting_time_and_tells_the_next(
    store: JobStore, driver: Driver, clock: ManualClock
) -> None:
    assert store.find_due(10) == DueOrgs((), (), (), driver.document("acme").notice_at)
    clock.pass_s(10)
    driver.do("other", Ask(free=False, if_busy=IfBusy.FOLD, options={}))
    clock.pass_s(10)
    driver.do("acme", Ask(free=False, if_busy=IfBusy.FOLD, options={}))
    assert store.find_due(10).claiming == (OTHER, ACME)
    assert store.find_due(1).claiming == (OTHER,)
    slot = driver.document("acme").notice_at
    assert slot is not None
    assert store.find_due(10, slot).noticing == (ACME, OTHER)
    assert store.find_due(10, slot - timedelta(seconds=1)).noticing == ()


@pytest.mark.parametrize(("seconds", "reboot"), [(60.0, False), (0.0, True)])
def test_find_due_finds_lapsed_jobs_in_steady_time(
    store: JobStore, driver: Driver, clock: ManualClock, seconds: float, reboot: bool
) -> None:
    driver.start("acme")
    clock.pass_s(59.5)
    clock.step_wall(3600)
    assert store.find_due(10).lapsed == ()
    clock.pass_s(seconds)
    if reboot:
        clock.reboot()
    assert store.find_due(10).lapsed == (ACME,)


def test_list_organizations_pages_in_code_point_order(store: JobStore, driver: Driver) -> None:
    driver.register("Z", "z", "Zoë", "\U0001f409", "\uffee")
    ids: list[str] = []
    after: OrgId | None = None
    while True:
        page = store.list_organizations(OrgQuery(after, limit=2))
        ids += [snapshot.org_id for snapshot in page.snapshots]
        if page.next is None:
            break
        after = page.next
    assert ids == sorted(["Z", "z", "Zoë", "\U0001f409", "\uffee", "acme", "other"])


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_queries_refuse_impossible_limits(limit: int) -> None:
    with pytest.raises(InvalidValueError, match="limit"):
        OrgQuery(limit=limit)
    with pytest.raises(InvalidValueError, match="limit"):
        JobQuery(ACME, limit=limit)


# -- history ----------------------------------------------------------------------------------------------------------


def test_get_job_with_report_and_the_newest_inventory(store: JobStore, driver: Driver) -> None:
    first = driver.run_through("acme", report='{"n":1}', inventory='{"i":1}')
    second = driver.run_through("acme", report=None, inventory=None)
    third = driver.run_through("acme", report='{"n":3}', inventory='{"i":"ü"}')
    records = [store.get_job(ACME, job.id) for job in (first, second, third)]
    assert [(r.report, r.inventory) for r in records] == [('{"n":1}', None), (None, None), ('{"n":3}', '{"i":"ü"}')]
    assert driver.document("acme").inventory_job_id == third.id


def test_I2_get_job_of_another_organisation_is_not_found(store: JobStore, driver: Driver) -> None:
    job = driver.run_through("acme")
    for org_id, job_id in ((OTHER, job.id), (OrgId("unknown"), job.id), (ACME, JobId("no")), (ACME, JobId("\ud800"))):
        with pytest.raises(JobNotFoundError):
            store.get_job(org_id, job_id)


def test_list_jobs_includes_the_running_one_and_pages_both_ways(store: JobStore, driver: Driver) -> None:
    for _ in range(4):
        driver.run_through("acme")
    driver.start("acme")
    driver.run_through("other")

    def fences(**parts: int) -> list[int]:
        return [job.fence.number for job in store.list_jobs(JobQuery(ACME, **parts)).jobs]  # type: ignore[arg-type]

    assert fences() == [5, 4, 3, 2, 1]
    assert store.list_jobs(JobQuery(ACME)).jobs[0].status is JobStatus.INPROGRESS
    assert fences(limit=2, offset=1) == [4, 3]
    assert fences(limit=2, before=3) == [2, 1]
    assert fences(before=100, offset=1) == [4, 3, 2, 1], "offset counts what is there"
    assert fences(offset=5) == fences(before=1) == []
    assert store.list_jobs(JobQuery(ACME, limit=5)).next is None
    assert store.list_jobs(JobQuery(ACME, limit=4)).next == 2
    assert store.list_jobs(JobQuery(OrgId("unknown"))).jobs == ()


def test_list_jobs_filters_by_status_and_trigger(store: JobStore, driver: Driver) -> None:
    driver.run_through("acme")
    driver.start("acme")
    driver.do("acme", Finish(True, FailureCode.ERROR, True, None, None))
    driver.run_through("acme")
    failed = store.list_jobs(JobQuery(ACME, statuses=[JobStatus.FAILED])).jobs
    assert [job.fence.number for job in failed] == [2]
    assert failed[0].error is not None and failed[0].error.errors[0].step == "build"
    done = JobQuery(ACME, statuses=[JobStatus.DONE], trigger_types=["ManualMaintenance"], offset=1)
    assert [job.fence.number for job in store.list_jobs(done).jobs] == [1]
    assert store.list_jobs(JobQuery(ACME, trigger_types=["TimeBasedMaintenance"])).jobs == ()


def test_close_is_idempotent(store: JobStore) -> None:
    store.close()
    store.close()
