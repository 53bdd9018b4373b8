"""Long stories: readers through hundreds of publishes, strangers through a hundred runs, any month of years of TPC-H.

With each change the readers meet 40 refreshes and 4 rebuilds; AGGMAINT_DEEP=1 makes them 200 and 20.
"""

import os
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread
from typing import Any

import duckdb
import pytest
from attrs import evolve

from aggmaint.aggregates.model import AggregateDefinition, Attribute, Measure, PartitionBy, Source
from aggmaint.maintenance import AggregateMaintenance
from aggmaint.warehouses.duckdb import DuckDBWarehouse

from ..maintenance.support import NOON, FakeContext
from .kinds import KINDS
from .model import ORG, Sale
from .variants import narrowed
from .world import World

REFRESHES, REBUILDS = (200, 20) if os.environ.get("AGGMAINT_DEEP") else (40, 4)


@contextmanager
def reading(world: World, query: str, wanted: list[Any], wrong: list[Any]) -> Iterator[list[int]]:
    """Two threads that loop over a query; whatever is not `wanted` is noted as wrong."""
    stop, reads = Event(), [0, 0]

    def read(index: int) -> None:
        cursor = world.tap.connection.cursor()
        while not stop.is_set() and not wrong:
            try:
                answer = cursor.execute(query).fetchall()
            except Exception as problem:
                wrong.append(problem)
                return
            if answer != wanted:
                wrong.append(answer)
            reads[index] += 1

    readers = [Thread(target=read, args=(index,)) for index in range(2)]
    for reader in readers:
        reader.start()
    try:
        yield reads
    finally:
        stop.set()
        for reader in readers:
            reader.join()


def test_readers_meet_no_error_no_gap_and_no_mixture(tmp_path: Path) -> None:
    """A row moves between months with each run; what readers add up never changes, and they meet no error and no gap."""
    world = World(tmp_path, ["by_month"])
    sales = {key: Sale(key, date(2024, 1 + key % 6, 3), None, "north", Decimal(key), 1) for key in range(1, 13)}
    world.change(sales)
    world.settle()
    query = f'SELECT SUM(amount), SUM(n) FROM "{world.schema}".sales__by_month'
    wrong: list[Any] = []
    with reading(world, query, [(Decimal(78), 12)], wrong) as reads:
        for number in range(REFRESHES):
            key = 1 + number % 12
            sales[key] = evolve(sales[key], day=date(2024 + number % 2, 1 + number % 7, 9))
            world.change({key: sales[key]})
            if number % (REFRESHES // REBUILDS) == 0:
                definition = KINDS["by_month"].definition
                source = evolve(definition.source, where=f"id > -{number + 1}")
                world.redefine("by_month", evolve(KINDS["by_month"], definition=evolve(definition, source=source)))
            world.settle()
            if wrong:
                break
    assert wrong == []
    assert min(reads) > REFRESHES // 10


def test_what_others_made_is_byte_identical_after_100_runs(tmp_path: Path) -> None:
    """Look-alike names, copied tags, views over our tables: reported as foreign, never touched."""
    world = World(tmp_path, ["by_month", "totals"])
    world.change({1: Sale(1, date(2024, 1, 31), None, "north", Decimal(1), 1)})
    world.settle()
    tag = world.execute("SELECT comment FROM duckdb_tables() WHERE comment IS NOT NULL ORDER BY 1")[0][0]
    over = f'"{world.schema}"."{world.in_service("by_month")}"'
    world.plant("as_agg_deadbeef_by_month", "CREATE TABLE {} AS SELECT 42 AS answer")
    world.plant("as_agg_00000000_totals", "CREATE TABLE {} AS SELECT 42 AS answer", tag)
    world.plant("aggmaint_notes", "CREATE TABLE {} AS SELECT 'mine' AS words", "aggmaint:{}")
    world.plant("sales__others", "CREATE VIEW {} AS SELECT 42 AS answer")
    world.plant("sales__by_year", f"CREATE VIEW {{}} AS SELECT 42 AS answer FROM {over} LIMIT 0")
    for number in range(100):
        world.change({2: Sale(2, date(2024, 1 + number % 12, 1), None, None, None, number)})
        if number % 10 == 5:
            world.redefine("totals", narrowed(KINDS["totals"]) if number % 20 == 5 else KINDS["totals"])
        world.clock.pass_s(1800)
        done = world.settle()
        for each in world.foreign[:-1]:  # the last one reads a table that was superseded
            assert world.looks(each.name) == each.looks, (number, each.name)
    assert done.report is not None
    reported = {each["aggregate"] for each in done.report["details"]["findings"] if each["code"] == "object_foreign"}
    assert reported == {each.name for each in world.foreign}


def test_a_lost_ledger_stops_the_job_and_says_so(tmp_path: Path) -> None:
    """The rows of the ledger are gone, its tables are there, and the last inventory knows aggregates."""
    world = World(tmp_path, ["by_month", "totals"])
    world.change({1: Sale(1, date(2024, 1, 31), None, "north", Decimal(1), 1)})
    world.settle()
    before = world.objects()
    for name in ("aggmaint_instance", "aggmaint_partition", "aggmaint_source"):
        world.execute(f'DELETE FROM "{world.schema}".{name}')
    done = world.job()
    assert done.report is not None and not done.report["complete"]
    assert {each["step"] for each in done.report["errors"]} == {"definition"}
    assert all("aggmaint adopt" in each["message"] for each in done.report["errors"])
    assert world.writes() == []
    assert world.objects() == before
    world.look_at_all()


# -- TPC-H ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lineitem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tpch")
    program = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    command = [str(program), "parquet", "-s", "0.001", "-o", str(directory), "--tables=lineitem"]
    subprocess.run(command, check=True, capture_output=True)
    return next(directory.rglob("lineitem*.parquet"))


def test_a_change_in_any_month_of_seven_years_rebuilds_only_its_months(lineitem: Path) -> None:
    """Rows land, are corrected, are deleted, and move to another month: each is found, and nothing else is rebuilt."""
    connection = duckdb.connect(config={"threads": "1"})
    connection.execute(f"CREATE TABLE lineitem AS SELECT * FROM read_parquet('{lineitem}')")
    revenue = AggregateDefinition(
        organization_id=ORG,
        cube="tpch",
        name="revenue",
        source=Source(table="lineitem"),
        attributes=[Attribute("mode", "l_shipmode")],
        measures=[Measure("revenue", "sum", "l_extendedprice * (1 - l_discount)"), Measure("n", "count")],
        partition=PartitionBy("l_shipdate", "month"),
    )
    maintenance = AggregateMaintenance(
        definitions={ORG: [revenue]}, warehouse_for=lambda _org: DuckDBWarehouse(connection=connection)
    )
    clock: list[datetime] = [NOON]
    numbers = iter(range(1, 10_000))

    def run() -> set[str]:
        report = maintenance.run(FakeContext(ORG, next(numbers), clock))
        assert report.complete
        return {key for step in report.details["steps"] for key in step["partitions"]}

    run()
    months = [row[0] for row in connection.execute(MONTHS).fetchall()]
    assert len(months) > 80
    for number, month in enumerate(months):
        other = months[(number * 7 + 3) % len(months)]
        connection.execute(CHANGES[number % len(CHANGES)].format(month=month, other=other))
        wanted = {month, other} if "{other}" in CHANGES[number % len(CHANGES)] else {month}
        assert run() == wanted, (month, CHANGES[number % len(CHANGES)])
    (difference,) = maintenance.verify(ORG)
    assert difference.equal
    connection.close()


MONTHS = "SELECT DISTINCT strftime(l_shipdate, '%Y-%m') FROM lineitem ORDER BY 1"
_ONE = "(SELECT MIN(rowid) FROM lineitem WHERE strftime(l_shipdate, '%Y-%m') = '{month}')"
CHANGES = (
    "INSERT INTO lineitem SELECT * REPLACE (DATE '{month}-17' AS l_shipdate) FROM lineitem LIMIT 1",
    f"UPDATE lineitem SET l_extendedprice = l_extendedprice + 1 WHERE rowid = {_ONE}",
    f"DELETE FROM lineitem WHERE rowid = {_ONE}",
    f"UPDATE lineitem SET l_shipdate = DATE '{{other}}-05' WHERE rowid = {_ONE}",
)
"""Landed, corrected, deleted, moved."""
