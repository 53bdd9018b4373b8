"""The heat map: partitions laid out as people think of time, in rows and columns. Pure geometry.

Days lie in months, weeks in ISO years, months and quarters in years, years in decades; the newest row comes first. Keys
that do not fit (the NULL period, an unpartitioned table, an unknown form) stand apart. A cell without partition is a
period of which the source has no rows.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from attrs import frozen

from .states import PartitionState, State

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "day": tuple(str(each) for each in range(1, 32)),
    "week": tuple(str(each) for each in range(1, 54)),
    "month": _MONTHS,
    "quarter": ("Q1", "Q2", "Q3", "Q4"),
    "year": tuple(str(each) for each in range(10)),
}
LEVELS: Final = 4
ROWS_MAX: Final = 60
"""So many rows are drawn at most, the newest: a browser does not like a hundred thousand cells."""
APART_MAX: Final = 200


@frozen
class Cell:
    """`level` 1…LEVELS: how many rows a fresh partition has, beside the others."""

    partition: PartitionState
    level: int


@frozen
class Row:
    name: str
    cells: tuple[Cell | None, ...]


@frozen
class HeatMap:
    """`apart`: cells outside of the grid. `hidden`: how many partitions are not drawn."""

    columns: Sequence[str]
    rows: tuple[Row, ...]
    apart: tuple[Cell, ...]
    hidden: int


def heat_map(states: Sequence[PartitionState], granularity: str | None) -> HeatMap:
    """`granularity`: day, week, month, quarter, year; None or another word: everything stands apart."""
    columns = _COLUMNS.get(granularity or "", ())
    sizes = sorted(each.rows for each in states if each.state is State.FRESH)
    grid: dict[str, dict[int, Cell]] = {}
    apart: list[Cell] = []
    for each in states:
        cell = Cell(each, _level(each.rows, sizes))
        place = _place(each.key, granularity or "")
        if place is None:
            apart.append(cell)
        else:
            grid.setdefault(place[0], {})[place[1]] = cell
    names = sorted(grid, reverse=True)
    rows = tuple(
        Row(name, tuple(grid[name].get(column) for column in range(len(columns)))) for name in names[:ROWS_MAX]
    )
    hidden = sum(len(grid[name]) for name in names[ROWS_MAX:]) + max(0, len(apart) - APART_MAX)
    return HeatMap(columns, rows, tuple(apart[:APART_MAX]), hidden)


def _place(key: str, granularity: str) -> tuple[str, int] | None:
    """The row's name and the column's index; None for a key that is no such period."""
    year, _, rest = key.partition("-")
    try:
        match granularity:
            case "day":
                day = date.fromisoformat(key)
                return key[:7], day.day - 1
            case "week":
                iso = date.fromisoformat(key).isocalendar()
                return f"{iso.year:04d}", iso.week - 1
            case "month":
                return year, date(int(year), int(rest), 1).month - 1
            case "quarter" if rest in ("Q1", "Q2", "Q3", "Q4"):
                return f"{int(year):04d}", int(rest[1]) - 1
            case "year" if not rest:
                return f"{int(year) // 10 * 10:04d}s", int(year) % 10
    except ValueError:
        return None
    return None


def _level(rows: int, sizes: Sequence[int]) -> int:
    """The quartile of the row count among those of fresh partitions; equals are in the middle of where they lie."""
    rank = bisect_left(sizes, rows) + bisect_right(sizes, rows)
    return min(LEVELS, 1 + rank * LEVELS // max(1, 2 * len(sizes)))
