"""I21: memory and SQLite, in lockstep, give the same answer to everything (a state machine compares them)."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aggmaint import JobStatus
from aggmaint.core.ids import JobId, OrgId
from aggmaint.core.organization import OrgChange
from aggmaint.errors import JobNotFoundError
from aggmaint.store import JobQuery, OrgQuery
from aggmaint.stores.memory import MemoryStore
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import ManualClock
from tests.support.driving import Driver
from tests.support.operations import Operation, Pass, operations, passings
from tests.support.profiles import examples

ORG_IDS = ("acme", "ACME", "a'b\"; DROP TABLE x --", "Zoë", "日本", "\U0001f409", "x" * 255, " ", "%", "A\u030a")
ORGS = st.sampled_from(ORG_IDS[:4]) | st.sampled_from(ORG_IDS)
TRIGGERS = (
    "ManualMaintenance",
    "TimeBasedMaintenance",
    "CubeUpdateMaintenance(StaticCubeUpdated)",
    "CubeUpdateMaintenance(DynamicCubeUpdated)",
)


class StoreAgreement(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="aggmaint-agreement-"))
        self.clocks = (ManualClock(), ManualClock())
        self.memory = MemoryStore(clock=self.clocks[0])
        self.sqlite = SQLiteStore(self.directory / "jobs.db", clock=self.clocks[1], synchronous="NORMAL")
        self.driver = Driver(self.memory)
        self.known: list[str] = []
        self.pocket: list[OrgChange] = []
        self.jobs: list[JobId] = [JobId("unknown")]

    def teardown(self) -> None:
        self.sqlite.close()
        shutil.rmtree(self.directory)

    @initialize()
    def prepare(self) -> None:
        for store in (self.memory, self.sqlite):
            store.prepare()
            store.prepare()

    def both(self, changes: list[OrgChange]) -> None:
        assert self.memory.commit(changes) == self.sqlite.commit(changes)
        self.pocket += changes
        self.jobs += [change.granted.id for change in changes if change.granted]

    def org(self, org_id: str) -> str:
        return org_id if org_id in self.known else self.known[0]

    # -- changing --

    @rule(org_id=ORGS)
    def register(self, org_id: str) -> None:
        self.both([self.driver.registration(org_id)])
        self.known = list(dict.fromkeys([*self.known, org_id]))

    @rule(org_id=ORGS, operation=operations())
    def change(self, org_id: str, operation: Operation) -> None:
        if self.known and (change := self.driver.decide(self.org(org_id), operation).change):
            self.both([change])

    @rule(org_ids=st.lists(ORGS, max_size=6), operation=operations())
    def change_many(self, org_ids: list[str], operation: Operation) -> None:
        """In one batch, also several for one organisation: the second is stale."""
        if self.known:
            decisions = [self.driver.decide(self.org(org_id), operation) for org_id in org_ids]
            self.both([decision.change for decision in decisions if decision.change])

    @rule(index=st.integers(0, 60))
    def repeat(self, index: int) -> None:
        """A change of before once more: committed before, or stale by now."""
        if self.pocket:
            self.both([self.pocket[-1 - index % len(self.pocket)]])

    @rule(org_id=ORGS, operation=operations(), seconds=st.sampled_from([4.9, 5.1, 60.0]))
    def decide_then_dawdle(self, org_id: str, operation: Operation, seconds: float) -> None:
        if self.known and (change := self.driver.decide(self.org(org_id), operation).change):
            self.pass_time(Pass(seconds))
            self.both([change])

    @rule(passing=passings())
    def pass_time(self, passing: Pass) -> None:
        for clock in self.clocks:
            clock.pass_s(passing.seconds)
            clock.step_wall(passing.wall_s)
            if passing.reboot:
                clock.reboot()

    # -- reading --

    @invariant()
    def documents_agree(self) -> None:
        org_ids = [OrgId(org_id) for org_id in (*self.known, "unknown")]
        assert self.memory.load(org_ids) == self.sqlite.load(org_ids)

    @rule(orgs_max=st.sampled_from([1, 2, 3, 100]), hours=st.none() | st.integers(-30, 30))
    def find_due(self, orgs_max: int, hours: int | None) -> None:
        now = None if hours is None else self.clocks[0].wall_at + timedelta(hours=hours)
        assert self.memory.find_due(orgs_max, now) == self.sqlite.find_due(orgs_max, now)

    @rule(limit=st.sampled_from([1, 2, 3, 1000]))
    def list_organizations(self, limit: int) -> None:
        after: OrgId | None = None
        seen: list[str] = []
        while True:
            query = OrgQuery(after, limit)
            page = self.memory.list_organizations(query)
            assert page == self.sqlite.list_organizations(query)
            seen += [snapshot.org_id for snapshot in page.snapshots]
            if page.next is None:
                break
            after = page.next
        assert seen == sorted(self.known)

    @rule(
        org_id=ORGS,
        limit=st.sampled_from([1, 2, 10]),
        offset=st.sampled_from([0, 0, 1, 2, 50, 10**30]),
        before=st.none() | st.sampled_from([-1, 0, 1, 2, 3, 4, 9, 10**30]),
        statuses=st.lists(st.sampled_from(JobStatus), max_size=2),
        trigger_types=st.lists(st.sampled_from(TRIGGERS), max_size=2),
    )
    def list_jobs(self, org_id: str, **parts: Any) -> None:
        query = JobQuery(OrgId(org_id), **parts)
        assert self.memory.list_jobs(query) == self.sqlite.list_jobs(query)

    @rule(org_id=ORGS, index=st.integers(0, 30))
    def get_job(self, org_id: str, index: int) -> None:
        job_id = self.jobs[-1 - index % len(self.jobs)]
        for known in (*self.known[:2], org_id):
            answers = [_get(store, OrgId(known), job_id) for store in (self.memory, self.sqlite)]
            assert answers[0] == answers[1]


def _get(store: MemoryStore | SQLiteStore, org_id: OrgId, job_id: JobId) -> object:
    try:
        return store.get_job(org_id, job_id)
    except JobNotFoundError as exc:
        return str(exc)


TestStoreAgreement_I21 = StoreAgreement.TestCase
TestStoreAgreement_I21.settings = examples(120)
