"""The parts of a definition that say what is computed: attributes, measures, and how rows are cut into partitions."""

from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from attrs import Attribute as AttrsAttribute
from attrs import field, frozen

from ..errors import InvalidDefinitionError
from .source import one_of, require_text, require_text_or_none


class Granularity(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class MeasureFunction(StrEnum):
    """How a measure is computed. `avg` is stored as sum and count, and divided by the view.

    `count` without an expression counts rows. `count_distinct` is exact within a row of the aggregate and can not be
    added up over rows.
    """

    SUM = "sum"
    COUNT = "count"
    COUNT_DISTINCT = "count_distinct"
    MIN = "min"
    MAX = "max"
    AVG = "avg"


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


@frozen
class Measure:
    """One aggregated column: `function` over `expression`, of the rows that pass `filter`.

    `expression` is required but for `count`, which without one counts rows. DECIMAL stays DECIMAL.
    """

    name: str = field(validator=require_text)
    function: MeasureFunction = field(converter=_measure_function)
    expression: str | None = field(default=None, validator=require_text_or_none)
    filter: str | None = field(default=None, validator=require_text_or_none)

    def __attrs_post_init__(self) -> None:
        if self.expression is None and self.function is not MeasureFunction.COUNT:
            raise InvalidDefinitionError(
                f"measure {self.name!r}: {self.function.value} needs an expression; only count can do without"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the physical columns that hold it."""
        if self.function is MeasureFunction.AVG:
            return (f"{self.name}__sum", f"{self.name}__count")
        return (self.name,)


def _require_zone(_instance: Any, _attribute: "AttrsAttribute[Any]", value: str) -> None:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError, TypeError):
        raise InvalidDefinitionError(
            f"zone={value!r} is not a time zone of the IANA database; write UTC or Europe/Berlin"
        ) from None


def _granularity(value: Granularity | str) -> Granularity:
    return one_of(Granularity, value, "partition granularity")


@frozen
class PartitionBy:
    """How an aggregate is cut into parts that are refreshed on their own.

    expression   SQL that yields a DATE or TIMESTAMP per source row, or the name of an attribute.
    granularity  the length of a period: day, week, month, quarter or year.
    zone         the time zone in which periods begin; see the module's docstring for what the types mean.
    name         the column's name in the view, where the attributes do not determine the period. Default: granularity.
    """

    expression: str = field(validator=require_text)
    granularity: Granularity = field(converter=_granularity)
    zone: str = field(default="UTC", validator=_require_zone)
    name: str = field(default="")

    def __attrs_post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.granularity.value)
