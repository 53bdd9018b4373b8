"""Connections, transactions and errors of the SQLite store.

Theory of operation. Each thread of each process has one connection, opened by us in autocommit, so that *we* say when a
transaction begins. Writes begin with BEGIN IMMEDIATE: a deferred transaction that reads first and writes later fails at
once under contention, whatever the timeout. SQLite's own busy handler starves some waiters for seconds; a short, random
wait of our own is fair (design/jobs.md, SQLite traps). After a fork the child forgets the parent's connections without
closing them: closing would drop the parent's locks. We never open the database file ourselves, for the same reason.

Errors are told apart by code: the busy family is retried until `patience_s` is over; what says that the file can not be
read or written is StoreUnavailableError; a failed COMMIT whose effect is not known is UnknownOutcomeError.
"""

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from ..errors import InvalidValueError, StoreError, StoreUnavailableError, UnknownOutcomeError
from ._group_commit import GroupCommit

T = TypeVar("T")

BUSY_CODES: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
REMEDIES: Final = {
    sqlite3.SQLITE_NOTADB: "is not an SQLite database (or it is damaged); restore it from a copy, or move it away",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore it from a copy (`sqlite3 FILE .recover` may save the history)",
    sqlite3.SQLITE_CANTOPEN: "can not be opened; check that its directory exists and that this user may write there",
    sqlite3.SQLITE_READONLY: "is read-only for this user; aggmaint writes there and beside it (-wal, -shm)",
    sqlite3.SQLITE_FULL: "can not grow: the disk (or the size limit) is full; make room, then try again",
    sqlite3.SQLITE_IOERR: "failed to read or write; check the disk",
    sqlite3.SQLITE_PERM: "may not be accessed by this user",
    sqlite3.SQLITE_AUTH: "may not be accessed by this user",
}
NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "fuse.sshfs"})

_inherited: list[sqlite3.Connection] = []  # a parent's connections, kept from being closed in its child


class Connections:
    """The connections of one store to one file, one for each thread of each process."""

    def __init__(self, path: Path, *, synchronous: str, patience_s: float) -> None:
        if str(path) == ":memory:" or "mode=memory" in str(path):
            raise InvalidValueError(f"SQLiteStore({str(path)!r}): for memory use aggmaint.stores.memory.MemoryStore")
        if synchronous not in ("FULL", "NORMAL", "EXTRA"):
            raise InvalidValueError(f"synchronous={synchronous!r} must be FULL, EXTRA or NORMAL")
        self.path = path
        self._synchronous = synchronous
        self._patience_s = patience_s
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._by_thread: dict[int, sqlite3.Connection] = {}
        self._closed = False
        self._group = GroupCommit(self.writing)

    def get(self) -> sqlite3.Connection:
        """This thread's connection, opened when first asked for."""
        if self._pid != os.getpid():
            self._forget_parent()
        connection = self._by_thread.get(threading.get_ident())
        if connection is None:
            connection = self._open()
            with self._lock:
                self._by_thread[threading.get_ident()] = connection
        return connection

    def close(self) -> None:
        with self._lock:
            self._closed = True
            connections = list(self._by_thread.values()) if self._pid == os.getpid() else []
            self._by_thread.clear()
        for connection in connections:
            connection.close()

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one statement or in autocommit; busy is retried, other failures are translated."""
        connection = self.get()
        with self._translated():
            return self._patient(lambda: work(connection))

    def read_together(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run several reads in one snapshot."""

        def in_snapshot(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                _rollback(connection)

        return self.read(in_snapshot)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in an IMMEDIATE transaction, shared with those who write at the same time. All or nothing of `work`."""
        if self._pid != os.getpid():
            self._forget_parent()
        with self._translated():
            return self._group.run(work)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One IMMEDIATE transaction around the block: committed at its end, rolled back if it raises."""
        connection = self.get()
        with self._translated():
            self._patient(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            yield connection
        except BaseException:
            _rollback(connection)
            raise
        with self._translated():
            self._commit(connection)

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except BaseException as exc:
            if not _rollback(connection) and isinstance(exc, sqlite3.Error):
                raise UnknownOutcomeError(f"{self.path}: it is not known whether the last change was kept") from exc
            raise

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailableError(f"the store on {self.path} was closed; make a new SQLiteStore")
        with self._translated():
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=0, check_same_thread=False)
            try:
                self._patient(lambda: self._configure(connection))
            except BaseException:
                connection.close()
                raise
        return connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StoreUnavailableError(
                f"{self.path}: SQLite can not use WAL here (it stays at {mode}); use a local disk"
            )
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA trusted_schema=OFF")

    def _forget_parent(self) -> None:
        _inherited.extend(self._by_thread.values())
        self._by_thread = {}
        self._lock = threading.Lock()
        self._group.after_fork()
        self._pid = os.getpid()

    def _patient(self, attempt: Callable[[], T]) -> T:
        give_up_at = time.monotonic() + self._patience_s
        wait_s = 0.001
        while True:
            try:
                return attempt()
            except sqlite3.OperationalError as exc:
                if _primary_code(exc) not in BUSY_CODES:
                    raise
                if time.monotonic() > give_up_at:
                    raise StoreUnavailableError(
                        f"{self.path} was locked by other writers for {self._patience_s:g} s; nothing was changed"
                    ) from exc
            time.sleep(random.uniform(0.2, 1.0) * wait_s)
            wait_s = min(wait_s * 1.6, 0.03)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The one place where sqlite3's exceptions become ours."""
        try:
            yield
        except sqlite3.Error as exc:
            code = _primary_code(exc)
            if code in REMEDIES:
                raise StoreUnavailableError(f"the job store {self.path} {REMEDIES[code]} ({exc})") from exc
            raise StoreError(f"the job store {self.path} refused a statement: {exc}") from exc


def refuse_network_file_system(path: Path) -> None:
    """WAL needs memory that all writers share: raise InvalidValueError if `path` lies on a network file system."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    place = str(path.resolve())
    fitting = [
        (point, kind)
        for _, point, kind, *_ in (line.split() for line in mounts)
        if place == point or place.startswith(point.rstrip("/") + "/")
    ]
    point, kind = max(fitting, key=lambda mount: len(mount[0]), default=("", ""))
    if kind in NETWORK_FILE_SYSTEMS:
        raise InvalidValueError(
            f"{path} lies on {point}, a network file system ({kind}), where SQLite's locks are not reliable; "
            "use a local disk, or allow_network_fs=True at your own risk"
        )


def _primary_code(exc: sqlite3.Error) -> int:
    return getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _rollback(connection: sqlite3.Connection) -> bool:
    """Roll back; False if there was no transaction left to roll back (a failed COMMIT may or may not have kept it)."""
    if not connection.in_transaction:
        return False
    connection.execute("ROLLBACK")
    return True
