"""Drives a store by hand: load, decide one operation, commit. Ids are counted, so that runs are reproducible."""

from typing import Any

from aggmaint import JobStore
from aggmaint.core.deciding import decide_register
from aggmaint.core.ids import JobId, OrgId, ScheduleId
from aggmaint.core.instants import StoreTime
from aggmaint.core.job import MaintenanceJob
from aggmaint.core.organization import OrgChange, OrgSnapshot
from aggmaint.core.outcomes import IfBusy
from aggmaint.core.settings import JobSettings
from aggmaint.core.steps import Basis, Decision, Grant
from aggmaint.store import CommitResult, Committed
from tests.support.operations import Ask, Attend, Finish, Operation

SETTINGS = JobSettings()


class Driver:
    """One writer of one store."""

    def __init__(self, store: JobStore, name: str = "w") -> None:
        self.store = store
        self._name = name
        self._count = 0

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}-{self._name}-{self._count:04}"

    def basis(self, time: StoreTime) -> Basis:
        return Basis(time, self.fresh("change"), SETTINGS)

    def grant(self) -> Grant:
        return Grant(JobId(self.fresh("job")), f"holder-{self._name}")

    def registration(self, org_id: str) -> OrgChange:
        now = self.store.load([]).time
        change = decide_register(None, OrgId(org_id), ScheduleId(self.fresh("default")), self.basis(now)).change
        assert change is not None
        return change

    def register(self, *org_ids: str) -> None:
        results = self.store.commit([self.registration(org_id) for org_id in org_ids])
        assert all(isinstance(result, Committed) for result in results)

    def document(self, org_id: str) -> OrgSnapshot:
        return self.store.load([OrgId(org_id)]).snapshots[OrgId(org_id)]

    def decide(self, org_id: str, operation: Operation) -> Decision[Any]:
        loaded = self.store.load([OrgId(org_id)])
        return operation.decide(loaded.snapshots[OrgId(org_id)], self.basis(loaded.time), self.grant())

    def change(self, org_id: str, operation: Operation) -> OrgChange:
        """The change that `operation` asks for; there must be one."""
        change = self.decide(org_id, operation).change
        assert change is not None
        return change

    def commit(self, change: OrgChange) -> CommitResult:
        (result,) = self.store.commit([change])
        return result

    def do(self, org_id: str, operation: Operation) -> Any:
        """Decide and commit; the answer. The commit must succeed."""
        decision = self.decide(org_id, operation)
        if decision.change is not None:
            assert isinstance(self.commit(decision.change), Committed)
        return decision.answer

    def start(self, org_id: str) -> MaintenanceJob:
        self.do(org_id, Ask(free=True, if_busy=IfBusy.FOLD, options={}))
        running = self.document(org_id).running
        assert running is not None
        return running.job

    def run_through(self, org_id: str, *, report: str | None = None, inventory: str | None = None) -> MaintenanceJob:
        """A job from its start to its end, as done."""
        job = self.start(org_id)
        self.do(org_id, Finish(mine=True, code=None, complete=True, report=report, inventory=inventory))
        return self.store.get_job(OrgId(org_id), job.id).job

    def attend(self, org_id: str) -> MaintenanceJob | None:
        job: MaintenanceJob | None = self.do(org_id, Attend(free=True))
        return job
