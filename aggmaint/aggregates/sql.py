"""A definition as SQL: what builds it, what the view reads, what compares it with its source.

Theory of operation
-------------------
`pieces` parses and renders every part of a definition once, with sqlglot; it is cached by what the SQL depends on, so
that a thousand organisations of one template share it (parameters stay parameters). The statements are put together
from the pieces:

    SELECT <period>, <attributes>, <measures> FROM <sources> [WHERE <period is wanted>] GROUP BY <period>, <attributes>

The period, where there is one, is the first column (`aggmaint_period`, a DATE). A filter of a source is applied inside it,
before joins. GROUP BY is by position, so an attribute may bear the name of a column that others read.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from attrs import frozen

from .dialects import dialect_of
from .expressions import ExpressionError, parameters_in, parse, partition_expression, write
from .model import AggregateDefinition, Granularity, Measure, MeasureFunction, PartitionBy, Source
from .periods import NULL_PERIOD, WHOLE_PERIOD, Period, date_ranges

if TYPE_CHECKING:
    from sqlglot import exp

PERIOD_COLUMN = "aggmaint_period"
FLOAT_TOLERANCE = 1e-9
"""Sums of floats are equal if they differ by at most this part of the sum of absolute values."""

_FUNCTION_SQL = {
    MeasureFunction.SUM: "SUM({})",
    MeasureFunction.COUNT: "COUNT({})",
    MeasureFunction.COUNT_DISTINCT: "COUNT(DISTINCT {})",
    MeasureFunction.MIN: "MIN({})",
    MeasureFunction.MAX: "MAX({})",
}

_NESTS_IN = {
    Granularity.DAY: frozenset(Granularity),
    Granularity.WEEK: frozenset({Granularity.WEEK}),
    Granularity.MONTH: frozenset({Granularity.MONTH, Granularity.QUARTER, Granularity.YEAR}),
    Granularity.QUARTER: frozenset({Granularity.QUARTER, Granularity.YEAR}),
    Granularity.YEAR: frozenset({Granularity.YEAR}),
}


_FORMATS = {
    "%Y": Granularity.YEAR,
    "%Y-%m": Granularity.MONTH,
    "%Y%m": Granularity.MONTH,
    "%Y-%m-%d": Granularity.DAY,
    "%Y%m%d": Granularity.DAY,
}
"""strftime formats that tell the period apart."""


@frozen
class MeasureColumn:
    """A physical column of a measure: its name, its SQL, and the SQL of the sum of absolute values (for tolerance)."""

    name: str
    sql: str
    scale_sql: str | None


@frozen
class Pieces:
    """The rendered parts of a definition. `parameters` are the names that its row filters use."""

    from_sql: str
    period: str | None
    partition_expression: str | None
    period_shown: bool
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
        return write(parse(text, dialect), dialect)

    partition = definition.partition
    expression = render(partition_expression(definition)) if partition else None
    inputs = [render(each.expression) for each in definition.attributes]
    for measure in definition.measures:
        inputs.extend(render(text) for text in (measure.expression, measure.filter) if text is not None)
    return Pieces(
        from_sql=_from_sql(definition, dialect),
        period=engine.period_start(expression, partition.granularity, partition.zone)
        if partition and expression
        else None,
        partition_expression=expression,
        period_shown=period_is_shown(definition, dialect),
        attributes=tuple((each.name, render(each.expression)) for each in definition.attributes),
        measures=tuple(column for each in definition.measures for column in _measure_columns(each, dialect)),
        inputs=tuple(dict.fromkeys(inputs)),
        parameters=tuple(
            sorted({name for each in definition.sources if each.where for name in parameters_in(each.where, dialect)})
        ),
    )


def _measure_columns(measure: Measure, dialect: str) -> list[MeasureColumn]:
    def call(template: str) -> str:
        shown = write(parse(measure.expression, dialect), dialect) if measure.expression else "*"
        if measure.filter is None:
            return template.format(shown)
        passing = write(parse(measure.filter, dialect), dialect)
        return f"{template.format(shown)} FILTER (WHERE {passing})"

    scale = call("SUM(ABS({}))")
    if measure.function is MeasureFunction.AVG:
        total, count = measure.columns
        return [MeasureColumn(total, call("SUM({})"), scale), MeasureColumn(count, call("COUNT({})"), None)]
    is_sum = measure.function is MeasureFunction.SUM
    return [MeasureColumn(measure.name, call(_FUNCTION_SQL[measure.function]), scale if is_sum else None)]


def source_sql(source: Source, dialect: str) -> str:
    """The source as something to select from, its filter applied. Raises ExpressionError if the table name is not one."""
    engine = dialect_of(dialect)
    base = engine.files(source) if source.table is None else _table_sql(source.table, dialect)
    if source.where is None:
        return base
    where = write(parse(source.where, dialect, parameters=True), dialect)
    return f"(SELECT * FROM {base} AS {engine.quote(source.alias)} WHERE {where})"


@lru_cache(maxsize=4096)
def _table_sql(name: str, dialect: str) -> str:
    import sqlglot
    from sqlglot import errors, exp

    remedy = f'{name!r} is not the name of a table; write table, schema.table or "Quoted Schema"."Quoted Table"'
    try:
        tree = sqlglot.parse_one(name, into=exp.Table, read=dialect)
    except (errors.ParseError, errors.TokenError) as problem:
        raise ExpressionError(remedy) from problem
    if not isinstance(tree, exp.Table) or not isinstance(tree.this, exp.Identifier) or tree.alias:
        raise ExpressionError(remedy)
    return write(tree, dialect)


def _from_sql(definition: AggregateDefinition, dialect: str) -> str:
    engine = dialect_of(dialect)
    parts = [f"{source_sql(definition.source, dialect)} AS {engine.quote(definition.source.alias)}"]
    for join in definition.joins:
        on = write(parse(join.on, dialect), dialect)
        joined = f"{source_sql(join.source, dialect)} AS {engine.quote(join.source.alias)}"
        parts.append(f"{join.kind.value.upper()} JOIN {joined} ON {on}")
    return " ".join(parts)


def period_is_shown(definition: AggregateDefinition, dialect: str) -> bool:
    """True if no attribute determines the period, so that the view must show it as a column of its own."""
    partition = definition.partition
    if partition is None:
        return False
    wanted = partition_expression(definition)
    return not any(_determines(each.expression, wanted, partition, dialect) for each in definition.attributes)


def _determines(attribute: str, wanted: str, partition: PartitionBy, dialect: str) -> bool:
    attribute_tree, wanted_tree = parse(attribute, dialect), parse(wanted, dialect)
    if _spelled(attribute_tree, dialect) == _spelled(wanted_tree, dialect):
        return True
    if partition.zone != "UTC":
        return False
    base, units = _unwrapped(attribute_tree)
    wanted_base, wanted_units = _unwrapped(wanted_tree)
    innermost = wanted_units[-1] if wanted_units else partition.granularity
    return _spelled(base, dialect) == _spelled(wanted_base, dialect) and all(
        innermost in _NESTS_IN[unit] for unit in units
    )


def _spelled(tree: "exp.Expr", dialect: str) -> str:
    return write(tree, dialect).casefold()


def _unwrapped(tree: "exp.Expr") -> tuple["exp.Expr", list[Granularity]]:
    """What is below casts to dates and truncations (or what tells as much), and these, outermost first."""
    from sqlglot import exp

    units: list[Granularity] = []
    while True:
        match tree:
            case exp.TimestampTrunc() | exp.DateTrunc() if tree.text("unit").lower() in set(Granularity):
                units.append(Granularity(tree.text("unit").lower()))
            case exp.Cast() if tree.to.is_type("date"):
                units.append(Granularity.DAY)
            case exp.Year():
                units.append(Granularity.YEAR)
            case exp.TimeToStr() if tree.text("format") in _FORMATS:
                units.append(_FORMATS[tree.text("format")])
            case exp.Cast() if tree.to.is_type("timestamp"):
                pass
            case _:
                return tree, units
        tree = tree.this


def select_sql(
    definition: AggregateDefinition, dialect: str, periods: Sequence[Period] | None = None, *, scales: bool = False
) -> str:
    """What computes the aggregate's rows, or those of some periods; with `scales`, sums of absolute values too."""
    parts, engine = pieces(definition, dialect), dialect_of(dialect)
    columns = [f"{sql} AS {engine.quote(name)}" for name, sql in grain(definition, dialect)]
    groups = len(columns)
    columns.extend(f"{each.sql} AS {engine.quote(each.name)}" for each in parts.measures)
    if scales:
        columns.extend(
            f"{each.scale_sql} AS {engine.quote(scale_column(each.name))}" for each in parts.measures if each.scale_sql
        )
    sql = f"SELECT {', '.join(columns)} FROM {parts.from_sql}"
    if periods is not None and definition.partition is not None:
        sql += f" WHERE {wanted_sql(definition, periods, dialect)}"
    if groups:
        sql += f" GROUP BY {', '.join(str(index + 1) for index in range(groups))}"
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
    period = engine.period_start(expression, partition.granularity, partition.zone)
    clauses = []
    starts = [each.starts_on for each in periods if each.starts_on is not None]
    if starts:
        clause = f"{period} IN ({', '.join(engine.date(start) for start in starts)})"
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


def rows_of_periods_sql(periods: Sequence[Period], dialect: str) -> str:
    """The condition that picks these periods' rows of a physical table."""
    if WHOLE_PERIOD in periods:
        return "TRUE"
    engine = dialect_of(dialect)
    starts = [engine.date(each.starts_on) for each in periods if each.starts_on is not None]
    clauses = [f"{PERIOD_COLUMN} IN ({', '.join(starts)})"] if starts else []
    if NULL_PERIOD in periods:
        clauses.append(f"{PERIOD_COLUMN} IS NULL")
    return " OR ".join(clauses) or "FALSE"


def view_columns(definition: AggregateDefinition, dialect: str) -> list[tuple[str, str]]:
    """(name, SQL over the physical table) of the view's columns: grain, measures, then the parts of averages."""
    parts, engine = pieces(definition, dialect), dialect_of(dialect)
    columns = [(name, engine.quote(name)) for name, _ in parts.attributes]
    if parts.period_shown and definition.partition is not None:
        columns.append((definition.partition.name, PERIOD_COLUMN))
    averages: list[tuple[str, str]] = []
    for measure in definition.measures:
        if measure.function is MeasureFunction.AVG:
            total, count = (engine.quote(name) for name in measure.columns)
            columns.append((measure.name, f"{total} / NULLIF({count}, 0)"))
            averages.extend((name, engine.quote(name)) for name in measure.columns)
        else:
            columns.append((measure.name, engine.quote(measure.name)))
    return columns + averages


def view_sql(definition: AggregateDefinition, table: str, dialect: str) -> str:
    """What the view selects from `table` (a quoted reference)."""
    engine = dialect_of(dialect)
    columns = ", ".join(f"{sql} AS {engine.quote(name)}" for name, sql in view_columns(definition, dialect))
    return f"SELECT {columns} FROM {table}"
