"""A managed schema's file: its objects and their tags, what a publication does to them, and the books."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import evolve, frozen

from aggmaint.aggregates.decisions import AdoptStep
from aggmaint.aggregates.life import DefinitionRecord
from aggmaint.aggregates.model import AggregateDefinition
from aggmaint.aggregates.naming import Tag, format_tag, parse_tag
from aggmaint.aggregates.observation import ControlState, InstanceRecord, ObjectKind, SchemaObject
from aggmaint.aggregates.periods import Period
from aggmaint.aggregates.sql import rows_of_periods_sql, view_sql
from aggmaint.warehouse import BuildRequest, ManagedSchema, Refresh
from aggmaint.warehouses.bookkeeping import Books
from aggmaint.warehouses.frozen_json import dumps, loads
from aggmaint.warehouses.proving import Proof
from aggmaint.warehouses.reading import SqlReading

from .connection import Connection

LEDGER: Final = "aggmaint_control"
KINDS: Final[Mapping[str, type]] = {"control": ControlState, "instance": InstanceRecord, "record": DefinitionRecord}
TAG: Final = re.compile(r"/\*(aggmaint:.*?)\*/", re.DOTALL)


@frozen
class SchemaFile:
    """The file of one schema, attached to a connection. See Hands; these run in the session's transactions."""

    connection: Connection
    schema: ManagedSchema
    reading: SqlReading

    @classmethod
    def of(cls, connection: Connection, schema: ManagedSchema) -> "SchemaFile":
        quote = connection.dialect.dialect.quote
        return cls(connection, schema, SqlReading(connection, lambda name: f"{quote(schema.name)}.{quote(name)}"))

    def objects(self) -> tuple[SchemaObject, ...]:
        master = self.reading.reference("sqlite_master")
        rows = self.connection.run(
            f"SELECT name, type, sql FROM {master} WHERE type IN ('table', 'view') ORDER BY name"
        )
        return tuple(SchemaObject(name, ObjectKind(kind), self._tag(sql)) for name, kind, sql in rows)

    def _tag(self, sql: str) -> Tag | None:
        """The tag in the text of a CREATE statement. One of the installation that is being taken over counts as ours."""
        comment = TAG.search(sql)
        tag = None if comment is None else parse_tag(comment[1])
        taken_over = tag is not None and tag.installation == self.schema.adopt_from
        return evolve(tag, installation=self.schema.installation) if tag is not None and taken_over else tag

    def create(self, request: BuildRequest) -> None:
        """Make the table of an instance, with its rows; in place of one that a build of the same instance has left."""
        there = self.object(request.table_name)
        if there is not None and there.tag is not None and there.tag.instance_id == request.instance_id:
            self.drop(there)
        definition = request.definition
        tag = Tag(self.schema.installation, definition.id, request.instance_id)
        self.fill(self.reading.reference(request.table_name), definition, None, comment=_comment(tag, definition.label))

    def fill(
        self, table: str, definition: AggregateDefinition, periods: Sequence[Period] | None, *, comment: str = ""
    ) -> None:
        """Make a table of columns without types, so that every value stays what it is, and compute rows into it."""
        sql, parameters = self.reading.select(definition, periods), self.reading.parameters(definition)
        names = [self._quote(each.name) for each in self.connection.columns(sql, parameters)]
        self.connection.run(f"CREATE TABLE {table} {comment} ({', '.join(names)})")
        self.connection.run(f"INSERT INTO {table} {sql}", parameters)

    def take_over(self) -> None:
        """Write the tags of the installation that is being taken over as ours."""
        for each in self.objects():
            if each.tag is not None:
                self._retag(each, _comment(each.tag, "taken over"))

    def _retag(self, found: SchemaObject, comment: str) -> None:
        """Make an object again, with another comment."""
        master, name = self.reading.reference("sqlite_master"), self.reading.reference(found.name)
        ((sql,),) = self.connection.run(f"SELECT sql FROM {master} WHERE name = :name", {"name": found.name})
        sql = TAG.sub(lambda _match: comment, sql, count=1)
        sql = sql.replace(f"CREATE {found.kind.value.upper()} ", f"CREATE {found.kind.value.upper()} {self._place}.", 1)
        if found.kind is ObjectKind.VIEW:
            self.connection.run(f"DROP VIEW {name}")
            self.connection.run(sql)
            return
        self.connection.run(f"ALTER TABLE {name} RENAME TO aggmaint_moved")
        self.connection.run(sql)
        self.connection.run(f"INSERT INTO {name} SELECT * FROM {self._place}.aggmaint_moved")
        self.connection.run(f"DROP TABLE {self._place}.aggmaint_moved")

    # -- hands ----------------------------------------------------------------------------------------------------------

    def object(self, name: str) -> SchemaObject | None:
        return next((each for each in self.objects() if each.name.casefold() == name.casefold()), None)

    def replace(self, publication: Refresh) -> None:
        table, partition = self.reading.reference(publication.instance.table_name), publication.definition.partition
        where = rows_of_periods_sql(publication.replaced, partition, self.connection.dialect)
        if publication.replaced:
            self.connection.run(f"DELETE FROM {table} WHERE {where}")
        if publication.staged is not None:
            self.connection.run(f"INSERT INTO {table} SELECT * FROM {publication.staged.handle}")
            self.connection.run(f"DROP TABLE {publication.staged.handle}")

    def show(self, definition: AggregateDefinition, table_name: str, tag: Tag) -> None:
        select = view_sql(definition, self._quote(table_name), self.connection.dialect)
        view = self.reading.reference(definition.view_name)
        self.connection.run(f"DROP VIEW IF EXISTS {view}")
        self.connection.run(f"CREATE VIEW {view} {_comment(tag, definition.label)} AS {select}")

    def drop(self, found: SchemaObject) -> None:
        self.connection.run(f"DROP {found.kind.value.upper()} {self.reading.reference(found.name)}")

    def untag(self, found: SchemaObject) -> None:
        self._retag(found, "")

    def prove(self, step: AdoptStep) -> Proof:
        return self.reading.prove(step)

    # -- the books ------------------------------------------------------------------------------------------------------

    def read(self) -> Books:
        if self.object(LEDGER) is None:
            return Books()
        rows = self.connection.run(f"SELECT kind, id, body FROM {self.reading.reference(LEDGER)}")
        found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        for kind, identity, body in rows:
            found[kind][identity] = loads(KINDS[kind], body)
        return Books(found["control"].get(""), found["instance"], found["record"])

    def lock(self) -> None:
        """The first statement of a writing transaction: takes the write lock of the schema's file."""
        ledger = self.reading.reference(LEDGER)
        self.connection.run(f"CREATE TABLE IF NOT EXISTS {ledger} (kind, id, body, PRIMARY KEY (kind, id))")
        self.connection.run(f"UPDATE {ledger} SET body = body")

    def write(self, before: Books, after: Books) -> None:
        """Write the rows that are others now."""
        ledger, old, new = self.reading.reference(LEDGER), _rows(before), _rows(after)
        for kind, identity in old.keys() - new.keys():
            gone = {"kind": kind, "id": identity}
            self.connection.run(f"DELETE FROM {ledger} WHERE (kind, id) = (:kind, :id)", gone)
        for (kind, identity), value in new.items():
            if old.get((kind, identity)) != value:
                row = {"kind": kind, "id": identity, "body": dumps(value)}
                self.connection.run(f"INSERT OR REPLACE INTO {ledger} VALUES (:kind, :id, :body)", row)

    @property
    def _place(self) -> str:
        return self._quote(self.schema.name)

    def _quote(self, name: str) -> str:
        return self.connection.dialect.dialect.quote(name)


def _comment(tag: Tag, words: str) -> str:
    """The tag as a comment of SQL. Nothing in it ends the comment: JSON may write a slash with a backslash."""
    text = format_tag(tag, words).replace("*/", r"*\/")
    return f"/*{text}*/"


def _rows(books: Books) -> dict[tuple[str, str], Any]:
    control = {} if books.control is None else {"": books.control}
    listed: dict[str, Mapping[str, Any]] = {"control": control, "instance": books.instances, "record": books.records}
    return {(kind, identity): value for kind, found in listed.items() for identity, value in found.items()}
