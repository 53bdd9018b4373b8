"""The wire codec: golden bodies survive a round trip, foreign jobs are read leniently, ours are written exactly."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from aggmaint import (
    ErrorInformation,
    FailureCode,
    Fence,
    JobId,
    JobStatus,
    MaintenanceJob,
    OrgId,
    StepError,
    Trigger,
)
from aggmaint.asgi import WireEnvelope, WireHistoryPage, WireJob, WireSchedule, job_to_wire
from aggmaint.asgi.wire import format_instant, parse_instant
from aggmaint.core.trigger import MANUAL
from aggmaint.errors import InvalidValueError
from tests.asgi.support import JOB_KEYS

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2026, 3, 2, 12, 0, 0, 5, tzinfo=UTC)
JOB = MaintenanceJob(JobId("j"), OrgId("acme"), Fence(1, 1), Trigger("TimeBasedMaintenance"), AT, AT, "h")


def read_job(payload: object) -> dict[str, Any]:
    return WireJob.from_json(payload).to_json()


def read_page(payload: object) -> dict[str, Any]:
    return WireHistoryPage.from_json(payload).to_json()


def read_null(payload: object) -> None:
    assert payload is None


def read_schedules(payload: object) -> list[dict[str, Any]]:
    assert isinstance(payload, list)
    return [WireSchedule.from_json(schedule).to_json() for schedule in payload]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("current_job", read_job),
        ("history", read_page),
        ("run_immediately", read_null),
        ("schedules", read_schedules),
    ],
)
def test_golden_bodies_survive_a_round_trip(name: str, read: Callable[[object], Any]) -> None:
    text = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    written = WireEnvelope.from_json(json.loads(text), read).to_json()
    assert json.dumps(written) == json.dumps(json.loads(text))  # the order of keys included


def test_every_golden_body_is_tried() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {"current_job", "history", "run_immediately", "schedules"}


FOREIGN = {
    "id": "not-a-uuid",
    "organizationId": "default",
    "triggerType": "Some New(Thing) 2",
    "creationTime": "2021-12-17T10:23:36.534831Z",
    "startTime": "2021-12-17T10:23:36Z",
    "status": "inprogress",
    "errorInformation": {},
}


@pytest.mark.parametrize("end", [{}, {"endTime": None}, {"endTime": "0001-01-01T00:00:00Z"}], ids=str)
def test_an_end_that_is_not_yet(end: dict[str, Any]) -> None:
    job = WireJob.from_json(FOREIGN | end)
    assert job.ended_at is None
    assert list(job.to_json()) == JOB_KEYS and job.to_json()["endTime"] is None


def test_a_job_in_progress_may_have_an_end_abroad() -> None:
    written = read_job(FOREIGN | {"endTime": "2021-12-17T12:23:36.534+01:00", "extra": 1, "errorInformation": None})
    assert (written["status"], written["endTime"]) == ("inprogress", "2021-12-17T11:23:36.534000Z")
    assert (written["id"], written["startTime"]) == ("not-a-uuid", "2021-12-17T10:23:36.000000Z")
    assert list(written) == JOB_KEYS and written["errorInformation"] == {}


@given(st.text())
def test_unknown_triggers_survive(trigger: str) -> None:
    assert read_job(FOREIGN | {"triggerType": trigger})["triggerType"] == trigger
    assert job_to_wire(evolve(JOB, trigger=Trigger.parse(trigger)))["triggerType"] == trigger


@pytest.mark.parametrize(
    "wrong", [{"id": 5}, {"status": None}, {"endTime": "soon"}, {"endTime": 5}, {"errorInformation": "x"}], ids=str
)
def test_what_is_no_job_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        WireJob.from_json(FOREIGN | wrong)


@pytest.mark.parametrize(
    "body", [[], {}, {"status": {"code": 0, "message": "x"}}, {"status": [], "responseCreated": None}]
)
def test_what_is_no_envelope_is_refused(body: object) -> None:
    with pytest.raises(InvalidValueError):
        WireEnvelope.from_json(body)


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)), st.integers(-14, 14))
def test_instants_have_six_digits_and_survive(naive: datetime, hours: int) -> None:
    at = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    text = format_instant(at)
    assert len(text) == 27 and text[10] == "T" and text[19] == "." and text.endswith("Z")
    assert parse_instant(text) == at


def test_our_jobs_are_written_exactly() -> None:
    assert job_to_wire(JOB) == {
        "id": "j",
        "organizationId": "acme",
        "triggerType": "TimeBasedMaintenance",
        "creationTime": "2026-03-02T12:00:00.000005Z",
        "startTime": "2026-03-02T12:00:00.000005Z",
        "endTime": None,
        "status": "inprogress",
        "errorInformation": {},
    }
    assert list(job_to_wire(JOB)) == JOB_KEYS


def test_a_failed_job_has_code_message_and_steps() -> None:
    error = ErrorInformation(FailureCode.ERROR, "it failed", "warehouse_busy", (StepError("build", "no", "d", None),))
    failed = evolve(JOB, status=JobStatus.FAILED, ended_at=AT, error=error)
    assert job_to_wire(failed)["errorInformation"] == {
        "code": "error",
        "message": "it failed",
        "cause": "warehouse_busy",
        "errors": [{"step": "build", "definitionId": "d", "instanceId": None, "message": "no"}],
    }
    plain = evolve(failed, error=ErrorInformation(FailureCode.TIMEOUT, "too long"))
    assert job_to_wire(plain)["errorInformation"] == {"code": "timeout", "message": "too long"}


def test_only_manual_jobs_are_renamed() -> None:
    renamed = job_to_wire(evolve(JOB, trigger=MANUAL), manual_trigger_type="X(Y)")
    assert renamed["triggerType"] == "X(Y)"
    assert job_to_wire(JOB, manual_trigger_type="X(Y)")["triggerType"] == "TimeBasedMaintenance"
