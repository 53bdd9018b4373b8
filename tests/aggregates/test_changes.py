"""What a change of a definition costs, by its parts."""

from typing import Any

import pytest
from attrs import evolve

from aggmaint.aggregates.changes import ChangeKind, classify_change
from aggmaint.aggregates.model import Attribute, Join, Measure, PartitionBy, Source

from .test_model import definition

AMOUNT, COUNT, LEAST = Measure("amount", "sum", "amount"), Measure("n", "count"), Measure("least", "min", "amount")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, ChangeKind.SAME),
        ({"blocked": True, "project": "p", "type": "system_defined"}, ChangeKind.SAME),
        ({"name": "other"}, ChangeKind.VIEW),
        ({"cube": "other"}, ChangeKind.VIEW),
        ({"partition": PartitionBy("day", "month", name="m")}, ChangeKind.VIEW),
        ({"measures": [COUNT, AMOUNT]}, ChangeKind.VIEW),
        ({"measures": [AMOUNT]}, ChangeKind.MEASURES_REMOVED),
        ({"measures": [AMOUNT, COUNT, LEAST]}, ChangeKind.MEASURES_ADDED),
        ({"measures": [AMOUNT, LEAST]}, ChangeKind.MEASURES_ADDED),
        ({"measures": [AMOUNT, COUNT, LEAST], "name": "other"}, ChangeKind.MEASURES_ADDED),
        ({"dependencies": [Source(table="rates")]}, ChangeKind.DEPENDENCIES),
        ({"dependencies": [Source(table="rates")], "measures": [AMOUNT, COUNT, LEAST]}, ChangeKind.DEPENDENCIES),
        ({"source": Source(table="sales", where="amount > 0")}, ChangeKind.ROWS),
        ({"joins": [Join(source=Source(table="shops"), on="a = b")]}, ChangeKind.ROWS),
        ({"parameters": {"x": 1}}, ChangeKind.ROWS),
        ({"parameters": {"x": 1}, "measures": [AMOUNT, COUNT, LEAST]}, ChangeKind.ROWS),
        ({"partition": None}, ChangeKind.PARTITION),
        ({"partition": PartitionBy("day", "year")}, ChangeKind.PARTITION),
        ({"partition": PartitionBy("day", "month", zone="Europe/Berlin")}, ChangeKind.PARTITION),
        ({"attributes": [Attribute("shop", "upper(shop)")]}, ChangeKind.STRUCTURE),
        ({"attributes": [Attribute("shop"), Attribute("city")]}, ChangeKind.STRUCTURE),
        ({"attributes": []}, ChangeKind.STRUCTURE),
        ({"measures": [Measure("amount", "sum", "amount", "qty > 0"), COUNT]}, ChangeKind.STRUCTURE),
        ({"measures": [Measure("amount", "max", "amount"), COUNT]}, ChangeKind.STRUCTURE),
    ],
)
def test_the_dearest_difference_decides(change: dict[str, Any], kind: ChangeKind) -> None:
    before = definition(measures=[AMOUNT, COUNT])
    after = evolve(before, **change)
    assert classify_change(before.part_hashes, after.part_hashes).kind is kind
    assert (before.definition_hash == after.definition_hash) is (kind is ChangeKind.SAME)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (
            {"measures": [Measure("price", "last", "price", order="at")]},
            {"measures": [Measure("price", "last", "price", order="id")]},
            ChangeKind.STRUCTURE,
        ),
        (
            {"partition": PartitionBy("region", "value", values=["EU"])},
            {"partition": PartitionBy("region", "value", values=["EU", "US"])},
            ChangeKind.PARTITION,
        ),
        (
            {"partition": PartitionBy("day", "month")},
            {"partition": PartitionBy("day", "month", merge=True)},
            ChangeKind.VIEW,
        ),
    ],
    ids=["order", "values", "merge"],
)
def test_what_measures_and_partitions_say_beside_expressions_counts(
    before: dict[str, Any], after: dict[str, Any], kind: ChangeKind
) -> None:
    one, other = definition(**before), definition(**after)
    assert classify_change(one.part_hashes, other.part_hashes).kind is kind
    assert one.definition_hash != other.definition_hash


def test_a_change_names_its_parts_and_measures() -> None:
    before = definition(measures=[AMOUNT, COUNT])
    change = classify_change(before.part_hashes, evolve(before, measures=[AMOUNT, LEAST]).part_hashes)
    assert (change.measures_added, change.measures_removed) == (("least",), ("n",))
    assert change.parts == ("measure:least", "measure:n", "view")
    assert change.words == "measure least, measure n, view"


def test_unknown_parts_cost_a_new_table() -> None:
    """A ledger of an earlier version says nothing about the definition it was built from."""
    change = classify_change({}, definition().part_hashes)
    assert change.kind is ChangeKind.STRUCTURE


def test_kinds_are_ordered_from_cheap_to_dear() -> None:
    """Whatever is added to the enumeration has its place in the order."""
    assert [kind.value for kind in ChangeKind] == [
        *("same", "view", "measures_removed", "measures_added", "dependencies", "rows", "partition", "structure"),
    ]
