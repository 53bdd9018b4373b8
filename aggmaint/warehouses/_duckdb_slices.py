"""Slices (`aggregates/slices.py`) in DuckDB: TEMP tables of the observation's transaction."""

from collections.abc import Collection, Sequence
from itertools import count

from attrs import define, evolve, field

from ..aggregates.model import AggregateDefinition
from ..aggregates.periods import Period
from ..aggregates.scans import TokenRequest
from ..aggregates.slices import Cut, counts_sql, slice_sql, sliced, sliced_source
from ._duckdb_bind import DIALECT, bound_parameters
from ._duckdb_connection import Connection


@define
class Slices:
    """The slices of one snapshot, by the ids of the definitions that they serve, and for which periods."""

    _connection: Connection
    _numbers: "count[int]" = field(factory=lambda: count(1))
    _tables: dict[str, tuple[str, frozenset[Period]]] = field(factory=dict)

    def make(self, cuts: Sequence[Cut]) -> None:
        """Copy these cuts of one source. One that does not hold the rows that were counted serves nobody."""
        table = f"temp.aggmaint_slice_{next(self._numbers)}"
        parameters = bound_parameters(cuts[0].definition)
        self._connection.run(f"CREATE TEMP TABLE {table} AS {slice_sql(cuts, DIALECT)}", parameters)
        (found,) = self._connection.run(counts_sql(cuts, table, DIALECT))
        for cut, rows in zip(cuts, found, strict=True):
            if rows == cut.rows:
                self._tables[cut.definition.id] = table, frozenset(cut.periods)

    def serves(self, definition: AggregateDefinition, periods: Collection[Period]) -> bool:
        return definition.id in self._tables and self._tables[definition.id][1] >= set(periods)

    def over(self, definition: AggregateDefinition, periods: Collection[Period]) -> AggregateDefinition:
        """The definition as its rows of these periods are to be read."""
        return sliced(definition, self._tables[definition.id][0]) if self.serves(definition, periods) else definition

    def request_over(self, request: TokenRequest) -> TokenRequest:
        """A request for tokens of periods for which the definition's slice, if it has one, was made."""
        if request.definition_id not in self._tables:
            return request
        table, _ = self._tables[request.definition_id]
        return evolve(request, source=sliced_source(request.source, table), parameters=())

    def drop(self) -> None:
        for table in dict.fromkeys(table for table, _ in self._tables.values()):
            self._connection.run(f"DROP TABLE IF EXISTS {table}")
        self.forget()

    def forget(self) -> None:
        """The tables are gone."""
        self._tables.clear()
