"""A store that fails as stores do: `FaultyStore` wraps any JobStore, and a plan says which call meets which faults.

Theory of operation. A fault keeps the port's promises: StoreUnavailableError is only raised when nothing was changed, and
a commit whose answer is lost raises UnknownOutcomeError, whether it took place (in whole, or for the first changes of a
batch) or not. What must hold in spite of every plan is what the engine promises (design/jobs.md, I1 to I29). A plan is
scripted or drawn from a seed; both are deterministic as long as the calls come in the same order.

`Die` is for crash points: the call never returns, and neither does any other: the process that used this store is dead.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, Final, Protocol

from attrs import frozen

from ..clock import Clock, SystemClock
from ..core.ids import JobId, OrgId
from ..core.job import Fence
from ..core.organization import OrgChange
from ..errors import StoreUnavailableError, UnknownOutcomeError
from ..store import CommitResult, DueOrgs, Fences, JobPage, JobQuery, JobRecord, JobStore, Loaded, OrgPage, OrgQuery


class Crash(BaseException):
    """The process has died at this call. Raised by this and all later calls of the store that met `Die`."""


@frozen
class StoreCall:
    """A call of the store: its number (from 1), the verb, and which of this verb's calls it is (from 1)."""

    number: int
    verb: str
    verb_number: int


@frozen
class Unavailable:
    """StoreUnavailableError, before anything is done. `after`: a read was done, and its answer is lost."""

    after: bool = False


@frozen
class Unknown:
    """UnknownOutcomeError. `commits` of the batch's changes took place (None: all). A read is Unavailable instead."""

    commits: int | None = None


@frozen
class Delay:
    """The call takes so long before, and after, the store does it; passed on the clock."""

    before_s: float = 0.0
    after_s: float = 0.0


@frozen
class Foreign:
    """Somebody else acts on the store directly before this call."""

    act: Callable[[JobStore], None]


@frozen
class Die:
    """The process dies at this call: before the store does it, or (`after`) when it is done and not yet answered."""

    after: bool = False


Fault = Unavailable | Unknown | Delay | Foreign | Die


class FaultPlan(Protocol):
    """Says what a call meets, in this order; nothing, mostly."""

    def faults(self, call: StoreCall) -> Sequence[Fault]: ...


class ScriptedPlan:
    """Faults for calls by number, or by verb and which of its calls: `{3: Unavailable(), ("commit", 1): Unknown()}`."""

    def __init__(self, script: Mapping[int | tuple[str, int], Fault | Sequence[Fault]]) -> None:
        self._script = script

    def faults(self, call: StoreCall) -> Sequence[Fault]:
        found: list[Fault] = []
        for key in (call.number, (call.verb, call.verb_number)):
            given = self._script.get(key, ())
            found += given if isinstance(given, Sequence) else [given]
        return found


class SeededPlan:
    """Draws faults from a seed, each with its probability per call (none for `prepare`). `delay_s` is the longest delay."""

    def __init__(
        self,
        seed: int,
        *,
        unavailable: float = 0.0,
        unknown: float = 0.0,
        delay: float = 0.0,
        delay_s: float = 8.0,
        foreign: tuple[float, Callable[[JobStore], None]] | None = None,
    ) -> None:
        self._random = random.Random(seed)
        self._unavailable = unavailable
        self._unknown = unknown
        self._delay = delay
        self._delay_s = delay_s
        self._foreign = foreign

    def faults(self, call: StoreCall) -> Sequence[Fault]:
        draw, found = self._random.random, list[Fault]()
        if call.verb == "prepare":
            return found
        writes = call.verb in WRITES
        if self._delay and draw() < self._delay:
            longest_s = self._delay_s
            found.append(Delay(longest_s * draw() ** 3, longest_s * draw() ** 3))
        if self._foreign and call.verb == "commit" and draw() < self._foreign[0]:
            found.append(Foreign(self._foreign[1]))
        if self._unavailable and draw() < self._unavailable:
            found.append(Unavailable(after=draw() < 0.3 and not writes))
        elif self._unknown and writes and draw() < self._unknown:
            found.append(Unknown((None, 0, 1)[int(draw() * 3)]))
        return found


WRITES: Final = frozenset({"commit", "fenced"})


class FaultyStore:
    """A JobStore (with Fences, if `store` has them) that does what `plan` says to the calls of `store`.

    Delays pass on `clock`. `calls` counts, `met` keeps the faults that were met, with their calls.
    """

    fenced: Callable[[OrgId, Fence], AbstractContextManager[Any]]

    def __init__(self, store: JobStore, plan: FaultPlan, *, clock: Clock | None = None) -> None:
        self.calls = 0
        self.met: list[tuple[StoreCall, Fault]] = []
        self._store = store
        self._plan = plan
        self._clock = clock or SystemClock()
        self._by_verb: dict[str, int] = {}
        self._dead = False
        if isinstance(store, Fences):
            self.fenced = self._fenced

    def prepare(self) -> None:
        with self._faults("prepare"):
            self._store.prepare()

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        with self._faults("load"):
            return self._store.load(org_ids)

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        with self._faults("commit") as unknown:
            if unknown is None or unknown.commits is None:
                return self._store.commit(changes)
            return self._store.commit(changes[: unknown.commits]) if unknown.commits else []

    def find_due(self, orgs_max: int, now: datetime | None = None) -> DueOrgs:
        with self._faults("find_due"):
            return self._store.find_due(orgs_max, now)

    def list_organizations(self, query: OrgQuery) -> OrgPage:
        with self._faults("list_organizations"):
            return self._store.list_organizations(query)

    def get_job(self, org_id: OrgId, job_id: JobId) -> JobRecord:
        with self._faults("get_job"):
            return self._store.get_job(org_id, job_id)

    def list_jobs(self, query: JobQuery) -> JobPage:
        with self._faults("list_jobs"):
            return self._store.list_jobs(query)

    def close(self) -> None:
        self._store.close()

    @contextmanager
    def _fenced(self, org_id: OrgId, fence: Fence) -> Iterator[Any]:
        assert isinstance(self._store, Fences)
        with self._faults("fenced") as unknown, self._store.fenced(org_id, fence) as connection:
            yield connection
            if unknown is not None and unknown.commits == 0:
                raise UnknownOutcomeError  # inside the transaction: nothing of it is kept

    @contextmanager
    def _faults(self, verb: str) -> Iterator[Unknown | None]:
        """Around one call of the store: what comes before it; the unknown outcome to play; what comes after it."""
        if self._dead:
            raise Crash(verb)
        self.calls += 1
        self._by_verb[verb] = self._by_verb.get(verb, 0) + 1
        call = StoreCall(self.calls, verb, self._by_verb[verb])
        faults = [_fitting(fault, verb) for fault in self._plan.faults(call)]
        self.met += [(call, fault) for fault in faults]
        for fault in faults:
            self._before(fault, call)
        yield next((fault for fault in faults if isinstance(fault, Unknown)), None)
        for fault in faults:
            self._after(fault, call)

    def _before(self, fault: Fault, call: StoreCall) -> None:
        if isinstance(fault, Foreign):
            fault.act(self._store)
        elif isinstance(fault, Delay) and fault.before_s > 0:
            self._clock.sleep(fault.before_s)
        elif isinstance(fault, Unavailable) and not fault.after:
            raise StoreUnavailableError(f"injected: call {call.number} ({call.verb}) did nothing")
        elif isinstance(fault, Die) and not fault.after:
            self._die(call)

    def _after(self, fault: Fault, call: StoreCall) -> None:
        if isinstance(fault, Delay) and fault.after_s > 0:
            self._clock.sleep(fault.after_s)
        elif isinstance(fault, Unavailable):
            raise StoreUnavailableError(f"injected: the answer of call {call.number} ({call.verb}) is lost")
        elif isinstance(fault, Unknown):
            raise UnknownOutcomeError(f"injected: the outcome of call {call.number} ({call.verb}) is lost")
        elif isinstance(fault, Die):
            self._die(call)

    def _die(self, call: StoreCall) -> None:
        self._dead = True
        raise Crash(f"call {call.number} ({call.verb})")


def _fitting(fault: Fault, verb: str) -> Fault:
    """A read has no unknown outcome, and what a write did is never told as "unavailable"."""
    if isinstance(fault, Unknown) and verb not in WRITES:
        return Unavailable(after=True)
    if isinstance(fault, Unavailable) and verb in WRITES:
        return Unavailable()
    return fault
