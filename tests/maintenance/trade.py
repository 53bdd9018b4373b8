"""A second world: trades between cities, with dimensions in two roles, and an oracle for every kind of aggregate.

The oracle is plain Python over lists of rows. It knows no periods, no partials, no sketches: what it says, a view must show.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from attrs import frozen

from aggmaint.aggregates.model import AggregateDefinition, Attribute, Join, Measure, PartitionBy, Source

from .support import ORG, Lab, group, multiset, total

NEW_YORK = ZoneInfo("America/New_York")


@frozen
class Trade:
    """One base row; `at` is an instant in UTC."""

    id: int
    at: datetime | None
    seller: str | None
    buyer: str | None
    amount: Decimal | None
    balance: Decimal | None = None
    qty: int | None = None
    weight: float | None = None

    @property
    def day(self) -> date | None:
        return None if self.at is None else self.at.date()


@frozen
class World:
    """All that aggregates read."""

    trades: Sequence[Trade]
    countries: Mapping[str, str | None]
    """By city."""
    regions: Mapping[str, str | None]
    """By country."""

    def country(self, city: str | None) -> str | None:
        return None if city is None else self.countries.get(city)

    def region(self, city: str | None) -> str | None:
        country = self.country(city)
        return None if country is None else self.regions.get(country)


def average(values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    return float(sum(known)) / len(known) if known else None


def distinct(values: Sequence[Any]) -> int:
    return len({value for value in values if value is not None})


def last(trades: Sequence[Trade]) -> tuple[Any, Any]:
    """The closing balance and its day."""
    known = [(t.day, t.balance) for t in trades if t.day is not None and t.balance is not None]
    day, balance = max(known, default=(None, None))
    return balance, day


def month(day: date | None) -> date | None:
    return None if day is None else day.replace(day=1)


def new_york_week(trade: Trade) -> date | None:
    if trade.at is None:
        return None
    civil = trade.at.replace(tzinfo=UTC).astimezone(NEW_YORK).date()
    return civil - timedelta(days=civil.weekday())


def _flows(world: World) -> list[tuple[Any, ...]]:
    """By the region of the seller, the country of the buyer, and month."""
    keyed = [((world.region(t.seller), world.country(t.buyer), month(t.day)), t) for t in world.trades]
    return [(*key, total([t.amount for t in found]), len(found)) for key, found in group(keyed).items()]


def _by_seller(world: World) -> list[tuple[Any, ...]]:
    return [
        (
            *(seller, total([t.amount for t in found]), distinct([t.buyer for t in found])),
            *(distinct([t.buyer for t in found]), last(found)[0], last(found)[1]),
        )
        for (seller,), found in group([((t.seller,), t) for t in world.trades]).items()
    ]


def _listed(world: World) -> list[tuple[Any, ...]]:
    def place(city: str | None) -> str | None:
        return city if city in (None, "oslo", "rome's") else "other"

    keyed = [((t.qty, place(t.seller)), t) for t in world.trades]
    return [(*key, len(found), max(found, key=_amount).amount) for key, found in group(keyed).items()]


def _amount(trade: Trade) -> Decimal:
    return Decimal(-1000) if trade.amount is None else trade.amount


def _merged(world: World) -> list[tuple[Any, ...]]:
    rows = []
    for (seller,), found in group([((t.seller,), t) for t in world.trades]).items():
        amounts, qtys = [t.amount for t in found], [t.qty for t in found]
        known = [each for each in qtys if each is not None]
        weights = [t.weight for t in found]
        rows.append(
            (
                *(seller, total(amounts), len(found), sum(1 for each in known if each > 2), average(qtys)),
                *(min(known, default=None), max((a for a in amounts if a is not None), default=None)),
                *(last(found)[0], distinct([t.buyer for t in found]), total(weights), average(weights)),
                *(total(qtys), len(known), last(found)[1], total(weights), sum(w is not None for w in weights)),
            )
        )
    return rows


def _whole(world: World) -> list[tuple[Any, ...]]:
    """One row, whatever there is; the balance of sellers in oslo."""
    balance, day = last([t for t in world.trades if t.seller == "oslo"])
    return [(len(world.trades), total([t.amount for t in world.trades]), balance, day)]


def _merged_join(world: World) -> list[tuple[Any, ...]]:
    keyed = [((world.country(t.buyer),), t) for t in world.trades if world.countries.get(t.buyer or "", "?") != "?"]
    return [(*key, total([t.weight for t in found]), len(found), *last(found)) for key, found in group(keyed).items()]


def _weekly(world: World) -> list[tuple[Any, ...]]:
    keyed = [((t.seller, new_york_week(t)), t) for t in world.trades]
    return [(*key, total([t.amount for t in found])) for key, found in group(keyed).items()]


EXPECTED: Mapping[str, Callable[[World], list[tuple[Any, ...]]]] = {
    "flows": _flows,
    "by_seller": _by_seller,
    "listed": _listed,
    "merged": _merged,
    "whole": _whole,
    "merged_join": _merged_join,
    "weekly": _weekly,
}

TRADES = Source(table="trades")
CITIES, COUNTRIES = Source(table="cities"), Source(table="countries")
AMOUNT = Measure("amount", "sum", "amount")
LAST = Measure("closing", "last", "balance", order="CAST(sold AS DATE)")
BUYERS = Measure("about", "approx_count_distinct", "buyer")
IN_ROLES = (
    Join(source=Source(table="cities", alias="seller_city"), on="seller_city.city = trades.seller", kind="left"),
    Join(source=Source(table="cities", alias="buyer_city"), on="buyer_city.city = trades.buyer", kind="left"),
    Join(
        source=Source(table="countries", alias="seller_country"),
        on="seller_country.country = seller_city.country",
        kind="left",
    ),
)


def _definition(name: str, attributes: Sequence[Attribute], measures: Sequence[Measure], **more: Any) -> Any:
    return AggregateDefinition(
        organization_id=ORG,
        cube="sales",
        name=name,
        source=more.pop("source", TRADES),
        attributes=attributes,
        measures=measures,
        **more,
    )


def definitions() -> list[AggregateDefinition]:
    return [
        _definition(
            "flows",
            [Attribute("from", "seller_country.region"), Attribute("to", "buyer_city.country")],
            [AMOUNT, Measure("n", "count")],
            joins=IN_ROLES,
            partition=PartitionBy("sold", "month"),
        ),
        _definition(
            "by_seller",
            [Attribute("seller")],
            [AMOUNT, Measure("buyers", "count_distinct", "buyer"), BUYERS, LAST],
            partition=PartitionBy("seller", "value"),
        ),
        _definition(
            "listed",
            [Attribute("qty")],
            [Measure("n", "count"), Measure("most", "max", "amount")],
            partition=PartitionBy("seller", "value", name="place", values=["oslo", "rome's"]),
        ),
        _definition(
            "merged",
            [Attribute("seller")],
            [
                *(AMOUNT, Measure("n", "count"), Measure("big", "count", filter="qty > 2"), Measure("q", "avg", "qty")),
                *(Measure("least", "min", "qty"), Measure("most", "max", "amount"), LAST, BUYERS),
                *(Measure("weight", "sum", "weight"), Measure("w", "avg", "weight")),
            ],
            partition=PartitionBy("sold", "month", merge=True),
        ),
        _definition(
            "whole",
            [],
            [
                *(Measure("n", "count"), AMOUNT),
                Measure("closing", "last", "balance", "seller = 'oslo'", order="CAST(sold AS DATE)"),
            ],
            partition=PartitionBy("sold", "quarter", merge=True),
        ),
        _definition(
            "merged_join",
            [Attribute("country")],
            [Measure("weight", "sum", "weight"), Measure("n", "count"), LAST],
            joins=[Join(source=CITIES, on="cities.city = buyer")],
            partition=PartitionBy("sold", "year", merge=True),
        ),
        _definition(
            "weekly",
            [Attribute("seller")],
            [AMOUNT],
            partition=PartitionBy("sold", "week", zone="America/New_York"),
        ),
    ]


class TradeLab(Lab):
    """The world in a memory DuckDB, with its aggregates."""

    def __init__(self, *, wanted: Sequence[AggregateDefinition] | None = None) -> None:
        super().__init__(wanted=definitions() if wanted is None else wanted)
        self.trades: dict[int, Trade] = {}
        self.countries: dict[str, str | None] = {}
        self.regions_of: dict[str, str | None] = {}
        self.execute(
            "CREATE TABLE trades (id INTEGER, sold TIMESTAMP, seller VARCHAR, buyer VARCHAR, amount DECIMAL(12, 2), "
            "balance DECIMAL(12, 2), qty INTEGER, weight DOUBLE)"
        )
        self.execute("CREATE TABLE cities (city VARCHAR, country VARCHAR)")
        self.execute("CREATE TABLE countries (country VARCHAR, region VARCHAR)")

    def trade(self, *trades: Trade) -> None:
        """Put these trades in the place of those with their ids."""
        self.execute("DELETE FROM trades WHERE id IN (SELECT UNNEST(?))", [[each.id for each in trades]])
        for t in trades:
            values = [t.id, t.at, t.seller, t.buyer, t.amount, t.balance, t.qty, t.weight]
            self.execute("INSERT INTO trades VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            self.trades[t.id] = t

    def untrade(self, *ids: int) -> None:
        self.execute("DELETE FROM trades WHERE id IN (SELECT UNNEST(?))", [list(ids)])
        for each in ids:
            del self.trades[each]

    def set_country(self, city: str, country: str | None) -> None:
        self.execute("DELETE FROM cities WHERE city = ?", [city])
        self.execute("INSERT INTO cities VALUES (?, ?)", [city, country])
        self.countries[city] = country

    def set_country_region(self, country: str, region: str | None) -> None:
        self.execute("DELETE FROM countries WHERE country = ?", [country])
        self.execute("INSERT INTO countries VALUES (?, ?)", [country, region])
        self.regions_of[country] = region

    def settle(self) -> None:
        """Trades of two years between four cities in three countries of two regions."""
        for city, country in {"oslo": "no", "rome's": "it", "bari": "it", "lima": "pe"}.items():
            self.set_country(city, country)
        for country, region in {"no": "north", "it": "south", "pe": "south"}.items():
            self.set_country_region(country, region)
        cities = ["oslo", "rome's", "bari", "lima", "nowhere", None]
        self.trade(
            *(
                Trade(
                    n,
                    None if n == 23 else datetime(2024, 1, 15, 3) + timedelta(days=31 * n),
                    cities[n % 6],
                    cities[n * 5 % 6],
                    Decimal(n) / 4,
                    None if n % 7 == 0 else Decimal(n * 3),
                    n % 5,
                    n * 0.1,
                )
                for n in range(24)
            )
        )

    @property
    def world(self) -> World:
        return World(list(self.trades.values()), self.countries, self.regions_of)

    def assert_right(self, *names: str) -> None:
        for name in names or [each.name for each in self.wanted]:
            assert multiset(self.view(name)) == multiset(EXPECTED[name](self.world)), name
        for difference in self.maintenance.verify(ORG):
            assert difference.equal, difference
