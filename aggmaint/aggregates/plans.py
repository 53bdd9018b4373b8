"""A plan as a value for people and programs: what a run would do, step by step with its SQL, and why it does nothing else.

Theory of operation
-------------------
A `MaintenancePlan` holds the definitions and ledger rows that a run works on; a `Plan` holds their names only. So it can be
stored, read back (`from_json(to_json(plan)) == plan`), compared (`diff`) and sent to a job, and remembers what it was made
from: how far the ledger was (`LedgerSeen`) and the hash of each definition. `outdated` says whether that still stands; a job
that is asked to apply a plan asks it first, and does nothing else than the plan's steps.

JSON: {"version": 1, "organization_id", "schema", "installation", "planned_at", "writes",
       "seen": null | {"generation", "fence", "touch"}, "definitions": {id: hash},
       "decisions": [see decisions_to_json],
       "steps": [{"action", "aggregate", "definition_id", "instance_id", "build_id", "table", "partitions": [keys],
                  "reason", "rows": null | estimate, "drops": [names], "sql": [statements]}]}
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from ..errors import InvalidValueError
from .decisions import (
    Action,
    BuildStep,
    DropStep,
    MaintenancePlan,
    RecordStep,
    RefreshStep,
    RetireStep,
    Step,
    Subject,
    decisions_to_json,
    step_to_json,
)
from .model import AggregateDefinition
from .observation import InstanceRecord, Observation
from .reasons import MEANINGS, Reason, Weight
from .statements import statements_of

VERSION = 1


@frozen
class LedgerSeen:
    """How far the ledger was: the newest claim, and how often it was written."""

    generation: int
    fence: int
    touch: int


@frozen
class PlannedDecision:
    """Why, and what, about one candidate, or about partitions that are decided alike."""

    subject: Subject
    reason: Reason
    action: Action
    aggregate: str
    words: str
    definition_id: str | None
    instance_id: str | None
    partitions: tuple[str, ...]

    @property
    def weight(self) -> Weight:
        return MEANINGS[self.reason].weight


@frozen
class PlannedStep:
    """One step. `rows`: how many it writes or drops, by what the ledger knows; None if it knows nothing. `drops`: objects.

    `instance_id`, `build_id` and `table` are of the instance that it works on (None for a build: they are drawn later);
    `sql` is what writes, with the period's rows named in it, for people to read.
    """

    action: Action
    aggregate: str
    definition_id: str | None
    instance_id: str | None
    build_id: str | None
    table: str | None
    partitions: tuple[str, ...]
    reason: Reason
    rows: int | None
    drops: tuple[str, ...]
    sql: tuple[str, ...]

    @property
    def identity(self) -> tuple[str, str | None, str | None]:
        """What it does to what; two plans' steps of one identity differ in their parts only."""
        action = Action.REFRESH if self.action is Action.NOTE else self.action
        return (action.value, self.definition_id, self.instance_id)


@frozen
class Plan:
    """See the module's docstring. `definitions` are (id, definition hash) pairs, ordered by id."""

    organization_id: str
    schema: str
    installation: str
    planned_at: datetime
    seen: LedgerSeen | None
    definitions: tuple[tuple[str, str], ...]
    decisions: tuple[PlannedDecision, ...]
    steps: tuple[PlannedStep, ...]

    @property
    def writes(self) -> bool:
        """False if there is nothing to do: such a run issues no write statement."""
        return bool(self.steps)

    @property
    def digest(self) -> str:
        """16 hex digits over what the plan would do, and from what it was made; not over when, and in which words."""
        text = json.dumps(self.essence(), separators=(",", ":"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def essence(self) -> dict[str, Any]:
        """The plan without decisions, SQL and estimates: what a job needs to apply it. `from_json` reads it, too."""
        steps = [_step_to_json(each) for each in self.steps]
        touched = {each.definition_id for each in self.steps}
        return {
            **self._head(),
            "definitions": {key: value for key, value in self.definitions if key in touched},
            "decisions": [],
            "steps": [{**each, "rows": None, "drops": [], "sql": []} for each in steps],
        }

    def to_json(self) -> dict[str, Any]:
        return {
            **self._head(),
            "writes": self.writes,
            "decisions": [_decision_to_json(each) for each in self.decisions],
            "steps": [_step_to_json(each) for each in self.steps],
        }

    def _head(self) -> dict[str, Any]:
        seen = self.seen
        return {
            "version": VERSION,
            "organization_id": self.organization_id,
            "schema": self.schema,
            "installation": self.installation,
            "planned_at": self.planned_at.isoformat().replace("+00:00", "Z"),
            "seen": seen and {"generation": seen.generation, "fence": seen.fence, "touch": seen.touch},
            "definitions": dict(self.definitions),
        }

    @classmethod
    def from_json(cls, value: Any) -> "Plan":
        """Read what `to_json` wrote. Raises InvalidValueError for anything else."""
        try:
            if value["version"] != VERSION:
                raise InvalidValueError(f"the plan has version {value['version']!r}, not {VERSION}; make a new one")
            seen = value["seen"]
            return cls(
                organization_id=str(value["organization_id"]),
                schema=str(value["schema"]),
                installation=str(value["installation"]),
                planned_at=datetime.fromisoformat(value["planned_at"]),
                seen=None if seen is None else LedgerSeen(seen["generation"], seen["fence"], seen["touch"]),
                definitions=tuple(sorted(dict(value["definitions"]).items())),
                decisions=tuple(_decision_from_json(each) for each in value["decisions"]),
                steps=tuple(_step_from_json(each) for each in value["steps"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            if isinstance(problem, InvalidValueError):
                raise
            raise InvalidValueError(
                f"this is not a plan ({type(problem).__name__}: {problem}); write one with: aggmaint plan --out PLAN.json"
            ) from problem


def _decision_to_json(each: PlannedDecision) -> dict[str, Any]:
    return {
        "subject": each.subject.value,
        "reason": each.reason.value,
        "weight": each.weight.value,
        "action": each.action.value,
        "aggregate": each.aggregate,
        "definition_id": each.definition_id,
        "instance_id": each.instance_id,
        "partitions": list(each.partitions),
        "words": each.words,
    }


def _decision_from_json(value: Mapping[str, Any]) -> PlannedDecision:
    return PlannedDecision(
        subject=Subject(value["subject"]),
        reason=Reason(value["reason"]),
        action=Action(value["action"]),
        aggregate=value["aggregate"],
        words=value["words"],
        definition_id=value["definition_id"],
        instance_id=value["instance_id"],
        partitions=tuple(value["partitions"]),
    )


def _step_to_json(each: PlannedStep) -> dict[str, Any]:
    return {
        "action": each.action.value,
        "aggregate": each.aggregate,
        "definition_id": each.definition_id,
        "instance_id": each.instance_id,
        "build_id": each.build_id,
        "table": each.table,
        "partitions": list(each.partitions),
        "reason": each.reason.value,
        "rows": each.rows,
        "drops": list(each.drops),
        "sql": list(each.sql),
    }


_PLAIN = ("aggregate", "definition_id", "instance_id", "build_id", "table", "rows")


def _step_from_json(value: Mapping[str, Any]) -> PlannedStep:
    texts: dict[str, Any] = {name: value[name] for name in _PLAIN}
    lists: dict[str, Any] = {name: tuple(value[name]) for name in ("partitions", "drops", "sql")}
    return PlannedStep(action=Action(value["action"]), reason=Reason(value["reason"]), **texts, **lists)


# -- made from a planner's plan ----------------------------------------------------------------------------------------


def make_plan(
    plan: MaintenancePlan, observation: Observation, definitions: Sequence[AggregateDefinition], dialect: str
) -> Plan:
    """The value of a plan that was made from this observation."""
    control = observation.control
    reasons: dict[tuple[Subject, str | None], Reason] = {
        (each.subject, each.definition_id if each.subject is not Subject.INSTANCE else each.instance_id): each.reason
        for each in plan.decisions
        if each.subject is not Subject.PARTITION
    }
    return Plan(
        organization_id=plan.organization_id,
        schema=plan.schema,
        installation=observation.installation,
        planned_at=plan.planned_at,
        seen=None if control is None else LedgerSeen(control.generation, control.fence, control.touch),
        definitions=tuple(sorted((each.id, each.definition_hash) for each in definitions)),
        decisions=tuple(_decision_from_json(each) for each in decisions_to_json(plan.decisions)),
        steps=tuple(_planned(step, plan.schema, reasons, dialect) for step in plan.steps),
    )


def _planned(
    step: Step, schema: str, reasons: Mapping[tuple[Subject, str | None], Reason], dialect: str
) -> PlannedStep:
    told = step_to_json(step)
    instance = _instance_of(step)
    by_instance = reasons.get((Subject.INSTANCE, told["instance_id"]))
    by_definition = reasons.get((Subject.DEFINITION, told["definition_id"]))
    view = reasons.get((Subject.VIEW, told["definition_id"]))
    by_view = view if told["action"] in _OF_VIEWS else None
    of_instance = by_instance if told["action"] in _OF_INSTANCES else None
    return PlannedStep(
        action=Action(told["action"]),
        aggregate=told["aggregate"],
        definition_id=told["definition_id"],
        instance_id=told["instance_id"],
        build_id=None if isinstance(step, BuildStep) or instance is None else instance.build_id,
        table=told["table"],
        partitions=tuple(told["partitions"]),
        reason=by_view or of_instance or by_definition or Reason.DEFINITION_FRESH,
        rows=_rows(step, instance),
        drops=_drops(step),
        sql=statements_of(step, schema, dialect),
    )


def _instance_of(step: Step) -> InstanceRecord | None:
    """What is there of it now."""
    if isinstance(step, RecordStep):
        return None
    return step.supersedes if isinstance(step, BuildStep) else step.instance


_OF_VIEWS = frozenset({Action.RESTORE_VIEW.value, Action.REDEFINE.value})
_OF_INSTANCES = frozenset({Action.RETIRE.value, Action.DROP.value, Action.FORGET.value})


def _rows(step: Step, instance: InstanceRecord | None) -> int | None:
    """Estimated rows: of refreshed periods as many as they have now, a new period as many as the others have on average."""
    if isinstance(step, RefreshStep):
        known = {each.period: each.rows for each in step.instance.partitions}
        average = round(sum(known.values()) / len(known)) if known else None
        counts = {each.period: known.get(each.period, average) for each in step.partitions if each.token is not None}
        sure = {period: count for period, count in counts.items() if count is not None}
        return step.rows_written(sure) if len(sure) == len(counts) else None
    if isinstance(step, BuildStep | DropStep) and instance is not None:
        return instance.rows
    return None


def _drops(step: Step) -> tuple[str, ...]:
    if isinstance(step, DropStep) and step.drop_table:
        return (step.instance.table_name,)
    if isinstance(step, RetireStep) and step.drop_view:
        return (step.instance.view_name,)
    return ()


# -- compared ----------------------------------------------------------------------------------------------------------


@frozen
class PlanDiff:
    """How plan `b` differs from plan `a`: what it was made from, and what it would do. `steps_changed`: (in a, in b)."""

    ledger_moved: bool
    definitions_changed: tuple[str, ...]
    steps_added: tuple[PlannedStep, ...]
    steps_removed: tuple[PlannedStep, ...]
    steps_changed: tuple[tuple[PlannedStep, PlannedStep], ...]
    decisions_added: tuple[PlannedDecision, ...]
    decisions_removed: tuple[PlannedDecision, ...]

    @property
    def same(self) -> bool:
        """True if both would do the same, for the same reasons, from the same state."""
        return self == PlanDiff(False, (), (), (), (), (), ())


def diff(a: Plan, b: Plan) -> PlanDiff:
    """What is different in `b`."""
    before, after = {each.identity: each for each in a.steps}, {each.identity: each for each in b.steps}
    hashes = (dict(a.definitions), dict(b.definitions))
    changed = {key for key in {*hashes[0], *hashes[1]} if hashes[0].get(key) != hashes[1].get(key)}
    return PlanDiff(
        ledger_moved=a.seen != b.seen,
        definitions_changed=tuple(sorted(changed)),
        steps_added=tuple(each for key, each in after.items() if key not in before),
        steps_removed=tuple(each for key, each in before.items() if key not in after),
        steps_changed=tuple((before[k], after[k]) for k in before if k in after and before[k] != after[k]),
        decisions_added=tuple(each for each in b.decisions if each not in set(a.decisions)),
        decisions_removed=tuple(each for each in a.decisions if each not in set(b.decisions)),
    )


def outdated(
    plan: Plan, observation: Observation, definitions: Sequence[AggregateDefinition]
) -> tuple[str, str] | None:
    """(cause, words) why a plan may not be applied to what is observed now; None if it may."""
    if (plan.organization_id, plan.schema, plan.installation) != (
        observation.org_id,
        observation.schema,
        observation.installation,
    ):
        words = (
            f"the plan is for organisation {plan.organization_id!r}, installation {plan.installation!r}, not for "
            f"{observation.org_id!r} of {observation.installation!r}; make one for it"
        )
        return "plan_foreign", words
    control = observation.control
    now = None if control is None else LedgerSeen(control.generation, control.fence, control.touch)
    if now != plan.seen:
        words = f"something was published since the plan of {plan.planned_at:%Y-%m-%d %H:%M:%S}Z; make a new plan"
        return "ledger_moved", words
    hashes = {each.id: each.definition_hash for each in definitions}
    planned = dict(plan.definitions)
    for step in plan.steps:
        if step.definition_id in planned and hashes.get(step.definition_id) != planned[step.definition_id]:
            words = f"the definition of {step.aggregate} is not the one that was planned for; make a new plan"
            return "definitions_changed", words
    return None
