"""Merging new rows into what is published, as SQL. What may be merged, and when, is `additive.py`.

Theory of operation
-------------------
Three small tables stand beside the physical one: `new`, the aggregate of the new source rows (`additive.newer`); `old`, the
stored rows with the grain of a new one; and `merged`, one row per key of both, by `merge_sql` of the measures. Publishing
takes the stored rows with the grain of a merged one out and puts the merged ones in. Everything but the look for `old` and
its removal costs as much as there are new rows. `old` is found by hashes of the grain, and taken out by comparing it (with
IS NOT DISTINCT FROM, since NULL is a key), so that the two check each other.

**The gate of a merge** proves that what will be stored is what was stored, and the new rows: the aggregate of the new rows
has passed the gate of any computation (`gate.py`) against the source; each row of `old` has a key of its own, and the very
grain of a new one; `merged` has as many rows as both have keys, and its totals are those of both together.
"""

from collections.abc import Sequence

from attrs import frozen

from .dialects import dialect_of
from .gate import totals_of
from .measures import MeasureColumn
from .model import AggregateDefinition
from .observation import Column
from .periods import NULL_PERIOD, Period
from .sql import FLOAT_TOLERANCE, PERIOD_COLUMN, grain, period_literals, pieces


@frozen
class MergeTables:
    """Quoted references: the physical table, the aggregate of the new rows, the stored rows of its keys, both merged."""

    table: str
    new: str
    old: str
    merged: str


def old_sql(definition: AggregateDefinition, tables: MergeTables, periods: Sequence[Period], dialect: str) -> str:
    """The stored rows whose grain has the hash of a new one's."""
    hashed = dialect_of(dialect).row_hash(_keys(definition, dialect))
    near = _near(definition, periods, dialect)
    return f"SELECT * FROM {tables.table} WHERE {near} AND {hashed} IN (SELECT {hashed} FROM {tables.new})"


def merged_sql(definition: AggregateDefinition, tables: MergeTables, columns: Sequence[Column], dialect: str) -> str:
    """One row per key of the new and the old rows, in the columns and types of the physical table."""
    engine, types = dialect_of(dialect), {each.name: each.type for each in columns}
    keys = _keys(definition, dialect)
    merges = {each.name: each.merge_sql for each in pieces(definition, dialect).measures}
    shown = [
        f"CAST({merges.get(name) or engine.quote(name)} AS {kind}) AS {engine.quote(name)}"
        for name, kind in types.items()
    ]
    grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
    return f"SELECT {', '.join(shown)} FROM {_both(definition, tables, dialect)} AS aggmaint_b{grouped}"


def take_out_sql(
    definition: AggregateDefinition, table: str, merged: str, periods: Sequence[Period], dialect: str
) -> str:
    """Take the stored rows of these periods out that have the grain of a merged one."""
    near, same = _near(definition, periods, dialect), _same_grain(definition, dialect)
    return f"DELETE FROM {table} AS t WHERE {near} AND EXISTS (SELECT 1 FROM {merged} AS s WHERE {same})"


def merge_gate_sql(definition: AggregateDefinition, tables: MergeTables, floats: frozenset[str], dialect: str) -> str:
    """One row: (old rows, those with the grain of a new one, their keys, merged rows, keys of both), then three per total.

    These are: is it equal, that of the merged rows, that of both, as text.
    """
    engine = dialect_of(dialect)
    keys = ", ".join(_keys(definition, dialect)) or "0"
    both, same = _both(definition, tables, dialect), _same_grain(definition, dialect)
    shown = [
        f"(SELECT COUNT(*) FROM {tables.old})",
        f"(SELECT COUNT(*) FROM {tables.old} AS t WHERE EXISTS (SELECT 1 FROM {tables.new} AS s WHERE {same}))",
        f"(SELECT COUNT(*) FROM (SELECT DISTINCT {keys} FROM {tables.old}) AS aggmaint_k)",
        f"(SELECT COUNT(*) FROM {tables.merged})",
        f"(SELECT COUNT(*) FROM (SELECT DISTINCT {keys} FROM {both} AS aggmaint_b) AS aggmaint_k)",
    ]
    totals = totals_of(definition, dialect)
    of_merged = [f"{each.merge_sql} AS t{index}" for index, each in enumerate(totals)]
    of_both = [f"{each.merge_sql} AS s{index}" for index, each in enumerate(totals)]
    for index, each in enumerate(totals):
        same = f"t{index} IS NOT DISTINCT FROM s{index}"
        if each.name in floats:
            of_both.append(f"SUM(ABS({engine.quote(each.name)})) AS a{index}")
            same = f"COALESCE({same} OR ABS(t{index} - s{index}) <= {FLOAT_TOLERANCE} * a{index}, FALSE)"
        shown.append(f"{same}, CAST(t{index} AS VARCHAR), CAST(s{index} AS VARCHAR)")
    if not totals:
        return f"SELECT {', '.join(shown)}"
    return (
        f"SELECT {', '.join(shown)} FROM (SELECT {', '.join(of_merged)} FROM {tables.merged}) AS aggmaint_t, "
        f"(SELECT {', '.join(of_both)} FROM {both} AS aggmaint_b) AS aggmaint_u"
    )


def merge_complaint(totals: Sequence[MeasureColumn], row: Sequence[object]) -> str | None:
    """What the answer of `merge_gate_sql` says is wrong, in words; None if it passes."""
    old, same, old_keys, merged, keys, *rest = row
    if not old == same == old_keys:
        return f"{old} stored rows seem to have keys of new ones, {same} have, with {old_keys} keys"
    if merged != keys:
        return f"merging gives {merged} rows for {keys} keys"
    for index, total in enumerate(totals):
        equal, of_merged, of_both = rest[3 * index : 3 * index + 3]
        if not equal:
            return f"column {total.name!r} adds up to {of_merged} when merged, to {of_both} before"
    return None


def _keys(definition: AggregateDefinition, dialect: str) -> list[str]:
    return [dialect_of(dialect).quote(name) for name, _ in grain(definition, dialect)]


def _near(definition: AggregateDefinition, periods: Sequence[Period], dialect: str) -> str:
    """A cheap condition that all rows of these periods pass, for the engine to prune by; the grain decides.

    The engine finds the bounds: only it knows the order of its dates and texts.
    """
    if definition.partition is None:
        return "TRUE"
    starts = ", ".join(period_literals(periods, definition.partition, dialect_of(dialect)))
    clauses = [f"{PERIOD_COLUMN} BETWEEN LEAST({starts}) AND GREATEST({starts})"] if starts else []
    if NULL_PERIOD in periods:
        clauses.append(f"{PERIOD_COLUMN} IS NULL")
    return f"({' OR '.join(clauses)})"


def _same_grain(definition: AggregateDefinition, dialect: str) -> str:
    return " AND ".join(f"t.{key} IS NOT DISTINCT FROM s.{key}" for key in _keys(definition, dialect)) or "TRUE"


def _both(definition: AggregateDefinition, tables: MergeTables, dialect: str) -> str:
    """The new and the old rows together, in the columns of a computation."""
    names = ", ".join(
        [
            *_keys(definition, dialect),
            *(dialect_of(dialect).quote(m.name) for m in pieces(definition, dialect).measures),
        ]
    )
    return f"(SELECT {names} FROM {tables.new} UNION ALL SELECT {names} FROM {tables.old})"
