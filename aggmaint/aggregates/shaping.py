"""A plan, bent to what a job was asked for and to what the ledger has lost. Pure, after `plan.py`, before anything runs.

Theory of operation
-------------------
`plan_maintenance` says what a plain run would do. Here, in this order:

1. **Lost ledger.** A table that carries our tag had an intent in the ledger before it was made. If the ledger names neither
   it nor anything of its definition in service, the ledger has lost rows: building again would leave the old table behind
   and hide the loss. So the build is refused, and `adopt` or an explicit rebuild is the way on.
2. **Asked for.** Rebuilds, adoptions and disownings take the place of what was planned for their aggregates.
3. **Nothing else.** A job that was asked for something does only that; its other steps are left to the next run.

Each candidate keeps exactly one decision: it is replaced, never added to.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from attrs import define, evolve

from ..errors import InvalidValueError
from .decisions import (
    STEP_ORDER,
    Action,
    AdoptStep,
    BuildStep,
    Decision,
    DisownStep,
    MaintenancePlan,
    PartitionRefresh,
    RecordStep,
    RedefineStep,
    RefreshStep,
    Step,
    Subject,
    ViewStep,
    step_action,
    step_definition_id,
)
from .model import AggregateDefinition, InstanceStatus
from .observation import (
    InstanceRecord,
    Observation,
    SchemaObject,
    TableFacts,
    active_instance,
    lost_tables,
)
from .options import Wishes
from .plans import PlannedStep
from .reasons import Reason

Identity = tuple[str, str | None, str | None]

ACTING = frozenset(Action) - {Action.NONE, Action.REPORT, Action.REFUSE, Action.DEFER}


@define
class _Draft:
    """A plan in the making."""

    plan: MaintenancePlan
    observation: Observation

    def decision(self, definition_id: str) -> Decision:
        return next(
            each
            for each in self.plan.decisions
            if each.subject is Subject.DEFINITION and each.definition_id == definition_id
        )

    def replace(self, definition: AggregateDefinition, decision: Decision, step: Step | None) -> None:
        """Another decision about a definition, and this step in place of all that was planned for it."""
        kept = [each for each in self.plan.decisions if not _inner(each, definition.id)]
        decisions = [
            decision if each.subject is Subject.DEFINITION and each.definition_id == definition.id else each
            for each in kept
        ]
        steps = [each for each in self.plan.steps if not _for_definition(each, definition.id)]
        self.plan = evolve(self.plan, decisions=tuple(decisions), steps=(*steps, *([step] if step else [])))


def _inner(decision: Decision, definition_id: str) -> bool:
    """Of a partition or the view of the definition."""
    return decision.definition_id == definition_id and decision.subject in {Subject.PARTITION, Subject.VIEW}


def _for_definition(step: Step, definition_id: str) -> bool:
    return isinstance(step, BuildStep | RefreshStep | ViewStep | RedefineStep) and step.definition.id == definition_id


def shape(
    plan: MaintenancePlan,
    definitions: Sequence[AggregateDefinition],
    observation: Observation,
    wishes: Wishes,
    now: datetime,
) -> MaintenancePlan:
    """Raises InvalidValueError for what can not be asked of what is there."""
    draft = _Draft(plan, observation)
    for definition in definitions:
        if not definition.blocked:
            _lost(draft, definition, wishes, now)
        if definition.id in wishes.rebuild:
            _rebuild(draft, definition, wishes.rebuild[definition.id])
        if definition.id in wishes.disown:
            _disown(draft, definition)
    if wishes.limited:
        _only(draft, wishes)
    steps = sorted(draft.plan.steps, key=lambda step: STEP_ORDER.index(type(step)))
    return evolve(draft.plan, steps=tuple(steps))


# -- a lost ledger -----------------------------------------------------------------------------------------------------


def unknown_tables(definition: AggregateDefinition, observation: Observation) -> list[SchemaObject]:
    """Tables that carry our tag of this definition and the name of their instance, but that the ledger does not name."""
    return [table for tag, table in lost_tables(observation) if tag.definition_id == definition.id]


def _lost(draft: _Draft, definition: AggregateDefinition, wishes: Wishes, now: datetime) -> None:
    build = next((s for s in draft.plan.steps if isinstance(s, BuildStep) and s.definition.id == definition.id), None)
    tables = unknown_tables(definition, draft.observation)
    if build is None or build.supersedes is not None or not tables:
        return
    if wishes.adopt is not None and definition.id in wishes.adopt:
        _adopt(draft, definition, tables, now)
    elif definition.id not in wishes.rebuild:
        org = draft.observation.org_id
        words = (
            f"table {tables[0].name} of it is there, but the ledger does not name it: the ledger has lost rows. Recover "
            f"without a rebuild: aggmaint adopt {org}; or build it anew: aggmaint rebuild {org} {definition.label!r}"
        )
        draft.replace(definition, _decision(definition, Reason.LEDGER_LOST, Action.REFUSE, words), None)


def _adopt(draft: _Draft, definition: AggregateDefinition, tables: Sequence[SchemaObject], now: datetime) -> None:
    served = _served_by_view(definition, draft.observation)
    table = next((each for each in tables if each.tag and each.tag.instance_id == served), None)
    if table is None and len(tables) == 1:
        table = tables[0]
    if table is None or table.tag is None:
        names = ", ".join(each.name for each in tables)
        words = f"{names} could be its table, and no view says which; drop the wrong ones, or rebuild it"
        draft.replace(definition, _decision(definition, Reason.ADOPT_REFUSED, Action.REFUSE, words), None)
        return
    columns = draft.observation.definitions[definition.id].columns
    if draft.observation.tables.get(table.tag.instance_id, TableFacts()).columns != columns:
        words = f"table {table.name} does not have the columns of the definition as it is now; rebuild the aggregate"
        draft.replace(definition, _decision(definition, Reason.ADOPT_REFUSED, Action.REFUSE, words), None)
        return
    words = f"table {table.name} is proved against its sources and recorded again; its view is made anew"
    instance = InstanceRecord(
        id=table.tag.instance_id,
        definition_id=definition.id,
        label=definition.label,
        table_name=table.name,
        view_name=definition.view_name,
        status=InstanceStatus.ACTIVE,
        since_at=now,
        generation=0,
        fence=0,
        definition_hash=definition.definition_hash,
        structure_hash=definition.structure_hash,
        parts=tuple(sorted(definition.part_hashes.items())),
        build_id="",
        started_at=now,
        columns=columns,
    )
    decision = _decision(definition, Reason.ADOPT_TABLE, Action.ADOPT, words, instance.id)
    draft.replace(definition, decision, AdoptStep(definition, instance))


def _served_by_view(definition: AggregateDefinition, observation: Observation) -> str | None:
    name = definition.view_name.casefold()
    view = next((each for each in observation.objects if each.name.casefold() == name), None)
    return view.tag.instance_id if view is not None and view.tag is not None else None


# -- what was asked for ------------------------------------------------------------------------------------------------


def _rebuild(draft: _Draft, definition: AggregateDefinition, keys: tuple[str, ...] | None) -> None:
    """Whole: a new table beside the one in service. Some partitions: these are computed again, changed or not."""
    if draft.decision(definition.id).action is Action.REFUSE:
        return  # what stands in the way of any build stands in the way of this one
    instance = active_instance(definition.id, draft.observation.instances)
    building = any(isinstance(s, BuildStep) and s.definition.id == definition.id for s in draft.plan.steps)
    if definition.blocked:
        raise InvalidValueError(f"aggregate {definition.label!r} is blocked; unblock it, then rebuild it")
    if keys is not None and not building:
        assert instance is not None, "an aggregate without instance in service is built"
        _rebuild_partitions(draft, definition, instance, keys)
        return
    words = "asked for" if instance is None else f"asked for; {instance.table_name} serves until then"
    decision = _decision(definition, Reason.BUILD_REQUESTED, Action.BUILD, words)
    broken = draft.decision(definition.id).reason is Reason.BUILD_BROKEN
    draft.replace(definition, decision, BuildStep(definition, None if broken else instance))


def _rebuild_partitions(
    draft: _Draft, definition: AggregateDefinition, instance: InstanceRecord, keys: Sequence[str]
) -> None:
    planned = next(
        (s for s in draft.plan.steps if isinstance(s, RefreshStep) and s.definition.id == definition.id),
        RefreshStep(definition, instance, (), instance.source_tokens),
    )
    chosen = {each.period.key: _anew(each) if each.period.key in keys else each for each in planned.partitions}
    records = {each.period.key: each for each in instance.partitions}
    unknown = sorted(set(keys) - set(chosen) - set(records))
    if unknown:
        raise InvalidValueError(
            f"aggregate {definition.label!r} has no partition {unknown[0]!r}; it has {', '.join(sorted(records)) or 'none'}"
        )
    tokens = dict(draft.observation.definitions[definition.id].tokens or ())
    for key in keys:
        if key not in chosen:
            period = records[key].period
            token = tokens.get(period, records[key].token)
            chosen[key] = PartitionRefresh(period, token, Reason.PARTITION_REQUESTED)
    step = evolve(planned, partitions=tuple(chosen[key] for key in sorted(chosen)))
    decisions = []
    for each in draft.plan.decisions:
        mine = each.definition_id == definition.id
        asked = mine and each.subject is Subject.PARTITION and each.partition in keys
        if asked and (each.action is Action.NONE or each.reason is Reason.PARTITION_MERGED):
            decisions.append(evolve(each, reason=Reason.PARTITION_REQUESTED, action=Action.REFRESH, words="asked for"))
        elif mine and each.subject is Subject.DEFINITION:
            words = f"{len(step.partitions)} partitions to refresh, {len(keys)} of them asked for"
            decisions.append(evolve(each, reason=Reason.DEFINITION_STALE, action=Action.REFRESH, words=words))
        else:
            decisions.append(each)
    others = [each for each in draft.plan.steps if each is not planned]
    draft.plan = evolve(draft.plan, decisions=tuple(decisions), steps=(*others, step))


def _anew(refresh: PartitionRefresh) -> PartitionRefresh:
    """Who asks for a partition wants it computed, not merged."""
    return refresh if refresh.new is None else evolve(refresh, reason=Reason.PARTITION_REQUESTED, new=None)


def _disown(draft: _Draft, definition: AggregateDefinition) -> None:
    instance = active_instance(definition.id, draft.observation.instances)
    if instance is None:
        raise InvalidValueError(
            f"aggregate {definition.label!r} has no table in service; there is nothing to give away"
        )
    words = f"table {instance.table_name} and view {instance.view_name} stay, and are no longer ours"
    decision = _decision(definition, Reason.DEFINITION_DISOWNED, Action.DISOWN, words, instance.id)
    draft.replace(definition, decision, DisownStep(instance))


def _decision(
    definition: AggregateDefinition, reason: Reason, action: Action, words: str, instance_id: str | None = None
) -> Decision:
    return Decision(Subject.DEFINITION, reason, action, definition.label, words, definition.id, None, instance_id)


# -- nothing else ------------------------------------------------------------------------------------------------------


def _only(draft: _Draft, wishes: Wishes) -> None:
    """Leave to the next run what was not asked for."""
    kept = [step for step in map(_limit(wishes), draft.plan.steps) if step is not None]
    draft.plan = leave_out(draft.plan, kept, lambda _decision: Reason.NOT_COVERED, "not asked of this job")


def _limit(wishes: Wishes) -> Callable[[Step], Step | None]:
    """What is left of a step for a job that was asked for something."""
    planned = {each.identity: each for each in wishes.plan.steps} if wishes.plan is not None else {}

    def limit(step: Step) -> Step | None:
        if isinstance(step, AdoptStep | DisownStep):
            return step
        if isinstance(step, BuildStep | RefreshStep) and step.definition.id in wishes.rebuild:
            keys = wishes.rebuild[step.definition.id]
            return step if keys is None or isinstance(step, BuildStep) else _only_partitions(step, keys)
        found = planned.get(identity_of(step))
        return None if found is None else _as_planned(step, found)

    return limit


def identity_of(step: Step) -> Identity:
    """`PlannedStep.identity` of a step."""
    action = step_action(step)
    instance_id = None if isinstance(step, BuildStep | RecordStep) else step.instance.id
    return ((Action.REFRESH if action is Action.NOTE else action).value, step_definition_id(step), instance_id)


def _as_planned(step: Step, planned: PlannedStep) -> Step | None:
    if not isinstance(step, RefreshStep) or not step.partitions:
        return step
    return _only_partitions(step, planned.partitions)


def _only_partitions(step: RefreshStep, keys: Sequence[str]) -> RefreshStep | None:
    """A part of a refresh. Its sources' tokens stand for all partitions, so the old ones stay noted."""
    chosen = tuple(each for each in step.partitions if each.period.key in keys)
    if len(chosen) == len(step.partitions):
        return step
    return evolve(step, partitions=chosen, source_tokens=step.instance.source_tokens) if chosen else None


def leave_out(
    plan: MaintenancePlan, kept: Sequence[Step], reason_of: Callable[[Decision], Reason], why: str
) -> MaintenancePlan:
    """A plan with these steps only. What is left out is deferred, and says so, with the reason that fits its decision.

    An aggregate of which only some stale partitions are left in is mixed until the others are done: a row that moved from
    one to the other is there twice, or not at all.
    """
    after = {identity_of(step): step for step in kept}
    before = {identity_of(step): step for step in plan.steps}
    left = sum(after.get(key) != step for key, step in before.items())

    def told(decision: Decision) -> Decision:
        identity = _identity_of_decision(decision)
        if decision.action not in ACTING or identity not in before or _is_done(decision, after.get(identity)):
            return decision
        return evolve(decision, reason=reason_of(decision), action=Action.DEFER, words=f"{decision.words}; {why}")

    mixed = _mixed(plan.steps, kept, why)
    decisions = tuple(mixed(told(each)) for each in plan.decisions)
    return evolve(plan, steps=tuple(kept), decisions=decisions, left_out=plan.left_out + left)


def _mixed(planned: Sequence[Step], kept: Sequence[Step], why: str) -> Callable[[Decision], Decision]:
    """Tells of definitions whose stale partitions are refreshed in part."""
    total, done = _stale(planned), _stale(kept)

    def told(decision: Decision) -> Decision:
        key = decision.definition_id or ""
        if decision.subject is not Subject.DEFINITION or not 0 < done.get(key, 0) < total.get(key, 0):
            return decision
        left = total[key] - done[key]
        words = f"{done[key]} of {total[key]} stale partitions are refreshed, {left} left for a later run; {why}"
        return evolve(decision, reason=Reason.DEFINITION_MIXED, words=words)

    return told


def _stale(steps: Sequence[Step]) -> dict[str, int]:
    """How many stale partitions are refreshed, by definition id; those that are only asked for are right as they are."""
    return {
        step.definition.id: sum(each.reason is not Reason.PARTITION_REQUESTED for each in step.partitions)
        for step in steps
        if isinstance(step, RefreshStep)
    }


def _identity_of_decision(decision: Decision) -> Identity:
    """The identity of the step that does what was decided."""
    if decision.subject is Subject.DEFINITION and decision.action is Action.RETIRE:
        return (
            Action.RECORD.value,
            None,
            None,
        )  # deactivating a definition is to record it; its instance is retired apart
    action = Action.REFRESH if decision.action in _PARTS_OF_REFRESH else decision.action
    return (action.value, decision.definition_id, None if action is Action.BUILD else decision.instance_id)


_PARTS_OF_REFRESH = frozenset({Action.REFRESH, Action.REMOVE, Action.NOTE})


def _is_done(decision: Decision, step: Step | None) -> bool:
    if isinstance(step, RefreshStep) and decision.subject is Subject.PARTITION:
        return any(each.period.key == decision.partition for each in step.partitions)
    return step is not None
