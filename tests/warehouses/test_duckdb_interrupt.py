"""Interrupting from another thread: a statement that runs is broken off, and what cleans up after it is not."""

import threading
from collections.abc import Callable, Iterator

import duckdb
import pytest

from aggmaint.errors import WarehouseInterruptedError
from aggmaint.warehouses._duckdb_connection import Connection

ENDLESS = "SELECT COUNT(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range < 0"


class Watched:
    """A connection, with an event that tells that a statement is about to begin."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.base = duckdb.connect(config={"threads": "1"})
        self.connection = Connection(self.base.cursor(), lambda _sql: self.begun.set())


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.connection.close()
    watched.base.close()


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as problem:
            raised.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, raised


def test_a_running_statement_is_broken_off_however_early_the_interruption_comes(watched: Watched) -> None:
    """It comes just when the statement begins: DuckDB would forget it, so it is insisted on."""
    thread, raised = in_thread(lambda: watched.connection.run(ENDLESS))
    assert watched.begun.wait(20)
    watched.connection.interrupt()
    thread.join(20)
    assert not thread.is_alive(), "the statement was not broken off"
    assert [type(each) for each in raised] == [WarehouseInterruptedError]
    assert watched.connection.run("SELECT 1") == [(1,)], "one interruption breaks off one statement"


def test_an_interruption_between_two_statements_meets_the_next(watched: Watched) -> None:
    watched.connection.interrupt()
    with pytest.raises(WarehouseInterruptedError):
        watched.connection.run(ENDLESS)
    assert watched.connection.run("SELECT 1") == [(1,)]


def test_an_interrupted_transaction_leaves_nothing_and_cleaning_up_is_not_disturbed(watched: Watched) -> None:
    connection = watched.connection
    with pytest.raises(WarehouseInterruptedError), connection.transaction():
        connection.run("CREATE TABLE t (x INTEGER)")
        connection.interrupt()
        connection.run("INSERT INTO t VALUES (1)")
    assert not connection.in_transaction
    connection.interrupt()
    connection.rollback()
    assert connection.run("SELECT COUNT(*) FROM duckdb_tables() WHERE table_name = 't'") == [(0,)]
