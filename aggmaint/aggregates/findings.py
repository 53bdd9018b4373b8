"""Findings: what a run found that is worth telling, each with the repair that it implies.

Theory of operation
-------------------
A finding is a decision of weight `finding` or `problem`, a step that failed, or a definition in quarantine. What has to be
done about it follows from its code alone, by the table below: the run does it itself (`automatic`), or a person has to.
Nothing that is not provably ours is ever repaired.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from attrs import asdict, frozen

from .decisions import Decision, Subject, decisions_to_json
from .quarantine import QUARANTINED
from .reasons import Reason, Weight

STEP_FAILED = "step_failed"


class Repair(StrEnum):
    """What mends a finding.

    rebuild, refresh, restore_view, retry  the run does it, this one or the next.
    adopt, approve  a person asks a job for it.
    correct_definition, correct_source, rename, look  a person mends what the message names.
    none  it is only told.
    """

    REBUILD = "rebuild"
    REFRESH = "refresh"
    RESTORE_VIEW = "restore_view"
    RETRY = "retry"
    ADOPT = "adopt"
    APPROVE = "approve"
    CORRECT_DEFINITION = "correct_definition"
    CORRECT_SOURCE = "correct_source"
    RENAME = "rename"
    LOOK = "look"
    NONE = "none"


AUTOMATIC = frozenset({Repair.REBUILD, Repair.REFRESH, Repair.RESTORE_VIEW, Repair.RETRY})
"""What runs do by themselves."""

REPAIRS: Mapping[str, Repair] = {
    Reason.DEFINITION_INVALID.value: Repair.CORRECT_DEFINITION,
    Reason.SOURCE_UNAVAILABLE.value: Repair.CORRECT_SOURCE,
    Reason.QUERY_FAILED.value: Repair.CORRECT_SOURCE,
    Reason.VIEW_NAME_TAKEN.value: Repair.RENAME,
    Reason.UPSTREAM_UNAVAILABLE.value: Repair.RETRY,
    Reason.TOO_MANY_PARTITIONS.value: Repair.CORRECT_DEFINITION,
    Reason.GATE_FAILED.value: Repair.LOOK,
    Reason.LEDGER_LOST.value: Repair.ADOPT,
    Reason.ADOPT_REFUSED.value: Repair.APPROVE,
    Reason.PARTITION_DAMAGED.value: Repair.REFRESH,
    Reason.PARTITION_UNDECLARED_CHANGE.value: Repair.REFRESH,
    Reason.PARTITION_UNVERIFIED.value: Repair.RETRY,
    Reason.MARK_UNKNOWN.value: Repair.LOOK,
    Reason.INSTANCE_MISSING.value: Repair.REBUILD,
    Reason.INSTANCE_REPLACED.value: Repair.REBUILD,
    Reason.INSTANCE_COLUMNS_DIFFER.value: Repair.REBUILD,
    Reason.INSTANCE_UNREADABLE.value: Repair.REBUILD,
    Reason.INSTANCE_LEDGER_WRONG.value: Repair.REBUILD,
    Reason.MASS_DROP_REFUSED.value: Repair.APPROVE,
    Reason.VIEW_MISSING.value: Repair.RESTORE_VIEW,
    Reason.OBJECT_FOREIGN.value: Repair.NONE,
    Reason.OBJECT_LOST.value: Repair.ADOPT,
    Reason.PARTITION_MERGE_REFUSED.value: Repair.REFRESH,
    STEP_FAILED: Repair.RETRY,
    QUARANTINED: Repair.LOOK,
}
"""By a finding's code. Every reason of weight `finding` or `problem` is here (tests/aggregates/test_findings.py)."""


@frozen
class Finding:
    """See the module's docstring. `code` is a reason, `step_failed` or `definition_quarantined`."""

    code: str
    weight: Weight
    subject: Subject
    aggregate: str
    definition_id: str | None
    partitions: tuple[str, ...]
    message: str

    @property
    def repair(self) -> Repair:
        return REPAIRS[self.code]

    @property
    def automatic(self) -> bool:
        """Whether runs repair it by themselves."""
        return self.repair in AUTOMATIC

    def to_json(self) -> dict[str, Any]:
        """{"code", "weight", "subject", "aggregate", "definition_id", "partitions", "message", "repair", "automatic"}"""
        told = {**asdict(self), "partitions": list(self.partitions)}
        plain = {key: value.value if isinstance(value, StrEnum) else value for key, value in told.items()}
        return {**plain, "repair": self.repair.value, "automatic": self.automatic}


def findings_of(decisions: Sequence[Decision]) -> list[Finding]:
    """Those of a plan's decisions, partitions that are decided alike in one."""
    told = [each for each in decisions if each.weight in {Weight.FINDING, Weight.PROBLEM}]
    return [
        Finding(
            code=entry["reason"],
            weight=Weight(entry["weight"]),
            subject=Subject(entry["subject"]),
            aggregate=entry["aggregate"],
            definition_id=entry["definition_id"],
            partitions=tuple(entry["partitions"]),
            message=entry["words"],
        )
        for entry in decisions_to_json(told)
    ]
