"""Callers that commit at the same time share a transaction; none waits for company, none pays for another's failure."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from aggmaint.stores._group_commit import BATCH_MAX, GroupCommit, _Entry
from tests.support.tasks import until


class Transactions:
    """One connection, and the transactions that were made on it. The first one can be held open."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.connection.execute("CREATE TABLE kept(n INTEGER UNIQUE)")
        self.count = 0
        self.hold = threading.Event()
        self.hold.set()
        self.held = threading.Event()
        self.refuse: BaseException | None = None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        self.connection.execute("BEGIN IMMEDIATE")
        self.count += 1
        self.held.set()
        self.hold.wait(20)
        try:
            yield self.connection
            self._commit_may_fail()
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def _commit_may_fail(self) -> None:
        if self.refuse is not None:
            raise self.refuse

    @property
    def kept(self) -> list[int]:
        return [n for (n,) in self.connection.execute("SELECT n FROM kept ORDER BY n")]


@pytest.fixture
def transactions() -> Iterator[Transactions]:
    transactions = Transactions()
    yield transactions
    transactions.connection.close()


@pytest.fixture
def group(transactions: Transactions) -> GroupCommit:
    return GroupCommit(transactions.writing)


def keep(n: int) -> Callable[[sqlite3.Connection], int]:
    def work(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO kept VALUES(?)", (n,))
        return n

    return work


def crowd(
    group: GroupCommit, transactions: Transactions, pool: ThreadPoolExecutor, works: list[Callable[[Any], int]]
) -> list["Future[int]"]:
    """One caller leads and is held in its transaction until all the others wait."""
    transactions.hold.clear()
    futures = [pool.submit(group.run, works[0])]
    assert transactions.held.wait(20)
    futures += [pool.submit(group.run, work) for work in works[1:]]
    until(lambda: len(group._queue) == len(works) - 1, "the others to wait")
    return futures


def test_a_lone_caller_commits_at_once(group: GroupCommit, transactions: Transactions) -> None:
    assert [group.run(keep(n)) for n in (1, 2, 3)] == [1, 2, 3]
    assert (transactions.count, transactions.kept) == (3, [1, 2, 3])


def test_those_who_wait_share_one_transaction(group: GroupCommit, transactions: Transactions) -> None:
    with ThreadPoolExecutor(20) as pool:
        futures = crowd(group, transactions, pool, [keep(n) for n in range(20)])
        transactions.hold.set()
        assert [future.result(20) for future in futures] == list(range(20))
    assert transactions.count == 2, "one for the leader, one for all who came meanwhile"
    assert transactions.kept == list(range(20))


def test_a_failure_is_its_own_callers_only(group: GroupCommit, transactions: Transactions) -> None:
    with ThreadPoolExecutor(4) as pool:
        futures = crowd(group, transactions, pool, [keep(0), keep(1), keep(0), keep(2)])
        transactions.hold.set()
        assert futures[1].result(20) == 1
        with pytest.raises(sqlite3.IntegrityError):
            futures[2].result(20)
        assert futures[3].result(20) == 2
    assert transactions.kept == [0, 1, 2]


def test_half_of_a_failed_work_is_undone(group: GroupCommit, transactions: Transactions) -> None:
    def half(connection: sqlite3.Connection) -> int:
        keep(7)(connection)
        return keep(0)(connection)

    with ThreadPoolExecutor(3) as pool:
        futures = crowd(group, transactions, pool, [keep(0), half, keep(1)])
        transactions.hold.set()
        with pytest.raises(sqlite3.IntegrityError):
            futures[1].result(20)
    assert transactions.kept == [0, 1]


def test_a_failed_commit_is_everybodys(group: GroupCommit, transactions: Transactions) -> None:
    with ThreadPoolExecutor(3) as pool:
        futures = crowd(group, transactions, pool, [keep(0), keep(1), keep(2)])
        transactions.refuse = sqlite3.OperationalError("database or disk is full")
        transactions.hold.set()
        for future in futures:
            with pytest.raises(sqlite3.OperationalError, match="full"):
                future.result(20)
        transactions.refuse = None
        assert group.run(keep(9)) == 9, "and nobody is stuck"
    assert transactions.kept == [9]


def test_a_batch_is_bounded(group: GroupCommit, transactions: Transactions) -> None:
    count = BATCH_MAX + 10
    with ThreadPoolExecutor(count) as pool:
        futures = crowd(group, transactions, pool, [keep(n) for n in range(count)])
        transactions.hold.set()
        assert sorted(future.result(20) for future in futures) == list(range(count))
    assert transactions.count == 3 if count - 1 > BATCH_MAX else 2


def test_one_who_is_interrupted_leaves_the_others_going(group: GroupCommit, transactions: Transactions) -> None:
    """A waiting caller that gives up (Ctrl-C) takes its place in the queue with it, also when it was to lead."""
    with ThreadPoolExecutor(3) as pool:
        futures = crowd(group, transactions, pool, [keep(0), keep(1), keep(2)])
        first = group._queue[0]
        group._leave(first)
        transactions.hold.set()
        assert futures[2].result(20) == 2
        first.error, first.settled = KeyboardInterrupt(), True
        first.signal.set()
        with pytest.raises(KeyboardInterrupt):
            futures[1].result(20)
    assert transactions.kept == [0, 2]


def test_who_was_to_lead_and_leaves_hands_on(group: GroupCommit) -> None:
    leader, follower = _Entry(keep(0)), _Entry(keep(1))
    group._queue, group._busy, leader.leads = [leader, follower], True, True
    group._leave(leader)
    assert (follower.leads, follower.signal.is_set(), group._busy) == (True, True, True)
    group._leave(follower)
    assert (group._queue, group._busy) == ([], False), "the next caller leads at once"


def test_the_child_of_a_fork_has_nobody_waiting(group: GroupCommit, transactions: Transactions) -> None:
    transactions.hold.clear()
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(group.run, keep(0))
        assert transactions.held.wait(20)
        group.after_fork()
        assert (group._busy, group._queue) == (False, [])
        transactions.hold.set()
        leader.result(20)
