"""Routes 4 to 6: schedules over HTTP, every parameter and code."""

import json
from collections.abc import Iterator
from uuid import UUID

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine, OrgId
from aggmaint.asgi import Access, Permission, create_app
from aggmaint.stores.memory import MemoryStore
from aggmaint.testing.clocks import NOON, ManualClock
from tests.asgi.support import SCHEDULES, TOKENS, Answer, T, ask, engine_with

KEYS = [
    "job_id",
    "organization_Id",
    "full_build",
    "time_expression",
    "created_by_user",
    "created_at",
    "latest_execution",
    "path",
]
HERE = f"{SCHEDULES}/default"
WEEKDAYS = "0 30 2 ? * MON-FRI"
WEEKDAYS_QUERY = "time_expression=0%2030%202%20%3F%20*%20MON-FRI"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def engine(clock: ManualClock) -> Iterator[MaintenanceEngine]:
    with engine_with(store=MemoryStore(clock=clock), inline=True) as engine:
        yield engine


def create(app: ASGIApp, query: str = "", body: bytes | None = None, token: str = "root") -> Answer:
    return ask(app, "POST", HERE + query, content=body, token=token)


def listed(app: ASGIApp, query: str = "") -> list[dict[str, object]]:
    answer = ask(app, "GET", HERE + query)
    assert (answer.status, answer.body["status"]) == (200, {"code": 200, "message": "success"})
    schedules: list[dict[str, object]] = answer.response
    return schedules


def default_id(engine: MaintenanceEngine) -> str:
    return engine.get_organization("default").schedules[0].id


# -- listing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/api/1.0"])
def test_a_new_organisation_has_the_default_schedule(app: ASGIApp, prefix: str) -> None:
    answer = ask(app, "GET", prefix + HERE)
    body = answer.timeless()
    (schedule,) = body.pop("response")
    assert (answer.status, body) == (200, {"status": {"code": 200, "message": "success"}})
    assert list(schedule) == KEYS
    assert UUID(schedule.pop("job_id")) and T.fullmatch(schedule.pop("created_at"))
    assert schedule == {
        "organization_Id": "default",
        "full_build": False,
        "time_expression": "0 0 4 ? * * *",
        "created_by_user": "admin",
        "latest_execution": None,
        "path": "time-based",
    }


def test_active_chooses(app: ASGIApp, engine: MaintenanceEngine) -> None:
    first = default_id(engine)
    second = engine.add_schedule("default", WEEKDAYS).id
    engine.activate_schedule("default", second, active=False)
    for query, expected in (
        ("", [first, second]),
        ("?active=true", [first]),
        ("?active=TRUE", [first]),
        ("?active=false", [second]),
    ):
        assert [each["job_id"] for each in listed(app, query)] == expected, query


@pytest.mark.parametrize(
    "query",
    [
        *("active=", "active=maybe", "active=1", "active=true&active=true", "active=%FF", "active=%00"),
        *("details=", "details=yes", "details=true&details=false"),
    ],
)
def test_values_that_are_no_booleans_are_400(app: ASGIApp, query: str) -> None:
    ask(app, "GET", f"{HERE}?{query}").error(400)


def test_details_tell_whether_and_when(app: ASGIApp, engine: MaintenanceEngine) -> None:
    schedule_id = default_id(engine)
    at_four = "2026-03-03T04:00:00.000000Z"

    def details() -> tuple[object, object]:
        (schedule,) = listed(app, "?details=true")
        assert list(schedule) == [*KEYS, "active", "next_execution"]
        return schedule["active"], schedule["next_execution"]

    assert details() == (True, at_four)
    engine.pause("default", reason="migration")
    assert details() == (True, None)
    engine.resume("default")
    engine.pause_schedule("default", schedule_id, reason="migration")
    assert details() == (True, None)
    engine.resume_schedule("default", schedule_id)
    engine.enable("default", enabled=False)
    assert details() == (True, None)
    engine.enable("default")
    engine.activate_schedule("default", schedule_id, active=False)
    assert details() == (False, None)
    assert list(listed(app)[0]) == KEYS


def test_the_latest_execution_is_the_jobs(app: ASGIApp, engine: MaintenanceEngine, clock: ManualClock) -> None:
    clock.pass_until(NOON.replace(day=3, hour=4))
    engine.tick()
    (job,) = engine.list_jobs("default").jobs
    (schedule,) = listed(app)
    assert schedule["latest_execution"] == {
        "id": job.id,
        "jobId": default_id(engine),
        "executedAt": "2026-03-03T04:00:00.000000Z",
    }


# -- creating ----------------------------------------------------------------------------------------------------------

BODY = json.dumps({"time_expression": WEEKDAYS}).encode()


@pytest.mark.parametrize(
    ("query", "body"),
    [
        (f"?{WEEKDAYS_QUERY}", None),
        ("?time_expression=0+30+2+?+*+MON-FRI", None),
        (f"?{WEEKDAYS_QUERY}", b"{}"),
        (f"?{WEEKDAYS_QUERY}", BODY),
        ("", BODY),
        ("", b"  " + BODY + b"\n"),
        ("?unknown=1", BODY),
    ],
)
def test_a_schedule_is_created_from_the_query_or_a_body(app: ASGIApp, query: str, body: bytes | None) -> None:
    answer = create(app, query, body)
    assert (answer.status, answer.body["status"]) == (200, {"code": 200, "message": "success"})
    assert list(answer.response) == KEYS
    assert answer.response["time_expression"] == WEEKDAYS
    assert [each["time_expression"] for each in listed(app)] == ["0 0 4 ? * * *", WEEKDAYS]
    assert listed(app)[1] == answer.response


@pytest.mark.parametrize(
    ("query", "body", "said"),
    [
        ("?time_expression=0%204%20*%20*%20*", None, "six or seven fields: "),
        ("?time_expression=@daily", None, "six or seven fields"),
        ("?time_expression=0%200%204%2030%202%20%3F", None, "no date matches"),
        ("?time_expression=0%200%204%20%3F%20*%20*%202001", None, ""),
        ("?time_expression=", None, "six or seven fields"),
        ("?time_expression=x%20x%20x%20x%20x%20x", None, ""),
        ("?time_expression=%FF", None, "UTF-8"),
        ("?time_expression=0%200%204%20%3F%20*%20%00", None, ""),
        (f"?{WEEKDAYS_QUERY}&{WEEKDAYS_QUERY}", None, "more than once"),
        ("?time_expression=" + "0%20" * 2000, None, ""),
        ("", None, "time_expression is missing"),
        ("", b"", "time_expression is missing"),
        ("", b"{}", "time_expression is missing"),
        ("", b"[]", "not a JSON object"),
        ("", b'{"time_expression": 5}', "give a string"),
        ("", b'{"time_expression": null}', "missing"),
        (f"?{WEEKDAYS_QUERY}", b"not JSON", "not JSON"),
        (f"?{WEEKDAYS_QUERY}", b'{"time_expression": "0 0 5 ? * *"}', "give it once"),
        (f"?{WEEKDAYS_QUERY}", b'{"time_expression": null}', "missing"),
        ("", b'{"time_expression": "0 4 * * *"}', "six or seven fields"),
        ("", b'{"time_expression": "0 0 4 ? * \\ud800"}', ""),
        ("", b"{", "not JSON"),
        ("", b"\xff\xfe", "not JSON"),
        ("", b"[" * 60000, "nested"),
        ("?details=maybe", BODY, "details"),
    ],
)
def test_what_is_no_expression_is_400_and_makes_nothing(
    app: ASGIApp, query: str, body: bytes | None, said: str
) -> None:
    assert said in create(app, query, body).error(400)["error"]
    assert len(listed(app)) == 1


def test_the_six_field_form_is_shown_to_who_sends_five(app: ASGIApp) -> None:
    error = create(app, "?time_expression=0%204%20*%20*%20*").error(400)["error"]
    assert "0 0 4 ? * *" in error and "second" in error


def test_who_made_it_is_told(engine: MaintenanceEngine) -> None:
    """By the name that the authoriser gives; "admin" where it gives none."""

    def authorize(request: Request, org_id: OrgId, permission: Permission) -> Access:
        request.state.aggmaint_user = "ü" * 300
        return Access.GRANTED

    for app, token, name in (
        (create_app(engine, authorize=TOKENS), "manager", "manager"),
        (create_app(engine, authorize=authorize), "x", "ü" * 255),
        (create_app(engine, authorize=lambda *_: Access.GRANTED), "x", "admin"),
    ):
        assert create(app, f"?{WEEKDAYS_QUERY}", token=token).response["created_by_user"] == name


def test_several_schedules_each_start_their_jobs(app: ASGIApp, engine: MaintenanceEngine, clock: ManualClock) -> None:
    made = create(app, f"?{WEEKDAYS_QUERY}").response["job_id"]
    clock.pass_until(NOON.replace(day=3, hour=5))
    clock.pass_until(NOON.replace(day=4, hour=2, minute=30))
    engine.tick()
    (_, second) = listed(app)
    latest = second["latest_execution"]
    assert isinstance(latest, dict) and latest["jobId"] == made


# -- activating, deactivating, deleting --------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/api/1.0"])
def test_changes_are_idempotent(app: ASGIApp, engine: MaintenanceEngine, prefix: str) -> None:
    schedule_id = default_id(engine)
    path = f"{prefix}{HERE}/jobId/{schedule_id}"
    for action, active in (("deactivate", False), ("deactivate", False), ("activate", True), ("activate", True)):
        answer = ask(app, "PUT", f"{path}/{action}?details=true")
        assert (answer.status, answer.body["status"]) == (200, {"code": 200, "message": "success"})
        assert (answer.response["job_id"], answer.response["active"]) == (schedule_id, active)
        assert list(ask(app, "PUT", f"{path}/{action}").response) == KEYS
    revision = engine.get_organization("default").revision
    for _ in range(3):
        answer = ask(app, "DELETE", path)
        assert (answer.status, answer.timeless()) == (
            200,
            {"status": {"code": 200, "message": "success"}, "response": None},
        )
    assert engine.get_organization("default").revision == revision + 1
    assert listed(app) == []
    for action in ("activate", "deactivate"):
        assert ask(app, "PUT", f"{path}/{action}").error(404)["scheduleId"] == schedule_id


def test_an_id_that_never_existed_is_404(app: ASGIApp, engine: MaintenanceEngine) -> None:
    foreign = engine.get_organization("acme-eu").schedules[0].id
    for schedule_id in ("no", "%00", "%20", "a%2Fb", foreign, "", "x" * 5000):
        for method, tail in (("PUT", "/activate"), ("PUT", "/deactivate"), ("DELETE", "")):
            answer = ask(app, method, f"{HERE}/jobId/{schedule_id}{tail}")
            assert answer.error(404)["error"] == "the organisation has no such schedule"
    assert engine.get_organization("acme-eu").schedules[0].active


def test_details_of_a_change_are_checked_first(app: ASGIApp, engine: MaintenanceEngine) -> None:
    path = f"{HERE}/jobId/{default_id(engine)}"
    ask(app, "PUT", f"{path}/deactivate?details=maybe").error(400)
    assert engine.get_organization("default").schedules[0].active


@pytest.mark.parametrize(
    ("method", "tail"),
    [("POST", f"?{WEEKDAYS_QUERY}"), ("PUT", "/jobId/{id}/deactivate"), ("DELETE", "/jobId/{id}")],
)
def test_a_viewer_changes_nothing(app: ASGIApp, engine: MaintenanceEngine, method: str, tail: str) -> None:
    before = engine.get_organization("default")
    path = HERE + tail.replace("{id}", default_id(engine))
    ask(app, method, path, token="viewer").error(404)
    ask(app, method, path, token=None).error(401)
    assert engine.get_organization("default") == before
    assert ask(app, "GET", HERE, token="viewer").status == 200


@pytest.mark.parametrize(
    ("tail", "allow"),
    [("", "GET, HEAD, POST"), ("/jobId/x", "DELETE"), ("/jobId/x/activate", "PUT"), ("/jobId/x/deactivate", "PUT")],
)
def test_other_methods_are_405(app: ASGIApp, tail: str, allow: str) -> None:
    answer = ask(app, "PATCH", HERE + tail, token=None)
    assert answer.headers["allow"] == allow
    answer.error(405)
