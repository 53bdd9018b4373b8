"""Whether an attribute determines the period of the partition, judged by how the two expressions are spelled.

An attribute determines the period if it is the partition's expression itself, or, in UTC, the same expression truncated to
units in which the period nests (`_NESTS_IN`; so a year determines no month, a month does determine a year). A list of values
is a function of its expression. Whatever is spelled otherwise is taken not to determine it: then the view shows or merges
the period, which is right in any case.
"""

from typing import TYPE_CHECKING

from .expressions import parse, partition_expression, write
from .model import AggregateDefinition
from .parts import Granularity
from .remembered import remembered

if TYPE_CHECKING:
    from sqlglot import exp

_CALENDAR = frozenset(Granularity) - {Granularity.VALUE}
_NESTS_IN = {
    Granularity.DAY: _CALENDAR,
    Granularity.WEEK: frozenset({Granularity.WEEK}),
    Granularity.MONTH: frozenset({Granularity.MONTH, Granularity.QUARTER, Granularity.YEAR}),
    Granularity.QUARTER: frozenset({Granularity.QUARTER, Granularity.YEAR}),
    Granularity.YEAR: frozenset({Granularity.YEAR}),
}


_FORMATS = {
    "%Y": Granularity.YEAR,
    "%Y-%m": Granularity.MONTH,
    "%Y%m": Granularity.MONTH,
    "%Y-%m-%d": Granularity.DAY,
    "%Y%m%d": Granularity.DAY,
}
"""strftime formats that tell the period apart."""


def period_is_free(definition: AggregateDefinition, dialect: str) -> bool:
    """True if no attribute determines the period, so that the view must show it as a column of its own, or merge it."""
    partition = definition.partition
    if partition is None:
        return False
    wanted = partition_expression(definition)
    units, zone = partition.granularity.value, partition.zone
    return not any(_determines(each.expression, wanted, units, zone, dialect) for each in definition.attributes)


@remembered
def _determines(attribute: str, wanted: str, granularity: str, zone: str, dialect: str) -> bool:
    attribute_tree, wanted_tree = parse(attribute, dialect), parse(wanted, dialect)
    if _spelled(attribute_tree, dialect) == _spelled(wanted_tree, dialect):
        return True
    if zone != "UTC" or granularity == Granularity.VALUE.value:
        return False
    base, units = _unwrapped(attribute_tree)
    wanted_base, wanted_units = _unwrapped(wanted_tree)
    innermost = wanted_units[-1] if wanted_units else Granularity(granularity)
    return _spelled(base, dialect) == _spelled(wanted_base, dialect) and all(
        innermost in _NESTS_IN[unit] for unit in units
    )


def _spelled(tree: "exp.Expr", dialect: str) -> str:
    return write(tree, dialect).casefold()


def _unwrapped(tree: "exp.Expr") -> tuple["exp.Expr", list[Granularity]]:
    """What is below casts to dates and truncations (or what tells as much), and these, outermost first."""
    from sqlglot import exp

    units: list[Granularity] = []
    while True:
        match tree:
            case exp.TimestampTrunc() | exp.DateTrunc() if tree.text("unit").lower() in set(Granularity):
                units.append(Granularity(tree.text("unit").lower()))
            case exp.Cast() if tree.to.is_type("date"):
                units.append(Granularity.DAY)
            case exp.Year():
                units.append(Granularity.YEAR)
            case exp.TimeToStr() if tree.text("format") in _FORMATS:
                units.append(_FORMATS[tree.text("format")])
            case exp.Cast() if tree.to.is_type("timestamp"):
                pass
            case _:
                return tree, units
        tree = tree.this
