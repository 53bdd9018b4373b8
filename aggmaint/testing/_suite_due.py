"""Checks of list_organizations and find_due: who is there, and who needs attention when."""

from datetime import datetime, timedelta
from typing import Final

from attrs import evolve

from ..core.ids import OrgId, ScheduleId
from ..core.job import FailureCode, Lease
from ..core.schedule import Schedule
from ..store import DueOrgs, OrgPage, OrgQuery
from ._expect import equal, holds, present
from ._suite_base import SuiteBase
from .clocks import NOON
from .driving import Driver
from .operations import Ask, Attend, Enable, Finish, Lapse, Remove, Update

SECOND: Final = timedelta(seconds=1)
MICROSECOND: Final = timedelta(microseconds=1)
FAR: Final = NOON + timedelta(days=36_500)
PAST: Final = NOON - timedelta(days=10_000)
UNSORTED: Final = ("b", "\U0001f409", "Z", "a", "\uffee", "Zoë", "_")


def ids(*names: str) -> tuple[OrgId, ...]:
    return tuple(OrgId(name) for name in names)


class DueChecks(SuiteBase):
    """list_organizations, find_due."""

    @property
    def bare(self) -> Driver:
        """A driver of a store without organisations."""
        if self._driver is None:
            self._driver = Driver(self.open())
        return self._driver

    def schedule_free(self, *org_ids: str) -> Driver:
        """Organisations without schedules, so that nothing of theirs is ever due by itself."""
        self.bare.register(*org_ids)
        self.bare.store.commit([self.bare.edited(org_id, schedules=()) for org_id in org_ids])
        return self.bare

    def due(self, now: datetime | None = None, orgs_max: int = 10) -> DueOrgs:
        return self.bare.store.find_due(orgs_max, now)

    # -- list_organizations --

    def test_list_organizations_pages_in_code_point_order(self) -> None:
        """Pages follow the code points of the ids (not a locale, not UTF-16); `next` leads through all, and ends."""
        self.bare.register(*UNSORTED)
        for limit in (1, 2, 3, len(UNSORTED), 1000):
            seen: list[str] = []
            query: OrgQuery | None = OrgQuery(limit=limit)
            for _ in range(len(UNSORTED) + 1):
                if query is None:
                    break
                page = self.bare.store.list_organizations(query)
                holds(len(page.snapshots) <= limit, f"a page has at most {limit}")
                seen += [snapshot.org_id for snapshot in page.snapshots]
                query = OrgQuery(page.next, limit) if page.next is not None else None
            equal(seen, sorted(UNSORTED), f"ids met by following next, {limit} at a time")
        after = self.bare.store.list_organizations(OrgQuery(OrgId("Zo"), limit=2))
        equal([each.org_id for each in after.snapshots], ["Zoë", "_"], "the page after an id that nobody has")
        equal(after.snapshots[0], self.bare.document("Zoë"), "the document on a page")

    def test_list_organizations_leaves_out_removed_ones(self) -> None:
        """Tombstones are listed only when asked for; history and document of a removed organisation stay readable."""
        driver = self.bare
        driver.register("a", "b", "c", "d")
        job = driver.run_through("b", report="{}")
        for org_id in ("b", "d"):
            driver.do(org_id, Remove())
        page = driver.store.list_organizations(OrgQuery(limit=2))
        equal(page, OrgPage((driver.document("a"), driver.document("c")), None), "the organisations that are there")
        removed = driver.store.list_organizations(OrgQuery(removed=True)).snapshots
        equal([each.org_id for each in removed], ["a", "b", "c", "d"], "with the removed ones")
        equal(driver.store.get_job(OrgId("b"), job.id).report, "{}", "the report of a removed organisation's job")

    # -- slots --

    def slots_at(self, *starts: tuple[str, datetime]) -> Driver:
        """Organisations whose one schedule starts at this instant."""
        self.bare.register(*(org_id for org_id, _ in starts))
        for org_id, start in starts:
            (schedule,) = self.bare.document(org_id).schedules
            self.bare.keep(self.bare.edited(org_id, schedules=(self._moved(schedule, start),)))
        return self.bare

    def _moved(self, schedule: Schedule, start: datetime) -> Schedule:
        return evolve(schedule, next_slot=int(start.timestamp()), next_start=int(start.timestamp()))

    def test_find_due_finds_slots_from_their_start_on(self) -> None:
        """`noticing` holds an organisation from the instant at which a schedule starts; before, it is `next_wake_at`."""
        self.slots_at(("a", NOON))
        equal(self.due(NOON - MICROSECOND), DueOrgs((), (), (), NOON), "a microsecond before a slot")
        equal(self.due(NOON), DueOrgs((), ids("a"), (), None), "at a slot")
        equal(self.due(FAR), DueOrgs((), ids("a"), (), None), "long after a slot")

    def test_find_due_finds_the_earliest_slots_first(self) -> None:
        """`noticing` is ordered by the earliest start, then by id; `next_wake_at` is the earliest later instant."""
        starts = [("c", NOON), ("a", NOON + SECOND), ("b", NOON), ("d", NOON + 2 * SECOND), ("e", NOON + 3 * SECOND)]
        driver = self.slots_at(*starts)
        (schedule,) = driver.document("d").schedules
        later = evolve(self._moved(schedule, NOON + 9 * SECOND), id=ScheduleId("second"))
        driver.keep(driver.edited("d", schedules=(later, schedule)))
        found = self.due(NOON + SECOND)
        equal(found, DueOrgs((), ids("b", "c", "a"), (), NOON + 2 * SECOND), "two due at noon, one a second later")

    def test_find_due_without_now_takes_the_stores_time(self) -> None:
        """Without `now`, the store's wall clock decides: what was due long ago is found, what lies far ahead is not."""
        self.slots_at(("ahead", FAR), ("ago", PAST))
        equal(self.due(), DueOrgs((), ids("ago"), (), FAR), "find_due by the store's own time")

    # -- requests --

    def test_find_due_finds_the_longest_waiting_first(self) -> None:
        """`claiming` is ordered by how long the request has waited, then by id; it waits for no instant (no wake)."""
        driver = self.schedule_free("a", "b", "c", "busy")
        for org_id, seconds in (("c", 0), ("a", 5), ("b", 0)):
            driver.do(org_id, Ask(free=False), at=NOON + seconds * SECOND)
        driver.start("busy", at=NOON)
        driver.do("busy", Ask(free=False), at=NOON)
        equal(self.due(NOON + 9 * SECOND), DueOrgs((), (), ids("b", "c", "a"), None), "three that wait, and a busy one")

    def test_find_due_holds_requests_back_until_the_back_off_ends(self) -> None:
        """An automatic request after a failure is claimable from `not_before_at` on; until then that is the next wake."""
        driver = self.schedule_free("held", "free")
        driver.do("held", Update(), at=NOON)
        driver.finish("held", Finish(code=FailureCode.ERROR), at=NOON)
        until = present(driver.document("held").not_before_at, "a failure leaves a back-off")
        driver.do("free", Ask(free=False), at=NOON + SECOND)
        equal(self.due(until - MICROSECOND), DueOrgs((), (), ids("free"), until), "before the back-off ends")
        equal(self.due(until).claiming, ids("free", "held"), "when the back-off ends; a held one waits since then")
        equal(self.due(until).next_wake_at, None, "the next wake when nothing is held back")
        driver.do("held", Ask(free=False), at=NOON)
        equal(self.due(NOON + SECOND).claiming, ids("held", "free"), "a manual request is not held back")

    # -- leases --

    def test_find_due_finds_lapsed_jobs_in_steady_time(self) -> None:
        """`lapsed`, by id: lease or deadline has passed in steady time, or the boot is another; `now` is no matter (I13)."""
        driver = self.schedule_free("live", "deadline", "boot", "also-live", "until")
        time = driver.store.load([]).time
        ahead, ago = time.steady_s + 1e6, time.steady_s - 1e-3
        leases = {
            "live": Lease(time.boot, ahead, ahead),
            "deadline": Lease(time.boot, ahead, ago),
            "boot": Lease("another life", ahead, ahead),
            "also-live": Lease(time.boot, ahead, ahead + 1),
            "until": Lease(time.boot, ago, ahead),
        }
        for org_id, lease in leases.items():
            driver.start(org_id)
            running = present(driver.document(org_id).running, "a job runs")
            driver.keep(driver.edited(org_id, running=evolve(running, lease=lease)))
        for now in (None, NOON, FAR):
            equal(self.due(now).lapsed, ids("boot", "deadline", "until"), f"lapsed jobs, now={now}")
        driver.do("until", Attend())
        equal(self.due().lapsed, ids("boot", "deadline"), "lapsed jobs after one was rescued")

    # -- all groups --

    def test_find_due_gives_each_group_at_most_so_many(self) -> None:
        """Each group holds at most `orgs_max`, the first of its order, so that one group never starves another."""
        driver = self.slots_at(*((f"slot-{number}", NOON + number * SECOND) for number in range(3)))
        for number in range(3):
            driver.register(f"lapsed-{number}", f"waiting-{number}")
            driver.do(f"waiting-{number}", Ask(free=False), at=NOON + number * SECOND)
            driver.start(f"lapsed-{number}")
            driver.do(f"lapsed-{number}", Lapse())
        now = NOON + 3 * SECOND
        for orgs_max in (1, 2):
            wanted = [
                ids(*(f"{group}-{number}" for number in range(orgs_max))) for group in ("lapsed", "slot", "waiting")
            ]
            found = self.due(now, orgs_max)
            equal([found.lapsed, found.noticing, found.claiming], wanted, f"the groups, orgs_max={orgs_max}")

    def test_find_due_leaves_out_disabled_and_removed_ones(self) -> None:
        """Nothing of a disabled or removed organisation is to be noticed or claimed, or a reason to wake up."""
        driver = self.slots_at(("off", NOON), ("gone", NOON), ("held", NOON), ("lapsed", NOON))
        for org_id in ("off", "gone"):
            driver.do(org_id, Ask(free=False), at=NOON)
        driver.do("held", Update(), at=NOON)
        driver.finish("held", Finish(code=FailureCode.ERROR), at=NOON)
        driver.start("lapsed")
        driver.do("lapsed", Lapse())
        for org_id in ("off", "held", "lapsed"):
            driver.do(org_id, Enable(enabled=False))
        driver.do("gone", Remove())
        found = self.due(NOON)
        equal(found, DueOrgs(ids("lapsed"), (), (), None), "only the lapsed job of a disabled organisation")
        equal(self.due(PAST).next_wake_at, None, "nothing wakes for disabled and removed ones")
