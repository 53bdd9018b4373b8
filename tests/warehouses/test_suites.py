"""The warehouses of aggmaint keep the promises of their port."""

from aggmaint.testing.warehouse_suite import WarehouseSuite
from tests.examples.sqlite_warehouse.bench import SQLiteBench

from .benches import make_duckdb, make_memory


class TestMemoryWarehouse(WarehouseSuite):
    factory = staticmethod(make_memory)


class TestDuckDBWarehouse(WarehouseSuite):
    factory = staticmethod(make_duckdb)


class TestSQLiteWarehouse(WarehouseSuite):
    """The one of the how-to."""

    factory = staticmethod(SQLiteBench)
