"""A warehouse in this process's memory, for users' tests: sources are plain Python rows, nothing else is needed.

    warehouse = MemoryWarehouse({"sales": [{"day": date(2024, 1, 31), "amount": Decimal("9.50")}]})
    maintenance = AggregateMaintenance(definitions={"acme": [...]}, warehouse_for=lambda org_id: warehouse)
    ...
    assert warehouse.read("acme", "sales__by_month") == [{"month": date(2024, 1, 1), "revenue": Decimal("9.50")}]

Theory of operation
-------------------
The same port, and the same promises, as a real warehouse: claim, guard, all or nothing, snapshots (proved by the same
kit). One lock makes transactions; a transaction works on a copy of the schema's state, which takes its place at the end.
Expressions of definitions are evaluated in Python, in a subset (`_memory_evaluate.py`); what is not in it is refused, by
name. Text of expressions is DuckDB's dialect, so a definition that works here works there; it needs sqlglot
(`pip install 'aggmaint[duckdb]'`), but not DuckDB.

Base tables are the host's: `warehouse.tables["sales"]` is a list of dicts that may be changed between runs, and
`replace` changes several at once for readers in other threads.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Any

from ..aggregates.naming import LEDGER_TABLES, schema_name
from ..aggregates.observation import Column, ObjectKind, SchemaObject
from ..errors import WarehouseUnavailableError
from ..warehouse import Capabilities, ManagedSchema
from ._memory_compute import ENGINE, Row, Table, shown
from ._memory_evaluate import DIALECT
from ._memory_schema import SchemaState, Thing
from ._memory_session import MemorySession

BaseRow = dict[str, Any]


def _nothing(_what: str) -> None:
    return None


class MemoryWarehouse:
    """A Warehouse over Python rows. May be used by many threads; each session by one.

    tables      base tables: name -> rows. A row is a dict; a column that it lacks is NULL.
    columns     names of columns of tables that may be empty: name -> columns. Others are learned from rows.
    on_step     called between the parts of each verb with a word about it. May raise, as a statement may fail.

    `available = False` makes every `open` raise WarehouseUnavailableError.
    """

    def __init__(
        self,
        tables: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
        *,
        columns: Mapping[str, Sequence[str]] | None = None,
        on_step: Callable[[str], None] | None = None,
    ) -> None:
        self.tables: dict[str, list[BaseRow]] = {}
        self.available = True
        self.on_step: Callable[[str], None] = on_step or _nothing
        self.lock = Lock()
        self.schemas: dict[str, SchemaState] = {}
        self._columns: dict[str, dict[str, str]] = {}
        self.replace(tables or {})
        for name, listed in (columns or {}).items():
            self.declare(name, listed)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(dialect=DIALECT, engine=ENGINE, snapshot_reads=True, interrupts=True, exact_decimals=True)

    def open(
        self,
        schema: ManagedSchema,
        *,
        create: bool | None = None,  # noqa: ARG002 - the port's
        read_only: bool = False,
    ) -> MemorySession:
        """See the port. There is nothing to create."""
        if not self.available:
            raise WarehouseUnavailableError("the memory warehouse was told to be away (available = False)")
        return MemorySession(self, schema, read_only=read_only)

    # -- the host's side -----------------------------------------------------------------------------------------------

    def declare(self, table: str, columns: Iterable[str]) -> None:
        """Tell the columns of a table that may be empty; makes an empty one if there is none."""
        with self.lock:
            self.tables.setdefault(table, [])
            self._learn(table, columns)

    def replace(self, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
        """Give these tables other rows, all at once."""
        with self.lock:
            for name, rows in tables.items():
                self.tables[name] = [dict(row) for row in rows]
                for row in self.tables[name]:
                    self._learn(name, row)

    def read(self, org_id: str, name: str, *, schema: str | None = None) -> list[BaseRow]:
        """The rows of a view (`<cube>__<name>`) or table of the organisation's managed schema. Raises LookupError."""
        with self.lock:
            state = self.schemas.get(schema or schema_name(org_id), SchemaState())
            thing = state.thing(name)
            if thing is not None and thing.kind is ObjectKind.VIEW and thing.over is not None:
                over = state.thing(thing.over)
                if over is None or thing.definition is None:
                    raise LookupError(f"view {name!r} reads {thing.over!r}, which is not there")
                return shown(thing.definition, over.rows)
        if thing is None:
            raise LookupError(f"there is no view or table {name!r}; there are {sorted(state.things)}")
        names = [column.name for column in thing.columns]
        return [dict(zip(names, row, strict=True)) for row in thing.rows]

    def put_object(self, schema: str, name: str, rows: Sequence[Mapping[str, Any]], *, view: bool = False) -> None:
        """As somebody else would: make a table (or a view, a picture of one) in a managed schema, past aggmaint."""
        columns = tuple(Column(each, "ANY") for each in (rows[0] if rows else {}))
        values: tuple[Row, ...] = tuple(tuple(row[each.name] for each in columns) for row in rows)
        kind = ObjectKind.VIEW if view else ObjectKind.TABLE
        with self.lock:
            self.schemas.setdefault(schema, SchemaState()).put(Thing(name, kind, None, columns, values))

    def drop_object(self, schema: str, name: str) -> None:
        """As somebody else would: drop a table or view, past aggmaint. With a table of the ledger, all of it is gone."""
        with self.lock:
            if name in LEDGER_TABLES:
                self.schemas[schema] = SchemaState(things=self.schemas[schema].things)
            self.schemas[schema].things.pop(name.casefold(), None)

    def objects(self, schema: str) -> tuple[SchemaObject, ...]:
        """What is in a schema, the ledger's tables included, by name."""
        with self.lock:
            return objects_of(self.schemas.get(schema, SchemaState()))

    # -- for sessions ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Table]:
        """All base tables as they are now."""
        with self.lock:
            for name, rows in self.tables.items():
                for row in rows:
                    self._learn(name, row)
            return {
                name.casefold(): Table(
                    tuple(self._columns.get(name, {}).values()), tuple(self._whole(name, row) for row in rows)
                )
                for name, rows in self.tables.items()
            }

    def _learn(self, table: str, columns: Iterable[str]) -> None:
        known = self._columns.setdefault(table, {})
        for column in columns:
            known.setdefault(column.casefold(), column)

    def _whole(self, table: str, row: Mapping[str, Any]) -> dict[str, Any]:
        folded = {name.casefold(): value for name, value in row.items()}
        return {name: folded.get(name) for name in self._columns[table]}


def objects_of(state: SchemaState) -> tuple[SchemaObject, ...]:
    ledger = LEDGER_TABLES if state.control is not None else ()
    found = [SchemaObject(name, ObjectKind.TABLE) for name in ledger]
    found += [SchemaObject(each.name, each.kind, each.tag) for each in state.things.values()]
    return tuple(sorted(found, key=lambda each: each.name))
