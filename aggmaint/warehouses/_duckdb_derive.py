"""Building from the table in service in DuckDB, where a definition changed in its measures only.

Theory of operation
-------------------
What the table in service holds of a period is right for the new definition too, as far as it has its columns, if three
things hold in the snapshot of the build: the source's token of the period, made over the columns that the *old* definition
reads, is the published one (with joins: the token of each source); the table's content is what was published; and no source
that is depended on moved. Such
periods are *current*: their rows are copied, and new measures, alone, are computed from the source and joined to them by the
grain. All other periods are computed whole. The number of rows is the gate: each copied row must have met exactly one row
of the new measures, else all is computed whole. So the new table is what computing all of it would have given, built
beside, in the one transaction that every build is.
"""

from collections.abc import Sequence

from attrs import evolve

from ..aggregates.dialects import DuckDBDialect
from ..aggregates.model import AggregateDefinition
from ..aggregates.observation import InstanceRecord, PartitionContent
from ..aggregates.periods import Period
from ..aggregates.scans import PERIODS_KEY, SOURCE_KEY, Answers, TokenRequest
from ..aggregates.sql import grain, pieces, rows_of_periods_sql, select_sql
from ..aggregates.tokens import Comparison, compare_tokens
from ..warehouse import BuildRequest
from ._duckdb_bind import DIALECT, Bound, bound_parameters
from ._duckdb_connection import Connection
from ._duckdb_ledger import Ledger
from ._duckdb_observe import Observer


class Deriver:
    """Makes tables from older ones, through one session's parts."""

    def __init__(self, connection: Connection, ledger: Ledger, observer: Observer) -> None:
        self._connection = connection
        self._ledger = ledger
        self._observer = observer
        self._bound: dict[str, Bound] = {}

    def bind(self, requests: Sequence[BuildRequest]) -> None:
        """Find out which columns the old definitions read. Outside of transactions."""
        befores = [before for each in requests if (before := _before(each)) is not None]
        self._bound = self._observer.bind(befores)

    def token_requests(self, requests: Sequence[BuildRequest]) -> list[TokenRequest]:
        """The tokens by which the old definitions are compared; none of one that does not fit its sources."""
        tokens = []
        for before in (_before(each) for each in requests):
            if before is not None:
                mine = self._bound[before.id].requests
                tokens += [each for each in mine if each.whole is bool(before.joins)]
        return tokens

    def make(self, request: BuildRequest, table: str, answers: Answers) -> bool:
        """Make the new table. False: there is nothing to copy, it is not made."""
        before, old = _before(request), request.supersedes
        if before is None or old is None or self._bound[before.id].failure is not None:
            return False
        definition = request.definition
        current = {} if self._moved(definition, before, old, answers) else self._current(before, old, answers)
        if not current:
            return False
        whole, parameters = select_sql(definition, DIALECT), bound_parameters(definition)
        self._connection.run(f"CREATE TABLE {table} AS SELECT * FROM ({whole}) LIMIT 0", parameters)
        self._copy(request, before, table, list(current))
        copied = self._connection.run(f"SELECT COUNT(*) FROM {table}")[0][0]
        if copied != sum(current.values()):
            self._connection.run(f"DELETE FROM {table}")
            self._connection.run(f"INSERT INTO {table} {whole}", parameters)
            return True
        others = [period for period, _ in answers.get((definition.id, PERIODS_KEY), ()) if period not in current]
        if others:
            sql = select_sql(definition, DIALECT, others)
            self._connection.run(f"INSERT INTO {table} {sql}", bound_parameters(definition))
        return True

    def _moved(
        self, definition: AggregateDefinition, before: AggregateDefinition, old: InstanceRecord, answers: Answers
    ) -> bool:
        """True if a source that must stand still as a whole is not the published one, or nobody can tell."""
        for key, token in old.source_tokens:
            if key.startswith(SOURCE_KEY) and not before.joins:
                continue  # its periods tell
            now = {answers[who, key][0][1] for who in (before.id, definition.id) if (who, key) in answers}
            if token not in now:
                return True
        return False

    def _current(self, before: AggregateDefinition, old: InstanceRecord, answers: Answers) -> dict[Period, int]:
        """The periods of the table in service that are current, with their rows."""
        contents = {each.period: each.content for each in self._contents(before, old)}
        now = None if before.joins else dict(answers[before.id, PERIODS_KEY])
        return {
            each.period: each.rows
            for each in old.partitions
            if contents.get(each.period) == each.content
            and (now is None or compare_tokens(each.token, now.get(each.period, "")) is Comparison.SAME)
        }

    def _contents(self, before: AggregateDefinition, old: InstanceRecord) -> Sequence[PartitionContent]:
        if self._connection.columns(f"SELECT * FROM {self._ledger.table(old.table_name)}") != old.columns:
            return ()
        return self._observer.contents_of(before, self._ledger.table(old.table_name))

    def _copy(self, request: BuildRequest, before: AggregateDefinition, table: str, periods: list[Period]) -> None:
        definition, quote = request.definition, DuckDBDialect().quote
        assert request.supersedes is not None
        kept = {each.name for each in before.measures}
        added = tuple(each for each in definition.measures if each.name not in kept)
        keys = [quote(name) for name, _ in grain(definition, DIALECT)]
        of_added = {column for each in added for column in each.columns}
        measures = [each.name for each in pieces(definition, DIALECT).measures]
        old = self._ledger.table(request.supersedes.table_name)
        wanted = rows_of_periods_sql(periods, definition.partition, DIALECT)
        source = f"(SELECT * FROM {old} WHERE {wanted}) AS o"
        parameters = {}
        if added:
            alone = evolve(definition, measures=added)
            on = " AND ".join(f"o.{key} IS NOT DISTINCT FROM n.{key}" for key in keys) or "TRUE"
            source += f" JOIN ({select_sql(alone, DIALECT, periods)}) AS n ON {on}"
            parameters = bound_parameters(alone)
        shown = [*(f"o.{key}" for key in keys), *(f"{'n' if m in of_added else 'o'}.{quote(m)}" for m in measures)]
        names = ", ".join([*keys, *(quote(each) for each in measures)])
        self._connection.run(f"INSERT INTO {table} ({names}) SELECT {', '.join(shown)} FROM {source}", parameters)


def _before(request: BuildRequest) -> AggregateDefinition | None:
    """The old definition, under an id of its own: both are asked about in one scan."""
    return None if request.before is None else evolve(request.before, id=f"{request.before.id} before")
