"""A managed schema in memory: its books, its tables and views, and the hands that a publication needs.

Theory of operation
-------------------
A `SchemaState` holds everything of one schema. Values in it are frozen, and a transaction works on a copy of its
dictionaries that takes the place of the old state only at its end; so a writer that fails, at whatever point, has written
nothing, and readers see the old state or the new one. What a publication may do is `bookkeeping.py`'s to say.
"""

from collections.abc import Mapping

from attrs import define, evolve, field, frozen

from ..aggregates.decisions import AdoptStep
from ..aggregates.model import AggregateDefinition
from ..aggregates.naming import Tag
from ..aggregates.observation import Column, ObjectKind, SchemaObject
from ..warehouse import Refresh
from ._memory_adopt import proof_of
from ._memory_compute import Computation, Row, Tables
from .bookkeeping import Books
from .proving import Proof


@frozen
class Thing:
    """A table or a view. A view shows the rows of the table `over`, as its `definition` says; a stranger's is a table."""

    name: str
    kind: ObjectKind
    tag: Tag | None = None
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    over: str | None = None
    definition: AggregateDefinition | None = None


@define
class SchemaState(Books):
    """One schema. `things` are by case-folded name."""

    things: dict[str, Thing] = field(factory=dict)

    def copy(self) -> "SchemaState":
        return SchemaState(self.control, dict(self.instances), dict(self.records), dict(self.things))

    def thing(self, name: str) -> Thing | None:
        return self.things.get(name.casefold())

    def put(self, thing: Thing) -> None:
        self.things[thing.name.casefold()] = thing


@frozen
class MemoryHands:
    """See Hands. `stages`: staged rows by handle."""

    draft: SchemaState
    tables: Tables
    stages: Mapping[str, tuple[Row, ...]]

    def object(self, name: str) -> SchemaObject | None:
        there = self.draft.thing(name)
        return None if there is None else SchemaObject(there.name, there.kind, there.tag)

    def replace(self, publication: Refresh) -> None:
        table = self.draft.things[publication.instance.table_name.casefold()]
        computation = Computation(publication.definition, self.tables)
        rows = [row for row in table.rows if computation.period(row) not in publication.replaced]
        if publication.staged is not None:
            rows.extend(self.stages[publication.staged.handle])
        self.draft.put(evolve(table, rows=tuple(rows)))

    def show(self, definition: AggregateDefinition, table_name: str, tag: Tag) -> None:
        self.draft.put(Thing(definition.view_name, ObjectKind.VIEW, tag, over=table_name, definition=definition))

    def drop(self, found: SchemaObject) -> None:
        del self.draft.things[found.name.casefold()]

    def untag(self, found: SchemaObject) -> None:
        self.draft.put(evolve(self.draft.things[found.name.casefold()], tag=None))

    def prove(self, step: AdoptStep) -> Proof:
        table = self.draft.things[step.instance.table_name.casefold()]
        return proof_of(step, table.columns, table.rows, self.tables)
