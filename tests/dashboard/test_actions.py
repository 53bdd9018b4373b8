"""Buttons: what each does, what it asks before, and what is said afterwards."""

from aggmaint import TaskContext
from aggmaint.asgi.dashboard.actions import ACTIONS, NOTICES
from aggmaint.core.ids import OrgId
from aggmaint.core.organization import OrgSnapshot
from aggmaint.testing.clocks import ManualClock
from tests.asgi.support import ask
from tests.dashboard.support import act, address, app_of, engine_of, get, led_to, post, read
from tests.support.tasks import FunctionTask, GateTask, until


def test_run_now_starts_a_job_and_leads_to_it() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine)
        target = led_to(act(app, "acme", "run"))
        (job,) = engine.list_jobs("acme").jobs
        assert target == f"job?org=acme&job={job.id}&notice=started"
        assert "The run has started." in get(app, "job", org="acme", job=job.id, notice="started").text


def test_a_second_press_asks_for_one_more_and_cancel_stops() -> None:
    gate = GateTask()
    with engine_of("acme", task=gate, inline=False) as engine:
        app = app_of(engine)
        act(app, "acme", "run")
        gate.next_entered()
        assert led_to(act(app, "acme", "run")).endswith("notice=follows")
        page = get(app, "organization", org="acme")
        assert "one more follows" in page.text and "Run once more after this" in page.text
        job = engine.get_current_job("acme")
        assert job is not None
        assert get(app, "job", org="acme", job=job.id).actions == {"cancel"}
        assert led_to(act(app, "acme", "cancel", job=job.id)).endswith("notice=cancelling")
        engine.wait("acme", job.id, timeout_s=20)
        assert "Cancelled" in get(app, "job", org="acme", job=job.id).text
        assert led_to(act(app, "acme", "cancel", job=job.id)).endswith("notice=not_running")
        gate.open()
        engine.wait_until_idle(timeout_s=20)


def test_what_is_dear_asks_first_and_does_nothing_unasked() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine)
        before = engine.get_organization("acme")
        for action in ("pause", "disable", "cancel", "schedule-remove", "schedule-add"):
            question = get(app, "act", org="acme", action=action)
            assert question.all("button", type="submit")
            unconfirmed = post(app, f"act?org=acme&action={action}", {"reason": "x", "job": "y"})
            assert unconfirmed.status == 200 and "confirmed" in unconfirmed.content.decode()
            read(unconfirmed)
        assert engine.get_organization("acme") == before
        engine.pause("acme", reason="moving", by="ada")
        question = read(post(app, "act?org=acme&action=run", {}))
        assert "Run although paused? acme ada paused scheduled runs: moving." in question.text
        assert engine.list_jobs("acme").jobs == ()
        assert led_to(act(app, "acme", "run")).startswith("job?")


def test_pause_wants_a_reason_and_resume_takes_it_back() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine)
        refused = act(app, "acme", "pause", reason="  ")
        assert refused.status == 422 and "reason" in read(refused).text
        assert engine.get_organization("acme").paused is None
        assert led_to(act(app, "acme", "pause", reason=" moving ")).endswith("notice=paused")
        paused = engine.get_organization("acme").paused
        assert paused is not None and (paused.reason, paused.by) == ("moving", "root")
        page = get(app, "organization", org="acme")
        assert "by root: moving" in page.text and "resume" in page.actions
        assert led_to(act(app, "acme", "resume")).endswith("notice=resumed")
        assert engine.get_organization("acme").paused is None


def test_switching_off_and_on() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine)
        act(app, "acme", "disable")
        assert not engine.get_organization("acme").enabled
        assert get(app, "organization", org="acme").actions == {
            "enable",
            "schedule-add",
            "schedule-off",
            "schedule-remove",
        }
        assert led_to(act(app, "acme", "run")).endswith("notice=refused")
        act(app, "acme", "enable")
        assert engine.get_organization("acme").enabled


def test_schedules_are_added_switched_and_removed() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine)
        wrong = act(app, "acme", "schedule-add", expression="0 0 4 31 2 ?", zone="UTC")
        assert wrong.status == 422
        kept = {given["name"]: given.get("value") for given, _ in read(wrong).all("input") if "name" in given}
        assert kept["expression"] == "0 0 4 31 2 ?"  # what was typed is not lost
        assert act(app, "acme", "schedule-add", expression="0 0 4 ? * *", zone="Mars/Base").status == 422
        act(app, "acme", "schedule-add", expression="0 30 2 ? * MON-FRI", zone="Europe/Berlin")
        added = engine.get_organization("acme").schedules[-1]
        assert (added.time_expression, added.zone, added.created_by_user) == (
            "0 30 2 ? * MON-FRI",
            "Europe/Berlin",
            "root",
        )
        act(app, "acme", "schedule-off", schedule=added.id)
        assert not engine.get_organization("acme").schedules[-1].active
        assert "inactive" in get(app, "organization", org="acme").text
        act(app, "acme", "schedule-on", schedule=added.id)
        assert engine.get_organization("acme").schedules[-1].active
        question = get(app, "act", org="acme", action="schedule-remove", schedule=added.id)
        assert "“0 30 2 ? * MON-FRI” is gone for good" in question.text
        act(app, "acme", "schedule-remove", schedule=added.id)
        assert [each.id for each in engine.get_organization("acme").schedules] != [added.id]
        assert len(engine.get_organization("acme").schedules) == 1


def test_unknown_actions_and_things_are_told_so() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine)
        assert act(app, "acme", "explode").status == 404
        assert act(app, "acme", "schedule-off", schedule="no such").status == 404
        assert get(app, "job", org="acme", job="no such", expect=404)
        assert "no such aggregate" not in get(app, "aggregate", org="acme", id="no such", expect=404).all("title")[0][1]


def test_an_action_that_needs_no_question_leads_back_from_its_page() -> None:
    with engine_of("acme") as engine:
        answer = ask(app_of(engine), "GET", address("act", org="acme", action="resume"))
        assert led_to(answer) == "organization?org=acme"


def test_a_notice_is_one_of_ours_or_nothing() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine)
        for notice in ("nonsense", "<script>", "__class__"):
            assert not get(app, "organization", org="acme", notice=notice).all("p", class_="notice tone-good")
        for notice, (_, words) in NOTICES.items():
            assert words in get(app, "organization", org="acme", notice=notice).text


def test_too_long_forms_are_refused() -> None:
    with engine_of("acme") as engine:
        answer = act(app_of(engine), "acme", "pause", reason="x" * 70_000)
        assert answer.status == 413
        read(answer)


def test_every_action_stands_in_the_table_with_a_question_or_none() -> None:
    document = OrgSnapshot(OrgId("acme"))
    asks = {name for name, action in ACTIONS.items() if action.ask(document, {}) is not None}
    assert asks == {"rebuild", "cancel", "pause", "disable", "schedule-add", "schedule-remove"}
    assert ACTIONS["cancel"].ask(document, {}).danger  # type: ignore[union-attr]  # it asks, as the line above says


def test_a_run_that_waits_for_a_place_is_queued() -> None:
    gate = GateTask()
    with engine_of("acme", "globex", task=gate, inline=False) as engine:
        app = app_of(engine)
        for org in ("a", "b", "c", "d"):
            engine.register_organizations([org])
            act(app, org, "run")
        assert led_to(act(app, "acme", "run")).endswith("notice=queued")
        assert (
            "Waiting" in get(app, "").text and "Waiting for a free place" in get(app, "organization", org="acme").text
        )
        gate.open()
        engine.wait_until_idle(timeout_s=20)


def test_running_jobs_show_how_far_they_are() -> None:
    gate = GateTask()

    clock = ManualClock()

    def body(context: TaskContext) -> None:
        clock.pass_s(5)
        context.progress("refresh", done=3, total=9, detail="sales.revenue")
        gate.run(context)

    with engine_of("acme", task=FunctionTask(body), inline=False, clock=clock) as engine:
        app = app_of(engine)
        act(app, "acme", "run")
        gate.next_entered()
        until(
            lambda: (running := engine.get_organization("acme").running) and running.progress, "progress in the store"
        )
        for page in (get(app, "organization", org="acme"), get(app, "")):
            assert "Publishing partitions" in page.text
            assert page.all("progress")[0][0].items() >= {"value": "3", "max": "9"}.items()
        gate.open()
        engine.wait_until_idle(timeout_s=20)


def test_a_rebuild_is_asked_and_asks_the_task_for_nothing_else() -> None:
    task = FunctionTask()
    with engine_of("acme", task=task) as engine:
        app = app_of(engine)
        question = get(app, "act", org="acme", action="rebuild", aggregate="a <b>", partition="2024-03")
        assert "the partition 2024-03 is computed again" in question.text
        (form,) = [given for given, _ in question.all("form") if given["action"].startswith("act?")]
        assert task.contexts == []
        target = led_to(post(app, form["action"], {"confirmed": "yes"}))
        assert target.startswith("job?")
        assert led_to(act(app, "acme", "rebuild", aggregate="d1")).startswith("job?")
        asked = [context.options for context in task.contexts]
        assert asked == [{"rebuild": {"a <b>": ["2024-03"]}}, {"rebuild": {"d1": [None]}}]
