"""What becomes of each instance of the ledger, and which objects of the schema are not ours.

**Proof of ownership.** A table is ours if the ledger of this installation names it, its name fits the grammar, and its tag
names this installation, this definition and this instance. Whatever lacks one of the three is foreign: reported,
never touched. So a table that somebody made in the place of one of ours is not dropped either; the instance is.

**The brake.** Definitions that are gone take their aggregates out of service. If too many are gone at once, the list of
definitions is probably wrong: then nothing that has no definition is retired without approval, and nothing of it that was
retired before is dropped. (What is superseded, failed or deactivated by rule has a definition, and is dropped as ever.)
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from .decisions import Action, Decision, DropStep, ForgetStep, RetireStep, Step, Subject
from .life import Deactivated, Lives
from .model import AggregateDefinition, InstanceStatus
from .naming import LEDGER_TABLES, TABLE_NAME_PATTERN
from .observation import InstanceRecord, ObjectKind, Observation, SchemaObject, TableFacts
from .policy import Policy
from .reasons import MEANINGS, Reason

Planned = tuple[list[Decision], list[Step]]

_DEACTIVATED = {
    Deactivated.UNUSED: Reason.DEFINITION_UNUSED,
    Deactivated.OVER_LIMIT: Reason.DEFINITION_OVER_LIMIT,
}
_FAILED = frozenset({InstanceStatus.FAILED, InstanceStatus.CANCELLED, InstanceStatus.UNRELIABLE})


def ours(thing: SchemaObject, observation: Observation, definition_id: str) -> bool:
    """True if the object's tag says that this installation made it for this definition."""
    tag = thing.tag
    return tag is not None and tag.installation == observation.installation and tag.definition_id == definition_id


def judge_table(instance: InstanceRecord, observation: Observation) -> tuple[Reason, str]:
    """The health of an active instance's table: INSTANCE_HEALTHY, or what is wrong with it, in words."""
    name = instance.table_name
    facts = observation.tables.get(instance.id, TableFacts())
    thing = _object_named(name, observation)
    if thing is None:
        return Reason.INSTANCE_MISSING, f"table {name} is gone"
    if not _own_table(instance, thing, observation):
        return (
            Reason.INSTANCE_REPLACED,
            f"{thing.kind.value} {thing.name} is not the table that we built: its tag differs",
        )
    if facts.unreadable is not None:
        return Reason.INSTANCE_UNREADABLE, f"table {name} can not be read: {facts.unreadable}"
    if facts.columns != instance.columns:
        return Reason.INSTANCE_COLUMNS_DIFFER, f"table {name} has other columns than those that were built"
    wrong = _ledger_wrong(instance)
    if wrong is not None:
        return Reason.INSTANCE_LEDGER_WRONG, f"the ledger's rows of table {name} are wrong: {wrong}"
    return Reason.INSTANCE_HEALTHY, f"table {name} is there, with its columns"


def _ledger_wrong(instance: InstanceRecord) -> str | None:
    """What is wrong with the ledger's partitions of an instance, in words: two of one period, overlaps, a wrong sum."""
    ranges = sorted(
        (each.period.starts_at, each.period.ends_at, each.period.key)
        for each in instance.partitions
        if each.period.starts_at is not None and each.period.ends_at is not None
    )
    for (_, ends_at, key), (starts_at, _, other) in pairwise(ranges):
        if starts_at < ends_at:
            return f"partitions {key} and {other} overlap"
    keys = [each.period.key for each in instance.partitions]
    if len(set(keys)) != len(keys):
        return "a partition is there twice"
    rows = sum(each.rows for each in instance.partitions)
    if rows != instance.rows:
        return f"its partitions have {rows:,} rows, it has {instance.rows:,}"
    return None


def _object_named(name: str, observation: Observation) -> SchemaObject | None:
    return next((each for each in observation.objects if each.name.casefold() == name.casefold()), None)


def _own_table(instance: InstanceRecord, thing: SchemaObject, observation: Observation) -> bool:
    """The three proofs: named by the ledger (the caller has the record), by the grammar, and by the tag."""
    return (
        thing.kind is ObjectKind.TABLE
        and thing.name.casefold() == instance.table_name.casefold()
        and TABLE_NAME_PATTERN.fullmatch(thing.name) is not None
        and ours(thing, observation, instance.definition_id)
        and thing.tag is not None
        and thing.tag.instance_id == instance.id
    )


def resumable(definition: AggregateDefinition, observation: Observation) -> InstanceRecord | None:
    """The newest instance of this very definition whose build stopped part way, and has partitions to go on from."""
    stopped = [
        each
        for each in observation.instances
        if each.status is InstanceStatus.INPROGRESS
        and each.definition_id == definition.id
        and each.definition_hash == definition.definition_hash
        and each.partitions
        and not _being_built(each, observation)
        and (thing := _object_named(each.table_name, observation)) is not None
        and _own_table(each, thing, observation)
    ]
    return max(stopped, key=lambda each: (each.started_at, each.id), default=None)


def plan_instances(
    definitions: Sequence[AggregateDefinition],
    lives: Lives,
    observation: Observation,
    policy: Policy,
    now: datetime,
    *,
    resumed: Collection[str] = (),
) -> Planned:
    """One decision per instance of the ledger, oldest first. `resumed`: ids of those that are built on."""
    defined = {each.id: each for each in definitions}
    refused = mass_drop_refused(defined, observation, policy)
    decisions: list[Decision] = []
    steps: list[Step] = []
    for instance in sorted(observation.instances, key=lambda each: (each.started_at, each.id)):
        decision: Decision
        step: Step | None
        if instance.id in resumed:
            words = f"{instance.table_name} has {len(instance.partitions)} partitions; its build goes on"
            decisions.append(_decision(instance, Reason.INSTANCE_RESUMED, Action.BUILD, words))
            continue
        if instance.status is InstanceStatus.ACTIVE:
            decision, step = _plan_active(instance, defined.get(instance.definition_id), lives, refused, observation)
        else:
            decision, step = _plan_inactive(instance, observation, policy, now)
            if refused is not None and isinstance(step, DropStep) and instance.definition_id not in defined:
                decision, step = _decision(instance, Reason.MASS_DROP_REFUSED, Action.REFUSE, refused), None
        decisions.append(decision)
        if step is not None:
            steps.append(step)
    return decisions, steps


def mass_drop_refused(defined: Collection[str], observation: Observation, policy: Policy) -> str | None:
    """Why nothing may be retired or dropped for want of a definition; None if it may. `defined`: the ids that are."""
    active = [each for each in observation.instances if each.status is InstanceStatus.ACTIVE]
    gone = [each for each in active if each.definition_id not in defined]
    if len(gone) <= policy.retired_max and len(gone) <= policy.retired_share_max * len(active):
        return None
    return (
        f"{len(gone)} of {len(active)} aggregates in service have no definition any more; if that is right, approve it with "
        "the task option approve_mass_drop=true, else mend the list of definitions"
    )


def _plan_active(
    instance: InstanceRecord,
    definition: AggregateDefinition | None,
    lives: Lives,
    refused: str | None,
    observation: Observation,
) -> tuple[Decision, RetireStep | None]:
    view = _object_named(instance.view_name, observation)
    drop_view = view is not None and view.kind is ObjectKind.VIEW and ours(view, observation, instance.definition_id)
    if definition is None:
        if refused is not None:
            return _decision(instance, Reason.MASS_DROP_REFUSED, Action.REFUSE, refused), None
        words = f"no definition any more; {instance.table_name} leaves the view and is dropped after the grace"
        step = RetireStep(instance, InstanceStatus.INVALID, Reason.INSTANCE_UNDEFINED, drop_view)
        return _decision(instance, Reason.INSTANCE_UNDEFINED, Action.RETIRE, words), step
    if definition.blocked:
        words = f"blocked; {instance.table_name} leaves the view and is dropped after the grace"
        step = RetireStep(instance, InstanceStatus.INVALID, Reason.INSTANCE_DEACTIVATED, drop_view)
        return _decision(instance, Reason.INSTANCE_DEACTIVATED, Action.RETIRE, words), step
    gone = lives.deactivation(definition.id)
    if gone is not None:
        why = _DEACTIVATED[gone.reason]
        words = (
            f"deactivated ({gone.reason.value}); {instance.table_name} leaves the view and is dropped after the grace"
        )
        step = RetireStep(instance, InstanceStatus.INVALID, why, drop_view)
        return _decision(instance, Reason.INSTANCE_DEACTIVATED, Action.RETIRE, words), step
    unbraked, braked = judge_table(instance, observation), lives.refused.get(definition.id)
    if braked is not None and unbraked[0] is Reason.INSTANCE_HEALTHY:
        return _decision(instance, Reason.MASS_DROP_REFUSED, Action.REFUSE, braked), None
    reason, words = unbraked
    if reason is Reason.INSTANCE_HEALTHY:
        return _decision(instance, reason, Action.NONE, words), None
    return _decision(instance, reason, Action.RETIRE, words), RetireStep(
        instance, InstanceStatus.UNRELIABLE, reason, drop_view
    )


def _plan_inactive(
    instance: InstanceRecord, observation: Observation, policy: Policy, now: datetime
) -> tuple[Decision, DropStep | ForgetStep | None]:
    thing = _object_named(instance.table_name, observation)
    own = thing is not None and _own_table(instance, thing, observation)
    age = now - instance.since_at
    if instance.status is InstanceStatus.DELETED:
        if own:
            return _drop(instance, Reason.INSTANCE_LEFT_OVER, own)
        if age >= timedelta(seconds=policy.forget_s):
            words = MEANINGS[Reason.INSTANCE_FORGOTTEN].sentence
            return _decision(instance, Reason.INSTANCE_FORGOTTEN, Action.FORGET, words), ForgetStep(instance)
        return _keep(instance, Reason.INSTANCE_DELETED)
    if instance.status is InstanceStatus.INPROGRESS:
        if _being_built(instance, observation):
            return _keep(instance, Reason.INSTANCE_BUILDING)
        return _drop(instance, Reason.INSTANCE_ABANDONED, own)
    if instance.status in _FAILED:
        expired = age >= timedelta(seconds=policy.failed_grace_s)
        return (
            _drop(instance, Reason.INSTANCE_FAILED_EXPIRED, own)
            if expired
            else _keep(instance, Reason.INSTANCE_FAILED_KEPT)
        )
    expired = age >= timedelta(seconds=policy.retired_grace_s)
    return (
        _drop(instance, Reason.INSTANCE_RETIRED_EXPIRED, own)
        if expired
        else _keep(instance, Reason.INSTANCE_RETIRED_KEPT)
    )


def _being_built(instance: InstanceRecord, observation: Observation) -> bool:
    """True if another job may still be at it. A job that observes holds the newest fence: then nobody may."""
    control = observation.control
    return (
        observation.reader is None
        and control is not None
        and control.open
        and (instance.generation, instance.fence) == (control.generation, control.fence)
    )


def _drop(instance: InstanceRecord, reason: Reason, own: bool) -> tuple[Decision, DropStep]:
    what = (
        f"table {instance.table_name} is dropped" if own else f"there is no table {instance.table_name} of ours to drop"
    )
    words = f"{instance.status.value} since {instance.since_at:%Y-%m-%d %H:%M:%S}Z; {what}"
    return _decision(instance, reason, Action.DROP, words), DropStep(instance, own, reason)


def _keep(instance: InstanceRecord, reason: Reason) -> tuple[Decision, None]:
    words = f"{instance.table_name} is {instance.status.value} since {instance.since_at:%Y-%m-%d %H:%M:%S}Z"
    return _decision(instance, reason, Action.NONE, words), None


def _decision(instance: InstanceRecord, reason: Reason, action: Action, words: str) -> Decision:
    return Decision(Subject.INSTANCE, reason, action, instance.label, words, instance.definition_id, None, instance.id)


def plan_objects(observation: Observation) -> Planned:
    """One decision per object of the schema that is not provably ours."""
    tables = {each.table_name.casefold(): each for each in observation.instances}
    views = {each.view_name.casefold(): each for each in observation.instances}
    decisions = []
    for thing in sorted(observation.objects, key=lambda each: each.name):
        name = thing.name.casefold()
        table, view = tables.get(name), views.get(name)
        if (
            name in LEDGER_TABLES
            or (table is not None and _own_table(table, thing, observation))
            or (view is not None and thing.kind is ObjectKind.VIEW and ours(thing, observation, view.definition_id))
        ):
            continue
        why = _why_foreign(thing, observation)
        words = f"{thing.kind.value} {thing.name} in schema {observation.schema} {why}; not touched"
        lost = thing.tag is not None and thing.tag.installation == observation.installation
        lost = lost and not any(each.id == thing.tag.instance_id for each in observation.instances if thing.tag)
        reason = Reason.OBJECT_LOST if lost else Reason.OBJECT_FOREIGN
        decisions.append(Decision(Subject.OBJECT, reason, Action.REPORT, thing.name, words))
    return decisions, []


def _why_foreign(thing: SchemaObject, observation: Observation) -> str:
    if thing.tag is not None and thing.tag.installation != observation.installation:
        return f"carries the tag of installation {thing.tag.installation!r}"
    if thing.tag is not None:
        return "carries our tag, but the ledger does not name it"
    if TABLE_NAME_PATTERN.fullmatch(thing.name):
        return "has a name like ours, but neither our tag nor a place in the ledger"
    return "is not ours"
