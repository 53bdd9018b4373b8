"""What differs between SQL engines and what sqlglot does not translate: one class per engine, nothing else.

Sessions run in UTC: then a cast of TIMESTAMP WITH TIME ZONE to DATE, and `date_trunc`, speak of UTC.

A dialect is asked for by its name, everywhere. One that is not aggmaint's own needs no registration: its warehouse gives
`DialectName(MyDialect())` as the name, a text that carries what it names.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from ..errors import InvalidValueError
from .parts import Granularity
from .source import Source

SKETCH_SIZE: Final = 1024
"""How many hashes a sketch keeps. Part of what is stored: another size needs another name of the function."""


class Dialect(Protocol):
    """What the statements of `aggregates/` need to know of an engine. All texts are SQL, given and answered.

    Beyond this they use: FILTER of aggregates, IS NOT DISTINCT FROM, FULL JOIN, WITH … AS MATERIALIZED, window functions,
    NULLS FIRST, TRUE and FALSE, HAVING without GROUP BY, and VARCHAR and BIGINT as types of casts.
    """

    @property
    def name(self) -> str:
        """What sqlglot calls the engine."""

    @property
    def float_types(self) -> frozenset[str]:
        """The types whose sums depend on the order of rows, as the warehouse writes them in its columns."""

    @property
    def grouping_sets(self) -> bool:
        """Whether the engine has GROUP BY GROUPING SETS. Without, the same is asked with UNION ALL."""

    def quote(self, name: str) -> str: ...

    def text(self, value: str) -> str:
        """A text literal."""

    def date(self, text: str) -> str:
        """A literal of the type that `period_start` gives, from ISO text."""

    def date_text(self, expression: str) -> str:
        """The ISO text of a date as `period_start` gives it."""

    def row_hash(self, expressions: Iterable[str]) -> str:
        """The hash of one row over these expressions: 64 bits or more, equal for equal rows in every session."""

    def hash_sum(self, hashed: str) -> str:
        """The sum of row hashes, and of such sums; 0 over no rows. Must not overflow, nor depend on the order of rows."""

    def files(self, source: Source) -> str:
        """Parquet or CSV files as something to select from. Raises ExpressionError if the engine reads none."""

    def day(self, expression: str, zone: str) -> str:
        """The date of the row in the zone. See model.py for what the types mean."""

    def period_start(self, expression: str, granularity: Granularity, zone: str) -> str:
        """The date on which the row's period begins, in the zone."""

    def period_of_day(self, day: str, granularity: Granularity) -> str:
        """The date on which the period of a `day` begins; by value the day is the value, and its period too."""

    def value_text(self, expression: str) -> str:
        """Any value as a text; different values of one column give different texts."""

    def ratio(self, total: str, count: str) -> str:
        """A sum divided by a count, with its fraction whatever the sum's type is; NULL for a count of 0."""

    def last(self, value: str, order: str) -> str:
        """An aggregate: the value of the row with the greatest order; of several such rows the greatest value."""

    def sketch(self, expression: str) -> str:
        """An aggregate: a sketch of the distinct values (`measures.py`); NULL over no values."""

    def sketch_merged(self, column: str) -> str:
        """An aggregate: the sketch of all that several sketches stand for."""

    def sketch_estimate(self, sketch: str) -> str:
        """How many distinct values a sketch stands for."""


class DialectName(str):
    """The name of a dialect, which carries the dialect. It equals one that carries the same class, and no plain text.

    So what is remembered of two dialects of one name is kept apart. sqlglot is given `str(name)`.
    """

    __slots__ = ("dialect",)

    dialect: Dialect

    def __new__(cls, dialect: Dialect) -> "DialectName":
        made = super().__new__(cls, dialect.name)
        made.dialect = dialect
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DialectName) and type(self.dialect) is type(other.dialect)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class DuckDBDialect:
    """DuckDB: `hash()` is 64 bits of a row, summed in 128; types and functions as of 1.4 to 2.x."""

    name: Final = "duckdb"
    float_types: Final = frozenset({"DOUBLE", "FLOAT"})
    grouping_sets: Final = True

    def quote(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def text(self, value: str) -> str:
        """A text literal. No version takes NUL in one."""
        return " || CHR(0) || ".join("'" + part.replace("'", "''") + "'" for part in value.split("\x00"))

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

    def day(self, expression: str, zone: str) -> str:
        """The DATE of the row in the zone. See model.py for what the types mean."""
        return f"CAST({expression if zone == 'UTC' else self._civil(expression, zone)} AS DATE)"

    def period_of_day(self, day: str, granularity: Granularity) -> str:
        """The DATE on which the period of a DATE begins; by value the day is the value, and its period too."""
        return day if granularity is Granularity.VALUE else self._period(day, day, granularity)

    def value_text(self, expression: str) -> str:
        """Any value as a text; different values of one column give different texts."""
        return f"CAST({expression} AS VARCHAR)"

    def ratio(self, total: str, count: str) -> str:
        """A division; `/` never cuts the fraction off."""
        return f"{total} / NULLIF({count}, 0)"

    def last(self, value: str, order: str) -> str:
        """The value of the row with the greatest order; of several such rows the greatest value."""
        return f"ARG_MAX({value}, ROW({order}, {value}))"

    def sketch(self, expression: str) -> str:
        """The least SKETCH_SIZE hashes of the distinct values, in order; NULL over no values."""
        return f"MIN(DISTINCT MD5_NUMBER_LOWER(CAST({expression} AS VARCHAR)), {SKETCH_SIZE})"

    def sketch_merged(self, column: str) -> str:
        """The sketch of all that several sketches stand for; what is beyond SKETCH_SIZE in it is not looked at."""
        return f"LIST_SORT(LIST_DISTINCT(FLATTEN(LIST({column}))))"

    def sketch_estimate(self, sketch: str) -> str:
        """How many distinct values a sketch stands for: exact below SKETCH_SIZE. 2^64 divided by the greatest kept hash is
        how much closer together hashes are than in a sketch of one."""
        estimate = f"ROUND({SKETCH_SIZE - 1} * {2.0**64!r} / CAST(({sketch})[{SKETCH_SIZE}] AS DOUBLE))"
        few = f"LEN({sketch}) < {SKETCH_SIZE}"
        return f"COALESCE(CASE WHEN {few} THEN LEN({sketch}) ELSE CAST({estimate} AS BIGINT) END, 0)"

    def period_start(self, expression: str, granularity: Granularity, zone: str) -> str:
        """The DATE on which the row's period begins, in the zone.

        Of the functions here none takes a text: so a partition by text is refused when it is bound.
        """
        day = self.day(expression, zone)
        return self._period(day, expression if zone == "UTC" else day, granularity)

    def _period(self, day: str, civil: str, granularity: Granularity) -> str:
        """Days are subtracted where that is possible: DATE_TRUNC takes three times as long.

        COALESCE keeps infinite dates, which have no day of the month.
        """
        before = self._DAYS_BEFORE.get(granularity)
        if granularity is Granularity.DAY:
            return day
        if before is None:
            return f"CAST(DATE_TRUNC({self.text(granularity.value)}, {civil}) AS DATE)"
        return f"COALESCE({day} - CAST({before.format(civil)} - 1 AS INTEGER), {day})"

    _DAYS_BEFORE: Final = {
        Granularity.WEEK: "ISODOW({})",
        Granularity.MONTH: "DAY({})",
        Granularity.YEAR: "DAYOFYEAR({})",
    }

    def _civil(self, expression: str, zone: str) -> str:
        shifted = f"TIMEZONE({self.text(zone)}, CAST({expression} AS TIMESTAMPTZ))"
        return f"CASE WHEN TYPEOF({expression}) = 'DATE' THEN CAST({expression} AS TIMESTAMP) ELSE {shifted} END"


_DIALECTS: Mapping[str, Dialect] = {DuckDBDialect.name: DuckDBDialect()}


def dialect_of(name: str) -> Dialect:
    """Raises InvalidValueError for a plain name of an engine that has no dialect here."""
    if isinstance(name, DialectName):
        return name.dialect
    try:
        return _DIALECTS[name]
    except KeyError:
        raise InvalidValueError(
            f"there is no SQL dialect {name!r}; known are {', '.join(_DIALECTS)}; others are given as a DialectName"
        ) from None
