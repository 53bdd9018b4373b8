"""A tap on DuckDB: stands where the host's connection stands, sees each statement before and after it runs, and may fail.

What the warehouse does to its database goes through `Cursor.execute`; so a test that raises there has every point at which
a process can die, a connection can break, or an acknowledgement can be lost.
"""

from collections.abc import Callable
from typing import Any

import duckdb

Hook = Callable[[str], None]


def nothing(_sql: str) -> None:
    return None


class CrashError(BaseException):
    """The process is dead. Not an Exception: no handler of ours may catch it."""


class Tap:
    """A DuckDB connection whose cursors call `before` and `after` with each statement."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.before: Hook = nothing
        self.after: Hook = nothing
        self.dead = False
        self.cursors: list[Cursor] = []

    def cursor(self) -> "Cursor":
        cursor = Cursor(self, self.connection.cursor())
        self.cursors.append(cursor)
        return cursor

    def close(self) -> None:
        """The end of the process: whatever is open is gone."""
        self.dead = True
        for cursor in self.cursors:
            cursor.real.close()
        self.connection.close()


class Cursor:
    """A cursor of a Tap."""

    def __init__(self, tap: Tap, real: duckdb.DuckDBPyConnection) -> None:
        self.tap, self.real = tap, real

    def execute(self, sql: str, parameters: Any = None) -> "Cursor":
        if self.tap.dead:
            raise CrashError
        self.tap.before(sql)
        if parameters is None:
            self.real.execute(sql)
        else:
            self.real.execute(sql, parameters)
        self.tap.after(sql)
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)
