"""What FaultyStore does to a store's calls, and what the engine promises in spite of it."""

import pytest

from aggmaint import CubeUpdate, JobStatus, MaintenanceEngine, MaintenanceReport, Started, TaskContext
from aggmaint.core.ids import OrgId
from aggmaint.errors import LeaseLostError, StoreUnavailableError, UnknownOutcomeError
from aggmaint.store import Fences, JobStore
from aggmaint.stores.memory import MemoryStore
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import ManualClock
from aggmaint.testing.driving import Driver
from aggmaint.testing.faulty import (
    Crash,
    Delay,
    Die,
    Fault,
    FaultyStore,
    Foreign,
    ScriptedPlan,
    SeededPlan,
    StoreCall,
    Unavailable,
    Unknown,
)

ACME = OrgId("acme")


class Quick:
    def run(self, context: TaskContext) -> MaintenanceReport:
        return MaintenanceReport(complete=True)


def prepared() -> tuple[MemoryStore, ManualClock]:
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    Driver(store).register("acme")
    return store, clock


def engine_over(
    store: JobStore, clock: ManualClock, script: dict[int | tuple[str, int], Fault]
) -> tuple[MaintenanceEngine, FaultyStore]:
    faulty = FaultyStore(store, ScriptedPlan(script), clock=clock)
    return MaintenanceEngine(store=faulty, task=Quick(), scheduler=None, executor=None, clock=clock), faulty


@pytest.mark.parametrize("commits", [None, 0])
def test_I10_a_commit_of_unknown_outcome_is_made_once(commits: int | None) -> None:
    store, clock = prepared()
    engine, faulty = engine_over(store, clock, {("commit", 1): Unknown(commits)})
    assert isinstance(engine.run_immediately("acme"), Started)
    assert [type(fault) for _, fault in faulty.met] == [Unknown]
    (job,) = engine.list_jobs("acme").jobs
    assert job.status is JobStatus.DONE and engine.get_organization("acme").pending is None


def test_I9_an_unknown_commit_is_never_told_as_unavailable() -> None:
    """It took place, and then nobody could look: "nothing was changed" would be a lie."""
    store, clock = prepared()
    engine, _ = engine_over(store, clock, {("commit", 1): Unknown(), ("load", 2): Unavailable()})
    with pytest.raises(UnknownOutcomeError):
        engine.cube_updated("acme", cube_id="sales", change=CubeUpdate.DYNAMIC_CUBE_UPDATED)
    assert store.load([ACME]).snapshots[ACME].demand == {"sales": 1}


def test_unavailable_before_a_commit_changes_nothing() -> None:
    store, clock = prepared()
    before = store.load([ACME]).snapshots[ACME]
    engine, _ = engine_over(store, clock, {("commit", 1): Unavailable()})
    with pytest.raises(StoreUnavailableError):
        engine.run_immediately("acme")
    assert store.load([ACME]).snapshots[ACME] == before
    assert isinstance(engine.run_immediately("acme"), Started), "the place was given back"


def test_a_foreign_commit_in_between_makes_the_decision_stale() -> None:
    store, clock = prepared()

    def other(inner: JobStore) -> None:
        MaintenanceEngine(store=inner, task=Quick(), scheduler=None, executor=None, clock=clock).mark_changed(
            "acme", "orders"
        )

    engine, faulty = engine_over(store, clock, {("commit", 1): Foreign(other)})
    assert isinstance(engine.run_immediately("acme"), Started)
    assert faulty.met and engine.get_organization("acme").last_mark == 1


def test_a_decision_that_waited_too_long_is_made_again() -> None:
    store, clock = prepared()
    engine, faulty = engine_over(store, clock, {("commit", 1): Delay(before_s=6)})
    assert isinstance(engine.run_immediately("acme"), Started)
    assert faulty.calls > 4 and engine.get_organization("acme").last_fence == 1


def test_of_a_batch_the_first_changes_may_have_taken_place() -> None:
    store, clock = prepared()
    driver = Driver(store, "batch")
    changes = [driver.registration(org_id) for org_id in ("a", "b", "c")]
    faulty = FaultyStore(store, ScriptedPlan({1: Unknown(commits=2)}), clock=clock)
    with pytest.raises(UnknownOutcomeError):
        faulty.commit(changes)
    assert set(store.load([OrgId(org_id) for org_id in "abc"]).snapshots) == {"a", "b"}


@pytest.mark.parametrize(("after", "last_fence"), [(False, 0), (True, 1)])
def test_after_a_crash_no_call_returns(after: bool, last_fence: int) -> None:
    store, clock = prepared()
    engine, faulty = engine_over(store, clock, {("commit", 1): Die(after=after)})
    with pytest.raises(Crash):
        engine.run_immediately("acme")
    with pytest.raises(Crash):
        faulty.load([ACME])
    assert store.load([ACME]).snapshots[ACME].last_fence == last_fence


def test_a_read_has_no_unknown_outcome_and_a_write_is_never_unavailable_afterwards() -> None:
    store, clock = prepared()
    faulty = FaultyStore(store, ScriptedPlan({1: Unknown(), 2: Unavailable(after=True)}), clock=clock)
    with pytest.raises(StoreUnavailableError):
        faulty.load([ACME])
    change = Driver(store, "other").registration("new")
    with pytest.raises(StoreUnavailableError):
        faulty.commit([change])
    assert OrgId("new") not in store.load([OrgId("new")]).snapshots


def test_fences_are_there_if_the_store_has_them(tmp_path: object) -> None:
    store, _ = prepared()
    assert not isinstance(FaultyStore(store, SeededPlan(0)), Fences)
    assert isinstance(FaultyStore(SQLiteStore(f"{tmp_path}/jobs.db"), SeededPlan(0)), Fences)


def test_I8_a_publish_of_unknown_outcome_is_whole_or_not_there(tmp_path: object) -> None:
    store = SQLiteStore(f"{tmp_path}/jobs.db")
    store.prepare()
    driver = Driver(store)
    driver.register("acme")
    fence = driver.start("acme").fence
    faulty = FaultyStore(store, ScriptedPlan({2: Unknown(commits=0), 3: Unknown()}))
    with faulty.fenced(ACME, fence) as connection:
        connection.execute("CREATE TABLE mine(x INTEGER)")
    for number in (1, 2):
        with pytest.raises(UnknownOutcomeError), faulty.fenced(ACME, fence) as connection:
            connection.execute("INSERT INTO mine VALUES(?)", (number,))
    with faulty.fenced(ACME, fence) as connection:
        assert connection.execute("SELECT x FROM mine").fetchall() == [(2,)]
    with pytest.raises(LeaseLostError), faulty.fenced(ACME, type(fence)(1, 99)):
        pass
    store.close()


def test_a_seeded_plan_is_the_same_each_time() -> None:
    def drawn(seed: int) -> list[object]:
        plan = SeededPlan(seed, unavailable=0.2, unknown=0.2, delay=0.2)
        return [plan.faults(StoreCall(number, "commit", number)) for number in range(100)]

    assert drawn(1) == drawn(1) and drawn(1) != drawn(2)
