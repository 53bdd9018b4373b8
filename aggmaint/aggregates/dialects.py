"""What differs between SQL engines and what sqlglot does not translate: one class per engine, nothing else.

Sessions run in UTC: then a cast of TIMESTAMP WITH TIME ZONE to DATE, and `date_trunc`, speak of UTC.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from ..errors import InvalidValueError
from .model import Granularity, Source


class DuckDBDialect:
    """DuckDB: `hash()` is 64 bits of a row, summed in 128; types and functions as of 1.4 to 2.x."""

    name: Final = "duckdb"
    float_types: Final = frozenset({"DOUBLE", "FLOAT"})

    def quote(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def text(self, value: str) -> str:
        return "'" + value.replace("'", "''") + "'"

    def date(self, text: str) -> str:
        return f"CAST({self.text(text)} AS DATE)"

    def date_text(self, expression: str) -> str:
        """The ISO text of a DATE."""
        return f"CAST({expression} AS VARCHAR)"

    def row_hash(self, expressions: Iterable[str]) -> str:
        """The hash of one row over these expressions."""
        listed = ", ".join(expressions)
        return f"HASH({listed})" if listed else "0"

    def hash_sum(self, hashed: str) -> str:
        """The 128-bit sum of row hashes; 0 over no rows."""
        return f"COALESCE(SUM({hashed}), 0)"

    def files(self, source: Source) -> str:
        reader = {"parquet": "READ_PARQUET", "csv": "READ_CSV"}[source.file_format or ""]
        return f"{reader}({self.text(source.file or '')})"

    def period_start(self, expression: str, granularity: Granularity, zone: str) -> str:
        """The DATE on which the row's period begins, in the zone. See model.py for what the types mean."""
        civil = expression if zone == "UTC" else self._civil(expression, zone)
        if granularity is Granularity.DAY:
            return f"CAST({civil} AS DATE)"
        return f"CAST(DATE_TRUNC({self.text(granularity.value)}, {civil}) AS DATE)"

    def _civil(self, expression: str, zone: str) -> str:
        shifted = f"TIMEZONE({self.text(zone)}, CAST({expression} AS TIMESTAMPTZ))"
        return f"CASE WHEN TYPEOF({expression}) = 'DATE' THEN CAST({expression} AS TIMESTAMP) ELSE {shifted} END"


Dialect = DuckDBDialect

_DIALECTS: Mapping[str, Dialect] = {DuckDBDialect.name: DuckDBDialect()}


def dialect_of(name: str) -> Dialect:
    """Raises InvalidValueError for an engine that has no dialect here."""
    try:
        return _DIALECTS[name]
    except KeyError:
        raise InvalidValueError(f"there is no SQL dialect {name!r}; known are {', '.join(_DIALECTS)}") from None
