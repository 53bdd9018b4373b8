"""Leases, deadlines and shutdown: who may end a job that its worker did not, and what becomes of the late one."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from aggmaint import (
    FailureCode,
    JobFinished,
    JobSettings,
    JobStarted,
    JobStatus,
    JobStore,
    LeaseLapsed,
    MaintenanceEngine,
    MaintenanceJob,
    MaintenanceReport,
    Queued,
    Started,
    TaskContext,
)
from aggmaint.core.job import Lease
from aggmaint.core.organization import OrgChange
from aggmaint.errors import (
    DeadlineExceededError,
    JobCancelledError,
    LeaseLostError,
    ShutdownError,
    StopWorkError,
    StoreUnavailableError,
)
from aggmaint.store import CommitResult
from aggmaint.testing.clocks import ManualClock
from aggmaint.worker import Heart
from tests.engine.conftest import MakeEngine, ended
from tests.support.tasks import FunctionTask, GateTask, Recorder, until


def code_of(job: MaintenanceJob) -> FailureCode | None:
    return job.error.code if job.error else None


class LeavesBehind(BaseException):
    """Stands for a death of the process: nothing may be ended on its way."""


# -- rescue, in one thread --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pass_s", "reboot", "code"),
    [
        (59.9, False, None),
        (60.0, False, FailureCode.ABANDONED),
        (6 * 3600.0, False, FailureCode.TIMEOUT),
        (0.0, True, FailureCode.ABANDONED),
        (6 * 3600.0, True, FailureCode.ABANDONED),
    ],
)
def test_I13_a_start_rescues_only_with_evidence(
    make_engine: MakeEngine, clock: ManualClock, pass_s: float, reboot: bool, code: FailureCode | None
) -> None:
    outcomes: list[object] = []

    def body(context: TaskContext) -> None:
        if context.fence.number == 1:
            clock.pass_s(pass_s)
            if reboot:
                clock.reboot()
            outcomes.append(other.run_immediately("acme"))

    engine = make_engine(task=FunctionTask(body))
    other = make_engine()
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    newer, older = engine.list_jobs("acme").jobs
    (outcome,) = outcomes
    assert (older.fence.number, newer.fence.number) == (1, 2)
    if code is None:
        assert isinstance(outcome, Queued) and outcome.behind is not None and outcome.behind.id == older.id
        assert older.status is JobStatus.DONE
    else:
        assert isinstance(outcome, Started) and outcome.job.id == newer.id
        assert code_of(older) is code, "the late worker's finish is discarded"


@pytest.mark.parametrize("step_s", [-86_400.0, 86_400.0])
def test_I13_a_jump_of_the_wall_clock_rescues_nobody(
    make_engine: MakeEngine, clock: ManualClock, step_s: float
) -> None:
    def body(_: TaskContext) -> None:
        clock.step_wall(step_s)
        other.tick()

    engine, other = make_engine(task=FunctionTask(body)), make_engine()
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    (job,) = engine.list_jobs("acme").jobs
    assert job.status is JobStatus.DONE
    assert job.ended_at is not None and job.ended_at >= job.started_at


def test_I24_a_tick_ends_a_lapsed_job_and_tells(
    make_engine: MakeEngine, clock: ManualClock, recorder: Recorder
) -> None:
    second = Recorder()

    def body(_: TaskContext) -> None:
        clock.pass_s(61)
        assert other.tick().changed == 1

    engine = make_engine(task=FunctionTask(body))
    other = make_engine(listeners=[second])
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    (job,) = engine.list_jobs("acme").jobs
    assert code_of(job) is FailureCode.ABANDONED and job.error is not None and job.holder in job.error.message
    assert [type(event) for event in second.events] == [LeaseLapsed, JobFinished]
    assert [type(event) for event in recorder.events] == [JobStarted], "I28: one end, told by who ended it"


def test_I7_a_rescued_worker_learns_it_at_its_next_question(make_engine: MakeEngine, clock: ManualClock) -> None:
    raised: list[StopWorkError] = []

    def body(context: TaskContext) -> None:
        if context.fence.number == 1:
            clock.pass_s(61)
            other.run_immediately("acme")
            for ask in (context.confirm, context.check, lambda: context.progress("late")):
                with pytest.raises(LeaseLostError) as caught:
                    ask()
                raised.append(caught.value)
            context.check()

    engine, other = make_engine(task=FunctionTask(body)), make_engine()
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    assert len(raised) == 3
    assert [code_of(job) for job in engine.list_jobs("acme").jobs] == [None, FailureCode.ABANDONED]


def test_I7_progress_of_a_rescued_worker_changes_nothing(make_engine: MakeEngine, clock: ManualClock) -> None:
    def body(context: TaskContext) -> None:
        if context.fence.number == 1:
            clock.pass_s(61)
            other.run_immediately("acme")
            before = engine.get_organization("acme")
            with pytest.raises(LeaseLostError):
                context.progress("late", done=1)
            assert engine.get_organization("acme") == before

    engine, other = make_engine(task=FunctionTask(body)), make_engine()
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")


def test_a_late_but_unrescued_worker_may_finish(make_engine: MakeEngine, clock: ManualClock) -> None:
    engine = make_engine(task=FunctionTask(lambda _: clock.pass_s(3600)))
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    assert engine.list_jobs("acme").jobs[0].status is JobStatus.DONE


def test_I14_progress_renews_but_never_moves_the_deadline(make_engine: MakeEngine, clock: ManualClock) -> None:
    leases: list[Lease] = []

    def body(context: TaskContext) -> None:
        for _ in range(3):
            running = other.get_organization("acme").running
            assert running is not None
            leases.append(running.lease)
            clock.pass_s(50)
            context.job  # noqa: B018 - reading changes nothing
            assert other.tick().changed == 0
            renew(context)

    engine, other = make_engine(task=FunctionTask(body)), make_engine()
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    assert [lease.until_s for lease in leases] == [1060.0, 1110.0, 1160.0]
    assert {lease.deadline_s for lease in leases} == {1000.0 + 6 * 3600}


def renew(context: TaskContext) -> None:
    """What the heart does, without waiting for it."""
    context.renew()  # type: ignore[attr-defined]


def test_a_worker_past_its_deadline_ends_as_timeout(make_engine: MakeEngine, clock: ManualClock) -> None:
    def body(context: TaskContext) -> None:
        clock.pass_s(3600)
        renew(context)
        context.check()

    engine = make_engine(task=FunctionTask(body), settings=JobSettings(deadline_s=3600))
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    assert code_of(engine.list_jobs("acme").jobs[0]) is FailureCode.TIMEOUT


def test_confirm_knows_the_deadline(make_engine: MakeEngine, clock: ManualClock) -> None:
    def body(context: TaskContext) -> None:
        context.confirm()
        clock.pass_s(3600)
        with pytest.raises(DeadlineExceededError):
            context.confirm()

    engine = make_engine(task=FunctionTask(body), settings=JobSettings(deadline_s=3600))
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    assert engine.list_jobs("acme").jobs[0].status is JobStatus.DONE


@pytest.fixture
def own_clock() -> ManualClock:
    """The worker's own steady clock, which can jump as if the machine had slept."""
    return ManualClock()


@pytest.mark.parametrize(("slept_s", "trusted"), [(49.9, True), (50.0, False)])
def test_I7_a_worker_distrusts_itself_before_its_lease_lapses(
    make_engine: MakeEngine, own_clock: ManualClock, clock: ManualClock, slept_s: float, trusted: bool
) -> None:
    """Without asking anybody: its machine may have slept, or the store may be away. A sixth of the lease is margin."""

    def body(context: TaskContext) -> None:
        own_clock.pass_s(slept_s)
        context.check()

    engine = make_engine(task=FunctionTask(body), clock=own_clock)
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    (job,) = engine.list_jobs("acme").jobs
    assert job.status is (JobStatus.DONE if trusted else JobStatus.INPROGRESS), "a job that may be lost is not ended"
    clock.pass_s(60)
    assert isinstance(engine.run_immediately("acme"), Started)


def test_trust_is_counted_from_before_the_renewal_was_asked(make_engine: MakeEngine, own_clock: ManualClock) -> None:
    trust: list[float] = []

    def body(context: TaskContext) -> None:
        own_clock.pass_s(30)
        renew(context)
        own_clock.pass_s(15)
        trust.append(context.trust_left_s())  # type: ignore[attr-defined]

    engine = make_engine(task=FunctionTask(body), clock=own_clock)
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    assert trust == [35.0]


def test_a_store_that_is_away_is_waited_for_while_the_lease_is_trusted(
    make_engine: MakeEngine, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renewals and the finish meet a store that is away: no result is lost for it."""
    away = [3]
    commit = store.commit

    def flaky(changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        if changes[0].ended and away[0]:
            away[0] -= 1
            raise StoreUnavailableError
        return commit(changes)

    monkeypatch.setattr("aggmaint.worker.RETRY_S", 0.001)
    monkeypatch.setattr(store, "commit", flaky)
    engine = make_engine()
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    assert away == [0] and engine.list_jobs("acme").jobs[0].status is JobStatus.DONE


def test_a_failed_renewal_is_no_reason_to_stop(
    make_engine: MakeEngine, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def body(context: TaskContext) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(store, "commit", away)
            context.progress("build")

    def away(changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        raise StoreUnavailableError

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    assert engine.list_jobs("acme").jobs[0].status is JobStatus.DONE


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (JobCancelledError(), FailureCode.CANCELLED),
        (DeadlineExceededError(), FailureCode.TIMEOUT),
        (ShutdownError(), FailureCode.SHUTDOWN),
        (StopWorkError("a reason of its own"), FailureCode.ERROR),
    ],
)
def test_each_reason_to_stop_has_its_code(make_engine: MakeEngine, reason: StopWorkError, code: FailureCode) -> None:
    def body(_: TaskContext) -> None:
        raise reason

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    assert code_of(engine.list_jobs("acme").jobs[0]) is code


# -- threads ----------------------------------------------------------------------------------------------------------


def test_the_heart_keeps_a_long_job_alive(make_engine: MakeEngine, clock: ManualClock) -> None:
    gate = GateTask()
    engine = make_engine(
        task=gate, executor=ThreadPoolExecutor(1), settings=JobSettings(lease_s=20, heartbeat_s=0.2, deadline_s=600)
    )
    other = make_engine()
    engine.register_organizations(["acme"])
    outcome = engine.run_immediately("acme")
    assert isinstance(outcome, Started)
    gate.next_entered()
    for _ in range(6):
        before = lease_until(engine)
        clock.pass_s(19)
        assert other.tick().changed == 0
        until(lambda before=before: lease_until(engine) > before, "the next renewal")  # type: ignore[misc]
    gate.open()
    assert engine.wait("acme", outcome.job.id, timeout_s=20).status is JobStatus.DONE


def test_the_heart_looks_often_enough_for_a_short_heartbeat() -> None:
    """A heartbeat below PROGRESS_PERIOD_S is allowed by the settings, so it must be kept."""
    assert Heart(heartbeat_s=0.4)._period_s <= 0.1


def lease_until(engine: MaintenanceEngine) -> float:
    running = engine.get_organization("acme").running
    assert running is not None
    return running.lease.until_s


def test_cancel_reaches_a_job_of_this_engine_at_once(make_engine: MakeEngine) -> None:
    gate = GateTask()
    engine = make_engine(task=gate, executor=ThreadPoolExecutor(1))
    engine.register_organizations(["acme"])
    outcome = engine.run_immediately("acme")
    assert isinstance(outcome, Started)
    gate.next_entered()
    assert engine.cancel("acme", outcome.job.id)
    assert code_of(engine.wait("acme", outcome.job.id, timeout_s=20)) is FailureCode.CANCELLED


def test_cancel_reaches_a_job_of_another_engine_at_its_next_renewal(make_engine: MakeEngine) -> None:
    gate = GateTask()
    settings = JobSettings(lease_s=20, heartbeat_s=0.2, deadline_s=600)
    engine, other = make_engine(task=gate, executor=ThreadPoolExecutor(1), settings=settings), make_engine()
    engine.register_organizations(["acme"])
    outcome = engine.run_immediately("acme")
    assert isinstance(outcome, Started)
    gate.next_entered()
    assert other.cancel("acme", outcome.job.id)
    assert code_of(other.wait("acme", outcome.job.id, timeout_s=20)) is FailureCode.CANCELLED


@pytest.mark.parametrize("deaf", [False, True])
def test_close_ends_running_jobs_as_shutdown(make_engine: MakeEngine, deaf: bool) -> None:
    gate = GateTask(deaf=deaf)
    engine = make_engine(task=gate, executor=ThreadPoolExecutor(1))
    engine.register_organizations(["acme"])
    outcome = engine.run_immediately("acme")
    assert isinstance(outcome, Started)
    gate.next_entered()
    engine.close(timeout_s=0.05 if deaf else 20)
    job = engine.get_job("acme", outcome.job.id).job
    assert code_of(job) is FailureCode.SHUTDOWN
    gate.open()
    after = engine.run_immediately("acme")
    assert isinstance(after, Queued) and after.behind is None, "a closed engine takes requests, for others to run"
    assert engine.get_job("acme", outcome.job.id).job == job, "I4: what the deaf body returns later changes nothing"


def test_close_is_idempotent(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.close()
    engine.close()


def test_an_executor_that_takes_no_work_leaves_no_job_in_progress(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    engine = make_engine(executor=executor)
    engine.register_organizations(["acme"])
    for count in (1, 2):
        engine.run_immediately("acme")
        assert engine.get_current_job("acme") is None
        assert code_of(engine.list_jobs("acme").jobs[0]) is FailureCode.SHUTDOWN
        assert len(engine.list_jobs("acme").jobs) == count, "its place is free again"
    assert "takes no work" in caplog.text


def test_a_place_that_becomes_free_while_a_request_is_queued_is_used(
    make_engine: MakeEngine, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last job ends between "no place is free" and "the request is queued": nobody else would come for it."""
    gate = GateTask()
    engine = make_engine(task=gate, executor=ThreadPoolExecutor(1), jobs_max=1)
    engine.register_organizations(["acme", "other"])
    engine.run_immediately("acme")
    gate.next_entered()
    commit = store.commit

    def late(changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        if changes[0].org_id == "other" and not changes[0].granted and not changes[0].ended:
            gate.open()
            assert engine.wait_until_idle(timeout_s=20)
        return commit(changes)

    monkeypatch.setattr(store, "commit", late)
    assert isinstance(engine.run_immediately("other"), Queued)
    until(lambda: ended(engine, "other"), "the queued request")


def test_an_interrupt_in_an_executor_thread_ends_the_job(make_engine: MakeEngine) -> None:
    def body(_: TaskContext) -> None:
        raise KeyboardInterrupt

    engine = make_engine(task=FunctionTask(body), executor=ThreadPoolExecutor(1))
    engine.register_organizations(["acme"])
    outcome = engine.run_immediately("acme")
    assert isinstance(outcome, Started)
    assert code_of(engine.wait("acme", outcome.job.id, timeout_s=20)) is FailureCode.SHUTDOWN


@pytest.mark.parametrize("jobs_max", [1, 3])
def test_no_more_jobs_than_places_and_all_run_in_the_end(make_engine: MakeEngine, jobs_max: int) -> None:
    lock = threading.Lock()
    running = most = 0

    def body(_: TaskContext) -> MaintenanceReport:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if jobs_max > 1:
            together.wait(timeout=20)
        with lock:
            running -= 1
        return MaintenanceReport(True)

    together = threading.Barrier(jobs_max)
    engine = make_engine(task=FunctionTask(body), executor=ThreadPoolExecutor(8), jobs_max=jobs_max)
    org_ids = [f"org-{n}" for n in range(12)]
    engine.register_organizations(org_ids)
    outcomes = [engine.run_immediately(org_id) for org_id in org_ids]
    assert sum(isinstance(outcome, Queued) for outcome in outcomes) >= 1 or jobs_max > 1
    for org_id in org_ids:
        until(lambda org_id=org_id: ended(engine, org_id), org_id)  # type: ignore[misc]
    assert most == jobs_max


def test_I1_many_threads_on_one_organisation_never_two_at_once(make_engine: MakeEngine) -> None:
    gate = GateTask()
    engines = [make_engine(task=gate, executor=ThreadPoolExecutor(4)) for _ in range(3)]
    engines[0].register_organizations(["acme"])
    with ThreadPoolExecutor(12) as pool:
        barrier = threading.Barrier(12)

        def ask(n: int) -> object:
            barrier.wait(timeout=20)
            return engines[n % 3].run_immediately("acme")

        outcomes = list(pool.map(ask, range(12)))
    assert sum(isinstance(outcome, Started) for outcome in outcomes) == 1
    gate.open()
    until(lambda: len(engines[0].list_jobs("acme").jobs) == 2 and engines[0].get_current_job("acme") is None)
    assert gate.running_most == {"acme": 1}
    follow_up = engines[0].list_jobs("acme").jobs[0]
    assert follow_up.requests_folded == 11


def test_progress_of_a_threaded_job_is_seen_by_another_engine(make_engine: MakeEngine) -> None:
    gate = threading.Event()

    def body(context: TaskContext) -> None:
        context.progress("build", done=2, total=5)
        gate.wait(20)

    engine, other = make_engine(task=FunctionTask(body), executor=ThreadPoolExecutor(1)), make_engine()
    engine.register_organizations(["acme"])
    outcome = engine.run_immediately("acme")
    assert isinstance(outcome, Started)

    def seen() -> bool:
        running = other.get_organization("acme").running
        return running is not None and running.progress is not None and running.progress.done == 2

    until(seen, "the heart to write progress")
    gate.set()
    other.wait("acme", outcome.job.id, timeout_s=20)


def test_wait_until_idle_waits_for_what_follows_too(make_engine: MakeEngine) -> None:
    gate = GateTask()
    engine = make_engine(task=gate, executor=ThreadPoolExecutor(1), jobs_max=1)
    engine.register_organizations(["acme", "other"])
    assert engine.wait_until_idle(timeout_s=0)
    for org_id in ("acme", "acme", "other"):
        engine.run_immediately(org_id)
    gate.next_entered()
    assert not engine.wait_until_idle(timeout_s=0.01)
    gate.open()
    assert engine.wait_until_idle(timeout_s=20)
    assert [len(engine.list_jobs(org_id).jobs) for org_id in ("acme", "other")] == [2, 1]
    assert engine.get_current_job("acme") is engine.get_current_job("other") is None


def test_close_tells_whether_all_stopped_by_themselves(make_engine: MakeEngine) -> None:
    for deaf in (False, True):
        gate = GateTask(deaf=deaf)
        engine = make_engine(task=gate, executor=ThreadPoolExecutor(1), auto_register=True)
        engine.run_immediately(f"org-{deaf}")
        gate.next_entered()
        assert engine.close(timeout_s=0.05 if deaf else 20) is not deaf
        gate.open()


def test_the_stores_time_is_the_engines(make_engine: MakeEngine, clock: ManualClock) -> None:
    assert make_engine().store_time() == clock.read()
