"""`StoreMachine`: any store against the memory model, in lockstep; every answer must be equal (I21).

Theory of operation. Hypothesis draws operations, batches, retries, old decisions, other handles, pages and questions. Each
is put to the store under test and to `MemoryStore`, which is simple enough to be right by reading, and whose clock is
held at what the tested store's `load` said. The store's own clock can not be moved, and need not be: decisions are
made at a time that the machine keeps, which begins long before the store's, so that leases written early have lapsed by the
store's steady time and those written late have not; decisions come in stamped as fresh or as too old.

What depends on the very moment (`lapsed`, and what is due without `now`) is asked between two readings of the store's clock,
and must be what the model answers at one of them.
"""

import shutil
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar, Final

from attrs import evolve
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ..core import administering
from ..core.deciding import decide_register
from ..core.ids import JobId, OrgId, ScheduleId
from ..core.instants import StoreTime
from ..core.job import JobStatus
from ..core.organization import OrgChange
from ..core.steps import Basis, Grant
from ..errors import JobNotFoundError
from ..store import JobQuery, JobStore, OrgQuery
from ..stores.memory import MemoryStore
from ._expect import equal, holds
from ._suite_base import takes_location
from .clocks import NOON, ManualClock, passed
from .driving import STAMP_AHEAD_S
from .operations import Ask, Attend, Finish, Lapse, Operation, Register, Remove
from .strategies import (
    HISTORY_SETTINGS,
    HOSTILE_JOB_IDS,
    HOSTILE_ORG_IDS,
    TRIGGERS,
    Pass,
    decide,
    finishes,
    operations,
    passings,
)

EARLY_S: Final = 200_000.0
"""How long before the store's steady time the decisions begin."""

FRESH: Final = Pass(STAMP_AHEAD_S)

ORGS: Final = st.sampled_from(HOSTILE_ORG_IDS[:3]) | st.sampled_from(HOSTILE_ORG_IDS)
STAMPS: Final = st.sampled_from(
    [
        *[FRESH] * 5,
        Pass(STAMP_AHEAD_S, wall_s=7200.0),
        Pass(STAMP_AHEAD_S, wall_s=-7200.0),
        Pass(-6.0),
        Pass(-3600.0, wall_s=3600.0),
        Pass(0.0, reboot=True),
    ]
)
"""By how much the time of a decision differs from the store's: fresh mostly, too old, with the wall clock stepped since."""

BACK: Final = st.none() | st.none() | st.sampled_from([-(10**30), -1, 0, 1, 2, 3, 4, 5, 10**30])
"""How far a page begins before the newest fence; None: with the newest."""


class StoreMachine(RuleBasedStateMachine):
    """One example: a new store and a new model. `factory` as for `JobStoreSuite`; `location`: where places are made."""

    factory: ClassVar[Callable[..., JobStore]]
    location: ClassVar[str | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(mkdtemp(prefix="aggmaint-machine-", dir=self.location))
        self.handles: list[JobStore] = [self.opened()]
        if takes_location(self.factory):
            self.handles.append(self.opened())
        self.clock = ManualClock()
        self.model = MemoryStore(clock=self.clock)
        self.known: list[OrgId] = []
        self.pocket: list[OrgChange] = []
        self.jobs: list[tuple[OrgId, JobId]] = [(OrgId("unknown"), JobId(job_id)) for job_id in HOSTILE_JOB_IDS]
        self.touched: list[OrgId] = []
        self.count = 0
        began = self.handles[0].load([]).time
        self.time = StoreTime(NOON, began.steady_s - EARLY_S, began.boot)

    def opened(self) -> JobStore:
        store: JobStore = self.factory(str(self.place)) if takes_location(self.factory) else self.factory()
        store.prepare()
        return store

    def teardown(self) -> None:
        for handle in self.handles:
            handle.close()
        shutil.rmtree(self.place, ignore_errors=True)

    # -- what the rules use --

    def handle(self, index: int = 0) -> JobStore:
        return self.handles[index % len(self.handles)]

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}-{self.count:04}"

    def basis(self) -> Basis:
        return Basis(self.time, self.fresh("change"), HISTORY_SETTINGS)

    def org(self, org_id: str) -> OrgId | None:
        """An organisation that is there: this one, or the first that is."""
        documents = self.model.load(self.known).snapshots
        there = [each for each in self.known if documents[each].removed_at is None]
        if org_id in there:
            return OrgId(org_id)
        return there[0] if there else None

    def decided(self, org_id: OrgId, operation: Operation) -> OrgChange | None:
        document = self.model.load([org_id]).snapshots[org_id]
        return decide(document, operation, self.basis(), Grant(JobId(self.fresh("job")), "holder")).change

    def both(self, changes: Sequence[OrgChange], *, stamp: Pass = FRESH, index: int = 0) -> None:
        """Put the changes to both, stamped by the store's clock, moved by `stamp`."""
        store = self.handle(index)
        now = store.load([]).time
        decided_at = evolve(
            passed(now, stamp.seconds, wall_s=stamp.wall_s), boot="another life" if stamp.reboot else now.boot
        )
        stamped = [evolve(change, decided_at=decided_at) for change in changes]
        self.clock.set(now)
        equal(list(store.commit(stamped)), list(self.model.commit(stamped)), "I21: the results of a commit")
        self.pocket += stamped
        self.touched = [change.org_id for change in changes] or self.touched
        self.jobs += [(change.org_id, change.granted.id) for change in changes if change.granted]

    def at_one_moment(self, ask: Callable[[JobStore], object], index: int, question: str) -> None:
        """The store's answer is the model's, at one of two readings of the store's clock around it."""
        store = self.handle(index)
        before = store.load([]).time
        found = ask(store)
        after = store.load([]).time
        self.clock.set(before)
        wanted = ask(self.model)
        if found != wanted:
            self.clock.set(after)
            wanted = ask(self.model)
        equal(found, wanted, f"I21: {question}")

    # -- changing --

    @initialize(org_id=ORGS)
    def begin(self, org_id: str) -> None:
        self.register([org_id])

    @rule(org_ids=st.lists(ORGS, max_size=4))
    def register(self, org_ids: list[str]) -> None:
        """Also what is registered already, or removed, or twice in the batch."""
        changes: list[OrgChange] = []
        for org_id in map(OrgId, org_ids):
            document = self.model.load([org_id]).snapshots.get(org_id)
            schedule_id = ScheduleId(self.fresh("default"))
            change = decide_register(document, org_id, schedule_id, self.basis()).change
            changes += [change] if change else []
        self.both(changes)
        self.known = list(dict.fromkeys([*self.known, *map(OrgId, org_ids)]))

    @rule(org_id=ORGS, drawn=st.lists(operations(), min_size=1, max_size=4), stamp=STAMPS, index=st.integers(0, 1))
    def change(self, org_id: str, drawn: list[Operation], stamp: Pass, index: int) -> None:
        """One commit for each."""
        for operation in drawn if (known := self.org(org_id)) else []:
            if known and (change := self.decided(known, operation)):
                self.both([change], stamp=stamp, index=index)

    @rule(org_ids=st.lists(ORGS, min_size=1, max_size=6), operation=operations(), stamp=STAMPS, index=st.integers(0, 1))
    def change_many(self, org_ids: list[str], operation: Operation, stamp: Pass, index: int) -> None:
        """In one batch, also several for one organisation: the second is stale."""
        known = [each for each in map(self.org, org_ids) if each]
        decided = [self.decided(each, operation) for each in known]
        self.both([change for change in decided if change], stamp=stamp, index=index)

    @rule(org_id=ORGS, drawn=st.lists(operations(), min_size=2, max_size=4))
    def change_in_a_row(self, org_id: str, drawn: list[Operation]) -> None:
        """In one batch, each decided on the document that the one before leaves."""
        known = self.org(org_id)
        if known is None:
            return
        document = self.model.load([known]).snapshots[known]
        changes: list[OrgChange] = []
        for operation in drawn:
            change = decide(document, operation, self.basis(), Grant(JobId(self.fresh("job")), "holder")).change
            if change is not None:
                changes.append(change)
                document = change.document
        self.both(changes)

    @rule(org_id=ORGS, endings=st.lists(finishes(), min_size=1, max_size=4), index=st.integers(0, 1))
    def run_through(self, org_id: str, endings: list[Finish], index: int) -> None:
        """Some jobs from start to end, so that histories grow, are pruned, and push change ids out."""
        for ending in endings if (known := self.org(org_id)) else []:
            for operation in (Ask(), evolve(ending, mine=True)):
                if known and (change := self.decided(known, operation)):
                    self.both([change], index=index)

    @rule(back=st.integers(0, 60), stamp=STAMPS)
    def repeat(self, back: int, stamp: Pass) -> None:
        """A change of before once more: committed before, or stale by now."""
        if self.pocket:
            self.both([self.pocket[-1 - back % len(self.pocket)]], stamp=stamp)

    @rule(org_ids=st.lists(ORGS, min_size=2, max_size=4), automatic=st.booleans())
    def queue(self, org_ids: list[str], automatic: bool) -> None:
        """Requests that wait for a place, each a little longer than the next."""
        for org_id in org_ids:
            if (known := self.org(org_id)) and (change := self.decided(known, Ask(free=False, automatic=automatic))):
                self.both([change])
            self.time = passed(self.time, 1.0)

    @rule(back=st.integers(0, 5))
    def remove(self, back: int) -> None:
        """Remove an organisation that is not the only one, and bring it back the next time."""
        if len(self.known) > 1:
            org_id = self.known[-1 - back % (len(self.known) - 1)]
            change = self.decided(org_id, Remove()) or self.decided(org_id, Register())
            self.both([change] if change else [])

    @rule(org_id=ORGS, boot=st.none() | st.just("another life"), index=st.integers(0, 1))
    def rescue(self, org_id: str, boot: str | None, index: int) -> None:
        """A job whose lease has lapsed while a request waits: one commit ends it and grants the next."""
        for operation in (Ask(), Ask(free=False), Lapse(boot=boot), Attend()) if (known := self.org(org_id)) else ():
            if known and (change := self.decided(known, operation)):
                self.both([change], index=index)

    @rule(org_id=ORGS, days=st.sampled_from([0, 31]))
    def prune(self, org_id: str, days: int) -> None:
        """Forget what ended too long ago."""
        self.time = passed(self.time, days * 86_400.0)
        if known := self.org(org_id):
            page = self.model.list_jobs(JobQuery(known, limit=1000)).jobs
            document = self.model.load([known]).snapshots[known]
            change = administering.decide_prune(document, page[::-1], self.basis()).change
            self.both([change] if change else [])

    @rule(passing=passings())
    def pass_time(self, passing: Pass) -> None:
        self.time = passing.after(self.time, self.fresh("life"))

    @rule(index=st.integers(0, 1))
    def open_again(self, index: int) -> None:
        if takes_location(self.factory):
            self.handle(index).close()
            self.handles[index % len(self.handles)] = self.opened()

    # -- asking --

    @invariant()
    def documents_and_histories_agree(self) -> None:
        org_ids = [*self.known, OrgId("unknown")]
        wanted = dict(self.model.load(org_ids).snapshots)
        for handle in self.handles:
            equal(dict(handle.load(org_ids).snapshots), wanted, "I21: the documents")
        for org_id in [*self.touched[:2], *self.known[self.count % max(1, len(self.known)) :][:1]]:
            query = JobQuery(org_id, limit=1000)
            equal(
                self.handle(self.count).list_jobs(query), self.model.list_jobs(query), f"I21: the history of {org_id!r}"
            )

    @rule(orgs_max=st.sampled_from([1, 2, 3, 100]), hours=st.none() | st.integers(-30, 30), index=st.integers(0, 1))
    def find_due(self, orgs_max: int, hours: int | None, index: int) -> None:
        """Also at the very instant that the answer names as the next, and just before."""
        now = None if hours is None else self.time.wall_at + timedelta(hours=hours)
        self.due_at(orgs_max, now, index)
        wake_at = self.model.find_due(orgs_max, now).next_wake_at
        if wake_at is not None:
            self.due_at(orgs_max, wake_at, index)
            self.due_at(orgs_max, wake_at - timedelta(microseconds=1), index)

    def due_at(self, orgs_max: int, now: datetime | None, index: int) -> None:
        self.at_one_moment(lambda store: store.find_due(orgs_max, now), index, f"find_due({orgs_max}, {now})")

    @rule(limit=st.sampled_from([1, 2, 3, 1000]), removed=st.booleans(), index=st.integers(0, 1))
    def list_organizations(self, limit: int, removed: bool, index: int) -> None:
        query: OrgQuery | None = OrgQuery(limit=limit, removed=removed)
        for _ in range(len(self.known) + 1):
            if query is None:
                break
            page = self.model.list_organizations(query)
            equal(self.handle(index).list_organizations(query), page, f"I21: {query}")
            query = OrgQuery(page.next, limit, removed) if page.next is not None else None
        holds(query is None, "the pages come to an end")

    @rule(
        org_id=ORGS,
        limit=st.sampled_from([1, 2, 3, 10]),
        offset=st.sampled_from([0, 0, 1, 2, 3, 50, 10**30]),
        back=BACK,
        statuses=st.lists(st.sampled_from(JobStatus), max_size=2),
        trigger_types=st.lists(st.sampled_from([*map(str, TRIGGERS), "\ud800"]), max_size=2),
        index=st.integers(0, 1),
    )
    def list_jobs(self, org_id: str, back: int | None, index: int, **parts: Any) -> None:
        for each in {OrgId(org_id), *self.known[:1], *self.touched[:1]}:
            document = self.model.load([each]).snapshots.get(each)
            before = None if back is None else (document.last_fence if document else 0) + 1 - back
            for query in (
                JobQuery(each, before=before, **parts),
                JobQuery(each, parts["limit"], parts["offset"], before),
            ):
                equal(self.handle(index).list_jobs(query), self.model.list_jobs(query), f"I21: {query}")

    @rule(org_id=ORGS, back=st.integers(0, 30), index=st.integers(0, 1))
    def get_job(self, org_id: str, back: int, index: int) -> None:
        """A job with its report and inventory: under its own organisation and under others."""
        own, job_id = self.jobs[-1 - back % len(self.jobs)]
        for each in (own, *self.known[:2], OrgId(org_id)):
            found, wanted = (_get(store, each, job_id) for store in (self.handle(index), self.model))
            equal(found, wanted, f"I21: get_job({each!r}, {job_id[:20]!r})")


def _get(store: JobStore, org_id: OrgId, job_id: JobId) -> object:
    try:
        return store.get_job(org_id, job_id)
    except JobNotFoundError as exc:
        return str(exc)


def run_store_machine(
    factory: Callable[..., JobStore],
    *,
    examples: int = 200,
    steps: int = 50,
    seed_number: int | None = None,
    location: str | None = None,
    shrink: bool = True,
) -> None:
    """Run the machine on a store; raises CheckFailedError with the smallest example found on the first difference.

    With `seed_number` the same examples come each time (None: Hypothesis's settings decide). Nothing is written to
    Hypothesis's example database.
    """
    machine = type("StoreMachineOf", (StoreMachine,), {"factory": staticmethod(factory), "location": location})
    if seed_number is not None:
        machine = seed(seed_number)(machine)
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            database=None,
            deadline=None,
            derandomize=False if seed_number is not None else settings.default.derandomize,  # type: ignore[union-attr]
            report_multiple_bugs=False,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )
