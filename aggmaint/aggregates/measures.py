"""What is stored for a measure, how it is shown, and how rows of several periods become one: one table for all functions.

Theory of operation
-------------------
A measure is stored in one or two physical columns, each computed by an aggregate function over source rows (`sql`). Two
rows of an aggregate for the same attributes in different periods (*partials*) become one by `merge_sql`, another
aggregate function, over those columns. It exists where, and only where, it gives exactly what a computation over all
the source rows at once would have given:

    function                stored as         merged by
    sum                     sum               sum (floats: but for the order of addition)
    count                   count             sum
    min, max                itself            min, max
    avg                     sum and count     sum each; divided when shown
    last                    value and order   the value with the greatest order (then the greatest value)
    count_distinct          count             nothing: the same value may be in two periods
    approx_count_distinct   k least hashes    the k least of all

What is shown of a measure is a scalar function of its stored columns (`shown_sql`): itself, or for `avg` a division, for
`approx_count_distinct` an estimate. The measures of the view are followed by the stored parts of averages and last values.

**The sketch** keeps the 1,024 least 64-bit MD5 hashes of the distinct values (k minimum values; Bar-Yossef et al. 2002).
Up to 1,023 distinct values the count is exact; above, the standard error is 1/sqrt(k-2) = 3.1 %. It was preferred to the
engine's own state of `approx_count_distinct`, which DuckDB can store: 1.4 has no aggregate that merges such states, 2.0
has another layout (so that an upgrade would lose them), and its estimates were off by 20 to 28 % for 334 and 10,000
values in 1.4. The k least hashes depend on nothing but the values: equal rows give equal sketches, so that fingerprints
and comparisons are exact.
"""

from collections.abc import Callable, Mapping

from attrs import frozen

from .dialects import Dialect, dialect_of
from .expressions import rendered
from .parts import Measure, MeasureFunction


@frozen
class MeasureColumn:
    """A physical column of a measure.

    sql        the aggregate over source rows.
    scale_sql  for sums: the sum of absolute values, which says how far sums of floats may differ.
    merge_sql  the aggregate over rows of several periods, of the physical columns; None if they do not merge.
    """

    name: str
    sql: str
    scale_sql: str | None = None
    merge_sql: str | None = None


@frozen
class _Rendered:
    """A measure's expressions as SQL: the value (`*` for rows), the order, and a function's call over passing rows."""

    value: str
    order: str
    call: Callable[[str], str]


_Columns = Callable[[_Rendered, Dialect, tuple[str, ...]], list[tuple[str, str | None]]]
"""From the expressions and the quoted names of the stored columns to (sql, merge SQL) of each column."""


def _plain(template: str, merge: str | None) -> _Columns:
    def columns(by: _Rendered, _engine: Dialect, names: tuple[str, ...]) -> list[tuple[str, str | None]]:
        return [(by.call(template.format(by.value)), merge and merge.format(names[0]))]

    return columns


def _average(by: _Rendered, _engine: Dialect, names: tuple[str, ...]) -> list[tuple[str, str | None]]:
    return [
        (by.call(f"SUM({by.value})"), f"SUM({names[0]})"),
        (by.call(f"COUNT({by.value})"), _MERGED_COUNT.format(names[1])),
    ]


def _last(by: _Rendered, engine: Dialect, names: tuple[str, ...]) -> list[tuple[str, str | None]]:
    value, order = names
    known = f" FILTER (WHERE {order} IS NOT NULL)"
    return [
        (by.call(engine.last(by.value, by.order)), engine.last(value, order) + known),
        (by.call(f"MAX({by.order})"), f"MAX({order})"),
    ]


def _sketch(by: _Rendered, engine: Dialect, names: tuple[str, ...]) -> list[tuple[str, str | None]]:
    return [(by.call(engine.sketch(by.value)), engine.sketch_merged(names[0]))]


_MERGED_COUNT = "CAST(COALESCE(SUM({}), 0) AS BIGINT)"

_COLUMNS: Mapping[MeasureFunction, _Columns] = {
    MeasureFunction.SUM: _plain("SUM({})", "SUM({})"),
    MeasureFunction.COUNT: _plain("COUNT({})", _MERGED_COUNT),
    MeasureFunction.COUNT_DISTINCT: _plain("COUNT(DISTINCT {})", None),
    MeasureFunction.MIN: _plain("MIN({})", "MIN({})"),
    MeasureFunction.MAX: _plain("MAX({})", "MAX({})"),
    MeasureFunction.AVG: _average,
    MeasureFunction.LAST: _last,
    MeasureFunction.APPROX_COUNT_DISTINCT: _sketch,
}
assert set(_COLUMNS) == set(MeasureFunction), "every function has its columns"

MERGED_AS_STORED = frozenset(MeasureFunction) - {
    MeasureFunction.COUNT_DISTINCT,
    MeasureFunction.APPROX_COUNT_DISTINCT,  # merged sketches keep more hashes than one that is computed
}
"""The functions whose merged columns are, value for value, what computing all source rows at once would store."""


def measure_columns(measure: Measure, dialect: str) -> list[MeasureColumn]:
    """The physical columns of a measure, in the order of `measure.columns`. Raises ExpressionError."""
    engine = dialect_of(dialect)

    def render(text: str | None) -> str:
        return "*" if text is None else rendered(text, dialect)

    conditions = [f"({render(measure.filter)})"] if measure.filter is not None else []
    value, order = render(measure.expression), render(measure.order)
    if measure.function is MeasureFunction.LAST:
        conditions += [f"({value}) IS NOT NULL", f"({order}) IS NOT NULL"]

    def call(function: str) -> str:
        return f"{function} FILTER (WHERE {' AND '.join(conditions)})" if conditions else function

    names = tuple(engine.quote(name) for name in measure.columns)
    made = _COLUMNS[measure.function](_Rendered(value, order, call), engine, names)
    summed = measure.function in {MeasureFunction.SUM, MeasureFunction.AVG}
    return [
        MeasureColumn(name, sql, call(f"SUM(ABS({value}))") if summed and index == 0 else None, merge)
        for index, (name, (sql, merge)) in enumerate(zip(measure.columns, made, strict=True))
    ]


def shown_sql(measure: Measure, stored: tuple[str, ...], dialect: str) -> str:
    """What the view shows under the measure's name. `stored`: the SQL of its physical columns, merged or not."""
    if measure.function is MeasureFunction.AVG:
        return dialect_of(dialect).ratio(stored[0], stored[1])
    if measure.function is MeasureFunction.APPROX_COUNT_DISTINCT:
        return dialect_of(dialect).sketch_estimate(stored[0])
    return stored[0]


def shown_parts(measure: Measure) -> tuple[str, ...]:
    """The physical columns that the view shows beside the measure: with them its readers can merge rows themselves."""
    parts = {MeasureFunction.AVG: measure.columns, MeasureFunction.LAST: measure.columns[1:]}
    return parts.get(measure.function, ())


def compared_columns(measure: Measure) -> tuple[str, ...]:
    """The columns of the view by which a comparison judges the measure: what is stored, where the view shows it."""
    if measure.function is MeasureFunction.APPROX_COUNT_DISTINCT:
        return (measure.name,)
    return measure.columns
