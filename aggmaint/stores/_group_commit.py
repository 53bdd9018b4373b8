"""Group commit: callers that commit at the same time share one transaction, and so one fsync.

Theory of operation. A durable transaction costs one wait for the disk, however many changes it holds. A caller that finds
nobody committing leads at once, with its own work alone: a lone caller never waits for company. Those who come meanwhile
queue up; when the leader is done, the first of them leads all that wait, in the order in which they came. So the batch
grows with the load, and nobody leads for more than one transaction.

Each caller's work is judged by itself: in a batch it runs in a savepoint, and if it fails the others stay. Only a failure
of the whole transaction (the disk is full, the outcome of COMMIT is unknown) is everybody's.
"""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Generic, TypeVar

from attrs import define, field

T = TypeVar("T")

BATCH_MAX: Final = 128
Work = Callable[[sqlite3.Connection], T]


@define(eq=False)
class _Entry(Generic[T]):
    """One caller: its work, and what became of it."""

    work: Work[T]
    signal: threading.Event = field(factory=threading.Event)
    leads: bool = False
    settled: bool = False
    result: T | None = None
    error: BaseException | None = None

    def answer(self) -> T:
        if self.error is not None:
            raise self.error
        result: Any = self.result
        answer: T = result
        return answer


class GroupCommit:
    """Runs works in shared transactions. `writing` opens one transaction on the calling thread's connection."""

    def __init__(self, writing: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        self._writing = writing
        self._lock = threading.Lock()
        self._queue: list[_Entry[Any]] = []
        self._busy = False

    def run(self, work: Work[T]) -> T:
        """Run `work` in a transaction, alone or with others; its own error is raised to its own caller only."""
        entry = _Entry(work)
        with self._lock:
            self._queue.append(entry)
            entry.leads, self._busy = not self._busy, True
        try:
            if not entry.leads:
                entry.signal.wait()
        except BaseException:  # Ctrl-C while we wait: nobody must wait for us
            self._leave(entry)
            raise
        if not entry.settled:
            self._lead()
        return entry.answer()

    def after_fork(self) -> None:
        """The child of a fork starts with nobody waiting: the parent's callers are not its own."""
        self._lock = threading.Lock()
        self._queue = []
        self._busy = False

    def _lead(self) -> None:
        with self._lock:
            batch, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
        try:
            with self._writing() as connection:
                for entry in batch:
                    _attempt(connection, entry, alone=len(batch) == 1)
        except BaseException as exc:
            for entry in batch:
                entry.error = entry.error or exc
        finally:
            self._hand_over(batch)

    def _hand_over(self, batch: list[_Entry[Any]]) -> None:
        for entry in batch:
            entry.settled = True
        with self._lock:
            self._promote()
        for entry in batch:
            entry.signal.set()

    def _leave(self, entry: _Entry[Any]) -> None:
        with self._lock:
            if entry in self._queue:
                self._queue.remove(entry)
            if entry.leads and not entry.settled:
                self._promote()

    def _promote(self) -> None:
        """Let the longest waiting caller lead; nobody waits: nobody is busy. Called under the lock."""
        self._busy = bool(self._queue)
        if self._queue:
            self._queue[0].leads = True
            self._queue[0].signal.set()


def _attempt(connection: sqlite3.Connection, entry: _Entry[Any], *, alone: bool) -> None:
    """Run one caller's work. Alone its error ends the transaction; among others it undoes its own work only."""
    if alone:
        entry.result = entry.work(connection)
        return
    connection.execute("SAVEPOINT caller")
    try:
        entry.result = entry.work(connection)
    except Exception as exc:
        if not connection.in_transaction:  # SQLite gave up the whole transaction: the error is everybody's
            raise
        connection.execute("ROLLBACK TO caller")
        entry.error = exc
    connection.execute("RELEASE caller")
