"""Fingerprints as SQL: one scan per source, whatever the number of aggregates over it.

Theory of operation
-------------------
Each definition asks for tokens (`TokenRequest`): of each of its sources as a whole, of those that it depends on, and, if it
has one source only, of that source per period over the columns that it reads. Requests about equal sources (same rows:
table or file, filter and the filter's parameters) are answered together. There are two rounds:

* **The whole.** One ungrouped hash over the union of the columns that the definitions without joins read (`widened`): the
  cheapest statement that sees every change. Where it is the published one, nothing moved, and nothing else is read.
* **The periods**, only of sources that moved. Rows are grouped by *day* first, the finest cut there is, with one hash per
  distinct set of columns; the few days are then rolled up to each granularity. Grouping millions of rows by a DATE column
  costs half of grouping them by an expression of it. `wanted` restricts a scan to the periods that are looked at.

Definitions with joins have no tokens per period of one source. Where one of their sources moved, level 2 asks which periods
moved: by the *content* that a recomputation would publish, compared with the content that the table holds (nothing has to
be hashed when a table is built, and the rows are kept for the refresh), or, where a measure adds up floats, whose sums
differ from run to run, by the joined rows (`level_two_sql`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from .dialects import Dialect, dialect_of
from .expressions import parameters_in, partition_expression, rendered_bare
from .model import AggregateDefinition, MeasureFunction, PartitionBy, Scalar, Source
from .observation import Column, PartitionContent
from .periods import WHOLE_PERIOD, Period, period_of
from .sql import (
    PERIOD_COLUMN,
    period_sql,
    periods_condition,
    pieces,
    select_sql,
    source_sql,
    wanted_sql,
)
from .tokens import TokenKind, make_token

SOURCE_KEY = "source:"
DEPENDENCY_KEY = "dependency:"
PERIODS_KEY = ""

Row = tuple[Any, ...]
Answers = dict[tuple[str, str], list[tuple[Period, str]]]
"""Tokens by (definition id, source key)."""


@frozen
class TokenRequest:
    """A token that a definition needs of one source.

    `source_key` is "" for the token per period of a definition without joins, else `source:<alias>` or `dependency:<name>`.
    `day` is the SQL of the row's day over the source's bare columns; None: one token for the whole source. `shared`: of a
    definition without joins, whose periods can be asked when the whole moved; so its token may cover more columns.
    """

    definition_id: str
    source_key: str
    source: Source
    parameters: tuple[tuple[str, Scalar], ...]
    columns: tuple[str, ...]
    partition: PartitionBy | None = None
    day: str | None = None
    shared: bool = False

    @property
    def whole(self) -> bool:
        return self.source_key != PERIODS_KEY


@frozen
class Wanted:
    """The periods that a scan is restricted to, in the cut of one definition."""

    day: str
    partition: PartitionBy
    periods: tuple[Period, ...]


@frozen
class Scan:
    """One statement over one source, and the requests that it answers.

    `cuts` are its distinct granularities (None: the whole), `columns` its distinct sets of columns.
    """

    sql: str
    parameters: tuple[tuple[str, Scalar], ...]
    requests: tuple[TokenRequest, ...]
    cuts: tuple[PartitionBy | None, ...]
    columns: tuple[tuple[str, ...], ...]


def requests_of(
    definition: AggregateDefinition,
    read: Mapping[str, tuple[str, ...]],
    everything: Mapping[str, tuple[str, ...]],
    dialect: str,
) -> tuple[TokenRequest, ...]:
    """What a definition asks for. `read`: columns read by source alias; `everything`: all columns, by dependency label."""
    requests = [
        _request(definition, SOURCE_KEY + source.alias, source, read[source.alias], dialect)
        for source in definition.sources
    ]
    if not definition.joins:
        whole = requests[0]
        day = _bare_day(definition, dialect) if definition.partition else None
        requests = [evolve(whole, shared=True)]
        requests.append(evolve(whole, source_key=PERIODS_KEY, partition=definition.partition, day=day))
    for source in definition.dependencies:
        requests.append(_request(definition, DEPENDENCY_KEY + source.label, source, everything[source.label], dialect))
    return tuple(requests)


def _request(
    definition: AggregateDefinition, key: str, source: Source, columns: tuple[str, ...], dialect: str
) -> TokenRequest:
    names = parameters_in(source.where, dialect) if source.where else ()
    bound = definition.bound
    return TokenRequest(definition.id, key, source, tuple((name, bound[name]) for name in names), columns)


def _bare_day(definition: AggregateDefinition, dialect: str) -> str:
    """The day's SQL with `alias.column` written as `column`: scans of several definitions share one FROM."""
    partition = definition.partition
    assert partition is not None
    expression = rendered_bare(partition_expression(definition), definition.source.alias, dialect)
    engine = dialect_of(dialect)
    if partition.by_value:
        return period_sql(expression, partition, engine)
    return engine.day(expression, partition.zone)


def source_identity(request: TokenRequest, dialect: str) -> tuple[str, tuple[tuple[str, Scalar], ...]]:
    """What makes two requests be about the same rows."""
    return source_sql(request.source, dialect), request.parameters


def widened(requests: Sequence[TokenRequest], dialect: str) -> tuple[TokenRequest, ...]:
    """The requests of whole sources, the shared ones over the union of the columns that any of them reads.

    So a column that only one definition reads makes the token of the others move, and their periods then show that nothing
    changed for them. Definitions with joins keep their own columns: to ask their periods is dear.
    """
    union: dict[Any, set[str]] = {}
    for each in requests:
        if each.shared:
            union.setdefault(source_identity(each, dialect), set()).update(each.columns)
    answer = []
    for each in requests:
        columns = union[source_identity(each, dialect)] if each.shared else set(each.columns)
        if each.source.declared is not None and each.source_key.startswith(SOURCE_KEY):
            columns = {*columns, each.source.declared}
        answer.append(evolve(each, columns=tuple(sorted(columns))))
    return tuple(answer)


def plan_scans(
    requests: Iterable[TokenRequest], dialect: str, wanted: Mapping[str, Wanted] | None = None
) -> tuple[Scan, ...]:
    """The fewest scans that answer all requests: one per distinct source and column of days.

    `wanted`, by definition id, restricts all of them: then only the periods named there are answered whole.
    """
    sources: dict[Any, list[TokenRequest]] = {}
    for request in requests:
        sources.setdefault(source_identity(request, dialect), []).append(request)
    scans = []
    for group in sources.values():
        days = tuple(dict.fromkeys(each.day for each in group if each.day is not None))
        for day in days or (None,):
            mine = [each for each in group if each.day == day or (each.day is None and day in (None, *days[:1]))]
            scans.append(_scan(mine, day, dialect, wanted))
    return tuple(scans)


def _scan(requests: Sequence[TokenRequest], day: str | None, dialect: str, wanted: Mapping[str, Wanted] | None) -> Scan:
    engine = dialect_of(dialect)
    source, parameters = source_identity(requests[0], dialect)
    cuts = tuple(dict.fromkeys(each.partition if each.day else None for each in requests))
    columns = tuple(dict.fromkeys(each.columns for each in requests))
    inner = [f"{day} AS aggmaint_d"] if day else []
    for index, names in enumerate(columns):
        inner.append(f"{engine.row_hash(engine.quote(name) for name in names)} AS aggmaint_h{index}")
    sums = [engine.hash_sum(f"aggmaint_h{index}") for index in range(len(columns))]
    rows = f"(SELECT {', '.join(inner)} FROM {source} AS aggmaint_s{_where(requests, wanted, dialect)}) AS aggmaint_t"
    if day is None:
        return Scan(f"SELECT COUNT(*), {', '.join(sums)} FROM {rows}", parameters, tuple(requests), cuts, columns)
    named = [(index, cut) for index, cut in enumerate(cuts) if cut is not None]
    sums = [f"{each} AS aggmaint_h{index}" for index, each in enumerate(sums)]
    days = f"SELECT aggmaint_d, COUNT(*) AS aggmaint_n, {', '.join(sums)} FROM {rows} GROUP BY aggmaint_d"
    periods = [f"{engine.period_of_day('aggmaint_d', cut.granularity)} AS aggmaint_p{index}" for index, cut in named]
    cut_days = f"(SELECT {', '.join(periods)}, * FROM ({days}) AS aggmaint_u)"
    totals = ["SUM(aggmaint_n)", *(engine.hash_sum(f"aggmaint_h{index}") for index in range(len(columns)))]
    sql = _rolled_up(cut_days, [index for index, _ in named], totals, engine, whole=None in cuts)
    return Scan(sql, parameters, tuple(requests), cuts, columns)


def _rolled_up(days: str, cuts: Sequence[int], totals: Sequence[str], engine: Dialect, *, whole: bool) -> str:
    """(is it not of this cut, period) per cut, then the totals: for each period of each cut, and of the `whole`."""
    texts = {index: engine.date_text(f"aggmaint_p{index}") for index in cuts}
    if engine.grouping_sets:
        shown = [f"GROUPING(aggmaint_p{index}), {text}" for index, text in texts.items()]
        sets = ", ".join(["()"] * whole + [f"(aggmaint_p{index})" for index in cuts])
        return f"SELECT {', '.join([*shown, *totals])} FROM {days} AS aggmaint_v GROUP BY GROUPING SETS ({sets})"
    parts = []
    for one in ([None] if whole else []) + list(cuts):
        shown = [f"0, {text}" if index == one else "1, NULL" for index, text in texts.items()]
        grouped = "" if one is None else f" GROUP BY aggmaint_p{one}"
        parts.append(f"SELECT {', '.join([*shown, *totals])} FROM aggmaint_v{grouped}")
    return f"WITH aggmaint_v AS MATERIALIZED {days} {' UNION ALL '.join(parts)}"


def _where(requests: Sequence[TokenRequest], wanted: Mapping[str, Wanted] | None, dialect: str) -> str:
    if wanted is None:
        return ""
    clauses = dict.fromkeys(
        periods_condition(wanted[each].day, wanted[each].partition, wanted[each].periods, dialect)
        for each in dict.fromkeys(request.definition_id for request in requests)
    )
    return f" WHERE {' OR '.join(clauses)}"


def read_scan(scan: Scan, rows: Sequence[Row], engine: str) -> Answers:
    """The answer of a scan as tokens. `engine` names engine and major version."""
    answers: Answers = {}
    named = [cut for cut in scan.cuts if cut is not None]
    for request in scan.requests:
        found: list[tuple[Period, str]] = []
        cut = request.partition if request.day else None
        hash_at = 2 * len(named) + 1 + scan.columns.index(request.columns)
        for row in rows:
            grouped = [index for index in range(len(named)) if row[2 * index] == 0]
            if grouped != ([] if cut is None else [named.index(cut)]):
                continue
            period = WHOLE_PERIOD if cut is None else period_of(row[2 * grouped[0] + 1], cut)
            count, hashes = int(row[2 * len(named)] or 0), int(row[hash_at] or 0)
            found.append((period, make_token(engine, TokenKind.SOURCE, request.columns, count, hashes)))
        answers[request.definition_id, request.source_key] = found
    return answers


def float_sums(definition: AggregateDefinition, columns: Sequence[Column], dialect: str) -> frozenset[str]:
    """The physical columns that hold sums of floats: equal sources may give them slightly different values."""
    summed = {
        each.columns[0] for each in definition.measures if each.function in {MeasureFunction.SUM, MeasureFunction.AVG}
    }
    floats = dialect_of(dialect).float_types
    return frozenset(each.name for each in columns if each.name in summed and each.type in floats)


def content_sql(definition: AggregateDefinition, table: str, dialect: str) -> str:
    """(period, rows, hash sum over all columns) of a physical table, or of anything with its columns."""
    engine = dialect_of(dialect)
    names = content_columns(definition, dialect)
    period = engine.date_text(PERIOD_COLUMN) if definition.partition else "NULL"
    hashed = engine.hash_sum(engine.row_hash(engine.quote(name) for name in names))
    grouped = f" GROUP BY {PERIOD_COLUMN}" if definition.partition else ""
    return f"SELECT {period}, COUNT(*), {hashed} FROM {table} AS aggmaint_c{grouped}"


def content_columns(definition: AggregateDefinition, dialect: str) -> tuple[str, ...]:
    parts = pieces(definition, dialect)
    return (*(name for name, _ in parts.attributes), *(each.name for each in parts.measures))


def level_two_sql(
    definition: AggregateDefinition, periods: Sequence[Period] | None, *, joined_rows: bool, dialect: str
) -> str:
    """(period, rows, hash sum) of what a recomputation would publish or, with `joined_rows`, of the rows it would read.

    `periods` None: of all periods.
    """
    if not joined_rows:
        return content_sql(definition, f"({select_sql(definition, dialect, periods)})", dialect)
    parts, engine = pieces(definition, dialect), dialect_of(dialect)
    period = parts.period or "CAST(NULL AS DATE)"
    inner = f"SELECT {period} AS aggmaint_p, {engine.row_hash(parts.inputs)} AS aggmaint_h FROM {parts.from_sql}"
    if periods is not None and definition.partition is not None:
        inner += f" WHERE {wanted_sql(definition, periods, dialect)}"
    shown, grouped = (engine.date_text("aggmaint_p"), " GROUP BY aggmaint_p") if parts.period else ("NULL", "")
    return f"SELECT {shown}, COUNT(*), {engine.hash_sum('aggmaint_h')} FROM ({inner}) AS aggmaint_t{grouped}"


def read_contents(
    definition: AggregateDefinition, rows: Sequence[Row], kind: TokenKind, engine: str, dialect: str
) -> tuple[PartitionContent, ...]:
    """The rows of `content_sql` or `level_two_sql` as tokens per period, in the order of their keys."""
    hashed = pieces(definition, dialect).inputs if kind is TokenKind.JOINED else content_columns(definition, dialect)
    contents = []
    for start, count, hashes in rows:
        period = period_of(start, definition.partition)
        contents.append(PartitionContent(period, int(count), make_token(engine, kind, hashed, int(count), int(hashes))))
    return tuple(sorted(contents, key=lambda each: each.period.key))
