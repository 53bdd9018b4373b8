"""A session of the DuckDB warehouse: the port's verbs over one connection. The rules are in `aggmaint/warehouse.py`.

Theory of operation
-------------------
`observe` leaves its transaction open as the snapshot; `stage` computes in that same transaction (`_duckdb_stage.py`).
`build` writes its intents first (guarded), then makes tables in one transaction together with reading the tokens. `publish`
is one guarded transaction: guard, comparison with what the plan saw, data, ledger, view. A conflict (two writers of the
control row at once) is raised by DuckDB at once, for the later one; it is retried a few times with growing pauses, with the
same stage.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from ..aggregates.decisions import ForgetStep
from ..aggregates.looking import Hints
from ..aggregates.model import AggregateDefinition
from ..aggregates.observation import ControlState, Observation, active_instance
from ..core.job import Fence
from ..errors import (
    FenceLostError,
    GateError,
    WarehouseError,
    WarehouseQueryError,
    WarehouseUnavailableError,
)
from ..warehouse import (
    BuildRequest,
    Built,
    CompareRequest,
    Difference,
    Failures,
    ManagedSchema,
    Publication,
    Refresh,
    Staged,
    StageRequest,
    Tick,
    fence_behind,
)
from ._duckdb_adopt import take_over
from ._duckdb_bind import DIALECT
from ._duckdb_connection import ConflictError, Connection
from ._duckdb_ledger import Ledger
from ._duckdb_observe import Observer
from ._duckdb_shared import Shared
from ._duckdb_stage import Stager
from ._duckdb_tokens import BrokenQueryError, broke_off
from ._duckdb_writer import Writer
from .checking import compared, not_compared
from .intents import intent_of

T = TypeVar("T")

CONFLICT_PAUSES_S = (0.001, 0.005, 0.02, 0.1, 0.3, 1.0)


def _silent(_what: str) -> None:
    return None


class DuckDBSession:
    """See WarehouseSession. `pause` sleeps; `on_close` gives the database back."""

    def __init__(
        self,
        connection: Connection,
        schema: ManagedSchema,
        engine: str,
        *,
        pause: Callable[[float], None],
        on_close: Callable[[], None],
        shared: Shared,
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._ledger = Ledger(connection, schema)
        self._observer = Observer(connection, self._ledger, schema, engine, shared)
        self._writer = Writer(connection, self._ledger, schema, self._observer, engine)
        self._stager = Stager(connection, self._observer, self._writer.merger)
        self._shared = shared
        self._pause = pause
        self._on_close = on_close
        self._fence: Fence | None = None
        self._closed = False

    # -- reading ------------------------------------------------------------------------------------------------------

    def observe(
        self,
        definitions: Sequence[AggregateDefinition],
        *,
        reader: Fence | None = None,
        sick: Mapping[str, str],
        tick: Tick | None = None,
        hints: Hints | None = None,
    ) -> Observation:
        self._end_snapshot()
        observation = self._observer.observe(definitions, reader, sick, tick or _silent, hints or Hints())
        self._stager.facts = observation.definitions
        return observation

    def stage(self, requests: Sequence[StageRequest], *, tick: Tick | None = None) -> tuple[Staged, ...]:
        staged = []
        for request in requests:
            (tick or _silent)(request.definition.label)
            staged.append(self._stager.stage(request))
        return tuple(staged)

    def _end_snapshot(self) -> None:
        """Commit what `observe` began: it read only, and stages are to outlive it."""
        if self._connection.in_transaction:
            self._observer.tokens.slices.drop()
            self._connection.commit()

    def compare(self, definition: AggregateDefinition, what: CompareRequest = CompareRequest()) -> Difference:  # noqa: B008 - frozen
        self._end_snapshot()
        self._connection.begin()
        try:
            active = active_instance(definition.id, self._ledger.instances() if self._ledger.exists() else ())
            return compared(self._connection.run, definition, active, what, self._ledger.table, DIALECT)
        except WarehouseQueryError as problem:
            return not_compared(definition, broke_off(problem))
        finally:
            self._connection.rollback()

    def interrupt(self) -> None:
        self._connection.interrupt()

    # -- claim and guard ----------------------------------------------------------------------------------------------

    def claim(self, fence: Fence, *, seen: ControlState | None, anyway: bool = False) -> bool:
        self._end_snapshot()
        claimed = self._retried(lambda: self._claim_once(fence, seen, anyway))
        if claimed:
            self._fence = fence
        return claimed

    def _claim_once(self, fence: Fence, seen: ControlState | None, anyway: bool) -> bool:
        adopting = self._schema.adopt_from is not None
        if adopting:
            self._shared.changed(self._schema.name)
        if seen is None and not self._ledger.exists():
            self._shared.changed(self._schema.name)
            self._ledger.create(fence)
            if adopting:
                take_over(self._connection, self._ledger, self._schema)
            return True
        if seen is None and not anyway:
            return False
        if self._ledger.claim(fence, None if anyway or seen is None else seen.touch):
            if adopting:
                self._ledger.complete()
                take_over(self._connection, self._ledger, self._schema)
            return True
        control = self._ledger.control()
        if (control.generation, control.fence) < (fence.generation, fence.number):
            return False
        raise FenceLostError(fence_behind(self._schema.name, control, fence))

    def _held(self) -> Fence:
        if self._fence is None:
            raise FenceLostError("this session holds no claim; claim before you write")
        return self._fence

    def _guarded(self, build_id: str, work: Callable[[], None]) -> None:
        """One guarded transaction: the guard is its first statement, alone."""
        fence = self._held()

        def whole() -> None:
            self._ledger.guard(fence, build_id)
            work()

        self._retried(whole)

    def _retried(self, work: Callable[[], T]) -> T:
        """Run `work` in a transaction; after a conflict again, a bounded number of times."""
        for pause_s in (*CONFLICT_PAUSES_S, None):
            try:
                with self._connection.transaction():
                    return work()
            except ConflictError as problem:
                if pause_s is None:
                    raise WarehouseUnavailableError(
                        f"another writer kept changing schema {self._schema.name} ({problem.message}); try again later"
                    ) from problem
                self._pause(pause_s)
        raise AssertionError("unreachable: the last round returns or raises")

    # -- writing ------------------------------------------------------------------------------------------------------

    def build(self, requests: Sequence[BuildRequest], *, at: datetime, tick: Tick | None = None) -> tuple[Built, ...]:
        self._end_snapshot()
        fence = self._held()
        fresh = [each for each in requests if not each.begun]

        def intents() -> None:
            for request in fresh:
                self._ledger.insert_intent(intent_of(request, fence, at))

        if fresh:
            self._guarded("", intents)
        self._shared.changed(self._schema.name)
        self._writer.prepare(fresh)
        try:
            if not fresh:
                return tuple(self._piece(each, fence, at, tick or _silent) for each in requests)
            return self._retried(lambda: self._writer.build(fresh, tick or _silent))
        except BrokenQueryError as broken:
            ids = {each.definition_id for each in broken.scan.requests} if broken.scan else {broken.definition_id}
            blamed = ids.pop() if len(ids) == 1 else None
            if isinstance(broken.problem, GateError):
                raise broken.problem from None
            raise WarehouseQueryError(broke_off(broken.problem), definition_id=blamed) from broken.problem

    def _piece(self, request: BuildRequest, fence: Fence, at: datetime, tick: Tick) -> Built:
        def whole() -> Built:
            self._ledger.guard(fence, "")
            return self._writer.build_piece(request, fence, at, tick)

        return self._retried(whole)

    def publish(self, publication: Publication, *, at: datetime, build_id: str) -> None:
        self._end_snapshot()
        if not isinstance(publication, Refresh | Failures | ForgetStep):
            self._shared.changed(self._schema.name)

        def work() -> None:
            self._writer.apply(publication, at, build_id)
            if isinstance(publication, Refresh) and publication.staged is not None:
                self._connection.run(f"DROP TABLE {publication.staged.handle}")  # before the commit: no error after it

        self._guarded(build_id, work)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._connection.rollback()
            if self._fence is not None:
                self._ledger.release(self._fence)
        except WarehouseError:
            pass  # the claim stays marked open; the next one takes it all the same
        finally:
            self._connection.close()
            self._on_close()
