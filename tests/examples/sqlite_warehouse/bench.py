"""The SQLite warehouse on a bench, for the kit: base tables to change, readers, and somebody else's hands."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import local
from typing import Any

from aggmaint.testing.warehouse_bench import SqlBench

from .warehouse import SQLiteWarehouse


class SQLiteBench(SqlBench):
    """Readers and strangers have connections of their own, one for each thread, with the schemas' files attached."""

    breaking = "json(code)"  # casts never fail in SQLite

    def __init__(self, location: str) -> None:
        self._place = Path(location)
        self._threads = local()
        watcher: list[Callable[[str], None]] = [lambda _sql: None]

        def watching(before: Callable[[str], None]) -> None:
            watcher[0] = before

        def watched(sql: str) -> None:
            watcher[0](sql)

        warehouse = SQLiteWarehouse(self._place / "kit.sqlite", create=True, busy_s=0.2, on_statement=watched)
        super().__init__(warehouse, self.run, watching=watching)

    def run(self, sql: str) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        cursor = self._connection().execute(sql)
        return [each[0] for each in cursor.description or ()], cursor.fetchall()

    def make_schema(self, schema: str) -> None:
        sqlite3.connect(self._file(schema)).close()
        self._attached(schema)

    def kinds(self, schema: str) -> dict[str, str]:
        if not self._attached(schema):
            return {}
        listed = f"SELECT name, upper(type) FROM \"{schema}\".sqlite_master WHERE type IN ('table', 'view')"
        return dict(self._connection().execute(listed).fetchall())

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._threads, "own"):
            self._threads.own = sqlite3.connect(self._place / "kit.sqlite", isolation_level=None, timeout=10)
            self._threads.own.execute("PRAGMA journal_mode = WAL")
        own: sqlite3.Connection = self._threads.own
        return own

    def _attached(self, schema: str) -> bool:
        known = {row[1] for row in self._connection().execute("PRAGMA database_list")}
        if schema not in known and self._file(schema).exists():
            self._connection().execute(f'ATTACH ? AS "{schema}"', [str(self._file(schema))])
        return self._file(schema).exists()

    def _file(self, schema: str) -> Path:
        return self._place / f"{schema}.sqlite"
