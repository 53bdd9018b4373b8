"""Merging new rows in DuckDB (`aggregates/merging.py`): computed aside, in the snapshot that was observed.

What is staged are the rows as they will be, not what is to be added to them: so a publish that is repeated, or comes too
late, can not add anything twice. It takes out exactly as many rows as were there when it was staged, or nothing.
"""

from attrs import frozen

from ..aggregates.additive import newer, own_key
from ..aggregates.gate import Computed, totals_of
from ..aggregates.merging import MergeTables, merge_complaint, merge_gate_sql, merged_sql, old_sql, take_out_sql
from ..aggregates.observation import PartitionContent
from ..aggregates.scans import float_sums
from ..aggregates.sql import select_sql
from ..aggregates.tokens import add_tokens, token_rows
from ..errors import FenceLostError, InvalidValueError, MergeError, WarehouseQueryError
from ..warehouse import Refresh, StageRequest
from ._duckdb_bind import DIALECT, bound_parameters
from ._duckdb_connection import Connection
from ._duckdb_ledger import Ledger
from ._duckdb_observe import Observer
from .checking import require_gate


@frozen
class Merger:
    """Merges through one session's parts."""

    connection: Connection
    ledger: Ledger
    observer: Observer

    def stage(self, request: StageRequest, handle: str) -> tuple[PartitionContent, ...]:
        """Put the rows of a request's merge into the stage `handle`, as they will be; what their periods will hold.

        The stage is made, if the request has no other periods. Raises MergeError for whatever goes wrong.
        """
        try:
            return self._stage(request, handle)
        except (WarehouseQueryError, InvalidValueError) as problem:
            words = f"merging its new rows failed ({problem.message})"
            raise MergeError(words, definition_id=request.definition.id) from problem

    def _stage(self, request: StageRequest, handle: str) -> tuple[PartitionContent, ...]:
        merge, definition = request.merge, request.definition
        assert merge is not None
        instance, periods = merge.instance, merge.periods
        merged = f"{handle}_merged" if request.periods else handle
        tables = MergeTables(self.ledger.table(instance.table_name), f"{handle}_new", f"{handle}_old", merged)
        kind = self.observer.tokens.bound[definition.id].mark_types[own_key(definition)]
        beyond, run = newer(definition, merge.since, DIALECT, kind), self.connection.run
        sql = select_sql(beyond, DIALECT, periods)
        run(f"CREATE TEMP TABLE {tables.new} AS {sql}", bound_parameters(beyond))
        require_gate(self.connection.run, Computed(beyond, tables.new, instance.columns, periods), DIALECT)
        run(f"CREATE TEMP TABLE {tables.old} AS {old_sql(definition, tables, periods, DIALECT)}")
        run(f"CREATE TEMP TABLE {tables.merged} AS {merged_sql(definition, tables, instance.columns, DIALECT)}")
        self._require_gate(request, tables)
        contents = self._contents(request, tables)
        run(f"DROP TABLE {tables.new}")
        run(f"DROP TABLE {tables.old}")
        if request.periods:
            run(f"INSERT INTO {handle} BY NAME SELECT * FROM {merged}")
            run(f"DROP TABLE {merged}")
        return contents

    def _require_gate(self, request: StageRequest, tables: MergeTables) -> None:
        merge, definition = request.merge, request.definition
        assert merge is not None
        floats = float_sums(definition, merge.instance.columns, DIALECT)
        (row,) = self.connection.run(merge_gate_sql(definition, tables, floats, DIALECT))
        words = merge_complaint(totals_of(definition, DIALECT), row)
        if words is not None:
            raise WarehouseQueryError(words)

    def _contents(self, request: StageRequest, tables: MergeTables) -> tuple[PartitionContent, ...]:
        """What each period will hold: the published content without the old rows, and with the merged ones."""
        merge, definition = request.merge, request.definition
        assert merge is not None
        published = {each.period: each.content for each in merge.instance.partitions}
        old = {each.period: each.content for each in self.observer.contents_of(definition, tables.old)}
        found = []
        for each in self.observer.contents_of(definition, tables.merged):
            token = each.content
            if each.period in published:
                token = add_tokens(published[each.period], token)
            if each.period in old:
                token = add_tokens(token, old[each.period], taken_out=True)
            found.append(PartitionContent(each.period, token_rows(token), token))
        return tuple(found)

    def take_out(self, publication: Refresh) -> int:
        """Take out the stored rows that the staged ones replace; how many."""
        assert publication.staged is not None
        table = self.ledger.table(publication.instance.table_name)
        sql = take_out_sql(publication.definition, table, publication.staged.handle, publication.merged, DIALECT)
        return self.connection.changed(sql, {})

    def require_count(self, publication: Refresh, taken_out: int, put_in: int) -> None:
        """Raises FenceLostError if the merged periods do not have as many rows now as the ledger is told."""
        before = {each.period: each.rows for each in publication.instance.partitions}
        after = {each.period: each.rows for each in publication.written}
        merged = set(publication.merged)
        staged = put_in - sum(rows for period, rows in after.items() if period not in merged)
        there = sum(before.get(period, 0) for period in merged) - taken_out + staged
        told = sum(after[period] for period in merged)
        if there != told:
            raise FenceLostError(
                f"table {publication.instance.table_name} was changed since it was observed ({there} rows of the merged "
                f"periods instead of {told}); rolled back"
            )
