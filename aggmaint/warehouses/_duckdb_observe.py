"""Observing in DuckDB: binding first, then one snapshot.

Theory of operation
-------------------
DuckDB aborts a transaction at any error. So each definition is *bound* outside of one (`_duckdb_bind.py`). Then one
transaction reads the ledger, the catalogue, the active tables' contents and the sources' tokens; it stays open, so that
`stage` reads the same rows. Where a query breaks off in it (a cast that fails on some row), the culprit is found, excluded
with a failure of its own, and the snapshot is taken again without it; each round excludes at least one, so there is an
end. Files are not held still by a transaction: they are noted before their tokens are read, and looked at again after
their data was.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from ..aggregates.dialects import DuckDBDialect
from ..aggregates.looking import Hints, audit_due
from ..aggregates.model import AggregateDefinition, InstanceStatus
from ..aggregates.naming import LEDGER_TABLES, SCHEMA_PREFIX, Tag, parse_tag
from ..aggregates.observation import (
    Column,
    DefinitionFacts,
    Failure,
    FailureKind,
    InstanceRecord,
    ObjectKind,
    Observation,
    PartitionContent,
    SchemaObject,
    TableFacts,
    active_instance,
    lost_tables,
    serves,
)
from ..aggregates.periods import Period
from ..aggregates.scans import content_sql, read_contents
from ..aggregates.sql import rows_of_periods_sql
from ..aggregates.tokens import TokenKind
from ..core.job import Fence
from ..errors import LedgerLostError, WarehouseQueryError
from ..warehouse import ManagedSchema, Tick
from ._duckdb_bind import DIALECT, Binder, Bound
from ._duckdb_connection import Connection, Row
from ._duckdb_ledger import Ledger
from ._duckdb_ledger_schema import CONTROL, ledger_tables
from ._duckdb_shared import Listed, Shared
from ._duckdb_tokens import BrokenQueryError, FilesMovedError, TokenReader, broke_off


class Observer:
    """Observes through one connection. `tokens` keeps what the last observation bound and computed."""

    def __init__(
        self,
        connection: Connection,
        ledger: Ledger,
        schema: ManagedSchema,
        engine: str,
        shared: Shared,
    ) -> None:
        self._connection = connection
        self._ledger = ledger
        self._schema = schema
        self._engine = engine
        self._shared = shared
        self._binder = Binder(connection, self._shared)
        self.tokens = TokenReader(connection, engine, shared.source_token)
        self._files: dict[str, tuple[Any, ...]] = {}

    def bind(self, definitions: Sequence[AggregateDefinition]) -> dict[str, Bound]:
        """Bind further definitions; those of the last observation stay as they are. Outside of transactions."""
        return self._binder.bind(definitions)

    # -- the snapshot -------------------------------------------------------------------------------------------------

    def observe(
        self,
        definitions: Sequence[AggregateDefinition],
        reader: Fence | None,
        sick: Mapping[str, str],
        tick: Tick,
        hints: Hints,
    ) -> Observation:
        """One observation; leaves its transaction open. See the module's docstring."""
        broken = dict(sick)
        unreadable: dict[str, str] = {}
        self.tokens.forget_computed()
        self.tokens.bound = self._binder.bind([each for each in definitions if each.id not in broken])
        read_anew = False
        while True:
            self._connection.begin()
            self.tokens.begin()
            try:
                look = _Look(definitions, broken, unreadable, tick, hints)
                return self._snapshot(look, reader)
            except WarehouseQueryError:
                self._connection.rollback()
                if read_anew:
                    raise
                read_anew = True
                self._shared.changed(self._schema.name)  # the ledger is not as the shared catalogue has it
            except BrokenQueryError as found:
                self._connection.rollback()
                if found.instance_id:
                    unreadable[found.instance_id] = found.problem.message
                elif found.scan is not None:
                    broken.update(self.tokens.culprits(found.scan, found.problem))
                else:
                    broken[found.definition_id] = broke_off(found.problem)
            except BaseException:
                self._connection.rollback()
                raise

    def _snapshot(self, look: "_Look", reader: Fence | None) -> Observation:
        look.tick("ledger")
        listed = self._shared.listed(self._schema.name, self._list)
        if not set(LEDGER_TABLES) <= {name for name, _, _ in listed.objects}:
            self._shared.changed(self._schema.name)  # new, old or damaged: whatever it is, it is to be seen as it is
            listed = self._shared.listed(self._schema.name, self._list)
        base = Observation(
            self._schema.name,
            self._schema.installation,
            self._schema.org_id,
            objects=self._objects(listed),
            reader=None if reader is None else (reader.generation, reader.number),
        )
        if any(each.name == CONTROL for each in base.objects):
            base = self._with_ledger(base)
        tables = {**self._tables_unknown(base, listed), **self._tables(look, base.instances, listed)}
        return evolve(base, tables=tables, definitions=self._facts(look, base.instances, tables))

    def _with_ledger(self, base: Observation) -> Observation:
        """And what the ledger holds. Where tables of it are gone nothing is known: only adopting goes on from there."""
        there = {each.name for each in base.objects}
        control, version, evidence = self._ledger.look(sorted((there & set(LEDGER_TABLES)) - {CONTROL}))
        missing = ledger_tables(version) - there
        if not missing:
            known = self._shared.ledgers.get(self._schema, evidence)
            if known is None:
                read = self._ledger.read_into(base, control, version)
                known = self._shared.ledgers.keep(self._schema, evidence, (read.instances, read.records))
            return evolve(base, control=control, instances=known[0], records=known[1])
        if self._schema.adopt_from is not None:
            return evolve(base, control=control)
        raise LedgerLostError(
            f"schema {self._schema.name} has lost {', '.join(sorted(missing))} of its ledger; restore the warehouse, or "
            f"recover without a rebuild: aggmaint adopt {self._schema.org_id}"
        )

    def _list(self, schema: str | None) -> dict[str, Listed]:
        """Tables and views with their comments and columns, by schema; `schema` None: of all that may be managed."""
        which = "starts_with(schema_name, $schema)" if schema is None else "schema_name = $schema"
        which = f"database_name = current_database() AND {which}"
        rows = self._connection.run(
            f"SELECT schema_name, table_name, 'table', comment, NULL, NULL, 0 FROM duckdb_tables() WHERE {which} UNION ALL "
            f"SELECT schema_name, view_name, 'view', comment, NULL, NULL, 0 FROM duckdb_views() WHERE {which} UNION ALL "
            "SELECT schema_name, table_name, NULL, NULL, column_name, data_type, column_index FROM duckdb_columns() "
            f"WHERE {which} ORDER BY 1, 2, 7",
            {"schema": schema or SCHEMA_PREFIX},
        )
        objects: dict[str, list[tuple[str, str, str | None]]] = {}
        columns: dict[str, dict[str, list[Column]]] = {}
        for place, name, kind, comment, column, kind_of_column, _ in rows:
            if kind is not None:
                objects.setdefault(place, []).append((name, kind, comment))
            else:
                table = columns.setdefault(place, {}).setdefault(str(name).casefold(), [])
                table.append(Column(column, kind_of_column))
        return {
            place: Listed(tuple(found), {name: tuple(listed) for name, listed in columns.get(place, {}).items()})
            for place, found in objects.items()
        }

    def _objects(self, listed: Listed) -> tuple[SchemaObject, ...]:
        return tuple(SchemaObject(name, ObjectKind(kind), self._tag(comment)) for name, kind, comment in listed.objects)

    def _tag(self, comment: str | None) -> Tag | None:
        """A tag of the installation that is being taken over counts as ours."""
        tag = parse_tag(comment)
        if tag is not None and tag.installation == self._schema.adopt_from:
            return evolve(tag, installation=self._schema.installation)
        return tag

    def _tables(self, look: "_Look", instances: Sequence[InstanceRecord], listed: Listed) -> dict[str, TableFacts]:
        """Facts of every active instance's table. Contents are read where the columns are those that were built."""
        by_id = {each.id: each for each in look.definitions}
        facts = {}
        whole: list[tuple[AggregateDefinition, InstanceRecord]] = []
        for instance in (each for each in instances if each.status is InstanceStatus.ACTIVE):
            found = listed.columns.get(instance.table_name.casefold())
            facts[instance.id] = TableFacts(found, look.unreadable.get(instance.id))
            definition = by_id.get(instance.definition_id)
            if definition is None or found != instance.columns or instance.id in look.unreadable:
                continue
            look.tick(instance.label)
            if serves(instance, definition, instance.columns) and instance.rows <= look.hints.compared_rows_max:
                whole.append((definition, instance))
            else:
                facts[instance.id] = self._contents(definition, instance, look.hints)
        contents = self._contents_of_all(whole)
        facts.update({instance.id: TableFacts(instance.columns, None, contents[instance.id]) for _, instance in whole})
        return facts

    def _tables_unknown(self, base: Observation, listed: Listed) -> dict[str, TableFacts]:
        """The columns of tables that carry our tag, but that the ledger does not name."""
        return {
            tag.instance_id: TableFacts(listed.columns.get(table.name.casefold())) for tag, table in lost_tables(base)
        }

    def _contents(self, definition: AggregateDefinition, instance: InstanceRecord, hints: Hints) -> TableFacts:
        """What a large table holds, or one whose definition changed. If the large one's number of rows is right, only
        the periods whose turn it is are compared; of the other it is seen only that it can be read."""
        table = self._ledger.table(instance.table_name)
        try:
            if not serves(instance, definition, instance.columns):
                self._connection.run(f"SELECT * FROM {table} LIMIT 1")
                return TableFacts(instance.columns)
            rows = int(self._connection.run(f"SELECT COUNT(*) FROM {table}")[0][0])
            compared = audit_due(instance, hints) if rows == instance.rows else None
            contents = self.contents_of(definition, table, compared)
        except WarehouseQueryError as problem:
            raise BrokenQueryError(problem, instance_id=instance.id) from problem
        return TableFacts(instance.columns, None, contents, compared)

    def _contents_of_all(
        self, tables: Sequence[tuple[AggregateDefinition, InstanceRecord]]
    ) -> dict[str, tuple[PartitionContent, ...]]:
        """The contents of many small tables, by instance id, in one statement."""
        parts = [
            f"SELECT {index}, * FROM ({content_sql(definition, self._ledger.table(instance.table_name), DIALECT)})"
            for index, (definition, instance) in enumerate(tables)
        ]
        rows: dict[int, list[Row]] = {index: [] for index in range(len(tables))}
        try:
            for index, *row in self._connection.run(" UNION ALL ".join(parts)) if parts else ():
                rows[index].append(tuple(row))
        except WarehouseQueryError as problem:
            raise BrokenQueryError(problem, instance_id=self._unreadable(tables)) from problem
        return {
            instance.id: read_contents(definition, rows[index], TokenKind.CONTENT, self._engine, DIALECT)
            for index, (definition, instance) in enumerate(tables)
        }

    def _unreadable(self, tables: Sequence[tuple[AggregateDefinition, InstanceRecord]]) -> str:
        """Which of these tables can not be read. The transaction is over: each is tried outside of one."""
        self._connection.rollback()
        for definition, instance in tables:
            try:
                self.contents_of(definition, self._ledger.table(instance.table_name))
            except WarehouseQueryError:
                return instance.id
        return tables[0][1].id

    def contents_of(
        self, definition: AggregateDefinition, table: str, periods: Collection[Period] | None = None
    ) -> tuple[PartitionContent, ...]:
        """What a physical or staged table holds per period, or for some. `table` is a quoted reference."""
        if periods is not None and not periods:
            return ()
        if periods is not None:
            wanted = sorted(periods, key=lambda each: each.key)
            table = f"(SELECT * FROM {table} WHERE {rows_of_periods_sql(wanted, definition.partition, DIALECT)})"
        rows = self._connection.run(content_sql(definition, table, DIALECT))
        return read_contents(definition, rows, TokenKind.CONTENT, self._engine, DIALECT)

    # -- files: no transaction holds them still ------------------------------------------------------------------------

    def note_files(self, definitions: Sequence[AggregateDefinition]) -> None:
        """Before their tokens are read: note which files the sources are now, how long and how old."""
        self._files = {path: self._file_state(path) for each in definitions for path in _paths(each)}

    def require_files(self, definition: AggregateDefinition) -> None:
        """After its data was read: raise FilesMovedError if a file is not the one whose token was read."""
        for path in _paths(definition):
            if self._file_state(path) != self._files.get(path):
                raise FilesMovedError(f"{path} changed while it was read; the next run reads it again")

    def _file_state(self, path: str) -> tuple[Any, ...]:
        listed = DuckDBDialect().text(path)
        sql = f"SELECT filename, size, CAST(last_modified AS VARCHAR) FROM read_blob({listed}) ORDER BY filename"
        try:
            return tuple(self._connection.run(sql))
        except WarehouseQueryError as problem:
            return (problem.message,)

    # -- tokens -------------------------------------------------------------------------------------------------------

    def _facts(
        self, look: "_Look", instances: tuple[InstanceRecord, ...], tables: Mapping[str, TableFacts]
    ) -> dict[str, DefinitionFacts]:
        facts: dict[str, DefinitionFacts] = {}
        served: list[tuple[AggregateDefinition, InstanceRecord]] = []
        for definition in look.definitions:
            bound = self.tokens.bound.get(definition.id, Bound())
            failure = bound.failure
            if definition.id in look.broken:
                words = f"aggregate {definition.label!r}: {look.broken[definition.id]}"
                failure = Failure(FailureKind.QUERY, words)
            facts[definition.id] = DefinitionFacts(bound.columns, failure=failure)
            instance = active_instance(definition.id, instances)
            if failure is None and instance is not None and serves(instance, definition, bound.columns):
                found = tables.get(instance.id, TableFacts())
                if found.columns == instance.columns and found.unreadable is None:
                    served.append((definition, instance))
        self.note_files([definition for definition, _ in served])
        answers = self.tokens.current(served, look.hints, look.tick)
        facts.update(self.tokens.facts(served, answers, look.hints, look.tick))
        return facts


@frozen
class _Look:
    """What one observation is about."""

    definitions: Sequence[AggregateDefinition]
    broken: Mapping[str, str]
    unreadable: Mapping[str, str]
    tick: Tick
    hints: Hints


def _paths(definition: AggregateDefinition) -> list[str]:
    sources = (*definition.sources, *definition.dependencies)
    return list(dict.fromkeys(each.file for each in sources if each.file is not None))
