"""What operators and hosts may ask beyond running: marks, abandoning, removing, pruning, spreading, one shot, publishing."""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve

from aggmaint import (
    ChangeMark,
    CubeUpdate,
    FailureCode,
    IfBusy,
    JobSettings,
    JobStatus,
    JobStore,
    Joined,
    MaintenanceJob,
    MaintenanceReport,
    OrgId,
    Queued,
    Refused,
    ScheduleStopped,
    Started,
    TaskContext,
)
from aggmaint.core.administering import decide_prune
from aggmaint.core.deciding import decide_attention
from aggmaint.core.marks import EVERYTHING, MARKS_MAX, add_mark
from aggmaint.core.organization import OrgChange, OrgSnapshot
from aggmaint.core.steps import Basis, Decision, Grant
from aggmaint.errors import (
    InvalidValueError,
    JobNotFoundError,
    LeaseLostError,
    OrganizationNotFoundError,
    StoreUnavailableError,
    TaskFailedError,
)
from aggmaint.store import Loaded, OrgQuery
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import ManualClock
from tests.support.tasks import FunctionTask, GateTask, Recorder

from .conftest import MakeEngine, ended

DAY = timedelta(days=1)


def failing(context: TaskContext) -> None:
    raise TaskFailedError("no way")


# -- overlap and override ---------------------------------------------------------------------------------------------


def test_join_answers_with_the_running_job_and_asks_for_nothing(make_engine: MakeEngine) -> None:
    other = make_engine()

    def body(context: TaskContext) -> None:
        outcome = other.run_immediately("acme", if_busy=IfBusy.JOIN)
        assert isinstance(outcome, Joined)
        assert outcome.job.id == context.job.id

    engine = make_engine(task=FunctionTask(body), auto_register=True)
    assert isinstance(engine.run_immediately("acme", if_busy=IfBusy.JOIN), Started)
    assert len(engine.list_jobs("acme").jobs) == 1


def test_I13_an_operator_may_abandon_a_job_and_its_worker_is_fenced_off(make_engine: MakeEngine) -> None:
    other = make_engine()

    def body(context: TaskContext) -> None:
        assert other.abandon("acme", context.job.id, reason="hangs", by="ann")
        with pytest.raises(LeaseLostError):
            context.confirm()
        assert context.lost

    engine = make_engine(task=FunctionTask(body), auto_register=True)
    started = engine.run_immediately("acme")
    assert isinstance(started, Started)
    (job,) = engine.list_jobs("acme").jobs
    assert job.error is not None
    assert (job.error.code, job.error.message) == (FailureCode.ABANDONED, "abandoned by ann: hangs")
    assert not engine.abandon("acme", job.id, reason="again"), "it is not in progress"


def test_an_abandoned_jobs_own_engine_tells_its_worker_at_once(make_engine: MakeEngine) -> None:
    """Not only at its next renewal: a statement that runs for an hour is broken off."""
    heard: list[str] = []

    def body(context: TaskContext) -> None:
        context.on_stop(lambda reason: heard.append(type(reason).__name__))
        assert engine.abandon("acme", context.job.id, reason="hangs")
        assert heard == ["LeaseLostError"] and context.lost

    engine = make_engine(task=FunctionTask(body), auto_register=True)
    engine.run_immediately("acme")
    (job,) = engine.list_jobs("acme").jobs
    assert job.error is not None and job.error.code is FailureCode.ABANDONED and heard


# -- change marks -----------------------------------------------------------------------------------------------------


def test_I15_marks_stay_until_a_complete_job_has_seen_them(make_engine: MakeEngine, clock: ManualClock) -> None:
    seen: list[list[str]] = []
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def body(context: TaskContext) -> None:
        seen.append([mark.source for mark in context.marks])
        if len(seen) == 1:
            engine.mark_changed("acme", "late")
            raise TaskFailedError

    engine = make_engine(task=FunctionTask(body), auto_register=True)
    engine.mark_changed("acme", "orders", starts_at=start, ends_at=start + DAY)
    engine.run_immediately("acme")
    assert [mark.source for mark in engine.get_organization("acme").marks] == ["orders", "late"], (
        "a failed job sees none"
    )
    engine.run_immediately("acme")
    assert seen == [["orders"], ["orders", "late"]]
    assert engine.get_organization("acme").marks == ()
    assert engine.get_organization("acme").last_mark == 2


def test_a_mark_that_comes_while_a_job_runs_is_for_the_next(make_engine: MakeEngine) -> None:
    def body(context: TaskContext) -> None:
        engine.mark_changed("acme", "orders")

    engine = make_engine(task=FunctionTask(body), auto_register=True)
    engine.run_immediately("acme")
    assert [mark.number for mark in engine.get_organization("acme").marks] == [1]


def test_marks_fold_and_never_say_less() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    marks: tuple[ChangeMark, ...] = ()
    told: list[ChangeMark] = []
    for number in range(1, 200):
        source = f"s{number % 3}" if number < 150 else f"many{number}"
        mark = ChangeMark(number, source, start + number * DAY, start + (number + 1) * DAY)
        told.append(mark)
        marks = add_mark(marks, mark)
        assert len(marks) <= MARKS_MAX
        assert all(any(kept.covers(each) and kept.number >= each.number for kept in marks) for each in told)


def test_a_wider_mark_replaces_narrower_ones_of_its_source_only() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    narrow, other = ChangeMark(1, "a", start, start + DAY), ChangeMark(2, "b", start, start + DAY)
    assert add_mark((narrow, other), ChangeMark(3, "a", None, start + DAY)) == (
        other,
        ChangeMark(3, "a", None, start + DAY),
    )
    assert add_mark((narrow, other), ChangeMark(3, EVERYTHING)) == (ChangeMark(3, EVERYTHING),)
    assert len(add_mark((narrow,), ChangeMark(3, "a", start + DAY, None))) == 2, "half-open ranges only touch"


@pytest.mark.parametrize(("starts", "ends"), [(1, 1), (2, 1)])
def test_an_empty_range_is_refused(make_engine: MakeEngine, starts: int, ends: int) -> None:
    engine = make_engine(auto_register=True)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidValueError, match="must end after it starts"):
        engine.mark_changed("acme", "orders", starts_at=start + starts * DAY, ends_at=start + ends * DAY)


# -- removing ---------------------------------------------------------------------------------------------------------


def test_a_removed_organisation_is_unknown_but_keeps_its_history_and_fences(
    make_engine: MakeEngine, store: JobStore, clock: ManualClock
) -> None:
    engine = make_engine()
    engine.register_organizations(["acme", "other"])
    engine.run_immediately("acme")
    assert engine.remove_organization("acme") is None
    for call in (engine.get_organization, engine.run_immediately, engine.list_jobs, engine.remove_organization):
        with pytest.raises(OrganizationNotFoundError):
            call("acme")
    assert [each.org_id for each in engine.list_organizations().snapshots] == ["other"]
    assert [each.org_id for each in store.list_organizations(OrgQuery(removed=True)).snapshots] == ["acme", "other"]
    assert len(engine.list_jobs("acme", removed=True).jobs) == 1
    clock.pass_s(30 * 86_400)
    assert engine.tick().changed == 1, "only the other one's slot"
    assert engine.register_organizations(["acme"]) == 1
    engine.run_immediately("acme")
    assert [job.fence.number for job in engine.list_jobs("acme").jobs] == [2, 1], "I3 across a removal"
    assert len(engine.get_organization("acme").schedules) == 1


def test_an_organisation_is_not_removed_while_its_job_runs(make_engine: MakeEngine) -> None:
    answers: list[object] = []
    engine = make_engine(
        task=FunctionTask(lambda _: answers.append(engine.remove_organization("acme"))), auto_register=True
    )
    engine.run_immediately("acme")
    (answer,) = answers
    assert isinstance(answer, Refused)
    assert engine.get_organization("acme").removed_at is None


# -- history ----------------------------------------------------------------------------------------------------------


def test_history_keeps_the_newest_so_many(make_engine: MakeEngine) -> None:
    engine = make_engine(settings=JobSettings(history_jobs_max=3), auto_register=True)
    ids = []
    for _ in range(6):
        outcome = engine.run_immediately("acme")
        assert isinstance(outcome, Started)
        ids.append(outcome.job.id)
    jobs = engine.list_jobs("acme").jobs
    assert [job.fence.number for job in jobs] == [6, 5, 4]
    assert [job.fence.number for job in engine.list_jobs("acme", offset=1, limit=1).jobs] == [5]
    assert engine.list_jobs("acme", offset=3).jobs == ()
    with pytest.raises(JobNotFoundError):
        engine.get_job("acme", ids[2])
    assert engine.get_job("acme", ids[3]).report is not None


def test_history_forgets_what_is_too_old_but_the_last(make_engine: MakeEngine, clock: ManualClock) -> None:
    engine = make_engine(settings=JobSettings(history_age_s=10 * 86_400), auto_register=True)
    for _ in range(3):
        engine.run_immediately("acme")
        clock.pass_s(86_400)
    clock.pass_s(9 * 86_400)
    engine.run_immediately("acme")
    assert [job.fence.number for job in engine.list_jobs("acme").jobs] == [4, 3]
    clock.pass_s(100 * 86_400)
    assert [job.fence.number for job in engine.list_jobs("acme").jobs] == [4, 3], "pruning comes with the next end"
    engine.run_immediately("acme")
    assert [job.fence.number for job in engine.list_jobs("acme").jobs] == [5]


# -- schedules --------------------------------------------------------------------------------------------------------


def test_spread_moves_the_start_and_not_the_slot(make_engine: MakeEngine, clock: ManualClock) -> None:
    engine = make_engine()
    starts = set()
    for number in range(20):
        org = f"org{number}"
        engine.register_organizations([org])
        schedule = engine.add_schedule(org, "0 0 13 ? * * *", spread_s=1800)
        assert schedule.next_slot is not None
        assert schedule.next_start is not None
        assert 0 <= schedule.next_start - schedule.next_slot < 1800
        starts.add(schedule.next_start)
    assert len(starts) > 10, "they are spread"
    clock.pass_until(datetime(2026, 3, 2, 13, tzinfo=UTC))
    early = engine.tick().granted
    assert early < 20
    clock.pass_s(1800)
    assert early + engine.tick().granted == 20
    slots = {job.slot for number in range(20) for job in engine.list_jobs(f"org{number}").jobs}
    assert slots == {int(datetime(2026, 3, 2, 13, tzinfo=UTC).timestamp())}


def test_spread_never_reaches_the_next_slot(make_engine: MakeEngine) -> None:
    engine = make_engine(auto_register=True)
    schedule = engine.add_schedule("acme", "* * * ? * *", spread_s=3600)
    assert schedule.next_start == schedule.next_slot, "a slot each second leaves no room"
    with pytest.raises(InvalidValueError, match="spread_s"):
        engine.add_schedule("acme", "@daily", spread_s=-1)


def test_I17_a_paused_schedule_skips_and_others_go_on(make_engine: MakeEngine, clock: ManualClock) -> None:
    engine = make_engine()
    engine.register_organizations(["acme"])
    (daily,) = engine.get_organization("acme").schedules
    engine.pause_schedule("acme", daily.id, reason="noisy", by="ann")
    engine.pause_schedule("acme", daily.id, reason="again")
    clock.pass_until(datetime(2026, 3, 3, 4, tzinfo=UTC))
    assert engine.tick().granted == 0
    (paused,) = engine.get_organization("acme").schedules
    assert paused.paused is not None
    assert (paused.skipped, paused.paused.reason, paused.paused.by) == (1, "noisy", "ann")
    engine.add_schedule("acme", "0 0 5 ? * * *")
    clock.pass_s(3600)
    assert engine.tick().granted == 1
    assert engine.resume_schedule("acme", daily.id).paused is None


def test_scheduled_runs_are_paused_after_failures_in_a_row(make_engine: MakeEngine, clock: ManualClock) -> None:
    engine = make_engine(task=FunctionTask(failing), settings=JobSettings(pause_after_failures=2), auto_register=True)
    engine.run_immediately("acme")
    assert engine.get_organization("acme").paused is None
    engine.run_immediately("acme")
    paused = engine.get_organization("acme").paused
    assert paused is not None
    assert (paused.by, paused.reason) == ("aggmaint", "2 failures in a row")
    clock.pass_s(86_400)
    assert engine.tick().granted == 0
    assert isinstance(engine.run_immediately("acme"), Started), "people may always try"


# -- many that wait ---------------------------------------------------------------------------------------------------


def test_slots_are_noticed_however_many_requests_wait(make_engine: MakeEngine, clock: ManualClock) -> None:
    gate = GateTask()
    engine = make_engine(task=gate, jobs_max=1, executor=_default_executor())
    orgs = [f"org{number:03}" for number in range(600)]
    engine.register_organizations(orgs)
    engine.run_immediately(orgs[0])
    for org in orgs[1:590]:
        assert isinstance(engine.run_immediately(org), Queued)
    clock.pass_until(datetime(2026, 3, 3, 4, tzinfo=UTC))
    engine.tick()
    late = engine.get_organization(orgs[-1])
    assert late.pending is not None, "noticed at once, although hundreds wait for the one place"
    gate.open()


def _default_executor() -> object:
    from aggmaint.engine import DEFAULT

    return DEFAULT


def test_run_due_runs_everything_that_is_due_once(make_engine: MakeEngine, clock: ManualClock) -> None:
    engine = make_engine()
    engine.register_organizations([f"org{number}" for number in range(7)])
    assert engine.run_due(limit_s=60).granted == 0
    clock.pass_until(datetime(2026, 3, 3, 4, tzinfo=UTC))
    assert engine.run_due(limit_s=60).granted == 7
    assert engine.run_due(limit_s=60).granted == 0
    assert all(ended(engine, f"org{number}") for number in range(7))


def test_raising_the_generation_outranks_all_fences_before(make_engine: MakeEngine) -> None:
    engine = make_engine(auto_register=True)
    engine.run_immediately("acme")
    assert engine.raise_generation("acme", at_least=5) == 5
    assert engine.raise_generation("acme") == 6
    engine.run_immediately("acme")
    newest, oldest = engine.list_jobs("acme").jobs
    assert newest.fence > oldest.fence
    assert (newest.fence.generation, newest.fence.number) == (6, 2)


# -- publishing beside the jobs ---------------------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path, clock: ManualClock) -> Iterator[SQLiteStore]:
    """A store in a database that also holds the host's own table."""
    store = SQLiteStore(tmp_path / "host.db", clock=clock)
    with sqlite3.connect(tmp_path / "host.db") as connection:
        connection.execute("CREATE TABLE result(job TEXT)")
    connection.close()
    yield store
    store.close()


def results(path: Path) -> list[str]:
    with sqlite3.connect(path / "host.db") as connection:
        rows = connection.execute("SELECT job FROM result").fetchall()
    connection.close()
    return [job for (job,) in rows]


def test_I8_a_publish_commits_only_while_the_job_is_ours(
    make_engine: MakeEngine, shared: SQLiteStore, tmp_path: Path
) -> None:
    def body(context: TaskContext) -> None:
        def write(connection: sqlite3.Connection) -> int:
            return connection.execute("INSERT INTO result VALUES(?)", (context.job.id,)).rowcount

        assert context.publish(write) == 1
        engine.abandon("acme", context.job.id, reason="test")
        with pytest.raises(LeaseLostError):
            context.publish(write)

    engine = make_engine(store=shared, task=FunctionTask(body), auto_register=True)
    engine.run_immediately("acme")
    (job,) = engine.list_jobs("acme").jobs
    assert results(tmp_path) == [job.id]


def test_a_publish_that_fails_writes_nothing(make_engine: MakeEngine, shared: SQLiteStore, tmp_path: Path) -> None:
    def body(context: TaskContext) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO result VALUES('x')")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            context.publish(write)

    engine = make_engine(store=shared, task=FunctionTask(body), auto_register=True)
    engine.run_immediately("acme")
    assert engine.list_jobs("acme").jobs[0].status is JobStatus.DONE
    assert results(tmp_path) == []


def test_a_store_without_fences_says_so(make_engine: MakeEngine) -> None:
    def body(context: TaskContext) -> None:
        with pytest.raises(InvalidValueError, match=r"MemoryStore has no Fences.*context\.confirm"):
            context.publish(str)

    engine = make_engine(task=FunctionTask(body), auto_register=True)
    engine.run_immediately("acme")
    assert engine.list_jobs("acme").jobs[0].status is JobStatus.DONE


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_I27_what_people_write_into_the_document_is_bounded(make_engine: MakeEngine) -> None:
    engine = make_engine(auto_register=True)
    engine.register_organizations(["acme"])
    for call in (
        lambda: engine.pause("acme", reason="x" * 2001),
        lambda: engine.pause("acme", reason="\ud800"),
        lambda: engine.cube_updated("acme", cube_id="c" * 256, change=CubeUpdate.STATIC_CUBE_UPDATED),
        lambda: engine.cube_updated("acme", cube_id="", change=CubeUpdate.STATIC_CUBE_UPDATED),
        lambda: engine.mark_changed("acme", "s" * 256),
        lambda: engine.add_schedule("acme", "@daily", created_by_user=""),
        lambda: engine.run_immediately("acme", options={"x": "y" * 20_000}),
    ):
        revision = engine.get_organization("acme").revision
        with pytest.raises(InvalidValueError):
            call()
        assert engine.get_organization("acme").revision == revision


# -- nobody harms another ---------------------------------------------------------------------------------------------


def test_a_schedule_that_this_version_can_not_run_is_stopped_and_told(
    make_engine: MakeEngine, store: JobStore, clock: ManualClock, recorder: Recorder
) -> None:
    engine = make_engine()
    engine.register_organizations(["acme", "other"])
    document = store.load([OrgId("acme")]).snapshots[OrgId("acme")]
    foreign = evolve(document.schedules[0], time_expression="0 0 4 ? * FUNDAY *")
    change = OrgChange("c", document.revision, clock.read(), evolve(document, revision=2, schedules=(foreign,)))
    store.commit([change])
    clock.pass_until(datetime(2026, 3, 3, 4, tzinfo=UTC))
    assert engine.tick().granted == 1, "the other one runs"
    assert not engine.get_organization("acme").schedules[0].active
    (stopped,) = recorder.of(ScheduleStopped)
    assert stopped.org_id == "acme"
    assert "FUNDAY" in stopped.reason


def test_an_organisation_that_can_not_be_decided_about_keeps_no_place_and_stops_no_other(
    make_engine: MakeEngine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine()
    engine.register_organizations(["acme", "other"])
    sound = decide_attention

    def sick(doc: OrgSnapshot, basis: Basis, *, grant: Grant | None) -> Decision[MaintenanceJob | None]:
        if doc.org_id == "acme":
            raise ZeroDivisionError
        return sound(doc, basis, grant=grant)

    monkeypatch.setattr("aggmaint._running.decide_attention", sick)
    clock.pass_until(datetime(2026, 3, 3, 4, tzinfo=UTC))
    assert engine.tick().granted == 1
    assert "'acme' can not be attended to" in caplog.text
    assert isinstance(engine.run_immediately("other"), Started), "its place was given back"


def test_h_is_hashed_from_organisation_and_schedule(make_engine: MakeEngine) -> None:
    engine = make_engine()
    orgs = [f"org{number}" for number in range(12)]
    engine.register_organizations(orgs)
    slots = {engine.add_schedule(org, "0 H H ? * * *").next_slot for org in orgs}
    assert len(slots) > 6, "they are spread over the day"


def test_I9_a_store_that_goes_away_after_the_answer_does_not_change_it(
    make_engine: MakeEngine, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request also claims what waits for a place; if that fails, the request itself was made all the same."""
    gate = GateTask()
    engine = make_engine(task=gate, jobs_max=1, executor=_default_executor())
    engine.register_organizations(["acme", "other"])
    engine.run_immediately("acme")
    gate.next_entered()
    queue = engine._runner._queue

    def queue_then_free(document: OrgSnapshot) -> None:
        queue(document)
        engine._runner._slots._jobs_max = 2  # a place becomes free just now
        monkeypatch.setattr(store, "load", away)

    def away(org_ids: Sequence[OrgId]) -> Loaded:
        raise StoreUnavailableError

    monkeypatch.setattr(engine._runner, "_queue", queue_then_free)
    outcome = engine.run_immediately("other")
    monkeypatch.undo()
    assert isinstance(outcome, Queued)
    assert engine.get_organization("other").pending is not None
    gate.open()


def test_a_closed_engine_starts_nothing_and_loses_nothing(make_engine: MakeEngine) -> None:
    closed = make_engine(auto_register=True)
    closed.close()
    assert isinstance(closed.run_immediately("acme"), Queued)
    assert closed.get_current_job("acme") is None
    assert make_engine().tick().granted == 1, "another engine finds the request"


def test_however_old_the_newest_job_is_never_forgotten(
    make_engine: MakeEngine, store: JobStore, clock: ManualClock
) -> None:
    engine = make_engine(auto_register=True)
    for _ in range(3):
        engine.run_immediately("acme")
    clock.pass_s(100 * 86_400)
    document = engine.get_organization("acme")
    basis = Basis(clock.read(), "prune", JobSettings())
    oldest = tuple(reversed(engine.list_jobs("acme").jobs))
    decision = decide_prune(document, oldest, basis)
    assert decision.answer == 2
    assert decision.change is not None
    store.commit([decision.change])
    assert [job.fence.number for job in engine.list_jobs("acme").jobs] == [3]
    assert decide_prune(engine.get_organization("acme"), engine.list_jobs("acme").jobs, basis).answer == 0


def test_an_inventory_whose_job_was_pruned_is_missing_and_stops_nothing(make_engine: MakeEngine) -> None:
    """A warehouse that is away for a hundred runs: none leaves an inventory, and history forgets the last one that did."""
    found: list[object] = []

    def body(context: TaskContext) -> MaintenanceReport:
        found.append(context.last_inventory())
        if len(found) in (1, 5):
            return MaintenanceReport(complete=True, inventory={"n": len(found)})
        raise TaskFailedError("the warehouse is away")

    engine = make_engine(task=FunctionTask(body), settings=JobSettings(history_jobs_max=2), auto_register=True)
    for _ in range(4):
        engine.run_immediately("acme")
    assert engine.get_inventory("acme") is None
    engine.run_immediately("acme")
    assert found == [None, {"n": 1}, {"n": 1}, None, None]
    inventory = engine.get_inventory("acme")
    assert inventory is not None
    assert inventory.content == {"n": 5}
    engine.remove_organization("acme")
    engine.register_organizations(["acme"])
    assert engine.get_inventory("acme") is None, "after a removal its warehouse may be begun anew"
