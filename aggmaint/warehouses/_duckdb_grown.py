"""Finding in DuckDB that rows were only added to a source, and in which periods: the rule is `aggregates/additive.py`.

The new rows are a source of their own (`newer`): so they are fingerprinted by the same scans as any other, once for all
definitions over one source, and the engine prunes all that lies below the mark.
"""

from collections.abc import Callable, Mapping, Sequence

from attrs import evolve, frozen

from ..aggregates.additive import Beyond, ahead, judge_additive, newer, only_grew, own_key, unmergeable
from ..aggregates.declared import MARK_PARAMETER, Tail
from ..aggregates.growth import Grown, Hindered
from ..aggregates.looking import Hints, audit_due, looks, marked_periods
from ..aggregates.model import AggregateDefinition
from ..aggregates.observation import DefinitionFacts, InstanceRecord, Vouch, source_moved
from ..aggregates.periods import Period
from ..aggregates.scans import (
    PERIODS_KEY,
    Answers,
    TokenRequest,
    float_sums,
    level_two_sql,
    read_contents,
)
from ..aggregates.tokens import TokenKind, token_rows
from ..errors import WarehouseQueryError
from ..warehouse import Tick
from ._duckdb_bind import DIALECT, Bound, bound_parameters
from ._duckdb_connection import Connection

Served = tuple[AggregateDefinition, InstanceRecord]
Added = tuple[tuple[Period, str], ...]


@frozen
class GrownReader:
    """Reads through one session's connection. `wide`: the requests of whole sources, by definition id and source key."""

    connection: Connection
    engine: str
    bound: Mapping[str, Bound]
    wide: Mapping[tuple[str, str], TokenRequest]
    scan: Callable[[Sequence[TokenRequest], Tick], Answers]
    at_mark: Callable[[TokenRequest, str], tuple[Tail, int]]

    def read(
        self, served: Sequence[Served], tokens: Mapping[str, tuple[tuple[str, str], ...]], hints: Hints, tick: Tick
    ) -> dict[str, DefinitionFacts | Hindered]:
        """Of each definition whose sources moved: its facts, or why its new rows can not be told apart.

        `tokens`: of its sources as a whole, by definition id. Raises WarehouseQueryError with a `definition_id`.
        """
        found: dict[str, DefinitionFacts | Hindered] = {}
        grown: list[tuple[AggregateDefinition, InstanceRecord, Beyond]] = []
        for definition, instance in served:
            if not source_moved(instance, tokens[definition.id]):
                continue
            verdict = judge_additive(definition, instance, tokens[definition.id], hints)
            if isinstance(verdict, Beyond):
                verdict = self._only_grew(definition, verdict) or verdict
            if isinstance(verdict, Beyond):
                grown.append((definition, instance, verdict))
            else:
                found[definition.id] = verdict
        added = self._added([(definition, beyond.mark) for definition, _, beyond in grown], tick)
        for definition, instance, beyond in grown:
            of_periods = self._grown(definition, instance, beyond.mark, added[definition.id])
            found[definition.id] = self._facts(definition, instance, tokens[definition.id], of_periods, hints)
        return found

    def _only_grew(self, definition: AggregateDefinition, beyond: Beyond) -> Hindered | None:
        request = self.wide[definition.id, own_key(definition)]
        try:
            there, added = self.at_mark(request, beyond.mark)
        except WarehouseQueryError as problem:
            raise WarehouseQueryError(problem.message, definition_id=definition.id) from problem
        return only_grew(beyond, self.engine, request.columns, there, added)

    def _added(self, grown: Sequence[tuple[AggregateDefinition, str]], tick: Tick) -> dict[str, Added]:
        """The tokens of the new rows per period, by definition id; one scan for all definitions over one source."""
        alone = [self._request(definition, mark) for definition, mark in grown if not definition.joins]
        answers = self.scan(alone, tick)
        found: dict[str, Added] = {key: tuple(tokens) for (key, _), tokens in answers.items()}
        for definition, mark in grown:
            if definition.joins:
                tick(definition.label)
                found[definition.id] = self._added_joined(definition, mark)
        return {key: tuple(each for each in tokens if token_rows(each[1])) for key, tokens in found.items()}

    def _request(self, definition: AggregateDefinition, mark: str) -> TokenRequest:
        """The request for the periods of a definition, of its new rows only."""
        bound = self.bound[definition.id]
        periods = next(each for each in bound.requests if each.source_key == PERIODS_KEY)
        source = newer(definition, mark, DIALECT, bound.mark_types[own_key(definition)]).source
        return evolve(periods, source=source, parameters=(*periods.parameters, (MARK_PARAMETER, mark)))

    def _added_joined(self, definition: AggregateDefinition, mark: str) -> Added:
        beyond = newer(definition, mark, DIALECT, self.bound[definition.id].mark_types[own_key(definition)])
        sql = level_two_sql(beyond, None, joined_rows=True, dialect=DIALECT)
        try:
            rows = self.connection.run(sql, bound_parameters(beyond))
        except WarehouseQueryError as problem:
            raise WarehouseQueryError(problem.message, definition_id=definition.id) from problem
        floats = float_sums(definition, self.bound[definition.id].columns, DIALECT)
        contents = read_contents(beyond, rows, TokenKind.JOINED if floats else TokenKind.CONTENT, self.engine, DIALECT)
        return tuple((each.period, each.content) for each in contents)

    def _grown(self, definition: AggregateDefinition, instance: InstanceRecord, mark: str, added: Added) -> Grown:
        if definition.joins:
            return Grown(mark, added)
        published = {each.period: token_rows(each.token) for each in instance.partitions}
        unknown = ahead(instance, added, mark)
        rows = ((each, published.get(each, 0) + token_rows(token)) for each, token in added if each not in unknown)
        return Grown(mark, added, tuple(rows))

    def _facts(
        self,
        definition: AggregateDefinition,
        instance: InstanceRecord,
        tokens: tuple[tuple[str, str], ...],
        grown: Grown,
        hints: Hints,
    ) -> DefinitionFacts:
        marked = marked_periods(definition, hints.marks_on(definition.source)) or ()
        looked = looks(audit_due(instance, hints), ahead(instance, grown.added, grown.since), marked)
        columns = self.bound[definition.id].columns
        facts = DefinitionFacts(columns, tokens, cause=None, looked=looked, vouch=Vouch.DECLARED)
        return evolve(facts, grown=grown, hindered=unmergeable(definition))
