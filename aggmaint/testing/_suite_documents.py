"""Checks of prepare, load and close: what is put in comes out, for every organisation, field and history."""

import math
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from attrs import evolve
from hypothesis import HealthCheck, Phase, given, seed, settings

from ..core.ids import JobId, OrgId, ScheduleId
from ..core.job import Fence, Lease, MaintenanceJob, Progress, RunningJob
from ..core.marks import ChangeMark
from ..core.organization import OrgChange, OrgSnapshot, Request
from ..core.schedule import Execution, Pause, Schedule
from ..core.trigger import Trigger
from ..core.use import DefinitionUse
from ..store import Committed, DueOrgs, JobQuery, Loaded, OrgQuery
from ._expect import comes_true, equal, holds
from ._suite_base import ACME, OTHER, SuiteBase
from .clocks import NOON
from .driving import Driver
from .operations import AddSchedule, Ask, Finish, Mark, SetPause, Update, Use
from .strategies import HOSTILE_ORG_IDS, histories

EXACT: Final = NOON.replace(hour=1, minute=2, second=3, microsecond=456_789)
LONG_AGO: Final = NOON.replace(year=1970, month=1, day=1, hour=0)
ORGS_MANY: Final = 1100


def full_job(org_id: OrgId) -> MaintenanceJob:
    """A job in progress in which every field says something."""
    return MaintenanceJob(
        id=JobId("job-Größe"),
        org_id=org_id,
        fence=Fence(3, 1),
        trigger=Trigger.parse("Somebody's(Own)"),
        created_at=EXACT - timedelta(microseconds=1),
        started_at=EXACT,
        holder="host:1:ü",
        requests_folded=7,
        schedule_id=ScheduleId("s-1"),
        slot=2**40,
    )


def full_document(document: OrgSnapshot, change_id: str, lease: Lease) -> OrgSnapshot:
    """The next document of `document`, in which every field says something."""
    org_id, job = document.org_id, full_job(document.org_id)
    pause = Pause("op", "quiet\nhours ✓", EXACT)
    schedule = Schedule(
        id=ScheduleId("s-1"),
        time_expression="0 30 2 ? * MON-FRI",
        created_by_user="ü",
        created_at=LONG_AGO,
        zone="Australia/Lord_Howe",
        active=False,
        paused=pause,
        spread_s=0.1,
        key="acme/s-1",
        last_slot=2**40,
        slots_after=2**40 + 3,
        next_slot=2**41,
        next_start=2**41 + 1,
        skipped=1,
        missed=1000,
        missed_over=True,
        latest_execution=Execution(JobId("before"), EXACT),
    )
    options: dict[str, Any] = {"a": [1, None, True, 0.1, "ü\ud800", {"b": []}], "": {}}
    running = RunningJob(
        job, lease, options, {"Größe": 2**70}, 5, True, Progress("build", 1, None, "12 of ∞", EXACT), 7
    )
    return OrgSnapshot(
        org_id=org_id,
        revision=document.revision + 1,
        change_ids=(*document.change_ids, change_id),
        generation=3,
        last_fence=1,
        running=running,
        pending=Request(Trigger.parse("odd text("), EXACT, True, options, {ScheduleId("s-1"): 2**40}, 3),
        demand={"Größe": 2**70, "": 1},
        covered={"Größe": 1},
        schedules=(schedule, evolve(schedule, id=ScheduleId("s-0"), paused=None, latest_execution=None)),
        removed_schedules=(ScheduleId("gone-1"), ScheduleId("gone-2")),
        enabled=False,
        paused=pause,
        failure_streak=9,
        not_before_at=EXACT,
        inventory_job_id=JobId("before"),
        marks=(ChangeMark(4, "orders", EXACT, None), ChangeMark(5, "*", None, EXACT)),
        last_mark=5,
        pruned_through=0,
        oldest_ended_at=LONG_AGO,
        removed_at=EXACT,
        uses=(DefinitionUse("*", "change-1", 6, 2**70, EXACT), DefinitionUse("Größe.ü", change_id, 8, 0, LONG_AGO)),
        last_use=8,
    )


def kept_documents(store: Any, org_ids: tuple[str, ...]) -> Any:
    loaded: Loaded = store.load([OrgId(org_id) for org_id in org_ids])
    return dict(loaded.snapshots)


class DocumentChecks(SuiteBase):
    """prepare, load, close."""

    def test_prepare_again_keeps_everything(self) -> None:
        """`prepare` is idempotent: called again on a store in use it changes nothing."""
        job = self.driver.run_through(ACME, report='{"n":1}')
        before = kept_documents(self.store, (ACME, OTHER))
        self.store.prepare()
        equal(kept_documents(self.store, (ACME, OTHER)), before, "prepare keeps the documents")
        equal(self.store.get_job(ACME, job.id).report, '{"n":1}', "prepare keeps jobs and reports")

    def test_a_new_store_is_empty(self) -> None:
        """A new place holds no organisations, and nothing in it is due."""
        store = self.open()
        equal(dict(store.load([ACME]).snapshots), {}, "load of a new store")
        equal(store.list_organizations(OrgQuery(removed=True)).snapshots, (), "list_organizations of a new store")
        equal(store.find_due(10), DueOrgs((), (), (), None), "find_due of a new store")
        equal(store.list_jobs(JobQuery(ACME)).jobs, (), "list_jobs of a new store")

    def test_load_leaves_out_unknown_organizations(self) -> None:
        """`load` answers for the organisations that were asked for and are there; the others are absent."""
        asked = [OTHER, OrgId("unknown"), ACME, ACME]
        found = self.driver.store.load(asked).snapshots
        equal(set(found), {ACME, OTHER}, "load gives the known ones of those asked for, and no others")
        equal([found[org_id].org_id for org_id in (ACME, OTHER)], [ACME, OTHER], "each under its own id")
        equal(dict(self.store.load([]).snapshots), {}, "load of none")
        equal(set(self.store.load([OTHER]).snapshots), {OTHER}, "load of one")

    def test_load_and_commit_take_many_organizations(self) -> None:
        """`load` and `commit` take more organisations at once than a statement has room for parameters (1,100)."""
        org_ids = [f"org-{number:05}" for number in range(ORGS_MANY)]
        self.driver.register(*org_ids)
        found = self.store.load([OrgId(org_id) for org_id in org_ids]).snapshots
        equal(len(found), ORGS_MANY, "load of 1,100 organisations that were committed at once")

    def test_load_tells_a_time_that_passes(self) -> None:
        """`load` tells the store's clock: an aware wall instant, steady seconds that only grow, and the boot's name."""
        store = self.open()
        first = store.load([]).time
        holds(math.isfinite(first.steady_s), f"steady_s={first.steady_s!r} is a finite number of seconds")
        holds(isinstance(first.boot, str) and first.boot, f"boot={first.boot!r} names the life of the steady clock")
        readings = [store.load([]).time for _ in range(20)]
        for before, after in pairwise(readings):
            holds(after.boot == before.boot, "the boot stays the same while nothing is started anew")
            holds(after.steady_s >= before.steady_s, "steady time never goes back")
        passes = comes_true(lambda: store.load([]).time.steady_s > first.steady_s, within_s=2.0)
        holds(passes, "steady time passes")

    def test_load_gives_back_every_field(self) -> None:
        """Every field of a document comes back as it was committed: microseconds, big numbers, any JSON, any text."""
        lease = Lease("another life", 0.1, 1e9 + 0.3)
        before = self.driver.document(ACME)
        change_id = self.driver.fresh("change")
        document = full_document(before, change_id, lease)
        running = document.running
        change = OrgChange(
            change_id, before.revision, self.driver.basis().time, document, granted=running.job if running else None
        )
        self.driver.keep(self.driver.stamped(change))
        equal(self.driver.document(ACME), document, "the document that was committed")
        equal(self.driver.document(OTHER).revision, 1, "I2: another organisation's document")

    def test_load_gives_back_fields_that_were_cleared(self) -> None:
        """What is absent in the newest document is absent: nothing of an older one shines through."""
        driver = self.driver
        for operation in (
            Mark(),
            Use(),
            Update(free=False),
            SetPause(),
            AddSchedule(),
            Ask(options={"a": 1}),
            Finish(),
        ):
            driver.do(ACME, operation)
        empty = OrgSnapshot(ACME, last_fence=driver.document(ACME).last_fence)
        parts = {
            name: getattr(empty, name)
            for name in (
                *("pending", "demand", "covered", "schedules", "paused", "marks", "oldest_ended_at", "last_mark"),
                *("uses", "last_use"),
            )
        }
        change = driver.edited(ACME, **parts)
        equal(driver.keep(change), driver.document(ACME), "a document whose fields were cleared")

    def test_load_gives_back_the_document_of_any_history(self) -> None:
        """Random histories, made by the real rules: after each commit, `load` and `list_jobs` give what was kept (I21)."""
        deep = settings(
            max_examples=self.histories_max,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if self.shrink else [])],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        seed(self.seed)(deep(given(histories())(self._replay)))()

    def _replay(self, changes: tuple[OrgChange, ...]) -> None:
        driver = Driver(self.open())
        jobs: dict[JobId, MaintenanceJob] = {}
        for change in changes:
            driver.keep(driver.stamped(change))
            equal(driver.document(change.org_id), change.document, f"the document after change {change.change_id}")
            jobs |= {change.ended.job.id: change.ended.job} if change.ended else {}
            jobs |= {change.granted.id: change.granted} if change.granted else {}
            kept = [job for job in jobs.values() if job.fence.number > change.document.pruned_through]
            wanted = tuple(sorted(kept, key=lambda job: job.fence.number, reverse=True))
            equal(driver.history(change.org_id), wanted, f"the history after change {change.change_id}")

    def test_hostile_ids_stay_apart_I2(self) -> None:
        """Organisation ids are compared exactly: case, spaces, normal forms, wildcards, paths, 255 characters of 4 bytes."""
        driver = Driver(self.open())
        driver.register(*HOSTILE_ORG_IDS)
        for number, org_id in enumerate(HOSTILE_ORG_IDS):
            driver.do(org_id, Update(free=False, cube=f"cube-{number}"))
        for number, org_id in enumerate(HOSTILE_ORG_IDS):
            equal(driver.document(org_id).demand, {f"cube-{number}": 1}, f"I2: the document of {org_id!r}")
        listed = driver.store.list_organizations(OrgQuery(limit=1000)).snapshots
        equal({each.org_id for each in listed}, set(HOSTILE_ORG_IDS), "list_organizations of them")
        holds(all(result == Committed(3) for result in self._rename(driver)), "each is changed under its own id")

    def _rename(self, driver: Driver) -> list[object]:
        changes = [driver.change(org_id, SetPause()) for org_id in HOSTILE_ORG_IDS]
        return list(driver.store.commit(changes))

    def test_close_is_idempotent(self) -> None:
        """`close` lets go of everything, and may be called again."""
        self.driver.run_through(ACME)
        self.store.close()
        self.store.close()
