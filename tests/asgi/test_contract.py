"""The cases and behaviours of spec/http-api.md, sections 4 and 6, for the three published routes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from aggmaint import Started
from aggmaint.asgi import create_app
from aggmaint.engine import MaintenanceEngine
from aggmaint.stores.memory import MemoryStore
from aggmaint.stores.sqlite import SQLiteStore
from tests.asgi.support import JOB_KEYS, ORG, TOKENS, Answer, T, ask, ask_together, engine_with, run_through
from tests.support.tasks import FunctionTask, GateTask, until


@pytest.fixture(params=["", "/api/1.0"], ids=["plain", "prefixed"])
def prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def started(org_id: str) -> dict[str, object]:
    return {"status": {"code": 200, "message": f"Maintenance successfully started for {org_id}"}, "response": None}


def statuses(engine: MaintenanceEngine, org_id: str) -> list[str]:
    return [job.status.value for job in engine.list_jobs(org_id).jobs]


def history(app: ASGIApp, query: str = "", org_id: str = "default") -> Answer:
    return ask(app, "GET", f"{ORG}/{org_id}/history{query}")


# -- case 1, run-immediately -------------------------------------------------------------------------------------------


def test_run_immediately_answers_the_documented_body(app: ASGIApp, prefix: str) -> None:
    answer = ask(app, "POST", f"{prefix}{ORG}/default/run-immediately")
    assert (answer.status, answer.timeless()) == (200, started("default"))
    assert list(answer.body) == ["status", "responseCreated", "response"]


def test_run_immediately_touches_its_own_organisation_only(
    app: ASGIApp, engine: MaintenanceEngine, prefix: str
) -> None:
    answer = ask(app, "POST", f"{prefix}{ORG}/acme-eu/run-immediately")
    assert answer.timeless() == started("acme-eu")
    assert (statuses(engine, "acme-eu"), statuses(engine, "default")) == (["done"], [])


def test_a_second_request_is_remembered_once(gated: MaintenanceEngine, gated_app: ASGIApp, gate: GateTask) -> None:
    answers = [ask(gated_app, "POST", f"{ORG}/default/run-immediately") for _ in range(4)]
    follows = "Maintenance already in progress for default; one more run will follow"
    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.body["status"]["message"] for answer in answers[1:]] == [follows] * 3
    assert [answer.response for answer in answers] == [None] * 4
    gate.open()
    until(lambda: statuses(gated, "default") == ["done", "done"], "the job and its one follow-up")


def test_without_a_free_slot_the_request_is_queued(gate: GateTask) -> None:
    with engine_with(gate, jobs_max=1) as engine:
        app = create_app(engine, authorize=TOKENS)
        ask(app, "POST", f"{ORG}/default/run-immediately")
        answer = ask(app, "POST", f"{ORG}/acme-eu/run-immediately")
        expected = {"status": {"code": 200, "message": "Maintenance queued for acme-eu"}, "response": None}
        assert (answer.status, answer.timeless()) == (200, expected)


def test_if_busy_reject_names_the_running_job(gated: MaintenanceEngine, gated_app: ASGIApp) -> None:
    path = f"{ORG}/default/run-immediately?ifBusy=reject"
    assert ask(gated_app, "POST", path).timeless() == started("default")
    running = gated.get_current_job("default")
    refused = ask(gated_app, "POST", path)
    assert running is not None and refused.error(409)["jobId"] == running.id
    assert gated.get_organization("default").pending is None


@pytest.mark.parametrize("query", ["ifBusy=maybe", "ifBusy=", "ifBusy=reject&ifBusy=reject", "ifBusy=%FF", "ifBusy"])
def test_if_busy_takes_its_two_values_only(app: ASGIApp, engine: MaintenanceEngine, query: str) -> None:
    ask(app, "POST", f"{ORG}/default/run-immediately?{query}").error(400)
    assert statuses(engine, "default") == []


def test_it_runs_while_scheduled_jobs_are_paused(app: ASGIApp, engine: MaintenanceEngine) -> None:
    engine.pause("default", reason="migration")
    assert ask(app, "POST", f"{ORG}/default/run-immediately").timeless() == started("default")


def test_disabled_and_switched_off_are_different_503s(app: ASGIApp, engine: MaintenanceEngine) -> None:
    engine.enable("default", enabled=False)
    path = f"{ORG}/default/run-immediately"
    disabled = ask(app, "POST", path).error(503)
    off_app = create_app(engine, authorize=TOKENS, design_center_enabled=False)
    switched_off = ask(off_app, "POST", path).error(503)
    assert disabled["message"] == "Maintenance is disabled for default"
    assert switched_off["message"] == "Design Center APIs are not enabled"
    assert statuses(engine, "default") == []
    assert ask(off_app, "GET", f"{ORG}/default").status == ask(off_app, "GET", f"{ORG}/default/history").status == 200


# -- case 2, the job in progress ---------------------------------------------------------------------------------------


def test_idle_is_null(app: ASGIApp, prefix: str) -> None:
    answer = ask(app, "GET", f"{prefix}{ORG}/default")
    assert (answer.status, answer.timeless()) == (200, {"status": {"code": 0, "message": "200 OK"}, "response": None})


def test_a_running_job_has_eight_keys_and_no_end(gated: MaintenanceEngine, gated_app: ASGIApp, prefix: str) -> None:
    ask(gated_app, "POST", f"{ORG}/default/run-immediately")
    answer = ask(gated_app, "GET", f"{prefix}{ORG}/default")
    job = answer.response
    assert answer.body["status"] == {"code": 0, "message": "200 OK"}
    assert list(job) == JOB_KEYS
    assert (job["organizationId"], job["triggerType"]) == ("default", "ManualMaintenance")
    assert (job["status"], job["endTime"], job["errorInformation"]) == ("inprogress", None, {})
    assert T.fullmatch(job["creationTime"]) and T.fullmatch(job["startTime"])
    assert history(gated_app).response["data"] == [job]


# -- cases 3 to 5, history ---------------------------------------------------------------------------------------------


def test_history_is_newest_first_and_ordered_in_time(app: ASGIApp, engine: MaintenanceEngine, prefix: str) -> None:
    ids = run_through(engine, "default", 4)
    page = ask(app, "GET", f"{prefix}{ORG}/default/history").response
    assert list(page) == ["data", "limit", "offset", "force_pull"]
    assert [job["id"] for job in page["data"]] == ids[::-1]
    for job in page["data"]:
        assert list(job) == JOB_KEYS
        assert job["endTime"] >= job["startTime"] >= job["creationTime"]
        assert (job["status"], job["errorInformation"]) == ("done", {})


def test_an_empty_history(app: ASGIApp) -> None:
    expected = {
        "status": {"code": 0, "message": "200 OK"},
        "response": {"data": [], "limit": 10, "offset": 0, "force_pull": False},
    }
    assert history(app).timeless() == expected


def test_limit_and_offset_page_and_are_echoed(app: ASGIApp, engine: MaintenanceEngine) -> None:
    ids = run_through(engine, "default", 4)[::-1]
    page = history(app, "?limit=2&offset=1&force_pull=true&unknown=1&unknown=2").response
    assert [job["id"] for job in page["data"]] == ids[1:3]
    assert (page["limit"], page["offset"], page["force_pull"]) == (2, 1, True)


def test_the_greatest_values_are_allowed(app: ASGIApp, engine: MaintenanceEngine) -> None:
    run_through(engine, "default")
    assert len(history(app, "?limit=1000&force_pull=False").response["data"]) == 1
    assert history(app, f"?offset={2**63 - 1}").response["data"] == []


@pytest.mark.parametrize(
    "query",
    [
        *(f"limit={value}" for value in ("abc", "0", "-1", "1001", "", "1.0", "+5", "1e1", "%EF%BC%95", "%FF", "5 ")),
        *(f"limit={value}" for value in ("9" * 19, "9" * 5000, "5&limit=5", "1_0", "%00")),
        *(f"offset={value}" for value in ("-1", "abc", "", str(2**63), "0&offset=0")),
        *(f"force_pull={value}" for value in ("maybe", "", "1", "true&force_pull=true")),
        *(f"status={value}" for value in ("", "DONE", "running", "done&status=done", "%FF")),
        *(f"triggerType={value}" for value in ("", "a&triggerType=a", "%FF")),
        *(
            f"after={value}"
            for value in ("x", "MTo1=", "MTo1&offset=1", "&after=", "MTotMQ", "MTow NQ", "%FF", "MTowNQ")
        ),
    ],
)
def test_what_is_out_of_range_or_repeated_is_refused(app: ASGIApp, query: str) -> None:
    history(app, f"?{query}").error(400)


def test_history_filters_by_status_and_trigger(engine: MaintenanceEngine) -> None:
    def fail(context: object) -> None:
        raise RuntimeError("no")

    store = MemoryStore()
    with (
        engine_with(store=store, inline=True) as well,
        engine_with(FunctionTask(fail), store=store, inline=True) as ill,
    ):
        run_through(well, "default", 2)
        run_through(ill, "default")
        app = create_app(well, authorize=TOKENS)
        assert [job["status"] for job in history(app, "?status=failed").response["data"]] == ["failed"]
        assert [job["status"] for job in history(app, "?status=done").response["data"]] == ["done"] * 2
        assert history(app, "?status=inprogress").response["data"] == []
        assert len(history(app, "?triggerType=ManualMaintenance&status=done").response["data"]) == 2
        assert history(app, "?triggerType=CubeUpdateMaintenance(StaticCubeUpdated)").response["data"] == []


def test_the_cursor_walks_the_whole_history(app: ASGIApp, engine: MaintenanceEngine) -> None:
    ids = run_through(engine, "default", 5)[::-1]
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = history(app, f"?limit=2&after={after}").response
        assert list(page) == ["data", "limit", "offset", "force_pull", "next"]
        seen += [job["id"] for job in page["data"]]
        after = page["next"]
        run_through(engine, "default")  # newer jobs do not shift the pages
    assert seen == ids


def test_a_failed_job_tells_why(app: ASGIApp) -> None:
    def fail(context: object) -> None:
        raise RuntimeError("disk \ud800 full")

    with engine_with(FunctionTask(fail), inline=True) as engine:
        run_through(engine, "default")
        (job,) = history(create_app(engine, authorize=TOKENS)).response["data"]
    assert job["status"] == "failed"
    assert job["errorInformation"]["code"] == "error"
    assert "full" in job["errorInformation"]["message"]


# -- what manual jobs are called ---------------------------------------------------------------------------------------


def test_manual_jobs_can_be_called_as_the_original_does(engine: MaintenanceEngine) -> None:
    run_through(engine, "default")
    app = create_app(engine, authorize=TOKENS, manual_trigger_type="TimeBasedMaintenance")
    (job,) = history(app).response["data"]
    assert job["triggerType"] == "TimeBasedMaintenance"
    assert history(app, "?triggerType=TimeBasedMaintenance").response["data"] == [job]
    assert history(app, "?triggerType=ManualMaintenance").response["data"] == []
    history(app, "?triggerType=ManualMaintenance", "nobody").error(404)


# -- case 7, at the same time ------------------------------------------------------------------------------------------


def test_simultaneous_requests_start_one_job(gated: MaintenanceEngine, gated_app: ASGIApp, gate: GateTask) -> None:
    answers = ask_together(gated_app, [("POST", f"{ORG}/default/run-immediately")] * 12)
    assert [answer.status for answer in answers] == [200] * 12
    messages = [answer.body["status"]["message"] for answer in answers]
    assert messages.count("Maintenance successfully started for default") == 1
    assert statuses(gated, "default") == ["inprogress"]
    gate.open()
    until(lambda: statuses(gated, "default") == ["done", "done"], "the job and its one follow-up")
    assert gate.running_most == {"default": 1}


def test_two_organisations_run_together(gated: MaintenanceEngine, gated_app: ASGIApp) -> None:
    both = [("POST", f"{ORG}/default/run-immediately"), ("POST", f"{ORG}/acme-eu/run-immediately")]
    assert [answer.timeless() for answer in ask_together(gated_app, both)] == [started("default"), started("acme-eu")]
    assert statuses(gated, "default") == statuses(gated, "acme-eu") == ["inprogress"]


# -- case 8, rights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "tail"), [("POST", "/run-immediately"), ("GET", ""), ("GET", "/history")])
def test_without_a_valid_token_it_is_401(app: ASGIApp, method: str, tail: str) -> None:
    for token, error in ((None, "missing bearer token"), ("wrong", "the bearer token is invalid or expired")):
        answer = ask(app, method, f"{ORG}/default{tail}", token=token)
        assert answer.error(401) == {"error": error, "message": "Unauthorized"}
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_viewer_reads_and_does_not_start(app: ASGIApp, engine: MaintenanceEngine) -> None:
    assert ask(app, "GET", f"{ORG}/default", token="viewer").status == 200
    assert ask(app, "GET", f"{ORG}/default/history", token="viewer").status == 200
    ask(app, "POST", f"{ORG}/default/run-immediately", token="viewer").error(404)
    assert statuses(engine, "default") == []
    assert ask(app, "POST", f"{ORG}/default/run-immediately", token="manager").status == 200
    assert ask(app, "GET", f"{ORG}/default/history", token="manager").status == 200


# -- behaviour 8, two processes over one store -------------------------------------------------------------------------


def test_doors_over_one_store_answer_alike_while_a_worker_runs(tmp_path: Path, gate: GateTask) -> None:
    """The second door's engine has a task that must not run, and the warehouse is reached through tasks only."""

    def never(context: object) -> None:
        raise AssertionError("the reading door ran a task")

    path = tmp_path / "jobs.db"
    here, there = SQLiteStore(path), SQLiteStore(path)
    with engine_with(gate, store=here) as worker, engine_with(FunctionTask(never), store=there) as reader:
        doors = [create_app(engine, authorize=TOKENS) for engine in (worker, reader)]
        for _ in range(2):
            for tail in ("", "/history", "/history?after="):
                one, other = (ask(door, "GET", f"{ORG}/default{tail}").timeless() for door in doors)
                assert one == other
            worker.run_immediately("default")
        outcome = reader.run_immediately("default")
        assert not isinstance(outcome, Started)
    here.close()
    there.close()
