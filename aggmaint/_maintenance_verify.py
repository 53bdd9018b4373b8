"""Verifying: aggregates against a recomputation, whole, in named partitions or in a sample, within a budget.

Theory of operation
-------------------
Without a budget a full verification is one comparison of the view, and of one snapshot. With one, and in the other modes,
partitions are compared one after the other, and what the budget does not reach is named, not guessed. The seconds are a
hard bound: a comparison that still runs then is broken off, and counts as not made. A sample is the newest partition, the
oldest, and others in equal steps between them, moved on by a day's number, so that in time all have their turn.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum

from attrs import evolve, field, frozen

from .aggregates.model import AggregateDefinition
from .aggregates.observation import InstanceRecord, active_instance
from .aggregates.periods import WHOLE_PERIOD, Period
from .errors import InvalidValueError, WarehouseInterruptedError
from .warehouse import CompareRequest, Difference, RowDifference, WarehouseSession


class VerifyMode(StrEnum):
    FULL = "full"
    PARTITION = "partition"
    SAMPLE = "sample"


@frozen(kw_only=True)
class VerifyOptions:
    """How much is verified.

    mode            everything, the named `partitions`, or a sample of `sample_partitions`.
    samples_max     up to so many differing rows of each kind are shown for each aggregate.
    budget_s        seconds for all aggregates together; what still runs then is broken off. None: no bound.
    rows_max        once so many rows were compared no further partition is begun. None: no bound.
    steady_s        a clock that only grows, by which the seconds are judged.
    """

    mode: VerifyMode = field(default=VerifyMode.FULL, converter=VerifyMode)
    partitions: tuple[str, ...] = ()
    sample_partitions: int = 3
    samples_max: int = 5
    budget_s: float | None = None
    rows_max: int | None = None
    steady_s: Callable[[], float] = time.monotonic

    def __attrs_post_init__(self) -> None:
        if (self.mode is VerifyMode.PARTITION) != bool(self.partitions):
            raise InvalidValueError("verify: name partitions with mode='partition', and only with it")
        if self.sample_partitions < 1 or self.samples_max < 0:
            raise InvalidValueError("verify: sample_partitions must be 1 or more, samples_max 0 or more")

    @property
    def bounded(self) -> bool:
        return self.budget_s is not None or self.rows_max is not None


@frozen
class Verification:
    """How far an aggregate is from a recomputation of its sources. The counts are of what was compared.

    compared  keys of the partitions that were compared; None: the whole aggregate at once, as its view shows it.
    left      keys that the budget did not reach; `others` stands for periods that the ledger does not know.
    """

    definition_id: str
    aggregate: str
    mode: VerifyMode
    rows_expected: int
    rows_found: int
    missing: int
    extra: int
    wrong: int
    samples: tuple[RowDifference, ...]
    compared: tuple[str, ...] | None
    left: tuple[str, ...]
    problem: str | None

    @property
    def equal(self) -> bool:
        """Whether nothing that was compared differs; False also if it could not be compared."""
        return self.problem is None and not (self.missing or self.extra or self.wrong)

    @property
    def complete(self) -> bool:
        """Whether all that was asked for was compared."""
        return self.problem is None and not self.left


OTHERS = "others"


class Verifier:
    """Verifies aggregates through one session. `now` turns the sample."""

    def __init__(self, session: WarehouseSession, options: VerifyOptions, now: datetime) -> None:
        self._session = session
        self._options = options
        self._steady_s = options.steady_s
        self._now = now
        self._rows = 0
        self._ends_s = None if options.budget_s is None else options.steady_s() + options.budget_s

    def verify(self, definitions: Sequence[AggregateDefinition]) -> tuple[Verification, ...]:
        instances = self._session.observe([], sick={}).instances
        return tuple(self._verify(each, active_instance(each.id, instances)) for each in definitions)

    def _verify(self, definition: AggregateDefinition, instance: InstanceRecord | None) -> Verification:
        parts = self._parts(definition, instance)
        done = Verification(definition.id, definition.label, self._options.mode, 0, 0, 0, 0, 0, (), (), (), None)
        for index, (key, request) in enumerate(parts):
            if self._spent():
                return evolve(done, left=tuple(each for each, _ in parts[index:]))
            found = self._compare(definition, request)
            if found is None:
                return evolve(done, left=tuple(each for each, _ in parts[index:]))
            done = self._added(done, key, request, found)
            if found.problem is not None:
                return done
        return done

    def _parts(
        self, definition: AggregateDefinition, instance: InstanceRecord | None
    ) -> list[tuple[str, CompareRequest]]:
        options = self._options
        whole = [(WHOLE_PERIOD.key, CompareRequest(samples_max=options.samples_max))]
        if instance is None or definition.partition is None:
            return whole
        periods = {each.period.key: each.period for each in instance.partitions}
        if options.mode is VerifyMode.FULL:
            if not options.bounded:
                return whole
            others = CompareRequest(tuple(periods.values()), others=True, samples_max=options.samples_max)
            return [*self._requests(periods.values()), (OTHERS, others)]
        if options.mode is VerifyMode.SAMPLE:
            return self._requests([periods[key] for key in self._sample(sorted(periods))])
        unknown = [key for key in options.partitions if key not in periods]
        if unknown:
            known = ", ".join(sorted(periods)) or "none"
            raise InvalidValueError(f"aggregate {definition.label!r} has no partition {unknown[0]!r}; it has {known}")
        return self._requests([periods[key] for key in options.partitions])

    def _requests(self, periods: Iterable[Period]) -> list[tuple[str, CompareRequest]]:
        return [(each.key, CompareRequest((each,), samples_max=self._options.samples_max)) for each in periods]

    def _sample(self, keys: Sequence[str]) -> list[str]:
        wanted = min(self._options.sample_partitions, len(keys))
        turn = self._now.toordinal()
        inner = list(keys[1:-1])
        chosen = {*keys[-1:], *(keys[:1] if wanted > 1 else ())}
        step = max(1, len(inner) // max(1, wanted - len(chosen)))
        for index in range(len(inner)):
            if len(chosen) >= wanted:
                break
            chosen.add(inner[(turn + index * step) % len(inner)])
        return [key for key in keys if key in chosen]

    def _spent(self) -> bool:
        over_rows = self._options.rows_max is not None and self._rows >= self._options.rows_max
        return over_rows or (self._ends_s is not None and self._steady_s() >= self._ends_s)

    def _compare(self, definition: AggregateDefinition, request: CompareRequest) -> Difference | None:
        """None if the budget broke it off."""
        if self._ends_s is None:
            return self._session.compare(definition, request)
        timer = threading.Timer(max(0.0, self._ends_s - self._steady_s()), self._session.interrupt)
        timer.daemon = True
        timer.start()
        try:
            return self._session.compare(definition, request)
        except WarehouseInterruptedError:
            return None
        finally:
            timer.cancel()

    def _added(self, done: Verification, key: str, request: CompareRequest, found: Difference) -> Verification:
        self._rows += found.rows_expected
        room = self._options.samples_max
        samples = list(done.samples)
        for each in found.samples:
            if sum(other.kind is each.kind for other in samples) < room:
                samples.append(each)
        return evolve(
            done,
            rows_expected=done.rows_expected + found.rows_expected,
            rows_found=done.rows_found + found.rows_found,
            missing=done.missing + found.missing,
            extra=done.extra + found.extra,
            wrong=done.wrong + found.wrong,
            samples=tuple(samples),
            compared=None if request.periods is None else (*(done.compared or ()), key),
            problem=found.problem,
        )
