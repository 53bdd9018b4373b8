"""Computing periods aside in DuckDB: into TEMP tables, from the observation's snapshot, and through the gate.

The tables vanish by themselves when the connection closes: nothing of a stage is ever left behind. Rows that are read more
than once are copied first (`aggregates/slices.py`): of declared sources when they are observed, of others here.
"""

from collections.abc import Mapping
from itertools import count

from attrs import define, field

from ..aggregates.gate import Computed
from ..aggregates.observation import DefinitionFacts, PartitionContent
from ..aggregates.slices import counted_rows, cut_of, same_rows, worth_slicing
from ..aggregates.sql import rows_of_periods_sql, select_sql
from ..aggregates.tokens import token_rows
from ..errors import GateError, MergeError, WarehouseQueryError
from ..warehouse import Staged, StageRequest
from ._duckdb_bind import DIALECT, bound_parameters
from ._duckdb_connection import Connection
from ._duckdb_merge import Merger
from ._duckdb_observe import Observer
from ._duckdb_slices import Slice, read_from
from ._duckdb_tokens import broke_off
from .checking import require_gate


@define
class Stager:
    """The computing half of a session. `facts`: of the last observation, by definition id."""

    _connection: Connection
    _observer: Observer
    _merger: Merger
    facts: Mapping[str, DefinitionFacts] = field(factory=dict)
    _numbers: "count[int]" = field(factory=lambda: count(1))

    def stage(self, request: StageRequest) -> Staged:
        """Raises WarehouseQueryError with the definition's id, also GateError and MergeError; the snapshot is then gone."""
        definition = request.definition
        handle = f"temp.aggmaint_stage_{next(self._numbers)}"
        try:
            contents = self._computed(request, handle) if request.periods else ()
            if request.merge is not None:
                contents = (*contents, *self._merger.stage(request, handle))
            self._observer.require_files(definition)
        except (GateError, MergeError):
            self._connection.rollback()
            raise
        except WarehouseQueryError as problem:
            self._connection.rollback()
            raise WarehouseQueryError(broke_off(problem), definition_id=definition.id) from problem
        return Staged(handle, contents)

    def _computed(self, request: StageRequest, handle: str) -> tuple[PartitionContent, ...]:
        """Periods that are computed from all of their rows."""
        definition = request.definition
        self._slice(request)
        found = self._observer.tokens.slices.of(definition, request.periods)
        self._compute(request, found, handle)
        contents = self._observer.contents_of(definition, handle)
        columns = self._observer.tokens.bound[definition.id].columns
        rows_from, cut = read_from(definition, found), found is not None and found.exact
        require_gate(self._connection.run, Computed(rows_from, handle, columns, request.periods, cut), DIALECT)
        return contents

    def _compute(self, request: StageRequest, found: Slice | None, handle: str) -> None:
        """The rows of a stage: those that the observation computed already, if it did, else from the sources."""
        computed = self._observer.tokens.computed.get(request.definition.id)
        if computed is not None:
            where = rows_of_periods_sql(request.periods, request.definition.partition, DIALECT)
            self._connection.run(f"CREATE TEMP TABLE {handle} AS SELECT * FROM {computed} WHERE {where}")
            return
        rows_from = read_from(request.definition, found)
        sql = select_sql(rows_from, DIALECT, None if found is not None and found.exact else request.periods)
        self._connection.run(f"CREATE TEMP TABLE {handle} AS {sql}", bound_parameters(rows_from))

    def _slice(self, request: StageRequest) -> None:
        """Slice the request's source, for it and for those ahead that read the same rows, if there is none and it pays."""
        tokens, definition = self._observer.tokens, request.definition
        if tokens.slices.of(definition, request.periods) is not None or definition.id not in self.facts:
            return
        alike = (each for each in request.ahead if each.periods and same_rows(each.definition, definition))
        cuts = []
        for each in (request, *alike):
            counted = counted_rows(self.facts[each.definition.id], each.periods)
            cut = cut_of(each.definition, each.periods, tokens.columns_read(each.definition), counted)
            if cut is None and each is request:
                return
            cuts.extend([] if cut is None else [cut])
        rows = max((token_rows(token) for _, token in self.facts[definition.id].source_tokens), default=0)
        if worth_slicing(cuts, rows, again=False, dialect=DIALECT):
            tokens.slices.make(cuts)
