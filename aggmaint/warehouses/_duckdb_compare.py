"""Comparing an aggregate with a recomputation in DuckDB: the statements are `aggregates/differences.py`'s."""

from ..aggregates.differences import Sides, difference_sql, samples_sql, sides_of_periods, sides_of_view
from ..aggregates.model import AggregateDefinition
from ..aggregates.observation import active_instance
from ..aggregates.scans import float_sums
from ..warehouse import Cells, CompareRequest, Difference, DifferenceKind, RowDifference
from ._duckdb_bind import DIALECT, bound_parameters
from ._duckdb_connection import Connection
from ._duckdb_ledger import Ledger


def compared(
    connection: Connection, ledger: Ledger, definition: AggregateDefinition, what: CompareRequest
) -> Difference:
    """See the port's `compare`. In the caller's transaction; raises WarehouseQueryError."""
    active = active_instance(definition.id, ledger.instances() if ledger.exists() else ())
    if active is None:
        return Difference(definition.id, definition.label, 0, 0, 0, 0, 0, "it has no table in service; run its job")
    floats = float_sums(definition, active.columns, DIALECT)
    if what.periods is None:
        sides = sides_of_view(definition, ledger.table(definition.view_name), floats, DIALECT)
    else:
        table = ledger.table(active.table_name)
        sides = sides_of_periods(definition, table, floats, DIALECT, periods=what.periods, others=what.others)
    sql = difference_sql(sides, floats, DIALECT)
    expected, found, missing, extra, matched, wrong = connection.run(sql, bound_parameters(definition))[0]
    extra += matched - (expected - missing)  # repeated rows of one key
    samples: tuple[RowDifference, ...] = ()
    if what.samples_max and (missing or extra or wrong):
        sql = samples_sql(sides, floats, DIALECT, samples_max=what.samples_max)
        rows = connection.run(sql, bound_parameters(definition))
        samples = tuple(_sample(sides, DifferenceKind(row[0]), row[1:]) for row in rows)
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
