"""The planner: from definitions and one observation to a plan. Pure; every rule of a run's choice is here or beside.

Theory of operation
-------------------
Candidates are definitions, the partitions and the view of healthy instances, all instances of the ledger, and all objects
of the schema. Each gets exactly one decision. The order of the steps makes every state on the way a good one:

    record what is known of definitions           uses and deactivations, before anything follows from them
    retire what is broken or no longer wanted     off the view at once: a wrong answer is worse than none
    refresh stale partitions, note moved tokens   each aggregate in one publish
    make missing views again, and those of definitions that changed only there
    build beside, switch                          the old instance serves until its successor does
    drop what is past its grace, forget old records

Aggregates that read others of this plan are held back until those are done: `upstream.py`.

`life.py` says which definitions are deactivated, `_plan_instances.py` judges instances and objects, `_plan_partitions.py`
partitions; this file definitions. The first rule that applies wins, in the order of the code.
"""

from collections.abc import Sequence
from datetime import datetime

from attrs import evolve

from ._plan_instances import judge_table, mass_drop_refused, ours, plan_instances, plan_objects, resumable
from ._plan_partitions import PartitionPlan, Reverifying, plan_partitions
from .changes import ChangeKind, classify_change
from .decisions import (
    STEP_ORDER,
    Action,
    BuildStep,
    Decision,
    MaintenancePlan,
    RecordStep,
    RedefineStep,
    RefreshStep,
    Step,
    Subject,
    ViewStep,
)
from .life import Deactivated, Life, Lives, Told, judge_lives
from .looking import SourceMark, unknown_marks
from .model import AggregateDefinition
from .observation import (
    Column,
    DefinitionFacts,
    FailureKind,
    InstanceRecord,
    Observation,
    TableFacts,
    active_instance,
    change_of,
    source_moved,
)
from .policy import Policy
from .reasons import MEANINGS, Reason
from .upstream import hold_back

_CHANGES = {
    ChangeKind.MEASURES_ADDED: Reason.BUILD_MEASURES_ADDED,
    ChangeKind.MEASURES_REMOVED: Reason.BUILD_MEASURES_REMOVED,
    ChangeKind.DEPENDENCIES: Reason.BUILD_DEFINITION_CHANGED,
    ChangeKind.ROWS: Reason.BUILD_DEFINITION_CHANGED,
    ChangeKind.PARTITION: Reason.BUILD_PARTITION_CHANGED,
    ChangeKind.STRUCTURE: Reason.BUILD_STRUCTURE_CHANGED,
}
"""What a change of the definition is built for; a change of the view only is not."""

_COPIED = (ChangeKind.VIEW, ChangeKind.MEASURES_REMOVED, ChangeKind.MEASURES_ADDED)

_FAILURES = {
    FailureKind.DEFINITION: Reason.DEFINITION_INVALID,
    FailureKind.SOURCE: Reason.SOURCE_UNAVAILABLE,
    FailureKind.QUERY: Reason.QUERY_FAILED,
    FailureKind.GATE: Reason.GATE_FAILED,
}

Planned = tuple[list[Decision], list[Step]]


def plan_maintenance(
    definitions: Sequence[AggregateDefinition],
    observation: Observation,
    policy: Policy,
    now: datetime,
    told: Told = Told(),  # noqa: B008 - frozen
    marks: Sequence[SourceMark] = (),
) -> MaintenancePlan:
    """Decide about every candidate. `now` (aware UTC) judges graces; the observation is of this very moment.

    All definitions are of one organisation, and `observation.definitions` has facts or a failure of each that is not
    blocked. `told`: uses, and which deactivated definitions somebody wants back. `marks` are those that the observation
    was made with.
    """
    reverifying = Reverifying(policy.reverified_max)
    ordered = sorted(definitions, key=lambda each: (each.label.casefold(), each.id))
    lives = judge_lives(ordered, observation.records, _first_seen(observation), told, policy, now)
    decisions: list[Decision] = []
    steps: list[Step] = _records(ordered, lives, observation, policy)
    wanted = [_plan_definition(each, lives, observation, policy, reverifying) for each in ordered]
    builds = (step for _, planned in wanted for step in planned if isinstance(step, BuildStep))
    resumed = {step.resumes.id for step in builds if step.resumes is not None}
    for part in (
        *wanted,
        plan_instances(ordered, lives, observation, policy, now, resumed=resumed),
        plan_objects(observation),
        _plan_marks(ordered, marks),
    ):
        decisions.extend(part[0])
        steps.extend(part[1])
    return hold_back(_planned(observation, now, decisions, steps), ordered)


def plan_again(
    definitions: Sequence[AggregateDefinition],
    observation: Observation,
    policy: Policy,
    now: datetime,
    told: Told = Told(),  # noqa: B008 - frozen
) -> MaintenancePlan:
    """Decide about these definitions, their partitions and views only: those that waited for what they read (`upstream.py`).

    All that they read is current now.
    """
    reverifying = Reverifying(policy.reverified_max)
    lives = judge_lives(definitions, observation.records, _first_seen(observation), told, policy, now)
    parts = [_plan_definition(each, lives, observation, policy, reverifying) for each in definitions]
    decisions = [decision for part in parts for decision in part[0]]
    return _planned(observation, now, decisions, [step for part in parts for step in part[1]])


def _planned(
    observation: Observation, now: datetime, decisions: Sequence[Decision], steps: Sequence[Step]
) -> MaintenancePlan:
    ordered = sorted(steps, key=lambda step: STEP_ORDER.index(type(step)))
    return MaintenancePlan(observation.org_id, observation.schema, now, tuple(decisions), tuple(ordered))


def _first_seen(observation: Observation) -> dict[str, datetime]:
    """When each definition of the ledger was first built, for those that have no record yet."""
    first: dict[str, datetime] = {}
    for each in observation.instances:
        first[each.definition_id] = min(each.started_at, first.get(each.definition_id, each.started_at))
    return first


def _records(
    definitions: Sequence[AggregateDefinition], lives: Lives, observation: Observation, policy: Policy
) -> list[Step]:
    """Write records that changed; forget those of definitions that are gone with all their instances."""
    needed = {*(each.id for each in definitions), *(each.definition_id for each in observation.instances)}
    forgotten = tuple(each.definition_id for each in observation.records if each.definition_id not in needed)
    defined = {each.id for each in definitions}
    if not defined or mass_drop_refused(defined, observation, policy) is not None:
        forgotten = ()  # the list of definitions is probably wrong
    return [RecordStep(lives.noted, forgotten)] if lives.noted or forgotten else []


def _plan_marks(definitions: Sequence[AggregateDefinition], marks: Sequence[SourceMark]) -> Planned:
    """One decision per mark that no definition has a source for; the others show in what they made stale."""
    return [
        Decision(
            Subject.SOURCE,
            Reason.MARK_UNKNOWN,
            Action.REPORT,
            each.source,
            f"mark_changed named {each.source!r}, which no aggregate reads; give the table, file or alias of a source",
        )
        for each in unknown_marks(definitions, marks)
    ], []


def _plan_definition(
    definition: AggregateDefinition, lives: Lives, observation: Observation, policy: Policy, reverifying: Reverifying
) -> Planned:
    if definition.blocked:
        return _only(definition, Reason.DEFINITION_BLOCKED, Action.NONE, MEANINGS[Reason.DEFINITION_BLOCKED].sentence)
    life = lives.by_id[definition.id]
    if life.deactivation is not None:
        return _deactivated(definition, life, policy)
    facts = observation.definitions[definition.id]
    if facts.failure is not None:
        return _only(definition, _FAILURES[facts.failure.kind], Action.REFUSE, facts.failure.message)
    taken = _view_taken(definition, observation)
    if taken is not None:
        return _only(definition, Reason.VIEW_NAME_TAKEN, Action.REFUSE, taken)
    if facts.tokens is not None and len(facts.tokens) > policy.partitions_max:
        words = (
            f"the sources have {len(facts.tokens)} periods, more than partitions_max={policy.partitions_max}; "
            "choose a coarser granularity, filter absurd dates out, or raise partitions_max"
        )
        return _only(definition, Reason.TOO_MANY_PARTITIONS, Action.REFUSE, words)
    instance = active_instance(definition.id, observation.instances)
    build = _build_reason(definition, instance, facts, observation)
    if build is not None and instance is None and life.back is not None:
        build = Reason.BUILD_REACTIVATED, f"it was deactivated, and {life.back}"
    if build is not None:
        reason, words = build
        serving = instance if reason is not Reason.BUILD_BROKEN else None
        before = None if serving is None else _before(serving, definition)
        resumes = resumable(definition, observation)
        if resumes is not None:
            words += f"; it goes on where it stopped, with {len(resumes.partitions)} partitions"
        step = BuildStep(definition, serving, None if resumes else before, resumes)
        return [_decision(definition, reason, Action.BUILD, words)], [step]
    assert instance is not None
    table = observation.tables.get(instance.id, TableFacts())
    partitions = plan_partitions(definition, instance, facts, table, reverifying, policy)
    return _plan_serving(definition, instance, facts, partitions, observation)


def _deactivated(definition: AggregateDefinition, life: Life, policy: Policy) -> Planned:
    gone, record = life.deactivation, life.record
    assert gone is not None
    if not life.gone:
        words = (
            f"deactivated since {gone.at:%Y-%m-%d %H:%M}Z ({gone.reason.value}); it comes back when it is used, when it is "
            "changed, or by the task option activate"
        )
        return _only(definition, Reason.DEFINITION_DEACTIVATED, Action.NONE, words)
    idle = f"no use since {record.idle_since:%Y-%m-%d %H:%M}Z"
    if gone.reason is Deactivated.UNUSED:
        words = f"{idle}, longer than unused_days={policy.unused_days}"
        return _only(definition, Reason.DEFINITION_UNUSED, Action.RETIRE, words)
    recent = record.recent_uses(gone.at, policy.unused_days)
    words = (
        f"cube {definition.cube} has more than retention_limit={policy.retention_limit} and retention_excess="
        f"{policy.retention_excess} system-defined aggregates; this one is among the least used ({recent} uses in "
        f"{policy.unused_days} days, {idle})"
    )
    return _only(definition, Reason.DEFINITION_OVER_LIMIT, Action.RETIRE, words)


def _build_reason(
    definition: AggregateDefinition, instance: InstanceRecord | None, facts: DefinitionFacts, observation: Observation
) -> tuple[Reason, str] | None:
    """Why a new instance must be built, in words; None if the active one can be kept."""
    if instance is None:
        last = [each for each in observation.instances if each.definition_id == definition.id]
        if not last:
            return Reason.BUILD_FIRST, "never built"
        newest = max(last, key=lambda each: (each.started_at, each.id))
        because = f": {newest.message}" if newest.message else ""
        return Reason.BUILD_AGAIN, f"the last instance ({newest.table_name}) is {newest.status.value}{because}"
    health, words = judge_table(instance, observation)
    if health is not Reason.INSTANCE_HEALTHY:
        return Reason.BUILD_BROKEN, words
    change = classify_change(dict(instance.parts), definition.part_hashes)
    kind = change_of(instance, definition)
    if kind in _CHANGES:
        what = change.words if instance.parts else "how it was before is not known"
        reason = _CHANGES[kind] if instance.parts else Reason.BUILD_DEFINITION_CHANGED
        return reason, f"the definition changed ({what}); {instance.table_name} serves until then"
    if kind is ChangeKind.VIEW and sorted(instance.columns, key=_name) == sorted(facts.columns, key=_name):
        if instance.columns == facts.columns:
            return None
        return (
            Reason.BUILD_STRUCTURE_CHANGED,
            f"the columns come in another order; {instance.table_name} serves until then",
        )
    if instance.columns != facts.columns:
        before = {each.name: each.type for each in instance.columns}
        moved = [f"{c.name} {before.get(c.name)} -> {c.type}" for c in facts.columns if before.get(c.name) != c.type]
        return Reason.BUILD_SOURCE_TYPES_CHANGED, f"columns would change: {', '.join(moved[:5])}"
    return None


def _name(column: Column) -> str:
    return column.name


def _before(instance: InstanceRecord, definition: AggregateDefinition) -> AggregateDefinition | None:
    """The definition that the instance was built from, if only measures differ and it is known which it had."""
    if not instance.measures or change_of(instance, definition) not in _COPIED:
        return None
    return evolve(definition, measures=instance.measures)


def _plan_serving(
    definition: AggregateDefinition,
    instance: InstanceRecord,
    facts: DefinitionFacts,
    partitions: PartitionPlan,
    observation: Observation,
) -> Planned:
    """A healthy instance of this very definition: its partitions and its view."""
    refreshes, total = partitions.refreshes, len(partitions.decisions)
    left = f"; {partitions.deferred} more are left to later runs" if partitions.deferred else ""
    tokens = instance.source_tokens if partitions.deferred else facts.source_tokens
    moved = source_moved(instance, tokens)
    if refreshes:
        keys = ", ".join(each.period.key for each in refreshes[:6]) + (", …" if len(refreshes) > 6 else "")
        growth = f"; {partitions.words}" if partitions.words else ""
        words = f"{len(refreshes)} of {total} partitions to refresh: {keys}{growth}{left}"
        decision = _decision(definition, Reason.DEFINITION_STALE, Action.REFRESH, words, instance.id)
    elif moved:
        words = f"a source changed, but the result of no partition ({total})"
        decision = _decision(definition, Reason.DEFINITION_UNAFFECTED, Action.NOTE, words, instance.id)
    else:
        words = f"every partition is current ({total})"
        decision = _decision(definition, Reason.DEFINITION_FRESH, Action.NONE, words, instance.id)
    steps = [RefreshStep(definition, instance, refreshes, tokens)] if refreshes or moved else list[Step]()
    view, view_step = _plan_view(definition, instance, observation)
    return [decision, *partitions.decisions, view], [*steps, *view_step]


def _plan_view(
    definition: AggregateDefinition, instance: InstanceRecord, observation: Observation
) -> tuple[Decision, list[Step]]:
    name = definition.view_name
    there = next((each for each in observation.objects if each.name.casefold() == name.casefold()), None)
    if change_of(instance, definition) is ChangeKind.VIEW:
        words = f"only what the view shows changed: view {name} is made again over {instance.table_name}"
        redefined = Decision(
            Subject.VIEW,
            Reason.VIEW_CHANGED,
            Action.REDEFINE,
            definition.label,
            words,
            definition.id,
            None,
            instance.id,
        )
        return redefined, [RedefineStep(definition, instance)]
    if there is not None and there.tag is not None and there.tag.instance_id == instance.id:
        words = f"view {name} reads {instance.table_name}"
        return Decision(
            Subject.VIEW, Reason.VIEW_CURRENT, Action.NONE, definition.label, words, definition.id, None, instance.id
        ), []
    state = "gone" if there is None else "of another instance"
    words = f"view {name} is {state}; it is made again over {instance.table_name}"
    decision = Decision(
        Subject.VIEW,
        Reason.VIEW_MISSING,
        Action.RESTORE_VIEW,
        definition.label,
        words,
        definition.id,
        None,
        instance.id,
    )
    return decision, [ViewStep(definition, instance)]


def _view_taken(definition: AggregateDefinition, observation: Observation) -> str | None:
    """A remedy, if an object that is not ours has the view's name."""
    name = definition.view_name
    for each in observation.objects:
        if each.name.casefold() == name.casefold() and not ours(each, observation, definition.id):
            return (
                f"{each.kind.value} {each.name!r} in schema {observation.schema} was not made for this aggregate and has "
                "the name of its view; rename or remove it, or rename the aggregate"
            )
    return None


def _decision(
    definition: AggregateDefinition, reason: Reason, action: Action, words: str, instance_id: str | None = None
) -> Decision:
    return Decision(Subject.DEFINITION, reason, action, definition.label, words, definition.id, None, instance_id)


def _only(definition: AggregateDefinition, reason: Reason, action: Action, words: str) -> Planned:
    return [_decision(definition, reason, action, words)], []
