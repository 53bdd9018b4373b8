"""record_use: counted in memory, written once a minute, once, whatever the store answers; carried by complete jobs."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from aggmaint import JobStore, MaintenanceEngine, MaintenanceReport, OrgId, TaskContext
from aggmaint.core.organization import OrgChange
from aggmaint.core.use import USES_MAX
from aggmaint.errors import InvalidValueError, StoreUnavailableError, UnknownOutcomeError
from aggmaint.store import CommitResult, Loaded, Stale
from aggmaint.stores.memory import MemoryStore
from aggmaint.testing.clocks import NOON, ManualClock
from tests.support.tasks import FunctionTask

from .conftest import MakeEngine


class OddStore(MemoryStore):
    """A store that can be made to fail: the hooks are called around its calls, and may raise."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.before_load: Callable[[], None] = lambda: None
        self.before: Callable[[Sequence[OrgChange]], None] = lambda _changes: None
        self.after: Callable[[], None] = lambda: None
        self.stale = False

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        self.before_load()
        return super().load(org_ids)

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        self.before(changes)
        if self.stale:
            return [Stale() for _ in changes]
        results = super().commit(changes)
        self.after()
        return results

    def heal(self) -> None:
        self.before_load, self.before, self.after, self.stale = lambda: None, lambda _changes: None, lambda: None, False


def away(*_arguments: Any) -> None:
    raise StoreUnavailableError


def unknown() -> None:
    raise UnknownOutcomeError


@pytest.fixture
def store(clock: ManualClock) -> JobStore:
    return OddStore(clock=clock)


def counts(engine: MaintenanceEngine, org_id: str = "acme") -> dict[str, int]:
    return {use.definition: use.count for use in engine.get_organization(org_id).uses}


def test_uses_are_written_once_a_minute_at_ticks(make_engine: MakeEngine, clock: ManualClock) -> None:
    engine = make_engine(clock=clock)
    engine.register_organizations(["acme"])
    revision = engine.get_organization("acme").revision
    for seconds in range(59):
        engine.record_use("acme", {"sales.by_day": (2, NOON + timedelta(seconds=seconds))})
        engine.tick()
        clock.pass_s(1)
    assert engine.get_organization("acme").revision == revision, "no commit for each use"
    clock.pass_s(1)
    engine.tick()
    document = engine.get_organization("acme")
    assert [(u.definition, u.count, u.last_at) for u in document.uses] == [
        ("sales.by_day", 118, NOON + timedelta(seconds=58))
    ]
    assert document.revision == revision + 1
    engine.record_use("acme", {"sales.by_day": (1, NOON)})
    engine.tick()
    assert counts(engine) == {"sales.by_day": 118}, "and a minute later again"
    clock.pass_s(60)
    engine.tick()
    assert counts(engine) == {"sales.by_day": 119}


def test_close_writes_what_is_left(make_engine: MakeEngine, clock: ManualClock) -> None:
    make_engine(clock=clock).register_organizations(["acme"])
    engine = make_engine(clock=clock)
    engine.record_use("acme", {"a": (1, NOON)})
    engine.close()
    assert counts(make_engine()) == {"a": 1}


def test_a_job_is_given_what_waits_and_a_complete_one_carries_it(
    make_engine: MakeEngine, task: FunctionTask, clock: ManualClock
) -> None:
    complete = [False, True]
    task._body = lambda _context: MaintenanceReport(complete=complete.pop(0))
    engine = make_engine(clock=clock)
    engine.register_organizations(["acme"])
    engine.record_use("acme", {"a": (1, NOON)})
    assert engine.flush_uses()
    engine.run_immediately("acme")
    assert counts(engine) == {"a": 1}, "an incomplete job leaves it"
    engine.record_use("acme", {"a": (4, NOON)})
    engine.flush_uses()
    engine.run_immediately("acme")
    assert [[(u.definition, u.count) for u in context.uses] for context in task.contexts] == [[("a", 1)], [("a", 5)]]
    assert task.contexts[0].uses[0].born == task.contexts[1].uses[0].born, "the same entry, grown"
    assert counts(engine) == {}


def test_an_unknown_commit_counts_once(make_engine: MakeEngine, store: OddStore) -> None:
    """The store applies the change, says that it does not know, and is away when it is asked again."""
    engine = make_engine()
    engine.register_organizations(["acme"])
    engine.record_use("acme", {"a": (3, NOON)})

    def gone() -> None:
        store.before_load = away
        unknown()

    store.after = gone
    assert not engine.flush_uses(), "nobody knows"
    store.heal()
    assert counts(engine) == {"a": 3}
    engine.record_use("acme", {"a": (1, NOON)})
    assert engine.flush_uses()
    assert counts(engine) == {"a": 4}, "found again by its change id; what came since is counted besides"


def test_an_unknown_commit_that_nothing_tells_of_any_more_is_not_counted_twice(
    make_engine: MakeEngine, store: OddStore
) -> None:
    engine = make_engine()
    engine.register_organizations(["acme"])
    engine.record_use("acme", {"a": (3, NOON)})

    def gone() -> None:
        store.before_load = away
        unknown()

    store.after = gone
    assert not engine.flush_uses()
    store.heal()
    for number in range(40):
        engine.mark_changed("acme", f"s{number}")
    assert engine.flush_uses()
    assert counts(engine) == {"a": 3}


def test_a_store_that_is_away_loses_nothing(make_engine: MakeEngine, store: OddStore) -> None:
    engine = make_engine()
    engine.register_organizations(["acme", "other"])
    store.before = away
    for _ in range(3):
        engine.record_use("acme", {"a": (1, NOON)})
        engine.record_use("other", {"b": (1, NOON)})
        assert not engine.flush_uses()
    store.heal()
    assert engine.flush_uses()
    assert (counts(engine), counts(engine, "other")) == ({"a": 3}, {"b": 3})


def test_a_store_that_is_away_stops_no_tick(make_engine: MakeEngine, store: OddStore, clock: ManualClock) -> None:
    engine = make_engine(clock=clock)
    engine.register_organizations(["acme"])
    engine.record_use("acme", {"a": (1, NOON)})
    clock.pass_s(61)
    failed: list[int] = []

    def away_once(changes: Sequence[OrgChange]) -> None:
        if not failed:
            failed.append(len(changes))
            raise StoreUnavailableError

    store.before = away_once
    engine.tick()
    assert failed == [1] and counts(engine) == {}
    clock.pass_s(61)
    engine.tick()
    assert counts(engine) == {"a": 1}


def test_another_writer_in_between_is_decided_again(make_engine: MakeEngine, store: OddStore) -> None:
    engine = make_engine()
    engine.register_organizations(["acme"])
    engine.record_use("acme", {"a": (1, NOON)})

    def another(_changes: Sequence[OrgChange]) -> None:
        store.heal()
        engine.mark_changed("acme", "orders")

    store.before = another
    assert engine.flush_uses()
    assert counts(engine) == {"a": 1} and engine.get_organization("acme").last_mark == 1


def test_a_document_that_never_stands_still_keeps_the_uses_for_later(make_engine: MakeEngine, store: OddStore) -> None:
    engine = make_engine()
    engine.register_organizations(["acme"])
    engine.record_use("acme", {"a": (1, NOON)})
    store.stale = True
    assert not engine.flush_uses()
    store.heal()
    assert engine.flush_uses() and counts(engine) == {"a": 1}


def test_unknown_organisations_are_dropped_with_a_word_or_registered(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine()
    engine.register_organizations(["acme", "gone"])
    engine.record_use("nobody", {"a": (1, NOON)})
    engine.record_use("gone", {"a": (1, NOON)})
    engine.record_use("acme", {"a": (1, NOON)})
    engine.remove_organization("gone")
    with caplog.at_level(logging.WARNING):
        assert engine.flush_uses()
    assert counts(engine) == {"a": 1}
    assert sorted(record.getMessage().split("'")[1] for record in caplog.records) == ["gone", "nobody"]
    registering = make_engine(auto_register=True)
    registering.record_use("nobody", {"a": (1, NOON)})
    assert registering.flush_uses()
    assert counts(registering, "nobody") == {"a": 1}


def test_many_threads_and_many_definitions(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.register_organizations(["acme"])

    def tell(thread: int) -> None:
        for number in range(USES_MAX):
            engine.record_use("acme", {f"d{number}": (1, NOON), f"own{thread}": (1, NOON)})
            if number % 50 == 0:
                engine.flush_uses()

    threads = [threading.Thread(target=tell, args=(thread,)) for thread in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert engine.flush_uses()
    assert sum(counts(engine).values()) == 2 * 4 * USES_MAX and len(counts(engine)) == USES_MAX


def test_a_forked_child_does_not_tell_its_parents_uses(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine()
    engine.register_organizations(["acme"])
    engine.record_use("acme", {"a": (1, NOON)})
    parent = os.getpid()
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: parent + 1)
        engine.record_use("acme", {"b": (1, NOON)})
        assert engine.flush_uses()
    assert counts(engine) == {"b": 1}


@pytest.mark.parametrize(
    ("definition", "use"),
    [("", (1, NOON)), ("a" * 256, (1, NOON)), ("a", (-1, NOON)), ("a", (1, datetime(2026, 1, 1)))],
)
def test_what_is_no_use_is_refused_at_once(engine: MaintenanceEngine, definition: str, use: Any) -> None:
    with pytest.raises(InvalidValueError):
        engine.record_use("acme", {definition: use})
    assert engine.flush_uses() and counts(engine) == {}


def test_a_task_of_the_hosts_sees_uses_through_wrappers(make_engine: MakeEngine) -> None:
    from aggmaint.task import ContextWrapper

    seen: list[Any] = []

    def body(context: TaskContext) -> None:
        seen.append(ContextWrapper(context).uses)

    engine = make_engine(task=FunctionTask(body))
    engine.register_organizations(["acme"])
    engine.record_use("acme", {"a": (1, NOON)})
    engine.flush_uses()
    engine.run_immediately("acme")
    assert [[each.count for each in uses] for uses in seen] == [[1]]
