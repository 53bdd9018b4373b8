"""One definition of each sort that the planner or the publisher treats differently, and what it means.

These are kinds over `sales`, which promise nothing, and over other aggregates; promised.py has those over `events`, declared
append-only, and over `accounts`, stamped with soft deletions.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

from aggmaint.aggregates.model import Attribute, Measure, PartitionBy, Source

from .making import amount, day, definition, qty, shop_name, shops_of, weight
from .model import (
    Kind,
    Row,
    counted,
    day_in_new_york,
    distinct,
    known,
    last,
    least,
    mean,
    month,
    most,
    one_of,
    quarter,
    region,
    shop,
    total,
    week,
    year,
)
from .promised import promised


def _plain() -> tuple[Kind, ...]:
    return (
        Kind(
            definition(
                "by_month",
                attributes=[Attribute("month", "date_trunc('month', day)"), Attribute("shop")],
                measures=[
                    *(Measure("amount", "sum", "amount"), Measure("n", "count")),
                    *(Measure("big", "count", filter="qty > 2"), Measure("avg_qty", "avg", "qty")),
                    *(Measure("least", "min", "qty"), Measure("most", "max", "amount")),
                ],
                partition=PartitionBy("day", "month"),
            ),
            keys=(month, shop),
            period=month,
            measures={
                "amount": total(amount),
                "n": len,
                "big": lambda rows: sum(1 for found in known(rows, qty) if found > 2),
                "avg_qty": mean(qty),
                "least": least(qty),
                "most": most(amount),
                "avg_qty__sum": total(qty),
                "avg_qty__count": counted(qty),
            },
            computed=frozenset({"avg_qty"}),
        ),
        Kind(
            definition("totals", measures=[Measure("amount", "sum", "amount"), Measure("d", "count_distinct", "shop")]),
            measures={"amount": total(amount), "d": distinct(shop_name)},
        ),
        Kind(
            definition(
                "by_day",
                attributes=[Attribute("shop")],
                measures=[Measure("n", "count"), Measure("last", "max", "sold_at")],
                partition=PartitionBy("sold_at", "day", zone="America/New_York", name="sold_on"),
            ),
            keys=(shop,),
            period=day_in_new_york,
            period_shown=True,
            measures={"n": len, "last": most(lambda sale: sale.at)},
        ),
        Kind(
            definition(
                "by_week",
                source=Source(table="sales", where="qty > 0 AND shop <> :shop"),
                parameters={"shop": "moon"},
                measures=[Measure("qty", "sum", "qty")],
                partition=PartitionBy("day", "week"),
            ),
            passes=lambda sale: sale.qty is not None and sale.qty > 0 and sale.shop not in (None, "moon"),
            period=week,
            period_shown=True,
            measures={"qty": total(qty)},
        ),
        Kind(
            definition(
                "by_shop",
                attributes=[Attribute("shop")],
                measures=[Measure("n", "count")],
                partition=PartitionBy("day", "year"),
                dependencies=[Source(table="shops")],
            ),
            keys=(shop,),
            period=year,
            period_shown=True,
            measures={"n": len},
        ),
    )


def _joined() -> tuple[Kind, ...]:
    def year_of(row: Row) -> int | None:
        day: date | None = row[0].day
        return None if day is None else day.year

    return (
        Kind(
            definition(
                "by_region",
                joins=[shops_of("sales")],
                attributes=[Attribute("region", "shops.region")],
                measures=[Measure("amount", "sum", "sales.amount"), Measure("n", "count")],
                partition=PartitionBy("sales.day", "month"),
            ),
            joined=True,
            keys=(region,),
            period=month,
            period_shown=True,
            measures={"amount": total(amount), "n": len},
        ),
        Kind(
            definition(
                "weights",
                joins=[shops_of("sales")],
                attributes=[Attribute("region", "shops.region"), Attribute("year", "year(sales.day)")],
                measures=[Measure("weight", "sum", "sales.weight")],
                partition=PartitionBy("sales.day", "year"),
            ),
            joined=True,
            keys=(region, year_of),
            period=year,
            measures={"weight": total(weight)},
        ),
    )


def _by_value_or_merged() -> tuple[Kind, ...]:
    newest = {"newest": last(qty, day), "newest__order": last(qty, day, the_order=True)}
    return (
        Kind(
            definition(
                "by_place",
                attributes=[Attribute("month", "date_trunc('month', day)")],
                measures=[Measure("amount", "sum", "amount"), Measure("n", "count")],
                partition=PartitionBy("shop", "value", name="place", values=["north", "south"]),
            ),
            keys=(month,),
            period=one_of("north", "south"),
            period_shown=True,
            measures={"amount": total(amount), "n": len},
        ),
        Kind(
            definition(
                "each_shop",
                attributes=[Attribute("shop")],
                measures=[Measure("n", "count"), Measure("days", "count_distinct", "day")],
                partition=PartitionBy("shop", "value"),
            ),
            keys=(shop,),
            period=shop,
            measures={"n": len, "days": distinct(day)},
        ),
        Kind(
            definition(
                "merged",
                attributes=[Attribute("shop")],
                measures=[
                    *(Measure("amount", "sum", "amount"), Measure("n", "count"), Measure("avg_qty", "avg", "qty")),
                    *(Measure("least", "min", "qty"), Measure("most", "max", "amount")),
                    Measure("newest", "last", "qty", order="day"),
                    Measure("kinds", "approx_count_distinct", "qty"),
                ],
                partition=PartitionBy("day", "month", merge=True),
            ),
            keys=(shop,),
            period=month,
            merged=True,
            measures={
                "amount": total(amount),
                "n": len,
                "avg_qty": mean(qty),
                "least": least(qty),
                "most": most(amount),
                "newest": newest["newest"],
                "kinds": distinct(qty),
                "avg_qty__sum": total(qty),
                "avg_qty__count": counted(qty),
                "newest__order": newest["newest__order"],
            },
            computed=frozenset({"avg_qty", "kinds"}),
        ),
        Kind(
            definition(
                "grand",
                measures=[Measure("n", "count"), Measure("qty", "sum", "qty", filter="shop IS NOT NULL")],
                partition=PartitionBy("day", "quarter", merge=True),
            ),
            period=quarter,
            merged=True,
            measures={"n": len, "qty": lambda rows: total(qty)([row for row in rows if row[0].shop is not None])},
        ),
        Kind(
            definition(
                "latest",
                attributes=[Attribute("shop")],
                measures=[Measure("newest", "last", "qty", order="day"), Measure("n", "count")],
                partition=PartitionBy("day", "quarter"),
            ),
            keys=(shop,),
            period=quarter,
            period_shown=True,
            measures={"newest": newest["newest"], "n": len, "newest__order": newest["newest__order"]},
        ),
    )


def _over_others() -> tuple[Kind, ...]:
    def of(name: str) -> Any:
        return lambda row: row[name]

    def year_of(row: Row) -> date | None:
        first: date | None = row[0]["month"]
        return first and first.replace(month=1)

    return (
        Kind(
            definition(
                "over_months",
                source=Source(aggregate="sales.by_month"),
                attributes=[Attribute("shop")],
                measures=[Measure("amount", "sum", "amount"), Measure("months", "count", "month")],
                partition=PartitionBy("month", "year"),
            ),
            over="by_month",
            keys=(lambda row: row[0]["shop"],),
            period=year_of,
            period_shown=True,
            measures={"amount": total(of("amount")), "months": counted(of("month"))},
        ),
        Kind(
            definition(
                "over_years",
                source=Source(aggregate="sales.over_months"),
                measures=[Measure("best", "max", "amount"), Measure("n", "count")],
            ),
            over="over_months",
            measures={"best": most(of("amount")), "n": len},
        ),
    )


KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in (*_plain(), *_joined(), *_by_value_or_merged(), *promised(), *_over_others())
}


def with_upstream(names: list[str]) -> list[str]:
    """These names and those of the aggregates that they read, each once."""
    found = dict.fromkeys(names)
    for name in names:
        over = KINDS[name].over
        while over is not None:
            found.setdefault(over)
            over = KINDS[over].over
    return list(found)
