"""What is there against what a recomputation gives, as SQL: how many rows differ, and some of them.

Theory of operation
-------------------
Both sides are computed in one statement, thus of one snapshot, and joined by the whole grain; NULLs equal NULLs. A row of
the recomputation without partner is *missing*, one of the aggregate without partner *extra*, a pair with another measure
*wrong*. Measures named in `floats` may differ by FLOAT_TOLERANCE of the sum of absolute values, because the order of their
addition is not fixed. An aggregate is compared as its view shows it, or in parts by the rows of its table.
"""

from collections.abc import Sequence

from attrs import frozen

from .dialects import dialect_of
from .model import AggregateDefinition
from .periods import Period
from .sql import (
    FLOAT_TOLERANCE,
    PERIOD_COLUMN,
    pieces,
    rows_of_periods_sql,
    scale_column,
    select_sql,
    view_sql,
)


@frozen
class Sides:
    """What is compared. `found` is the side that is there, as a SELECT with the view's columns; `expected` the other one."""

    expected: str
    found: str


def sides_of_view(definition: AggregateDefinition, view: str, floats: frozenset[str], dialect: str) -> Sides:
    """All of an aggregate, as `view` (a quoted reference) shows it."""
    return Sides(select_sql(definition, dialect, scales=bool(floats)), f"SELECT * FROM {view}")


def sides_of_periods(
    definition: AggregateDefinition,
    table: str,
    floats: frozenset[str],
    dialect: str,
    *,
    periods: Sequence[Period],
    others: bool = False,
) -> Sides:
    """These periods of an aggregate, or all `others` but these, by its `table` (a quoted reference)."""
    condition = rows_of_periods_sql(periods, dialect)
    found = view_sql(definition, table, dialect)
    scales = bool(floats)
    if not others:
        return Sides(select_sql(definition, dialect, periods, scales=scales), f"{found} WHERE {condition}")
    outside = f"NOT COALESCE({condition}, FALSE)"
    expected = f"SELECT * FROM ({select_sql(definition, dialect, scales=scales)}) AS aggmaint_o WHERE {outside}"
    return Sides(expected, f"{found} WHERE {outside}")


def difference_sql(definition: AggregateDefinition, sides: Sides, floats: frozenset[str], dialect: str) -> str:
    """Counts (rows expected, rows found, expected without match, found without match, matched, matched but wrong)."""
    return (
        f"{_pairs_sql(definition, sides, floats, dialect)} "
        "SELECT (SELECT COUNT(*) FROM expected), (SELECT COUNT(*) FROM found), "
        "COUNT(*) FILTER (WHERE aggmaint_kind = 'missing'), COUNT(*) FILTER (WHERE aggmaint_kind = 'extra'), "
        "COUNT(*) FILTER (WHERE aggmaint_e = 1 AND aggmaint_f = 1), "
        "COUNT(*) FILTER (WHERE aggmaint_kind = 'wrong') FROM pairs"
    )


def samples_sql(
    definition: AggregateDefinition, sides: Sides, floats: frozenset[str], dialect: str, *, samples_max: int
) -> str:
    """Up to so many differing rows of each kind: (kind, keys …, expected measures …, found measures …), all as text."""
    engine, parts = dialect_of(dialect), pieces(definition, dialect)
    keys = [
        f"COALESCE(CAST(e.{engine.quote(ours)} AS VARCHAR), CAST(f.{engine.quote(theirs)} AS VARCHAR))"
        for ours, theirs in _keys(definition, dialect)
    ]
    measures = [f"CAST({side}.{engine.quote(each.name)} AS VARCHAR)" for side in ("e", "f") for each in parts.measures]
    shown = [f"{sql} AS aggmaint_c{index}" for index, sql in enumerate([*keys, *measures])]
    names = [f"aggmaint_c{index}" for index in range(len(shown))]
    order = ", ".join(f"{name} NULLS FIRST" for name in names[: len(keys)]) or "1"
    return (
        f"{_pairs_sql(definition, sides, floats, dialect, shown)}, ranked AS (SELECT *, ROW_NUMBER() OVER "
        f"(PARTITION BY aggmaint_kind ORDER BY {order}) AS aggmaint_rank FROM pairs WHERE aggmaint_kind IS NOT NULL) "
        f"SELECT {', '.join(['aggmaint_kind', *names])} FROM ranked WHERE aggmaint_rank <= {samples_max} "
        f"ORDER BY aggmaint_kind, {order}"
    )


def key_names(definition: AggregateDefinition, dialect: str) -> tuple[str, ...]:
    """The names of the grain's columns, as the view shows them, in the order of `samples_sql`."""
    return tuple(theirs for _, theirs in _keys(definition, dialect))


def measure_names(definition: AggregateDefinition, dialect: str) -> tuple[str, ...]:
    """The names of the physical measure columns, in the order of `samples_sql`."""
    return tuple(each.name for each in pieces(definition, dialect).measures)


def _keys(definition: AggregateDefinition, dialect: str) -> list[tuple[str, str]]:
    """(column of the recomputation, column of the view) of the grain."""
    parts = pieces(definition, dialect)
    keys = [(name, name) for name, _ in parts.attributes]
    if parts.period_shown and definition.partition is not None:
        keys.append((PERIOD_COLUMN, definition.partition.name))
    return keys


def _pairs_sql(
    definition: AggregateDefinition, sides: Sides, floats: frozenset[str], dialect: str, shown: Sequence[str] = ()
) -> str:
    """WITH …: `pairs` has one row per pair, with `aggmaint_kind` of what is wrong with it, NULL if nothing is."""
    engine = dialect_of(dialect)
    on = [
        f"e.{engine.quote(ours)} IS NOT DISTINCT FROM f.{engine.quote(theirs)}"
        for ours, theirs in _keys(definition, dialect)
    ]
    wrong = []
    for each in pieces(definition, dialect).measures:
        name = engine.quote(each.name)
        same = f"e.{name} IS NOT DISTINCT FROM f.{name}"
        if each.name in floats:
            scale = f"e.{engine.quote(scale_column(each.name))}"
            same = f"COALESCE({same} OR ABS(e.{name} - f.{name}) <= {FLOAT_TOLERANCE} * {scale}, FALSE)"
        wrong.append(f"NOT ({same})")
    kind = (
        "CASE WHEN f.aggmaint_f IS NULL THEN 'missing' WHEN e.aggmaint_e IS NULL THEN 'extra' "
        f"WHEN {' OR '.join(wrong)} THEN 'wrong' END AS aggmaint_kind"
    )
    return (
        f"WITH expected AS MATERIALIZED ({sides.expected}), found AS MATERIALIZED ({sides.found}), "
        f"pairs AS (SELECT {', '.join(['e.aggmaint_e', 'f.aggmaint_f', kind, *shown])} "
        f"FROM (SELECT *, 1 AS aggmaint_e FROM expected) AS e "
        f"FULL JOIN (SELECT *, 1 AS aggmaint_f FROM found) AS f ON {' AND '.join(on) or 'TRUE'})"
    )
