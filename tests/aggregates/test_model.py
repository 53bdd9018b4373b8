"""Definitions as values: what the constructors refuse, what the two hashes see, how names come about."""

from typing import Any

import pytest
from attrs import evolve

from aggmaint.aggregates.model import (
    INSTANCE_PREDECESSORS,
    AggregateDefinition,
    Attribute,
    Granularity,
    InstanceStatus,
    Join,
    Measure,
    MeasureFunction,
    PartitionBy,
    Source,
    default_definition_id,
)
from aggmaint.aggregates.naming import TABLE_NAME_PATTERN, Tag, format_tag, parse_tag, schema_name, table_name
from aggmaint.errors import InvalidDefinitionError


def definition(**parts: Any) -> AggregateDefinition:
    values = {
        "organization_id": "acme",
        "cube": "sales",
        "name": "revenue",
        "source": Source(table="sales"),
        "attributes": [Attribute("shop")],
        "measures": [Measure("amount", "sum", "amount")],
        "partition": PartitionBy("day", "month"),
        **parts,
    }
    return AggregateDefinition(**values)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Source(), "exactly one"),
        (lambda: Source(table="a", file="b.parquet"), "exactly one"),
        (lambda: Source(file="x.json"), "x.json"),
        (lambda: Source(table=" "), "not empty"),
        (lambda: Measure("x", "sum"), "needs an expression"),
        (lambda: Measure("x", "median", "a"), "sum, count, count_distinct, min, max, avg, last, approx_count_distinct"),
        (lambda: PartitionBy("d", "hour"), "day, week, month, quarter, year, value"),
        (lambda: PartitionBy("d", "day", zone="Mars/Base"), "IANA"),
        (lambda: Attribute(""), "not empty"),
        (lambda: Attribute("a\x00b"), "NUL"),
        (lambda: Join(source=Source(table="t"), on="", kind="inner"), "not empty"),
        (lambda: Join(source=Source(table="t"), on="x", kind="cross"), "inner, left"),
        (lambda: definition(type="mine"), "user_defined, system_defined"),
        (lambda: definition(name=""), "not empty"),
    ],
)
def test_constructors_refuse_with_the_value_and_the_remedy(make: Any, words: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=words):
        make()


def test_words_become_members_and_lists_become_tuples() -> None:
    made = definition(parameters={"b": 2, "a": 1})
    assert made.measures == (Measure("amount", MeasureFunction.SUM, "amount"),)
    assert made.partition is not None
    assert made.partition.granularity is Granularity.MONTH
    assert made.parameters == (("a", 1), ("b", 2))
    assert made.bound == {"org": "acme", "a": 1, "b": 2}
    assert hash(made) == hash(definition(parameters=[("a", 1), ("b", 2)]))


@pytest.mark.parametrize(
    ("source", "alias"),
    [
        (Source(table="lineitem"), "lineitem"),
        (Source(table='sales."Line Item"'), "Line Item"),
        (Source(file="/data/orders.parquet"), "orders"),
        (Source(file="/data/orders-*.parquet"), "orders"),
        (Source(file="/data/*.csv.gz"), "source"),
        (Source(file="/data/x.csv", alias="y"), "y"),
    ],
)
def test_the_default_alias(source: Source, alias: str) -> None:
    assert source.alias == alias


def test_an_average_is_two_columns() -> None:
    assert Measure("x", "avg", "a").columns == ("x__sum", "x__count")
    assert Measure("x", "max", "a").columns == ("x",)


def test_default_ids_are_stable_and_fold_case() -> None:
    assert definition().id == definition(name="Revenue").id == default_definition_id("acme", "SALES", "revenue")
    assert definition().id != definition(organization_id="Acme").id, "organisation ids are exact"
    assert definition(id="x").id == "x"


CONTENT_CHANGES: dict[str, Any] = {
    "source": Source(table="sales", where="amount > 0"),
    "joins": [Join(source=Source(table="shops"), on="a = b")],
    "dependencies": [Source(table="rates")],
    "parameters": {"x": 1},
    "cube": "other",
    "name": "other",
}
STRUCTURE_CHANGES: dict[str, Any] = {
    "attributes": [Attribute("shop", "upper(shop)")],
    "measures": [Measure("amount", "sum", "amount", "qty > 0")],
    "partition": PartitionBy("day", "year"),
}


@pytest.mark.parametrize("change", [*CONTENT_CHANGES, *STRUCTURE_CHANGES])
def test_what_changes_the_contents_changes_the_hash(change: str) -> None:
    changed = evolve(definition(), **{change: {**CONTENT_CHANGES, **STRUCTURE_CHANGES}[change]})
    assert changed.definition_hash != definition().definition_hash
    assert (changed.structure_hash != definition().structure_hash) is (change in STRUCTURE_CHANGES)


@pytest.mark.parametrize(
    "change", [{"project": "p"}, {"type": "system_defined"}, {"subtype": "demand_defined"}, {"blocked": True}]
)
def test_what_changes_no_row_changes_no_hash(change: dict[str, Any]) -> None:
    assert evolve(definition(), **change).definition_hash == definition().definition_hash


def test_every_status_can_be_reached_and_deleted_ends() -> None:
    reachable = {InstanceStatus.INPROGRESS}
    for _ in InstanceStatus:
        reachable |= {to for to, before in INSTANCE_PREDECESSORS.items() if before & reachable}
    assert reachable == set(InstanceStatus) == set(INSTANCE_PREDECESSORS)
    ends = [to for to, before in INSTANCE_PREDECESSORS.items() if InstanceStatus.DELETED in before]
    assert ends == [InstanceStatus.DELETED]


def test_schema_names_keep_apart_what_engines_fold() -> None:
    names = {schema_name(org) for org in ("acme", "Acme", "ACME", "acme ", "ącme", "a" * 255, "公司")}
    assert len({name.lower() for name in names}) == 7
    assert all(len(name) <= 42 and name.isascii() for name in names)
    assert schema_name("default").startswith("agg_")
    assert schema_name("default").endswith("_default")
    assert schema_name("公司").endswith("_org")


@pytest.mark.parametrize(
    ("instance", "name", "table"),
    [
        ("e0bc4492-0000-4000-8000-000000000000", "UDA color", "as_agg_e0bc4492_uda_color"),
        ("d2c12d26-0000-4000-8000-000000000000", "revenue by month and mode", "as_agg_d2c12d26_revenue_by_mon"),
        ("d2c12d26-0000-4000-8000-000000000000", "--", "as_agg_d2c12d26_aggregate"),
    ],
)
def test_table_names_follow_the_published_rule(instance: str, name: str, table: str) -> None:
    assert table_name(instance, name) == table
    assert TABLE_NAME_PATTERN.fullmatch(table)


def test_tags_survive_and_nothing_else_is_one() -> None:
    tag = Tag('in"st\nall', "d", "i")
    assert parse_tag(format_tag(tag, "for people\nand more")) == tag
    for text in (
        None,
        "",
        "aggmaint",
        "aggmaint:{}",
        "aggmaint:[1]",
        "aggmaint:{bad",
        'x aggmaint:{"installation":"a"}',
    ):
        assert parse_tag(text) is None
