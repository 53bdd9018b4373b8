"""Quarantine: a definition that fails run after run must not hold everything else back.

After three failures in a row a definition is quarantined: automatic runs go on trying it and telling of it, but a run in
which only quarantined definitions failed is complete, so that demand is covered, back-offs end and nobody waits for a
repair that does not come. A change of the definition, or a run that a person asked for, lifts it (design: jobs.md,
Overlap). The count is carried from inventory to inventory.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .model import AggregateDefinition

FAILURES_MAX = 3
QUARANTINED = "definition_quarantined"
"""The finding's code."""


def count_failures(
    definitions: Iterable[AggregateDefinition], failing: Collection[str], last: Mapping[str, Any] | None
) -> dict[str, int]:
    """Failures in a row by definition id, this run included. `failing`: the ids that failed in it; `last`: inventory."""
    before = {
        each["id"]: each.get("failures_in_row", 0)
        for each in (last or {}).get("definitions", ())
        if any(each["id"] == d.id and each["definition_hash"] == d.definition_hash for d in definitions)
    }
    return {each.id: before.get(each.id, 0) + 1 for each in definitions if each.id in failing}


def quarantined(failures_in_row: Mapping[str, int], *, manual: bool) -> frozenset[str]:
    """The ids that hold nothing back any more: those that had failed so often before this run."""
    if manual:
        return frozenset()
    return frozenset(key for key, count in failures_in_row.items() if count > FAILURES_MAX)
