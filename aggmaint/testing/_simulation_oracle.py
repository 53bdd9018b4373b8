"""Watches every committed change of a store and says which invariant it breaks (design/jobs.md, I1 to I28).

Theory of operation. The oracle sits below everything that is simulated: it is told of each change that the store really
applied, with the document before and after it, the store's time of that moment, and which process made it. From the rows
alone (grants, ends, publishes) it keeps a history of its own, and trusts no field that the engine could have got wrong:
that a job is in progress is known from its grant and its end, not from `running`.

Rules that need one change are in `_simulation_rules.py`; this file holds those that need the history.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field, frozen

from ..core.events import Event, JobFinished, JobStarted
from ..core.ids import OrgId
from ..core.instants import StoreTime
from ..core.job import Fence, JobStatus, MaintenanceJob
from ..core.organization import OrgChange, OrgSnapshot
from ..errors import AggmaintError
from ..store import JobQuery, JobStore
from ._simulation_rules import broken_rules, fired_slots, has_lapsed


class InvariantBrokenError(AggmaintError, AssertionError):
    """An invariant does not hold; `rule` names it."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule


@frozen
class Applied:
    """A change that a store applied, and by whom."""

    change: OrgChange
    before: OrgSnapshot
    after: OrgSnapshot
    now: StoreTime
    by: str


@define
class Made:
    """What one caller's commits did to the organisation that it asked about: how many changes, and which jobs were granted.

    A request also launches what waited for a place, of whatever organisation: that is not its answer's business.
    """

    org_id: str
    changes: int = 0
    granted: list[str] = field(factory=list)


@define
class _Granted:
    job: MaintenanceJob
    by: str
    ended: MaintenanceJob | None = None


@define
class _OrgHistory:
    jobs: list[_Granted] = field(factory=list)
    fired: dict[str, int] = field(factory=dict)
    published: Fence | None = None
    updates: Counter[str] = field(factory=Counter)
    changes: int = 0


class Oracle:
    """Told of all that happens; calls `broken` with the InvariantBrokenError of the first rule that does not hold."""

    def __init__(
        self, broken: Callable[[InvariantBrokenError], None], actor: Callable[[], object] = lambda: None
    ) -> None:
        self.seen: Counter[str] = Counter()
        self.last: dict[OrgId, OrgSnapshot] = {}
        self._broken = broken
        self._actor = actor
        self._watched: dict[object, Made] = {}
        self._orgs: dict[OrgId, _OrgHistory] = {}
        self._events: Counter[tuple[str, str, str]] = Counter()

    def check(self, rule: str, holds: bool, message: str | Callable[[], str]) -> None:
        if not holds:
            self._broken(InvariantBrokenError(rule, message if isinstance(message, str) else message()))

    def history(self, org_id: OrgId) -> _OrgHistory:
        return self._orgs.setdefault(org_id, _OrgHistory())

    # -- changes -------------------------------------------------------------------------------------------------------

    def applied(self, applied: Applied) -> None:
        """A change was committed."""
        change, org_id = applied.change, applied.change.org_id
        known = self.last.get(org_id, OrgSnapshot(org_id))
        self.check(
            "I19", known == applied.before, lambda: f"{org_id}: a committed document has changed without a commit"
        )
        self.check(
            "I19", applied.after == change.document, lambda: f"{org_id}: what is stored is not what was committed"
        )
        self.last[org_id] = applied.after
        history = self.history(org_id)
        history.changes += 1
        made = self._watched.get(self._actor())
        if made is not None and change.org_id == made.org_id:
            made.changes += 1
            made.granted += [change.granted.id] if change.granted else []
        if change.ended:
            self._ended(history, applied)
        if change.granted:
            self._granted(history, applied)
        self._agrees(history, applied.after)
        self._held(history, applied)
        for rule, message in broken_rules(change, applied.before, applied.after, applied.now):
            self._broken(InvariantBrokenError(rule, f"{org_id}: {message}"))
        self._slots(history, applied)

    def _ended(self, history: _OrgHistory, applied: Applied) -> None:
        assert applied.change.ended is not None
        job = applied.change.ended.job
        granted = next((each for each in history.jobs if each.job.id == job.id), None)
        if granted is None:
            self.check("I9", False, lambda: f"job {job.id} ended and was never granted")
            return
        self.check("I4", granted.ended is None, lambda: f"job {job.fence} ended twice: {granted.ended} and {job}")
        self.check("I5", _identity(granted.job) == _identity(job), lambda: f"{granted.job} became {job}")
        self.check("I6", job.status is not JobStatus.INPROGRESS and job.ended_at is not None, lambda: f"no end: {job}")
        granted.ended = job
        code = job.error.code.value if job.error else "done"
        self.seen[f"ended: {code}"] += 1
        if code in ("done", "error", "cancelled", "shutdown"):
            self.check("I7", granted.by == applied.by, lambda: f"{applied.by} ended a job of {granted.by} as {code}")

    def _granted(self, history: _OrgHistory, applied: Applied) -> None:
        job = applied.change.granted
        assert job is not None
        running = [each.job.fence for each in history.jobs if each.ended is None]
        self.check("I1", not running, lambda: f"{applied.by} was granted {job.fence} while {running} is in progress")
        newest = history.jobs[-1].job.fence if history.jobs else Fence(0, 0)
        self.check("I3", job.fence.number == newest.number + 1, lambda: f"fence {job.fence} follows {newest}")
        self.check("I3", job.fence > newest, lambda: f"fence {job.fence} does not outrank {newest}")
        self.check("I6", job.status is JobStatus.INPROGRESS, lambda: f"granted as {job.status}")
        history.jobs.append(_Granted(job, applied.by))
        self.seen[f"granted: {job.trigger.kind.value}"] += 1

    def _agrees(self, history: _OrgHistory, after: OrgSnapshot) -> None:
        running = [each.job.id for each in history.jobs[-1:] if each.ended is None]
        held = [after.running.job.id] if after.running else []
        self.check("I1", running == held, lambda: f"in progress are {running}, the document holds {held}")

    def _held(self, history: _OrgHistory, applied: Applied) -> None:
        """Only the holder moves the lease (I7)."""
        before, after = applied.before.running, applied.after.running
        if before and after and before.job.id == after.job.id and before.lease != after.lease:
            self.check(
                "I7", history.jobs[-1].by == applied.by, lambda: f"{applied.by} renewed a job of {history.jobs[-1].by}"
            )
            self.seen["renewed late" if has_lapsed(before.lease, applied.now) else "renewed"] += 1

    def _slots(self, history: _OrgHistory, applied: Applied) -> None:
        for schedule_id, slot in fired_slots(applied.change, applied.before, applied.after):
            last = history.fired.get(schedule_id, 0)
            self.check("I11", slot > last, f"slot {slot} of {schedule_id} fired after {last}")
            history.fired[schedule_id] = slot
            self.seen["slot fired"] += 1
        for before, after in zip(applied.before.schedules, applied.after.schedules, strict=False):
            if before.id == after.id:
                self.seen["slot skipped"] += after.skipped - before.skipped
                self.seen["slot missed"] += after.missed - before.missed

    # -- what processes see --------------------------------------------------------------------------------------------

    def published(self, org_id: OrgId, fence: Fence, by: str) -> None:
        """A publish was committed in the store's database."""
        history = self.history(org_id)
        granted = next((each for each in history.jobs if each.job.fence == fence), None)
        self.check(
            "I8", granted is not None and granted.ended is None, lambda: f"{by} published for {fence}, which has ended"
        )
        self.check(
            "I8", history.jobs[-1].job.fence == fence, lambda: f"{by} published for {fence}, a newer job was granted"
        )
        self.check("I7", granted is not None and granted.by == by, lambda: f"{by} published for {fence} of another")
        in_order = history.published is None or history.published <= fence
        self.check("I8", in_order, lambda: f"{fence} published after {history.published}")
        history.published = fence
        self.seen["published"] += 1

    def told(self, process: str, event: Event) -> None:
        """A listener of this process was told (I28)."""
        if isinstance(event, JobStarted | JobFinished):
            key = process, type(event).__name__, event.job.id
            self._events[key] += 1
            self.check("I28", self._events[key] == 1, lambda: f"{key} was told {self._events[key]} times")

    def trusted(self, org_id: OrgId, fence: Fence, now: StoreTime) -> None:
        """A worker believes at `now` that it holds the job: its lease must not have lapsed (it distrusts itself first)."""
        running = self.last[org_id].running
        if running is not None and running.job.fence == fence and running.lease.boot == now.boot:
            lapsed_s = now.steady_s - running.lease.until_s
            self.check(
                "I7", lapsed_s < 0, lambda: f"the worker of {fence} trusts a lease that lapsed {lapsed_s:.3f} s ago"
            )

    # -- answers -------------------------------------------------------------------------------------------------------

    @contextmanager
    def watching(self, org_id: str) -> Iterator[Made]:
        """What the calling actor's own commits do meanwhile. `actor` tells who calls."""
        made, key = Made(org_id), self._actor()
        before, self._watched[key] = self._watched.get(key), made
        try:
            yield made
        finally:
            del self._watched[key]
            if before is not None:
                self._watched[key] = before

    def acknowledged(self, org_id: str, cube: str) -> None:
        """An update without a number was acknowledged: each takes a number of its own (I15)."""
        history = self.history(OrgId(org_id))
        history.updates[cube] += 1
        demand = self.last[OrgId(org_id)].demand.get(cube, 0)
        told = history.updates[cube]
        self.check(
            "I15", demand >= told, lambda: f"{org_id}: {told} updates of {cube} were acknowledged, demand is {demand}"
        )

    def grants_to(self, org_id: str) -> int:
        return len(self.history(OrgId(org_id)).jobs)

    def waits(self, org_id: str) -> bool:
        return self.last[OrgId(org_id)].pending is not None

    # -- the whole -----------------------------------------------------------------------------------------------------

    def in_progress(self, org_id: OrgId) -> MaintenanceJob | None:
        jobs = self.history(org_id).jobs
        return jobs[-1].job if jobs and jobs[-1].ended is None else None

    def reconcile(self, store: JobStore) -> None:
        """Compare the store's whole history with the oracle's: nothing was lost or changed behind its back."""
        for org_id, history in self._orgs.items():
            document = self.last.get(org_id)
            if document is None:
                continue
            stored = store.load([org_id]).snapshots.get(org_id)
            self.check("I19", stored == document, f"{org_id}: the document is not the one that was committed last")
            page = store.list_jobs(JobQuery(org_id, limit=1000)).jobs
            kept = [each for each in history.jobs if each.job.fence.number > document.pruned_through]
            expected = [each.ended or each.job for each in reversed(kept)]
            self.check("I4", list(page) == expected, f"{org_id}: history {_brief(page)} is not {_brief(expected)}")
            self.check("I3", len(history.jobs) == document.last_fence, f"{org_id}: {document.last_fence} fences")


def _identity(job: MaintenanceJob) -> tuple[Any, ...]:
    return (
        job.id, job.org_id, job.fence, job.trigger, job.schedule_id, job.slot, job.created_at, job.started_at, job.holder,
    )  # fmt: skip


def _brief(jobs: Any) -> list[str]:
    return [f"{job.fence.number}:{job.status}" for job in jobs]
