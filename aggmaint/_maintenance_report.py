"""The report of a maintenance run: its JSON details, its findings, its errors, one line for people.

    details = {"schema", "decisions": [see decisions_to_json],
               "steps": [{"action", "aggregate", "definition_id", "instance_id", "table", "partitions": [keys], "rows",
                          "seconds", "outcome": "done" | "failed", "error": null | words}],
               "findings": [{"code", "weight", "subject", "aggregate", "definition_id", "partitions": [keys], "message",
                             "repair", "automatic"}],
               "aggregates": [{"definition_id", "rows", "partitions", "stale_partitions"}]}

Findings are the decisions of weight `finding` and `problem`, the failed steps (code `step_failed`), and definitions in
quarantine (code `definition_quarantined`); see `aggregates/findings.py`. `aggregates` says how large each was when the run
ended: inventories are kept for the newest job only, reports for as long as their jobs.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import frozen

from .aggregates.decisions import (
    Action,
    BuildStep,
    MaintenancePlan,
    RecordStep,
    RefreshStep,
    Step,
    Subject,
    decisions_to_json,
    step_definition_id,
    step_label,
    step_to_json,
)
from .aggregates.findings import STEP_FAILED, Finding, findings_of
from .aggregates.quarantine import QUARANTINED
from .aggregates.reasons import Reason, Weight
from .task import MaintenanceReport, StepError
from .warehouse import BuildRequest, Publication, Refresh, Switch


@frozen
class StepResult:
    """How one step went."""

    step: Step
    instance_id: str | None
    table: str | None
    partitions: tuple[str, ...]
    rows: int
    seconds: float
    error: str | None
    code: str = STEP_FAILED

    @classmethod
    def of(cls, step: Step, publication: Publication, seconds: float, error: str | None) -> "StepResult":
        if isinstance(publication, Switch):
            built = publication.built
            keys = tuple(each.period.key for each in built.partitions)
            return cls(step, built.request.instance_id, built.request.table_name, keys, built.rows, seconds, error)
        assert not isinstance(step, BuildStep)
        if isinstance(step, RecordStep):
            return cls(step, None, None, (), len(step.records), seconds, error)
        keys, rows = (), 0
        if isinstance(publication, Refresh):
            assert isinstance(step, RefreshStep)
            keys = tuple(each.period.key for each in step.partitions)
            rows = step.rows_written({each.period: each.rows for each in publication.written})
        return cls(step, step.instance.id, step.instance.table_name, keys, rows, seconds, error)

    @classmethod
    def failed_build(cls, step: BuildStep, request: BuildRequest, error: str, code: str = STEP_FAILED) -> "StepResult":
        return cls(step, request.instance_id, request.table_name, (), 0, 0.0, error, code)

    @property
    def definition_id(self) -> str | None:
        return step_definition_id(self.step)

    def to_json(self) -> dict[str, Any]:
        return {
            **step_to_json(self.step),
            "instance_id": self.instance_id,
            "table": self.table,
            "partitions": list(self.partitions),
            "rows": self.rows,
            "seconds": round(self.seconds, 6),
            "outcome": "done" if self.error is None else "failed",
            "error": self.error,
        }


def make_report(
    plan: MaintenancePlan,
    results: Sequence[StepResult],
    inventory: Mapping[str, Any],
    quarantined: Collection[str] = (),
    *,
    worked: bool = False,
) -> MaintenanceReport:
    """The report of a run that did these steps of this plan. What `quarantined` definitions failed in holds nothing back.

    `worked`: some partition was computed, if only in a piece of a build that goes on later.
    """
    failures = [each for each in results if each.error is not None]
    problems = [each for each in plan.decisions if each.weight is Weight.PROBLEM]
    errors = (
        *(StepError(each.subject.value, each.words, each.definition_id, each.instance_id) for each in problems),
        *(
            StepError(each.to_json()["action"], each.error or "", each.definition_id, each.instance_id)
            for each in failures
        ),
    )
    details = {
        "schema": plan.schema,
        "decisions": decisions_to_json(plan.decisions),
        "steps": [each.to_json() for each in results],
        "findings": [
            each.to_json()
            for each in (
                *findings_of(plan.decisions),
                *map(_failed_step, failures),
                *(_quarantine(each) for each in inventory["definitions"] if each["id"] in quarantined),
            )
        ],
        "aggregates": [_size(each) for each in inventory["definitions"]],
    }
    sound = all(each.definition_id in quarantined for each in errors)
    complete = sound and not _left_over(plan)
    return MaintenanceReport(
        complete=complete,
        progressed=worked and sound and not complete,
        summary=_summary(plan, results),
        details=details,
        errors=errors,
        inventory=inventory,
    )


def _left_over(plan: MaintenancePlan) -> bool:
    """True if work was left to a later run, or partitions though nobody knows whether they are current."""
    return bool(plan.left_out) or any(each.reason is Reason.PARTITION_UNVERIFIED for each in plan.decisions)


def _size(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {"definition_id": definition["id"], **{key: definition[key] for key in _SIZES}}


_SIZES = ("rows", "partitions", "stale_partitions")


def _quarantine(definition: Mapping[str, Any]) -> Finding:
    times = definition["failures_in_row"]
    words = f"failed {times} times in a row: it holds nothing back until it is changed or run by hand"
    name = f"{definition['cube']}.{definition['name']}"
    return Finding(QUARANTINED, Weight.FINDING, Subject.DEFINITION, name, definition["id"], (), words)


def _failed_step(result: StepResult) -> Finding:
    return Finding(
        code=result.code,
        weight=Weight.PROBLEM,
        subject=Subject.DEFINITION,
        aggregate=step_label(result.step),
        definition_id=result.definition_id,
        partitions=result.partitions,
        message=result.error or "",
    )


_DONE_WORDS = {
    "build": "built",
    "refresh": "refreshed",
    "note": "noted",
    "retire": "retired",
    "restore_view": "views restored",
    "drop": "dropped",
    "forget": "forgotten",
    "adopt": "adopted",
    "disown": "given away",
}


def _summary(plan: MaintenancePlan, results: Sequence[StepResult]) -> str:
    definitions = sum(each.subject is Subject.DEFINITION for each in plan.decisions)
    done = Counter(each.to_json()["action"] for each in results if each.error is None)
    parts = [f"{done[action]} {words}" for action, words in _DONE_WORDS.items() if done[action]]
    failed = sum(each.error is not None for each in results)
    if failed:
        parts.append(f"{failed} failed")
    deferred = sum(each.action is Action.DEFER for each in plan.decisions)
    if deferred:
        parts.append(f"{deferred} left for a later run")
    findings = len(findings_of(plan.decisions))
    if findings:
        parts.append(f"{findings} findings")
    return f"{definitions} aggregates: {', '.join(parts) or 'nothing to do'}"
