"""The parts of a definition that say what is computed: attributes, measures, and how rows are cut into partitions."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from attrs import Attribute as AttrsAttribute
from attrs import field, frozen

from ..errors import InvalidDefinitionError
from .source import one_of, require_text, require_text_or_none


class Granularity(StrEnum):
    """How rows are cut into partitions: by periods of the calendar, or (`value`) by the values of an expression."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    VALUE = "value"


class MeasureFunction(StrEnum):
    """How a measure is computed. What is stored for it, and whether that merges, is the table of `measures.py`.

    `count` without an expression counts rows. `count_distinct` is exact within a row of the aggregate and can not be
    added up over rows; `approx_count_distinct` can. `last` is the value of the row that is last by `order`.
    """

    SUM = "sum"
    COUNT = "count"
    COUNT_DISTINCT = "count_distinct"
    MIN = "min"
    MAX = "max"
    AVG = "avg"
    LAST = "last"
    APPROX_COUNT_DISTINCT = "approx_count_distinct"


@frozen
class Attribute:
    """One column of the grain. `expression` is SQL over the source's columns; by default the column of that name."""

    name: str = field(validator=require_text)
    expression: str = field(default="")

    def __attrs_post_init__(self) -> None:
        if not self.expression:
            object.__setattr__(self, "expression", '"' + self.name.replace('"', '""') + '"')


def _measure_function(value: MeasureFunction | str) -> MeasureFunction:
    return one_of(MeasureFunction, value, "measure function")


_STORED_AS = {
    MeasureFunction.AVG: ("{}__sum", "{}__count"),
    MeasureFunction.LAST: ("{}", "{}__order"),
    MeasureFunction.APPROX_COUNT_DISTINCT: ("{}__sketch",),
}
"""The physical columns of the functions that are not stored as one column of the measure's name."""


@frozen
class Measure:
    """One aggregated column: `function` over `expression`, of the rows that pass `filter`.

    expression   required but for `count`, which without one counts rows. DECIMAL stays DECIMAL.
    filter       a condition; rows that do not pass it do not count for this measure.
    order        for `last`, and there required: what makes a row the last one, such as a date. Rows whose value or
                 order is NULL are passed over; of several last rows the greatest value counts.
    """

    name: str = field(validator=require_text)
    function: MeasureFunction = field(converter=_measure_function)
    expression: str | None = field(default=None, validator=require_text_or_none)
    filter: str | None = field(default=None, validator=require_text_or_none)
    order: str | None = field(default=None, validator=require_text_or_none, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.expression is None and self.function is not MeasureFunction.COUNT:
            raise InvalidDefinitionError(
                f"measure {self.name!r}: {self.function.value} needs an expression; only count can do without"
            )
        if (self.order is not None) != (self.function is MeasureFunction.LAST):
            raise InvalidDefinitionError(
                f"measure {self.name!r}, {self.function.value} with order={self.order!r}: last needs an order, such as "
                "the date of a balance; no other function has one"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the physical columns that hold it."""
        return tuple(each.format(self.name) for each in _STORED_AS.get(self.function, ("{}",)))


def _require_zone(_instance: Any, _attribute: "AttrsAttribute[Any]", value: str) -> None:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError, TypeError):
        raise InvalidDefinitionError(
            f"zone={value!r} is not a time zone of the IANA database; write UTC or Europe/Berlin"
        ) from None


def _granularity(value: Granularity | str) -> Granularity:
    return one_of(Granularity, value, "partition granularity")


OTHER_VALUES = "other"
"""What stands for all values that a list of values does not name."""


def _value_list(values: Iterable[str | int]) -> tuple[str, ...]:
    listed: list[str] = []
    for each in [values] if isinstance(values, str) else values:
        if isinstance(each, bool) or not isinstance(each, str | int) or "\x00" in str(each):
            raise InvalidDefinitionError(f"partition value {each!r}: give texts or whole numbers, such as 'EU'")
        if str(each) in (OTHER_VALUES, *listed):
            raise InvalidDefinitionError(
                f"partition value {each!r} is there twice; each value once, and {OTHER_VALUES!r} stands for the rest"
            )
        listed.append(str(each))
    return tuple(listed)


@frozen
class PartitionBy:
    """How an aggregate is cut into parts that are refreshed on their own.

    expression   SQL that yields a DATE or TIMESTAMP per source row, or the name of an attribute. By `value`: anything.
    granularity  the length of a period: day, week, month, quarter or year; or `value`: one partition per value.
    zone         the time zone in which periods begin; see model.py for what the types mean.
    name         the column's name in the view, where the attributes do not determine the period. Default: granularity.
    values       by `value` only: these values (as texts) have a partition each, all others together one more (`other`).
                 Without it every distinct value has one. NULL always has its own.
    merge        where the attributes do not determine the period: the view shows no period, but merges the rows that the
                 table holds per period. Only for measures that merge: see measures.py.
    """

    expression: str = field(validator=require_text)
    granularity: Granularity = field(converter=_granularity)
    zone: str = field(default="UTC", validator=_require_zone)
    name: str = field(default="")
    values: tuple[str, ...] = field(default=(), converter=_value_list, kw_only=True)
    merge: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.granularity.value)
        if self.values and not self.by_value:
            raise InvalidDefinitionError(
                f"partition by {self.granularity.value} with values={list(self.values)}: a list of values is for "
                "granularity value"
            )
        if self.by_value and self.zone != "UTC":
            raise InvalidDefinitionError(f"partition by value with zone={self.zone!r}: values have no time zone")

    @property
    def by_value(self) -> bool:
        return self.granularity is Granularity.VALUE
