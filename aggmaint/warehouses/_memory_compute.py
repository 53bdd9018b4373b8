"""What an aggregate is of plain Python rows: bound, computed, fingerprinted. The rules are those of `aggregates/sql.py`.

Theory of operation
-------------------
`Tables` is one snapshot: what `observe` took, and what is staged from it. A definition is *bound* first: its sources are
there, its names resolve, its expressions are in the subset. Then `grouped` gives its physical rows by period: the period,
the attributes, the columns of the measures. All types are ANY: a Python value is what it is. Sums of floats are exact
(fsum) and so do not depend on the order of rows, and equal rows always have equal fingerprints.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from attrs import field, frozen

from ..aggregates.expressions import ExpressionError, columns_read, expressions_of, partition_expression
from ..aggregates.model import AggregateDefinition, JoinKind, Problem, Source
from ..aggregates.nesting import period_is_free
from ..aggregates.observation import Column, Failure, FailureKind, PartitionContent
from ..aggregates.parts import Granularity, Measure, MeasureFunction
from ..aggregates.periods import Period, period_of
from ..aggregates.scans import DEPENDENCY_KEY, SOURCE_KEY
from ..aggregates.sql import PERIOD_COLUMN
from ..aggregates.tokens import TokenKind, make_token
from ..errors import WarehouseQueryError
from ._memory_evaluate import DIALECT, Scope, Values, evaluate, is_true, period_start, require_supported

ENGINE = "memory1"
ANY = "ANY"

Row = tuple[Any, ...]
Step = Callable[[], None]
_EXACT = Context(prec=80)


@frozen
class Table:
    """Rows of one source at one moment, with its columns as they were first spelled."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    """By case-folded column."""


@frozen
class Bound:
    """A definition that fits its sources: by alias and by dependency label, the columns it reads. Or its failure."""

    read: Mapping[str, tuple[str, ...]] = field(factory=dict)
    everything: Mapping[str, tuple[str, ...]] = field(factory=dict)
    failure: Failure | None = None


@frozen
class Tables:
    """A snapshot of all base tables, by case-folded name. `step` is called now and then, and may raise."""

    tables: Mapping[str, Table]
    step: Step

    def of(self, source: Source) -> Table | None:
        name = (source.table or "").replace('"', "").casefold()
        return self.tables.get(name)


def physical_columns(definition: AggregateDefinition) -> tuple[Column, ...]:
    """The columns of the table that a build makes."""
    names = [PERIOD_COLUMN] if definition.partition else []
    names += [each.name for each in definition.attributes]
    names += [column for measure in definition.measures for column in measure.columns]
    return tuple(Column(name, ANY) for name in names)


# -- binding -------------------------------------------------------------------------------------------------------------


def bind(definition: AggregateDefinition, tables: Tables) -> Bound:
    columns: dict[str, tuple[str, ...]] = {}
    everything: dict[str, tuple[str, ...]] = {}
    for source in (*definition.sources, *definition.dependencies):
        table = tables.of(source)
        if table is None:
            words = _not_there(source, tables)
            return _failed(definition, FailureKind.SOURCE, f"source {source.alias!r}", source.label, words)
        if not table.columns:
            remedy = f"its columns are not known, for it never had a row; give columns={{{source.label!r}: [...]}}"
            return _failed(definition, FailureKind.SOURCE, f"source {source.alias!r}", source.label, remedy)
        if source in definition.dependencies:
            everything[source.label] = table.columns
        else:
            columns[source.alias] = table.columns
    beyond = _beyond(definition)
    if beyond is not None:
        key, text = beyond
        return _failed(
            definition, FailureKind.DEFINITION, key, text, "the memory warehouse can not do this; test with DuckDB"
        )
    try:
        for each in expressions_of(definition):
            require_supported(each.text, parameters=each.alias is not None)
    except ExpressionError as problem:
        return _failed(definition, FailureKind.DEFINITION, each.key, each.text, str(problem))
    read = columns_read(definition, columns, DIALECT)
    if read.unresolved:
        first = read.unresolved[0]
        return _failed(definition, FailureKind.DEFINITION, first.key, first.text, first.remedy)
    return Bound(read.by_alias, everything)


def _not_there(source: Source, tables: Tables) -> str:
    if source.file is not None:
        return "the memory warehouse reads no files; give its rows as a table"
    if source.aggregate is not None:
        return "the memory warehouse can not read aggregates; test with DuckDB"
    return f"there is no such table in memory; there are {', '.join(sorted(tables.tables)) or 'none'}"


def _beyond(definition: AggregateDefinition) -> tuple[str, str] | None:
    """(key, value) of the first part of a definition that is not expressions, and that is not done here."""
    for measure in definition.measures:
        if measure.function not in _AGGREGATES:
            return f"measure {measure.name!r} function", measure.function.value
    partition = definition.partition
    if partition is not None and partition.granularity not in PERIODS:
        return "partition granularity", partition.granularity.value
    if getattr(partition, "merge", False):
        return "partition merge", "true"
    return None


def _failed(definition: AggregateDefinition, kind: FailureKind, key: str, value: str, remedy: str) -> Bound:
    return Bound(failure=Failure(kind, str(Problem(definition.label, key, value, remedy))))


# -- rows ----------------------------------------------------------------------------------------------------------------


class Computation:
    """One definition over one snapshot. Raises WarehouseQueryError where the data does not fit an expression."""

    def __init__(self, definition: AggregateDefinition, tables: Tables) -> None:
        self._definition = definition
        self._tables = tables
        self._partition = partition_expression(definition) if definition.partition else None

    def grouped(self, periods: Iterable[Period] | None = None) -> dict[Period, tuple[Row, ...]]:
        """The aggregate's physical rows, by period; of these periods, or of all."""
        wanted = None if periods is None else set(periods)
        definition = self._definition
        bare = definition.partition is None and not definition.attributes
        groups: dict[Row, list[Scope]] = {(): []} if bare else {}
        for scope in self.joined():
            self._tables.step()
            key = self._key(scope)
            if wanted is None or self.period(key) in wanted:
                groups.setdefault(key, []).append(scope)
        found: dict[Period, list[Row]] = {}
        for key, scopes in groups.items():
            measures = [value for each in definition.measures for value in self._measured(each, scopes)]
            found.setdefault(self.period(key), []).append((*key, *measures))
        return {period: tuple(rows) for period, rows in found.items()}

    def period(self, row: Row) -> Period:
        """Of a physical row, or of its key."""
        partition = self._definition.partition
        start = None if partition is None or row[0] is None else row[0].isoformat()
        return period_of(start, partition)

    def _key(self, scope: Scope) -> Row:
        values = [self._evaluated(f"attribute {a.name!r}", a.expression, scope) for a in self._definition.attributes]
        for value in values:
            if not isinstance(value, str | int | float | Decimal | date | None):
                raise WarehouseQueryError(f"{value!r} can not be grouped by")
        return tuple(values) if self._partition is None else (self.period_start(scope), *values)

    def period_start(self, scope: Scope) -> date | None:
        partition = self._definition.partition
        assert partition is not None
        value = self._evaluated("partition", self._partition or "", scope)
        if isinstance(value, datetime):
            instant = value if value.tzinfo else value.replace(tzinfo=UTC)
            value = instant.astimezone(ZoneInfo(partition.zone)).replace(tzinfo=None)
        start: date | None = self._fitting("partition", lambda: period_start(value, partition.granularity))
        return start

    def joined(self) -> Iterable[Scope]:
        """Every row of the first source, with every row of the others that it meets."""
        bound = self._definition.bound
        scopes = [
            Scope({self._definition.source.alias.casefold(): row}, bound) for row in self._rows(self._definition.source)
        ]
        for join in self._definition.joins:
            alias, others = join.source.alias.casefold(), self._rows(join.source)
            table = self._tables.of(join.source)
            nothing = {name.casefold(): None for name in (table.columns if table else ())}
            joined = []
            for scope in scopes:
                self._tables.step()
                pairs = [Scope({**scope.rows, alias: other}, bound) for other in others]
                met = [pair for pair in pairs if self._passes(f"join {join.source.alias!r} on", join.on, pair)]
                left: list[Scope] = [Scope({**scope.rows, alias: nothing}, bound)] if join.kind is JoinKind.LEFT else []
                joined.extend(met or left)
            scopes = joined
        return scopes

    def _rows(self, source: Source) -> list[Mapping[str, Any]]:
        return source_rows(source, self._tables, self._definition)

    def _evaluated(self, key: str, text: str, scope: Scope) -> Any:
        return self._fitting(f"{key} = {text!r}", lambda: evaluate(text, scope))

    def _passes(self, key: str, text: str, scope: Scope) -> bool:
        return bool(self._fitting(f"{key} = {text!r}", lambda: is_true(evaluate(text, scope))))

    def _fitting(self, what: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (ValueError, TypeError, ArithmeticError, AttributeError) as problem:
            raise WarehouseQueryError(f"{what}: {problem}") from problem

    # -- measures ------------------------------------------------------------------------------------------------------

    def _measured(self, measure: Measure, scopes: Sequence[Scope]) -> list[Any]:
        """The values of its physical columns over one group."""
        key = f"measure {measure.name!r}"
        if measure.filter is not None:
            scopes = [each for each in scopes if self._passes(f"{key} filter", measure.filter, each)]
        if measure.expression is None:
            return [len(scopes)]
        values = [self._evaluated(key, measure.expression, each) for each in scopes]
        known = [value for value in values if value is not None]
        answer: list[Any] = self._fitting(key, lambda: _AGGREGATES[measure.function](known))
        return answer


def source_rows(source: Source, tables: Tables, definition: AggregateDefinition) -> list[Mapping[str, Any]]:
    """The source's rows that pass its own filter."""
    table = tables.of(source)
    assert table is not None, "bound before"
    if source.where is None:
        return list(table.rows)
    found = []
    for row in table.rows:
        tables.step()
        rows: Values = {source.alias.casefold(): row}
        try:
            if is_true(evaluate(source.where, Scope(rows, definition.bound), parameters=True)):
                found.append(row)
        except (ValueError, TypeError, ArithmeticError, AttributeError) as problem:
            raise WarehouseQueryError(f"source {source.alias!r} where = {source.where!r}: {problem}") from problem
    return found


def added(values: Sequence[Any]) -> Any:
    """Their sum, which does not depend on their order; None of nothing."""
    if not values:
        return None
    if any(not isinstance(value, int | float | Decimal) for value in values):
        raise TypeError("only numbers can be added up")
    if any(isinstance(value, float) for value in values):
        return math.fsum(float(value) for value in values)
    total: Any = 0
    for value in values:
        total = _EXACT.add(Decimal(total), value) if isinstance(value, Decimal) else total + value
    return total


_AGGREGATES: Mapping[MeasureFunction, Callable[[list[Any]], list[Any]]] = {
    MeasureFunction.SUM: lambda known: [added(known)],
    MeasureFunction.AVG: lambda known: [added(known), len(known)],
    MeasureFunction.COUNT: lambda known: [len(known)],
    MeasureFunction.COUNT_DISTINCT: lambda known: [len(set(known))],
    MeasureFunction.MIN: lambda known: [min(known, default=None)],
    MeasureFunction.MAX: lambda known: [max(known, default=None)],
}
"""The values of a function's physical columns over values that are not NULL."""

PERIODS = frozenset({Granularity.DAY, Granularity.WEEK, Granularity.MONTH, Granularity.QUARTER, Granularity.YEAR})


# -- fingerprints --------------------------------------------------------------------------------------------------------


def fingerprint(values: Iterable[Any]) -> int:
    text = "\x00".join(_spelled(value) for value in values)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _spelled(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"number {value.normalize():f}"
    if isinstance(value, int | float):
        return f"{type(value).__name__} {value!r}"
    return f"{type(value).__name__} {value!r}"


def contents(definition: AggregateDefinition, grouped: Mapping[Period, Sequence[Row]]) -> tuple[PartitionContent, ...]:
    """What these physical rows hold per period, in the order of the keys."""
    names = [each.name for each in physical_columns(definition) if each.name != PERIOD_COLUMN]
    first = 1 if definition.partition else 0
    found = []
    for period, rows in sorted(grouped.items(), key=lambda each: each[0].key):
        total = sum(fingerprint(row[first:]) for row in rows)
        found.append(
            PartitionContent(period, len(rows), make_token(ENGINE, TokenKind.CONTENT, names, len(rows), total))
        )
    return tuple(found)


def source_tokens(definition: AggregateDefinition, bound: Bound, tables: Tables) -> tuple[tuple[str, str], ...]:
    """(source key, token) of joined and depended-on sources, sorted by key."""
    found = []
    if definition.joins:
        for source in definition.sources:
            found.append((SOURCE_KEY + source.alias, _whole(definition, source, bound.read[source.alias], tables)))
    for source in definition.dependencies:
        found.append(
            (DEPENDENCY_KEY + source.label, _whole(definition, source, bound.everything[source.label], tables))
        )
    return tuple(sorted(found))


def _whole(definition: AggregateDefinition, source: Source, columns: Sequence[str], tables: Tables) -> str:
    rows = source_rows(source, tables, definition)
    total = sum(fingerprint(row[name.casefold()] for name in columns) for row in rows)
    return make_token(ENGINE, TokenKind.SOURCE, columns, len(rows), total)


def period_tokens(definition: AggregateDefinition, bound: Bound, tables: Tables) -> tuple[tuple[Period, str], ...]:
    """The token of each period: over source rows, or, with joins, over what would be published."""
    computation = Computation(definition, tables)
    if definition.joins:
        return tuple((each.period, each.content) for each in contents(definition, computation.grouped()))
    columns = bound.read[definition.source.alias]
    found: dict[Period, list[int]] = {}
    if definition.partition is None:
        found[period_of(None, None)] = []
    for scope in computation.joined():
        tables.step()
        (row,) = scope.rows.values()
        key = (computation.period_start(scope),) if definition.partition else ()
        found.setdefault(computation.period(key), []).append(fingerprint(row[name.casefold()] for name in columns))
    return tuple(
        (period, make_token(ENGINE, TokenKind.SOURCE, columns, len(hashes), sum(hashes)))
        for period, hashes in sorted(found.items(), key=lambda each: each[0].key)
    )


# -- views ---------------------------------------------------------------------------------------------------------------


def shown(definition: AggregateDefinition, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Physical rows as the view shows them: attributes, the period where it is an attribute, measures, parts of averages."""
    names = [each.name for each in physical_columns(definition)]
    partition = definition.partition
    period_name = partition.name if partition and period_is_free(definition, DIALECT) else None
    found = []
    for row in rows:
        values = dict(zip(names, row, strict=True))
        view = {each.name: values[each.name] for each in definition.attributes}
        if period_name is not None:
            view[period_name] = values[PERIOD_COLUMN]
        averages: dict[str, Any] = {}
        for measure in definition.measures:
            if measure.function is MeasureFunction.AVG:
                total, count = (values[column] for column in measure.columns)
                view[measure.name] = float(total) / count if count else None
                averages.update({column: values[column] for column in measure.columns})
            else:
                view[measure.name] = values[measure.name]
        found.append({**view, **averages})
    return found
