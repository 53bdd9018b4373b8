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
from .measures import compared_columns
from .model import AggregateDefinition
from .periods import Period
from .sql import FLOAT_TOLERANCE, PERIOD_COLUMN, pieces, recomputed_sql, rows_of_periods_sql, scale_column, view_sql


@frozen
class Sides:
    """What is compared: two SELECTs with the same columns. `found` is the side that is there, `expected` the other one.

    keys      the names of the grain's columns.
    measures  the names of the columns by which measures are judged.
    """

    expected: str
    found: str
    keys: tuple[str, ...]
    measures: tuple[str, ...]


def sides_of_view(definition: AggregateDefinition, view: str, floats: frozenset[str], dialect: str) -> Sides:
    """All of an aggregate, as `view` (a quoted reference) shows it, by the grain that it shows."""
    expected = recomputed_sql(definition, dialect, scales=bool(floats))
    keys = _keys(definition, dialect, partials=False)
    return Sides(expected, f"SELECT * FROM {view}", keys, _measures(definition))


def sides_of_periods(
    definition: AggregateDefinition,
    table: str,
    floats: frozenset[str],
    dialect: str,
    *,
    periods: Sequence[Period],
    others: bool = False,
) -> Sides:
    """These periods of an aggregate, or all `others` but these, by its `table` (a quoted reference).

    One row per period, also where the view merges them.
    """
    condition = rows_of_periods_sql(periods, definition.partition, dialect)
    if others:
        condition = f"NOT COALESCE({condition}, FALSE)"
    found = view_sql(definition, table, dialect, partials=True)
    wanted = None if others else periods
    expected = recomputed_sql(definition, dialect, wanted, scales=bool(floats), partials=True)
    if others:
        expected += f" WHERE {condition}"
    keys = _keys(definition, dialect, partials=True)
    return Sides(expected, f"{found} WHERE {condition}", keys, _measures(definition))


def _keys(definition: AggregateDefinition, dialect: str, *, partials: bool) -> tuple[str, ...]:
    parts = pieces(definition, dialect)
    keys = [name for name, _ in parts.attributes]
    if parts.period_shown and definition.partition is not None:
        keys.append(definition.partition.name)
    elif parts.period_merged and partials:
        keys.append(PERIOD_COLUMN)
    return tuple(keys)


def _measures(definition: AggregateDefinition) -> tuple[str, ...]:
    return tuple(name for measure in definition.measures for name in compared_columns(measure))


def difference_sql(sides: Sides, floats: frozenset[str], dialect: str) -> str:
    """Counts (rows expected, rows found, expected without match, found without match, matched, matched but wrong)."""
    return (
        f"{_pairs_sql(sides, floats, dialect)} "
        "SELECT (SELECT COUNT(*) FROM expected), (SELECT COUNT(*) FROM found), "
        "COUNT(*) FILTER (WHERE aggmaint_kind = 'missing'), COUNT(*) FILTER (WHERE aggmaint_kind = 'extra'), "
        "COUNT(*) FILTER (WHERE aggmaint_e = 1 AND aggmaint_f = 1), "
        "COUNT(*) FILTER (WHERE aggmaint_kind = 'wrong') FROM pairs"
    )


def samples_sql(sides: Sides, floats: frozenset[str], dialect: str, *, samples_max: int) -> str:
    """Up to so many differing rows of each kind: (kind, keys …, expected measures …, found measures …), all as text."""
    quote = dialect_of(dialect).quote
    keys = [f"COALESCE(CAST(e.{quote(key)} AS VARCHAR), CAST(f.{quote(key)} AS VARCHAR))" for key in sides.keys]
    measures = [f"CAST({side}.{quote(name)} AS VARCHAR)" for side in ("e", "f") for name in sides.measures]
    shown = [f"{sql} AS aggmaint_c{index}" for index, sql in enumerate([*keys, *measures])]
    names = [f"aggmaint_c{index}" for index in range(len(shown))]
    order = ", ".join(f"{name} NULLS FIRST" for name in names[: len(keys)]) or "1"
    return (
        f"{_pairs_sql(sides, floats, dialect, shown)}, ranked AS (SELECT *, ROW_NUMBER() OVER "
        f"(PARTITION BY aggmaint_kind ORDER BY {order}) AS aggmaint_rank FROM pairs WHERE aggmaint_kind IS NOT NULL) "
        f"SELECT {', '.join(['aggmaint_kind', *names])} FROM ranked WHERE aggmaint_rank <= {samples_max} "
        f"ORDER BY aggmaint_kind, {order}"
    )


def _pairs_sql(sides: Sides, floats: frozenset[str], dialect: str, shown: Sequence[str] = ()) -> str:
    """WITH …: `pairs` has one row per pair, with `aggmaint_kind` of what is wrong with it, NULL if nothing is."""
    quote = dialect_of(dialect).quote
    on = [f"e.{quote(key)} IS NOT DISTINCT FROM f.{quote(key)}" for key in sides.keys]
    wrong = []
    for measure in sides.measures:
        name = quote(measure)
        same = f"e.{name} IS NOT DISTINCT FROM f.{name}"
        if measure in floats:
            scale = f"e.{quote(scale_column(measure))}"
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
