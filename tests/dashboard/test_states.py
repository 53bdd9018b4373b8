"""What is good and what is not: each rule of states.py."""

from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import evolve

from aggmaint.aggregates.freshness import with_marks
from aggmaint.asgi.dashboard.facts import AggregateFacts, ReportFacts, read_inventory, read_report
from aggmaint.asgi.dashboard.states import (
    Freshness,
    Health,
    PartitionState,
    State,
    freshness,
    health,
    partition_states,
    worst,
)
from aggmaint.core.ids import JobId, OrgId
from aggmaint.core.instants import StoreTime
from aggmaint.core.job import Fence, Lease, MaintenanceJob, RunningJob
from aggmaint.core.marks import ChangeMark
from aggmaint.core.organization import OrgSnapshot
from aggmaint.core.schedule import Pause
from aggmaint.core.trigger import MANUAL

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEVER = OrgSnapshot(OrgId("acme"))
RAN = evolve(NEVER, last_fence=3, inventory_job_id=JobId("j"))


def month(number: int) -> datetime:
    return datetime(2024, number, 1, tzinfo=UTC)


def aggregate(*marks: ChangeMark, **more: Any) -> AggregateFacts:
    """An aggregate with January fresh, February stale and March unknown, as it is to be read with these marks."""
    states = [("2024-01", "fresh", 1), ("2024-02", "stale", 2), ("2024-03", "unknown", 3)]
    body = {
        "id": "d1",
        "cube": "sales",
        "name": "revenue",
        "status": "active",
        "mark_names": {"rows": ["shop.lineitem", "lineitem"], "other": ["customer"]},
        "partition_states": [
            {
                "key": key,
                "state": state,
                "rows": 5,
                "reason": "partition_fresh" if state == "fresh" else "partition_changed",
                "starts_at": month(number).isoformat(),
                "ends_at": month(number + 1).isoformat(),
            }
            for key, state, number in states
        ],
        **more,
    }
    return read_inventory("j", with_marks({"definitions": [body]}, marks)).aggregates[0]


def report(decisions: list[dict[str, Any]] | None = None, steps: list[dict[str, Any]] | None = None) -> ReportFacts:
    about = {"subject": "partition", "definition_id": "d1"}
    found = read_report(
        {
            "details": {
                "decisions": [{**about, **each} for each in decisions or []],
                "steps": [{"definition_id": "d1", **each} for each in steps or []],
            }
        }
    )
    assert found is not None
    return found


def by_key(states: tuple[PartitionState, ...]) -> dict[str, State]:
    return {each.key: each.state for each in states}


def test_without_news_the_inventory_holds() -> None:
    states = partition_states(aggregate(), None, [])
    assert by_key(states) == {"2024-01": State.FRESH, "2024-02": State.STALE, "2024-03": State.UNKNOWN}


def test_a_word_that_is_not_known_is_unknown_never_fresh() -> None:
    body = {"partition_states": [{"key": "a", "state": "excellent"}, {"key": "b", "state": None}]}
    assert set(by_key(partition_states(aggregate(**body), None, [])).values()) == {State.UNKNOWN}


def test_what_a_failed_step_should_have_refreshed_is_failed_and_says_both_reasons() -> None:
    told = report(
        [{"partitions": ["2024-02"], "action": "refresh", "reason": "partition_changed", "words": "3 rows more"}],
        [{"action": "refresh", "partitions": ["2024-01", "2024-02"], "outcome": "failed", "error": "disk full"}],
    )
    states = {each.key: each for each in partition_states(aggregate(), told, [])}
    assert states["2024-02"].state is State.FAILED
    assert "3 rows more" in states["2024-02"].why and "disk full" in states["2024-02"].why
    assert states["2024-01"].state is State.FRESH  # the inventory was written after the failure


def test_a_period_that_was_wanted_and_is_not_published_is_missing() -> None:
    told = report(
        [
            {
                "partitions": ["2024-04"],
                "action": "refresh",
                "reason": "partition_new",
                "words": "9 rows in the source",
            },
            {"partitions": ["2023-12"], "action": "remove", "reason": "partition_emptied", "words": "no rows"},
        ],
        [{"action": "refresh", "partitions": ["2024-04"], "outcome": "failed", "error": "disk full"}],
    )
    states = {each.key: each for each in partition_states(aggregate(), told, [])}
    assert states["2024-04"].state is State.MISSING and "disk full" in states["2024-04"].why
    assert "2023-12" not in states  # it was removed, as it should be


def test_why_a_fresh_partition_was_written_is_told() -> None:
    told = report([{"partitions": ["2024-01"], "action": "refresh", "reason": "partition_changed", "words": "2 more"}])
    assert "2 more" in partition_states(aggregate(), told, [])[0].why


def test_another_aggregates_news_are_not_ours() -> None:
    other = report(
        [{"definition_id": "d2", "partitions": ["2024-04"], "action": "refresh"}],
        [{"definition_id": "d2", "partitions": ["2024-02"], "outcome": "failed"}],
    )
    assert partition_states(aggregate(), other, []) == partition_states(aggregate(), None, [])


@pytest.mark.parametrize(
    ("mark", "january", "words"),
    [
        (ChangeMark(1, "shop.lineitem"), State.STALE, "look: shop.lineitem"),
        (ChangeMark(1, "LINEITEM"), State.STALE, "look: LINEITEM"),
        (ChangeMark(1, "*"), State.STALE, "look: all sources"),
        (ChangeMark(1, "item"), State.FRESH, ""),
        (ChangeMark(1, "lineitem", month(1), month(2)), State.STALE, "lineitem, from 2024-01-01 to 2024-02-01"),
        (ChangeMark(1, "lineitem", month(2), None), State.FRESH, ""),
        (ChangeMark(1, "lineitem", None, month(2)), State.STALE, "lineitem, from the beginning to 2024-02-01"),
        (ChangeMark(1, "customer"), State.UNKNOWN, "look: customer"),
    ],
)
def test_marks_that_came_after_the_run_are_told(mark: ChangeMark, january: State, words: str) -> None:
    state = partition_states(aggregate(mark), None, [mark])[0]
    assert state.state is january
    assert words in state.why and ("marked as changed" in state.why) is (january is not State.FRESH)


def test_a_mark_that_the_run_knew_is_told_in_the_runs_words() -> None:
    told = report([{"partitions": ["2024-02"], "action": "defer", "reason": "partition_marked", "words": "it said so"}])
    facts = aggregate(partition_states=[{"key": "2024-02", "state": "stale", "reason": "partition_marked"}])
    assert partition_states(facts, told, [ChangeMark(1, "lineitem")])[0].why == "it said so"


def test_what_was_deactivated_is_waited_for_by_nobody() -> None:
    facts = aggregate(
        partition_states=[], status="invalid", deactivated={"at": "2024-01-01T00:00:00Z", "reason": "unused"}
    )
    assert freshness(facts, ()).blocked and worst([freshness(facts, ())]) is None


def test_the_worst_partition_speaks_for_the_aggregate() -> None:
    facts = aggregate()
    standing = freshness(facts, partition_states(facts, None, []))
    assert (standing.state, standing.fresh, standing.total) == (State.STALE, 1, 3)


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"status": "pending"}, State.MISSING),
        ({"status": "invalid"}, State.FAILED),
        ({"status": "pending", "failures_in_row": 2}, State.FAILED),
        ({"status": "active"}, State.FRESH),  # built, and empty
    ],
)
def test_what_was_never_built_is_missing_or_failed(more: dict[str, Any], state: State) -> None:
    facts = aggregate(partition_states=[], **more)
    assert freshness(facts, ()).state is state


def test_blocked_aggregates_make_nobody_worse() -> None:
    fresh = Freshness({State.FRESH: 1}, blocked=False, built=True, failing=0)
    blocked = Freshness({}, blocked=True, built=False, failing=1)
    assert worst([fresh, blocked]) is State.FRESH
    assert worst([blocked]) is None


def running() -> RunningJob:
    job = MaintenanceJob(JobId("j"), OrgId("acme"), Fence(1, 1), MANUAL, NOON, NOON, "host")
    return RunningJob(job, Lease(StoreTime(NOON, 0.0, "b").boot, 60.0, 600.0))


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (NEVER, Health.NEW),
        (evolve(NEVER, last_fence=1, running=running()), Health.NEW),  # its first run is under way
        (evolve(NEVER, last_fence=1), Health.HEALTHY),  # a task of the host's that leaves no inventory
        (RAN, Health.HEALTHY),
        (evolve(RAN, failure_streak=2), Health.FAILING),
        (evolve(RAN, paused=Pause("ada", "moving", NOON)), Health.PAUSED),
        (evolve(RAN, paused=Pause("ada", "moving", NOON), failure_streak=1), Health.FAILING),
        (evolve(RAN, enabled=False, failure_streak=1), Health.DISABLED),
    ],
)
def test_the_health_of_an_organisation(document: OrgSnapshot, found: Health) -> None:
    assert health(document) is found
