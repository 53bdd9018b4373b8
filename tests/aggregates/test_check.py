"""What can be known to be wrong before a warehouse is asked, and how columns are resolved."""

from typing import Any

import pytest

from aggmaint.aggregates.check import check_definition, check_definitions
from aggmaint.aggregates.expressions import columns_read, parameters_in
from aggmaint.aggregates.model import AggregateDefinition, Attribute, Join, Measure, PartitionBy, Source

from .test_model import definition


def problems(**parts: Any) -> list[str]:
    return [str(each) for each in check_definition(definition(**parts))]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"measures": []}, "at least one measure"),
        ({"measures": [Measure("x", "sum", "1 +")]}, "not valid SQL"),
        ({"measures": [Measure("x", "sum", "a, b")]}, "not valid SQL"),
        ({"measures": [Measure("x", "sum", "a; DROP TABLE t")]}, "one SQL expression"),
        ({"measures": [Measure("x", "sum", "DROP TABLE t")]}, "one SQL expression"),
        ({"measures": [Measure("x", "sum", "a AS b")]}, "one SQL expression"),
        ({"measures": [Measure("x", "sum", "sum(a)")]}, "aggregate or window function"),
        ({"measures": [Measure("x", "sum", "a", "rank() OVER (ORDER BY a) = 1")]}, "aggregate or window function"),
        ({"attributes": [Attribute("x", "(SELECT 1)")]}, "one SQL expression"),
        ({"attributes": [Attribute("x", "a IN (SELECT b FROM t)")]}, "join the table instead"),
        ({"attributes": [Attribute("x", "a.*")]}, "name the columns"),
        ({"attributes": [Attribute("x", "now()")]}, "answers differently each time"),
        ({"attributes": [Attribute("x", "current_date")]}, "answers differently each time"),
        ({"attributes": [Attribute("x", "random() > 1")]}, "answers differently each time"),
        ({"attributes": [Attribute("x", "a = :org")]}, "source's where only"),
        ({"attributes": [Attribute("x"), Attribute("X", "y")]}, "a column of this name already"),
        ({"attributes": [Attribute("amount", "y")]}, "a column of this name already"),
        ({"attributes": [Attribute("aggmaint_x")]}, "reserved"),
        ({"attributes": [Attribute("month", "shop")]}, "partition name = 'month'"),
        ({"measures": [Measure("x", "avg", "a"), Measure("x__sum", "sum", "a")]}, "a column of this name already"),
        ({"source": Source(table="a b")}, "not the name of a table"),
        ({"source": Source(table="t; DROP TABLE x")}, "not the name of a table"),
        ({"source": Source(table="read_csv('x')")}, "not the name of a table"),
        ({"source": Source(table="t", where="a = :tenant")}, "parameters a value for :tenant"),
        ({"source": Source(table="t", where="a = ?")}, "have a name"),
        ({"source": Source(table="t", where="a = $1")}, "have a name"),
        ({"source": Source(table="t", where="a IN (SELECT 1)")}, "join the table instead"),
        ({"joins": [Join(source=Source(table="SALES"), on="a = b")]}, "two sources have this alias"),
        ({"joins": [Join(source=Source(table="u"), on="a = ")]}, "not valid SQL"),
        ({"name": "ü" * 30}, "63 bytes"),
        ({"partition": PartitionBy("day +", "month")}, "not valid SQL"),
    ],
)
def test_each_problem_names_aggregate_key_value_and_remedy(parts: dict[str, Any], words: str) -> None:
    found = problems(**parts)
    assert any(words in each for each in found), found
    assert all(each.startswith("aggregate 'sales.") and "\n" not in each for each in found)


def test_all_problems_are_found_at_once() -> None:
    found = problems(measures=[Measure("x", "sum", "1 +"), Measure("y", "sum", "2 +")], source=Source(table="a b"))
    assert len(found) == 3


@pytest.mark.parametrize(
    "expression",
    [
        "a + b * 2 - 1",
        "CASE WHEN a > 1 THEN b END",
        "CAST(a AS DECIMAL(12, 2))",
        "a::DATE",
        "date_trunc('month', a)",
        "coalesce(a, 'it''s; -- not a comment')",
        "list_transform(a, x -> x + 1)",
        "a.b.c",
        '"strange ""name"""',
        "a BETWEEN 1 AND 2 OR NOT b IS NULL",
        "my_function(a)",
        "a -- a comment",
    ],
)
def test_expressions_that_are_fine(expression: str) -> None:
    assert problems(measures=[Measure("m", "max", expression)]) == []


def test_names_are_unique_case_folded_and_so_are_views() -> None:
    one, two = definition(name="a"), definition(name="A", id="other")
    assert [each.aggregate for each in check_definitions([one, two])] == ["sales.a", "sales.A"]
    left, right = definition(cube="a", name="b__c"), definition(cube="a__b", name="c")
    assert len(check_definitions([left, right])) == 2
    assert len(check_definitions([definition(name="a", id="x"), definition(name="b", id="x")])) == 2
    assert check_definitions([definition(name="a"), definition(name="b")]) == ()


def joined(*expressions: str) -> AggregateDefinition:
    return definition(
        source=Source(table="sales", alias="s", where="tenant = :org"),
        joins=[Join(source=Source(table="shops", alias="h"), on="s.shop = h.shop")],
        attributes=[Attribute(f"a{index}", each) for index, each in enumerate(expressions)],
        measures=[Measure("n", "count")],
        partition=None,
    )


COLUMNS = {"s": ("shop", "Amount", "tenant", "point"), "h": ("shop", "region")}


def test_columns_are_resolved_over_all_sources() -> None:
    read = columns_read(joined("region", "S.amount", "point.x", "s.point.y"), COLUMNS, "duckdb")
    assert read.unresolved == ()
    assert dict(read.by_alias) == {"s": ("Amount", "point", "shop", "tenant"), "h": ("region", "shop")}


@pytest.mark.parametrize(
    ("expression", "remedy"),
    [
        ("shop", "column 'shop' is ambiguous; write s.shop or h.shop"),
        ("regoin", "did you mean 'region'?"),
        ("h.amount", "there is no column 'amount' in h"),
        ("zzz", "the columns are shop, Amount"),
    ],
)
def test_what_can_not_be_resolved_gets_a_remedy(expression: str, remedy: str) -> None:
    unresolved = columns_read(joined(expression), COLUMNS, "duckdb").unresolved
    assert [each.key for each in unresolved] == ["attribute 'a0'"]
    assert remedy in unresolved[0].remedy


def test_a_filter_sees_its_own_source_only() -> None:
    wrong = definition(
        source=Source(table="sales", alias="s", where="region = 'x'"),
        joins=[Join(source=Source(table="shops", alias="h"), on="s.shop = h.shop")],
        attributes=[],
        measures=[Measure("n", "count")],
        partition=None,
    )
    assert "no column 'region' in s" in columns_read(wrong, COLUMNS, "duckdb").unresolved[0].remedy


def test_parameters_by_name() -> None:
    assert parameters_in("a = :org AND b > $least OR c = :org", "duckdb") == ("least", "org")
