"""What the kit can not plant in a warehouse that reads through `SqlReading`: rows that get lost, odd names and files."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from aggmaint.aggregates.naming import table_name
from aggmaint.aggregates.parts import PartitionBy
from aggmaint.core.job import Fence
from aggmaint.errors import GateError
from aggmaint.testing._warehouse_base import ACME, ALL, BASE, BY_MONTH, KIT, SHOP_ROWS
from aggmaint.testing.clocks import NOON
from aggmaint.testing.warehouse_bench import SALES, SHOPS
from aggmaint.warehouse import BuildRequest, ManagedSchema, StageRequest
from tests.examples.sqlite_warehouse.bench import SQLiteBench
from tests.examples.sqlite_warehouse.session import SQLiteSession

IDENTITY = "00000001-0000-4000-8000-000000000000"
REQUEST = BuildRequest(BY_MONTH, IDENTITY, table_name(IDENTITY, "by_month"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SQLiteBench]:
    made = SQLiteBench(str(tmp_path))
    made.put(SALES, BASE)
    made.put(SHOPS, SHOP_ROWS)
    yield made
    made.close()


@pytest.fixture
def session(bench: SQLiteBench) -> Iterator[Any]:
    opened = bench.warehouse.open(ManagedSchema(KIT, ACME, "agg_kit"))
    assert isinstance(opened, SQLiteSession)
    seen = opened.observe(ALL, sick={}).control
    assert opened.claim(Fence(1, 1), seen=seen)
    yield opened
    opened.close()


def losing_a_row(session: SQLiteSession) -> Callable[..., None]:
    fill = type(session._file).fill

    def lossy(self: Any, table: str, *arguments: Any, **more: Any) -> None:
        fill(self, table, *arguments, **more)
        self.connection.run(f"DELETE FROM {table} WHERE rowid = 1")

    return lossy


def test_what_a_build_lost_does_not_pass_the_gate(session: SQLiteSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(session._file), "fill", losing_a_row(session))
    with pytest.raises(GateError, match="adds up to") as raised:
        session.build([REQUEST], at=NOON)
    assert raised.value.definition_id == BY_MONTH.id


def test_what_a_stage_lost_does_not_pass_the_gate(session: SQLiteSession, monkeypatch: pytest.MonkeyPatch) -> None:
    (built,) = session.build([REQUEST], at=NOON)
    periods = tuple(each.period for each in built.partitions)
    monkeypatch.setattr(type(session._file), "fill", losing_a_row(session))
    session.observe([BY_MONTH], sick={})
    with pytest.raises(GateError, match="adds up to") as raised:
        session.stage([StageRequest(BY_MONTH, periods)])
    assert raised.value.definition_id == BY_MONTH.id


def test_tokens_are_read_before_the_data(session: SQLiteSession) -> None:
    """Of a build, every scan of the source's rows comes before the table is made."""
    statements: list[str] = []
    session._connection._before = statements.append
    session.build([REQUEST], at=NOON)
    made = next(index for index, sql in enumerate(statements) if sql.startswith("CREATE TABLE") and "as_agg" in sql)
    hashed = [index for index, sql in enumerate(statements) if "aggmaint_hash" in sql and SALES in sql]
    assert hashed
    assert max(hashed) < made


def test_one_scan_answers_several_granularities(session: SQLiteSession) -> None:
    """Without GROUPING SETS too: the tokens are those that each definition gets alone."""
    years = evolve(BY_MONTH, name="by_year", id="", partition=PartitionBy("day", "year"))
    quarters = evolve(BY_MONTH, name="by_quarter", id="", partition=PartitionBy("day", "quarter"))
    reading = session._file.reading
    wanted = [BY_MONTH, years, quarters]
    bound = {each.id: reading.bind(each) for each in wanted}
    together, broken = reading.tokens(wanted, bound, lambda _what: None)
    alone: dict[Any, Any] = {}
    for each in wanted:
        alone.update(reading.tokens([each], bound, lambda _what: None)[0])
    assert (together, broken) == (alone, {})
    assert {period.key for period, _ in together[years.id, ""]} == {"2024", "null"}


def test_a_tag_can_hold_what_ends_a_comment(bench: SQLiteBench) -> None:
    """An installation whose name ends a comment of SQL is one like any other."""
    schema = ManagedSchema("*/ DROP TABLE kit_sales /*", ACME, "agg_kit")
    session = bench.warehouse.open(schema)
    assert session.claim(Fence(1, 1), seen=session.observe([BY_MONTH], sick={}).control)
    session.build([REQUEST], at=NOON)
    tags = [each.tag for each in session.observe([BY_MONTH], sick={}).objects if each.tag is not None]
    session.close()
    assert [each.installation for each in tags] == [schema.installation]
    assert bench.run(f"SELECT COUNT(*) FROM {SALES}")[1] == [(len(BASE),)]


def test_a_database_that_is_not_in_wal_mode_is_refused_with_the_remedy(tmp_path: Path) -> None:
    from aggmaint.errors import WarehouseUnavailableError
    from tests.examples.sqlite_warehouse import SQLiteWarehouse

    sqlite3.connect(tmp_path / "plain.sqlite").execute("CREATE TABLE t (a)").connection.close()
    with pytest.raises(WarehouseUnavailableError, match="PRAGMA journal_mode = WAL"):
        SQLiteWarehouse(tmp_path / "plain.sqlite").open(ManagedSchema(KIT, ACME, "agg_kit"))
    with pytest.raises(WarehouseUnavailableError, match="does not exist"):
        SQLiteWarehouse(tmp_path / "gone.sqlite").open(ManagedSchema(KIT, ACME, "agg_kit"))
