"""Checking an aggregate against its sources in SQL: the gate before a publish, and comparisons. For every adapter.

The statements are `aggregates/gate.py`'s and `aggregates/differences.py`'s; `run` puts one to the engine, in the snapshot
of the caller, and raises WarehouseQueryError when it is refused.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..aggregates.differences import Sides, difference_sql, samples_sql, sides_of_periods, sides_of_view
from ..aggregates.gate import Computed, complaint, gate_sql, totals_of
from ..aggregates.model import AggregateDefinition
from ..aggregates.observation import InstanceRecord
from ..aggregates.scans import float_sums
from ..aggregates.sql import pieces
from ..errors import GateError
from ..warehouse import Cells, CompareRequest, Difference, DifferenceKind, RowDifference

Row = tuple[Any, ...]
Run = Callable[[str, Mapping[str, Any]], list[Row]]


def parameters_of(definition: AggregateDefinition, dialect: str) -> dict[str, Any]:
    """The parameters that the definition's statements use: exactly those."""
    bound = definition.bound
    return {name: bound[name] for name in pieces(definition, dialect).parameters}


def require_gate(run: Run, what: Computed, dialect: str) -> None:
    """Raises GateError if what was computed is not what the source's rows of its periods add up to."""
    definition = what.definition
    (row,) = run(gate_sql(what, dialect), parameters_of(definition, dialect))
    words = complaint(totals_of(definition, dialect), row)
    if words is not None:
        raise GateError(f"it did not pass the gate: {words}; nothing of it was published", definition_id=definition.id)


def not_compared(definition: AggregateDefinition, problem: str) -> Difference:
    """The answer of a comparison that could not be made."""
    return Difference(definition.id, definition.label, 0, 0, 0, 0, 0, problem)


def compared(
    run: Run,
    definition: AggregateDefinition,
    active: InstanceRecord | None,
    what: CompareRequest,
    reference: Callable[[str], str],
    dialect: str,
) -> Difference:
    """See the port's `compare`. `active`: the instance in service. `reference`: from a name in the schema to its SQL."""
    if active is None:
        return not_compared(definition, "it has no table in service; run its job")
    floats = float_sums(definition, active.columns, dialect)
    if what.periods is None:
        sides = sides_of_view(definition, reference(definition.view_name), floats, dialect)
    else:
        table, periods = reference(active.table_name), what.periods
        sides = sides_of_periods(definition, table, floats, dialect, periods=periods, others=what.others)
    parameters = parameters_of(definition, dialect)
    expected, found, missing, extra, matched, wrong = run(difference_sql(sides, floats, dialect), parameters)[0]
    extra += matched - (expected - missing)  # repeated rows of one key
    samples: tuple[RowDifference, ...] = ()
    if what.samples_max and (missing or extra or wrong):
        sql = samples_sql(sides, floats, dialect, samples_max=what.samples_max)
        samples = tuple(_sample(sides, DifferenceKind(row[0]), row[1:]) for row in run(sql, parameters))
    return Difference(definition.id, definition.label, expected, found, missing, extra, wrong, samples=samples)


def _sample(sides: Sides, kind: DifferenceKind, values: tuple[str | None, ...]) -> RowDifference:
    keys, measures = sides.keys, sides.measures
    rest = values[len(keys) :]
    expected: Cells = tuple(zip(measures, rest[: len(measures)], strict=True))
    found: Cells = tuple(zip(measures, rest[len(measures) :], strict=True))
    return RowDifference(
        kind,
        tuple(zip(keys, values[: len(keys)], strict=True)),
        None if kind is DifferenceKind.EXTRA else expected,
        None if kind is DifferenceKind.MISSING else found,
    )
