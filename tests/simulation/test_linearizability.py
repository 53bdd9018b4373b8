"""Histories of real threads are linearizable (I22), and the checker rejects those that are not."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from attrs import evolve

from aggmaint._committing import Committer
from aggmaint.core.ids import JobId, OrgId
from aggmaint.core.job import FailureCode
from aggmaint.core.organization import OrgSnapshot
from aggmaint.core.outcomes import IfBusy, Started
from aggmaint.core.settings import JobSettings
from aggmaint.core.steps import Basis, Decision, Grant
from aggmaint.store import JobStore
from aggmaint.stores.memory import MemoryStore
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import ManualClock
from aggmaint.testing.driving import Driver
from aggmaint.testing.faulty import FaultyStore, SeededPlan
from aggmaint.testing.linearizability import UNKNOWN, Call, History, is_linearizable
from aggmaint.testing.operations import Ask, Attend, Cancel, Enable, Finish, Operation, SetPause, Update
from tests.simulation.depth import HISTORIES

SETTINGS = JobSettings()
THREADS = 4
CALLS = 60


def drawn(chance: random.Random) -> Operation:
    operations: list[Operation] = [
        Ask(free=chance.random() < 0.8, if_busy=chance.choice(list(IfBusy))),
        Update(cube=chance.choice("ab"), version=chance.choice((None, 1, 2, 3))),
        Attend(),
        Finish(code=chance.choice((None, None, FailureCode.ERROR)), complete=chance.random() < 0.8),
        Finish(),
        Cancel(),
        SetPause(paused=chance.random() < 0.5),
        Enable(enabled=chance.random() < 0.7),
    ]
    return chance.choice(operations)


def grant() -> Grant:
    return Grant(JobId(uuid4().hex), "holder")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> JobStore:
    clock = ManualClock()
    if request.param == "memory":
        return MemoryStore(clock=clock)
    store = SQLiteStore(tmp_path / "jobs.db", clock=clock, synchronous="NORMAL")
    store.prepare()
    return store


@pytest.mark.parametrize("faulty", [False, True], ids=["sound", "faulty"])
def test_I22_histories_of_real_threads_are_linearizable(store: JobStore, faulty: bool) -> None:
    """4 threads, 3 organisations, all kinds of call; with unknown outcomes and answers that are lost, too."""
    calls = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for seed in range(HISTORIES):
            history = record(store, pool, seed, faulty)
            assert history.explain() == [], f"history {seed}"
            calls += len(history.calls)
    assert calls > HISTORIES * THREADS * CALLS // 2
    store.close()


def record(store: JobStore, pool: ThreadPoolExecutor, seed: int, faulty: bool) -> History:
    orgs = [OrgId(f"org-{seed}-{number}") for number in range(3)]
    Driver(store, f"setup-{seed}").register(*orgs)
    clock = ManualClock()
    history = History(SETTINGS)
    for org_id in orgs:
        history.begin(Committer(store, SETTINGS, (), clock), org_id)
    barrier = threading.Barrier(THREADS)

    def work(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        plan = SeededPlan(chance.randrange(2**32), unavailable=0.02, unknown=0.05) if faulty else SeededPlan(0)
        committer = Committer(FaultyStore(store, plan), SETTINGS, (), clock)
        barrier.wait(30)
        for _ in range(CALLS):
            history.call(committer, chance.choice(orgs), drawn(chance), grant())

    list(pool.map(work, range(THREADS)))
    return history


def recorded(*answers: tuple[Operation, int, float, Any, Grant]) -> bool:
    """Whether these calls on a new organisation, each with its interval and answer, are linearizable."""
    store = MemoryStore(clock=ManualClock())
    Driver(store).register("acme")
    loaded = store.load([OrgId("acme")])
    calls = [
        Call(number, OrgId("acme"), operation, offer, began, ended, answer)
        for number, (operation, began, ended, answer, offer) in enumerate(answers)
    ]
    return is_linearizable(calls, loaded.snapshots[OrgId("acme")], loaded.time, SETTINGS)


def answers_of(*operations: Operation) -> list[tuple[Any, Grant]]:
    store = MemoryStore(clock=ManualClock())
    Driver(store).register("acme")
    committer = Committer(store, SETTINGS, (), ManualClock())
    given = []
    for operation in operations:
        offer = grant()

        def decide(
            doc: OrgSnapshot, basis: Basis, operation: Operation = operation, offer: Grant = offer
        ) -> Decision[Any]:
            return operation.decide(doc, basis, offer)

        given.append((committer.change(OrgId("acme"), decide).answer, offer))
    return given


def test_a_history_in_order_is_accepted_and_out_of_order_is_not() -> None:
    (started, first), (queued, second) = answers_of(Ask(), Ask())
    assert recorded((Ask(), 0, 1, started, first), (Ask(), 2, 3, queued, second))
    assert recorded((Ask(), 0, 3, queued, second), (Ask(), 1, 2, started, first)), "they overlap: either may be first"
    assert not recorded((Ask(), 0, 1, queued, second), (Ask(), 2, 3, started, first)), "the second had not begun"


def test_I1_two_started_at_once_are_rejected() -> None:
    (started, first), _ = answers_of(Ask(), Ask())
    assert isinstance(started, Started)
    other = grant()
    twice = Started(evolve(started.job, id=other.job_id))
    assert not recorded((Ask(), 0, 3, started, first), (Ask(), 1, 2, twice, other))


def test_a_call_of_unknown_outcome_may_have_been_made_or_not() -> None:
    (started, first), (queued, second) = answers_of(Ask(), Ask())
    unknown = (Ask(), 0, float("inf"), UNKNOWN, first)
    assert recorded(unknown, (Ask(), 2, 3, started, second)) is False, "the id in the answer is not the one offered"
    assert recorded(unknown, (Ask(), 2, 3, queued, second)), "it was made"
    (alone, third) = answers_of(Ask())[0]
    assert recorded(unknown, (Ask(), 2, 3, alone, third)), "it was not made"


def test_I15_a_lost_update_is_rejected() -> None:
    (started, first), (refused, second) = answers_of(Update(version=1), Update(version=1))
    assert recorded((Update(version=1), 0, 1, started, first), (Update(version=1), 2, 3, refused, second))
    assert not recorded((Update(version=1), 0, 1, refused, first), (Update(version=1), 2, 3, refused, second))
