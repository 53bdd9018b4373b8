"""The world of a simulation: one store that many processes share, and the processes, each with an engine of its own.

Theory of operation. The layers between an engine and the truth, from the engine down:

    _Line       a process's line to the store: a switch point before and after each call; dead for a killed process
    FaultyStore   what goes wrong on the line
    Witness     applies one change at a time and tells the oracle what it really did, and who did it
    MemoryStore   the truth

A publish through `fenced` holds the organisation until it ends, as a database would: who wants to commit there waits, up
to a patience, even for a process that is frozen in the middle of it.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from attrs import define, field, frozen

from ..clock import Clock
from ..core.events import Event
from ..core.ids import JobId, OrgId
from ..core.job import Fence
from ..core.organization import OrgChange, OrgSnapshot
from ..core.settings import JobSettings
from ..engine import MaintenanceEngine
from ..errors import LeaseLostError, StoreUnavailableError
from ..store import CommitResult, DueOrgs, JobPage, JobQuery, JobRecord, JobStore, Loaded, OrgPage, OrgQuery
from ..task import MaintenanceReport, MaintenanceTask
from ._simulation_context import SteppedContext
from ._simulation_oracle import Applied, Oracle
from .faulty import FaultPlan, FaultyStore
from .stepped import SteppedClock, SteppedExecutor, SteppedScheduler, Stepper

WAIT_S: Final = 0.05
PATIENCE_S: Final = 10.0
BEAT_S: Final = 15.0
"""How often a simulated heart beats at most: seldom enough to be cheap, often enough for leases of a minute."""


class Trace:
    """What has happened, in order: the whole for the hash, the tail for people. Ids are told by their first sight."""

    def __init__(self, stepper: Stepper) -> None:
        self.lines: list[str] = []
        self._stepper = stepper

    def __call__(self, text: str) -> None:
        self.lines.append(f"{self._stepper.now_s:12.3f} {text}")


class Witness:
    """A store that tells the oracle of every change that the store below really applied. One caller at a time."""

    def __init__(self, store: JobStore, oracle: Oracle, stepper: Stepper, who: Callable[[], str], trace: Trace) -> None:
        self._store = store
        self._oracle = oracle
        self._stepper = stepper
        self._who = who
        self._trace = trace
        self._held: dict[OrgId, str] = {}
        self.data: dict[str, Any] = {}

    def prepare(self) -> None:
        self._store.prepare()

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        return self._store.load(org_ids)

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        for change in changes:
            self._wait_for(change.org_id)
        return [self._commit_one(change) for change in changes]

    def _commit_one(self, change: OrgChange) -> CommitResult:
        before = self._document(change.org_id)
        (result,) = self._store.commit([change])
        after = self._document(change.org_id)
        if after.revision != before.revision or after != before:
            applied = Applied(change, before, after, self._store.load([]).time, self._who())
            self._trace(_describe(applied))
            self._oracle.applied(applied)
        return result

    def _document(self, org_id: OrgId) -> OrgSnapshot:
        return self._store.load([org_id]).snapshots.get(org_id, OrgSnapshot(org_id))

    def _wait_for(self, org_id: OrgId) -> None:
        give_up_s = self._stepper.now_s + PATIENCE_S
        while org_id in self._held:
            if self._stepper.now_s > give_up_s:
                raise StoreUnavailableError(f"{org_id} is held by a publish of {self._held[org_id]}")
            self._stepper.sleep(WAIT_S)

    @contextmanager
    def fenced(self, org_id: OrgId, fence: Fence) -> Iterator[dict[str, Any]]:
        """Gives a dictionary; what is written there is `data` once the block has ended well."""
        self._wait_for(org_id)
        if not self._document(org_id).is_held_by(fence):
            raise LeaseLostError(org_id, str(fence.number))
        self._held[org_id] = self._who()
        try:
            written: dict[str, Any] = {}
            yield written
            self._trace(f"{self._who()} published {org_id} {fence.generation}.{fence.number}")
            self._oracle.published(org_id, fence, self._who())
            self.data.update(written)
        finally:
            del self._held[org_id]

    def find_due(self, orgs_max: int, now: datetime | None = None) -> DueOrgs:
        return self._store.find_due(orgs_max, now)

    def list_organizations(self, query: OrgQuery) -> OrgPage:
        return self._store.list_organizations(query)

    def get_job(self, org_id: OrgId, job_id: JobId) -> JobRecord:
        return self._store.get_job(org_id, job_id)

    def list_jobs(self, query: JobQuery) -> JobPage:
        return self._store.list_jobs(query)

    def close(self) -> None:
        self._store.close()


def _describe(applied: Applied) -> str:
    change = applied.change
    parts = [f"{applied.by} {change.org_id} r{applied.after.revision}"]
    if change.ended:
        error = change.ended.job.error
        parts.append(f"ended {change.ended.job.fence.number} {error.code if error else 'done'}")
    if change.granted:
        parts.append(f"granted {change.granted.fence.number} {change.granted.trigger}")
    parts += [type(event).__name__ for event in change.events]
    return " ".join(parts)


class _Line:
    """A process's line to the store: every call may be overtaken by others, before it and before its answer."""

    def __init__(self, store: FaultyStore, stepper: Stepper, pause: Callable[[], None]) -> None:
        self._store = store
        self._stepper = stepper
        self._pause = pause

    def prepare(self) -> None:
        self._store.prepare()

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        if not org_ids:  # only the time: nobody can overtake that
            return self._store.load(org_ids)
        self._stepper.switch()
        return self._store.load(org_ids)

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        self._stepper.switch()
        self._pause()
        results = self._store.commit(changes)
        self._pause()
        self._stepper.switch()
        return results

    @contextmanager
    def fenced(self, org_id: OrgId, fence: Fence) -> Iterator[Any]:
        self._stepper.switch()
        with self._store.fenced(org_id, fence) as connection:
            yield connection
        self._stepper.switch()

    def find_due(self, orgs_max: int, now: datetime | None = None) -> DueOrgs:
        self._stepper.switch()
        return self._store.find_due(orgs_max, now)

    def list_organizations(self, query: OrgQuery) -> OrgPage:
        self._stepper.switch()
        return self._store.list_organizations(query)

    def get_job(self, org_id: OrgId, job_id: JobId) -> JobRecord:
        self._stepper.switch()
        return self._store.get_job(org_id, job_id)

    def list_jobs(self, query: JobQuery) -> JobPage:
        self._stepper.switch()
        return self._store.list_jobs(query)

    def close(self) -> None:
        self._store.close()


@frozen
class _SteppedTask:
    """Runs the host's task with a context whose every call is a switch point."""

    task: MaintenanceTask
    make_context: Callable[[Any], SteppedContext]

    def run(self, context: Any) -> MaintenanceReport:
        return self.task.run(self.make_context(context))


@define
class Node:
    """A place for a process: it lives, dies, freezes and lives again. `process` names one life of it."""

    name: str
    clock: SteppedClock
    lives: int = 0
    engine: MaintenanceEngine | None = None
    line: FaultyStore | None = field(default=None)

    @property
    def process(self) -> str:
        return f"{self.name}.{self.lives}"


@frozen
class World:
    """What all processes share."""

    stepper: Stepper
    clock: SteppedClock
    store: JobStore
    witness: Witness
    oracle: Oracle
    trace: Trace
    settings: JobSettings
    chance: random.Random
    make_task: Callable[[Clock], MaintenanceTask]
    jobs_max: int
    idle_s: float
    stalls: float
    stall: Callable[[str], None]

    def start(self, node: Node, plan: FaultPlan) -> MaintenanceEngine:
        """A new life for this node, with a line to the store that fails as `plan` says."""
        node.lives += 1
        process = node.process
        self.trace(f"{process} starts")
        node.line = FaultyStore(self.witness, plan, clock=self.clock)

        def listen(event: Event) -> None:
            self.oracle.told(process, event)
            if self.chance.random() < 0.05:
                raise RuntimeError("a listener that fails")

        def make_context(context: Any) -> SteppedContext:
            return SteppedContext(context, self.stepper, lambda: self._trusted(context))

        def pause() -> None:
            if self.stalls and self.chance.random() < self.stalls:
                self.stall(process)

        node.engine = MaintenanceEngine(
            store=_Line(node.line, self.stepper, pause),
            task=_SteppedTask(self.make_task(node.clock), make_context),
            scheduler=SteppedScheduler(self.stepper, group=process, idle_s=self.idle_s),
            jobs_max=self.jobs_max,
            executor=SteppedExecutor(self.stepper, group=process, beat_s=BEAT_S),
            settings=self.settings,
            listeners=[listen],
            clock=node.clock,
        )
        node.engine.start()
        return node.engine

    def _trusted(self, context: Any) -> None:
        self.oracle.trusted(context.org_id, context.fence, self.clock.read())
