"""The oracle: base rows as plain Python values, and what each aggregate must show of them. It knows nothing of our SQL.

A `State` is one consistent state of the base. A `Kind` is a definition together with its meaning: how rows are joined and
filtered, what the grain is, what each column of the view holds. `shown` groups in Python; that is all there is to it. The
kinds are listed in kinds.py, how they may change in variants.py.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from attrs import Factory, frozen

from aggmaint.aggregates.model import AggregateDefinition

ORG = "acme"
NEW_YORK = ZoneInfo("America/New_York")


@frozen
class Sale:
    """One base row. `id` tells equal sales apart for the test; no aggregate groups by it. `at` is UTC, without a zone."""

    id: int
    day: date | None = None
    at: datetime | None = None
    shop: str | None = None
    amount: Decimal | None = None
    qty: int | None = None
    weight: float | None = None


@frozen
class Event:
    """A row of the source that is declared append-only: `id` grows with every row, and rows stay as they are."""

    id: int
    day: date | None = None
    shop: str | None = None
    amount: Decimal | None = None
    qty: int | None = None


@frozen
class Account:
    """A row of the source that is declared to be stamped: `touched` grows with every change; deleted rows are `gone`."""

    id: int
    day: date | None = None
    shop: str | None = None
    amount: Decimal | None = None
    qty: int | None = None
    gone: bool = False
    touched: datetime | None = None


@frozen
class State:
    """One consistent state of the base: rows by id, and (shop, region) pairs, of which several may be of one shop."""

    sales: Mapping[int, Sale] = Factory(dict)
    shops: tuple[tuple[str, str | None], ...] = ()
    events: Mapping[int, Event] = Factory(dict)
    accounts: Mapping[int, Account] = Factory(dict)


Row = tuple[Any, str | None]
"""A row of the source (for an aggregate over another: a row of its view, by column), and the region it was joined to."""

Value = Callable[[Any], Any]
Meaning = Callable[[Sequence[Row]], Any]


@frozen
class Kind:
    """A definition and its meaning.

    measures      the view's columns after the grain, in order, each over the rows of one group.
    keys          the attributes, in order.
    period        what tells the partition of a row: the first day of its period, or the text of its value.
    period_shown  the view shows the period after the attributes; `merged`: it shows one row for all periods instead.
    computed      measures of the view that are made of stored ones when they are shown.
    joined        rows meet their shops.
    table         where rows come from; `over`: from the view of the aggregate of this name instead.
    """

    definition: AggregateDefinition
    measures: Mapping[str, Meaning]
    keys: tuple[Callable[[Row], Any], ...] = ()
    period: Callable[[Row], Any] | None = None
    period_shown: bool = False
    merged: bool = False
    computed: frozenset[str] = frozenset()
    joined: bool = False
    table: str = "sales"
    over: str | None = None
    passes: Callable[[Any], bool] = lambda _row: True

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def columns(self) -> tuple[str, ...]:
        """The view's columns, in order."""
        partition = self.definition.partition
        shown = (partition.name,) if partition and self.period_shown else ()
        return (*(each.name for each in self.definition.attributes), *shown, *self.measures)

    @property
    def stored(self) -> tuple[str, ...]:
        """The attributes and measures that the table holds as the view shows them."""
        measures = (each for each in self.measures if each not in self.computed)
        return (*(each.name for each in self.definition.attributes), *measures)


def rows_of(kind: Kind, state: State, upstream: Sequence[Kind] = ()) -> Iterable[Row]:
    """`upstream`: what the kind reads, then what that reads, and so on."""
    for row in _source(kind, state, upstream):
        if not kind.passes(row):
            continue
        regions = [region for shop, region in state.shops if shop == row.shop] if kind.joined else []
        for region in regions or [None]:  # a left join: at least once
            yield row, region


def _source(kind: Kind, state: State, upstream: Sequence[Kind]) -> Iterable[Any]:
    if kind.over is None:
        rows: Mapping[int, Any] = getattr(state, kind.table)
        return rows.values()
    columns = upstream[0].columns
    return [dict(zip(columns, row, strict=True)) for row in view_rows(upstream[0], state, upstream[1:])]


def groups(
    kind: Kind, state: State, upstream: Sequence[Kind] = (), *, merged: bool = False
) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by (period, *keys). Without both there is one group, even over nothing, as SQL has it.

    merged  rows of all periods together: the period is None.
    """
    period = None if merged else kind.period
    found: dict[tuple[Any, ...], list[Row]] = {} if kind.period or kind.keys else {(None,): []}
    if merged and not kind.keys:
        found = {(None,): []}
    for row in rows_of(kind, state, upstream):
        found.setdefault((period(row) if period else None, *(key(row) for key in kind.keys)), []).append(row)
    return found


def view_rows(kind: Kind, state: State, upstream: Sequence[Kind] = ()) -> list[tuple[Any, ...]]:
    """The rows of the view."""
    rows = []
    for (period, *keys), members in groups(kind, state, upstream, merged=kind.merged).items():
        grain = [*keys, period] if kind.period_shown else keys
        rows.append((*grain, *(measure(members) for measure in kind.measures.values())))
    return rows


def shown(kind: Kind, state: State, upstream: Sequence[Kind] = ()) -> list[str]:
    """What the view must show, as `spelled` has it."""
    return spelled(view_rows(kind, state, upstream))


def periods(kind: Kind, state: State, upstream: Sequence[Kind] = ()) -> dict[str, list[str]]:
    """By partition key, the rows that the table must hold of `stored` columns."""
    measures = [measure for name, measure in kind.measures.items() if name not in kind.computed]
    found: dict[str, list[tuple[Any, ...]]] = {}
    for (period, *keys), members in groups(kind, state, upstream).items():
        rows = found.setdefault(key_of(kind, period), [])
        rows.append((*keys, *(measure(members) for measure in measures)))
    return {key: spelled(rows) for key, rows in found.items()}


def key_of(kind: Kind, period: Any) -> str:
    """A partition's key, as people write it."""
    partition = kind.definition.partition
    if partition is None:
        return "all"
    if period is None:
        return "null"
    if isinstance(period, str):
        return period
    if partition.granularity.value == "quarter":
        return f"{period:%Y}-Q{(period.month + 2) // 3}"
    return {"month": f"{period:%Y-%m}", "year": f"{period:%Y}"}.get(partition.granularity.value, f"{period:%Y-%m-%d}")


def spelled(rows: Iterable[Sequence[Any]]) -> list[str]:
    """Rows in one order and one spelling, whether a warehouse or Python made them."""
    return sorted(repr(tuple(_plain(value) for value in row)) for row in rows)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime) and (value.hour, value.minute, value.second) == (0, 0, 0):
        return value.date()
    if isinstance(value, Decimal):
        return f"{value:.4f}"
    if isinstance(value, float):
        return round(value, 6)
    return value


# -- the meaning of measures ---------------------------------------------------------------------------------------------


def known(rows: Sequence[Row], value: Value) -> list[Any]:
    return [found for row, _ in rows if (found := value(row)) is not None]


def total(value: Value) -> Meaning:
    return lambda rows: sum(known(rows, value)) if known(rows, value) else None


def least(value: Value) -> Meaning:
    return lambda rows: min(known(rows, value), default=None)


def most(value: Value) -> Meaning:
    return lambda rows: max(known(rows, value), default=None)


def distinct(value: Callable[[Any], Hashable]) -> Meaning:
    return lambda rows: len(set(known(rows, value)))


def counted(value: Value) -> Meaning:
    return lambda rows: len(known(rows, value))


def mean(value: Value) -> Meaning:
    return lambda rows: sum(known(rows, value)) / len(known(rows, value)) if known(rows, value) else None


def last(value: Value, order: Value, *, the_order: bool = False) -> Meaning:
    """The value of the row that is last by `order`, or that order: rows without one of both do not count."""

    def meaning(rows: Sequence[Row]) -> Any:
        pairs = [(order(row), value(row)) for row, _ in rows]
        newest = max((pair for pair in pairs if None not in pair), default=(None, None))
        return newest[0 if the_order else 1]

    return meaning


# -- the meaning of periods and attributes -------------------------------------------------------------------------------


def month(row: Row) -> date | None:
    return None if row[0].day is None else row[0].day.replace(day=1)


def week(row: Row) -> date | None:
    return None if row[0].day is None else row[0].day - timedelta(days=row[0].day.weekday())


def quarter(row: Row) -> date | None:
    day = row[0].day
    return None if day is None else day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)


def year(row: Row) -> date | None:
    return None if row[0].day is None else row[0].day.replace(month=1, day=1)


def day_in_new_york(row: Row) -> date | None:
    at = row[0].at
    return None if at is None else at.replace(tzinfo=UTC).astimezone(NEW_YORK).date()


def shop(row: Row) -> str | None:
    name: str | None = row[0].shop
    return name


def region(row: Row) -> str | None:
    return row[1]


def one_of(*names: str) -> Callable[[Row], str | None]:
    """By a list of values: what it does not name is `other`."""

    def place(row: Row) -> str | None:
        name = shop(row)
        return name if name is None or name in names else "other"

    return place
