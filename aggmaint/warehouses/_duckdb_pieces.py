"""Building a large aggregate piece by piece in DuckDB, each piece one guarded transaction of its own.

Theory of operation
-------------------
The ledger holds an instance that is being built together with the partitions that it has so far: their source tokens, rows
and contents, committed with the rows themselves. So a build that stops (cancelled, crashed, over budget) goes on where it
stopped, in this job or in a later one, by the same rule every time: each piece reads the source's tokens anew in its own
snapshot, keeps the partitions whose token is still the published one and whose rows are those that were written, takes out
all others, and computes the next few. **The last piece proves the whole**: in its one snapshot every partition was compared,
token by token, and nothing is missing; so what is switched to is one consistent state, as if it had been built at once.

Only aggregates without joins are built so: they alone have a token per partition that costs less than computing it.
"""

from collections.abc import Callable
from datetime import datetime

from attrs import evolve, frozen

from ..aggregates.observation import PartitionContent, PartitionRecord
from ..aggregates.periods import Period
from ..aggregates.scans import PERIODS_KEY, Answers
from ..aggregates.sql import rows_of_periods_sql, select_sql
from ..aggregates.tokens import Comparison, compare_tokens
from ..core.job import Fence
from ..errors import WarehouseQueryError
from ..warehouse import BuildRequest, Built, PartitionWrite, Tick
from ._duckdb_bind import DIALECT, bound_parameters
from ._duckdb_connection import Connection
from ._duckdb_ledger import Ledger
from ._duckdb_observe import Observer
from ._duckdb_tokens import BrokenQueryError


@frozen
class PieceBuilder:
    """Builds pieces through one session's parts. `create` makes an empty table, `finish` reads a whole one as built."""

    connection: Connection
    ledger: Ledger
    observer: Observer
    create: Callable[[BuildRequest], None]
    finish: Callable[[BuildRequest, Answers], Built]

    def postponed(self, request: BuildRequest, answers: Answers) -> Built | None:
        """An answer without a table, for an aggregate that is to be built in pieces; None for one that is not."""
        definition = request.definition
        if not request.pieces or definition.partition is None or definition.joins or request.before is not None:
            return None
        count = len(answers[definition.id, PERIODS_KEY])
        return Built(request, 0, (), (), (), left=count) if count > request.pieces else None

    def build(self, request: BuildRequest, fence: Fence, at: datetime, tick: Tick) -> Built:
        """The next piece; the last one answers as a whole build does. In a guarded transaction."""
        definition = request.definition
        self.ledger.go_on_building(request.instance_id, fence)
        self.observer.note_files([definition])
        answers = self.observer.tokens.for_build([definition], tick)
        now = dict(answers[definition.id, PERIODS_KEY])
        try:
            kept, others = self._what_is_there(request, now)
            todo = sorted((period for period in now if period not in kept), key=lambda each: each.key)
            taken = todo[: max(request.pieces, 1)]
            tick(f"{definition.label}: {len(kept) + len(taken)} of {len(now)} partitions")
            if others:
                self._take_out(request, others)
            if taken:
                self._put_in(request, taken, now, at)
            left = len(todo) - len(taken)
            if not left:
                return evolve(self.finish(request, answers), taken=len(taken))
            self.observer.require_files(definition)
        except WarehouseQueryError as problem:
            raise BrokenQueryError(problem, definition_id=definition.id) from problem
        return Built(request, 0, (), (), (), left=left, taken=len(taken))

    def _what_is_there(
        self, request: BuildRequest, now: dict[Period, str]
    ) -> tuple[dict[Period, PartitionRecord], list[Period]]:
        """The partitions that stay, and the periods of all other rows. Makes the table if it is not there."""
        name, definition = request.table_name, request.definition
        if not self.ledger.has_table(name):
            self.create(request)
            return {}, list(self._recorded(request))
        columns = self.connection.columns(f"SELECT * FROM {self.ledger.table(name)}")
        if columns != self.observer.tokens.bound[definition.id].columns:
            words = f"table {name}, which is being built, does not have its columns any more; it is built anew"
            raise WarehouseQueryError(words, definition_id=definition.id)
        recorded, contents = self._recorded(request), self._contents(request)
        kept = {
            period: record
            for period, record in recorded.items()
            if contents.get(period) == record.content
            and compare_tokens(record.token, now.get(period, "")) is Comparison.SAME
        }
        return kept, [period for period in dict.fromkeys([*recorded, *contents]) if period not in kept]

    def _recorded(self, request: BuildRequest) -> dict[Period, PartitionRecord]:
        mine = (each for each in self.ledger.instances() if each.id == request.instance_id)
        return {record.period: record for each in mine for record in each.partitions}

    def _contents(self, request: BuildRequest) -> dict[Period, str]:
        return {each.period: each.content for each in self._all_contents(request)}

    def _all_contents(self, request: BuildRequest) -> tuple[PartitionContent, ...]:
        return self.observer.contents_of(request.definition, self.ledger.table(request.table_name))

    def _take_out(self, request: BuildRequest, periods: list[Period]) -> None:
        where = rows_of_periods_sql(periods, request.definition.partition, DIALECT)
        self.connection.run(f"DELETE FROM {self.ledger.table(request.table_name)} WHERE {where}")
        self.ledger.delete_partitions(request.instance_id, [each.key for each in periods])

    def _put_in(self, request: BuildRequest, periods: list[Period], tokens: dict[Period, str], at: datetime) -> None:
        definition, table = request.definition, self.ledger.table(request.table_name)
        sql = select_sql(definition, DIALECT, periods)
        self.connection.run(f"INSERT INTO {table} {sql}", bound_parameters(definition))
        wanted = set(periods)
        writes = [
            PartitionWrite(each.period, each.rows, tokens[each.period], each.content)
            for each in self._all_contents(request)
            if each.period in wanted
        ]
        self.ledger.insert_partitions(request.instance_id, writes, at, "")
