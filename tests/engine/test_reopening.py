"""I29: nothing that decides lives in a process. Every call here is made by a new store on the same file."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import evolve

from aggmaint import CubeUpdate, IfBusy, JobStore, MaintenanceEngine
from aggmaint.core.ids import JobId, OrgId
from aggmaint.core.organization import OrgChange
from aggmaint.store import CommitResult, DueOrgs, JobPage, JobQuery, JobRecord, Loaded, OrgPage, OrgQuery
from aggmaint.stores.memory import MemoryStore
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import ManualClock
from tests.support.tasks import FunctionTask


class ForgetfulStore:
    """As if the process died after each call: nothing but the file goes on."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self._make: Callable[[], SQLiteStore] = lambda: SQLiteStore(path, clock=clock)

    def _once(self, verb: str, *arguments: Any) -> Any:
        store = self._make()
        try:
            return getattr(store, verb)(*arguments)
        finally:
            store.close()

    def prepare(self) -> None:
        self._once("prepare")

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        loaded: Loaded = self._once("load", org_ids)
        return loaded

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        results: Sequence[CommitResult] = self._once("commit", changes)
        return results

    def find_due(self, orgs_max: int, now: datetime | None = None) -> DueOrgs:
        due: DueOrgs = self._once("find_due", orgs_max, now)
        return due

    def list_organizations(self, query: OrgQuery) -> OrgPage:
        page: OrgPage = self._once("list_organizations", query)
        return page

    def get_job(self, org_id: OrgId, job_id: JobId) -> JobRecord:
        record: JobRecord = self._once("get_job", org_id, job_id)
        return record

    def list_jobs(self, query: JobQuery) -> JobPage:
        page: JobPage = self._once("list_jobs", query)
        return page

    def close(self) -> None:
        """Nothing is open."""


def story(store: JobStore, clock: ManualClock) -> list[Any]:
    """A little of everything, each step by an engine of its own; what can be seen of it, ids left out."""

    def engine() -> MaintenanceEngine:
        return MaintenanceEngine(store=store, task=FunctionTask(), scheduler=None, executor=None)

    seen: list[Any] = [engine().register_organizations(["acme", "other"])]
    for _ in range(3):
        seen.append(type(engine().run_immediately("acme", options={"n": 1})).__name__)
        seen.append(type(engine().cube_updated("acme", cube_id="c", change=CubeUpdate.STATIC_CUBE_UPDATED)).__name__)
        seen.append(type(engine().run_immediately("other", if_busy=IfBusy.REJECT)).__name__)
        engine().mark_changed("other", "orders", starts_at=clock.wall_at, ends_at=clock.wall_at + timedelta(days=1))
        engine().pause("other", reason="why")
        clock.pass_until(datetime(2026, 3, 3, 4, tzinfo=UTC) + timedelta(days=len(seen)))
        seen.append(evolve(engine().tick(), wait_s=0.0))
        engine().resume("other")
    for org in ("acme", "other"):
        document = engine().get_organization(org)
        seen.append(evolve(document, change_ids=(), schedules=(), inventory_job_id=None))
        seen.append([(s.last_slot, s.skipped, s.missed) for s in document.schedules])
        seen.append([(j.fence, str(j.trigger), j.slot, j.ended_at) for j in engine().list_jobs(org).jobs])
    return seen


def test_I29_killing_every_process_between_two_calls_changes_no_answer(tmp_path: Path) -> None:
    clock, model_clock = ManualClock(), ManualClock()
    forgetful = story(ForgetfulStore(tmp_path / "jobs.db", clock), clock)
    assert forgetful == story(MemoryStore(clock=model_clock), model_clock)
    assert "Started" in forgetful
