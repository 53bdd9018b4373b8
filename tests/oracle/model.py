"""The oracle: base rows as plain Python values, and what each aggregate must show of them. It knows nothing of our SQL.

A `State` is one consistent state of the base. A `Kind` is a definition together with its meaning: how rows are joined and
filtered, what the grain is, what each column of the view holds. `shown` groups in Python; that is all there is to it.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from attrs import Factory, evolve, frozen

from aggmaint.aggregates.model import AggregateDefinition, Attribute, Join, Measure, PartitionBy, Source

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
class State:
    """One consistent state of the base: sales by id, and (shop, region) pairs, of which several may be of one shop."""

    sales: Mapping[int, Sale] = Factory(dict)
    shops: tuple[tuple[str, str | None], ...] = ()


Row = tuple[Sale, str | None]
"""A sale and the region that it was joined to."""


@frozen
class Kind:
    """A definition and its meaning. `period` is the first day of a row's period, `keys` the attributes, in order.

    `measures` are the view's columns after the grain, each over the rows of one group; `joined`: sales meet their shops.
    """

    definition: AggregateDefinition
    measures: tuple[Callable[[Sequence[Row]], Any], ...]
    keys: tuple[Callable[[Row], Any], ...] = ()
    period: Callable[[Row], date | None] | None = None
    period_shown: bool = False
    joined: bool = False
    passes: Callable[[Sale], bool] = lambda _sale: True

    @property
    def name(self) -> str:
        return self.definition.name


def rows_of(kind: Kind, state: State) -> Iterable[Row]:
    for sale in state.sales.values():
        if not kind.passes(sale):
            continue
        regions = [region for shop, region in state.shops if shop == sale.shop] if kind.joined else []
        for region in regions or [None]:  # a left join: at least once
            yield sale, region


def groups(kind: Kind, state: State) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by (period, *keys). Without both there is one group, even over nothing, as SQL has it."""
    found: dict[tuple[Any, ...], list[Row]] = {} if kind.period or kind.keys else {(None,): []}
    for row in rows_of(kind, state):
        period = kind.period(row) if kind.period else None
        found.setdefault((period, *(key(row) for key in kind.keys)), []).append(row)
    return found


def shown(kind: Kind, state: State) -> list[str]:
    """What the view must show, as `spelled` has it."""
    rows = []
    for (period, *keys), members in groups(kind, state).items():
        grain = [*keys, period] if kind.period_shown else keys
        rows.append((*grain, *(measure(members) for measure in kind.measures)))
    return spelled(rows)


def periods(kind: Kind, state: State) -> dict[date | None, list[tuple[Any, ...]]]:
    """By period, the grouped rows (keys, then measures): what one partition must hold."""
    found: dict[date | None, list[tuple[Any, ...]]] = {}
    for (period, *keys), members in groups(kind, state).items():
        found.setdefault(period, []).append((*keys, *(measure(members) for measure in kind.measures)))
    return found


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


def known(rows: Sequence[Row], value: Callable[[Sale], Any]) -> list[Any]:
    return [found for sale, _ in rows if (found := value(sale)) is not None]


def total(value: Callable[[Sale], Any]) -> Callable[[Sequence[Row]], Any]:
    return lambda rows: sum(known(rows, value)) if known(rows, value) else None


def least(value: Callable[[Sale], Any]) -> Callable[[Sequence[Row]], Any]:
    return lambda rows: min(known(rows, value), default=None)


def most(value: Callable[[Sale], Any]) -> Callable[[Sequence[Row]], Any]:
    return lambda rows: max(known(rows, value), default=None)


def distinct(value: Callable[[Sale], Hashable]) -> Callable[[Sequence[Row]], Any]:
    return lambda rows: len(set(known(rows, value)))


def counted(value: Callable[[Sale], Any]) -> Callable[[Sequence[Row]], Any]:
    return lambda rows: len(known(rows, value))


def mean(value: Callable[[Sale], Any]) -> Callable[[Sequence[Row]], Any]:
    return lambda rows: sum(known(rows, value)) / len(known(rows, value)) if known(rows, value) else None


def _amount(sale: Sale) -> Any:
    return sale.amount


def _qty(sale: Sale) -> Any:
    return sale.qty


def _month(row: Row) -> date | None:
    return None if row[0].day is None else row[0].day.replace(day=1)


def _week(row: Row) -> date | None:
    return None if row[0].day is None else row[0].day - timedelta(days=row[0].day.weekday())


def _year(row: Row) -> date | None:
    return None if row[0].day is None else row[0].day.replace(month=1, day=1)


def _day_in_new_york(row: Row) -> date | None:
    at = row[0].at
    return None if at is None else at.replace(tzinfo=UTC).astimezone(NEW_YORK).date()


# -- the definitions -----------------------------------------------------------------------------------------------------

_SALES = Source(table="sales")
_SHOPS = Join(source=Source(table="shops"), on="shops.shop = sales.shop", kind="left")


def _definition(name: str, **parts: Any) -> AggregateDefinition:
    return AggregateDefinition(**{"organization_id": ORG, "cube": "sales", "source": _SALES, "name": name, **parts})


def kinds() -> tuple[Kind, ...]:
    """One definition of each sort that the planner or the publisher treats differently."""
    return (
        Kind(
            _definition(
                "by_month",
                attributes=[Attribute("month", "date_trunc('month', day)"), Attribute("shop")],
                measures=[
                    *(Measure("amount", "sum", "amount"), Measure("n", "count")),
                    *(Measure("big", "count", filter="qty > 2"), Measure("avg_qty", "avg", "qty")),
                    *(Measure("least", "min", "qty"), Measure("most", "max", "amount")),
                ],
                partition=PartitionBy("day", "month"),
            ),
            keys=(_month, lambda row: row[0].shop),
            period=_month,
            measures=(
                *(total(_amount), len, lambda rows: sum(1 for qty in known(rows, _qty) if qty > 2)),
                *(mean(_qty), least(_qty), most(_amount), total(_qty), counted(_qty)),
            ),
        ),
        Kind(
            _definition(
                "totals", measures=[Measure("amount", "sum", "amount"), Measure("d", "count_distinct", "shop")]
            ),
            measures=(total(_amount), distinct(lambda sale: sale.shop)),
        ),
        Kind(
            _definition(
                "by_region",
                joins=[_SHOPS],
                attributes=[Attribute("region", "shops.region")],
                measures=[Measure("amount", "sum", "sales.amount"), Measure("n", "count")],
                partition=PartitionBy("sales.day", "month"),
            ),
            joined=True,
            keys=(lambda row: row[1],),
            period=_month,
            period_shown=True,
            measures=(total(_amount), len),
        ),
        Kind(
            _definition(
                "weights",
                joins=[_SHOPS],
                attributes=[Attribute("region", "shops.region"), Attribute("year", "year(sales.day)")],
                measures=[Measure("weight", "sum", "sales.weight")],
                partition=PartitionBy("sales.day", "year"),
            ),
            joined=True,
            keys=(lambda row: row[1], lambda row: row[0].day and row[0].day.year),
            period=_year,
            measures=(total(lambda sale: sale.weight),),
        ),
        Kind(
            _definition(
                "by_day",
                attributes=[Attribute("shop")],
                measures=[Measure("n", "count"), Measure("last", "max", "sold_at")],
                partition=PartitionBy("sold_at", "day", zone="America/New_York", name="sold_on"),
            ),
            keys=(lambda row: row[0].shop,),
            period=_day_in_new_york,
            period_shown=True,
            measures=(len, most(lambda sale: sale.at)),
        ),
        Kind(
            _definition(
                "by_week",
                source=Source(table="sales", where="qty > 0 AND shop <> :shop"),
                parameters={"shop": "moon"},
                measures=[Measure("qty", "sum", "qty")],
                partition=PartitionBy("day", "week"),
            ),
            passes=lambda sale: sale.qty is not None and sale.qty > 0 and sale.shop not in (None, "moon"),
            period=_week,
            period_shown=True,
            measures=(total(_qty),),
        ),
        Kind(
            _definition(
                "by_shop",
                attributes=[Attribute("shop")],
                measures=[Measure("n", "count")],
                partition=PartitionBy("day", "year"),
                dependencies=[Source(table="shops")],
            ),
            keys=(lambda row: row[0].shop,),
            period=_year,
            period_shown=True,
            measures=(len,),
        ),
    )


KINDS: Mapping[str, Kind] = {kind.name: kind for kind in kinds()}


def narrowed(kind: Kind) -> Kind:
    """The same aggregate over some of the rows: the columns stay, the contents do not."""
    source = kind.definition.source
    where = "id % 2 = 0" if source.where is None else f"({source.where}) AND id % 2 = 0"
    definition = evolve(kind.definition, source=evolve(source, where=where))
    return evolve(kind, definition=definition, passes=lambda sale: kind.passes(sale) and sale.id % 2 == 0)


def shortened(kind: Kind) -> Kind:
    """The same aggregate without its first measure (it has more): the columns change."""
    definition = evolve(kind.definition, measures=kind.definition.measures[1:])
    return evolve(kind, definition=definition, measures=kind.measures[1:])
