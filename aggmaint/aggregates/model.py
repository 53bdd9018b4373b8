"""What an aggregate is: its definition, and the words for what exists of it in a warehouse.

Theory of operation
-------------------
A *definition* says what is wanted: a source, attributes (the grain), measures and, mostly, a partition. It is a frozen
value: equal definitions are equal values, and two hashes say what a change of it costs (`definition_hash`: the contents
may differ; `structure_hash`: the columns may differ). An *instance* is one physical table made from a definition; its
statuses move only along `INSTANCE_PREDECESSORS`. Queries read neither, but a *view* named `<cube>__<name>`.

**The period of the partition is part of the grain.** Rows of the physical table are grouped by (period, attributes), so no
group ever straddles two partitions, whatever the attributes are. Where an attribute already determines the period (it is
the partition expression itself, or the same expression truncated to a period that nests in it) nothing changes for
readers. Where none does, the definition chooses: the view shows the period as one more attribute, named
`PartitionBy.name` (by default the granularity: "month"), so that "revenue by ship mode, partitioned by month" is revenue
by month and ship mode, and says so; or, with `PartitionBy.merge`, the view merges the periods' rows to "revenue by ship
mode", for measures that can be merged (the table of `measures.py`).

**What a period is.** A DATE is a civil date in the partition's zone. A TIMESTAMP without zone is an instant in UTC, and
a TIMESTAMP WITH TIME ZONE is an instant; both are turned into civil time of the zone. Weeks start on Monday. Rows whose
partition expression is NULL form a partition of their own. By `value`, each value's text is a period.

Nothing here parses SQL: that needs sqlglot, is done by `check.py`, and finds every problem at once. The constructors
refuse only what can be seen without parsing. Everything raises InvalidDefinitionError, and names the aggregate.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from attrs import field, frozen

from .parts import Attribute, Granularity, Measure, MeasureFunction, PartitionBy
from .source import Join, JoinKind, Source, one_of, require_text

__all__ = [
    "AggregateDefinition",
    "Attribute",
    "DefinitionStatus",
    "DefinitionSubtype",
    "DefinitionType",
    "Granularity",
    "InstanceStatus",
    "Join",
    "JoinKind",
    "Measure",
    "MeasureFunction",
    "PartitionBy",
    "Problem",
    "Source",
    "default_definition_id",
]

DEFINITION_NAMESPACE = UUID("6f6e6c79-6167-5d61-8d61-696e74000001")
"""Definition ids that are not given are uuid5 of this namespace over [organisation, cube, name], case-folded."""

RESERVED_PREFIX = "aggmaint_"
"""Column and object names with this prefix are ours."""

VIEW_NAME_BYTES_MAX = 63
"""PostgreSQL cuts longer names silently; so no warehouse gets one."""

Scalar = str | int | float | bool | None


class DefinitionType(StrEnum):
    USER_DEFINED = "user_defined"
    SYSTEM_DEFINED = "system_defined"


class DefinitionSubtype(StrEnum):
    MANUAL = "manual"
    DEMAND_DEFINED = "demand_defined"
    PREDICTION_DEFINED = "prediction_defined"


class DefinitionStatus(StrEnum):
    """Where a definition stands, for readers: `active` is served, `pending` waits for its first build.

    `invalid` is not served and will not be by itself: wrong, blocked, or its last build failed.
    """

    ACTIVE = "active"
    PENDING = "pending"
    INVALID = "invalid"


class InstanceStatus(StrEnum):
    """The life of one physical table. There is no instance before its intent, so `pending` is a definition's word only."""

    INPROGRESS = "inprogress"
    ACTIVE = "active"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNRELIABLE = "unreliable"
    INVALID = "invalid"
    DELETED = "deleted"


INSTANCE_PREDECESSORS: Mapping[InstanceStatus, frozenset[InstanceStatus]] = {
    InstanceStatus.INPROGRESS: frozenset(),
    InstanceStatus.ACTIVE: frozenset({InstanceStatus.INPROGRESS}),
    InstanceStatus.FAILED: frozenset({InstanceStatus.INPROGRESS}),
    InstanceStatus.CANCELLED: frozenset({InstanceStatus.INPROGRESS}),
    InstanceStatus.UNRELIABLE: frozenset({InstanceStatus.ACTIVE}),
    InstanceStatus.INVALID: frozenset({InstanceStatus.ACTIVE}),
    InstanceStatus.DELETED: frozenset(
        {
            InstanceStatus.INPROGRESS,  # a crashed build, swept
            InstanceStatus.FAILED,
            InstanceStatus.CANCELLED,
            InstanceStatus.UNRELIABLE,
            InstanceStatus.INVALID,
            InstanceStatus.DELETED,  # a zombie's table that came after its row was deleted
        }
    ),
}
"""For each status, those that it may be reached from. A ledger write that finds another status has lost a race."""


def _parameters(value: Mapping[str, Scalar] | Iterable[tuple[str, Scalar]]) -> tuple[tuple[str, Scalar], ...]:
    pairs = value.items() if isinstance(value, Mapping) else value
    return tuple(sorted(pairs))


def _definition_type(value: DefinitionType | str) -> DefinitionType:
    return one_of(DefinitionType, value, "type")


def _definition_subtype(value: DefinitionSubtype | str) -> DefinitionSubtype:
    return one_of(DefinitionSubtype, value, "subtype")


def _sources(values: Iterable[Source]) -> tuple[Source, ...]:
    return tuple(values)


def _joins(values: Iterable[Join]) -> tuple[Join, ...]:
    return tuple(values)


def _attributes(values: Iterable[Attribute]) -> tuple[Attribute, ...]:
    return tuple(values)


def _measures(values: Iterable[Measure]) -> tuple[Measure, ...]:
    return tuple(values)


@frozen(kw_only=True, cache_hash=True)
class AggregateDefinition:
    """What is wanted of one aggregate, for one organisation. See the module's docstring.

    id            a UUID as text. Default: deterministic from organisation, cube and name (`default_definition_id`).
    project, cube names (they serve as ids too) of what the aggregate belongs to.
    name          unique per organisation and cube, compared case-folded.
    type, subtype who asked for it; user-defined aggregates are never pruned.
    source, joins where rows come from.
    attributes    the grain; may be empty (one row per period, or one row).
    measures      at least one.
    partition     None: one part only, refreshed whole.
    dependencies  sources that are not read row by row, but whose change makes every partition stale.
    parameters    values for `:name` in the sources' `where`; `org` is the organisation's id unless given.
    blocked       deactivated by hand: not built, not served, its table dropped after a grace.
    """

    organization_id: str = field(validator=require_text)
    cube: str = field(validator=require_text)
    name: str = field(validator=require_text)
    source: Source
    measures: tuple[Measure, ...] = field(converter=_measures)
    attributes: tuple[Attribute, ...] = field(default=(), converter=_attributes)
    joins: tuple[Join, ...] = field(default=(), converter=_joins)
    partition: PartitionBy | None = None
    dependencies: tuple[Source, ...] = field(default=(), converter=_sources)
    parameters: tuple[tuple[str, Scalar], ...] = field(default=(), converter=_parameters)
    project: str = field(default="default", validator=require_text)
    type: DefinitionType = field(default=DefinitionType.USER_DEFINED, converter=_definition_type)
    subtype: DefinitionSubtype = field(default=DefinitionSubtype.MANUAL, converter=_definition_subtype)
    blocked: bool = False
    id: str = ""

    def __attrs_post_init__(self) -> None:
        if not self.id:
            identity = default_definition_id(self.organization_id, self.cube, self.name)
            object.__setattr__(self, "id", identity)

    @property
    def label(self) -> str:
        """`cube.name`, for people."""
        return f"{self.cube}.{self.name}"

    @property
    def view_name(self) -> str:
        return f"{self.cube}__{self.name}"

    @property
    def sources(self) -> tuple[Source, ...]:
        """The source and the joined ones, in order."""
        return (self.source, *(join.source for join in self.joins))

    @property
    def bound(self) -> dict[str, Scalar]:
        """The values of the parameters by name, `org` included."""
        return {"org": self.organization_id, **dict(self.parameters)}

    @property
    def definition_hash(self) -> str:
        """16 hex digits over everything that decides the contents or the name of what is served.

        Not over project, type, subtype and blocked: they change nothing in the table.
        """
        return _definition_hash(self)

    @property
    def structure_hash(self) -> str:
        """16 hex digits over the columns of the physical table and how they are computed."""
        structural = ("attribute:", "measure:", "partition")
        return _digest(sorted(item for item in self.part_hashes.items() if item[0].startswith(structural)))

    @property
    def part_hashes(self) -> dict[str, str]:
        """16 hex digits for each part by name; `changes.classify_change` compares those of two definitions.

        view                 what only the view shows: its name, the columns' order, the period's name, if it merges.
        rows                 which rows are read: sources, joins, filters, parameters.
        dependencies         what else makes everything stale.
        partition            how rows are cut into periods.
        attribute:<name>, measure:<name>   one each.
        """
        return dict(_part_hashes(self))

    def _parts(self) -> dict[str, Any]:
        partition = self.partition
        columns = [each.name for each in self.attributes], [each.name for each in self.measures]
        parts: dict[str, Any] = {
            "view": [self.cube, self.name, *columns, partition and [partition.name, partition.merge]],
            "rows": [
                [_source_parts(source) for source in self.sources],
                [[join.kind.value, join.on] for join in self.joins],
                sorted((name, repr(value)) for name, value in self.bound.items()),
            ],
            "dependencies": [_source_parts(source) for source in self.dependencies],
            "partition": partition
            and [partition.expression, partition.granularity.value, partition.zone, partition.values],
        }
        for attribute in self.attributes:
            parts[f"attribute:{attribute.name}"] = attribute.expression
        for measure in self.measures:
            function = measure.function.value
            parts[f"measure:{measure.name}"] = [function, measure.expression, measure.filter, measure.order]
        return parts


@lru_cache(maxsize=16_384)
def _part_hashes(definition: AggregateDefinition) -> Mapping[str, str]:
    return {name: _digest(value) for name, value in definition._parts().items()}


@lru_cache(maxsize=16_384)
def _definition_hash(definition: AggregateDefinition) -> str:
    return _digest(sorted(_part_hashes(definition).items()))


def _source_parts(source: Source) -> list[str | None]:
    return [source.table, source.file, source.alias, source.where, source.aggregate]


def _digest(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def default_definition_id(organization_id: str, cube: str, name: str) -> str:
    """The id of a definition that was given none: the same for ever for one organisation, cube and name."""
    return str(uuid5(DEFINITION_NAMESPACE, json.dumps([organization_id, cube.casefold(), name.casefold()])))


@frozen
class Problem:
    """One thing that is wrong with a definition: which aggregate, which key of it, its value, and what to do."""

    aggregate: str
    key: str
    value: str
    remedy: str

    def __str__(self) -> str:
        shown = self.value if len(self.value) <= 200 else self.value[:197] + "..."
        return f"aggregate {self.aggregate!r}, {self.key} = {shown!r}: {self.remedy}"
