"""The gate (`aggregates/gate.py`) in DuckDB: asked in the transaction that computed, thus of the same snapshot."""

from collections.abc import Sequence

from ..aggregates.gate import complaint, gate_sql, totals_of
from ..aggregates.model import AggregateDefinition
from ..aggregates.observation import Column
from ..aggregates.periods import Period
from ..aggregates.scans import float_sums
from ..errors import GateError
from ._duckdb_bind import DIALECT, bound_parameters
from ._duckdb_connection import Connection


def require_gate(
    connection: Connection,
    definition: AggregateDefinition,
    table: str,
    columns: Sequence[Column],
    periods: Sequence[Period] | None,
    *,
    cut: bool = False,
) -> None:
    """Raises GateError if `table` (a quoted reference) is not what the source's rows of these periods add up to.

    `cut`: see `gate_sql`.
    """
    floats = float_sums(definition, columns, DIALECT)
    sql = gate_sql(definition, table, periods, floats, DIALECT, cut=cut)
    (row,) = connection.run(sql, bound_parameters(definition))
    words = complaint(totals_of(definition, DIALECT), row)
    if words is not None:
        raise GateError(f"it did not pass the gate: {words}; nothing of it was published", definition_id=definition.id)
