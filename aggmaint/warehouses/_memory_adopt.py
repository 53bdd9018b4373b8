"""Proving a table in memory that is to be adopted: its columns, one row per key, each period against a recomputation."""

from ..aggregates.decisions import AdoptStep
from ..aggregates.observation import Column
from ..aggregates.periods import Period
from ..errors import WarehouseQueryError
from ._memory_compute import (
    Computation,
    Row,
    Tables,
    bind,
    contents,
    period_tokens,
    physical_columns,
    source_tokens,
)
from .proving import Proof


def proof_of(step: AdoptStep, columns: tuple[Column, ...], rows: tuple[Row, ...], tables: Tables) -> Proof:
    """Raises WarehouseQueryError if the table does not fit at all."""
    definition, name = step.definition, step.instance.table_name
    if columns != physical_columns(definition):
        words = f"table {name} does not have the columns of {definition.label}; it is not adopted"
        raise WarehouseQueryError(words, definition_id=definition.id)
    keys = [row[: len(definition.attributes) + (definition.partition is not None)] for row in rows]
    if len(set(keys)) != len(keys):
        repeated = len(keys) - len(set(keys))
        words = f"table {name} has {repeated:,} keys with more than one row; it is not adopted"
        raise WarehouseQueryError(words, definition_id=definition.id)
    bound = bind(definition, tables)
    if bound.failure is not None:
        raise WarehouseQueryError(bound.failure.message, definition_id=definition.id)
    computation = Computation(definition, tables)
    sources, tokens = source_tokens(definition, bound, tables), dict(period_tokens(definition, bound, tables))
    by_period: dict[Period, list[Row]] = {}
    for row in rows:
        by_period.setdefault(computation.period(row), []).append(row)
    wanted = contents(definition, computation.grouped())
    return Proof.of(contents(definition, by_period), wanted, tokens, sources)
