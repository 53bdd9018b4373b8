"""The demo's data and configuration: TPC-H for two organisations, and changes to old months of one of them."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, Final

from ..config import CONFIG_NAME
from ..errors import ConfigurationError, MissingExtraError

ORGANIZATIONS: Final = ("acme", "globex")
TABLES: Final = ("customer", "orders", "lineitem")
MARKER: Final = ".aggmaint-demo"

CONFIGURATION: Final = """\
# Written by `aggmaint demo`. One template for both organisations: {org} stands for acme or globex.
installation = "demo"

[store]
sqlite = "aggmaint.db"

[warehouse]
duckdb = "warehouse.duckdb"

[organizations]
ids = ["acme", "globex"]

[sources.lineitem]
table = "{org}.lineitem"

[sources.orders]
table = "{org}.orders"

[sources.customer]
table = "{org}.customer"

[[aggregate]]
cube = "sales"
name = "revenue by month"
source = "lineitem"
attributes = [{ name = "month", expression = "date_trunc('month', l_shipdate)" }, "l_returnflag", "l_shipmode"]
measures = [
  { name = "revenue", function = "sum", expression = "l_extendedprice * (1 - l_discount)" },
  { name = "quantity", function = "sum", expression = "l_quantity" },
  { name = "lines", function = "count" },
]
partition = { expression = "l_shipdate", by = "month" }

[[aggregate]]
cube = "sales"
name = "orders by priority"
source = "orders"
attributes = ["o_orderpriority", "o_orderstatus"]
measures = [
  { name = "orders", function = "count" },
  { name = "customers", function = "count_distinct", expression = "o_custkey" },
  { name = "average price", function = "avg", expression = "o_totalprice" },
]
partition = { expression = "o_orderdate", by = "month" }

[[aggregate]]
cube = "sales"
name = "revenue by segment"
source = "lineitem"
joins = [
  { source = "orders", on = "orders.o_orderkey = lineitem.l_orderkey" },
  { source = "customer", on = "customer.c_custkey = orders.o_custkey" },
]
attributes = ["c_mktsegment"]
measures = [
  { name = "revenue", function = "sum", expression = "l_extendedprice * (1 - l_discount)" },
  { name = "largest line", function = "max", expression = "l_extendedprice" },
]
partition = { expression = "o_orderdate", by = "quarter" }

[[aggregate]]
cube = "customers"
name = "by segment"
source = "customer"
attributes = ["c_mktsegment"]
measures = [
  { name = "customers", function = "count" },
  { name = "balance", function = "sum", expression = "c_acctbal" },
]
"""


def make_directory(directory: Path) -> None:
    """An empty directory; one that an earlier demo left is emptied, anything else is refused."""
    if directory.exists() and not (directory / MARKER).exists() and any(directory.iterdir()):
        raise ConfigurationError(f"{directory} is not empty and no earlier demo's; give another one with --dir")
    if directory.exists():
        shutil.rmtree(directory)
    try:
        directory.mkdir(parents=True)
        (directory / MARKER).touch()
        (directory / CONFIG_NAME).write_text(CONFIGURATION, encoding="utf-8")
    except OSError as exc:
        raise ConfigurationError(f"{directory} can not be made: {exc}") from exc


def generate(directory: Path, scale: float) -> dict[str, int]:
    """TPC-H at `scale`, split by order and customer key over the organisations' schemas; rows by table."""
    parquet = directory / "tpch"
    _run_generator(parquet, scale)
    import duckdb

    with duckdb.connect(str(directory / "warehouse.duckdb")) as connection:
        for number, org in enumerate(ORGANIZATIONS):
            connection.execute(f"CREATE SCHEMA {org}")
            for table in TABLES:
                key = "l_orderkey" if table == "lineitem" else "o_orderkey" if table == "orders" else None
                mine = f" WHERE {key} % {len(ORGANIZATIONS)} = {number}" if key else ""
                connection.execute(
                    f"CREATE TABLE {org}.{table} AS SELECT * FROM read_parquet(?){mine}",
                    [str(parquet / f"{table}.parquet")],
                )
        counts = {table: _one(connection, f"SELECT count(*) FROM {ORGANIZATIONS[0]}.{table}") for table in TABLES}
    shutil.rmtree(parquet)
    return counts


def _run_generator(directory: Path, scale: float) -> None:
    scripts = sysconfig.get_path("scripts")
    program = shutil.which("tpchgen-cli", path=os.pathsep.join([scripts, os.environ.get("PATH", "")]))
    if program is None:
        raise MissingExtraError("tpchgen-cli", "demo")
    arguments = [program, "parquet", "-s", str(scale), "-o", str(directory), f"--tables={','.join(TABLES)}"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigurationError(f"tpchgen-cli failed at --scale {scale}: {done.stderr.strip()[-300:]}")


def _one(connection: Any, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0])


CHANGES: Final = (
    ("rows arrive late", "1993-04", 200),
    ("rows are corrected", "1995-11", 25),
    ("rows are deleted", "1996-02", 40),
)
"""What happens to line items: in words, the month of shipping, and how many rows."""


def change_old_months(directory: Path, org: str) -> dict[str, list[str]]:
    """Late rows, a correction and a deletion. The partitions that this must make stale, by aggregate."""
    import duckdb

    touched = [
        f"""(SELECT rowid FROM {org}.lineitem WHERE strftime(l_shipdate, '%Y-%m') = '{month}'
             ORDER BY l_orderkey, l_linenumber LIMIT {count})"""
        for _, month, count in CHANGES
    ]
    late, corrected, deleted = touched
    with duckdb.connect(str(directory / "warehouse.duckdb")) as connection:
        chosen = " UNION ALL ".join(touched)
        expected = {
            "sales.revenue by month": _keys(
                connection,
                f"""
                SELECT DISTINCT strftime(l_shipdate, '%Y-%m') FROM {org}.lineitem WHERE rowid IN ({chosen}) ORDER BY 1""",
            ),
            "sales.revenue by segment": _keys(
                connection,
                f"""
                SELECT DISTINCT year(o_orderdate) || '-Q' || quarter(o_orderdate) FROM {org}.lineitem
                JOIN {org}.orders ON o_orderkey = l_orderkey WHERE lineitem.rowid IN ({chosen}) ORDER BY 1""",
            ),
        }
        connection.execute("BEGIN")
        connection.execute(
            f"UPDATE {org}.lineitem SET l_extendedprice = l_extendedprice + 100 WHERE rowid IN {corrected}"
        )
        connection.execute(f"DELETE FROM {org}.lineitem WHERE rowid IN {deleted}")
        connection.execute(f"""
            INSERT INTO {org}.lineitem SELECT * REPLACE (l_linenumber + 100 AS l_linenumber)
            FROM {org}.lineitem WHERE rowid IN {late}""")
        connection.execute("COMMIT")
    return expected


def _keys(connection: Any, sql: str) -> list[str]:
    return [str(key) for (key,) in connection.execute(sql).fetchall()]


def drop_behind_its_back(directory: Path, schema: str, table: str) -> None:
    """What a careless person does: the aggregate's table is gone, its view still points to it."""
    import duckdb

    with duckdb.connect(str(directory / "warehouse.duckdb")) as connection:
        connection.execute(f'DROP TABLE "{schema}"."{table}"')
