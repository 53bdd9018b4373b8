"""Engines that tick at the same moment: each finds a part of its own, none gives up, and alone the oldest come first."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from aggmaint import JobStore, OrgId
from aggmaint import engine as engine_module
from aggmaint._running import ENGINES_AHEAD_MAX
from aggmaint.core.hashing import turned
from aggmaint.core.organization import OrgChange
from aggmaint.store import CommitResult, DueOrgs, Loaded, Stale
from tests.engine.conftest import MakeEngine

COUNT = 40
BATCH = 10
NAMES = [f"org-{number:02}" for number in range(COUNT)]


class Rivalled:
    """A store in which another engine's commit came first, for the first `rounds` batches that grant jobs."""

    def __init__(self, store: JobStore, rounds: int) -> None:
        self._store = store
        self._rounds = rounds
        self.attended: list[list[str]] = []
        self.looks: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        if len(org_ids) > 1:
            self.attended.append(list(org_ids))
        return self._store.load(org_ids)

    def find_due(self, orgs_max: int, now: Any = None) -> Any:
        self.looks.append(orgs_max)
        return self._store.find_due(orgs_max, now)

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        if self._rounds and len(changes) > 1:
            self._rounds -= 1
            return [Stale() for _ in changes]
        return self._store.commit(changes)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(engine_module, "DUE_BATCH", BATCH)
    monkeypatch.setattr(engine_module, "DUE_WINDOW", COUNT)
    yield


def ticked(make_engine: MakeEngine, store: JobStore, clock: Any, rounds: int) -> Rivalled:
    """All 40 organisations are due in the order of their names; the engine whose commits come late ticks."""
    administrator = make_engine()
    for name in NAMES:
        administrator.register_organizations([name])
        administrator.add_schedule(name, "0 0 13 ? * * *")
        administrator.pause(name, reason="no jobs in this test")
    clock.pass_s(3600)
    rivalled = Rivalled(store, rounds)
    engine = make_engine(store=rivalled)
    rivalled.attended.clear()
    engine.tick()
    return rivalled


@pytest.mark.usefixtures("small")
def test_alone_an_engine_attends_to_the_longest_waiting_first(
    make_engine: MakeEngine, store: JobStore, clock: Any
) -> None:
    rivalled = ticked(make_engine, store, clock, rounds=0)
    assert rivalled.attended == [NAMES[start : start + BATCH] for start in range(0, COUNT, BATCH)]
    assert set(rivalled.looks) == {BATCH}


@pytest.mark.usefixtures("small")
def test_an_engine_that_met_another_goes_on_at_a_place_of_its_own(
    make_engine: MakeEngine, store: JobStore, clock: Any
) -> None:
    firsts = set()
    for _ in range(8):
        rivalled = ticked(make_engine, store, clock, rounds=1)
        assert rivalled.looks[:2] == [BATCH, COUNT], "it looks further once it has met another"
        assert rivalled.attended[0] == NAMES[:BATCH]
        firsts.add(rivalled.attended[1][0])
        clock.pass_s(86_400 - 3600)
    assert len(firsts) >= 3, "engines begin at different places"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("rounds", [1, 3, 8])
def test_an_engine_that_met_others_does_not_leave_the_rest_for_later(
    make_engine: MakeEngine, store: JobStore, clock: Any, rounds: int
) -> None:
    ticked(make_engine, store, clock, rounds)
    assert store.find_due(COUNT).noticing == ()


@pytest.mark.usefixtures("small")
def test_an_engine_whose_commits_always_come_late_gives_up_for_this_tick(
    make_engine: MakeEngine, store: JobStore, clock: Any
) -> None:
    rivalled = ticked(make_engine, store, clock, rounds=10**6)
    assert len(rivalled.attended) == engine_module.MEETINGS_MAX + 1


def test_turned_keeps_all_in_their_order() -> None:
    assert turned("abcde", 0) == list("abcde")
    assert turned("abcde", 7) == list("cdeab")
    assert turned("", 3) == []


def test_a_request_is_passed_over_for_a_bounded_number_of_others(make_engine: MakeEngine, store: JobStore) -> None:
    """However often an engine meets others, it claims among the first `ENGINES_AHEAD_MAX` for each of its places."""
    make_engine().register_organizations(NAMES)
    due = DueOrgs((), (), tuple(OrgId(name) for name in NAMES), None)
    claimed = []
    for met in range(30):
        rivalled = Watched(store)
        make_engine(store=rivalled)._runner.attend(due, batch=BATCH, met=met)
        claimed += rivalled.loaded
    assert claimed[0] == NAMES[0], "alone it claims the longest waiting"
    assert len(set(claimed)) > 5 and set(claimed) <= set(NAMES[:ENGINES_AHEAD_MAX])


class Watched:
    """A store that notes which organisations are loaded."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self.loaded: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        self.loaded += org_ids
        return self._store.load(org_ids)
