"""The warehouse: what it can, and where its files are."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aggmaint.errors import WarehouseUnavailableError
from aggmaint.warehouse import Capabilities, ManagedSchema

from .connection import Connection
from .session import SQLiteSession


class SQLiteWarehouse:
    """A Warehouse over an SQLite file, which the host keeps in WAL mode. May be used by many threads; each session by one.

    path          the host's database. The file of a schema lies beside it and has its name.
    create        make the database if it is not there.
    busy_s        how long a writer waits for another one.
    on_statement  called with each statement before it runs. May raise.
    """

    capabilities: Final = Capabilities(
        dialect=Connection.dialect, engine=Connection.engine, snapshot_reads=True, interrupts=True
    )

    def __init__(
        self,
        path: str | Path,
        *,
        create: bool = False,
        busy_s: float = 5.0,
        on_statement: Callable[[str], None] | None = None,
    ) -> None:
        self._path = Path(path)
        self._create = create
        self._busy_s = busy_s
        self._on_statement = on_statement or _nothing

    def open(self, schema: ManagedSchema, *, create: bool | None = None, read_only: bool = False) -> SQLiteSession:
        create, new = self._create if create is None else create, not self._path.exists()
        if new and not create:
            raise WarehouseUnavailableError(f"{self._path} does not exist; correct the path, or set create=True")
        target = ":memory:" if new and read_only else str(self._path)
        try:
            connection = Connection(target, self._busy_s, self._on_statement)
            asked = "PRAGMA main.journal_mode = WAL" if new else "PRAGMA main.journal_mode"
            ((mode,),) = connection.raw.execute(asked).fetchall()
        except sqlite3.Error as problem:
            raise WarehouseUnavailableError(f"{self._path} can not be opened: {problem}") from problem
        if mode not in ("wal", "memory"):
            connection.raw.close()
            raise WarehouseUnavailableError(f"{self._path} is in {mode} mode; set it once: PRAGMA journal_mode = WAL")
        return SQLiteSession(connection, schema, self._path.with_name(f"{schema.name}.sqlite"))


def _nothing(_sql: str) -> None:
    return None
