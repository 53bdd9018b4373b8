"""The gate before each publish: what was computed is checked against its source, in the snapshot that it was computed from.

Theory of operation
-------------------
Three things can be checked without computing the aggregate a second time: that no row lies outside the periods that were
asked for; that no key has two rows; and that the totals of the columns that merge (`measures.py`: sums, counts, extremes,
last values) are those of the source's rows, computed without grouping. Sums of floats may differ by FLOAT_TOLERANCE of the
sum of absolute values. The totals' filter is written apart from the computation's: periods by their start, within ranges
that are wider by a month on both sides, so that a mistake in the one does not hide in the other. Distinct counts can not
be added up and are not checked, nor are sketches, whose merging costs as much as making them.

Looking for keys with two rows costs a third of computing a large aggregate. What is computed is one GROUP BY, which makes
each key once; and where it counts rows, a row that is there twice shows in the total, since it counts at least one. So it
is looked through for repeated keys only where it counts no rows.
"""

from collections.abc import Sequence
from datetime import date, timedelta

from attrs import frozen

from .dialects import dialect_of
from .measures import MeasureColumn
from .model import AggregateDefinition, MeasureFunction
from .observation import Column
from .periods import NULL_PERIOD, Period, date_ranges
from .scans import float_sums
from .sql import FLOAT_TOLERANCE, grain, period_literals, pieces, rows_of_periods_sql

MARGIN = timedelta(days=31)
_SKETCH = MeasureFunction.APPROX_COUNT_DISTINCT


def totals_of(definition: AggregateDefinition, dialect: str) -> tuple[MeasureColumn, ...]:
    """The columns that can be checked, in the order of `gate_sql`: merged they must be what all source rows give."""
    columns = pieces(definition, dialect).measures
    sketches = {each.columns[0] for each in definition.measures if each.function is _SKETCH}
    return tuple(each for each in columns if each.merge_sql is not None and each.name not in sketches)


@frozen
class Computed:
    """What was computed and is to be proved: a table (a quoted reference) with these columns.

    periods  what it was computed of; None: all.
    cut      the definition's source holds the rows of these periods and no others (a slice): there is nothing to filter.
    """

    definition: AggregateDefinition
    table: str
    columns: Sequence[Column]
    periods: Sequence[Period] | None = None
    cut: bool = False


def gate_sql(what: Computed, dialect: str) -> str:
    """One row: (rows outside of the periods, repeated keys), then per total (is equal, table's, source's as text)."""
    definition, table, periods = what.definition, what.table, what.periods
    engine, floats = dialect_of(dialect), float_sums(definition, what.columns, dialect)
    totals = totals_of(definition, dialect)
    outside = (
        "0" if periods is None else f"(SELECT COUNT(*) FROM {table} WHERE {_outside(definition, periods, dialect)})"
    )
    keys = ", ".join(engine.quote(name) for name, _ in grain(definition, dialect))
    grouped = f" GROUP BY {keys}" if keys else ""
    repeated = f"(SELECT COUNT(*) FROM (SELECT COUNT(*) FROM {table}{grouped} HAVING COUNT(*) > 1) AS aggmaint_r)"
    if _counts_rows(definition):
        repeated = "0"
    shown = [f"{outside}, {repeated}"]
    for index, each in enumerate(totals):
        shown.append(f"{_equal(index, each, floats)}, {_text('t', index)}, {_text('s', index)}")
    if not totals:
        return f"SELECT {shown[0]}"
    of_table = [f"{each.merge_sql} AS t{i}" for i, each in enumerate(totals)]
    of_source = [f"{each.sql} AS s{i}" for i, each in enumerate(totals)]
    of_source.extend(
        f"{each.scale_sql} AS a{i}" for i, each in enumerate(totals) if each.scale_sql and each.name in floats
    )
    return (
        f"SELECT {', '.join(shown)} FROM (SELECT {', '.join(of_table)} FROM {table}) AS aggmaint_t, "
        f"(SELECT {', '.join(of_source)} FROM {pieces(definition, dialect).from_sql}"
        f"{'' if what.cut else _where(definition, periods, dialect)}) AS aggmaint_u"
    )


def _counts_rows(definition: AggregateDefinition) -> bool:
    return any(
        each.function is MeasureFunction.COUNT and each.expression is None and each.filter is None
        for each in definition.measures
    )


def _text(side: str, index: int) -> str:
    return f"CAST({side}{index} AS VARCHAR)"


def _outside(definition: AggregateDefinition, periods: Sequence[Period], dialect: str) -> str:
    return f"NOT COALESCE({rows_of_periods_sql(periods, definition.partition, dialect)}, FALSE)"


def _equal(index: int, total: MeasureColumn, floats: frozenset[str]) -> str:
    same = f"t{index} IS NOT DISTINCT FROM s{index}"
    if total.name in floats and total.scale_sql:
        return f"COALESCE({same} OR ABS(t{index} - s{index}) <= {FLOAT_TOLERANCE} * a{index}, FALSE)"
    return same


def _where(definition: AggregateDefinition, periods: Sequence[Period] | None, dialect: str) -> str:
    parts, engine = pieces(definition, dialect), dialect_of(dialect)
    if periods is None or definition.partition is None or parts.period is None:
        return ""
    starts = period_literals(periods, definition.partition, engine)
    clauses = [f"{parts.period} IN ({', '.join(starts)})"] if starts else []
    ranges, _ = date_ranges(periods, definition.partition) if starts else ([], False)
    if ranges:
        expression = parts.partition_expression
        bounds = [tuple(engine.date(each) for each in _wider(low, high)) for low, high in ranges]
        within = " OR ".join(f"({expression} >= {low} AND {expression} < {high})" for low, high in bounds)
        clauses = [f"(({within}) AND {clauses[0]})"]
    if NULL_PERIOD in periods:
        clauses.append(f"{parts.period} IS NULL")
    return f" WHERE ({' OR '.join(clauses)})" if clauses else " WHERE FALSE"


def _wider(low: str, high: str) -> tuple[str, str]:
    """The bounds a margin apart; at the ends of Python's calendar they stay."""

    def moved(text: str, by: timedelta) -> str:
        try:
            return (date.fromisoformat(text) + by).isoformat()
        except OverflowError:
            return text

    return moved(low, -MARGIN), moved(high, MARGIN)


def complaint(totals: Sequence[MeasureColumn], row: Sequence[object]) -> str | None:
    """What the answer of `gate_sql` says is wrong, in words; None if it passes."""
    outside, repeated, *rest = row
    if outside:
        return f"{outside} rows lie outside of the periods that were computed"
    if repeated:
        return f"{repeated} keys have more than one row"
    for index, total in enumerate(totals):
        equal, of_table, of_source = rest[3 * index : 3 * index + 3]
        if not equal:
            return f"column {total.name!r} adds up to {of_table} in what was computed, to {of_source} in the source"
    return None
