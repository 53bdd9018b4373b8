"""Ids, triggers, settings, reports, instants and leases: small values, by their rules."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggmaint import CubeUpdate, FailureCode, Fence, JobId, JobSettings, JobStatus, MaintenanceJob, StepError, Trigger
from aggmaint.core.ids import ORG_ID_LENGTH_MAX, OrgId, parse_org_id
from aggmaint.core.instants import StoreTime, epoch_s, from_epoch_s
from aggmaint.core.job import ErrorInformation, Lease
from aggmaint.core.organization import Request
from aggmaint.core.report import REPORT_BYTES_MAX, report_text
from aggmaint.core.trigger import MANUAL, PERIODIC, STRENGTH, TIME_BASED, TriggerKind, cube_update_trigger
from aggmaint.errors import InvalidOrgIdError, InvalidValueError

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

# -- ids --------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_an_org_id_is_taken_as_it_is_or_refused_for_its_length(text: str) -> None:
    if len(text) <= ORG_ID_LENGTH_MAX:
        assert parse_org_id(text) == text
    else:
        with pytest.raises(InvalidOrgIdError, match=str(len(text))):
            parse_org_id(text)


@pytest.mark.parametrize("text", ["", "a" * 256, "a\0", "\ud83d", "\udc00x", None, 1, b"a"])
def test_what_is_no_org_id(text: Any) -> None:
    with pytest.raises(InvalidOrgIdError) as caught:
        parse_org_id(text)
    assert isinstance(caught.value, ValueError) and caught.value.http_status == 400


# -- triggers ---------------------------------------------------------------------------------------------------------


@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z]{0,5}\(?[A-Za-z\n ]{0,5}\)?\n?", fullmatch=True))
def test_trigger_texts_round_trip(text: str) -> None:
    assert str(Trigger.parse(text)) == text


@given(st.from_regex(r"[A-Za-z]{1,9}", fullmatch=True), st.none() | st.from_regex(r"[A-Za-z]{1,9}", fullmatch=True))
def test_trigger_values_round_trip(name: str, argument: str | None) -> None:
    trigger = Trigger(name, argument)
    assert Trigger.parse(str(trigger)) == trigger


@pytest.mark.parametrize(
    ("text", "kind", "strength"),
    [
        ("ManualMaintenance", TriggerKind.MANUAL, 5),
        ("CubeUpdateMaintenance(FirstTimeCubeProcessed)", TriggerKind.CUBE_UPDATE, 4),
        ("CubeUpdateMaintenance(StaticCubeUpdated)", TriggerKind.CUBE_UPDATE, 3),
        ("CubeUpdateMaintenance(DynamicCubeUpdated)", TriggerKind.CUBE_UPDATE, 2),
        ("TimeBasedMaintenance", TriggerKind.TIME, 1),
        ("PeriodicMaintenance", TriggerKind.TIME, 1),
        ("SomethingElse(Yes)", TriggerKind.OTHER, 0),
        ("manualmaintenance", TriggerKind.OTHER, 0),
        ("", TriggerKind.OTHER, 0),
    ],
)
def test_kinds_and_strengths(text: str, kind: TriggerKind, strength: int) -> None:
    trigger = Trigger.parse(text)
    assert (trigger.kind, trigger.strength) == (kind, strength)


def test_every_change_of_a_cube_has_a_strength() -> None:
    assert {str(cube_update_trigger(change)) for change in CubeUpdate} <= set(STRENGTH)


def requests() -> st.SearchStrategy[Request]:
    triggers = st.sampled_from([MANUAL, TIME_BASED, PERIODIC, Trigger("X"), *map(cube_update_trigger, CubeUpdate)])
    instants = st.integers(0, 5).map(lambda s: NOON + timedelta(seconds=s))
    small = st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=2)
    return st.builds(Request, triggers, instants, st.booleans(), small, small, st.integers(1, 3))


@given(st.lists(requests(), min_size=1, max_size=5))
def test_folding_keeps_the_strongest_the_first_and_all(many: list[Request]) -> None:
    folded = many[0]
    for request in many[1:]:
        folded = folded.fold(request)
    assert folded.trigger.strength == max(request.trigger.strength for request in many)
    assert folded.created_at == min(request.created_at for request in many)
    assert folded.automatic is all(request.automatic for request in many)
    assert folded.folded == sum(request.folded for request in many)
    assert set(folded.options) == {key for request in many for key in request.options}
    assert set(folded.slots) == {key for request in many for key in request.slots}


def test_options_unite_as_json_does() -> None:
    """What a person asked for is not lost because another one asked for something too."""

    def asked(**options: Any) -> Request:
        return Request(MANUAL, NOON, False, options)

    first = asked(rebuild={"a": ["2024-01"], "b": [None]}, activate=["x"], approve=False, deep={"k": {"l": [1]}})
    second = asked(rebuild={"a": ["2024-02", "2024-01"], "c": []}, activate=["y"], approve=True, deep={"k": {"m": 2}})
    assert first.fold(second).options == {
        "rebuild": {"a": ["2024-01", "2024-02"], "b": [None], "c": []},
        "activate": ["x", "y"],
        "approve": True,
        "deep": {"k": {"l": [1], "m": 2}},
    }
    assert first.options["rebuild"] == {"a": ["2024-01"], "b": [None]}, "the one that waited is as it was"


# -- jobs, instants, leases -------------------------------------------------------------------------------------------

ERROR = ErrorInformation(FailureCode.ERROR, "no")


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("ended_at", [None, NOON])
@pytest.mark.parametrize("error", [None, ERROR])
def test_I6_a_job_is_in_progress_without_an_end_and_failed_with_an_error(
    status: JobStatus, ended_at: datetime | None, error: ErrorInformation | None
) -> None:
    def make() -> MaintenanceJob:
        parts: dict[str, Any] = {"status": status, "ended_at": ended_at, "error": error}
        return MaintenanceJob(JobId("j"), OrgId("o"), Fence(1, 1), MANUAL, NOON, NOON, "h", **parts)

    good = {(JobStatus.INPROGRESS, None, None), (JobStatus.DONE, NOON, None), (JobStatus.FAILED, NOON, ERROR)}
    if (status, ended_at, error) in good:
        assert make().status is status
    else:
        with pytest.raises(InvalidValueError, match="I6"):
            make()


def test_a_message_of_any_length_fits_a_row_of_history() -> None:
    assert ErrorInformation(FailureCode.ERROR, "x" * 2000).message == "x" * 2000
    assert ErrorInformation(FailureCode.ERROR, "x" * 10**6).message == "x" * 1999 + "…"


def test_instants_are_aware_and_utc() -> None:
    for wrong in (NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=1)))):
        with pytest.raises(InvalidValueError, match="UTC"):
            StoreTime(wrong, 0.0, "b")


@given(st.integers(-(10**10), 10**10), st.integers(0, 999_999))
def test_epoch_seconds_round_down_and_back(second: int, microsecond: int) -> None:
    instant = from_epoch_s(second)
    assert epoch_s(instant) == second == epoch_s(instant + timedelta(microseconds=microsecond))


def test_fences_are_ordered_by_generation_first() -> None:
    assert Fence(1, 9) < Fence(1, 10) < Fence(2, 1)


@pytest.mark.parametrize(
    ("boot", "steady_s", "lapsed", "past", "left_s"),
    [
        ("b", 59.9, False, False, pytest.approx(0.1)),
        ("b", 60.0, True, False, 0.0),
        ("b", 100.0, True, True, 0.0),
        ("c", 1.0, True, False, 0.0),
        ("c", 1000.0, True, False, 0.0),
    ],
)
def test_a_lease_lapses_by_time_deadline_or_boot(
    boot: str, steady_s: float, lapsed: bool, past: bool, left_s: float
) -> None:
    lease, time = Lease("b", 60.0, 100.0), StoreTime(NOON, steady_s, boot)
    assert (lease.lapsed(time), lease.past_deadline(time), lease.left_s(time)) == (lapsed, past, left_s)


def test_a_deadline_ends_a_lease_that_was_renewed_beyond_it() -> None:
    lease, time = Lease("b", 200.0, 100.0), StoreTime(NOON, 100.0, "b")
    assert lease.lapsed(time) and lease.past_deadline(time) and lease.left_s(time) == 0.0


# -- settings ---------------------------------------------------------------------------------------------------------

BAD_SETTINGS: list[dict[str, float]] = [
    {"lease_s": 0},
    {"heartbeat_s": -1},
    {"deadline_s": float("inf")},
    {"deadline_s": float("nan")},
    {"grace_s": -0.1},
    {"grace_s": float("nan")},
    {"backoff_base_s": 0},
    {"backoff_cap_s": float("inf")},
    {"heartbeat_s": 30.0},
    {"lease_s": 40.0},
    {"deadline_s": 59.0},
    {"pause_after_failures": -1},
    {"history_jobs_max": 0},
    {"history_age_s": 0.0},
]


@pytest.mark.parametrize("parts", BAD_SETTINGS, ids=str)
def test_impossible_settings_name_the_setting(parts: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=next(iter(parts))):
        JobSettings(**parts)


def test_settings_at_their_bounds() -> None:
    JobSettings(heartbeat_s=29.9, deadline_s=60.0, grace_s=0.0)


# -- reports ----------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(st.booleans(), st.text(max_size=50), st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_a_small_report_is_kept_as_it_is(complete: bool, summary: str, details: dict[str, Any]) -> None:
    error = StepError("build", "no", None, "i1")
    try:
        report = json.loads(report_text(complete, summary, details, [error]))
    except UnicodeEncodeError:
        assert any("\ud800" <= c <= "\udfff" for c in repr(details) + summary) or "\\ud" in repr((summary, details))
        return
    expected_error = {"step": "build", "message": "no", "instance_id": "i1"}
    assert report == {"complete": complete, "summary": summary, "details": details, "errors": [expected_error]}


@given(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(0, 3000), st.integers(1, 300)), max_size=4),
    st.integers(0, 3000),
    st.sampled_from("aü\u20ac\U0001f409"),
)
def test_a_report_is_bounded_and_says_what_is_left_out(
    sizes: dict[str, tuple[int, int]], errors: int, letter: str
) -> None:
    details = {key: [letter * width] * count for key, (count, width) in sizes.items()}
    text = report_text(False, letter * 3000, details, [StepError("s", letter * 90)] * errors)
    assert len(text.encode()) <= REPORT_BYTES_MAX
    report = json.loads(text)
    assert report["summary"] == letter * 2000
    omitted = report.get("omitted", {})
    expected: dict[str, list[Any]] = {**details, "errors": [None] * errors}
    for key, items in expected.items():
        kept = report["errors"] if key == "errors" else report["details"][key]
        assert len(kept) + omitted.get(key, 0) == len(items)
        assert kept or not items, "the first entry stays"


def test_a_report_that_no_list_makes_long_is_summarised() -> None:
    report = json.loads(report_text(True, "s", {"text": "x" * REPORT_BYTES_MAX}, [StepError("s", "m")]))
    assert report == {"complete": True, "summary": "s", "details": {}, "errors": [], "omitted": "all"}


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), b"x"])
def test_a_report_that_is_no_json_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        report_text(True, "", {"value": value}, [])
