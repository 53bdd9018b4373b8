"""A session of the memory warehouse: the port's verbs. The rules are in `aggmaint/warehouse.py`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import count
from threading import Event
from typing import TYPE_CHECKING, Any

from attrs import evolve

from ..aggregates.looking import Hints
from ..aggregates.model import AggregateDefinition, InstanceStatus
from ..aggregates.naming import Tag
from ..aggregates.observation import (
    ControlState,
    DefinitionFacts,
    Failure,
    FailureKind,
    ObjectKind,
    Observation,
    TableFacts,
    active_instance,
    lost_tables,
    serves,
)
from ..aggregates.periods import Period
from ..core.job import Fence
from ..errors import FenceLostError, WarehouseError, WarehouseInterruptedError, WarehouseQueryError
from ..warehouse import (
    BuildRequest,
    Built,
    CompareRequest,
    Difference,
    ManagedSchema,
    PartitionWrite,
    Publication,
    Refresh,
    Staged,
    StageRequest,
    Tick,
)
from ._memory_compare import compared
from ._memory_compute import (
    Computation,
    Row,
    Tables,
    bind,
    contents,
    period_tokens,
    physical_columns,
    source_tokens,
)
from ._memory_schema import MemoryHands, SchemaState, Thing
from .bookkeeping import Bookkeeper

if TYPE_CHECKING:
    from .memory import MemoryWarehouse


def _silent(_what: str) -> None:
    return None


def broke_off(problem: WarehouseError) -> str:
    return f"its query broke off ({problem.message}); correct the data or the expression"


class MemorySession:
    """See WarehouseSession."""

    def __init__(self, warehouse: "MemoryWarehouse", schema: ManagedSchema, *, read_only: bool = False) -> None:
        self._warehouse = warehouse
        self._read_only = read_only
        self._schema = schema
        self._fence: Fence | None = None
        self._snapshot: Tables | None = None
        self._stages: dict[str, tuple[Row, ...]] = {}
        self._numbers = count(1)
        self._interrupted = Event()
        self._closed = False

    # -- reading ---------------------------------------------------------------------------------------------------------

    def observe(
        self,
        definitions: Sequence[AggregateDefinition],
        *,
        reader: Fence | None = None,
        sick: Mapping[str, str],
        tick: Tick | None = None,
        hints: Hints | None = None,  # noqa: ARG002 - everything is read each time
    ) -> Observation:
        say = self._begin(tick)
        say("ledger")
        tables = self._snapshot = self._tables()
        state = self._state()
        control = self._required(state)
        objects = tuple(evolve(each, tag=self._taken_over(each.tag)) for each in _objects(state))
        base = Observation(
            self._schema.name,
            self._schema.installation,
            self._schema.org_id,
            control=control,
            reader=None if reader is None else (reader.generation, reader.number),
            instances=state.in_order(),
            records=state.records_in_order(),
            objects=objects,
        )
        facts = {each.id: self._facts(each, base, state, tables, sick, say) for each in definitions}
        return evolve(base, tables=self._table_facts(definitions, base, state, say), definitions=facts)

    def _facts(
        self,
        definition: AggregateDefinition,
        base: Observation,
        state: SchemaState,
        tables: Tables,
        sick: Mapping[str, str],
        say: Tick,
    ) -> DefinitionFacts:
        columns = physical_columns(definition)
        if definition.id in sick:
            words = f"aggregate {definition.label!r}: {sick[definition.id]}"
            return DefinitionFacts(columns, failure=Failure(FailureKind.QUERY, words))
        bound = bind(definition, tables)
        instance = active_instance(definition.id, base.instances)
        if bound.failure is not None:
            return DefinitionFacts(failure=bound.failure)
        table = None if instance is None else state.thing(instance.table_name)
        if instance is None or table is None or not serves(instance, definition, columns) or table.columns != columns:
            return DefinitionFacts(columns)
        say(definition.source.label)
        try:
            sources = source_tokens(definition, bound, tables)
            return DefinitionFacts(columns, sources, period_tokens(definition, bound, tables))
        except WarehouseQueryError as problem:
            words = f"aggregate {definition.label!r}: {broke_off(problem)}"
            return DefinitionFacts(columns, failure=Failure(FailureKind.QUERY, words))

    def _table_facts(
        self, definitions: Sequence[AggregateDefinition], base: Observation, state: SchemaState, say: Tick
    ) -> dict[str, TableFacts]:
        """Of the tables in service, and of those with our tag that the ledger does not name."""
        by_id = {each.id: each for each in definitions}
        facts: dict[str, TableFacts] = {}
        for tag, lost in lost_tables(base):
            thing = state.thing(lost.name)
            facts[tag.instance_id] = TableFacts(None if thing is None else thing.columns)
        for instance in base.instances:
            if instance.status is InstanceStatus.ACTIVE:
                table, definition = state.thing(instance.table_name), by_id.get(instance.definition_id)
                facts[instance.id] = TableFacts(None if table is None else table.columns)
                if table is not None and definition is not None and serves(instance, definition, table.columns):
                    say(instance.label)
                    facts[instance.id] = TableFacts(
                        table.columns, None, contents(definition, by_period(definition, table))
                    )
        return facts

    def stage(self, requests: Sequence[StageRequest], *, tick: Tick | None = None) -> tuple[Staged, ...]:
        say = self._saying(tick)
        tables = self._snapshot or self._tables()
        made: list[tuple[str, tuple[Row, ...], Staged]] = []
        for request in requests:
            say(request.definition.label)
            try:
                self._require_bound(request.definition, tables)
                grouped = Computation(request.definition, tables).grouped(request.periods)
            except WarehouseQueryError as problem:
                self._snapshot = None
                raise WarehouseQueryError(broke_off(problem), definition_id=request.definition.id) from problem
            handle = f"stage-{next(self._numbers)}"
            rows = tuple(row for rows in grouped.values() for row in rows)
            made.append((handle, rows, Staged(handle, contents(request.definition, grouped))))
        self._stages.update({handle: rows for handle, rows, _ in made})
        return tuple(staged for _, _, staged in made)

    def compare(self, definition: AggregateDefinition, what: CompareRequest = CompareRequest()) -> Difference:  # noqa: B008 - frozen
        self._begin(None)
        tables = self._tables()
        try:
            state = self._state()
            self._required(state)
            self._require_bound(definition, tables)
            return compared(definition, what, state, tables)
        except WarehouseQueryError as problem:
            return Difference(definition.id, definition.label, 0, 0, 0, 0, 0, broke_off(problem))

    # -- claim and guard -------------------------------------------------------------------------------------------------

    def claim(self, fence: Fence, *, seen: ControlState | None, anyway: bool = False) -> bool:
        self._begin(None)
        if self._read_only or self._closed:
            raise FenceLostError("this session is read-only, or closed; open another one to write")
        with self._warehouse.lock:
            draft = self._warehouse.schemas.get(self._schema.name, SchemaState()).copy()
            self._required(draft)
            if not draft.claim(self._schema, fence, seen, anyway=anyway):
                return False
            for thing in list(draft.things.values()):
                draft.put(evolve(thing, tag=self._taken_over(thing.tag)))
            self._step("claim")
            self._warehouse.schemas[self._schema.name] = draft
        self._fence = fence
        return True

    def _transaction(self, build_id: str, work: Callable[[SchemaState], Any]) -> Any:
        """One guarded transaction over a draft."""
        if self._fence is None or self._closed:
            raise FenceLostError("this session holds no claim; claim before you write")
        with self._warehouse.lock:
            draft = self._warehouse.schemas[self._schema.name].copy()
            draft.guard(self._schema, self._fence, build_id)
            self._step("guard")
            answer = work(draft)
            self._step("commit")
            self._warehouse.schemas[self._schema.name] = draft
            return answer

    # -- writing -----------------------------------------------------------------------------------------------------------

    def build(self, requests: Sequence[BuildRequest], *, at: datetime, tick: Tick | None = None) -> tuple[Built, ...]:
        say = self._begin(tick)
        tables = self._tables()

        self._transaction("", lambda draft: draft.intend(requests, at))
        made = [self._build_one(request, tables, say) for request in requests]
        with self._warehouse.lock:
            draft = self._warehouse.schemas[self._schema.name].copy()
            for table, _ in made:
                draft.put(table)
            self._step("commit")
            self._warehouse.schemas[self._schema.name] = draft
        return tuple(built for _, built in made)

    def _build_one(self, request: BuildRequest, tables: Tables, say: Tick) -> tuple[Thing, Built]:
        definition = request.definition
        say(definition.label)
        try:
            bound = self._require_bound(definition, tables)
            sources, tokens = source_tokens(definition, bound, tables), dict(period_tokens(definition, bound, tables))
            grouped = Computation(definition, tables).grouped()
        except WarehouseQueryError as problem:
            raise WarehouseQueryError(broke_off(problem), definition_id=definition.id) from problem
        writes = tuple(
            PartitionWrite(each.period, each.rows, tokens[each.period], each.content)
            for each in contents(definition, grouped)
        )
        columns = physical_columns(definition)
        tag = Tag(self._schema.installation, definition.id, request.instance_id)
        rows = tuple(row for rows in grouped.values() for row in rows)
        table = Thing(request.table_name, ObjectKind.TABLE, tag, columns, rows)
        return table, Built(request, len(rows), columns, writes, sources)

    def publish(self, publication: Publication, *, at: datetime, build_id: str) -> None:
        self._begin(None)
        tables = self._tables()

        def work(draft: SchemaState) -> None:
            hands = MemoryHands(draft, tables, self._stages)
            Bookkeeper(draft, self._schema, hands).apply(publication, at, build_id)

        self._transaction(build_id, work)
        if isinstance(publication, Refresh) and publication.staged is not None:
            del self._stages[publication.staged.handle]

    def interrupt(self) -> None:
        self._interrupted.set()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stages.clear()
        if self._fence is None:
            return
        with self._warehouse.lock, suppress(WarehouseError):
            draft = self._warehouse.schemas.get(self._schema.name, SchemaState()).copy()
            draft.release(self._fence)
            self._warehouse.schemas[self._schema.name] = draft

    # -- parts ------------------------------------------------------------------------------------------------------------

    def _begin(self, tick: Tick | None) -> Tick:
        """The beginning of a verb: the last snapshot ends."""
        self._snapshot = None
        return self._saying(tick)

    def _saying(self, tick: Tick | None) -> Tick:
        def say(what: str) -> None:
            (tick or _silent)(what)
            self._step(what)

        return say

    def _step(self, what: str) -> None:
        self._warehouse.on_step(what)
        self._pause()

    def _pause(self) -> None:
        if self._interrupted.is_set():
            self._interrupted.clear()
            raise WarehouseInterruptedError

    def _tables(self) -> Tables:
        return Tables(self._warehouse.snapshot(), self._pause)

    def _state(self) -> SchemaState:
        with self._warehouse.lock:
            return self._warehouse.schemas.get(self._schema.name, SchemaState()).copy()

    def _required(self, state: SchemaState) -> ControlState | None:
        """The control row, if it is ours. Raises ForeignSchemaError."""
        return state.required(self._schema)

    def _taken_over(self, tag: Tag | None) -> Tag | None:
        if tag is not None and tag.installation == self._schema.adopt_from:
            return evolve(tag, installation=self._schema.installation)
        return tag

    def _require_bound(self, definition: AggregateDefinition, tables: Tables) -> Any:
        bound = bind(definition, tables)
        if bound.failure is not None:
            raise WarehouseQueryError(bound.failure.message, definition_id=definition.id)
        return bound


def _objects(state: SchemaState) -> Any:
    from .memory import objects_of

    return objects_of(state)


def by_period(definition: AggregateDefinition, table: Thing) -> dict[Period, list[Row]]:
    computation = Computation(definition, Tables({}, lambda: None))
    found: dict[Period, list[Row]] = {}
    for row in table.rows:
        found.setdefault(computation.period(row), []).append(row)
    return found
