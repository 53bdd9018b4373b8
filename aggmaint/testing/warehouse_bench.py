"""What `WarehouseSuite` needs beside a warehouse: base tables to change, readers, and somebody else's hands.

`SqlBench` is one for any warehouse that speaks SQL: give it a function that runs a statement on a connection of the
test's own. `MemoryBench` is the one of MemoryWarehouse.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Protocol

from ..aggregates.dialects import dialect_of
from ..warehouse import Warehouse
from ..warehouses.memory import MemoryWarehouse

BaseRow = Mapping[str, Any]

BREAKING = "CAST(code AS INTEGER)"
SALES, SHOPS = "kit_sales", "kit_shops"
COLUMNS: Mapping[str, Mapping[str, str]] = {
    SALES: {
        "day": "DATE",
        "sold_at": "TIMESTAMP",
        "shop": "VARCHAR",
        "amount": "DECIMAL(12, 2)",
        "qty": "INTEGER",
        "code": "VARCHAR",
    },
    SHOPS: {"shop": "VARCHAR", "region": "VARCHAR"},
}
"""The base tables of the kit, and their columns' types in standard SQL."""


class WarehouseBench(Protocol):
    """A warehouse on a bench. Everything but `warehouse` is done past it, as its host, a reader or a stranger would."""

    warehouse: Warehouse

    breaking: str
    """An expression over the text `code` that breaks off when it is no number, in the warehouse's dialect."""

    def put(self, table: str, rows: Sequence[BaseRow]) -> None:
        """Give a base table (see COLUMNS) exactly these rows, in one transaction, in this order."""

    def read(self, schema: str, name: str) -> list[dict[str, Any]]:
        """All rows of a table or view, as a reader sees them now. Raises LookupError if there is none. Any thread."""

    def plant(self, schema: str, name: str, rows: Sequence[BaseRow], *, view: bool = False) -> None:
        """Somebody else makes a table, or a view that shows such rows, in a managed schema (which may not be there yet)."""

    def drop(self, schema: str, name: str) -> None:
        """Somebody else drops a table or view."""

    def names(self, schema: str) -> set[str]:
        """The tables and views that are in a schema; empty if there is no such schema."""

    def watch(self, before: Callable[[str], None] | None) -> bool:
        """Call this before each statement of the warehouse's own (None: no more). It may raise. False: can not be done."""

    def close(self) -> None: ...


class MemoryBench:
    """MemoryWarehouse on a bench."""

    breaking = BREAKING

    def __init__(self, warehouse: MemoryWarehouse | None = None) -> None:
        self.memory = warehouse or MemoryWarehouse()
        self.warehouse: Warehouse = self.memory
        for table, columns in COLUMNS.items():
            self.memory.declare(table, columns)

    def put(self, table: str, rows: Sequence[BaseRow]) -> None:
        self.memory.replace({table: rows})

    def read(self, schema: str, name: str) -> list[dict[str, Any]]:
        return self.memory.read("", name, schema=schema)

    def plant(self, schema: str, name: str, rows: Sequence[BaseRow], *, view: bool = False) -> None:
        self.memory.put_object(schema, name, rows, view=view)

    def drop(self, schema: str, name: str) -> None:
        self.memory.drop_object(schema, name)

    def names(self, schema: str) -> set[str]:
        return {each.name for each in self.memory.objects(schema)}

    def watch(self, before: Callable[[str], None] | None) -> bool:
        self.memory.on_step = before or (lambda _what: None)
        return True

    def close(self) -> None:
        return


Run = Callable[[str], tuple[Sequence[str], Sequence[Sequence[Any]]]]
"""Runs one statement on a connection of the test's own; (column names, rows), both empty for one without an answer.

Must be safe to call from several threads. Raises whatever it likes when the statement is refused.
"""


class SqlBench:
    """A warehouse that speaks SQL on a bench.

    run      see Run. The bench runs BEGIN TRANSACTION and COMMIT with it.
    watching sets the function that the warehouse calls before each of its statements; None if it has no such thing.
    closing  called at the end.

    An engine without CREATE SCHEMA or information_schema overrides `make_schema` and `kinds`; one whose casts never fail,
    `breaking`.
    """

    breaking = BREAKING

    def __init__(
        self,
        warehouse: Warehouse,
        run: Run,
        *,
        watching: Callable[[Callable[[str], None]], None] | None = None,
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        self.warehouse = warehouse
        self._run = run
        self._watching = watching
        self._closing = closing
        self._dialect = dialect_of(warehouse.capabilities.dialect)
        for table, columns in COLUMNS.items():
            listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            run(f"CREATE TABLE {table} ({listed})")

    def make_schema(self, schema: str) -> None:
        """Make a schema if there is none."""
        self._run(f"CREATE SCHEMA IF NOT EXISTS {self._dialect.quote(schema)}")

    def kinds(self, schema: str) -> dict[str, str]:
        """TABLE or VIEW, by the name of what is in a schema."""
        sql = (
            f"SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = {self._literal(schema)}"
        )
        return {str(name): "VIEW" if kind == "VIEW" else "TABLE" for name, kind in self._run(sql)[1]}

    def _reference(self, schema: str, name: str) -> str:
        return f"{self._dialect.quote(schema)}.{self._dialect.quote(name)}"

    def put(self, table: str, rows: Sequence[BaseRow]) -> None:
        self._run("BEGIN TRANSACTION")
        self._run(f"DELETE FROM {table}")
        if rows:
            listed = ", ".join(
                f"({', '.join(self._literal(row.get(name)) for name in COLUMNS[table])})" for row in rows
            )
            self._run(f"INSERT INTO {table} ({', '.join(COLUMNS[table])}) VALUES {listed}")
        self._run("COMMIT")

    def read(self, schema: str, name: str) -> list[dict[str, Any]]:
        if name not in self.names(schema):
            raise LookupError(f"{schema} has no {name}")
        names, rows = self._run(f"SELECT * FROM {self._reference(schema, name)}")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def plant(self, schema: str, name: str, rows: Sequence[BaseRow], *, view: bool = False) -> None:
        self.make_schema(schema)
        selects = (
            "SELECT " + ", ".join(f"{self._literal(value)} AS {self._dialect.quote(key)}" for key, value in row.items())
            for row in rows
        )
        self._run(
            f"CREATE {'VIEW' if view else 'TABLE'} {self._reference(schema, name)} AS {' UNION ALL '.join(selects)}"
        )

    def drop(self, schema: str, name: str) -> None:
        kind = self.kinds(schema).get(name)
        if kind is not None:
            self._run(f"DROP {kind} {self._reference(schema, name)}")

    def names(self, schema: str) -> set[str]:
        return set(self.kinds(schema))

    def watch(self, before: Callable[[str], None] | None) -> bool:
        if self._watching is not None:
            self._watching(before or (lambda _sql: None))
        return self._watching is not None

    def close(self) -> None:
        with suppress(Exception):
            self._closing()

    def _literal(self, value: Any) -> str:
        match value:
            case None:
                return "NULL"
            case bool():
                return str(value).upper()
            case int() | Decimal():
                return str(value)
            case datetime.datetime():
                return self._dialect.text(value.isoformat(sep=" "))
            case datetime.date():
                return self._dialect.date(value.isoformat())
        return self._dialect.text(str(value))
