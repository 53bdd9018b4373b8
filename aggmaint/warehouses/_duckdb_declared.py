"""Reading declared sources in DuckDB (`aggregates/declared.py`): the tail beyond a mark, and the light pass."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

from ..aggregates.additive import Beyond, only_grew, own_key
from ..aggregates.declared import (
    MARK_PARAMETER,
    Tail,
    Touched,
    adds_up,
    at_mark_sql,
    declared_token,
    light_sql,
    mark_of,
    newest_sql,
    read_beyond,
    read_light,
    tail_sql,
)
from ..aggregates.dialects import DuckDBDialect
from ..aggregates.model import AggregateDefinition
from ..aggregates.observation import InstanceRecord
from ..aggregates.periods import Period
from ..aggregates.scans import TokenRequest, source_identity
from ._duckdb_bind import DIALECT
from ._duckdb_connection import Connection, Row


@define
class DeclaredReader:
    """Reads through one connection. `mark_types`: the types of declared columns by source key, given a definition's id.

    `counted`: how many rows each period has, by definition id, where a light pass of this snapshot counted them.
    """

    _connection: Connection
    _engine: str
    _mark_types: Callable[[str], Mapping[str, str]]
    counted: dict[str, Mapping[Period, int]] = field(factory=dict)
    _passes: dict[Any, list[Row]] = field(factory=dict)
    _at_marks: dict[Any, Row] = field(factory=dict)

    def forget(self) -> None:
        """Another snapshot begins."""
        self.counted.clear()
        self._passes.clear()
        self._at_marks.clear()

    def token(self, request: TokenRequest, before: str | None) -> str | None:
        """The token of a declared source: the one from `before` if nothing is at or beyond its mark that was not then."""
        if request.source.declared is None:
            return None
        mark = mark_of(before)
        if mark is not None:
            tail, newest = self._tail(request, mark)
            token = declared_token(self._engine, request.columns, tail)
            if token == before:
                return token
            mark = newest  # None if the rows at the old mark are gone: then all must be looked at
        if mark is None:
            source, parameters = source_identity(request, DIALECT)
            sql = newest_sql(source, request.source.declared, DIALECT)
            mark = self._connection.run(sql, dict(parameters))[0][0]
        return declared_token(self._engine, request.columns, self._tail(request, mark)[0])

    def _tail(self, request: TokenRequest, mark: str | None) -> tuple[Tail, str | None]:
        """The tail at or beyond a mark (None: the rows without a value), and the greatest value in it."""
        source, parameters = source_identity(request, DIALECT)
        sql = tail_sql(source, request.source.declared or "", self._hashed(request), self._kind(request), DIALECT)
        ((rows, tail_rows, hashes, newest),) = self._connection.run(sql, {**dict(parameters), MARK_PARAMETER: mark})
        return Tail(int(rows), mark, int(tail_rows), int(hashes)), newest

    def _hashed(self, request: TokenRequest) -> str:
        engine = DuckDBDialect()
        return engine.row_hash(f"aggmaint_s.{engine.quote(name)}" for name in request.columns)

    def _kind(self, request: TokenRequest) -> str:
        return self._mark_types(request.definition_id)[request.source_key]

    def at_mark(self, request: TokenRequest, mark: str) -> tuple[Tail, int]:
        """What is there at the mark, without the rows beyond it, but for the number of all rows; how many are beyond."""
        asked = (*source_identity(request, DIALECT), request.columns, mark)
        if asked not in self._at_marks:
            source, parameters = source_identity(request, DIALECT)
            sql = at_mark_sql(
                source, request.source.declared or "", self._hashed(request), self._kind(request), DIALECT
            )
            (found,) = self._connection.run(sql, {**dict(parameters), MARK_PARAMETER: mark})
            self._at_marks[asked] = found
        rows, added, tail_rows, hashes = self._at_marks[asked]
        return Tail(int(rows), mark, int(tail_rows), int(hashes)), int(added)

    def touched(
        self,
        request: TokenRequest,
        definition: AggregateDefinition,
        instance: InstanceRecord,
        wide: Mapping[tuple[str, str], TokenRequest],
    ) -> Touched | None:
        """The periods of a declared source that may have changed since the instance was published; None: any may have.

        `request`: for the tokens of its periods; `wide`: of whole sources.
        """
        key = own_key(definition)
        published = dict(instance.source_tokens).get(key)
        mark = mark_of(published)
        if request.source.declared is None or mark is None or published is None:
            return None
        there, added = self.at_mark(wide[definition.id, key], mark)
        grew = only_grew(Beyond(mark, published), self._engine, wide[definition.id, key].columns, there, added) is None
        grew = grew and adds_up(published, instance.partitions)
        cut = (request.day, request.partition) if request.day and request.partition else None
        source, parameters = source_identity(request, DIALECT)
        kind = self._mark_types(definition.id)[key]
        sql = light_sql(source, request.source.declared, kind, cut, DIALECT, beyond=grew)
        asked = (sql, parameters, mark)
        if asked not in self._passes:
            self._passes[asked] = self._connection.run(sql, {**dict(parameters), MARK_PARAMETER: mark})
        read = read_beyond if grew else read_light
        touched = read(request.source, definition.partition, instance.partitions, self._passes[asked])
        self.counted[definition.id] = touched.rows
        return touched
