"""A bound on inventories, so that a job store's rows stay small whatever a tenant has.

Theory of operation
-------------------
What is too long is folded, never cut blindly, and the inventory says under `omitted` what was. What readers lose is
detail; what they conclude stays on the safe side:

* Neighbouring fresh partitions become one entry, with the range from the first to the last, the oldest comparison and
  `folded`: how many they are. A later change mark that touches the range makes all of it stale (`freshness.py`). The
  aggregates with the most partitions are folded first. Stale and unknown partitions are never folded.
* Then dropped tables' records are left out, the oldest first, and last the SQL.
"""

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Any, Final

INVENTORY_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of its JSON; stores keep it compressed, to about a tenth of that."""

_STATE_BYTES, _DEFINITION_BYTES, _INSTANCE_BYTES = 600, 24_000, 4_000
"""Generous sizes of entries: what stays below the bound by them is not measured."""


def bounded(inventory: Mapping[str, Any], bytes_max: int = INVENTORY_BYTES_MAX) -> dict[str, Any]:
    """The inventory with at most so many bytes of JSON, as far as folding reaches; the same if it has not more."""
    made = dict(inventory)
    if _estimate(made) <= bytes_max or _size(made) <= bytes_max:
        return made
    omitted = {"partitions_folded": 0, "instances": 0, "sql": 0}
    definitions = [dict(each) for each in made["definitions"]]
    made |= {"definitions": definitions, "omitted": omitted}
    for each in sorted(definitions, key=lambda one: len(one["partition_states"]), reverse=True):
        states = _folded(each["partition_states"])
        omitted["partitions_folded"] += len(each["partition_states"]) - len(states)
        each["partition_states"] = states
        if _size(made) <= bytes_max:
            return made
    kept = [each for each in made["instances"] if each["status"] != "deleted"]
    omitted["instances"] = len(made["instances"]) - len(kept)
    made["instances"] = kept
    if _size(made) > bytes_max:
        omitted["sql"] = sum(each.get("sql") is not None for each in definitions)
        for each in definitions:
            each["sql"] = None
    return made


def _estimate(inventory: Mapping[str, Any]) -> int:
    states = sum(len(each["partition_states"]) for each in inventory["definitions"])
    return (
        states * _STATE_BYTES
        + len(inventory["definitions"]) * _DEFINITION_BYTES
        + len(inventory["instances"]) * _INSTANCE_BYTES
    )


def _size(inventory: Mapping[str, Any]) -> int:
    return len(json.dumps(inventory))


def _folded(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs of fresh partitions that have a range, each as one entry; all others as they are."""
    folded: list[dict[str, Any]] = []
    for foldable, run in groupby(states, key=_foldable):
        mine = list(run)
        folded.extend([_one(mine)] if foldable and len(mine) > 1 else mine)
    return folded


def _foldable(state: Mapping[str, Any]) -> bool:
    return state["state"] == "fresh" and state["starts_at"] is not None and state["ends_at"] is not None


def _one(states: list[dict[str, Any]]) -> dict[str, Any]:
    """Instants are ISO texts in UTC of one form within a field, so that they sort as they are."""
    first = min(states, key=lambda each: str(each["starts_at"]))
    last = max(states, key=lambda each: str(each["ends_at"]))
    verified = [each["verified_at"] for each in states if each.get("verified_at")]
    return {
        **first,
        "key": f"{first['key']} … {last['key']}",
        "ends_at": last["ends_at"],
        "rows": sum(each["rows"] for each in states),
        "published_at": max(str(each["published_at"]) for each in states),
        "verified_at": min(verified, default=None),
        "folded": sum(each.get("folded", 1) for each in states),
    }
