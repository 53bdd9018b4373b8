"""Every method of the engine, in one thread: what it answers, what it leaves, what it refuses."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aggmaint import (
    CubeUpdate,
    FailureCode,
    IfBusy,
    JobFinished,
    JobSettings,
    JobStarted,
    JobStatus,
    JobStore,
    MaintenanceEngine,
    MaintenanceReport,
    Queued,
    RefusalReason,
    Refused,
    Started,
    StepError,
    TaskContext,
)
from aggmaint.core.organization import REMOVED_SCHEDULES_MAX
from aggmaint.errors import (
    InvalidCronError,
    InvalidOrgIdError,
    InvalidValueError,
    JobNotFoundError,
    OrganizationNotFoundError,
    ScheduleNotFoundError,
    TaskFailedError,
    WarehouseBusyError,
)
from aggmaint.testing.clocks import NOON, ManualClock
from tests.engine.conftest import MakeEngine
from tests.support.tasks import FunctionTask, Recorder


def started_job_id(outcome: object) -> str:
    assert isinstance(outcome, Started)
    return outcome.job.id


# -- organisations ----------------------------------------------------------------------------------------------------


def test_register_is_idempotent_and_gives_the_default_schedule(engine: MaintenanceEngine) -> None:
    assert engine.register_organizations(["acme", "third", "third"]) == 1
    (schedule,) = engine.get_organization("third").schedules
    assert (schedule.time_expression, schedule.zone, schedule.created_by_user) == ("0 0 4 ? * * *", "UTC", "admin")
    assert schedule.active and schedule.next_slot == int(datetime(2026, 3, 3, 4, tzinfo=UTC).timestamp())


def test_register_many_in_batches(engine: MaintenanceEngine) -> None:
    assert engine.register_organizations(f"org-{n:04}" for n in range(1203)) == 1203
    assert engine.register_organizations(f"org-{n:04}" for n in range(1204)) == 1


def test_list_organizations_pages_by_id(engine: MaintenanceEngine) -> None:
    engine.register_organizations(["b", "a"])
    page = engine.list_organizations(limit=3)
    assert [snapshot.org_id for snapshot in page.snapshots] == ["a", "acme", "b"]
    assert page.next == "b"
    assert [s.org_id for s in engine.list_organizations(after=page.next, limit=3).snapshots] == ["other"]


HOSTILE = [
    "a/b",
    "..",
    "a b",
    "\u202eacme",
    "a\u030a",
    "å",
    "ACME",
    "0",
    "null",
    "'; --",
    "{org}",
    "\U0001f409",
    "x" * 255,
]


@pytest.mark.parametrize("org_id", HOSTILE)
def test_hostile_org_ids_are_just_ids(engine: MaintenanceEngine, org_id: str) -> None:
    engine.register_organizations(HOSTILE)
    job_id = started_job_id(engine.run_immediately(org_id))
    assert engine.get_job(org_id, job_id).job.org_id == org_id
    for other in {*HOSTILE, "acme"} - {org_id}:
        assert engine.list_jobs(other).jobs == ()
        with pytest.raises(JobNotFoundError):
            engine.get_job(other, job_id)


@pytest.mark.parametrize("org_id", ["", "x" * 256, "a\0b", "\ud800", 7, None, b"acme"])
def test_impossible_org_ids_are_refused(engine: MaintenanceEngine, org_id: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: engine.register_organizations([org_id]),
        lambda: engine.run_immediately(org_id),
        lambda: engine.get_organization(org_id),
        lambda: engine.cube_updated(org_id, cube_id="c", change=CubeUpdate.DYNAMIC_CUBE_UPDATED),
        lambda: engine.get_job(org_id, "j"),
        lambda: engine.list_jobs(org_id),
        lambda: engine.pause(org_id, reason="r"),
    ]
    for call in calls:
        with pytest.raises(InvalidOrgIdError):
            call()


def test_unknown_organisations_are_an_error(engine: MaintenanceEngine) -> None:
    calls: list[Callable[[], object]] = [
        lambda: engine.run_immediately("nobody"),
        lambda: engine.get_organization("nobody"),
        lambda: engine.get_current_job("nobody"),
        lambda: engine.list_jobs("nobody"),
        lambda: engine.get_inventory("nobody"),
        lambda: engine.cancel("nobody", "j"),
        lambda: engine.resume("nobody"),
        lambda: engine.add_schedule("nobody", "@daily"),
    ]
    for call in calls:
        with pytest.raises(OrganizationNotFoundError, match="register_organizations"):
            call()


def test_auto_register_registers_when_named(make_engine: MakeEngine) -> None:
    engine = make_engine(auto_register=True)
    assert isinstance(engine.run_immediately("new"), Started)
    with pytest.raises(OrganizationNotFoundError):
        engine.get_organization("seen")  # reading registers nobody
    engine.pause("changed", reason="r")
    assert engine.get_organization("changed").schedules
    assert [s.org_id for s in engine.list_organizations().snapshots] == ["changed", "new"]


# -- running ----------------------------------------------------------------------------------------------------------


def test_run_immediately_runs_the_task_and_keeps_its_report(
    make_engine: MakeEngine, recorder: Recorder, clock: ManualClock
) -> None:
    def body(context: TaskContext) -> MaintenanceReport:
        assert (context.org_id, context.fence.number, context.options) == ("acme", 1, {"dry": True})
        assert context.job.status is JobStatus.INPROGRESS
        assert context.now() == clock.wall_at
        clock.pass_s(7)
        errors = (StepError("build", "no room", "daily", None),)
        return MaintenanceReport(False, "one failed", {"steps": [1, 2]}, errors, inventory={"aggregates": ["daily"]})

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    outcome = engine.run_immediately("acme", options={"dry": True})
    details = engine.get_job("acme", started_job_id(outcome))
    job = details.job
    assert (job.status, job.complete, job.error) == (JobStatus.DONE, False, None)
    assert (job.started_at, job.ended_at) == (NOON, NOON + timedelta(seconds=7))
    assert details.report == {
        "complete": False,
        "summary": "one failed",
        "details": {"steps": [1, 2]},
        "errors": [{"step": "build", "message": "no room", "definition_id": "daily"}],
    }
    inventory = engine.get_inventory("acme")
    assert inventory is not None and (inventory.job, inventory.content) == (job, {"aggregates": ["daily"]})
    assert [type(event) for event in recorder.events] == [JobStarted, JobFinished]
    assert engine.get_current_job("acme") is None


def test_inventory_of_the_newest_job_that_left_one_is_kept(make_engine: MakeEngine) -> None:
    left = iter([None, {"n": 1}, None, {"n": 2}])
    engine = make_engine(task=FunctionTask(lambda _: MaintenanceReport(True, inventory=next(left))))
    engine.register_organizations(["acme"])
    seen = []
    for _ in range(4):
        engine.run_immediately("acme")
        inventory = engine.get_inventory("acme")
        seen.append(inventory and (inventory.job.fence.number, inventory.content["n"]))
    assert seen == [None, (2, 1), (2, 1), (4, 2)]


def fail(error: Exception) -> FunctionTask:
    def body(_: TaskContext) -> None:
        raise error

    return FunctionTask(body)


@pytest.mark.parametrize(
    ("error", "message", "cause"),
    [
        (TaskFailedError("no source", cause="source_gone"), "no source", "source_gone"),
        (WarehouseBusyError("held by 7", pid=7), "held by 7", "WarehouseBusyError"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", "exception"),
        (ValueError("file \udcff.parquet"), "ValueError: file \udcff.parquet", "exception"),
    ],
)
def test_a_task_that_raises_fails_its_job(make_engine: MakeEngine, error: Exception, message: str, cause: str) -> None:
    engine = make_engine(task=fail(error))
    engine.register_organizations(["acme"])
    job = engine.get_job("acme", started_job_id(engine.run_immediately("acme"))).job
    assert job.status is JobStatus.FAILED and job.error is not None
    assert (job.error.code, job.error.message, job.error.cause) == (FailureCode.ERROR, message, cause)


@pytest.mark.parametrize(
    "report",
    [
        MaintenanceReport(True, details={"x": object()}),
        MaintenanceReport(True, inventory={"x": {1, 2}}),
        MaintenanceReport(True, summary="\ud800"),
        MaintenanceReport(True, details={"share": float("nan")}),
        MaintenanceReport(True, inventory={"share": float("inf")}),
        "not a report",
    ],
    ids=["object", "set", "surrogate", "nan", "infinity", "text"],
)
def test_a_report_that_is_no_json_fails_the_job(make_engine: MakeEngine, report: Any) -> None:
    engine = make_engine(task=FunctionTask(lambda _: report))
    engine.register_organizations(["acme"])
    job = engine.get_job("acme", started_job_id(engine.run_immediately("acme"))).job
    assert job.error is not None and job.error.code is FailureCode.ERROR
    assert engine.get_organization("acme").running is None


def test_options_must_be_json(engine: MaintenanceEngine) -> None:
    for options in ({"x": object()}, {"x": float("nan")}):
        with pytest.raises((TypeError, ValueError)):
            engine.run_immediately("acme", options=options)
    assert engine.list_jobs("acme").jobs == ()


def test_options_of_the_caller_are_not_kept(make_engine: MakeEngine, task: FunctionTask) -> None:
    engine = make_engine()
    engine.register_organizations(["acme"])
    options = {"tables": ["a"]}
    engine.run_immediately("acme", options=options)
    options["tables"].append("b")
    assert task.contexts[0].options == {"tables": ["a"]}


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_in_the_body_ends_the_job_and_passes(make_engine: MakeEngine, raised: type[BaseException]) -> None:
    interrupts = [raised()]

    def body(_: TaskContext) -> None:
        if interrupts:
            raise interrupts.pop()

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    with pytest.raises(raised):
        engine.run_immediately("acme")
    (job,) = engine.list_jobs("acme").jobs
    assert job.status is JobStatus.FAILED and job.error is not None and job.error.code is FailureCode.SHUTDOWN
    assert isinstance(engine.run_immediately("acme"), Started), "the place is free again"


# -- reading ----------------------------------------------------------------------------------------------------------


def test_list_jobs_newest_first_with_offset_cursor_and_filters(engine: MaintenanceEngine, task: FunctionTask) -> None:
    for _ in range(3):
        engine.run_immediately("acme")
    engine.cube_updated("acme", cube_id="c", change=CubeUpdate.STATIC_CUBE_UPDATED)
    assert [job.fence.number for job in engine.list_jobs("acme").jobs] == [4, 3, 2, 1]
    assert [job.fence.number for job in engine.list_jobs("acme", limit=2, offset=1).jobs] == [3, 2]
    page = engine.list_jobs("acme", limit=2)
    assert page.next == 3
    assert [job.fence.number for job in engine.list_jobs("acme", limit=2, before=page.next).jobs] == [2, 1]
    cube = "CubeUpdateMaintenance(StaticCubeUpdated)"
    assert [job.fence.number for job in engine.list_jobs("acme", trigger_types=[cube]).jobs] == [4]
    assert engine.list_jobs("acme", statuses=[JobStatus.FAILED]).jobs == ()
    assert engine.list_jobs("acme", trigger_types=["\ud800"]).jobs == ()


@pytest.mark.parametrize("parts", [{"limit": 0}, {"limit": 1001}, {"offset": -1}])
def test_list_jobs_refuses_impossible_pages(engine: MaintenanceEngine, parts: dict[str, int]) -> None:
    with pytest.raises(InvalidValueError, match=next(iter(parts))):
        engine.list_jobs("acme", **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("job_id", ["", "nothing", "\ud800", "\0", "%"])
def test_get_job_of_no_job(engine: MaintenanceEngine, job_id: str) -> None:
    engine.run_immediately("acme")
    with pytest.raises(JobNotFoundError):
        engine.get_job("acme", job_id)


def test_wait_returns_an_ended_job_at_once_and_a_running_one_after_the_timeout(
    make_engine: MakeEngine,
) -> None:
    seen = []

    def body(context: TaskContext) -> None:
        seen.append(engine.wait("acme", context.job.id, timeout_s=0))

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    job_id = started_job_id(engine.run_immediately("acme"))
    assert seen[0].status is JobStatus.INPROGRESS
    assert engine.wait("acme", job_id, timeout_s=60).status is JobStatus.DONE


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_I18_cancel_asks_and_the_task_ends_the_job(make_engine: MakeEngine, recorder: Recorder) -> None:
    asked: list[bool] = []

    def body(context: TaskContext) -> None:
        asked.append(engine.cancel("acme", context.job.id))
        asked.append(engine.cancel("acme", context.job.id))
        assert engine.get_current_job("acme") == context.job, "cancelling keeps the lock"
        context.check()

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    engine.register_organizations(["other"])
    job_id = started_job_id(engine.run_immediately("acme"))
    job = engine.get_job("acme", job_id).job
    assert asked == [True, True]
    assert job.error is not None and job.error.code is FailureCode.CANCELLED
    assert not engine.cancel("acme", job_id)
    assert not engine.cancel("other", job_id)
    assert engine.get_organization("acme").not_before_at is None, "a wish is no failure: no back-off"


def test_a_task_that_ignores_cancel_ends_as_it_ends(make_engine: MakeEngine) -> None:
    def body(context: TaskContext) -> None:
        engine.cancel("acme", context.job.id)

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    job = engine.get_job("acme", started_job_id(engine.run_immediately("acme"))).job
    assert job.status is JobStatus.DONE


# -- administering ----------------------------------------------------------------------------------------------------


def test_schedules_are_added_removed_and_activated(engine: MaintenanceEngine, clock: ManualClock) -> None:
    schedule = engine.add_schedule("acme", "*/10 * * * *", zone="Europe/Berlin", created_by_user="ann")
    assert (schedule.zone, schedule.created_by_user, schedule.created_at) == ("Europe/Berlin", "ann", NOON)
    assert engine.get_organization("acme").schedule(schedule.id) == schedule
    assert not engine.activate_schedule("acme", schedule.id, active=False).active
    clock.pass_s(3600)
    again = engine.activate_schedule("acme", schedule.id)
    assert again.active and again.next_slot == int(NOON.timestamp()) + 3600 + 600, "it never fires for the past"
    assert engine.remove_schedule("acme", schedule.id) == again
    assert engine.get_organization("acme").schedule(schedule.id) is None
    revision = engine.get_organization("acme").revision
    assert engine.remove_schedule("acme", schedule.id) is None, "asked twice it is done once"
    assert engine.get_organization("acme").revision == revision
    for call, unknown in ((engine.activate_schedule, schedule.id), (engine.remove_schedule, "never was")):
        with pytest.raises(ScheduleNotFoundError):
            call("acme", unknown)


def test_the_newest_removed_schedules_are_remembered_and_no_more(engine: MaintenanceEngine) -> None:
    ids = [engine.add_schedule("acme", "@daily").id for _ in range(REMOVED_SCHEDULES_MAX + 1)]
    for schedule_id in ids:
        assert engine.remove_schedule("acme", schedule_id) is not None
    assert engine.get_organization("acme").removed_schedules == tuple(ids[1:])
    assert engine.remove_schedule("acme", ids[1]) is None
    with pytest.raises(ScheduleNotFoundError):
        engine.remove_schedule("acme", ids[0])


def test_bad_schedules_are_refused_and_nothing_is_written(engine: MaintenanceEngine) -> None:
    before = engine.get_organization("acme")
    with pytest.raises(InvalidCronError, match="no date matches"):
        engine.add_schedule("acme", "0 0 30 2 *")
    with pytest.raises(InvalidCronError, match="no date left in the future"):
        engine.add_schedule("acme", "0 0 4 * * ? 2020")
    for zone in ("Mars/Olympus", "../../etc/passwd", "", "\0"):
        with pytest.raises(InvalidValueError, match="time zone"):
            engine.add_schedule("acme", "@daily", zone=zone)
    assert engine.get_organization("acme") == before


def test_pause_and_resume_are_idempotent(engine: MaintenanceEngine, clock: ManualClock) -> None:
    engine.pause("acme", reason="migration", by="ann")
    engine.pause("acme", reason="another", by="bob")
    pause = engine.get_organization("acme").paused
    assert pause is not None and (pause.by, pause.reason, pause.since) == ("ann", "migration", NOON)
    assert engine.resume("acme") and not engine.resume("acme")


def test_I17_pause_starts_nothing_scheduled_but_lets_people_and_events_through(
    engine: MaintenanceEngine, clock: ManualClock
) -> None:
    schedule = engine.add_schedule("acme", "0 13 * * *")
    engine.pause("acme", reason="migration")
    clock.pass_s(3600)
    assert engine.tick().granted == 0
    after = engine.get_organization("acme").schedule(schedule.id)
    assert after is not None and (after.skipped, after.last_slot) == (1, int(NOON.timestamp()) + 3600)
    assert isinstance(engine.run_immediately("acme"), Started)
    assert isinstance(engine.cube_updated("acme", cube_id="c", change=CubeUpdate.DYNAMIC_CUBE_UPDATED), Started)


def test_disabled_refuses_and_enabling_never_fires_for_the_past(engine: MaintenanceEngine, clock: ManualClock) -> None:
    assert engine.enable("acme", enabled=False) and not engine.enable("acme", enabled=False)
    outcome = engine.run_immediately("acme")
    assert isinstance(outcome, Refused) and outcome.reason is RefusalReason.DISABLED
    outcome = engine.cube_updated("acme", cube_id="c", change=CubeUpdate.DYNAMIC_CUBE_UPDATED)
    assert isinstance(outcome, Refused) and outcome.reason is RefusalReason.DISABLED
    clock.pass_s(3 * 86_400)
    assert engine.tick().granted == 0
    assert engine.enable("acme")
    engine.tick()
    counts = [(s.missed, s.last_slot) for org in ("acme", "other") for s in engine.get_organization(org).schedules]
    assert counts == [(0, None), (3, int(datetime(2026, 3, 5, 4, tzinfo=UTC).timestamp()))]


# -- ticking ----------------------------------------------------------------------------------------------------------


def test_start_up_is_no_trigger(make_engine: MakeEngine, task: FunctionTask) -> None:
    make_engine().register_organizations(["acme"])
    assert make_engine().tick().changed == 0
    assert not task.contexts


def test_tick_runs_what_is_due_once_and_says_when_to_come_again(
    engine: MaintenanceEngine, clock: ManualClock, task: FunctionTask
) -> None:
    clock.pass_until(datetime(2026, 3, 3, 3, 59, 30, tzinfo=UTC))
    tick = engine.tick()
    assert (tick.granted, tick.changed, tick.wait_s) == (0, 0, 30.0)
    clock.pass_s(30)
    assert engine.tick().granted == 2
    assert engine.tick() == type(tick)(60.0, 0, 0)
    (job,) = engine.list_jobs("acme").jobs
    (schedule,) = engine.get_organization("acme").schedules
    assert (str(job.trigger), job.schedule_id) == ("TimeBasedMaintenance", schedule.id)
    assert job.slot == int(clock.wall_at.timestamp())
    assert schedule.latest_execution is not None and schedule.latest_execution.job_id == job.id
    assert len(task.contexts) == 2


def test_I11_a_slot_fires_once_whatever_the_wall_clock_does(engine: MaintenanceEngine, clock: ManualClock) -> None:
    clock.pass_until(datetime(2026, 3, 3, 4, tzinfo=UTC))
    assert engine.tick().granted == 2
    for step_s in (-3600, 3600, -10, 10, -7200, 7200):
        clock.step_wall(step_s)
        assert engine.tick().granted == 0


def test_a_slot_noticed_too_late_is_missed(make_engine: MakeEngine, clock: ManualClock) -> None:
    engine = make_engine(settings=JobSettings(grace_s=600))
    engine.register_organizations(["acme"])
    clock.pass_until(datetime(2026, 3, 5, 4, 10, 1, tzinfo=UTC))
    assert engine.tick().granted == 0
    (schedule,) = engine.get_organization("acme").schedules
    assert (schedule.missed, schedule.skipped, engine.list_jobs("acme").jobs) == (3, 0, ())


def test_a_tick_notices_everything_even_behind_a_long_backlog(
    make_engine: MakeEngine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that wait for a place must not hide slots that are due: those would be missed after the grace."""
    monkeypatch.setattr("aggmaint.engine.DUE_BATCH", 5)
    waiting = [f"a-{n:02}" for n in range(12)]

    def body(context: TaskContext) -> None:
        if context.org_id == "busy":
            for org_id in waiting:
                assert isinstance(engine.run_immediately(org_id), Queued)
            clock.pass_until(datetime(2026, 3, 3, 4, tzinfo=UTC))
            other.tick()
            seen.append(engine.get_organization("z").pending)

    seen: list[object] = []
    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations([*waiting, "busy", "z"])
    other = make_engine(executor=None)
    other.close()  # it has no place to offer, as if all were taken; it can still notice
    engine.run_immediately("busy")
    assert seen[0] is not None, "the slot of `z` was noticed although 12 organisations wait for a place"


# -- overlap ----------------------------------------------------------------------------------------------------------


def test_I9_reject_names_the_job_that_runs(make_engine: MakeEngine, clock: ManualClock) -> None:
    outcomes = []

    def body(_: TaskContext) -> None:
        clock.pass_s(10)
        outcomes.append(engine.run_immediately("acme", if_busy=IfBusy.REJECT))

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    job_id = started_job_id(engine.run_immediately("acme", if_busy=IfBusy.REJECT))
    assert len(outcomes) == 1, "nothing was made"
    (outcome,) = outcomes
    assert isinstance(outcome, Refused) and outcome.running is not None
    assert (outcome.reason, outcome.running.id, outcome.lease_left_s) == (RefusalReason.BUSY, job_id, 50.0)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_I9_many_requests_make_exactly_one_follow_up(make_engine: MakeEngine, recorder: Recorder, count: int) -> None:
    outcomes: list[object] = []

    def body(context: TaskContext) -> None:
        if context.fence.number == 1:
            outcomes.extend(engine.run_immediately("acme", options={str(n): n}) for n in range(count))

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    first = started_job_id(engine.run_immediately("acme"))
    assert [(o.behind and o.behind.id, o.requests_folded) for o in outcomes if isinstance(o, Queued)] == [
        (first, n + 1) for n in range(count)
    ]
    follow_up, _ = engine.list_jobs("acme").jobs
    assert (follow_up.fence.number, follow_up.requests_folded, str(follow_up.trigger)) == (
        2,
        count,
        "ManualMaintenance",
    )
    assert len(recorder.of(JobStarted)) == len(recorder.of(JobFinished)) == 2


def test_the_follow_up_has_the_strongest_trigger_the_first_instant_and_all_options(
    make_engine: MakeEngine, clock: ManualClock, task: FunctionTask
) -> None:
    def body(context: TaskContext) -> None:
        contexts.append(context)
        if context.fence.number == 1:
            clock.pass_s(1)
            engine.cube_updated("acme", cube_id="c", change=CubeUpdate.DYNAMIC_CUBE_UPDATED)
            clock.pass_s(1)
            engine.run_immediately("acme", options={"a": 1})
            clock.pass_s(1)
            engine.run_immediately("acme", options={"b": 2})

    contexts: list[TaskContext] = []
    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    follow_up = contexts[1]
    assert str(follow_up.job.trigger) == "ManualMaintenance"
    assert follow_up.job.created_at == NOON + timedelta(seconds=1)
    assert follow_up.job.started_at == NOON + timedelta(seconds=3)
    assert follow_up.options == {"a": 1, "b": 2}


def test_a_slot_during_a_run_is_skipped(make_engine: MakeEngine, clock: ManualClock) -> None:
    def body(context: TaskContext) -> None:
        clock.pass_s(3600)
        context_engine.tick()

    engine = make_engine(task=FunctionTask(body), settings=JobSettings(lease_s=7200))
    context_engine = make_engine()
    engine.register_organizations(["acme"])
    schedule = engine.add_schedule("acme", "0 13 * * *")
    engine.run_immediately("acme")
    after = engine.get_organization("acme").schedule(schedule.id)
    assert after is not None and (after.skipped, after.missed) == (1, 0)
    assert len(engine.list_jobs("acme").jobs) == 1


def test_an_update_during_a_run_is_followed_up_once(make_engine: MakeEngine, task: FunctionTask) -> None:
    def body(context: TaskContext) -> None:
        if context.fence.number == 1:
            for _ in range(5):
                assert isinstance(update(), Queued)

    def update() -> object:
        return engine.cube_updated("acme", cube_id="c", change=CubeUpdate.DYNAMIC_CUBE_UPDATED)

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    assert isinstance(update(), Started)
    document = engine.get_organization("acme")
    assert (document.demand, document.covered, document.last_fence) == ({"c": 6}, {"c": 6}, 2)


def test_a_covered_version_is_refused(engine: MaintenanceEngine) -> None:
    def update(version: int) -> object:
        return engine.cube_updated("acme", cube_id="c", change=CubeUpdate.STATIC_CUBE_UPDATED, version=version)

    assert isinstance(update(7), Started)
    for version in (7, 3):
        outcome = update(version)
        assert isinstance(outcome, Refused) and outcome.reason is RefusalReason.COVERED
    assert isinstance(update(8), Started)


def test_I16_an_incomplete_job_covers_nothing_and_is_followed_after_a_back_off(
    make_engine: MakeEngine, clock: ManualClock
) -> None:
    reports = iter([MaintenanceReport(False), MaintenanceReport(True)])
    engine = make_engine(task=FunctionTask(lambda _: next(reports)))
    engine.register_organizations(["acme"])
    engine.cube_updated("acme", cube_id="c", change=CubeUpdate.FIRST_TIME_CUBE_PROCESSED)
    document = engine.get_organization("acme")
    assert (document.uncovered, document.failure_streak, document.last_fence) == ({"c": 1}, 1, 1)
    assert engine.tick().granted == 0
    clock.pass_s(30)
    assert engine.tick().granted == 1
    document = engine.get_organization("acme")
    assert (document.uncovered, document.failure_streak, document.not_before_at) == ({}, 0, None)
    assert str(engine.list_jobs("acme").jobs[0].trigger) == "CubeUpdateMaintenance(FirstTimeCubeProcessed)"


def test_jobs_that_each_do_a_part_follow_each_other_until_all_is_done(
    make_engine: MakeEngine, clock: ManualClock
) -> None:
    """As budgets make them: nothing failed, so the waits do not grow, and no schedule is paused."""
    part = MaintenanceReport(False, progressed=True)
    reports = iter([part, part, part, MaintenanceReport(True)])
    engine = make_engine(task=FunctionTask(lambda _: next(reports)), settings=JobSettings(pause_after_failures=2))
    engine.register_organizations(["acme"])
    engine.cube_updated("acme", cube_id="c", change=CubeUpdate.STATIC_CUBE_UPDATED)
    for _ in range(3):
        document = engine.get_organization("acme")
        assert (document.uncovered, document.failure_streak, document.paused) == ({"c": 1}, 0, None)
        assert engine.tick().granted == 0
        clock.pass_s(30)
        assert engine.tick().granted == 1
    document = engine.get_organization("acme")
    assert (document.uncovered, document.not_before_at, document.last_fence) == ({}, None, 4)


def test_a_job_that_stood_for_several_requests_and_left_something_is_followed(
    make_engine: MakeEngine, clock: ManualClock
) -> None:
    """One of them asked for a part, the other for a whole run: the part alone was done."""
    entered = []

    def work(context: TaskContext) -> MaintenanceReport:
        entered.append(dict(context.options))
        if len(entered) == 1:
            assert isinstance(engine.run_immediately("acme", options={"rebuild": {"a": [None]}}), Queued)
            assert isinstance(engine.run_immediately("acme"), Queued)
        return MaintenanceReport(len(entered) != 2, progressed=len(entered) == 2)

    engine = make_engine(task=FunctionTask(work))
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    engine.tick()
    assert entered == [{}, {"rebuild": {"a": [None]}}]
    assert engine.tick().granted == 0
    clock.pass_s(30)
    assert engine.tick().granted == 1
    assert entered[2:] == [{}], "the follow-up asks for nothing less than all"
    clock.pass_s(3600)
    assert engine.tick().granted == 0, "one follow-up"


def test_back_off_doubles_and_a_person_ignores_it(make_engine: MakeEngine, clock: ManualClock) -> None:
    engine = make_engine(task=fail(TaskFailedError()), settings=JobSettings(backoff_base_s=100, backoff_cap_s=350))
    engine.register_organizations(["acme"])
    waits = []
    for _ in range(4):
        assert isinstance(engine.run_immediately("acme"), Started)
        not_before_at = engine.get_organization("acme").not_before_at
        assert not_before_at is not None
        waits.append((not_before_at - clock.wall_at).total_seconds())
    for wait_s, full_s in zip(waits, (100, 200, 350, 350), strict=True):
        assert full_s * 0.9 <= wait_s <= full_s
    assert len(set(waits)) == 4, "the jitter differs from job to job"


def test_a_busy_organisation_does_not_starve_the_others(make_engine: MakeEngine) -> None:
    """Oldest request first: an organisation that asks again in each of its runs goes to the end of the line."""
    order: list[str] = []

    def body(context: TaskContext) -> None:
        order.append(context.org_id)
        if len(order) == 1:
            for org_id in ("b", "c"):
                assert isinstance(engine.run_immediately(org_id), Queued)
        if context.org_id == "a" and len(order) < 8:
            engine.run_immediately("a")

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["a", "b", "c"])
    engine.run_immediately("a")
    assert sorted(order[:4]) == ["a", "a", "b", "c"], order


def test_queued_for_want_of_a_place_then_run(make_engine: MakeEngine) -> None:
    outcomes: list[object] = []

    def body(context: TaskContext) -> None:
        if context.org_id == "acme":
            outcomes.append(engine.run_immediately("other"))
            outcomes.append(engine.get_current_job("other"))

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme", "other"])
    engine.run_immediately("acme")
    queued, current = outcomes
    assert isinstance(queued, Queued) and (queued.behind, queued.requests_folded, current) == (None, 1, None)
    (job,) = engine.list_jobs("other").jobs
    assert job.status is JobStatus.DONE


# -- listeners --------------------------------------------------------------------------------------------------------


def test_I28_a_failing_listener_changes_nothing(
    make_engine: MakeEngine, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    def bad(event: object) -> None:
        raise RuntimeError("listener is ill")

    engine = make_engine(listeners=[bad, recorder])
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    assert [type(event) for event in recorder.events] == [JobStarted, JobFinished]
    assert "listener is ill" in caplog.text
    assert engine.list_jobs("acme").jobs[0].status is JobStatus.DONE


def test_two_engines_over_one_store_know_the_same(make_engine: MakeEngine, store: JobStore) -> None:
    outcomes: list[object] = []

    def body(context: TaskContext) -> None:
        if context.fence.number == 1:
            outcomes.append(second.run_immediately("acme"))
            outcomes.append(second.get_current_job("acme"))

    first = make_engine(task=FunctionTask(body))
    second = make_engine(task=FunctionTask(body))
    first.register_organizations(["acme"])
    job_id = started_job_id(first.run_immediately("acme"))
    queued, current = outcomes
    assert isinstance(queued, Queued) and queued.behind == current
    assert queued.behind is not None and queued.behind.id == job_id
    holders = {job.holder for job in second.list_jobs("acme").jobs}
    assert len(second.list_jobs("acme").jobs) == 2 and len(holders) == 1, "the follow-up ran where the first one ended"


def test_progress_is_seen_by_another_engine(make_engine: MakeEngine, clock: ManualClock) -> None:
    def body(context: TaskContext) -> None:
        context.progress("build", done=1, total=3, detail="daily")
        running = other.get_organization("acme").running
        seen.append(running and running.progress)

    seen: list[Any] = []
    engine, other = make_engine(task=FunctionTask(body)), make_engine()
    engine.register_organizations(["acme"])
    engine.run_immediately("acme")
    (progress,) = seen
    assert (progress.step, progress.done, progress.total, progress.detail, progress.at) == (
        "build",
        1,
        3,
        "daily",
        NOON,
    )


def test_jobs_max_must_be_positive(make_engine: MakeEngine) -> None:
    with pytest.raises(InvalidValueError, match="jobs_max=0"):
        make_engine(jobs_max=0)


def test_a_listener_may_call_the_engine(make_engine: MakeEngine) -> None:
    def chain(event: object) -> None:
        if isinstance(event, JobFinished) and event.org_id == "acme":
            outcomes.append(engine.run_immediately("other"))

    outcomes: list[object] = []
    engine = make_engine(listeners=[chain])
    engine.register_organizations(["acme", "other"])
    engine.run_immediately("acme")
    assert len(outcomes) == 1 and isinstance(outcomes[0], Queued), "the place of `acme` is not free yet"
    assert [job.status for job in engine.list_jobs("other").jobs] == [JobStatus.DONE]
