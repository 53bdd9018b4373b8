"""The SQL, by running it: what is selected for periods, when a period is shown, fingerprints that see and do not see."""

import random
from collections.abc import Sequence
from datetime import date
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggmaint.aggregates.model import AggregateDefinition, Attribute, Join, Measure, PartitionBy, Source
from aggmaint.aggregates.nesting import period_is_free
from aggmaint.aggregates.periods import Period, period_of
from aggmaint.aggregates.scans import plan_scans, read_scan, requests_of
from aggmaint.aggregates.sql import select_sql

from .test_model import definition


@pytest.fixture
def database() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": "1"})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@pytest.mark.parametrize(
    ("attribute", "partition", "shown"),
    [
        ("day", PartitionBy("day", "month"), False),
        ("DAY", PartitionBy("day", "month"), False),
        ("date_trunc('month', day)", PartitionBy("day", "month"), False),
        ("date_trunc('month', day)::DATE", PartitionBy("day", "year"), False),
        ("date_trunc('month', day)", PartitionBy("day", "week"), True),
        ("date_trunc('year', day)", PartitionBy("day", "month"), True),
        ("date_trunc('month', date_trunc('week', day))", PartitionBy("day", "month"), True),
        ("year(day)", PartitionBy("day", "year"), False),
        ("year(day)", PartitionBy("day", "month"), True),
        ("strftime(day, '%Y-%m')", PartitionBy("day", "quarter"), False),
        ("strftime(day, '%d')", PartitionBy("day", "month"), True),
        ("month(day)", PartitionBy("day", "month"), True),
        ("shop", PartitionBy("day", "month"), True),
        ("day", PartitionBy("day", "month", zone="Europe/Berlin"), False),
        ("date_trunc('month', day)", PartitionBy("day", "month", zone="Europe/Berlin"), True),
        ("other", PartitionBy("day", "month"), True),
    ],
)
def test_the_period_is_shown_where_no_attribute_determines_it(
    attribute: str, partition: PartitionBy, shown: bool
) -> None:
    assert period_is_free(definition(attributes=[Attribute("a", attribute)], partition=partition), "duckdb") is shown


def test_a_partition_may_name_an_attribute() -> None:
    made = definition(attributes=[Attribute("when", "date_trunc('month', day)")], partition=PartitionBy("WHEN", "year"))
    assert not period_is_free(made, "duckdb")
    assert "DAYOFYEAR(DATE_TRUNC('MONTH', \"day\"))" in select_sql(made, "duckdb")


@pytest.mark.parametrize(
    ("column", "zone", "day"),
    [
        ("TIMESTAMP '2024-06-30 23:00:00'", "UTC", "2024-06-30"),
        ("TIMESTAMP '2024-06-30 23:00:00'", "Europe/Berlin", "2024-07-01"),
        ("TIMESTAMPTZ '2024-06-30 23:00:00+00'", "Europe/Berlin", "2024-07-01"),
        ("TIMESTAMPTZ '2024-06-30 23:00:00-05'", "UTC", "2024-07-01"),
        ("DATE '2024-06-30'", "Europe/Berlin", "2024-06-30"),
        ("DATE '2024-06-30'", "America/New_York", "2024-06-30"),
    ],
)
def test_dates_are_civil_and_timestamps_are_instants(
    database: duckdb.DuckDBPyConnection, column: str, zone: str, day: str
) -> None:
    database.execute(f"CREATE TABLE sales AS SELECT {column} AS day, 'a' AS shop, 1 AS amount")
    made = definition(partition=PartitionBy("day", "day", zone=zone))
    for periods in (None, [period_of(day, made.partition)]):
        assert database.execute(select_sql(made, "duckdb", periods)).fetchall()[0][0] == date.fromisoformat(day)
    assert database.execute(select_sql(made, "duckdb", [period_of("2024-05-01", made.partition)])).fetchall() == []


@given(
    st.lists(st.one_of(st.none(), st.dates(date(2023, 12, 1), date(2024, 3, 31))), max_size=8),
    st.sets(st.sampled_from([None, "2023-12-01", "2024-01-01", "2024-02-01"])),
)
def test_selecting_periods_is_selecting_their_rows_of_the_whole(
    days: list[date | None], wanted: set[str | None]
) -> None:
    connection = duckdb.connect(config={"threads": "1"})
    connection.execute("CREATE TABLE sales (day DATE, shop VARCHAR, amount INTEGER)")
    for index, day in enumerate(days):
        connection.execute("INSERT INTO sales VALUES (?, ?, ?)", [day, "ab"[index % 2], index])
    made = definition()
    whole = connection.execute(select_sql(made, "duckdb")).fetchall()
    part = connection.execute(
        select_sql(made, "duckdb", [period_of(each, made.partition) for each in wanted])
    ).fetchall()
    starts = {None if each is None else date.fromisoformat(each) for each in wanted}
    key = repr
    assert sorted(part, key=key) == sorted((row for row in whole if row[0] in starts), key=key)
    connection.close()


def tokens(connection: duckdb.DuckDBPyConnection, *definitions: AggregateDefinition) -> dict[tuple[str, str], Any]:
    read = {"sales": ("amount", "day", "shop")}
    requests = [
        request for each in definitions for request in requests_of(each, read, {"sales": read["sales"]}, "duckdb")
    ]
    scans = plan_scans(requests, "duckdb")
    assert len(scans) == 1, "one scan per source, whatever the number of aggregates"
    answers = read_scan(scans[0], connection.execute(scans[0].sql).fetchall(), "duckdb2")
    return {key: found for key, found in answers.items() if key[1] == ""}


ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.dates(date(2024, 1, 1), date(2024, 3, 31))),
        st.sampled_from([None, "a", "b"]),
        st.one_of(st.none(), st.integers(-2, 2)),
    ),
    max_size=8,
)


def month_tokens(rows: Sequence[tuple[Any, ...]]) -> dict[Period, str]:
    connection = duckdb.connect(config={"threads": "1"})
    connection.execute("CREATE TABLE sales (day DATE, shop VARCHAR, amount INTEGER)")
    if rows:
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?)", [list(row) for row in rows])
    made = definition()
    answer = dict(tokens(connection, made)[made.id, ""])
    connection.close()
    return answer


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_is_not_seen(rows: list[tuple[Any, ...]], chance: random.Random) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)
    assert month_tokens(rows) == month_tokens(shuffled)


@given(ROWS, ROWS)
def test_other_rows_are_seen(one: list[tuple[Any, ...]], two: list[tuple[Any, ...]]) -> None:
    same = sorted(one, key=repr) == sorted(two, key=repr)
    assert (month_tokens(one) == month_tokens(two)) is same


def test_one_scan_serves_many_schemes(database: duckdb.DuckDBPyConnection) -> None:
    database.execute(
        "CREATE TABLE sales AS SELECT DATE '2024-01-01' + CAST(i * 20 AS INTEGER) AS day, 'a' AS shop, i AS amount "
        "FROM range(10) AS r(i)"
    )
    month = definition()
    year = definition(name="y", partition=PartitionBy("sales.day", "year"))
    whole = definition(name="w", partition=None)
    alone = {each.id: tokens(database, each)[each.id, ""] for each in (month, year, whole)}
    together = tokens(database, month, year, whole)
    for each in (month, year, whole):
        assert sorted(together[each.id, ""], key=repr) == sorted(alone[each.id], key=repr)
    assert len(together[month.id, ""]) == 6


def test_different_filters_are_different_sources() -> None:
    source = Source(table="sales", where="shop = :org")
    one = definition(source=source)
    two = definition(source=source, organization_id="other")
    three = definition(source=source, name="three")
    read = {"sales": ("day",)}
    requests = [request for each in (one, two, three) for request in requests_of(each, read, {}, "duckdb")]
    assert [len(scan.requests) for scan in plan_scans(requests, "duckdb")] == [4, 2]


def test_an_attribute_may_have_the_name_of_a_column_that_others_read(database: duckdb.DuckDBPyConnection) -> None:
    database.execute(
        "CREATE TABLE sales AS SELECT DATE '2024-01-15' AS day, 1 AS amount UNION ALL SELECT DATE '2024-01-20', 2"
    )
    made = definition(
        attributes=[Attribute("day", "date_trunc('month', day)")],
        measures=[Measure("late", "count", filter="day > DATE '2024-01-17'")],
        partition=PartitionBy("sales.day", "day", name="d"),
    )
    assert sorted(row[2] for row in database.execute(select_sql(made, "duckdb")).fetchall()) == [0, 1]


def test_reserved_words_are_names_too(database: duckdb.DuckDBPyConnection) -> None:
    database.execute('CREATE TABLE "order" AS SELECT 1 AS "at", 2 AS "end", DATE \'2024-01-05\' AS "window"')
    made = definition(
        source=Source(table="order", where="at = 1"),
        attributes=[Attribute("at")],
        measures=[Measure("end", "sum", "at + 1")],
        partition=None,
    )
    assert database.execute(select_sql(made, "duckdb")).fetchall() == [(1, 2)]


def test_quoting_survives_the_strangest_names(database: duckdb.DuckDBPyConnection) -> None:
    database.execute("""CREATE TABLE "My ""T" AS SELECT 1 AS "a ""b", 'it''s' AS c""")
    made = definition(
        source=Source(table='"My ""T"', alias='x"y', where="c = 'it''s'"),
        attributes=[Attribute('a "b')],
        measures=[Measure('n";--', "count")],
        joins=[Join(source=Source(table='"My ""T"', alias="z"), on='"x""y".c = z.c')],
        partition=None,
    )
    made = definition(**{**_parts(made), "attributes": [Attribute("k", 'z."a ""b"')]})
    assert database.execute(select_sql(made, "duckdb")).fetchall() == [(1, 1)]


def _parts(made: AggregateDefinition) -> dict[str, Any]:
    return {"source": made.source, "joins": made.joins, "measures": made.measures, "partition": made.partition}
