"""SQL as SQLite speaks it, and the functions that it lacks."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from aggmaint.aggregates.expressions import ExpressionError
from aggmaint.aggregates.parts import Granularity
from aggmaint.aggregates.source import Source


class SQLiteDialect:
    """See Dialect. Dates are ISO texts. Columns of our tables have no type, so any sum may be one of floats."""

    name: Final = "sqlite"
    float_types: Final = frozenset({""})
    grouping_sets: Final = False

    def quote(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def text(self, value: str) -> str:
        return " || char(0) || ".join("'" + part.replace("'", "''") + "'" for part in value.split("\x00"))

    def date(self, text: str) -> str:
        return self.text(text)

    def date_text(self, expression: str) -> str:
        return f"CAST({expression} AS TEXT)"

    def row_hash(self, expressions: Iterable[str]) -> str:
        return f"aggmaint_hash({', '.join(expressions)})"

    def hash_sum(self, hashed: str) -> str:
        return f"COALESCE(aggmaint_sum({hashed}), '0')"

    def files(self, source: Source) -> str:
        raise ExpressionError(f"SQLite reads no files; load {source.label!r} into a table")

    def day(self, expression: str, zone: str) -> str:
        return f"date({expression})" if zone == "UTC" else f"aggmaint_day({expression}, {self.text(zone)})"

    def period_start(self, expression: str, granularity: Granularity, zone: str) -> str:
        return self.period_of_day(self.day(expression, zone), granularity)

    def period_of_day(self, day: str, granularity: Granularity) -> str:
        match granularity:
            case Granularity.DAY | Granularity.VALUE:
                return day
            case Granularity.WEEK:
                return f"date({day}, 'weekday 0', '-6 days')"
            case Granularity.QUARTER:
                months = f"((CAST(strftime('%m', {day}) AS INTEGER) - 1) % 3)"
                return f"date({day}, 'start of month', '-' || {months} || ' months')"
        return f"date({day}, 'start of {granularity.value}')"

    def value_text(self, expression: str) -> str:
        exactly = f"printf('%!.17g', {expression})"
        return f"CASE typeof({expression}) WHEN 'real' THEN {exactly} ELSE CAST({expression} AS TEXT) END"

    def ratio(self, total: str, count: str) -> str:
        return f"CAST({total} AS REAL) / NULLIF({count}, 0)"

    def last(self, value: str, order: str) -> str:
        return f"aggmaint_last({value}, {order})"

    def sketch(self, expression: str) -> str:
        raise ExpressionError(f"SQLite makes no sketches; count {expression} with count_distinct")

    sketch_merged = sketch_estimate = sketch


def row_hash(*values: Any) -> int:
    return int.from_bytes(hashlib.blake2b(repr(values).encode(), digest_size=8).digest(), "big", signed=True)


def day_in(value: str | None, zone: str) -> str | None:
    """A date stays what it is; a timestamp without zone is UTC."""
    if value is None or len(value) <= len("2024-12-31"):
        return value
    at = datetime.fromisoformat(value)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(ZoneInfo(zone)).date().isoformat()


class HashSum:
    """Adds up row hashes, or such sums; a text, because SQLite has no integers of 128 bits."""

    def __init__(self) -> None:
        self.total = 0

    def step(self, value: int | str) -> None:
        self.total += int(value) % 2**64 if isinstance(value, int) else int(value)

    def finalize(self) -> str:
        return str(self.total)


class Last:
    """The value with the greatest order."""

    def __init__(self) -> None:
        self.best: tuple[Any, Any] | None = None

    def step(self, value: Any, order: Any) -> None:
        self.best = (order, value) if self.best is None else max(self.best, (order, value))

    def finalize(self) -> Any:
        return None if self.best is None else self.best[1]
