"""Fingerprints as SQL: one scan per source, whatever the number of aggregates over it.

Theory of operation
-------------------
Each definition asks for tokens (`TokenRequest`): of one source, over the columns it reads, per period or as a whole. All
requests about equal sources (same rows: table or file, filter and the filter's parameters) become one statement: it hashes
each distinct set of columns once per row, and has one grouping set per distinct way of cutting rows into periods. The
answer is cut up again by `read_scan`.

Definitions with joins are judged in two levels. Level 1 asks whether any of their sources moved at all (a whole-source
token each, part of the same scans). Only then level 2 asks which periods moved: by the *content* that a recomputation
would publish, compared with the content that the table holds (nothing has to be hashed when a table is built), or, where a
measure adds up floats, whose sums differ from run to run, by the joined rows (`level_two_sql`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from .dialects import dialect_of
from .expressions import parameters_in, parse, partition_expression, write
from .model import AggregateDefinition, MeasureFunction, PartitionBy, Scalar, Source
from .observation import Column, PartitionContent
from .periods import WHOLE_PERIOD, Period, period_of
from .sql import PERIOD_COLUMN, pieces, select_sql, source_sql
from .tokens import TokenKind, make_token

JOIN_KEY = "join:"
DEPENDENCY_KEY = "dependency:"

Row = tuple[Any, ...]


@frozen
class TokenRequest:
    """A token that a definition needs of one source.

    `source_key` is "" for the token per period of a definition without joins, else `join:<alias>` or `dependency:<name>`.
    `period` is the SQL of the period over the source's bare columns; None: one token for the whole source.
    """

    definition_id: str
    source_key: str
    source: Source
    parameters: tuple[tuple[str, Scalar], ...]
    columns: tuple[str, ...]
    partition: PartitionBy | None = None
    period: str | None = None


@frozen
class Scan:
    """One statement over one source, and the requests that it answers. `periods` and `columns` are its distinct ones."""

    sql: str
    parameters: tuple[tuple[str, Scalar], ...]
    requests: tuple[TokenRequest, ...]
    periods: tuple[str | None, ...]
    columns: tuple[tuple[str, ...], ...]


def requests_of(
    definition: AggregateDefinition,
    read: Mapping[str, tuple[str, ...]],
    everything: Mapping[str, tuple[str, ...]],
    dialect: str,
) -> tuple[TokenRequest, ...]:
    """What a definition asks for. `read`: columns read by source alias; `everything`: all columns, by dependency label."""
    requests = []
    if definition.joins:
        for source in definition.sources:
            key = JOIN_KEY + source.alias
            requests.append(_request(definition, key, source, read[source.alias], dialect))
    else:
        period = _bare_period(definition, dialect) if definition.partition else None
        columns = read[definition.source.alias]
        whole = _request(definition, "", definition.source, columns, dialect)
        requests.append(
            TokenRequest(whole.definition_id, "", whole.source, whole.parameters, columns, definition.partition, period)
        )
    for source in definition.dependencies:
        requests.append(_request(definition, DEPENDENCY_KEY + source.label, source, everything[source.label], dialect))
    return tuple(requests)


def _request(
    definition: AggregateDefinition, key: str, source: Source, columns: tuple[str, ...], dialect: str
) -> TokenRequest:
    names = parameters_in(source.where, dialect) if source.where else ()
    bound = definition.bound
    return TokenRequest(definition.id, key, source, tuple((name, bound[name]) for name in names), columns)


def _bare_period(definition: AggregateDefinition, dialect: str) -> str:
    """The period's SQL with `alias.column` written as `column`: scans of several definitions share one FROM."""
    from sqlglot import exp

    alias = definition.source.alias.casefold()

    def bare(node: "exp.Expr") -> "exp.Expr":
        if isinstance(node, exp.Column) and len(node.parts) > 1 and node.parts[0].name.casefold() == alias:
            rest = [part.copy() for part in node.parts[1:]]
            return exp.Dot.build([exp.Column(this=rest[0]), *rest[1:]]) if len(rest) > 1 else exp.Column(this=rest[0])
        return node

    tree = parse(partition_expression(definition), dialect).transform(bare)
    partition = definition.partition
    assert partition is not None
    expression = write(tree, dialect)
    return dialect_of(dialect).period_start(expression, partition.granularity, partition.zone)


def plan_scans(requests: Iterable[TokenRequest], dialect: str) -> tuple[Scan, ...]:
    """The fewest scans that answer all requests: one per distinct source."""
    groups: dict[tuple[str, tuple[tuple[str, Scalar], ...]], list[TokenRequest]] = {}
    for request in requests:
        groups.setdefault((source_sql(request.source, dialect), request.parameters), []).append(request)
    return tuple(_scan(sql, parameters, group, dialect) for (sql, parameters), group in groups.items())


def _scan(
    source: str, parameters: tuple[tuple[str, Scalar], ...], requests: Sequence[TokenRequest], dialect: str
) -> Scan:
    engine = dialect_of(dialect)
    periods = tuple(dict.fromkeys(each.period for each in requests))
    columns = tuple(dict.fromkeys(each.columns for each in requests))
    inner = [f"{period} AS aggmaint_p{index}" for index, period in enumerate(periods) if period is not None]
    for index, names in enumerate(columns):
        inner.append(f"{engine.row_hash(engine.quote(name) for name in names)} AS aggmaint_h{index}")
    named = [(index, f"aggmaint_p{index}") for index, period in enumerate(periods) if period is not None]
    outer = [f"GROUPING({name}), {engine.date_text(name)}" for _, name in named]
    outer.append("COUNT(*)")
    outer.extend(engine.hash_sum(f"aggmaint_h{index}") for index in range(len(columns)))
    sql = f"SELECT {', '.join(outer)} FROM (SELECT {', '.join(inner)} FROM {source} AS aggmaint_s) AS aggmaint_t"
    if named:
        sets = ", ".join(f"({name})" for _, name in named)
        sql += f" GROUP BY GROUPING SETS ({'(), ' if None in periods else ''}{sets})"
    return Scan(sql, parameters, tuple(requests), periods, columns)


def read_scan(scan: Scan, rows: Sequence[Row], engine: str) -> dict[tuple[str, str], list[tuple[Period, str]]]:
    """The answer of a scan as tokens by (definition id, source key). `engine` names engine and major version."""
    answers: dict[tuple[str, str], list[tuple[Period, str]]] = {}
    named = [period for period in scan.periods if period is not None]
    for request in scan.requests:
        found: list[tuple[Period, str]] = []
        hash_at = 2 * len(named) + 1 + scan.columns.index(request.columns)
        for row in rows:
            grouped = [index for index in range(len(named)) if row[2 * index] == 0]
            if request.period is None:
                if grouped:
                    continue
                period = WHOLE_PERIOD
            elif grouped != [named.index(request.period)]:
                continue
            else:
                period = period_of(row[2 * grouped[0] + 1], request.partition)
            count = int(row[2 * len(named)])
            found.append((period, make_token(engine, TokenKind.SOURCE, request.columns, count, int(row[hash_at]))))
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


def level_two_sql(definition: AggregateDefinition, *, joined_rows: bool, dialect: str) -> str:
    """(period, rows, hash sum) of what a recomputation would publish or, with `joined_rows`, of the rows it would read."""
    if not joined_rows:
        return content_sql(definition, f"({select_sql(definition, dialect)})", dialect)
    parts, engine = pieces(definition, dialect), dialect_of(dialect)
    period = parts.period or "CAST(NULL AS DATE)"
    inner = f"SELECT {period} AS aggmaint_p, {engine.row_hash(parts.inputs)} AS aggmaint_h FROM {parts.from_sql}"
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
