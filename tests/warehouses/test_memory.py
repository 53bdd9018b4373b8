"""MemoryWarehouse: users' tests without a database. It says the same as DuckDB over the same rows, or refuses by name."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from aggmaint.aggregates.model import AggregateDefinition, Attribute, Join, Measure, PartitionBy, Source
from aggmaint.errors import TaskFailedError
from aggmaint.maintenance import AggregateMaintenance
from aggmaint.warehouses.duckdb import DuckDBWarehouse
from aggmaint.warehouses.memory import MemoryWarehouse

from ..maintenance.support import NOON, FakeContext, actions, refreshed
from ..oracle.kinds import KINDS
from ..oracle.model import Kind, Sale, State, shown, spelled

ORG = "acme"
SALES: list[dict[str, Any]] = [
    {"day": date(2024, 1, 31), "shop": "north", "amount": Decimal("1.50"), "qty": 1},
    {"day": date(2024, 2, 1), "shop": "south", "amount": Decimal("2.25"), "qty": 3},
    {"day": None, "shop": None, "amount": None, "qty": None},
]


class Host:
    """A user's test: one maintenance over a memory warehouse."""

    def __init__(self, *definitions: AggregateDefinition, **parts: Any) -> None:
        self.warehouse = MemoryWarehouse({"sales": SALES}, **parts)
        self.definitions = list(definitions)
        self.maintenance = AggregateMaintenance(
            definitions=lambda _org: self.definitions, warehouse_for=lambda _org: self.warehouse
        )
        self.clock = [NOON]
        self.number = 0

    def run(self) -> Any:
        self.number += 1
        return self.maintenance.run(FakeContext(ORG, self.number, self.clock))


def by_month(**parts: Any) -> AggregateDefinition:
    return AggregateDefinition(
        **{
            "organization_id": ORG,
            "cube": "sales",
            "name": "by_month",
            "source": Source(table="sales"),
            "attributes": [Attribute("month", "date_trunc('month', day)")],
            "measures": [Measure("amount", "sum", "amount"), Measure("n", "count")],
            "partition": PartitionBy("day", "month"),
            **parts,
        }
    )


def test_a_story_from_first_build_to_a_corrected_row() -> None:
    host = Host(by_month())
    assert host.run().complete
    assert host.warehouse.read(ORG, "sales__by_month") == [
        {"month": date(2024, 1, 1), "amount": Decimal("1.50"), "n": 1},
        {"month": date(2024, 2, 1), "amount": Decimal("2.25"), "n": 1},
        {"month": None, "amount": None, "n": 1},
    ]
    assert actions(host.run()) == []
    host.warehouse.tables["sales"][1]["amount"] = Decimal("9.00")
    assert refreshed(host.run()) == {"by_month": {"2024-02"}}
    assert host.warehouse.read(ORG, "sales__by_month")[-1]["amount"] == Decimal("9.00")
    assert all(each.equal for each in host.maintenance.verify(ORG))
    host.definitions = [by_month(measures=[Measure("n", "count")])]
    assert actions(host.run()) == [("build", "by_month")]
    host.clock[0] += timedelta(hours=2)
    assert actions(host.run()) == [("drop", "by_month")]


@pytest.mark.parametrize(
    "expression", ["strftime(day, '%Y')", "list_value(qty)[1]", "day - INTERVAL 1 DAY", "if(qty > 1, 1, 2)"]
)
def test_what_it_can_not_evaluate_is_refused_and_named(expression: str) -> None:
    host = Host(by_month(attributes=[Attribute("x", expression)]))
    report = host.run()
    assert not report.complete
    assert "the memory warehouse can not evaluate" in report.errors[0].message
    assert "attribute 'x'" in report.errors[0].message


def test_a_table_that_is_not_there_and_one_without_columns_are_named() -> None:
    host = Host(by_month(source=Source(table="orders")), by_month(name="empty", source=Source(table="later")))
    host.warehouse.tables["later"] = []
    messages = [each.message for each in host.run().errors]
    assert any("there is no such table in memory; there are later, sales" in each for each in messages)
    assert any("columns={'later': [...]}" in each for each in messages)


def test_columns_of_an_empty_table_can_be_told() -> None:
    host = Host(by_month(), columns={"sales": ["day", "amount"]})
    host.warehouse.replace({"sales": []})
    assert host.run().complete
    assert host.warehouse.read(ORG, "sales__by_month") == []


def test_it_can_be_away() -> None:
    host = Host(by_month())
    host.warehouse.available = False
    with pytest.raises(TaskFailedError, match="was told to be away"):
        host.run()


def test_values_of_different_types_break_their_own_aggregate_only() -> None:
    host = Host(by_month(), by_month(name="odd", attributes=[Attribute("odd", "shop > 1")]))
    report = host.run()
    assert [each.step for each in report.errors] == ["build"]
    assert "are of different types" in report.errors[0].message
    assert host.warehouse.read(ORG, "sales__by_month")


# -- agreement with the oracle and with DuckDB ---------------------------------------------------------------------------


def as_row(sale: Sale) -> dict[str, Any]:
    names = ("id", "day", "at", "shop", "amount", "qty", "weight")
    return {"sold_at" if name == "at" else name: getattr(sale, name) for name in names}


def it_can(kind: Kind) -> bool:
    """Periods of the calendar over tables; `test_what_only_duckdb_can_do_is_refused_and_named` is about the rest."""
    partition = kind.definition.partition
    by_calendar = partition is None or not (partition.by_value or partition.merge)
    plain = all(each.order is None for each in kind.definition.measures)
    return by_calendar and plain and kind.table == "sales" and kind.over is None


def test_it_agrees_with_the_oracle_on_every_kind_of_definition() -> None:
    sales = [
        Sale(1, date(2024, 1, 31), datetime(2024, 3, 10, 4, 59, 59), "north", Decimal("1.50"), 1, 0.5),
        Sale(2, date(2024, 2, 1), datetime(2024, 3, 10, 5), "south", Decimal("2.25"), 3, 0.25),
        Sale(3, None, None, None, None, None, None),
        Sale(4, date(2024, 12, 31), datetime(2024, 11, 4, 5), "moon", Decimal(4), 4, 2.0),
    ]
    state = State({sale.id: sale for sale in sales}, (("north", "cold"), ("north", "warm"), ("south", None)))
    kinds = {name: kind for name, kind in KINDS.items() if it_can(kind)}
    host = Host(*(kind.definition for kind in kinds.values()))
    host.warehouse.replace(
        {"sales": map(as_row, sales), "shops": [{"shop": shop, "region": region} for shop, region in state.shops]}
    )
    report = host.run()
    assert report.complete, report.errors
    for name, kind in kinds.items():
        rows = [tuple(row.values()) for row in host.warehouse.read(ORG, f"sales__{name}")]
        assert spelled(rows) == shown(kind, state), name


NUMBERS = st.recursive(
    st.sampled_from(["qty", "amount", "weight", "2", "0", "1.5", "NULL", "year(day)", "month(day)", "length(shop)"]),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/"]), inner),
        st.builds("(- {})".format, inner),
        st.builds("abs({})".format, inner),
        st.builds("coalesce({}, {})".format, inner, inner),
        st.builds("nullif({}, {})".format, inner, inner),
        st.builds("CASE WHEN {} > {} THEN {} END".format, inner, inner, inner),
    ),
    max_leaves=4,
)
TRUTHS = st.recursive(
    st.one_of(
        st.builds("({} {} {})".format, NUMBERS, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), NUMBERS),
        st.sampled_from(
            ["shop = 'north'", "shop <> 'north'", "shop IS NULL", "shop LIKE 'n%'", "shop ILIKE '%TH'", "NULL"]
        ),
        st.sampled_from(
            ["day >= '2024-02-01'", "day BETWEEN DATE '2024-01-01' AND DATE '2024-02-01'", "qty IN (1, NULL)"]
        ),
        st.sampled_from(["qty IS DISTINCT FROM 1", "shop IS NOT DISTINCT FROM NULL", "qty % 2 = 1", "TRUE", "FALSE"]),
    ),
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("(NOT {})".format, inner),
        st.builds("({}) IS NULL".format, inner),
        st.builds("({}) IS NOT TRUE".format, inner),
    ),
    max_leaves=4,
)
TEXTS = st.sampled_from(
    ["shop", "lower(shop)", "upper(shop)", "shop || 'x'", "CAST(qty AS VARCHAR)", "coalesce(shop, '-')"]
)
KEYS = st.one_of(TRUTHS, TEXTS, st.sampled_from(["date_trunc('quarter', day)", "CAST(day AS DATE)", "day", "qty"]))
MEASURES = st.one_of(
    st.tuples(st.sampled_from(["sum", "avg", "min", "max", "count"]), NUMBERS, st.none() | TRUTHS),
    st.tuples(st.sampled_from(["count_distinct"]), st.sampled_from(["qty", "shop", "day"]), st.none() | TRUTHS),
)
PARTS = st.tuples(
    st.lists(KEYS, max_size=2),
    st.lists(MEASURES, min_size=1, max_size=2),
    st.none() | st.sampled_from(["day", "week", "month", "quarter", "year"]),
    st.none() | TRUTHS,
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "day": st.none() | st.dates(date(2023, 12, 1), date(2024, 3, 31)),
            "shop": st.sampled_from([None, "north", "South", "east"]),
            "amount": st.none() | st.decimals(min_value=-9, max_value=9, places=2),
            "qty": st.none() | st.integers(-4, 4),
            "weight": st.none() | st.sampled_from([0.5, -0.25, 2.0]),
        }
    ),
    max_size=8,
)


COLUMNS = ("day", "shop", "amount", "qty", "weight")


def random_definition(parts: Any, joined: bool) -> AggregateDefinition:
    keys, measures, granularity, where = parts
    return AggregateDefinition(
        organization_id=ORG,
        cube="sales",
        name="random",
        source=Source(table="sales", where=where),
        joins=[Join(source=Source(table="shops"), on="shops.name = sales.shop", kind="left")] if joined else [],
        attributes=[
            *(Attribute(f"k{index}", text) for index, text in enumerate(keys)),
            *([Attribute("region", "shops.region")] if joined else []),
        ],
        measures=[Measure(f"m{index}", function, text, filter=f) for index, (function, text, f) in enumerate(measures)],
        partition=None if granularity is None else PartitionBy("day", granularity),
    )


def duckdb_rows(definition: AggregateDefinition, rows: list[dict[str, Any]]) -> list[Any] | None:
    """What the view shows in DuckDB; None if it refuses the definition, or its data."""
    import duckdb

    connection = duckdb.connect(config={"threads": "1"})
    try:
        connection.execute(
            "CREATE TABLE sales (day DATE, shop VARCHAR, amount DECIMAL(12, 2), qty INTEGER, weight DOUBLE); "
            "CREATE TABLE shops (name VARCHAR, region VARCHAR); INSERT INTO shops VALUES ('north', 'cold'), ('north', NULL)"
        )
        for row in rows:
            connection.execute("INSERT INTO sales VALUES (?, ?, ?, ?, ?)", [row[name] for name in COLUMNS])
        maintenance = AggregateMaintenance(
            definitions=lambda _org: [definition], warehouse_for=lambda _org: DuckDBWarehouse(connection=connection)
        )
        if not maintenance.run(FakeContext(ORG, 1, [NOON])).complete:
            return None
        schema = connection.execute(
            "SELECT schema_name FROM duckdb_schemas() WHERE schema_name LIKE 'agg_%'"
        ).fetchall()
        return connection.execute(f'SELECT * FROM "{schema[0][0]}".sales__random').fetchall()
    finally:
        connection.close()


def canonical(rows: list[Any]) -> list[str]:
    """Numbers as numbers, whatever their type; midnights as dates."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.date()
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            return value
        return f"{float(value):.5g}"

    return sorted(repr(tuple(plain(value) for value in row)) for row in rows)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=PARTS, rows=ROWS, joined=st.booleans())
def test_it_agrees_with_duckdb_on_random_definitions(parts: Any, rows: list[dict[str, Any]], joined: bool) -> None:
    """Whatever both accept they show alike. (What DuckDB refuses, types above all, may be accepted here.)"""
    definition = random_definition(parts, joined)
    theirs = duckdb_rows(definition, rows)
    if theirs is None:
        return
    warehouse = MemoryWarehouse(
        {"sales": rows, "shops": [{"name": "north", "region": "cold"}, {"name": "north", "region": None}]},
        columns={"sales": COLUMNS},
    )
    maintenance = AggregateMaintenance(definitions={ORG: [definition]}, warehouse_for=lambda _org: warehouse)
    report = maintenance.run(FakeContext(ORG, 1, [NOON]))
    assert report.complete, report.errors
    ours = [tuple(row.values()) for row in warehouse.read(ORG, "sales__random")]
    assert canonical(ours) == canonical(theirs)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"measures": [Measure("last", "last", "amount", order="day")]}, "measure 'last' function"),
        ({"measures": [Measure("d", "approx_count_distinct", "shop")]}, "measure 'd' function"),
        ({"partition": PartitionBy("shop", "value")}, "partition granularity"),
        ({"attributes": [Attribute("shop")], "partition": PartitionBy("day", "month", merge=True)}, "partition merge"),
    ],
)
def test_what_only_duckdb_can_do_is_refused_and_named(parts: dict[str, Any], words: str) -> None:
    report = Host(by_month(**parts)).run()
    assert not report.complete
    assert words in report.errors[0].message
    assert "the memory warehouse can not do this" in report.errors[0].message
