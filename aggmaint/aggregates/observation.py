"""What one look at a warehouse found: frozen facts, no judgement. `plan.py` judges them.

An observation is of one snapshot, where the engine has snapshots: the ledger, the tables and the tokens belong together,
and what is staged from it belongs to it too. Facts that could not be had are absent and say why (`Failure`); they
are never guessed.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from attrs import Factory, frozen

from .changes import ChangeKind, classify_change
from .growth import Grown, Hindered
from .life import DefinitionRecord
from .model import AggregateDefinition, InstanceStatus
from .naming import Tag, is_table_of
from .parts import Measure
from .periods import Period


@frozen
class Column:
    """A column's name and its type, as the warehouse writes it."""

    name: str
    type: str


@frozen
class ControlState:
    """The control row of a managed schema: whose it is, and the newest claim."""

    installation: str
    org_id: str
    generation: int
    fence: int
    touch: int
    open: bool
    build: str


@frozen
class PartitionRecord:
    """A ledger row: what was published for one period. `token` is the source's, `content` the table's own.

    mark         the source's mark up to which its rows are in it; None: not known, or of no use (`additive.py`).
    computed_at  when it was last computed from all of its rows, if rows were merged into it since; else None.
    """

    period: Period
    rows: int
    token: str
    content: str
    build_id: str
    published_at: datetime
    mark: str | None = None
    computed_at: datetime | None = None

    @property
    def last_computed_at(self) -> datetime:
        """When it was last computed from all of its rows."""
        return self.computed_at or self.published_at


@frozen
class InstanceRecord:
    """A ledger row: one physical table, from its intent to its end.

    `since_at` is when it got its present status. `generation` and `fence` are those of the job that built it.
    `source_tokens` are (source key, token) pairs of its sources and dependencies, each as a whole. `parts` are the
    (name, hash) pairs of the definition that it was built from, and `measures` its measures; empty: not known.
    """

    id: str
    definition_id: str
    label: str
    table_name: str
    view_name: str
    status: InstanceStatus
    since_at: datetime
    generation: int
    fence: int
    definition_hash: str
    structure_hash: str
    build_id: str
    started_at: datetime
    built_at: datetime | None = None
    published_at: datetime | None = None
    rows: int = 0
    columns: tuple[Column, ...] = ()
    reason: str | None = None
    message: str | None = None
    partitions: tuple[PartitionRecord, ...] = ()
    source_tokens: tuple[tuple[str, str], ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    measures: tuple[Measure, ...] = ()


class ObjectKind(StrEnum):
    TABLE = "table"
    VIEW = "view"
    OTHER = "other"


@frozen
class SchemaObject:
    """A table or view that is in the managed schema, with the tag of its comment, if it has one."""

    name: str
    kind: ObjectKind
    tag: Tag | None = None


class FailureKind(StrEnum):
    """Why facts could not be had: the definition does not fit, a source is not there, a query broke off, or what it
    computed did not pass the gate before its publish."""

    DEFINITION = "definition"
    SOURCE = "source"
    QUERY = "query"
    GATE = "gate"


@frozen
class Failure:
    kind: FailureKind
    message: str


@frozen
class PartitionContent:
    """What a table holds for one period now: rows, and the content token over all its columns."""

    period: Period
    rows: int
    content: str


@frozen
class TableFacts:
    """What was found of an active instance's table; `columns` None: it is not there. `unreadable`: the probe's error.

    compared  the periods that `contents` speaks of; None: of all. A large table whose number of rows is the published one
              is compared in rotation.
    """

    columns: tuple[Column, ...] | None = None
    unreadable: str | None = None
    contents: tuple[PartitionContent, ...] = ()
    compared: frozenset[Period] | None = None


class Cause(StrEnum):
    """Why a period's source rows were fingerprinted.

    source    the source as a whole moved, or nobody vouches for it.
    declared  the source's declared column, or its number of rows, says that the period may have changed.
    mark      the host marked it as changed.
    audit     its turn in the rotating audit had come.
    broken    the source's declaration can not be true.
    """

    SOURCE = "source"
    DECLARED = "declared"
    MARK = "mark"
    AUDIT = "audit"
    BROKEN = "broken"


class Vouch(StrEnum):
    """Who says of the periods that were not fingerprinted that their source rows are the published ones.

    whole     the fingerprint of the whole source.
    declared  the source's declaration.
    engine    the engine's own token of the source.
    """

    WHOLE = "whole"
    DECLARED = "declared"
    ENGINE = "engine"


@frozen
class DefinitionFacts:
    """What was found of a definition's sources.

    columns        the columns that a build would make now.
    source_tokens  (source key, token) of its sources and dependencies as a whole.
    tokens         the source tokens of the periods that were looked at; None: of none.
    cause          why all periods were looked at; None: only those of `looked` were (each with its own cause).
    vouch          who vouches for the others.
    grown          to the source rows were only added, in these periods; those of `looked` are fingerprinted all the same.
    hindered       why the warehouse that could merge new rows may not, or can not tell them apart; None if nobody asked.
    """

    columns: tuple[Column, ...] = ()
    source_tokens: tuple[tuple[str, str], ...] = ()
    tokens: tuple[tuple[Period, str], ...] | None = None
    failure: Failure | None = None
    cause: Cause | None = Cause.SOURCE
    looked: tuple[tuple[Period, Cause], ...] = ()
    vouch: Vouch = Vouch.WHOLE
    grown: Grown | None = None
    hindered: Hindered | None = None


@frozen
class Observation:
    """One look. `control` None: the managed schema is not there yet.

    `reader` is the (generation, number) of the observing job's fence, None for a reader that is no job. `tables` is by
    instance id, of active instances only; `definitions` by definition id. `records` are the ledger's of definitions.
    """

    schema: str
    installation: str
    org_id: str
    control: ControlState | None = None
    reader: tuple[int, int] | None = None
    instances: tuple[InstanceRecord, ...] = ()
    objects: tuple[SchemaObject, ...] = ()
    tables: Mapping[str, TableFacts] = Factory(dict)
    definitions: Mapping[str, DefinitionFacts] = Factory(dict)
    records: tuple[DefinitionRecord, ...] = ()


def lost_tables(observation: Observation) -> tuple[tuple[Tag, SchemaObject], ...]:
    """Tables that carry our tag and the name of the instance that it names, but that the ledger does not name."""
    known = {each.id for each in observation.instances}
    return tuple(
        (each.tag, each)
        for each in observation.objects
        if each.kind is ObjectKind.TABLE
        and each.tag is not None
        and each.tag.installation == observation.installation
        and each.tag.instance_id not in known
        and is_table_of(each.name, each.tag.instance_id)
    )


def active_instance(definition_id: str, instances: tuple[InstanceRecord, ...]) -> InstanceRecord | None:
    """The instance that serves a definition; None if none does."""
    return next(
        (each for each in instances if each.definition_id == definition_id and each.status is InstanceStatus.ACTIVE),
        None,
    )


def serves(instance: InstanceRecord, definition: AggregateDefinition, columns: tuple[Column, ...]) -> bool:
    """True if the table holds what this definition asks for and a build would still make these columns.

    Only then is there anything to compare tokens with. What only the view shows may differ.
    """
    return instance.columns == columns and change_of(instance, definition) in (ChangeKind.SAME, ChangeKind.VIEW)


def change_of(instance: InstanceRecord, definition: AggregateDefinition) -> ChangeKind:
    """How the definition differs from the one that the instance was built from."""
    if instance.definition_hash == definition.definition_hash:
        return ChangeKind.SAME
    return classify_change(dict(instance.parts), definition.part_hashes).kind


def source_moved(instance: InstanceRecord, source_tokens: tuple[tuple[str, str], ...]) -> bool:
    """True if one of its sources has another token than at the last publish (or an unknown one)."""
    return dict(instance.source_tokens) != dict(source_tokens)
