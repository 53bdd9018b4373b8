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

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from ..aggregates.dialects import DuckDBDialect
from ..aggregates.model import AggregateDefinition, InstanceStatus
from ..aggregates.naming import Tag, parse_tag
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
    serves,
    source_moved,
)
from ..aggregates.periods import Period
from ..aggregates.scans import (
    Scan,
    TokenRequest,
    content_sql,
    float_sums,
    level_two_sql,
    plan_scans,
    read_contents,
    read_scan,
)
from ..aggregates.tokens import TokenKind
from ..core.job import Fence
from ..errors import LedgerLostError, WarehouseError, WarehouseQueryError
from ..warehouse import ManagedSchema, Tick
from ._duckdb_bind import DIALECT, Binder, Bound, bound_parameters
from ._duckdb_connection import Connection
from ._duckdb_ledger import Ledger
from ._duckdb_ledger_schema import CONTROL, ledger_tables


class FilesMovedError(WarehouseQueryError):
    """A file changed while it was read; the next run reads it again."""


def broke_off(problem: WarehouseError) -> str:
    """In words, that an aggregate's query failed on the data."""
    if isinstance(problem, FilesMovedError):
        return problem.message
    return f"its query broke off ({problem.message}); correct the data or the expression"


class BrokenQueryError(Exception):
    """A query of the snapshot broke off: for these definitions, or for this instance's table."""

    def __init__(
        self, problem: WarehouseQueryError, scan: Scan | None = None, definition_id: str = "", instance_id: str = ""
    ):
        super().__init__(problem.message)
        self.problem, self.scan = problem, scan
        self.definition_id, self.instance_id = definition_id, instance_id


class Observer:
    """Observes through one connection. `bound` keeps what the last observation bound, by definition id."""

    def __init__(self, connection: Connection, ledger: Ledger, schema: ManagedSchema, engine: str) -> None:
        self._connection = connection
        self._ledger = ledger
        self._schema = schema
        self._engine = engine
        self._binder = Binder(connection)
        self.bound: dict[str, Bound] = {}
        self._files: dict[str, tuple[Any, ...]] = {}

    # -- the snapshot -------------------------------------------------------------------------------------------------

    def observe(
        self, definitions: Sequence[AggregateDefinition], reader: Fence | None, sick: Mapping[str, str], tick: Tick
    ) -> Observation:
        """One observation; leaves its transaction open. See the module's docstring."""
        broken = dict(sick)
        unreadable: dict[str, str] = {}
        self.bound = self._binder.bind([each for each in definitions if each.id not in broken])
        while True:
            self._connection.begin()
            try:
                return self._snapshot(definitions, reader, broken, unreadable, tick)
            except BrokenQueryError as found:
                self._connection.rollback()
                if found.instance_id:
                    unreadable[found.instance_id] = found.problem.message
                elif found.scan is not None:
                    broken.update(self._culprits(found.scan, found.problem))
                else:
                    broken[found.definition_id] = broke_off(found.problem)
            except BaseException:
                self._connection.rollback()
                raise

    def _snapshot(
        self,
        definitions: Sequence[AggregateDefinition],
        reader: Fence | None,
        broken: Mapping[str, str],
        unreadable: Mapping[str, str],
        tick: Tick,
    ) -> Observation:
        tick("ledger")
        base = Observation(
            self._schema.name,
            self._schema.installation,
            self._schema.org_id,
            objects=self._objects(),
            reader=None if reader is None else (reader.generation, reader.number),
        )
        if any(each.name == CONTROL for each in base.objects):
            base = self._with_ledger(base)
        tables = {
            **self._tables_unknown(base),
            **self._tables(definitions, base.instances, unreadable, tick),
        }
        facts = self._facts(definitions, base.instances, tables, broken, tick)
        return evolve(base, tables=tables, definitions=facts)

    def _with_ledger(self, base: Observation) -> Observation:
        """And what the ledger holds. Where tables of it are gone nothing is known: only adopting goes on from there."""
        control, version = self._ledger.read_control()
        missing = ledger_tables(version) - {each.name for each in base.objects}
        if not missing:
            return self._ledger.read_into(base, control, version)
        if self._schema.adopt_from is not None:
            return evolve(base, control=control)
        raise LedgerLostError(
            f"schema {self._schema.name} has lost {', '.join(sorted(missing))} of its ledger; restore the warehouse, or "
            f"recover without a rebuild: aggmaint adopt {self._schema.org_id}"
        )

    def _objects(self) -> tuple[SchemaObject, ...]:
        rows = self._connection.run(
            "SELECT table_name, 'table', comment FROM duckdb_tables() "
            "WHERE database_name = current_database() AND schema_name = $schema UNION ALL "
            "SELECT view_name, 'view', comment FROM duckdb_views() "
            "WHERE database_name = current_database() AND schema_name = $schema ORDER BY 1",
            {"schema": self._schema.name},
        )
        return tuple(SchemaObject(name, ObjectKind(kind), self._tag(comment)) for name, kind, comment in rows)

    def _tag(self, comment: str | None) -> Tag | None:
        """A tag of the installation that is being taken over counts as ours."""
        tag = parse_tag(comment)
        if tag is not None and tag.installation == self._schema.adopt_from:
            return evolve(tag, installation=self._schema.installation)
        return tag

    def _tables(
        self,
        definitions: Sequence[AggregateDefinition],
        instances: Sequence[InstanceRecord],
        unreadable: Mapping[str, str],
        tick: Tick,
    ) -> dict[str, TableFacts]:
        """Facts of every active instance's table. Contents are read where the columns are those that were built."""
        active = [each for each in instances if each.status is InstanceStatus.ACTIVE]
        if not active:
            return {}
        columns = self._columns_of_tables()
        by_id = {each.id: each for each in definitions}
        facts = {}
        for instance in active:
            found = columns.get(instance.table_name.casefold())
            contents: tuple[PartitionContent, ...] = ()
            definition = by_id.get(instance.definition_id)
            if definition is not None and found == instance.columns and instance.id not in unreadable:
                tick(instance.label)
                contents = self._contents(definition, instance)
            facts[instance.id] = TableFacts(found, unreadable.get(instance.id), contents)
        return facts

    def _tables_unknown(self, base: Observation) -> dict[str, TableFacts]:
        """The columns of tables that carry our tag, but that the ledger does not name."""
        known = {each.id for each in base.instances}
        unknown = {
            each.name: each.tag.instance_id
            for each in base.objects
            if each.kind is ObjectKind.TABLE
            and each.tag is not None
            and each.tag.installation == base.installation
            and each.tag.instance_id not in known
        }
        if not unknown:
            return {}
        columns = self._columns_of_tables()
        return {instance_id: TableFacts(columns.get(name.casefold())) for name, instance_id in unknown.items()}

    def _columns_of_tables(self) -> dict[str, tuple[Column, ...]]:
        columns: dict[str, list[Column]] = {}
        for table, name, kind in self._connection.run(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = current_database() "
            "AND schema_name = $schema ORDER BY table_name, column_index",
            {"schema": self._schema.name},
        ):
            columns.setdefault(str(table).casefold(), []).append(Column(name, kind))
        return {table: tuple(listed) for table, listed in columns.items()}

    def _contents(self, definition: AggregateDefinition, instance: InstanceRecord) -> tuple[PartitionContent, ...]:
        if not serves(instance, definition, instance.columns):
            return self._probe(instance)
        try:
            return self.contents_of(definition, self._ledger.table(instance.table_name))
        except WarehouseQueryError as problem:
            raise BrokenQueryError(problem, instance_id=instance.id) from problem

    def _probe(self, instance: InstanceRecord) -> tuple[PartitionContent, ...]:
        """Of a table whose definition has changed since, only that it can be read."""
        try:
            self._connection.run(f"SELECT * FROM {self._ledger.table(instance.table_name)} LIMIT 1")
        except WarehouseQueryError as problem:
            raise BrokenQueryError(problem, instance_id=instance.id) from problem
        return ()

    def contents_of(self, definition: AggregateDefinition, table: str) -> tuple[PartitionContent, ...]:
        """What a physical or staged table holds per period. `table` is a quoted reference."""
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
        self,
        definitions: Sequence[AggregateDefinition],
        instances: tuple[InstanceRecord, ...],
        tables: Mapping[str, TableFacts],
        broken: Mapping[str, str],
        tick: Tick,
    ) -> dict[str, DefinitionFacts]:
        facts: dict[str, DefinitionFacts] = {}
        comparable: dict[str, tuple[AggregateDefinition, InstanceRecord]] = {}
        for definition in definitions:
            bound = self.bound.get(definition.id, Bound())
            failure = bound.failure
            if definition.id in broken:
                words = f"aggregate {definition.label!r}: {broken[definition.id]}"
                failure = Failure(FailureKind.QUERY, words)
            facts[definition.id] = DefinitionFacts(bound.columns, failure=failure)
            instance = active_instance(definition.id, instances)
            if failure is None and instance is not None and serves(instance, definition, bound.columns):
                found = tables.get(instance.id, TableFacts())
                if found.columns == instance.columns and found.unreadable is None:
                    comparable[definition.id] = (definition, instance)
        self.note_files([definition for definition, _ in comparable.values()])
        requests = [request for each in comparable for request in self.bound[each].requests]
        answers = self.scan(requests, tick)
        for definition, instance in comparable.values():
            facts[definition.id] = self._compared(definition, instance, answers, tick)
        return facts

    def scan(self, requests: Sequence[TokenRequest], tick: Tick) -> dict[tuple[str, str], list[tuple[Period, str]]]:
        """All tokens asked for, with one scan per source. Raises BrokenQueryError."""
        answers: dict[tuple[str, str], list[tuple[Period, str]]] = {}
        for scan in plan_scans(requests, DIALECT):
            tick(scan.requests[0].source.label)
            try:
                rows = self._connection.run(scan.sql, dict(scan.parameters))
            except WarehouseQueryError as problem:
                raise BrokenQueryError(problem, scan=scan) from problem
            answers.update(read_scan(scan, rows, self._engine))
        return answers

    def _culprits(self, scan: Scan, problem: WarehouseQueryError) -> dict[str, str]:
        """Which definitions of a scan that broke off break it alone; if none does, all."""
        found = {}
        ids = dict.fromkeys(each.definition_id for each in scan.requests)
        for definition_id in ids:
            for alone in plan_scans([each for each in scan.requests if each.definition_id == definition_id], DIALECT):
                try:
                    self._connection.run(alone.sql, dict(alone.parameters))
                except WarehouseQueryError as own:
                    found[definition_id] = broke_off(own)
        return found or dict.fromkeys(ids, broke_off(problem))

    def _compared(
        self,
        definition: AggregateDefinition,
        instance: InstanceRecord,
        answers: Mapping[tuple[str, str], list[tuple[Period, str]]],
        tick: Tick,
    ) -> DefinitionFacts:
        bound = self.bound[definition.id]
        tokens = self.source_tokens(definition, answers)
        periods: list[tuple[Period, str]] | None = answers.get((definition.id, ""))
        if definition.joins and source_moved(instance, tokens):
            tick(definition.label)
            try:
                periods = self.level_two(definition)
            except WarehouseQueryError as problem:
                raise BrokenQueryError(problem, definition_id=definition.id) from problem
        return DefinitionFacts(bound.columns, tokens, None if periods is None else tuple(periods))

    def source_tokens(
        self, definition: AggregateDefinition, answers: Mapping[tuple[str, str], list[tuple[Period, str]]]
    ) -> tuple[tuple[str, str], ...]:
        """(source key, token) of joined and depended-on sources, sorted by key."""
        keys = {each.source_key for each in self.bound[definition.id].requests if each.source_key}
        return tuple((key, answers[definition.id, key][0][1]) for key in sorted(keys))

    def has_float_sums(self, definition: AggregateDefinition) -> bool:
        return bool(float_sums(definition, self.bound[definition.id].columns, DIALECT))

    def level_two(self, definition: AggregateDefinition) -> list[tuple[Period, str]]:
        """The tokens per period of a definition with joins, computed from the joined rows."""
        joined_rows = self.has_float_sums(definition)
        kind = TokenKind.JOINED if joined_rows else TokenKind.CONTENT
        sql = level_two_sql(definition, joined_rows=joined_rows, dialect=DIALECT)
        rows = self._connection.run(sql, bound_parameters(definition))
        return [(each.period, each.content) for each in read_contents(definition, rows, kind, self._engine, DIALECT)]


def _paths(definition: AggregateDefinition) -> list[str]:
    sources = (*definition.sources, *definition.dependencies)
    return list(dict.fromkeys(each.file for each in sources if each.file is not None))
