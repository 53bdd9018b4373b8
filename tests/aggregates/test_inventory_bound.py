"""Large inventories: folded to a bound, with nothing said that is not so, and told what was left out."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from aggmaint.aggregates.freshness import with_marks
from aggmaint.aggregates.inventory_bound import bounded

DAY = timedelta(days=1)
START = datetime(2015, 1, 1, tzinfo=UTC)


@frozen
class Mark:
    source: str
    starts_at: datetime | None
    ends_at: datetime | None


def text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def state(day: int, kind: str = "fresh") -> dict[str, Any]:
    at = START + day * DAY
    return {
        "key": at.date().isoformat(),
        "starts_at": text(at),
        "ends_at": text(at + DAY),
        "state": kind,
        "rows": 2,
        "published_at": text(at + DAY),
        "verified_at": text(at + 2 * DAY),
        "reason": "partition_fresh",
    }


def inventory(kinds: list[str], *, definitions: int = 1, instances: int = 2) -> dict[str, Any]:
    states = [state(day, kind) for day, kind in enumerate(kinds)]
    return {
        "definitions": [
            {
                "id": f"d{n}",
                "sql": "SELECT " + "x" * 1000,
                "partition_states": states[: len(states) // (n + 1)],
                "stale_partitions": 0,
                "mark_names": {"rows": ["sales"], "other": ["shops"]},
            }
            for n in range(definitions)
        ],
        "instances": [{"id": f"i{n}", "status": "deleted" if n else "active"} for n in range(instances)],
    }


def test_a_small_one_is_as_it_was() -> None:
    made = inventory(["fresh"] * 50)
    assert bounded(made) == made
    assert bounded(made, bytes_max=len(json.dumps(made))) == made, "one that just fits, too"


def test_a_large_one_is_folded_to_its_bound_the_largest_aggregate_first() -> None:
    made = inventory(["fresh"] * 4000, definitions=2)
    size = len(json.dumps(made))
    folded = bounded(made, bytes_max=size - 1)
    assert len(json.dumps(folded)) < size
    large, small = folded["definitions"]
    assert len(large["partition_states"]) == 1 and len(small["partition_states"]) == 2000
    (one,) = large["partition_states"]
    assert (one["folded"], one["rows"], one["key"]) == (4000, 8000, "2015-01-01 … 2025-12-13")
    assert (one["starts_at"], one["ends_at"]) == (text(START), text(START + 4000 * DAY))
    assert one["verified_at"] == text(START + 2 * DAY) and one["published_at"] == text(START + 4000 * DAY)
    assert folded["omitted"] == {"partitions_folded": 3999, "instances": 0, "sql": 0}
    assert made["definitions"][0]["partition_states"][0]["key"] == "2015-01-01", "the one given is left alone"


def test_what_folding_does_not_reach_loses_dropped_tables_and_then_its_sql() -> None:
    made = inventory(["stale"] * 300, instances=200)
    without = bounded(made, bytes_max=len(json.dumps(made)) - 100)
    assert [each["status"] for each in without["instances"]] == ["active"] and without["definitions"][0]["sql"]
    bare = bounded(made, bytes_max=10)
    assert bare["definitions"][0]["sql"] is None and bare["omitted"] == {
        "partitions_folded": 0,
        "instances": 199,
        "sql": 1,
    }
    assert len(bare["definitions"][0]["partition_states"]) == 300, "what is stale is always told"


kinds = st.lists(st.sampled_from(["fresh", "fresh", "fresh", "stale", "unknown"]), max_size=40)
marks = st.lists(
    st.builds(
        lambda source, day, length: Mark(source, START + day * DAY, START + (day + length) * DAY),
        st.sampled_from(["sales", "shops", "*", "other"]),
        st.integers(-3, 43),
        st.integers(1, 9),
    ),
    max_size=2,
)


@given(kinds, marks)
def test_no_partition_looks_fresher_for_being_folded(drawn: list[str], told: list[Mark]) -> None:
    made = inventory(drawn)
    exact = with_marks(made, told)["definitions"][0]
    rough = with_marks(bounded(made, bytes_max=0), told)["definitions"][0]
    assert rough["stale_partitions"] >= exact["stale_partitions"]
    assert sum(each.get("folded", 1) for each in rough["partition_states"]) == len(drawn)
    for each in exact["partition_states"]:
        mine = [s for s in rough["partition_states"] if s["starts_at"] <= each["starts_at"] < s["ends_at"]]
        assert len(mine) == 1
        assert each["state"] == "fresh" or mine[0]["state"] != "fresh"
        assert each["verified_at"] >= mine[0]["verified_at"]
