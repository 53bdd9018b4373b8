"""What an inventory says of freshness beyond the run that wrote it: when each partition was last compared, and later marks.

Theory of operation
-------------------
A reader that can not open the warehouse has the inventory of the newest job, and the change marks that no complete job has
seen. `with_marks` puts the two together, purely: a partition that a mark touches is not fresh any more, whatever the
inventory says. A mark on the source whose rows make the partitions names periods (`stale`); one on a joined or
depended-on source may concern any (`unknown`). Partitions that do not exist yet can not be shown.

`mixed`: a budget, or what a job was asked for, split a refresh, so that old and new partitions stand side by side. A run
that does not reach the aggregate leaves it so, and says so, until all its partitions are fresh, or another table serves.

`verified_at` is when a partition's source and table were last both compared, or it was computed. It is carried from
inventory to inventory, is what the rotating audit goes by (`looking.py`), and costs no write in the warehouse.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from .decisions import MaintenancePlan, Subject
from .looking import EVERY_SOURCE, Mark, SourceMark, names_of
from .model import AggregateDefinition
from .reasons import Reason


def with_verified(
    inventory: Mapping[str, Any],
    definitions: Sequence[AggregateDefinition],
    plan: MaintenancePlan,
    last: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The inventory of a plan's run with `verified_at` per partition, and per definition what marks call its sources and
    whether it is mixed still.

    `mark_names`: {"rows": [names of the source that makes the partitions], "other": [names of all other sources]}.
    `last`: the inventory before.
    """
    by_id = {each.id: each for each in definitions}
    before = _verified_texts(last)
    split = {(each["id"], each["active_instance"]) for each in (last or {}).get("definitions", ()) if each.get("mixed")}
    compared = {
        (each.definition_id, each.partition)
        for each in plan.decisions
        if each.subject is Subject.PARTITION and each.reason is Reason.PARTITION_FRESH
    }
    planned_at = _text(plan.planned_at)

    def state(definition_id: str, instance_id: str | None, partition: Mapping[str, Any]) -> dict[str, Any]:
        key = partition["key"]
        if (definition_id, key) in compared and partition["state"] == "fresh":
            at = planned_at
        else:
            computed_at = str(partition["verified_at"])
            known = before.get((definition_id, instance_id, key), computed_at)
            at = known if known == computed_at else max(computed_at, known, key=datetime.fromisoformat)
        return {**partition, "verified_at": at}

    return {
        **inventory,
        "definitions": [
            {
                **each,
                "mixed": each["mixed"]
                or ((each["id"], each["active_instance"]) in split and each["stale_partitions"] > 0),
                "mark_names": _mark_names(by_id[each["id"]]),
                "partition_states": [state(each["id"], each["active_instance"], p) for p in each["partition_states"]],
            }
            for each in inventory["definitions"]
        ],
    }


def _verified_texts(inventory: Mapping[str, Any] | None) -> dict[tuple[str, str | None, str], str]:
    return {
        (each["id"], each["active_instance"], state["key"]): state["verified_at"]
        for each in (inventory or {}).get("definitions", ())
        for state in each["partition_states"]
        if state.get("verified_at")
    }


def _mark_names(definition: AggregateDefinition) -> dict[str, list[str]]:
    rows = names_of(definition.source)
    others = {
        name
        for source in (*(join.source for join in definition.joins), *definition.dependencies)
        for name in names_of(source)
    }
    return {"rows": sorted(rows), "other": sorted(others)}


def with_marks(inventory: Mapping[str, Any], marks: Iterable[Mark]) -> dict[str, Any]:
    """The inventory as it is to be read once these marks are set: `state`, `reason` and `stale_partitions` follow them.

    `marks`: those of the organisation's document (`ChangeMark`): no complete job has seen them.
    """
    listed = tuple(SourceMark.of(each) for each in marks)
    return {**inventory, "definitions": [_marked(each, listed) for each in inventory["definitions"]]}


def _marked(definition: Mapping[str, Any], marks: Sequence[SourceMark]) -> dict[str, Any]:
    names = definition.get("mark_names", {"rows": (), "other": ()})
    on_rows = [each for each in marks if each.source == EVERY_SOURCE or each.source.casefold() in names["rows"]]
    on_others = any(each.source == EVERY_SOURCE or each.source.casefold() in names["other"] for each in marks)
    states = [_marked_state(each, on_rows, on_others) for each in definition["partition_states"]]
    return {
        **definition,
        "partition_states": states,
        "stale_partitions": sum(each.get("folded", 1) for each in states if each["state"] != "fresh"),
    }


def _marked_state(state: Mapping[str, Any], on_rows: Sequence[SourceMark], on_others: bool) -> dict[str, Any]:
    if state["state"] != "fresh":
        return dict(state)
    if any(_overlaps(state, each) for each in on_rows):
        return {**state, "state": "stale", "reason": Reason.PARTITION_MARKED.value}
    if on_others:
        return {**state, "state": "unknown", "reason": Reason.PARTITION_MARKED.value}
    return dict(state)


def _overlaps(state: Mapping[str, Any], mark: SourceMark) -> bool:
    """Whether a half-open range touches a partition. One without times (null, or the whole) is touched by any mark."""
    starts_at, ends_at = _instant(state["starts_at"]), _instant(state["ends_at"])
    if starts_at is not None and mark.ends_at is not None and mark.ends_at <= starts_at:
        return False
    return not (ends_at is not None and mark.starts_at is not None and mark.starts_at >= ends_at)


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
