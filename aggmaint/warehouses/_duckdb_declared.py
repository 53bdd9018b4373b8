"""Reading declared sources in DuckDB (`aggregates/declared.py`): the tail beyond a mark, and the light pass."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

from ..aggregates.declared import (
    MARK_PARAMETER,
    Tail,
    Touched,
    declared_token,
    light_sql,
    mark_of,
    newest_sql,
    read_light,
    tail_sql,
)
from ..aggregates.dialects import DuckDBDialect
from ..aggregates.model import AggregateDefinition
from ..aggregates.observation import InstanceRecord
from ..aggregates.periods import Period
from ..aggregates.scans import SOURCE_KEY, TokenRequest, source_identity
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

    def forget(self) -> None:
        """Another snapshot begins."""
        self.counted.clear()
        self._passes.clear()

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
        engine = DuckDBDialect()
        hashed = engine.row_hash(f"aggmaint_s.{engine.quote(name)}" for name in request.columns)
        kind = self._mark_types(request.definition_id)[request.source_key]
        sql = tail_sql(source, request.source.declared or "", hashed, kind, DIALECT)
        ((rows, tail_rows, hashes, newest),) = self._connection.run(sql, {**dict(parameters), MARK_PARAMETER: mark})
        return Tail(int(rows), mark, int(tail_rows), int(hashes)), newest

    def touched(
        self, request: TokenRequest, definition: AggregateDefinition, instance: InstanceRecord
    ) -> Touched | None:
        """The periods of a declared source that may have changed since the instance was published; None: any may have.

        `request`: for the tokens of its periods.
        """
        key = SOURCE_KEY + definition.source.alias
        mark = mark_of(dict(instance.source_tokens).get(key))
        if request.source.declared is None or mark is None:
            return None
        cut = (request.day, request.partition) if request.day and request.partition else None
        source, parameters = source_identity(request, DIALECT)
        sql = light_sql(source, request.source.declared, self._mark_types(definition.id)[key], cut, DIALECT)
        asked = (sql, parameters, mark)
        if asked not in self._passes:
            self._passes[asked] = self._connection.run(sql, {**dict(parameters), MARK_PARAMETER: mark})
        touched = read_light(request.source, definition.partition, instance.partitions, self._passes[asked])
        self.counted[definition.id] = touched.rows
        return touched
