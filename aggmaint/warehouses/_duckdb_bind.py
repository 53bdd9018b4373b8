"""Binding a definition to its sources in DuckDB: their columns are read, its names resolved, its statement planned.

DuckDB aborts a transaction at any error; so this is done outside of one, definition by definition, and what is wrong with
one becomes its failure, in words that name the expression.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import Factory, evolve, frozen

from ..aggregates.dialects import DuckDBDialect
from ..aggregates.expressions import columns_read
from ..aggregates.model import AggregateDefinition, Problem, Source
from ..aggregates.observation import Column, Failure, FailureKind
from ..aggregates.scans import SOURCE_KEY, TokenRequest, requests_of
from ..aggregates.sql import pieces, select_sql, source_sql
from ..errors import WarehouseQueryError
from ._duckdb_connection import Connection, failure_kind
from ._duckdb_shared import Shared

DIALECT = DuckDBDialect.name


def bound_parameters(definition: AggregateDefinition) -> dict[str, Any]:
    """The parameters that the definition's statements use: DuckDB wants exactly those."""
    bound = definition.bound
    return {name: bound[name] for name in pieces(definition, DIALECT).parameters}


@frozen
class Bound:
    """A definition that fits its sources: the columns it makes, and the tokens it will ask for."""

    columns: tuple[Column, ...] = ()
    requests: tuple[TokenRequest, ...] = ()
    mark_types: Mapping[str, str] = Factory(dict)
    """The types of declared columns, by source key."""
    failure: Failure | None = None


class Binder:
    """Binds definitions through one connection; what bound well is remembered with the columns of its sources."""

    def __init__(self, connection: Connection, shared: Shared) -> None:
        self._connection = connection
        self._shared = shared

    def bind(self, definitions: Sequence[AggregateDefinition]) -> dict[str, Bound]:
        """What each definition makes and reads, or what is wrong with it, by definition id. Outside of transactions."""
        seen: dict[str, tuple[Column, ...]] = {}
        return {each.id: self._bind(each, seen) for each in definitions}

    def _bind(self, definition: AggregateDefinition, seen: dict[str, tuple[Column, ...]]) -> Bound:
        found: list[tuple[Source, tuple[Column, ...]]] = []
        for source in (*definition.sources, *definition.dependencies):
            try:
                found.append((source, self._source_columns(source, seen)))
            except WarehouseQueryError as problem:
                remedy = f"it can not be read ({problem.message}); create it, or correct its name"
                return _failed(definition, FailureKind.SOURCE, f"source {source.alias!r}", source.label, remedy)
        evidence = (definition, tuple(columns for _, columns in found))
        known: Bound | None = self._shared.bound.get(definition.id, evidence)
        if known is not None:
            return known
        bound = self._bind_to(definition, found)
        if bound.failure is None:
            self._shared.bound.keep(definition.id, evidence, bound)
        return bound

    def _bind_to(self, definition: AggregateDefinition, sources: Sequence[tuple[Source, tuple[Column, ...]]]) -> Bound:
        """Bind to sources with these columns."""
        columns: dict[str, tuple[str, ...]] = {}
        mark_types: dict[str, str] = {}
        for source, found in sources:
            if source.declared is not None and source in definition.sources:
                kind = _mark_type(source.declared, found)
                if kind is None:
                    return _failed(definition, FailureKind.DEFINITION, *_no_mark(source, source.declared, found))
                mark_types[SOURCE_KEY + source.alias] = kind
            names = tuple(each.name for each in found)
            columns[source.label if source in definition.dependencies else source.alias] = names
        scope = {source.alias: columns[source.alias] for source in definition.sources}
        read = columns_read(definition, scope, DIALECT)
        if read.unresolved:
            first = read.unresolved[0]
            return _failed(definition, FailureKind.DEFINITION, first.key, first.text, first.remedy)
        try:
            made = self._connection.columns(select_sql(definition, DIALECT), bound_parameters(definition))
        except WarehouseQueryError as problem:
            return self._blame(definition, problem)
        return Bound(made, requests_of(definition, read.by_alias, columns, DIALECT), mark_types)

    def _source_columns(self, source: Source, seen: dict[str, tuple[Column, ...]]) -> tuple[Column, ...]:
        sql = f"SELECT * FROM {source_sql(evolve(source, where=None), DIALECT)}"
        if sql not in seen:
            seen[sql] = self._connection.columns(sql)
        return seen[sql]

    def _blame(self, definition: AggregateDefinition, problem: WarehouseQueryError) -> Bound:
        """The statement does not fit: find the expression that does not, so that the message can name it."""
        parts, parameters = pieces(definition, DIALECT), bound_parameters(definition)
        for key, text, sql in _expressions(definition):
            try:
                self._connection.columns(f"SELECT {sql} AS x FROM {parts.from_sql}", parameters)
            except WarehouseQueryError as narrower:
                remedy = f"the warehouse refuses it ({narrower.message}); correct the expression"
                return _failed(definition, failure_kind(narrower), key, text, remedy)
        remedy = f"the warehouse refuses its statement ({problem.message}); correct sources, joins or expressions"
        return _failed(definition, failure_kind(problem), "definition", definition.name, remedy)


def _mark_type(declared: str, columns: Sequence[Column]) -> str | None:
    """The type of a declared column; None if it is not there, or of a type whose values do not grow like a clock's."""
    kind = next((each.type for each in columns if each.name.casefold() == declared.casefold()), None)
    return kind if kind is not None and kind.split("(")[0] in _MARK_TYPES else None


_MARK_TYPES = frozenset(
    {
        *(
            "TINYINT",
            "SMALLINT",
            "INTEGER",
            "BIGINT",
            "HUGEINT",
            "UTINYINT",
            "USMALLINT",
            "UINTEGER",
            "UBIGINT",
            "UHUGEINT",
        ),
        *("DECIMAL", "DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"),
    }
)


def _no_mark(source: Source, declared: str, columns: Sequence[Column]) -> tuple[str, str, str]:
    key = f"source {source.alias!r} {'append_only' if source.append_only else 'updated_at'}"
    found = next((each for each in columns if each.name.casefold() == declared.casefold()), None)
    if found is None:
        return (
            key,
            declared,
            f"{source.label} has no such column; name one that grows with every change, or leave it out",
        )
    return key, declared, f"it is {found.type}; a column of whole or decimal numbers, dates or timestamps is needed"


def _failed(definition: AggregateDefinition, kind: FailureKind, key: str, value: str, remedy: str) -> Bound:
    return Bound(failure=Failure(kind, str(Problem(definition.label, key, value, remedy))))


def _expressions(definition: AggregateDefinition) -> list[tuple[str, str, str]]:
    """(key, the person's text, SQL) of the expressions of the statement, to be tried one by one."""
    parts = pieces(definition, DIALECT)
    tried = [
        (f"attribute {name!r}", attribute.expression, sql)
        for (name, sql), attribute in zip(parts.attributes, definition.attributes, strict=True)
    ]
    texts = {column: measure for measure in definition.measures for column in measure.columns}
    for column in parts.measures:
        measure = texts[column.name]
        shown = f"{measure.function.value}({measure.expression or '*'})" + (
            f" of rows where {measure.filter}" if measure.filter else ""
        )
        tried.append((f"measure {measure.name!r}", shown, column.sql))
    if parts.period is not None and definition.partition is not None:
        tried.append(("partition", definition.partition.expression, parts.period))
    return tried
