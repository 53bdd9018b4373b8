"""What a warehouse that speaks SQL reads, for its adapter: binding, tokens, contents, gate, comparison, proof of adoption.

Theory of operation
-------------------
An adapter brings `Statements`: a connection that runs SQL of its dialect. `SqlReading` puts the statements of `aggregates/`
to it and answers in the port's values. It reads everything each time (no hints, no declared sources, nothing remembered):
a right beginning, and enough wherever hashing the sources costs little. All sources are scanned once for all definitions;
only where that breaks off is each definition asked alone, so that a failure is one definition's.

Nothing here begins or ends a transaction: the snapshot that makes tokens and rows belong together is the adapter's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from attrs import evolve, frozen

from ..aggregates.decisions import AdoptStep
from ..aggregates.dialects import dialect_of
from ..aggregates.expressions import ExpressionError, columns_read
from ..aggregates.gate import Computed
from ..aggregates.model import AggregateDefinition, InstanceStatus, Problem
from ..aggregates.observation import (
    Column,
    DefinitionFacts,
    Failure,
    FailureKind,
    InstanceRecord,
    ObjectKind,
    Observation,
    PartitionContent,
    TableFacts,
    active_instance,
    lost_tables,
    serves,
)
from ..aggregates.periods import Period
from ..aggregates.scans import (
    PERIODS_KEY,
    Answers,
    TokenRequest,
    content_sql,
    float_sums,
    level_two_sql,
    plan_scans,
    read_contents,
    read_scan,
    requests_of,
)
from ..aggregates.sql import grain, select_sql, source_sql
from ..aggregates.tokens import TokenKind
from ..errors import GateError, WarehouseQueryError
from ..warehouse import (
    BuildRequest,
    Built,
    CompareRequest,
    Difference,
    PartitionWrite,
    Staged,
    StageRequest,
    Tick,
)
from .checking import compared, not_compared, parameters_of, require_gate
from .proving import Proof

Row = tuple[Any, ...]


class Statements(Protocol):
    """A connection of the adapter. Both raise WarehouseQueryError when the engine refuses a statement.

    A statement that fails must do no harm to the transaction that it is in (a savepoint, where the engine aborts it).
    """

    @property
    def dialect(self) -> str: ...

    @property
    def engine(self) -> str:
        """Engine and major version, a part of every token."""

    def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Run one statement with these named parameters; its rows."""

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> tuple[Column, ...]:
        """The columns that a query would have, without running it."""


@frozen
class Bound:
    """A definition that fits its sources: the columns that a build makes, and the tokens it asks for. Or its failure."""

    columns: tuple[Column, ...] = ()
    requests: tuple[TokenRequest, ...] = ()
    failure: Failure | None = None


def broke_off(problem: WarehouseQueryError) -> str:
    """In words, that an aggregate's query failed on the data."""
    return f"its query broke off ({problem.message}); correct the data or the expression"


@frozen
class SqlReading:
    """Reads through `statements`. `reference`: from the name of a table or view of the managed schema to its SQL."""

    statements: Statements
    reference: Callable[[str], str]

    @property
    def dialect(self) -> str:
        return self.statements.dialect

    def select(self, definition: AggregateDefinition, periods: Sequence[Period] | None = None) -> str:
        """The SQL that computes an aggregate's rows, or those of some periods; with `parameters`."""
        return select_sql(definition, self.dialect, periods)

    def parameters(self, definition: AggregateDefinition) -> dict[str, Any]:
        return parameters_of(definition, self.dialect)

    # -- binding ------------------------------------------------------------------------------------------------------

    def bind(self, definition: AggregateDefinition) -> Bound:
        """What a definition makes and reads, or what is wrong with it, in words that name it."""
        columns: dict[str, tuple[str, ...]] = {}
        for source in (*definition.sources, *definition.dependencies):
            try:
                found = self.statements.columns(f"SELECT * FROM {source_sql(evolve(source, where=None), self.dialect)}")
            except (WarehouseQueryError, ExpressionError) as problem:
                remedy = f"it can not be read ({problem}); create it, or correct its name"
                return _failed(definition, FailureKind.SOURCE, f"source {source.alias!r}", source.label, remedy)
            key = source.label if source in definition.dependencies else source.alias
            columns[key] = tuple(each.name for each in found)
        scope = {source.alias: columns[source.alias] for source in definition.sources}
        read = columns_read(definition, scope, self.dialect)
        if read.unresolved:
            first = read.unresolved[0]
            return _failed(definition, FailureKind.DEFINITION, first.key, first.text, first.remedy)
        try:
            made = self.statements.columns(self.select(definition), self.parameters(definition))
        except (WarehouseQueryError, ExpressionError) as problem:
            remedy = f"the warehouse refuses its statement ({problem}); correct sources, joins or expressions"
            return _failed(definition, FailureKind.DEFINITION, "definition", definition.name, remedy)
        return Bound(made, requests_of(definition, read.by_alias, columns, self.dialect))

    # -- observing ----------------------------------------------------------------------------------------------------

    def observe(
        self, base: Observation, definitions: Sequence[AggregateDefinition], sick: Mapping[str, str], tick: Tick
    ) -> Observation:
        """`base` (control row, instances, records and objects, as read) with facts of tables and definitions."""
        columns = self._columns(base)
        bound = {each.id: self.bind(each) for each in definitions if each.id not in sick}
        facts = {}
        served = []
        for each in definitions:
            if each.id in sick:
                facts[each.id] = _sick(each, sick[each.id])
                continue
            facts[each.id] = DefinitionFacts(bound[each.id].columns, failure=bound[each.id].failure)
            instance = active_instance(each.id, base.instances)
            fits = instance is not None and serves(instance, each, bound[each.id].columns)
            if fits and instance is not None and columns.get(instance.table_name.casefold()) == instance.columns:
                served.append(each)
        answers, broken = self.tokens(served, bound, tick)
        for each in served:
            if each.id in broken:
                facts[each.id] = _sick(each, broken[each.id])
                continue
            try:
                periods = tuple(self._period_tokens(each, bound[each.id], answers).items())
                facts[each.id] = evolve(facts[each.id], source_tokens=_whole(each, answers), tokens=periods)
            except WarehouseQueryError as problem:
                facts[each.id] = _sick(each, broke_off(problem))
        return evolve(base, tables=self._tables(base, definitions, columns, tick), definitions=facts)

    def _columns(self, base: Observation) -> dict[str, tuple[Column, ...]]:
        """The columns of the tables that are ours, by case-folded name."""
        tables = {each.table_name.casefold() for each in base.instances}
        return {
            each.name.casefold(): self.statements.columns(f"SELECT * FROM {self.reference(each.name)}")
            for each in base.objects
            if each.kind is ObjectKind.TABLE and (each.tag is not None or each.name.casefold() in tables)
        }

    def _tables(
        self,
        base: Observation,
        definitions: Iterable[AggregateDefinition],
        columns: Mapping[str, tuple[Column, ...]],
        tick: Tick,
    ) -> dict[str, TableFacts]:
        """Of the tables in service, and of those with our tag that the ledger does not name."""
        by_id = {each.id: each for each in definitions}
        facts = {tag.instance_id: TableFacts(columns[table.name.casefold()]) for tag, table in lost_tables(base)}
        for instance in (each for each in base.instances if each.status is InstanceStatus.ACTIVE):
            found, definition = columns.get(instance.table_name.casefold()), by_id.get(instance.definition_id)
            facts[instance.id] = TableFacts(found)
            if found is not None and definition is not None and serves(instance, definition, found):
                tick(instance.label)
                contents = self.contents(definition, self.reference(instance.table_name))
                facts[instance.id] = TableFacts(found, None, contents)
        return facts

    def contents(self, definition: AggregateDefinition, table: str) -> tuple[PartitionContent, ...]:
        """What a table (a quoted reference) holds per period."""
        rows = self.statements.run(content_sql(definition, table, self.dialect))
        return read_contents(definition, rows, TokenKind.CONTENT, self.statements.engine, self.dialect)

    # -- tokens -------------------------------------------------------------------------------------------------------

    def tokens(
        self, definitions: Sequence[AggregateDefinition], bound: Mapping[str, Bound], tick: Tick
    ) -> tuple[Answers, dict[str, str]]:
        """The tokens of all sources, in one scan of each; by id what broke off, in words."""
        try:
            return self._scan([request for each in definitions for request in bound[each.id].requests], tick), {}
        except WarehouseQueryError:
            answers: Answers = {}
            broken = {}
            for each in definitions:
                try:
                    answers.update(self._scan(bound[each.id].requests, tick))
                except WarehouseQueryError as problem:
                    broken[each.id] = broke_off(problem)
            return answers, broken

    def _scan(self, requests: Sequence[TokenRequest], tick: Tick) -> Answers:
        answers: Answers = {}
        for scan in plan_scans(requests, self.dialect):
            tick(scan.requests[0].source.label)
            rows = self.statements.run(scan.sql, dict(scan.parameters))
            answers.update(read_scan(scan, rows, self.statements.engine))
        return answers

    def _period_tokens(self, definition: AggregateDefinition, bound: Bound, answers: Answers) -> dict[Period, str]:
        """The source token of each period; of joins, what a recomputation would hold, or the joined rows (scans.py)."""
        if not definition.joins:
            return dict(answers[definition.id, PERIODS_KEY])
        joined_rows = bool(float_sums(definition, bound.columns, self.dialect))
        sql = level_two_sql(definition, None, joined_rows=joined_rows, dialect=self.dialect)
        rows = self.statements.run(sql, self.parameters(definition))
        kind = TokenKind.JOINED if joined_rows else TokenKind.CONTENT
        found = read_contents(definition, rows, kind, self.statements.engine, self.dialect)
        return {each.period: each.content for each in found}

    # -- building and adopting -----------------------------------------------------------------------------------------

    def built(self, request: BuildRequest, make: Callable[[], None], tick: Tick) -> Built:
        """Tokens first, then `make` (which makes the table), then what it holds, and the gate. Within one snapshot.

        Raises WarehouseQueryError or GateError with `definition_id`.
        """
        definition, table = request.definition, self.reference(request.table_name)
        tick(definition.label)
        bound, answers = self._bound(definition, tick)
        try:
            tokens = self._period_tokens(definition, bound, answers)
            make()
            contents = self.contents(definition, table)
            require_gate(self.statements.run, Computed(definition, table, bound.columns), self.dialect)
        except GateError:
            raise
        except WarehouseQueryError as problem:
            raise WarehouseQueryError(broke_off(problem), definition_id=definition.id) from problem
        writes = [PartitionWrite(e.period, e.rows, tokens.get(e.period, e.content), e.content) for e in contents]
        rows = sum(each.rows for each in contents)
        return Built(request, rows, bound.columns, tuple(writes), _whole(definition, answers))

    def staged(self, request: StageRequest, handle: str, make: Callable[[], None]) -> Staged:
        """`make` (which computes the rows into `handle`, a quoted reference), then what it holds, and the gate.

        Raises WarehouseQueryError or GateError with `definition_id`.
        """
        definition = request.definition
        try:
            columns = self.statements.columns(self.select(definition), self.parameters(definition))
            make()
            contents = self.contents(definition, handle)
            require_gate(self.statements.run, Computed(definition, handle, columns, request.periods), self.dialect)
        except GateError:
            raise
        except WarehouseQueryError as problem:
            raise WarehouseQueryError(broke_off(problem), definition_id=definition.id) from problem
        return Staged(handle, contents)

    def _bound(self, definition: AggregateDefinition, tick: Tick) -> tuple[Bound, Answers]:
        bound = self.bind(definition)
        if bound.failure is not None:
            raise WarehouseQueryError(bound.failure.message, definition_id=definition.id)
        answers, broken = self.tokens([definition], {definition.id: bound}, tick)
        if broken:
            raise WarehouseQueryError(broken[definition.id], definition_id=definition.id)
        return bound, answers

    def prove(self, step: AdoptStep) -> Proof:
        """See `Hands.prove`: columns, one row per key, and each period against a recomputation."""
        definition, name = step.definition, step.instance.table_name
        table = self.reference(name)
        bound, answers = self._bound(definition, lambda _what: None)
        keys = ", ".join(dialect_of(self.dialect).quote(column) for column, _ in grain(definition, self.dialect))
        grouped = f" GROUP BY {keys}" if keys else ""
        sql = f"SELECT COUNT(*) FROM (SELECT COUNT(*) FROM {table}{grouped} HAVING COUNT(*) > 1) AS aggmaint_r"
        problem = None
        if self.statements.columns(f"SELECT * FROM {table}") != bound.columns:
            problem = f"does not have the columns of {definition.label}"
        elif repeated := self.statements.run(sql)[0][0]:
            problem = f"has {repeated:,} keys with more than one row"
        if problem is not None:
            raise WarehouseQueryError(f"table {name} {problem}; it is not adopted", definition_id=definition.id)
        tokens = self._period_tokens(definition, bound, answers)
        wanted = self.contents(definition, f"({self.select(definition)})")
        return Proof.of(self.contents(definition, table), wanted, tokens, _whole(definition, answers))

    # -- checking -----------------------------------------------------------------------------------------------------

    def compared(
        self, definition: AggregateDefinition, active: InstanceRecord | None, what: CompareRequest
    ) -> Difference:
        """See the port's `compare`. `active`: the instance in service."""
        try:
            return compared(self.statements.run, definition, active, what, self.reference, self.dialect)
        except WarehouseQueryError as problem:
            return not_compared(definition, broke_off(problem))


def _whole(definition: AggregateDefinition, answers: Answers) -> tuple[tuple[str, str], ...]:
    """(source key, token) of sources and dependencies as a whole, sorted by key."""
    keys = sorted(key for who, key in answers if who == definition.id and key != PERIODS_KEY)
    return tuple((key, answers[definition.id, key][0][1]) for key in keys)


def _sick(definition: AggregateDefinition, words: str) -> DefinitionFacts:
    return DefinitionFacts(failure=Failure(FailureKind.QUERY, f"aggregate {definition.label!r}: {words}"))


def _failed(definition: AggregateDefinition, kind: FailureKind, key: str, value: str, remedy: str) -> Bound:
    return Bound(failure=Failure(kind, str(Problem(definition.label, key, value, remedy))))
