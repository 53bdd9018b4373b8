"""Kinds over sources that promise something: only new rows, new rows in the order of their marks, stamps on what changes."""

from typing import Any

from aggmaint.aggregates.model import Attribute, Measure, PartitionBy, Source

from .making import amount, definition, id_of, qty, shops_of
from .model import (
    Kind,
    counted,
    last,
    least,
    mean,
    month,
    most,
    quarter,
    region,
    shop,
    total,
    year,
)

EVENTS = Source(table="events", append_only="id")
IN_ORDER = Source(table="events", append_only="id", marks_commit_in_order=True)
ACCOUNTS = Source(table="accounts", updated_at="touched", deletes="soft", where="NOT gone")


def promised() -> tuple[Kind, ...]:
    return (*_declared(), *_grown())


def _declared() -> tuple[Kind, ...]:
    def both(name: str, source: Source, table: str) -> Kind:
        return Kind(
            definition(
                name,
                source=source,
                attributes=[Attribute("shop")],
                measures=[Measure("amount", "sum", "amount"), Measure("n", "count"), Measure("most", "max", "qty")],
                partition=PartitionBy("day", "month"),
            ),
            table=table,
            keys=(shop,),
            period=month,
            period_shown=True,
            measures={"amount": total(amount), "n": len, "most": most(qty)},
            passes=lambda row: not getattr(row, "gone", False),
        )

    return (
        both("events_by_month", EVENTS, "events"),
        both("accounts_by_month", ACCOUNTS, "accounts"),
        Kind(
            definition("all_events", source=EVENTS, measures=[Measure("n", "count"), Measure("qty", "sum", "qty")]),
            table="events",
            measures={"n": len, "qty": total(qty)},
        ),
        Kind(
            definition("all_accounts", source=ACCOUNTS, measures=[Measure("n", "count"), Measure("qty", "sum", "qty")]),
            table="accounts",
            measures={"n": len, "qty": total(qty)},
            passes=lambda account: not account.gone,
        ),
        Kind(
            definition(
                "events_by_region",
                source=EVENTS,
                joins=[shops_of("events")],
                attributes=[Attribute("region", "shops.region")],
                measures=[Measure("qty", "sum", "events.qty"), Measure("n", "count")],
                partition=PartitionBy("events.day", "year"),
            ),
            table="events",
            joined=True,
            keys=(region,),
            period=year,
            period_shown=True,
            measures={"qty": total(qty), "n": len},
        ),
    )


def _grown() -> tuple[Kind, ...]:
    """Over events whose marks commit in order: new rows may be merged into what is published."""
    measures = [
        *(Measure("amount", "sum", "amount"), Measure("n", "count"), Measure("avg_qty", "avg", "qty")),
        *(Measure("least", "min", "qty"), Measure("most", "max", "amount", filter="qty > 1")),
        Measure("newest", "last", "qty", order="id"),
    ]

    def of(name: str, **parts: Any) -> Kind:
        grain = {key: parts.pop(key) for key in ("keys", "period", "period_shown", "merged") if key in parts}
        return Kind(
            definition(name, source=IN_ORDER, measures=measures, **parts),
            table="events",
            measures={
                "amount": total(amount),
                "n": len,
                "avg_qty": mean(qty),
                "least": least(qty),
                "most": most(lambda row: row.amount if (row.qty or 0) > 1 else None),
                "newest": last(qty, id_of),
                "avg_qty__sum": total(qty),
                "avg_qty__count": counted(qty),
                "newest__order": last(qty, id_of, the_order=True),
            },
            computed=frozenset({"avg_qty"}),
            **grain,
        )

    by_shop: dict[str, Any] = {"attributes": [Attribute("shop")], "keys": (shop,)}
    return (
        of("grown_months", **by_shop, partition=PartitionBy("day", "month"), period=month, period_shown=True),
        of("grown_merged", **by_shop, partition=PartitionBy("day", "quarter", merge=True), period=quarter, merged=True),
        of("grown_whole", **by_shop),
        of("grown_totals"),
        Kind(
            definition(
                "grown_regions",
                source=IN_ORDER,
                joins=[shops_of("events")],
                attributes=[Attribute("region", "shops.region")],
                measures=[Measure("qty", "sum", "events.qty"), Measure("n", "count")],
                partition=PartitionBy("events.day", "month"),
            ),
            table="events",
            joined=True,
            keys=(region,),
            period=month,
            period_shown=True,
            measures={"qty": total(qty), "n": len},
        ),
    )
