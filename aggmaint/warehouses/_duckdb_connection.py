"""One DuckDB connection of one session: statements, transactions, and the one place where DuckDB's errors are translated.

DuckDB aborts a transaction at *any* error, a misspelt name included; so whatever may fail for reasons of one definition
is tried outside of transactions first. Conflicts are raised at once, never waited for: they become `ConflictError`, which
only the session sees, and retries.

**Interrupting** comes from another thread. DuckDB forgets an interruption that arrives between two statements or just as one
begins; so `interrupt` leaves a note that the next statement obeys, and insists, in a thread of its own, until the one that
runs has ended. Whoever meets the interruption takes the note off: what cleans up after it is not disturbed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any

from ..aggregates.observation import Column, FailureKind
from ..errors import (
    MissingExtraError,
    WarehouseBusyError,
    WarehouseError,
    WarehouseInterruptedError,
    WarehouseQueryError,
    WarehouseUnavailableError,
)

if TYPE_CHECKING:
    from types import ModuleType

    from duckdb import DuckDBPyConnection

Row = tuple[Any, ...]
MESSAGE_LENGTH_MAX = 300
INSIST_S = 0.02


class ConflictError(WarehouseError):
    """Another transaction wrote the same row at the same time."""


def driver() -> "ModuleType":
    """The duckdb module. Raises MissingExtraError."""
    try:
        import duckdb
    except ImportError as problem:
        raise MissingExtraError("duckdb", "duckdb") from problem
    return duckdb


def translate(problem: Exception, path: str | None = None) -> WarehouseError:
    """DuckDB's error as one of ours. Raise it `from` the original."""
    duckdb = driver()
    text = shorten(problem)
    if isinstance(problem, duckdb.InterruptException):
        return WarehouseInterruptedError()
    if isinstance(problem, duckdb.TransactionException) and "onflict" in text:
        return ConflictError(text)
    if isinstance(problem, duckdb.FatalException | duckdb.InternalException):
        return WarehouseUnavailableError(f"DuckDB gave up ({text}); restart the process that holds the database")
    if isinstance(problem, duckdb.ConnectionException):
        return WarehouseUnavailableError(f"the connection to DuckDB can not be used ({text}); open it again")
    if isinstance(problem, duckdb.IOException) and "set lock on file" in text:
        holder = re.search(r"PID (\d+)", str(problem))
        pid = int(holder.group(1)) if holder else None
        who = f"process {pid}" if pid else "another process"
        return WarehouseBusyError(
            f"the warehouse file {path or ''} is held by {who}; wait until it ends, or stop it".replace("  ", " "),
            pid=pid,
        )
    return WarehouseQueryError(text)


def shorten(problem: Exception) -> str:
    """DuckDB's message without its picture of the statement, on one line."""
    text = " ".join(str(problem).split("\n\nLINE")[0].split())
    return text if len(text) <= MESSAGE_LENGTH_MAX else text[: MESSAGE_LENGTH_MAX - 3] + "..."


def failure_kind(problem: WarehouseQueryError) -> FailureKind:
    """Whose fault a refused statement is, by the error it was translated from."""
    duckdb = driver()
    cause = problem.__cause__
    if isinstance(cause, duckdb.CatalogException):
        missing = re.search(r"(Table|Schema|View|Catalog)\b.* does not exist", str(cause))
        return FailureKind.SOURCE if missing else FailureKind.DEFINITION
    if isinstance(cause, duckdb.BinderException | duckdb.ParserException | duckdb.NotImplementedException):
        return FailureKind.DEFINITION
    if isinstance(cause, duckdb.IOException | duckdb.HTTPException | duckdb.PermissionException):
        return FailureKind.SOURCE
    return FailureKind.QUERY


class Connection:
    """Statements on one cursor, which it owns. `before` is called with each statement before it runs."""

    def __init__(self, cursor: "DuckDBPyConnection", before: Callable[[str], None] | None = None) -> None:
        self._cursor = cursor
        self._before = before
        self.in_transaction = False
        self._turn = Condition()
        self._running = False
        self._interrupting = False

    def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Run one statement with exactly these parameters; its rows. Raises WarehouseError."""
        if self._before is not None:
            self._before(sql)
        duckdb = driver()
        self._enter()
        try:
            cursor = self._cursor.execute(sql, dict(parameters)) if parameters else self._cursor.execute(sql)
            return cursor.fetchall()
        except duckdb.InterruptException as problem:
            self._obeyed()
            raise translate(problem) from problem
        except duckdb.Error as problem:
            raise translate(problem) from problem
        finally:
            self._leave()

    # -- interrupting -------------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Break off the statement that runs, or else the next one. From any thread; does not wait."""
        with self._turn:
            self._interrupting = True
            if self._running:
                Thread(target=self._insist, name="aggmaint-interrupt", daemon=True).start()

    def _insist(self) -> None:
        with self._turn:
            while self._running and self._interrupting:
                self._cursor.interrupt()
                self._turn.wait(INSIST_S)

    def _enter(self) -> None:
        with self._turn:
            if not self._interrupting:
                self._running = True
                return
            self._interrupting = False
        raise WarehouseInterruptedError

    def _obeyed(self) -> None:
        with self._turn:
            self._interrupting = False

    def _leave(self) -> None:
        with self._turn:
            self._running = False
            self._turn.notify_all()

    # -- what follows from it -----------------------------------------------------------------------------------------

    def changed(self, sql: str, parameters: Mapping[str, Any]) -> int:
        """Run an UPDATE or DELETE; how many rows it changed."""
        return int(self.run(sql, parameters)[0][0])

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> tuple[Column, ...]:
        """The columns that a query would have; it is planned, not run."""
        return tuple(Column(str(row[0]), str(row[1])) for row in self.run(f"DESCRIBE {sql}", parameters))

    def begin(self) -> None:
        self.run("BEGIN TRANSACTION")
        self.in_transaction = True

    def commit(self) -> None:
        self.run("COMMIT")
        self.in_transaction = False

    def rollback(self) -> None:
        """End the transaction, if there is one. Idempotent; an error of it means that there is none any more."""
        self._obeyed()  # who rolls back has heard that the work must end
        if self.in_transaction:
            self.in_transaction = False
            try:
                self._cursor.execute("ROLLBACK")
            except driver().Error:
                return

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: commits at the end, rolls back at any exception, also one of the commit."""
        self.begin()
        try:
            yield
            self.commit()
        finally:
            self.rollback()

    def close(self) -> None:
        self.rollback()
        self._cursor.close()
