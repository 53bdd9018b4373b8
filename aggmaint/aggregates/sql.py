"""A definition as SQL: what builds it, what the view reads, what compares it with its source.

Theory of operation
-------------------
`pieces` parses and renders every part of a definition once, with sqlglot; it is cached by what the SQL depends on, so
that a thousand organisations of one template share it (parameters stay parameters). The statements are put together
from the pieces:

    SELECT <period>, <attributes>, <measures> FROM <sources> [WHERE <period is wanted>] GROUP BY <period>, <attributes>

The period, where there is one, is the first column (`aggmaint_period`: a DATE; by value a text). A filter of a source is
applied inside it, before joins. GROUP BY is by position, so an attribute may bear the name of a column that others read.
"""

from collections.abc import Sequence
from functools import lru_cache

from attrs import frozen

from .dialects import Dialect, dialect_of
from .expressions import ExpressionError, parameters_in, partition_expression, rendered, rendered_filter, write
from .measures import MeasureColumn, measure_columns, shown_parts, shown_sql
from .model import AggregateDefinition, PartitionBy, Source
from .nesting import period_is_free
from .parts import OTHER_VALUES
from .periods import NULL_PERIOD, WHOLE_PERIOD, Period, date_ranges
from .remembered import remembered

PERIOD_COLUMN = "aggmaint_period"
FLOAT_TOLERANCE = 1e-9
"""Sums of floats are equal if they differ by at most this part of the sum of absolute values."""


@frozen
class Pieces:
    """The rendered parts of a definition.

    period_shown, period_merged   where no attribute determines the period, one of them: see model.py.
    inputs                        all that a row of the aggregate is computed from, per joined source row.
    parameters                    the names that its row filters use.
    """

    from_sql: str
    period: str | None
    partition_expression: str | None
    period_shown: bool
    period_merged: bool
    attributes: tuple[tuple[str, str], ...]
    measures: tuple[MeasureColumn, ...]
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]


def pieces(definition: AggregateDefinition, dialect: str) -> Pieces:
    """Raises ExpressionError if the definition does not pass `check_definition`."""
    stripped = AggregateDefinition(
        organization_id="*",
        cube="*",
        name="*",
        id="*",
        source=definition.source,
        joins=definition.joins,
        attributes=definition.attributes,
        measures=definition.measures,
        partition=definition.partition,
    )
    return _pieces(stripped, dialect)


@lru_cache(maxsize=1024)
def _pieces(definition: AggregateDefinition, dialect: str) -> Pieces:
    engine = dialect_of(dialect)

    def render(text: str) -> str:
        return rendered(text, dialect)

    partition = definition.partition
    expression = render(partition_expression(definition)) if partition else None
    inputs = [render(each.expression) for each in definition.attributes]
    for measure in definition.measures:
        texts = (measure.expression, measure.filter, measure.order)
        inputs.extend(render(text) for text in texts if text is not None)
    free = period_is_free(definition, dialect)
    merged = free and partition is not None and partition.merge
    return Pieces(
        from_sql=_from_sql(definition, dialect),
        period=period_sql(expression, partition, engine) if partition and expression else None,
        partition_expression=expression,
        period_shown=free and not merged,
        period_merged=merged,
        attributes=tuple((each.name, render(each.expression)) for each in definition.attributes),
        measures=tuple(column for each in definition.measures for column in measure_columns(each, dialect)),
        inputs=tuple(dict.fromkeys(inputs)),
        parameters=tuple(
            sorted({name for each in definition.sources if each.where for name in parameters_in(each.where, dialect)})
        ),
    )


def period_sql(expression: str, partition: PartitionBy, engine: Dialect) -> str:
    """The period of a row: the DATE on which it begins, or the text of the value, `other` for one that is not listed."""
    if not partition.by_value:
        return engine.period_start(expression, partition.granularity, partition.zone)
    text = engine.value_text(expression)
    if not partition.values:
        return text
    listed = ", ".join(engine.text(value) for value in partition.values)
    rest = engine.text(OTHER_VALUES)
    return f"CASE WHEN {text} IN ({listed}) THEN {text} WHEN {text} IS NOT NULL THEN {rest} END"


def period_literals(periods: Sequence[Period], partition: PartitionBy, engine: Dialect) -> list[str]:
    """The periods as literals of the period's type, but for NULL."""
    literal = engine.text if partition.by_value else engine.date
    return [literal(each.starts_on) for each in periods if each.starts_on is not None]


@lru_cache(maxsize=4096)
def source_sql(source: Source, dialect: str) -> str:
    """The source as something to select from, its filter applied. Raises ExpressionError if the table name is not one."""
    engine = dialect_of(dialect)
    base = _rows_sql(source, engine)
    if source.where is None:
        return base
    where = rendered_filter(source.where, dialect)
    return f"(SELECT * FROM {base} AS {engine.quote(source.alias)} WHERE {where})"


def _rows_sql(source: Source, engine: Dialect) -> str:
    if source.table is not None:
        return _table_sql(source.table, engine.name)
    if source.file is not None:
        return engine.files(source)
    if source.view is None:
        raise ExpressionError(f"there is no aggregate {source.aggregate!r} here; name one as cube.name")
    return ".".join(engine.quote(part) for part in source.view)


@remembered
def _table_sql(name: str, dialect: str) -> str:
    import sqlglot
    from sqlglot import errors, exp

    remedy = f'{name!r} is not the name of a table; write table, schema.table or "Quoted Schema"."Quoted Table"'
    try:
        tree = sqlglot.parse_one(name, into=exp.Table, read=str(dialect))
    except (errors.ParseError, errors.TokenError) as problem:
        raise ExpressionError(remedy) from problem
    if not isinstance(tree, exp.Table) or not isinstance(tree.this, exp.Identifier) or tree.alias:
        raise ExpressionError(remedy)
    return write(tree, dialect)


def _from_sql(definition: AggregateDefinition, dialect: str) -> str:
    engine = dialect_of(dialect)
    parts = [f"{source_sql(definition.source, dialect)} AS {engine.quote(definition.source.alias)}"]
    for join in definition.joins:
        on = rendered(join.on, dialect)
        joined = f"{source_sql(join.source, dialect)} AS {engine.quote(join.source.alias)}"
        parts.append(f"{join.kind.value.upper()} JOIN {joined} ON {on}")
    return " ".join(parts)


def select_sql(
    definition: AggregateDefinition,
    dialect: str,
    periods: Sequence[Period] | None = None,
    *,
    scales: bool = False,
    as_shown: bool = False,
) -> str:
    """What computes the aggregate's rows, or those of some periods.

    scales    sums of absolute values too.
    as_shown  by the grain that the view shows: without the period, where the view merges it.
    """
    parts, engine = pieces(definition, dialect), dialect_of(dialect)
    by = [*parts.attributes] if as_shown and parts.period_merged else grain(definition, dialect)
    columns = [f"{sql} AS {engine.quote(name)}" for name, sql in by]
    columns.extend(f"{each.sql} AS {engine.quote(each.name)}" for each in parts.measures)
    if scales:
        columns.extend(
            f"{each.scale_sql} AS {engine.quote(scale_column(each.name))}" for each in parts.measures if each.scale_sql
        )
    sql = f"SELECT {', '.join(columns)} FROM {parts.from_sql}"
    if periods is not None and definition.partition is not None:
        sql += f" WHERE {wanted_sql(definition, periods, dialect)}"
    if by:
        sql += f" GROUP BY {', '.join(str(index + 1) for index in range(len(by)))}"
    return sql


def grain(definition: AggregateDefinition, dialect: str) -> list[tuple[str, str]]:
    """(name, SQL) of the columns that identify a physical row: the period, then the attributes."""
    parts = pieces(definition, dialect)
    period = [(PERIOD_COLUMN, parts.period)] if parts.period else []
    return [*period, *parts.attributes]


def scale_column(measure_column: str) -> str:
    return f"aggmaint_scale_{measure_column}"


def wanted_sql(definition: AggregateDefinition, periods: Sequence[Period], dialect: str) -> str:
    """The condition that picks these periods' rows of the definition's joined sources."""
    parts, partition = pieces(definition, dialect), definition.partition
    assert partition is not None
    return periods_condition(parts.partition_expression or "", partition, periods, dialect)


def periods_condition(expression: str, partition: PartitionBy, periods: Sequence[Period], dialect: str) -> str:
    """The condition that picks these periods' rows; `expression` is the SQL of the partition's date or timestamp.

    It may also be the row's day in the partition's zone: days of days are themselves.
    """
    engine = dialect_of(dialect)
    period = period_sql(expression, partition, engine)
    clauses = []
    starts = period_literals(periods, partition, engine)
    if starts:
        clause = f"{period} IN ({', '.join(starts)})"
        ranges, exact = date_ranges(periods, partition)
        if ranges:
            within = " OR ".join(
                f"({expression} >= {engine.date(low)} AND {expression} < {engine.date(high)})" for low, high in ranges
            )
            clause = f"({within})" if exact else f"(({within}) AND {clause})"
        clauses.append(clause)
    if NULL_PERIOD in periods:
        clauses.append(f"{period} IS NULL")
    return f"({' OR '.join(clauses)})" if clauses else "FALSE"


def rows_of_periods_sql(periods: Sequence[Period], partition: PartitionBy | None, dialect: str) -> str:
    """The condition that picks these periods' rows of a physical table."""
    if partition is None or WHOLE_PERIOD in periods:
        return "TRUE"
    starts = period_literals(periods, partition, dialect_of(dialect))
    clauses = [f"{PERIOD_COLUMN} IN ({', '.join(starts)})"] if starts else []
    if NULL_PERIOD in periods:
        clauses.append(f"{PERIOD_COLUMN} IS NULL")
    return " OR ".join(clauses) or "FALSE"


def view_columns(
    definition: AggregateDefinition, dialect: str, *, merge: bool = True, partials: bool = False
) -> list[tuple[str, str]]:
    """(name, SQL over the physical table) of the view's columns: grain, measures, then the parts of some measures.

    merge     False: over rows that are merged already.
    partials  one row per period also where the view merges them: then with the period, as PERIOD_COLUMN.
    """
    parts, engine = pieces(definition, dialect), dialect_of(dialect)
    merged = parts.period_merged and merge and not partials
    stored = {
        each.name: each.merge_sql if merged and each.merge_sql else engine.quote(each.name) for each in parts.measures
    }
    columns = [(name, engine.quote(name)) for name, _ in parts.attributes]
    if parts.period_shown and definition.partition is not None:
        columns.append((definition.partition.name, PERIOD_COLUMN))
    elif parts.period_merged and partials:
        columns.append((PERIOD_COLUMN, PERIOD_COLUMN))
    for measure in definition.measures:
        columns.append((measure.name, shown_sql(measure, tuple(stored[name] for name in measure.columns), dialect)))
    columns.extend((name, stored[name]) for measure in definition.measures for name in shown_parts(measure))
    return columns


def view_sql(definition: AggregateDefinition, table: str, dialect: str, *, partials: bool = False) -> str:
    """What the view selects from `table` (a quoted reference); with `partials` without merging: see `view_columns`."""
    engine, attributes = dialect_of(dialect), definition.attributes
    listed = view_columns(definition, dialect, partials=partials)
    sql = f"SELECT {', '.join(f'{sql} AS {engine.quote(name)}' for name, sql in listed)} FROM {table}"
    if attributes and pieces(definition, dialect).period_merged and not partials:
        sql += f" GROUP BY {', '.join(str(index + 1) for index in range(len(attributes)))}"
    return sql


def recomputed_sql(
    definition: AggregateDefinition,
    dialect: str,
    periods: Sequence[Period] | None = None,
    *,
    scales: bool = False,
    partials: bool = False,
) -> str:
    """A recomputation from the sources in the columns of `view_sql`, and with `scales` sums of absolute values.

    Where the view merges periods, it is computed by the merged grain at once, not merged: so the two check each other.
    Its own condition may follow, on PERIOD_COLUMN too, but where periods are merged.
    """
    parts, engine = pieces(definition, dialect), dialect_of(dialect)
    listed = view_columns(definition, dialect, merge=False, partials=partials)
    columns = [f"{sql} AS {engine.quote(name)}" for name, sql in listed]
    if scales:
        columns.extend(engine.quote(scale_column(each.name)) for each in parts.measures if each.scale_sql)
    computed = select_sql(definition, dialect, periods, scales=scales, as_shown=not partials)
    return f"SELECT {', '.join(columns)} FROM ({computed}) AS aggmaint_r"
