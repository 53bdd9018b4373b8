"""What readers see once marks are set, and declarations that contradict themselves."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aggmaint.aggregates.freshness import with_marks
from aggmaint.aggregates.looking import Hints, SourceMark, audit_due, periods_in
from aggmaint.aggregates.model import PartitionBy, Source
from aggmaint.aggregates.periods import Period
from aggmaint.errors import InvalidDefinitionError

from .test_plan import NOW, instance, record


def state(key: str, starts_at: str | None, ends_at: str | None, how: str = "fresh") -> dict[str, Any]:
    return {"key": key, "starts_at": starts_at, "ends_at": ends_at, "state": how, "reason": "partition_fresh"}


INVENTORY = {
    "definitions": [
        {
            "id": "1",
            "mark_names": {"rows": ["sales"], "other": ["shops"]},
            "stale_partitions": 0,
            "partition_states": [
                state("2024-01", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"),
                state("2024-02", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
                state("null", None, None),
            ],
        }
    ]
}


def at(month: int, day: int = 1) -> datetime:
    return datetime(2024, month, day, tzinfo=UTC)


@pytest.mark.parametrize(
    ("marks", "states"),
    [
        ([], ["fresh", "fresh", "fresh"]),
        ([SourceMark("SALES", at(1, 31), at(2))], ["stale", "fresh", "stale"]),
        ([SourceMark("sales", at(2), at(3))], ["fresh", "stale", "stale"]),
        ([SourceMark("sales", at(2, 15))], ["fresh", "stale", "stale"]),
        ([SourceMark("sales", None, at(1, 2))], ["stale", "fresh", "stale"]),
        ([SourceMark("*")], ["stale", "stale", "stale"]),
        ([SourceMark("shops", at(1), at(2))], ["unknown", "unknown", "unknown"]),
        ([SourceMark("others")], ["fresh", "fresh", "fresh"]),
    ],
)
def test_later_marks_make_partitions_stale_for_readers(marks: list[SourceMark], states: list[str]) -> None:
    """Half-open ranges; a mark on a joined source may concern any partition."""
    (definition,) = with_marks(INVENTORY, marks)["definitions"]
    assert [each["state"] for each in definition["partition_states"]] == states
    assert definition["stale_partitions"] == sum(each != "fresh" for each in states)
    reasons = {each["reason"] for each in definition["partition_states"] if each["state"] != "fresh"}
    assert reasons <= {"partition_marked"}


@pytest.mark.parametrize(
    ("declared", "remedy"),
    [
        ({"updated_at": "seen"}, 'deletes = "none"'),
        ({"deletes": "soft"}, "without updated_at"),
        ({"updated_at": "seen", "deletes": "hard"}, "none, soft"),
        ({"append_only": "id", "updated_at": "seen", "deletes": "none"}, "give one of the two"),
        ({"marks_commit_in_order": True}, "name the column that grows by append_only"),
        ({"updated_at": "at", "deletes": "none", "marks_commit_in_order": True}, "updated_at='at' rows are changed"),
        ({"append_only": "id", "marks_commit_in_order": "yes"}, "'yes' must be true or false"),
        ({"append_only": " "}, "not empty"),
    ],
)
def test_a_declaration_must_be_whole(declared: dict[str, Any], remedy: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=remedy):
        Source(table="events", **declared)


@pytest.mark.parametrize(
    ("ends", "keys"),
    [
        (datetime(2024, 3, 10, tzinfo=UTC), {"2024-02", "2024-03"}),
        (datetime(2024, 3, 31, 12, tzinfo=UTC), {"2024-02", "2024-03", "2024-04"}),
    ],
)
def test_the_periods_of_a_range_are_a_day_wider_than_the_range(ends: datetime, keys: set[str]) -> None:
    found = periods_in(PartitionBy("day", "month", zone="Europe/Berlin"), datetime(2024, 2, 29, tzinfo=UTC), ends)
    assert found is not None
    assert {each.key for each in found} == keys


def test_ranges_that_name_too_many_periods_or_none_mean_everything() -> None:
    by_day = PartitionBy("day", "day")
    assert periods_in(by_day, datetime(1990, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)) is None
    assert periods_in(by_day, datetime(1990, 1, 1, tzinfo=UTC), None) is None
    assert periods_in(by_day, datetime.min.replace(tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)) is None


def test_every_turn_of_the_audit_comes_once_in_its_days() -> None:
    """Whatever the rhythm: the k-th turn is due when the k-th share of the days is over, the oldest look first."""
    periods = [Period(f"2024-{month:02}") for month in range(1, 11)]
    mine = instance(partitions=tuple(record(each) for each in periods))
    verified = {each.key: NOW for each in periods}
    seen: list[str] = []
    for step in range(1, 101):
        now = NOW + timedelta(days=step * 0.3)
        due = audit_due(mine, Hints(now=now, verified_at={mine.definition_id: verified}, audit_days=30))
        assert len(due) <= 1
        seen += [each.key for each in due]
        verified.update({each.key: now for each in due})
    assert seen == [each.key for each in periods]
    assert audit_due(mine, Hints(now=NOW + timedelta(days=90), audit_days=30)) == frozenset(periods)
    assert audit_due(mine, Hints()) == frozenset()
