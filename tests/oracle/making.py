"""What all kinds are made with: definitions over the sales, a join to the shops, the values of a row."""

from typing import Any

from aggmaint.aggregates.model import AggregateDefinition, Join, Source

from .model import ORG

SALES = Source(table="sales")


def amount(row: Any) -> Any:
    return row.amount


def qty(row: Any) -> Any:
    return row.qty


def weight(row: Any) -> Any:
    return row.weight


def id_of(row: Any) -> Any:
    return row.id


def day(row: Any) -> Any:
    return row.day


def shop_name(row: Any) -> Any:
    return row.shop


def definition(name: str, **parts: Any) -> AggregateDefinition:
    return AggregateDefinition(**{"organization_id": ORG, "cube": "sales", "source": SALES, "name": name, **parts})


def shops_of(table: str) -> Join:
    return Join(source=Source(table="shops"), on=f"shops.shop = {table}.shop", kind="left")
