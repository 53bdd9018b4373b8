"""The twelve cases of spec/http-api.md, section 6, each through a real uvicorn socket, plain and under /api/1.0."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from aggmaint import CubeUpdate, MaintenanceEngine
from aggmaint.asgi import create_app
from aggmaint.stores.memory import MemoryStore
from aggmaint.testing.clocks import NOON, ManualClock
from tests.asgi.support import JOB_KEYS, ORG, SCHEDULES, TOKENS, Answer, T, ask_socket, engine_with, run_through, served
from tests.support.tasks import GateTask, until

GOLDEN = Path(__file__).parent / "golden"
RUNNING = "Maintenance already in progress for default; one more run will follow"


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


@frozen
class Place:
    """A served engine: `ask` goes through the socket."""

    engine: MaintenanceEngine
    port: int
    prefix: str

    def ask(self, method: str, path: str, *, token: str | None = "root") -> Answer:
        return ask_socket(self.port, method, self.prefix + path, token=token)

    def jobs(self, org_id: str, query: str = "") -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = self.ask("GET", f"{ORG}/{org_id}/history{query}").response["data"]
        return data

    def run(self, org_id: str) -> Answer:
        return self.ask("POST", f"{ORG}/{org_id}/run-immediately")


@pytest.fixture(params=["", "/api/1.0"], ids=["plain", "prefixed"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(engine: MaintenanceEngine, prefix: str) -> Iterator[Place]:
    """Jobs run inside the request that starts them."""
    with served(create_app(engine, authorize=TOKENS)) as port:
        yield Place(engine, port, prefix)


@pytest.fixture
def busy(gated: MaintenanceEngine, prefix: str) -> Iterator[Place]:
    """Jobs stay in progress until the gate opens."""
    with served(create_app(gated, authorize=TOKENS)) as port:
        yield Place(gated, port, prefix)


def test_case_1_run_immediately(place: Place) -> None:
    answer = place.run("default")
    expected = golden("run_immediately")
    assert answer.status == 200
    assert list(answer.body) == list(expected)
    assert answer.timeless() == {key: expected[key] for key in ("status", "response")}
    assert place.run("acme-eu").body["status"]["message"].endswith("acme-eu")
    assert [len(place.jobs(org_id)) for org_id in ("default", "acme-eu")] == [1, 1]


def test_case_2_the_job_in_progress(busy: Place) -> None:
    idle = busy.ask("GET", f"{ORG}/default")
    assert idle.timeless() == {"status": {"code": 0, "message": "200 OK"}, "response": None}
    busy.run("default")
    answer = busy.ask("GET", f"{ORG}/default")
    assert list(answer.body) == list(golden("current_job"))
    assert answer.timeless()["status"] == golden("current_job")["status"]
    job = answer.response
    assert list(job) == list(golden("current_job")["response"]) == JOB_KEYS
    assert (job["status"], job["endTime"]) == ("inprogress", None)


def test_case_3_history_newest_first(place: Place) -> None:
    ids = run_through(place.engine, "default", 4)
    body = place.ask("GET", f"{ORG}/default/history").body
    sample = golden("history")
    assert list(body) == list(sample) and list(body["response"]) == list(sample["response"])
    jobs = body["response"]["data"]
    assert [job["id"] for job in jobs] == ids[::-1]
    for job in jobs:
        assert list(job) == list(sample["response"]["data"][0])
        assert job["endTime"] >= job["startTime"] >= job["creationTime"] and job["status"] == "done"
        assert all(T.fullmatch(job[key]) for key in ("creationTime", "startTime", "endTime"))


def test_case_4_empty_history(place: Place) -> None:
    answer = place.ask("GET", f"{ORG}/default/history")
    assert answer.response == {"data": [], "limit": 10, "offset": 0, "force_pull": False}


def test_case_5_pages(place: Place) -> None:
    ids = run_through(place.engine, "default", 4)[::-1]
    page = place.ask("GET", f"{ORG}/default/history?limit=2&offset=1").response
    assert [job["id"] for job in page["data"]] == ids[1:3]
    assert (page["limit"], page["offset"]) == (2, 1)
    for limit in ("abc", "0", "-1", "1001"):
        place.ask("GET", f"{ORG}/default/history?limit={limit}").error(400)


def test_case_6_the_golden_bodies_are_the_published_ones() -> None:
    """Their round trip is in test_wire.py; here, that our copies are whole."""
    assert {path.stem for path in GOLDEN.iterdir()} == {"current_job", "history", "run_immediately", "schedules"}
    assert golden("schedules")["response"][0]["organization_Id"] == "default"


def test_case_7_two_at_once(busy: Place, gate: GateTask) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: busy.run("default"), range(8)))
        assert busy.run("acme-eu").status == 200
    assert [answer.status for answer in answers] == [200] * 8
    messages = sorted(answer.body["status"]["message"] for answer in answers)
    assert messages == [*[RUNNING] * 7, "Maintenance successfully started for default"]
    assert [job["status"] for job in busy.jobs("default")] == ["inprogress"]
    assert [job["status"] for job in busy.jobs("acme-eu")] == ["inprogress"]
    gate.open()
    until(lambda: [job["status"] for job in busy.jobs("default")] == ["done", "done"], "the job and its follow-up")
    assert gate.running_most == {"default": 1, "acme-eu": 1}


def test_case_8_rights(place: Place) -> None:
    reads = [f"{ORG}/default", f"{ORG}/default/history", f"{SCHEDULES}/default"]
    reads += ["/aggregates/orgId/default", "/aggregates/orgId/default/instances"]
    for path in reads:
        for token in (None, "wrong"):
            place.ask("GET", path, token=token).error(401)
        assert place.ask("GET", path, token="viewer").status == 200
    for token in (None, "wrong"):
        place.ask("POST", f"{ORG}/default/run-immediately", token=token).error(401)
    place.ask("POST", f"{ORG}/default/run-immediately", token="viewer").error(404)
    assert place.jobs("default") == []


def test_case_9_the_schedule_of_a_fresh_organisation(place: Place) -> None:
    answer = place.ask("GET", f"{SCHEDULES}/default")
    sample = golden("schedules")
    assert list(answer.body) == list(sample) and answer.timeless()["status"] == sample["status"]
    (schedule,) = answer.response
    assert list(schedule) == list(sample["response"][0])
    assert (schedule["time_expression"], schedule["latest_execution"]) == ("0 0 4 ? * * *", None)
    assert place.ask("GET", f"{SCHEDULES}/default?active=false").response == []
    assert place.ask("GET", f"{SCHEDULES}/default?active=true").response == [schedule]


def test_case_10_creating_schedules(place: Place) -> None:
    path = f"{SCHEDULES}/default?time_expression="
    assert place.ask("POST", f"{path}0%2030%202%20%3F%20*%20MON-FRI").status == 200
    five = place.ask("POST", f"{path}0%204%20*%20*%20*").error(400)
    place.ask("POST", f"{path}0%200%204%2030%202%20%3F").error(400)
    assert "0 0 4 ? * *" in five["error"]
    listed = place.ask("GET", f"{SCHEDULES}/default").response
    assert [each["time_expression"] for each in listed] == ["0 0 4 ? * * *", "0 30 2 ? * MON-FRI"]


def test_case_11_the_clock_strikes_four(prefix: str) -> None:
    clock = ManualClock(NOON.replace(hour=3, minute=59, second=59))
    with (
        engine_with(store=MemoryStore(clock=clock), inline=True) as engine,
        served(create_app(engine, authorize=TOKENS)) as port,
    ):
        place = Place(engine, port, prefix)
        engine.tick()
        assert place.jobs("default") == []
        clock.pass_s(1)
        for _ in range(3):
            engine.tick()
        (job,) = place.jobs("default")
        (schedule,) = place.ask("GET", f"{SCHEDULES}/default").response
        assert job["triggerType"] == "TimeBasedMaintenance"
        assert schedule["latest_execution"] == {
            "id": job["id"],
            "jobId": schedule["job_id"],
            "executedAt": "2026-03-02T04:00:00.000000Z",
        }
        assert list(schedule["latest_execution"]) == list(golden("schedules")["response"][0]["latest_execution"])
        engine.pause("default", reason="migration")
        clock.pass_s(timedelta(days=1).total_seconds())
        engine.tick()
        assert len(place.jobs("default")) == 1
        engine.cube_updated("default", cube_id="sales", change=CubeUpdate.STATIC_CUBE_UPDATED)
        assert place.run("default").status == 200
        triggers = [each["triggerType"] for each in place.jobs("default")]
        assert triggers == [
            "ManualMaintenance",
            "CubeUpdateMaintenance(StaticCubeUpdated)",
            "TimeBasedMaintenance",
        ]


def test_case_12_every_error_carries_an_object(place: Place) -> None:
    for method, path, token, status in (
        ("GET", f"{ORG}/default/history?limit=abc", "root", 400),
        ("GET", f"{ORG}/default", None, 401),
        ("GET", f"{ORG}/nobody", "root", 404),
        ("GET", "/nothing", "root", 404),
        ("PUT", f"{ORG}/default", "root", 405),
        ("DELETE", f"{SCHEDULES}/default/jobId/none", "root", 404),
        ("POST", f"{SCHEDULES}/default", "root", 400),
    ):
        place.ask(method, path, token=token).error(status)
    place.engine.enable("default", enabled=False)
    place.ask("POST", f"{ORG}/default/run-immediately").error(503)
