"""Drives a store by hand: load, decide one operation, commit. Ids are counted, so that runs can be repeated.

Theory of operation. A store's clock can not be moved from outside, but a decision takes the time as an argument. So the
driver decides `at` any wall instant that a check likes, and stamps the change with the store's own time when it hands it
in. The stamp lies half a minute ahead, which `judge` does not mind: so nothing becomes too old by accident on a machine that
stands still for seconds between stamp and commit.
"""

from datetime import datetime
from typing import Any, Final

from attrs import evolve

from ..core.deciding import decide_register
from ..core.ids import JobId, OrgId, ScheduleId
from ..core.instants import StoreTime
from ..core.job import MaintenanceJob
from ..core.organization import OrgChange, OrgSnapshot
from ..core.settings import JobSettings
from ..core.steps import Basis, Decision, Grant
from ..store import CommitResult, Committed, JobQuery, JobStore
from ._expect import equal, holds, present
from .clocks import NOON, passed
from .operations import Ask, Finish, Operation

STAMP_AHEAD_S: Final = 30.0


class Driver:
    """One writer of one store. `now` is the wall instant at which it decides, unless told otherwise with `at`."""

    def __init__(
        self, store: JobStore, name: str = "w", *, settings: JobSettings | None = None, now: datetime = NOON
    ) -> None:
        self.store = store
        self.settings = settings or JobSettings()
        self.now = now
        self._name = name
        self._count = 0

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}-{self._name}-{self._count:04}"

    def basis(self, at: datetime | None = None) -> Basis:
        """The store's steady time, and the wall time of the script."""
        time = self.store.load([]).time
        return Basis(StoreTime(at or self.now, time.steady_s, time.boot), self.fresh("change"), self.settings)

    def grant(self) -> Grant:
        return Grant(JobId(self.fresh("job")), f"holder-{self._name}")

    def stamped(self, change: OrgChange) -> OrgChange:
        """The change as decided now, by the store's own clock."""
        return evolve(change, decided_at=passed(self.store.load([]).time, STAMP_AHEAD_S))

    def document(self, org_id: str) -> OrgSnapshot:
        found = self.store.load([OrgId(org_id)]).snapshots.get(OrgId(org_id))
        return present(found, f"load gives the document of {org_id!r}, which was committed")

    def history(self, org_id: str, limit: int = 100) -> tuple[MaintenanceJob, ...]:
        return self.store.list_jobs(JobQuery(OrgId(org_id), limit=limit)).jobs

    def registration(self, org_id: str, at: datetime | None = None) -> OrgChange:
        decision = decide_register(None, OrgId(org_id), ScheduleId(self.fresh("default")), self.basis(at))
        return self.stamped(present(decision.change, "registering is a change"))

    def register(self, *org_ids: str, at: datetime | None = None) -> None:
        results = self.store.commit([self.registration(org_id, at) for org_id in org_ids])
        equal(list(results), [Committed(1)] * len(org_ids), f"new organisations {org_ids[:3]!r} are committed")

    def decide(self, org_id: str, operation: Operation, at: datetime | None = None) -> Decision[Any]:
        return operation.decide(self.document(org_id), self.basis(at), self.grant())

    def change(self, org_id: str, operation: Operation, at: datetime | None = None) -> OrgChange:
        """The change that `operation` asks for, stamped; there must be one."""
        change = self.decide(org_id, operation, at).change
        return self.stamped(present(change, f"{operation} is a change"))

    def edited(self, org_id: str, **parts: Any) -> OrgChange:
        """A change that sets fields of the document to whatever a check likes."""
        document = self.document(org_id)
        change_id = self.fresh("change")
        after = evolve(
            document, revision=document.revision + 1, change_ids=(*document.change_ids[-31:], change_id), **parts
        )
        return self.stamped(OrgChange(change_id, document.revision, self.basis().time, after))

    def commit(self, change: OrgChange) -> CommitResult:
        results = self.store.commit([change])
        equal(len(results), 1, "commit gives one result for one change")
        return results[0]

    def keep(self, change: OrgChange) -> OrgSnapshot:
        """Commit a change that must succeed; the document that it leaves."""
        wanted = Committed(change.document.revision)
        equal(self.commit(change), wanted, f"a change of {change.org_id!r} on its present revision is committed")
        return change.document

    def do(self, org_id: str, operation: Operation, at: datetime | None = None) -> Any:
        """Decide and commit; the answer. The commit must succeed."""
        decision = self.decide(org_id, operation, at)
        if decision.change is not None:
            self.keep(self.stamped(decision.change))
        return decision.answer

    def start(self, org_id: str, at: datetime | None = None) -> MaintenanceJob:
        """A manual job that is in progress now."""
        change = self.change(org_id, Ask(), at)
        self.keep(change)
        return present(change.granted, f"{org_id!r} was free, so a job was granted")

    def finish(self, org_id: str, ending: Finish | None = None, at: datetime | None = None) -> MaintenanceJob:
        """The running job's end, as done or as `ending` says."""
        change = self.change(org_id, ending or Finish(), at)
        self.keep(change)
        holds(change.ended, f"{org_id!r} ran a job, so it has ended")
        return present(change.ended, "a job ended").job

    def run_through(self, org_id: str, *, report: str | None = None, inventory: str | None = None) -> MaintenanceJob:
        """A job from its start to its end, as done."""
        self.start(org_id)
        return self.finish(org_id, Finish(report=report, inventory=inventory))
