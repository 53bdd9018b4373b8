"""Slices (`aggregates/slices.py`) in DuckDB: TEMP tables of the observation's transaction."""

from collections.abc import Collection, Sequence
from itertools import count

from attrs import define, evolve, field, frozen

from ..aggregates.model import AggregateDefinition
from ..aggregates.periods import Period
from ..aggregates.scans import TokenRequest
from ..aggregates.slices import Cut, counts_sql, slice_sql, sliced, sliced_source
from ._duckdb_bind import DIALECT, bound_parameters
from ._duckdb_connection import Connection


@frozen
class Slice:
    """What serves one definition: a table that holds its rows of these periods, and, if it is `exact`, no others."""

    table: str
    periods: frozenset[Period]
    exact: bool


@define
class Slices:
    """The slices of one snapshot, by the ids of the definitions that they serve."""

    _connection: Connection
    _numbers: "count[int]" = field(factory=lambda: count(1))
    _slices: dict[str, Slice] = field(factory=dict)

    def make(self, cuts: Sequence[Cut]) -> None:
        """Copy these cuts of one source. One that does not hold the rows that were counted serves nobody."""
        table = f"temp.aggmaint_slice_{next(self._numbers)}"
        parameters = bound_parameters(cuts[0].definition)
        self._connection.run(f"CREATE TEMP TABLE {table} AS {slice_sql(cuts, DIALECT)}", parameters)
        ((held, *found),) = self._connection.run(counts_sql(cuts, table, DIALECT))
        for cut, rows in zip(cuts, found, strict=True):
            if rows == cut.rows:
                self._slices[cut.definition.id] = Slice(table, frozenset(cut.periods), rows == held)

    def of(self, definition: AggregateDefinition, periods: Collection[Period]) -> Slice | None:
        """The slice to read these periods of the definition's rows from; exact only for all of its periods."""
        found = self._slices.get(definition.id)
        if found is None or not found.periods >= set(periods):
            return None
        return evolve(found, exact=found.exact and found.periods == set(periods))

    def request_over(self, request: TokenRequest) -> TokenRequest:
        """A request for tokens of periods for which the definition's slice, if it has one, was made."""
        found = self._slices.get(request.definition_id)
        if found is None:
            return request
        return evolve(request, source=sliced_source(request.source, found.table), parameters=())

    def drop(self) -> None:
        for table in dict.fromkeys(each.table for each in self._slices.values()):
            self._connection.run(f"DROP TABLE IF EXISTS {table}")
        self.forget()

    def forget(self) -> None:
        """The tables are gone."""
        self._slices.clear()


def read_from(definition: AggregateDefinition, found: Slice | None) -> AggregateDefinition:
    """The definition as its rows are to be read."""
    return definition if found is None else sliced(definition, found.table)
