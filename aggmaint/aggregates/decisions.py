"""A plan as a value: what is decided about every candidate, and the steps that follow from it.

Frozen, hashable, and JSON by `to_json`. Decisions explain (one per candidate, those that need nothing included); steps are
what a run does, in their order. The JSON folds decisions that differ in their partition only into one entry.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from attrs import frozen

from .life import DefinitionRecord
from .model import AggregateDefinition, InstanceStatus
from .observation import InstanceRecord
from .periods import Period
from .reasons import MEANINGS, Reason, Weight


class Subject(StrEnum):
    DEFINITION = "definition"
    PARTITION = "partition"
    INSTANCE = "instance"
    VIEW = "view"
    OBJECT = "object"
    SOURCE = "source"


class Action(StrEnum):
    """What is done about a candidate.

    `report`: nothing but telling; `refuse`: it would be done, but may not; `defer`: left for another run.
    """

    NONE = "none"
    BUILD = "build"
    REFRESH = "refresh"
    REMOVE = "remove"
    NOTE = "note"
    RETIRE = "retire"
    DROP = "drop"
    FORGET = "forget"
    RESTORE_VIEW = "restore_view"
    REPORT = "report"
    REFUSE = "refuse"
    ADOPT = "adopt"
    DISOWN = "disown"
    DEFER = "defer"
    RECORD = "record"
    REDEFINE = "redefine"


@frozen
class Decision:
    """Why, and what, about one candidate. `aggregate` is `cube.name`, or the object's name for foreign objects."""

    subject: Subject
    reason: Reason
    action: Action
    aggregate: str
    words: str
    definition_id: str | None = None
    partition: str | None = None
    instance_id: str | None = None

    @property
    def weight(self) -> Weight:
        return MEANINGS[self.reason].weight


@frozen
class NewRows:
    """The rows of a period that came since the mark `since`: only they are read, and merged into what is published."""

    since: str
    rows: int


@frozen
class PartitionRefresh:
    """One period to be written anew. `token` None: the source has no rows of it, it is removed.

    mark  the source's mark up to which its rows will be in it, where that matters (`additive.py`).
    new   it is not computed anew: these rows are merged into it.
    """

    period: Period
    token: str | None
    reason: Reason
    mark: str | None = None
    new: NewRows | None = None


@frozen
class RetireStep:
    """Take an instance out of service: its status changes and, if it is ours, its view is dropped."""

    instance: InstanceRecord
    status: InstanceStatus
    reason: Reason
    drop_view: bool


@frozen
class RefreshStep:
    """Publish these periods of an instance together, and note the sources' tokens. No periods: note the tokens only.

    `source_tokens` vouch for *every* period of the instance. So they are the present ones only if no stale period is left
    out of the step; else they are the instance's old ones, and the next run looks at all periods again.
    """

    definition: AggregateDefinition
    instance: InstanceRecord
    partitions: tuple[PartitionRefresh, ...]
    source_tokens: tuple[tuple[str, str], ...]

    @property
    def computed(self) -> tuple[Period, ...]:
        """The periods that are computed from all of their rows."""
        return tuple(each.period for each in self.partitions if each.token is not None and each.new is None)

    @property
    def merged(self) -> tuple[Period, ...]:
        """The periods that new rows are merged into."""
        return tuple(each.period for each in self.partitions if each.new is not None)

    def rows_written(self, rows: Mapping[Period, int]) -> int:
        """How many rows it writes, if its periods have so many: where rows are merged at most one for each new one."""
        new = {each.period: each.new.rows for each in self.partitions if each.new is not None}
        return sum(min(count, new.get(period, count)) for period, count in rows.items())


@frozen
class ViewStep:
    """Make the view of an active instance again."""

    definition: AggregateDefinition
    instance: InstanceRecord


@frozen
class BuildStep:
    """Build a new instance beside, then switch the view to it. `supersedes` is the one that serves until then.

    `before`: the definition that its table was built from, where that differs in measures only: then what is current can be
    copied, and only new measures need to be computed. `resumes`: an instance that an earlier job has begun to build.
    """

    definition: AggregateDefinition
    supersedes: InstanceRecord | None
    before: AggregateDefinition | None = None
    resumes: InstanceRecord | None = None


@frozen
class DropStep:
    """Drop an instance's table (if there is one that is ours) and mark it deleted."""

    instance: InstanceRecord
    drop_table: bool
    reason: Reason


@frozen
class ForgetStep:
    """Remove the record of an instance that was deleted long ago."""

    instance: InstanceRecord


@frozen
class AdoptStep:
    """Put a table in service that carries our tag but that the ledger does not name: it is proved, not built.

    `instance` is the ledger row to be, as far as it can be known before: its counts and tokens are read by the publish.
    """

    definition: AggregateDefinition
    instance: InstanceRecord


@frozen
class DisownStep:
    """Give the table and the view of an active instance to their owner: the ledger forgets them, their tags go."""

    instance: InstanceRecord


@frozen
class RecordStep:
    """Write what is known of definitions (uses, deactivation), whole rows, and remove the rows of `forgotten` ids."""

    records: tuple[DefinitionRecord, ...]
    forgotten: tuple[str, ...] = ()


@frozen
class RedefineStep:
    """Let an active instance serve its changed definition, where only the view differs: its names and its view."""

    definition: AggregateDefinition
    instance: InstanceRecord


Step = (
    RetireStep
    | RefreshStep
    | ViewStep
    | BuildStep
    | DropStep
    | ForgetStep
    | AdoptStep
    | DisownStep
    | RecordStep
    | RedefineStep
)

STEP_ORDER: tuple[type, ...] = (
    RecordStep,
    RetireStep,
    AdoptStep,
    RefreshStep,
    RedefineStep,
    ViewStep,
    BuildStep,
    DisownStep,
    DropStep,
    ForgetStep,
)
"""The order in which a run does its steps: see plan.py."""

_STEP_ACTIONS: Mapping[type, Action] = {
    RetireStep: Action.RETIRE,
    RefreshStep: Action.REFRESH,
    ViewStep: Action.RESTORE_VIEW,
    BuildStep: Action.BUILD,
    DropStep: Action.DROP,
    ForgetStep: Action.FORGET,
    AdoptStep: Action.ADOPT,
    DisownStep: Action.DISOWN,
    RecordStep: Action.RECORD,
    RedefineStep: Action.REDEFINE,
}


def step_action(step: Step) -> Action:
    if isinstance(step, RefreshStep) and not step.partitions:
        return Action.NOTE
    return _STEP_ACTIONS[type(step)]


def step_label(step: Step) -> str:
    """`cube.name` of the aggregate that the step is about; for records, how many."""
    if isinstance(step, RecordStep):
        count = len(step.records) + len(step.forgotten)
        return f"{count} definition{'' if count == 1 else 's'}"
    if isinstance(step, RefreshStep | ViewStep | BuildStep | AdoptStep | RedefineStep):
        return step.definition.label
    return step.instance.label


def step_definition_id(step: Step) -> str | None:
    """The definition that the step is about; None for a step about many."""
    if isinstance(step, RecordStep):
        return None
    return step.definition.id if isinstance(step, BuildStep) else step.instance.definition_id


def step_to_json(step: Step) -> dict[str, Any]:
    """{"action", "aggregate", "definition_id" or null, "instance_id" or null, "table" or null, "partitions": [keys]}."""
    instance = None if isinstance(step, BuildStep | RecordStep) else step.instance
    return {
        "action": step_action(step).value,
        "aggregate": step_label(step),
        "definition_id": step_definition_id(step),
        "instance_id": instance and instance.id,
        "table": instance and instance.table_name,
        "partitions": [each.period.key for each in step.partitions] if isinstance(step, RefreshStep) else [],
    }


def decisions_to_json(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """One entry per group of decisions that differ in their partition only, in the order of their first member.

    {"subject", "reason", "weight", "action", "aggregate", "definition_id", "instance_id", "partitions": [keys], "words"}
    """
    groups: dict[tuple[Any, ...], list[str]] = {}
    for each in decisions:
        key = (each.subject, each.reason, each.action, each.aggregate, each.definition_id, each.instance_id, each.words)
        keys = groups.setdefault(key, [])
        if each.partition is not None:
            keys.append(each.partition)
    return [
        {
            "subject": subject.value,
            "reason": reason.value,
            "weight": MEANINGS[reason].weight.value,
            "action": action.value,
            "aggregate": aggregate,
            "definition_id": definition_id,
            "instance_id": instance_id,
            "partitions": partitions,
            "words": words,
        }
        for (subject, reason, action, aggregate, definition_id, instance_id, words), partitions in groups.items()
    ]


def decisions_about(
    entries: Sequence[Mapping[str, Any]], aggregate: str, partition: str | None = None
) -> list[Mapping[str, Any]]:
    """Of `decisions_to_json` entries, those about an aggregate (its name, `cube.name` or definition id), or a partition.

    For `why`: a partition is named by its key (`2024-03`). Empty if nothing was decided about it.
    """
    mine = [
        each
        for each in entries
        if aggregate in (each["aggregate"], each["definition_id"], str(each["aggregate"]).partition(".")[2])
    ]
    if partition is None:
        return mine
    return [each for each in mine if partition in each["partitions"]]


@frozen
class MaintenancePlan:
    """What a run would do, and why. `steps` are in the order in which they are done.

    `left_out`: how many steps, or parts of steps, are left for a later run (not asked for, or over budget).
    """

    organization_id: str
    schema: str
    planned_at: datetime
    decisions: tuple[Decision, ...]
    steps: tuple[Step, ...]
    left_out: int = 0

    @property
    def writes(self) -> bool:
        """False if there is nothing to do: such a run issues no write statement."""
        return bool(self.steps)

    def to_json(self) -> dict[str, Any]:
        return {
            "organization_id": self.organization_id,
            "schema": self.schema,
            "planned_at": self.planned_at.isoformat().replace("+00:00", "Z"),
            "writes": self.writes,
            "decisions": decisions_to_json(self.decisions),
            "steps": [step_to_json(step) for step in self.steps],
        }
