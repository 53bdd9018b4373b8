"""Reading tokens in DuckDB: the tiers of `aggregates/looking.py`, from cheap to dear, inside the observation's snapshot.

`current` reads what each source is as a whole (the engine's token, a declared tail, a fingerprint); `facts` reads the
periods of those definitions whose sources moved, were marked, or are due for the audit. Which tier says what is decided in
`aggregates/`; here are statements only. A build reads the same tokens in one pass (`for_build`).
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from attrs import define, evolve, field

from ..aggregates.declared import Touched
from ..aggregates.growth import Hindered
from ..aggregates.looking import Hints, audit_due, looks, marked_periods
from ..aggregates.model import AggregateDefinition, Source
from ..aggregates.observation import Cause, DefinitionFacts, InstanceRecord, Vouch, source_moved
from ..aggregates.periods import WHOLE_PERIOD, Period
from ..aggregates.scans import (
    PERIODS_KEY,
    SOURCE_KEY,
    Answers,
    Scan,
    TokenRequest,
    Wanted,
    content_sql,
    float_sums,
    level_two_sql,
    plan_scans,
    read_contents,
    read_scan,
    source_identity,
    widened,
)
from ..aggregates.slices import cut_of, same_rows, worth_slicing
from ..aggregates.sql import select_sql
from ..aggregates.tokens import TokenKind, snapshot_token, token_kind
from ..errors import WarehouseError, WarehouseQueryError
from ..warehouse import Tick
from ._duckdb_bind import DIALECT, Bound, bound_parameters
from ._duckdb_connection import Connection
from ._duckdb_declared import DeclaredReader
from ._duckdb_grown import GrownReader, Served
from ._duckdb_shared import SourceToken
from ._duckdb_slices import Slices


class FilesMovedError(WarehouseQueryError):
    """A file changed while it was read; the next run reads it again."""


def broke_off(problem: WarehouseError) -> str:
    """In words, that an aggregate's query failed on the data."""
    if isinstance(problem, FilesMovedError):
        return problem.message
    return f"its query broke off ({problem.message}); correct the data or the expression"


class BrokenQueryError(Exception):
    """A query of the snapshot broke off: for these definitions, or for this instance's table."""

    def __init__(
        self, problem: WarehouseQueryError, scan: Scan | None = None, definition_id: str = "", instance_id: str = ""
    ):
        super().__init__(problem.message)
        self.problem, self.scan = problem, scan
        self.definition_id, self.instance_id = definition_id, instance_id


@define
class TokenReader:
    """Reads tokens through one connection. `bound`: what the last observation bound, by definition id.

    `computed`: TEMP tables with all rows of definitions that level 2 computed in this snapshot, by definition id.
    """

    _connection: Connection
    _engine: str
    _source_token: SourceToken | None = None
    bound: dict[str, Bound] = field(factory=dict)
    computed: dict[str, str] = field(factory=dict)
    _numbers: "count[int]" = field(factory=count)
    slices: Slices = field(init=False)
    declared: DeclaredReader = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.slices = Slices(self._connection)
        self.declared = DeclaredReader(self._connection, self._engine, lambda each: self.bound[each].mark_types)

    def begin(self) -> None:
        """A transaction begins: what one before it kept is gone, if it was rolled back, and of no use."""
        self.computed.clear()
        self.slices.forget()

    # -- sources as a whole -------------------------------------------------------------------------------------------

    def _wide(self) -> dict[tuple[str, str], TokenRequest]:
        """Every request about a whole source, over the columns that all definitions together read of it."""
        requests = [each for bound in self.bound.values() for each in bound.requests if each.whole]
        return {(each.definition_id, each.source_key): each for each in widened(requests, DIALECT)}

    def current(self, served: Sequence[Served], hints: Hints, tick: Tick) -> Answers:
        """The tokens of whole sources; also the periods of definitions whose undeclared source is marked: it moved."""
        wide = self._wide()
        answers: Answers = {}
        hashed: list[TokenRequest] = []
        known: dict[Any, str] = {}
        for definition, instance in served:
            before = dict(instance.source_tokens)
            for request in (each for each in wide.values() if each.definition_id == definition.id):
                marked = bool(hints.marks_on(request.source))
                token = self._cheap(request, before.get(request.source_key), known, marked=marked)
                if token is not None:
                    answers[definition.id, request.source_key] = [(WHOLE_PERIOD, token)]
                    continue
                hashed.append(request)
                if marked and not definition.joins and request.source_key.startswith(SOURCE_KEY):
                    hashed.append(_periods_request(self.bound[definition.id]))
        answers.update(self.scan(hashed, tick))
        return answers

    def _cheap(self, request: TokenRequest, before: str | None, known: dict[Any, str], *, marked: bool) -> str | None:
        """The engine's token or the declared one; None for a source that must be hashed."""
        if not request.source_key.startswith(SOURCE_KEY):
            return None
        declared = request.source.declared, request.columns, None if marked else before
        identity = (*source_identity(request, DIALECT), *declared)
        if identity not in known:
            try:
                token = self._snapshot(request.source) or self.declared.token(request, None if marked else before)
            except WarehouseQueryError as problem:
                raise BrokenQueryError(problem, definition_id=request.definition_id) from problem
            if token is None:
                return None
            known[identity] = token
        return known[identity]

    def _snapshot(self, source: Source) -> str | None:
        state = None if self._source_token is None else self._source_token(source, self._connection.run)
        return None if state is None else snapshot_token(self._engine, state)

    # -- periods ------------------------------------------------------------------------------------------------------

    def facts(self, served: Sequence[Served], answers: Answers, hints: Hints, tick: Tick) -> dict[str, DefinitionFacts]:
        """What is found of each definition's sources. `answers`: from `current`."""
        found: dict[str, DefinitionFacts] = {}
        self.declared.forget()
        full: list[AggregateDefinition] = []
        part: list[AggregateDefinition] = []
        grown = self._grown(served, answers, hints, tick)
        for definition, instance in served:
            known = grown.get(definition.id)
            if isinstance(known, DefinitionFacts):
                facts = known
            else:
                facts = evolve(self._what_to_look_at(definition, instance, answers, hints), hindered=known)
            found[definition.id] = facts
            if definition.joins:
                found[definition.id] = self._level_two_facts(definition, facts, tick)
            elif (definition.id, PERIODS_KEY) in answers:
                continue
            elif facts.cause is not None:
                full.append(definition)
            elif facts.looked:
                part.append(definition)
        answers.update(self.scan([_periods_request(self.bound[each.id]) for each in full], tick))
        self._slice(part, found)
        answers.update(self._scan_periods(part, found, tick))
        for definition, _ in served:
            tokens = answers.get((definition.id, PERIODS_KEY))
            facts = found[definition.id]
            if tokens is not None and (facts.cause is not None or facts.looked):
                found[definition.id] = evolve(facts, tokens=tuple(tokens))
        return found

    def _grown(
        self, served: Sequence[Served], answers: Answers, hints: Hints, tick: Tick
    ) -> dict[str, DefinitionFacts | Hindered]:
        """What is known of definitions to whose sources rows were only added: see `_duckdb_grown.py`."""
        promised = [each for each in served if each[0].source.marks_commit_in_order]
        if not promised:
            return {}
        reader = GrownReader(self._connection, self._engine, self.bound, self._wide(), self.scan, self.declared.at_mark)
        tokens = {definition.id: self.source_tokens(definition, answers) for definition, _ in promised}
        try:
            return reader.read(promised, tokens, hints, tick)
        except WarehouseQueryError as problem:
            raise BrokenQueryError(problem, definition_id=problem.definition_id or "") from problem

    def _what_to_look_at(
        self,
        definition: AggregateDefinition,
        instance: InstanceRecord,
        answers: Answers,
        hints: Hints,
    ) -> DefinitionFacts:
        """The facts without tokens yet: why, and at which periods, must be looked."""
        tokens = self.source_tokens(definition, answers)
        facts = DefinitionFacts(self.bound[definition.id].columns, tokens)
        vouch = _vouch(tokens)
        marks = [mark for source in definition.sources for mark in hints.marks_on(source)]
        marked = marked_periods(definition, marks) if vouch is not Vouch.WHOLE else frozenset[Period]()
        moved = source_moved(instance, tokens)
        if moved or marked is None or (marked and definition.joins and _dimension_marked(definition, hints)):
            touched = self._touched(definition, instance, marked)
            if touched is None or touched.broken is not None:
                cause = Cause.BROKEN if touched else Cause.MARK if marked is None or not moved else Cause.SOURCE
                own = marked_periods(definition, marks) or ()
                return evolve(facts, cause=cause, looked=tuple((each, Cause.MARK) for each in own))
            looked = looks(audit_due(instance, hints), touched.periods, marked or ())
            return evolve(facts, cause=None, looked=looked, vouch=vouch)
        due = audit_due(instance, hints) if vouch is not Vouch.WHOLE else ()
        return evolve(facts, cause=None, looked=looks(due, (), marked), vouch=vouch)

    def _touched(
        self, definition: AggregateDefinition, instance: InstanceRecord, marked: frozenset[Period] | None
    ) -> Touched | None:
        """The periods of a declared source that may have changed; None if all must be looked at."""
        request = next((each for each in self.bound[definition.id].requests if each.source_key == PERIODS_KEY), None)
        if request is None or marked is None:
            return None
        try:
            return self.declared.touched(request, definition, instance, self._wide())
        except WarehouseQueryError as problem:
            raise BrokenQueryError(problem, definition_id=definition.id) from problem

    def _slice(self, definitions: Sequence[AggregateDefinition], facts: Mapping[str, DefinitionFacts]) -> None:
        """Copy the periods that are looked at aside, by source, where the light pass counted them and it pays."""
        counted = self.declared.counted
        left = [each for each in definitions if each.id in counted]
        while left:
            alike = [each for each in left if same_rows(each, left[0])]
            rows = sum(counted[left[0].id].values())
            left = [each for each in left if each not in alike]
            periods = {each.id: [period for period, _ in facts[each.id].looked] for each in alike}
            cuts = [cut_of(each, periods[each.id], self.columns_read(each), counted[each.id]) for each in alike]
            found = [cut for cut in cuts if cut is not None]
            if worth_slicing(found, rows, again=True, dialect=DIALECT):
                self.slices.make(found)

    def _scan_periods(
        self, definitions: Sequence[AggregateDefinition], facts: Mapping[str, DefinitionFacts], tick: Tick
    ) -> Answers:
        """Tokens of only those periods that are looked at."""
        requests = [self.slices.request_over(_periods_request(self.bound[each.id])) for each in definitions]
        answers = self.scan([each for each in requests if each.day is None], tick)
        cut = [each for each in requests if each.day is not None]
        wanted = {
            each.definition_id: Wanted(
                each.day or "", each.partition, tuple(period for period, _ in facts[each.definition_id].looked)
            )
            for each in cut
            if each.partition is not None
        }
        for key, found in self.scan(cut, tick, wanted).items():
            periods = {period for period, _ in facts[key[0]].looked}
            answers[key] = [each for each in found if each[0] in periods]
        return answers

    def scan(self, requests: Sequence[TokenRequest], tick: Tick, wanted: Mapping[str, Wanted] | None = None) -> Answers:
        """All tokens asked for, with one scan per source. Raises BrokenQueryError."""
        answers: Answers = {}
        for scan in plan_scans(requests, DIALECT, wanted):
            tick(scan.requests[0].source.label)
            try:
                rows = self._connection.run(scan.sql, dict(scan.parameters))
            except WarehouseQueryError as problem:
                raise BrokenQueryError(problem, scan=scan) from problem
            answers.update(read_scan(scan, rows, self._engine))
        return answers

    def culprits(self, scan: Scan, problem: WarehouseQueryError) -> dict[str, str]:
        """Which definitions of a scan that broke off break it alone; if none does, all."""
        found = {}
        ids = dict.fromkeys(each.definition_id for each in scan.requests)
        for definition_id in ids:
            for alone in plan_scans(self.bound[definition_id].requests, DIALECT):
                try:
                    self._connection.run(alone.sql, dict(alone.parameters))
                except WarehouseQueryError as own:
                    found[definition_id] = broke_off(own)
        return found or dict.fromkeys(ids, broke_off(problem))

    def source_tokens(self, definition: AggregateDefinition, answers: Answers) -> tuple[tuple[str, str], ...]:
        """(source key, token) of sources and dependencies, sorted by key."""
        keys = {each.source_key for each in self.bound[definition.id].requests if each.whole}
        return tuple((key, answers[definition.id, key][0][1]) for key in sorted(keys))

    def columns_read(self, definition: AggregateDefinition) -> tuple[str, ...]:
        """The columns that a definition reads of its first source."""
        return self.bound[definition.id].requests[0].columns

    # -- joins --------------------------------------------------------------------------------------------------------

    def has_float_sums(self, definition: AggregateDefinition) -> bool:
        return bool(float_sums(definition, self.bound[definition.id].columns, DIALECT))

    def _level_two_facts(self, definition: AggregateDefinition, facts: DefinitionFacts, tick: Tick) -> DefinitionFacts:
        if facts.cause is None and not facts.looked:
            return facts
        tick(definition.label)
        periods = None if facts.cause is not None else [period for period, _ in facts.looked]
        try:
            tokens = self.level_two(definition, periods, keep=True)
        except WarehouseQueryError as problem:
            raise BrokenQueryError(problem, definition_id=definition.id) from problem
        return evolve(facts, tokens=tuple(tokens))

    def level_two(
        self, definition: AggregateDefinition, periods: Sequence[Period] | None = None, *, keep: bool = False
    ) -> list[tuple[Period, str]]:
        """The tokens per period of a definition with joins, computed from the joined rows.

        With `keep`, the rows of a recomputation stay in a TEMP table, so that the refresh need not compute them again.
        """
        joined_rows = self.has_float_sums(definition)
        kind = TokenKind.JOINED if joined_rows else TokenKind.CONTENT
        parameters = bound_parameters(definition)
        if keep and periods is None and not joined_rows:
            table = f"temp.aggmaint_computed_{next(self._numbers)}"
            self._connection.run(f"CREATE TEMP TABLE {table} AS {select_sql(definition, DIALECT)}", parameters)
            self.computed[definition.id] = table
            rows = self._connection.run(content_sql(definition, table, DIALECT))
        else:
            sql = level_two_sql(definition, periods, joined_rows=joined_rows, dialect=DIALECT)
            rows = self._connection.run(sql, parameters)
        return [(each.period, each.content) for each in read_contents(definition, rows, kind, self._engine, DIALECT)]

    def forget_computed(self) -> None:
        """Drop the rows that were kept for a refresh: computed ones, and slices."""
        self.slices.drop()
        for table in self.computed.values():
            self._connection.run(f"DROP TABLE IF EXISTS {table}")
        self.computed.clear()

    # -- builds -------------------------------------------------------------------------------------------------------

    def for_build(
        self, definitions: Sequence[AggregateDefinition], tick: Tick, more: Sequence[TokenRequest] = ()
    ) -> Answers:
        """All tokens of definitions that are about to be built, and `more`, in one pass over each source."""
        wide = self._wide()
        answers: Answers = {}
        requests: list[TokenRequest] = list(more)
        known: dict[Any, str] = {}
        for definition in definitions:
            for each in self.bound[definition.id].requests:
                request = wide.get((each.definition_id, each.source_key), each)
                token = self._cheap(request, None, known, marked=False)
                if token is None:
                    requests.append(request)
                else:
                    answers[definition.id, each.source_key] = [(WHOLE_PERIOD, token)]
        answers.update(self.scan(requests, tick))
        return answers


def _periods_request(bound: Bound) -> TokenRequest:
    return next(each for each in bound.requests if each.source_key == PERIODS_KEY)


def _vouch(tokens: Sequence[tuple[str, str]]) -> Vouch:
    """Who vouches for a definition none of whose sources moved: the weakest of those that vouch for a source."""
    kinds = {token_kind(token) for _, token in tokens}
    if TokenKind.DECLARED in kinds:
        return Vouch.DECLARED
    return Vouch.ENGINE if TokenKind.SNAPSHOT in kinds else Vouch.WHOLE


def _dimension_marked(definition: AggregateDefinition, hints: Hints) -> bool:
    """True if a mark names a joined source: its times are not the partition's."""
    return any(hints.marks_on(join.source) for join in definition.joins)
