"""`measure`: what a store can do, in numbers, by the same driver that checks it.

The numbers are for comparing stores and versions on one machine; they are no part of passing. One thread, one handle: what
a store gains by grouping the commits of many threads is not seen here.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attrs import frozen

from ..core.ids import OrgId
from ..store import JobQuery, JobStore
from ._suite_base import takes_location
from .clocks import NOON
from .driving import Driver
from .operations import Ask, Finish, Renew


@frozen
class Timings:
    """Seconds and rates of one store, on this machine, by one thread.

    jobs_per_s       jobs from start to done: two commits each, with the loads before them.
    commits_per_s    commits of one change, without the load before.
    batched_per_s    changes committed 500 at a time.
    idle_s           one `find_due` when nothing is due, over `orgs` organisations.
    due_s            one `find_due` of 100 when all of them are due.
    page_s           one page of 10 from a history of 100 jobs, 50 deep.
    """

    orgs: int
    jobs_per_s: float
    commits_per_s: float
    batched_per_s: float
    idle_s: float
    due_s: float
    page_s: float


BUDGET_S: Final = 0.5


def seconds(body: Callable[[], object], times_max: int = 1) -> float:
    """Wall seconds of one call, on average over at most so many calls and about half a second."""
    began, times = time.perf_counter(), 0
    while times < times_max:
        body()
        times += 1
        if time.perf_counter() - began > BUDGET_S:
            break
    return max(time.perf_counter() - began, 1e-9) / times


def measure(
    factory: Callable[..., JobStore], *, orgs: int = 300, jobs: int = 100, location: str | None = None
) -> Timings:
    """Measure a new store of this factory."""
    with TemporaryDirectory(prefix="aggmaint-timings-", dir=location, ignore_cleanup_errors=True) as place:
        store: JobStore = factory(str(Path(place))) if takes_location(factory) else factory()
        try:
            store.prepare()
            return _measured(Driver(store), orgs, jobs)
        finally:
            store.close()


def _measured(driver: Driver, orgs: int, jobs: int) -> Timings:
    store, org_ids = driver.store, [OrgId(f"org-{number:06}") for number in range(orgs)]
    registrations = [driver.registration(org_id) for org_id in org_ids]
    batches = [registrations[start : start + 500] for start in range(0, orgs, 500)]
    batched_s = seconds(lambda: [store.commit([driver.stamped(c) for c in batch]) for batch in batches])
    busy, query = org_ids[0], JobQuery(org_ids[0], limit=10, offset=jobs // 2)

    def one_job() -> None:
        driver.do(busy, Ask())
        driver.do(busy, Finish(report='{"complete":true}'))

    jobs_s = seconds(one_job, jobs)
    driver.start(busy)
    commit_s = sum(_commit_s(driver, busy) for _ in range(jobs)) / jobs
    driver.do(busy, Finish())
    return Timings(
        orgs=orgs,
        jobs_per_s=1 / jobs_s,
        commits_per_s=1 / commit_s,
        batched_per_s=orgs / batched_s,
        idle_s=seconds(lambda: store.find_due(100, NOON), 20),
        due_s=seconds(lambda: store.find_due(100, NOON + timedelta(days=2)), 20),
        page_s=seconds(lambda: store.list_jobs(query), 20),
    )


def _commit_s(driver: Driver, org_id: OrgId) -> float:
    change = driver.change(org_id, Renew())
    return seconds(lambda: driver.commit(change))
