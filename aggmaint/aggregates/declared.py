"""Declared sources: what the host promises, and the little that is then read to see whether anything changed.

Theory of operation
-------------------
A source with `append_only` or `updated_at` names a column whose value grows with every row that is added (or changed). Its
token has four parts: the number of rows, the *mark* (the greatest value of the column), and the number and hash sum of the
*tail*, the rows at or beyond the mark. To look again, the rows are counted, and the tail beyond the *old* mark is hashed:

* a row that was added or changed since has a greater value, so it is in the tail, which then has another hash;
* one that got the very same value as the mark (clocks are coarse) is in the tail too: it is `>=`, and hashed, not counted;
* a row that vanished changes the count (that none vanishes is promised, but counting is free);
* rows without a value are always part of the tail.

The engine prunes by the column's minima and maxima, so this costs the same at any size. Where it says that something
changed, it is first asked whether rows were only added: if the source has just as many more rows as are beyond the mark,
and what is at the mark is what was there, then no other row came, changed or went (one that changed would be beyond the
mark and add none; one that went would be missing), and the periods of the rows beyond are the ones that changed. Else one
light pass (no hashing) finds the periods: those with tail rows, and those whose number of source rows is not the recorded
one (rows that moved elsewhere). Only these are fingerprinted. **What a false promise hides** (a row changed
without its mark) is found by the rotating audit, which fingerprints old periods in turn; more rows gone than promised
makes the whole source be fingerprinted at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from .dialects import dialect_of
from .model import PartitionBy
from .observation import PartitionRecord
from .periods import Period, period_of
from .source import Deletes, Source
from .tokens import TokenKind, make_scheme, token_kind, token_rows

Row = tuple[Any, ...]

MARK_PARAMETER = "aggmaint_mark"


@frozen
class Tail:
    """What was read of a declared source: its rows, the mark (the engine's text; None: no rows), the tail beyond it."""

    rows: int
    mark: str | None
    tail_rows: int
    tail_hashes: int


def declared_token(engine: str, columns: Sequence[str], tail: Tail) -> str:
    """`<scheme>:<rows>:<tail hashes>:<tail rows>:<mark>`; `columns` are those that the tail's hash covers."""
    scheme = make_scheme(engine, TokenKind.DECLARED, columns)
    return f"{scheme}:{tail.rows}:{tail.tail_hashes:x}:{tail.tail_rows}:{tail.mark or ''}"


def mark_of(token: str | None) -> str | None:
    """The mark of a declared source's token; None if it is no such token, or the source had no rows."""
    if token is None or token_kind(token) is not TokenKind.DECLARED:
        return None
    return token.split(":", 4)[4] or None


def newest_sql(source_sql: str, column: str, dialect: str) -> str:
    """The mark as it is now. Looks at every row; where an old mark is known, `tail_sql` says as much at once."""
    return f"SELECT CAST(MAX({dialect_of(dialect).quote(column)}) AS VARCHAR) FROM {source_sql} AS aggmaint_s"


def tail_sql(source_sql: str, column: str, hashed: str, kind: str, dialect: str) -> str:
    """(rows, tail rows, tail hashes, greatest value in the tail) for a mark, given as a parameter; `kind`: its type."""
    engine = dialect_of(dialect)
    name = f"aggmaint_s.{engine.quote(column)}"
    return (
        f"SELECT (SELECT COUNT(*) FROM {source_sql} AS aggmaint_n), COUNT(*), {engine.hash_sum(hashed)}, "
        f"CAST(MAX({name}) AS VARCHAR) FROM {source_sql} AS aggmaint_s "
        f"WHERE {name} >= CAST(${MARK_PARAMETER} AS {kind}) OR {name} IS NULL"
    )


def at_mark_sql(source_sql: str, column: str, hashed: str, kind: str, dialect: str) -> str:
    """(rows, rows beyond the mark, rows at it or without a value, their hashes) of the source; the mark as in `tail_sql`."""
    engine = dialect_of(dialect)
    name, mark = f"aggmaint_s.{engine.quote(column)}", f"CAST(${MARK_PARAMETER} AS {kind})"
    return (
        f"SELECT (SELECT COUNT(*) FROM {source_sql} AS aggmaint_n), "
        f"(SELECT COUNT(*) FROM {source_sql} AS aggmaint_s WHERE {name} > {mark}), "
        f"COUNT(*), {engine.hash_sum(hashed)} FROM {source_sql} AS aggmaint_s WHERE {name} = {mark} OR {name} IS NULL"
    )


def light_sql(
    source_sql: str,
    column: str,
    kind: str,
    cut: tuple[str, PartitionBy] | None,
    dialect: str,
    *,
    beyond: bool = False,
) -> str:
    """(period, rows, tail rows) of the source. No hashing. `cut`: the day's SQL over bare columns; None: one row.

    `beyond`: of its rows beyond the mark only.
    """
    engine = dialect_of(dialect)
    name = engine.quote(column)
    newer = f"COUNT(*) FILTER (WHERE {name} >= CAST(${MARK_PARAMETER} AS {kind}) OR {name} IS NULL)"
    if beyond:
        source_sql = f"(SELECT * FROM {source_sql} AS aggmaint_b WHERE {name} > CAST(${MARK_PARAMETER} AS {kind}))"
    if cut is None:
        return f"SELECT NULL, COUNT(*), {newer} FROM {source_sql} AS aggmaint_s"
    day, partition = cut
    inner = (
        f"SELECT {day} AS aggmaint_d, COUNT(*) AS aggmaint_n, {newer} AS aggmaint_w FROM {source_sql} AS aggmaint_s "
        "GROUP BY aggmaint_d"
    )
    period = engine.period_of_day("aggmaint_d", partition.granularity)
    return (
        f"SELECT {engine.date_text('aggmaint_p')}, SUM(aggmaint_n), SUM(aggmaint_w) "
        f"FROM (SELECT {period} AS aggmaint_p, * FROM ({inner}) AS aggmaint_t) AS aggmaint_u GROUP BY aggmaint_p"
    )


@frozen
class Touched:
    """What a light pass found: the periods in which something may have changed, in words how the promise was broken, and
    how many rows each period has now (those that are gone: none)."""

    periods: frozenset[Period]
    broken: str | None
    rows: Mapping[Period, int]


def read_light(
    source: Source,
    partition: PartitionBy | None,
    published: Sequence[PartitionRecord],
    rows: Sequence[Row],
) -> Touched:
    """Compare the answer of `light_sql` with what was published."""
    now: dict[Period, tuple[int, int]] = {period_of(start, partition): (int(n), int(w)) for start, n, w in rows}
    if partition is None and now and next(iter(now.values()))[0] == 0:
        now = {}
    before = {each.period: token_rows(each.token) for each in published}
    touched = {period for period, (count, tail) in now.items() if tail or before.get(period) != count}
    touched |= before.keys() - now.keys()
    counted = {period: n for period, (n, _) in now.items()}
    broken = broken_promise(source, before, counted)
    return Touched(frozenset(touched), broken, {**dict.fromkeys(before, 0), **counted})


def adds_up(published: str, partitions: Sequence[PartitionRecord]) -> bool:
    """Whether the periods' rows are those of the source as it was published: none is ahead of it, none is missing."""
    return token_rows(published) == sum(token_rows(each.token) for each in partitions)


def read_beyond(
    source: Source,  # noqa: ARG001 - as read_light
    partition: PartitionBy | None,
    published: Sequence[PartitionRecord],
    rows: Sequence[Row],
) -> Touched:
    """The same from the rows beyond the mark, where nothing else came, changed or went."""
    new = {period_of(start, partition): int(n) for start, n, _ in rows}
    before = {each.period: token_rows(each.token) for each in published}
    counted = {period: before.get(period, 0) + new.get(period, 0) for period in {*before, *new}}
    return Touched(frozenset(period for period, n in new.items() if n), None, counted)


def broken_promise(source: Source, before: Mapping[Period, int], now: Mapping[Period, int]) -> str | None:
    """Rows are gone though the source promises that none goes; None if the numbers are possible.

    A soft deletion may take a row out of a filtered source.
    """
    gone = sum(before.values()) - sum(now.values())
    if source.append_only is not None:
        lost = {
            period.key: count - now.get(period, 0) for period, count in before.items() if now.get(period, 0) < count
        }
        if lost:
            return f"source {source.label!r} is declared append_only, but {sum(lost.values()):,} rows are gone"
        return None
    if gone > 0 and not (source.deletes is Deletes.SOFT and source.where is not None):
        word = source.deletes.value if source.deletes else ""
        return f'source {source.label!r} is declared deletes = "{word}", but {gone:,} rows are gone'
    return None
