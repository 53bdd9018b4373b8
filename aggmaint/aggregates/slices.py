"""Slices: the rows of a source that a refresh reads, copied aside once for all that read them.

Theory of operation
-------------------
A refresh reads the same few periods of a source again and again: each aggregate over it computes them, and its gate adds
them up (`gate.py`). Where they are a small part of a large source, finding them costs more than computing. So they are
copied once, with the columns that any of these aggregates reads, and all read the copy instead (`sliced`).

What made the copy must not vouch for it: a filter that is wrong would be wrong for the computation and the gate alike. So
the copy counts only if it holds exactly as many rows of each aggregate's periods as were counted when their tokens were
read, which is another statement with another filter, in the same snapshot. If it does not, it is not used.
"""

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from .dialects import dialect_of
from .gate import totals_of
from .model import AggregateDefinition, Source
from .observation import DefinitionFacts
from .periods import Period
from .sql import source_sql, wanted_sql
from .tokens import token_rows

ROWS_MIN = 100_000
"""A source with fewer rows is not worth a copy (a statement costs about what scanning so many rows does)."""

SHARE_MAX = 0.25
"""Nor is a copy of a greater part of it."""


@frozen
class Cut:
    """The periods of one definition that are to be computed, the columns it reads, and how many source rows they have."""

    definition: AggregateDefinition
    periods: tuple[Period, ...]
    columns: tuple[str, ...]
    rows: int


def cut_of(
    definition: AggregateDefinition, periods: Sequence[Period], columns: Sequence[str], counted: Mapping[Period, int]
) -> Cut | None:
    """The cut, if it can be made from one source alone and its rows were `counted`, per period; else None."""
    if definition.joins or definition.partition is None or not counted.keys() >= set(periods):
        return None
    return Cut(definition, tuple(periods), tuple(columns), sum(counted[each] for each in periods))


def counted_rows(facts: DefinitionFacts, periods: Sequence[Period]) -> dict[Period, int]:
    """How many source rows these periods have, by their tokens; without the periods of which nothing is known."""
    known = dict(facts.grown.rows) if facts.grown is not None else {}
    known |= {period: token_rows(token) for period, token in facts.tokens or ()}
    all_looked_at = facts.tokens is not None and facts.cause is not None
    return {each: known.get(each, 0) for each in periods if each in known or all_looked_at}


def worth_slicing(cuts: Sequence[Cut], rows_of_source: int, *, again: bool, dialect: str) -> bool:
    """Whether copying these cuts of one source pays: they are read more than once, and are a small part of it.

    `again`: their tokens are still to be read, too.
    """
    reads = sum(1 + bool(totals_of(each.definition, dialect)) for each in cuts) + again
    largest = max((each.rows for each in cuts), default=0)
    return reads > 1 and rows_of_source >= ROWS_MIN and largest <= SHARE_MAX * rows_of_source


def same_rows(one: AggregateDefinition, other: AggregateDefinition) -> bool:
    """Whether two definitions read the same rows under the same name."""
    return one.source == other.source and (one.source.where is None or one.bound == other.bound)


def slice_sql(cuts: Sequence[Cut], dialect: str) -> str:
    """The query of a slice: the rows of any of these cuts, which all read the same rows."""
    engine = dialect_of(dialect)
    source = cuts[0].definition.source
    columns = ", ".join(engine.quote(name) for name in sorted({name for each in cuts for name in each.columns}))
    conditions = dict.fromkeys(wanted_sql(each.definition, each.periods, dialect) for each in cuts)
    rows = f"{source_sql(source, dialect)} AS {engine.quote(source.alias)}"
    return f"SELECT {columns} FROM {rows} WHERE {' OR '.join(conditions)}"


def counts_sql(cuts: Sequence[Cut], table: str, dialect: str) -> str:
    """One row: how many rows the slice holds, then how many of each cut."""
    counts = ", ".join(f"COUNT(*) FILTER (WHERE {wanted_sql(c.definition, c.periods, dialect)})" for c in cuts)
    return f"SELECT COUNT(*), {counts} FROM {table} AS {dialect_of(dialect).quote(cuts[0].definition.source.alias)}"


def sliced(definition: AggregateDefinition, table: str) -> AggregateDefinition:
    """The definition over a slice instead of its source, whose filter it has passed. `table`: a name as SQL writes it."""
    return evolve(definition, source=sliced_source(definition.source, table))


def sliced_source(source: Source, table: str) -> Source:
    return Source(table=table, alias=source.alias)
