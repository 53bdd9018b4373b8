"""One connection: statements, interruptions, and the one place where SQLite's errors are translated."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from aggmaint.aggregates.dialects import DialectName
from aggmaint.aggregates.observation import Column
from aggmaint.errors import (
    WarehouseError,
    WarehouseInterruptedError,
    WarehouseQueryError,
    WarehouseUnavailableError,
)

from .dialect import HashSum, Last, SQLiteDialect, day_in, row_hash

UNREACHABLE: Final = ("SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_NOTADB")


class Connection:
    """See Statements. `before` is called with each statement before it runs."""

    dialect: Final = DialectName(SQLiteDialect())
    engine: Final = "sqlite3"

    def __init__(self, target: str, busy_s: float, before: Callable[[str], None]) -> None:
        self.raw = sqlite3.connect(target, timeout=busy_s, isolation_level=None, check_same_thread=False)
        self.interrupting = False
        self._before = before
        self.raw.create_function("aggmaint_hash", -1, row_hash, deterministic=True)
        self.raw.create_function("aggmaint_day", 2, day_in, deterministic=True)
        self.raw.create_aggregate("aggmaint_sum", 1, cast(Any, HashSum))
        self.raw.create_aggregate("aggmaint_last", 2, cast(Any, Last))
        self.raw.set_progress_handler(lambda: self.interrupting, 10_000)
        self.raw.execute("PRAGMA legacy_alter_table = ON")  # renaming a table leaves the views over its name alone

    def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return self._run(sql, parameters)[1]

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> tuple[Column, ...]:
        described, _ = self._run(f"SELECT * FROM ({sql}) LIMIT 0", parameters)
        return tuple(Column(each[0], "") for each in described)

    def _run(self, sql: str, parameters: Mapping[str, Any] | None) -> tuple[Sequence[Any], list[tuple[Any, ...]]]:
        self._before(sql)
        if self.interrupting:
            self.interrupting = False
            raise WarehouseInterruptedError
        try:
            cursor = self.raw.execute(sql, dict(parameters or {}))
            return cursor.description or (), cursor.fetchall()
        except sqlite3.Error as problem:
            raise self._translated(problem) from problem

    def _translated(self, problem: sqlite3.Error) -> WarehouseError:
        name = getattr(problem, "sqlite_errorname", "")
        if name == "SQLITE_INTERRUPT":
            self.interrupting = False
            return WarehouseInterruptedError()
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return WarehouseUnavailableError(f"another writer holds the schema's file ({problem}); try again later")
        if name.startswith(UNREACHABLE):
            return WarehouseUnavailableError(f"the file can not be used ({problem}); check path, rights and disk")
        return WarehouseQueryError(str(problem))
