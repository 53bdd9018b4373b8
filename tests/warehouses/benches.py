"""The warehouses of aggmaint on benches, for the kit: factories of `WarehouseSuite`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import local
from typing import Any

import duckdb

from aggmaint.testing.warehouse_bench import MemoryBench, SqlBench
from aggmaint.warehouses.duckdb import DuckDBOptions, DuckDBWarehouse


def make_memory(_location: str) -> MemoryBench:
    return MemoryBench()


def make_duckdb(location: str) -> SqlBench:
    """A file in the location, opened by the host; each thread of the test has a cursor of its own."""
    connection = duckdb.connect(str(Path(location) / "kit.duckdb"), config={"threads": "1"})
    cursors = local()
    watcher: list[Callable[[str], None]] = [lambda _sql: None]

    def run(sql: str) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        if not hasattr(cursors, "own"):
            cursors.own = connection.cursor()
        answer = cursors.own.execute(sql)
        return [each[0] for each in answer.description or ()], answer.fetchall()

    def watching(before: Callable[[str], None]) -> None:
        watcher[0] = before

    options = DuckDBOptions(on_statement=lambda sql: watcher[0](sql), pause=lambda _seconds: None)
    warehouse = DuckDBWarehouse(connection=connection, options=options)
    return SqlBench(warehouse, run, watching=watching, closing=connection.close)
