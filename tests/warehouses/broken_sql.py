"""Warehouses that speak SQL and break one promise each: the one of the how-to, with one thing of it spoilt.

What the memory warehouse refuses (sketches, last values, partitions by value, views that merge), and mistakes that are
made in dialects only.
"""

from typing import Any, ClassVar

from attrs import evolve

from aggmaint.aggregates.dialects import DialectName
from aggmaint.aggregates.model import AggregateDefinition
from aggmaint.aggregates.naming import Tag
from aggmaint.aggregates.parts import Granularity
from aggmaint.aggregates.sql import view_sql
from aggmaint.warehouse import Capabilities
from tests.examples.sqlite_warehouse.bench import SQLiteBench
from tests.examples.sqlite_warehouse.connection import Connection
from tests.examples.sqlite_warehouse.dialect import SQLiteDialect
from tests.examples.sqlite_warehouse.schema_file import SchemaFile
from tests.examples.sqlite_warehouse.session import SQLiteSession
from tests.examples.sqlite_warehouse.warehouse import SQLiteWarehouse


class BrokenDialect(SQLiteDialect):
    """An honest dialect, but for what a subclass spoils. `FAILS` and `MAY`: see broken.py."""

    FAILS: ClassVar[tuple[str, ...]]
    MAY: ClassVar[tuple[str, ...]] = ()
    CLAIMS: ClassVar[dict[str, Any]] = {}


class TruncatesWrongly(BrokenDialect):
    WRONG: ClassVar[Granularity]
    AS: ClassVar[str]

    def period_of_day(self, day: str, granularity: Granularity) -> str:
        return self.AS.format(day) if granularity is self.WRONG else super().period_of_day(day, granularity)


class DaysAreMonths(TruncatesWrongly):
    FAILS, WRONG, AS = ("periods_of_days",), Granularity.DAY, "date({}, 'start of month')"


class WeeksBeginOnSunday(TruncatesWrongly):
    FAILS, WRONG, AS = ("periods_of_weeks",), Granularity.WEEK, "date({}, '-6 days', 'weekday 0')"


class MonthsAreYears(TruncatesWrongly):
    FAILS, WRONG, AS = ("periods_of_months",), Granularity.MONTH, "date({}, 'start of year')"
    MAY = ("any",)


class QuartersAreMonths(TruncatesWrongly):
    FAILS, WRONG, AS = ("periods_of_quarters",), Granularity.QUARTER, "date({}, 'start of month')"


class YearsAreMonths(TruncatesWrongly):
    FAILS, WRONG, AS = ("periods_of_years",), Granularity.YEAR, "date({}, 'start of month')"


class KnowsNoZones(BrokenDialect):
    FAILS = ("periods_begin_in_their_zone",)

    def day(self, expression: str, zone: str) -> str:
        return super().day(expression, "UTC")


class ShoutsValues(BrokenDialect):
    FAILS = ("periods_by_value",)

    def value_text(self, expression: str) -> str:
        return f"upper({super().value_text(expression)})"


class CutsFractionsOff(BrokenDialect):
    FAILS = ("measures_are_what_they_say",)
    MAY = ("any",)

    def ratio(self, total: str, count: str) -> str:
        return f"{total} / NULLIF({count}, 0)"


class LastIsGreatest(BrokenDialect):
    FAILS = ("last_is_the_value_of_the_latest_row",)

    def last(self, value: str, order: str) -> str:
        return f"MAX({value} + 0 * julianday({order}))"


class CountsRowsForSketches(BrokenDialect):
    FAILS = ("few_distinct_values_are_counted_exactly_by_a_sketch",)

    def sketch(self, expression: str) -> str:
        return f"COUNT({expression})"

    def sketch_merged(self, column: str) -> str:
        return f"SUM({column})"

    def sketch_estimate(self, sketch: str) -> str:
        return sketch


class ClaimsExactDecimals(BrokenDialect):
    FAILS = ("decimals_are_exact_if_that_is_claimed",)
    CLAIMS: ClassVar[dict[str, Any]] = {"exact_decimals": True}


class HidesItsFloats(BrokenDialect):
    """Claims no exact decimals, and compares their sums to the last digit."""

    FAILS = ("decimals_are_exact_if_that_is_claimed",)
    MAY = ("values_come_back_as_they_were",)
    float_types = frozenset[str]()  # type: ignore[misc]  # final for those who are honest


class MergesNothing(BrokenDialect):
    """The view shows the rows of the table."""

    FAILS = ("a_view_may_merge_its_periods",)


class _FileThatMergesNothing(SchemaFile):
    def show(self, definition: AggregateDefinition, table_name: str, tag: Tag) -> None:
        super().show(definition, table_name, tag)
        ((sql,),) = self.connection.run(
            f"SELECT sql FROM {self.reading.reference('sqlite_master')} WHERE name = :name",
            {"name": definition.view_name},
        )
        dialect = self.connection.dialect
        right = view_sql(definition, self._quote(table_name), dialect)
        wrong = view_sql(definition, self._quote(table_name), dialect, partials=True)
        view = self.reading.reference(definition.view_name)
        self.connection.run(f"DROP VIEW {view}")
        head = f"CREATE VIEW {self._quote(definition.view_name)}"
        self.connection.run(sql.replace(right, wrong).replace(head, f"CREATE VIEW {view}"))


BROKEN_SQL: tuple[type[BrokenDialect], ...] = (
    *(DaysAreMonths, WeeksBeginOnSunday, MonthsAreYears, QuartersAreMonths, YearsAreMonths, KnowsNoZones, ShoutsValues),
    *(CutsFractionsOff, LastIsGreatest, CountsRowsForSketches, ClaimsExactDecimals, HidesItsFloats, MergesNothing),
)


class BrokenBench(SQLiteBench):
    """The bench of a warehouse with this dialect."""

    def __init__(self, location: str, kind: type[BrokenDialect]) -> None:
        super().__init__(location)
        honest = self.warehouse
        assert isinstance(honest, SQLiteWarehouse)
        self.warehouse = _Broken(honest, kind)


class _Broken:
    def __init__(self, honest: SQLiteWarehouse, kind: type[BrokenDialect]) -> None:
        self._honest = honest
        self._kind = kind

    @property
    def capabilities(self) -> Capabilities:
        return evolve(self._honest.capabilities, dialect=DialectName(self._kind()), **self._kind.CLAIMS)

    def open(self, schema: Any, **more: Any) -> SQLiteSession:
        session = self._honest.open(schema, **more)
        connection: Any = session._connection
        connection.__class__ = type("BrokenConnection", (Connection,), {"dialect": self.capabilities.dialect})
        kind = _FileThatMergesNothing if self._kind is MergesNothing else SchemaFile
        session._file = kind.of(connection, schema)
        return session
