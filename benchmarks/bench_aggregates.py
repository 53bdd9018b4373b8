"""Aggregate maintenance on DuckDB against SQL written by hand, paired in one process (P9 to P12 of the goals).

TPC-H is generated at run time (tpchgen-cli, of the `demo` extra). Four rollups over lineitem, partitioned by month of
shipping: by flag (sums), by day and part (nearly as many rows as lineitem), by month alone, and distinct parts by flag.

    python benchmarks/bench_aggregates.py [--scale 1] [--rounds 5] [--tenants 1000] [--only nothing,refresh,…]

nothing   a run with nothing to do, against one scan that hashes the five columns that the four read.
          target: CPU at most 1.3 x; at most 5 ms where `updated_at` is declared
refresh   1 % new rows in three months, found and refreshed, against DELETE + INSERT in a transaction with a control row
          and a ledger, by someone who knows the months. target: at most 1.2 x where `updated_at` is declared
build     all four built and switched, against CREATE TABLE AS and CREATE VIEW. target: at most 1.05 x + 5 ms
additive  1 % new rows, in all months, of an append-only source, into rollups of millions of rows: merged, against the same
          guarded DELETE + INSERT. target: at most 0.25 x. Beside it: what computing anew costs us
tenants   a whole round over organisations with three small aggregates each. target: at most 4 ms each with nothing to do
"""

import argparse
import shutil
import statistics
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from attrs import evolve

from aggmaint import MaintenanceEngine
from aggmaint.aggregates.model import AggregateDefinition, Attribute, Measure, PartitionBy, Source
from aggmaint.aggregates.naming import schema_name
from aggmaint.aggregates.policy import Policy
from aggmaint.maintenance import AggregateMaintenance
from aggmaint.stores.memory import MemoryStore
from aggmaint.warehouses.duckdb import DuckDBWarehouse

MONTHS = ("1993-04-01", "1995-11-01", "1997-02-01")
HASH = "SELECT COUNT(*), SUM(HASH(l_shipdate, l_returnflag, l_extendedprice, l_quantity, l_partkey)) FROM lineitem"
PLAIN: dict[str, Any] = {"table": "lineitem"}
UPDATED: dict[str, Any] = {**PLAIN, "updated_at": "l_updated_at", "deletes": "none"}
MONTH = "CAST(date_trunc('month', l_shipdate) AS DATE) AS month"
BY_HAND = {
    "flags": f"SELECT {MONTH}, l_returnflag, sum(l_extendedprice) AS revenue, sum(l_quantity) AS quantity, count(*) AS n "
    "FROM lineitem{where} GROUP BY 1, 2",
    "parts": f"SELECT {MONTH}, l_shipdate, l_partkey, sum(l_quantity) AS quantity, count(*) AS n "
    "FROM lineitem{where} GROUP BY 1, 2, 3",
    "lines": f"SELECT {MONTH}, count(*) AS n FROM lineitem{{where}} GROUP BY 1",
    "distinct": f"SELECT {MONTH}, l_returnflag, count(DISTINCT l_partkey) AS parts FROM lineitem{{where}} GROUP BY 1, 2",
}
Cost = tuple[float, float]
"""CPU and wall milliseconds."""


def definitions(org: str, source: dict[str, Any], names: Sequence[str] = tuple(BY_HAND)) -> list[AggregateDefinition]:
    revenue, n = Measure("revenue", "sum", "l_extendedprice"), Measure("n", "count")
    quantity = Measure("quantity", "sum", "l_quantity")
    parts: dict[str, tuple[list[str], list[Measure]]] = {
        "flags": (["l_returnflag"], [revenue, quantity, n]),
        "parts": (["l_shipdate", "l_partkey"], [quantity, n]),
        "lines": ([], [n]),
        "distinct": (["l_returnflag"], [Measure("parts", "count_distinct", "l_partkey")]),
    }
    return [
        AggregateDefinition(
            organization_id=org,
            cube="tpch",
            name=name,
            source=Source(**source),
            attributes=[Attribute(each) for each in parts[name][0]],
            measures=parts[name][1],
            partition=PartitionBy("l_shipdate", "month"),
        )
        for name in names
    ]


class Bench:
    """One database with lineitem, and an engine whose organisations take their definitions from `wanted`."""

    def __init__(self, directory: Path, scale: float, rounds: int) -> None:
        self.rounds = rounds
        self.connection = duckdb.connect(str(directory / "bench.duckdb"))
        self.wanted: dict[str, Sequence[AggregateDefinition]] = {}
        self.policy = Policy(retired_grace_s=0)
        task = AggregateMaintenance(
            definitions=lambda org: self.wanted[org],
            warehouse_for=lambda _org: self.warehouse,
            policy=lambda _org: self.policy,
        )
        self.warehouse = DuckDBWarehouse(connection=self.connection)
        self.engine = MaintenanceEngine(store=MemoryStore(), task=task, scheduler=None, executor=None)
        if scale:
            self._load(directory, scale)

    def _load(self, directory: Path, scale: float) -> None:
        program = shutil.which("tpchgen-cli", path=sysconfig.get_path("scripts")) or "tpchgen-cli"
        target = directory / "tpch"
        subprocess.run([program, "parquet", "-s", str(scale), "-o", str(target), "--tables=lineitem"], check=True)
        self.sql(
            "CREATE TABLE lineitem AS SELECT *, TIMESTAMP '2020-01-01' + INTERVAL (file_row_number) MICROSECOND AS "
            f"l_updated_at FROM read_parquet('{target}/lineitem.parquet', file_row_number = true)"
        )
        shutil.rmtree(target)

    def sql(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()

    def add(self, org: str, wanted: Sequence[AggregateDefinition]) -> None:
        self.wanted[org] = wanted
        self.engine.register_organizations([org])

    def run(self, org: str, summary: str | None = None) -> Cost:
        """One job, from the request to its end. `summary`: what it must have done."""

        def job() -> None:
            self.engine.run_immediately(org)

        cost = timed(job)
        report = self.engine.list_jobs(org, limit=1).jobs[0]
        done = (self.engine.get_job(org, report.id).report or {}).get("summary", report.error)
        assert summary is None or summary in str(done), done
        return cost

    def grow(self, share: float = 0.01) -> None:
        """New rows in three months: together `share` of the table."""
        chosen = ", ".join(f"DATE '{month}'" for month in MONTHS)
        rows = int(self.sql("SELECT COUNT(*) FROM lineitem")[0][0] * share)
        self.sql(
            "INSERT INTO lineitem SELECT * REPLACE (now()::TIMESTAMP + INTERVAL (row_number() OVER ()) MICROSECOND AS "
            f"l_updated_at) FROM lineitem WHERE date_trunc('month', l_shipdate) IN ({chosen}) LIMIT {rows}"
        )

    def append(self, share: float = 0.01) -> None:
        """New rows in all months: together `share` of the table."""
        self.sql(
            "INSERT INTO lineitem SELECT * EXCLUDE (mark) REPLACE (mark + INTERVAL (row_number() OVER ()) MICROSECOND "
            "AS l_updated_at) FROM lineitem, (SELECT MAX(l_updated_at) AS mark FROM lineitem) "
            f"WHERE HASH(l_updated_at, mark) % 10000 < {share * 10000}"
        )

    def reasons(self, org: str) -> set[str]:
        """Why partitions were refreshed by the organisation's last job."""
        report = self.engine.get_job(org, self.engine.list_jobs(org, limit=1).jobs[0].id).report or {}
        decisions = report["details"]["decisions"]
        return {each["reason"] for each in decisions if each["subject"] == "partition" and each["action"] == "refresh"}


def timed(work: Callable[[], Any]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3


def told(what: str, ours: Sequence[Cost], theirs: Sequence[Cost], target: str) -> None:
    (our_cpu, our_wall), (their_cpu, their_wall) = middle(ours), middle(theirs)
    ratio = statistics.median(a[0] / b[0] for a, b in zip(ours, theirs, strict=True))
    walls = statistics.median(a[1] / b[1] for a, b in zip(ours, theirs, strict=True))
    print(
        f"{what:34} ours {our_cpu:7.1f} CPU ms {our_wall:7.1f} wall | by hand {their_cpu:7.1f} {their_wall:7.1f} | "
        f"CPU x {ratio:.2f}, wall x {walls:.2f} (target {target})",
        flush=True,
    )


def middle(costs: Sequence[Cost]) -> Cost:
    return statistics.median(cpu for cpu, _ in costs), statistics.median(wall for _, wall in costs)


def nothing(bench: Bench) -> None:
    for name, source in (("plain", PLAIN), ("updated", UPDATED)):
        bench.add(name, definitions(name, source))
        for summary in ("4 built", "nothing to do", "nothing to do"):
            bench.run(name, summary)
        ours, scan = [], []
        for _ in range(bench.rounds):
            ours.append(bench.run(name, "nothing to do"))
            scan.append(timed(lambda: bench.sql(HASH)))
        target = "1.3" if name == "plain" else "5 ms"
        told(f"nothing to do, {name}", ours, scan, target)
        bench.sql(f'DROP SCHEMA "{schema_name(name)}" CASCADE')


class ByHand:
    """The four rollups as someone would keep them: a table and a view each, a control row, a ledger row per month."""

    def __init__(self, bench: Bench) -> None:
        self._sql = bench.sql
        self._sql("CREATE SCHEMA IF NOT EXISTS hand")
        self._sql("CREATE OR REPLACE TABLE hand.control AS SELECT 1 AS fence, 0 AS touch")
        self._sql("CREATE OR REPLACE TABLE hand.ledger (name VARCHAR, month DATE, n BIGINT, published TIMESTAMP)")

    def build(self) -> None:
        for name, query in BY_HAND.items():
            self._sql(f"CREATE OR REPLACE TABLE hand.{name} AS {query.format(where='')}")
            self._sql(f"CREATE OR REPLACE VIEW hand.{name}_view AS SELECT * FROM hand.{name}")

    def refresh(self, names: Sequence[str] = tuple(BY_HAND)) -> None:
        chosen = ", ".join(f"DATE '{month}'" for month in MONTHS)
        rows = " OR ".join(
            f"(l_shipdate >= DATE '{month}' AND l_shipdate < DATE '{month}' + INTERVAL 1 MONTH)" for month in MONTHS
        )
        for name in names:
            self._sql("BEGIN")
            self._sql("UPDATE hand.control SET fence = fence, touch = touch + 1 WHERE fence = 1")
            self._sql(f"DELETE FROM hand.{name} WHERE month IN ({chosen})")
            self._sql(f"INSERT INTO hand.{name} {BY_HAND[name].format(where=f' WHERE {rows}')}")
            self._sql(f"DELETE FROM hand.ledger WHERE name = '{name}' AND month IN ({chosen})")
            self._sql(
                f"INSERT INTO hand.ledger SELECT '{name}', month, COUNT(*), now()::TIMESTAMP FROM hand.{name} "
                f"WHERE month IN ({chosen}) GROUP BY month"
            )
            self._sql("COMMIT")


def refresh(bench: Bench) -> None:
    hand = ByHand(bench)
    hand.build()
    for name, source in (("updated", UPDATED), ("plain", PLAIN)):
        bench.add(f"r{name}", definitions(f"r{name}", source))
        bench.run(f"r{name}", "4 built")
        ours, theirs = [], []
        for _ in range(bench.rounds):
            bench.grow()
            ours.append(bench.run(f"r{name}", "4 refreshed"))
            theirs.append(timed(hand.refresh))
        told(f"refresh of three months, {name}", ours, theirs, "1.2")
        bench.sql(f'DROP SCHEMA "{schema_name(f"r{name}")}" CASCADE')


APPENDED: dict[str, Any] = {**PLAIN, "append_only": "l_updated_at", "marks_commit_in_order": True}
LARGE: dict[str, PartitionBy | None] = {"whole": None, "by month": PartitionBy("l_shipdate", "month")}
BY_DAY_AND_PART = (
    "SELECT {month}l_shipdate, l_partkey, sum(l_quantity) AS quantity, count(*) AS n FROM lineitem GROUP BY ALL"
)


def additive(bench: Bench) -> None:
    """Rollups by day and part, nearly as large as lineitem: in one piece, and by month."""
    for name, partition in LARGE.items():
        definition = evolve(definitions(name, APPENDED, ["parts"])[0], partition=partition)
        query = BY_DAY_AND_PART.format(month=f"{MONTH}, " if partition else "")
        bench.sql(f"CREATE SCHEMA IF NOT EXISTS hand; CREATE OR REPLACE TABLE hand.large AS {query}")
        bench.sql("CREATE OR REPLACE TABLE hand.control AS SELECT 1 AS fence, 0 AS touch")
        costs: dict[str, list[Cost]] = {"merged": [], "computed anew": [], "by hand": []}
        policies = {"merged": Policy(retired_grace_s=0), "computed anew": Policy(merge_rows_min=10**12)}
        for way in policies:
            bench.add(f"{name} {way}", [evolve(definition, organization_id=f"{name} {way}")])
            bench.run(f"{name} {way}", "1 built")
        for _ in range(bench.rounds):
            bench.append()
            for way, policy in policies.items():
                bench.policy = policy
                costs[way].append(bench.run(f"{name} {way}", "1 refreshed"))
                told_reason = bench.reasons(f"{name} {way}")
                assert told_reason == {"partition_merged" if way == "merged" else "partition_merge_small"}, told_reason
            costs["by hand"].append(timed(partial(by_hand_all, bench, query)))
        for way in policies:
            told(f"1 % appended, {name}, {way}", costs[way], costs["by hand"], "0.25" if way == "merged" else "-")
            bench.sql(f'DROP SCHEMA "{schema_name(f"{name} {way}")}" CASCADE')


def by_hand_all(bench: Bench, query: str) -> None:
    for statement in (
        "BEGIN",
        "UPDATE hand.control SET fence = fence, touch = touch + 1 WHERE fence = 1",
        "DELETE FROM hand.large",
        f"INSERT INTO hand.large {query}",
        "COMMIT",
    ):
        bench.sql(statement)


def build(bench: Bench) -> None:
    hand = ByHand(bench)
    ours, theirs = [], []
    for number in range(bench.rounds):
        org = f"b{number}"
        bench.add(org, definitions(org, PLAIN))
        ours.append(bench.run(org, "4 built"))
        bench.sql(f'DROP SCHEMA "{schema_name(org)}" CASCADE')
        theirs.append(timed(hand.build))
    told("full build of four", ours[1:] or ours, theirs[1:] or theirs, "1.05 + 5 ms")


def small(org: str) -> list[AggregateDefinition]:
    shared: dict[str, Any] = {
        "organization_id": org,
        "cube": "sales",
        "source": Source(table="sales", where="tenant = :org"),
        "measures": [Measure("amount", "sum", "amount"), Measure("n", "count")],
    }
    return [
        AggregateDefinition(**shared, name="by month", partition=PartitionBy("day", "month")),
        AggregateDefinition(
            **shared, name="by shop", attributes=[Attribute("shop")], partition=PartitionBy("day", "quarter")
        ),
        AggregateDefinition(**shared, name="totals"),
    ]


def tenants(bench: Bench, count: int) -> None:
    bench.sql(
        "CREATE TABLE sales AS SELECT 'org' || (i % 1000) AS tenant, DATE '2024-01-01' + CAST(i % 365 AS INTEGER) AS day, "
        f"'shop' || (i % 7) AS shop, CAST(i % 97 AS DECIMAL(12, 2)) AS amount FROM range({count * 200}) AS r(i) "
        "ORDER BY tenant"
    )
    orgs = [f"org{number}" for number in range(count)]
    for org in orgs:
        bench.add(org, small(org))
    first = timed(lambda: [bench.run(org) for org in orgs])
    print(f"tenants: first build {first[0] / count:.2f} CPU ms, {first[1] / count:.2f} wall ms each")
    for _ in range(2):
        cpu, wall = timed(lambda: [bench.run(org, "nothing to do") for org in orgs])
        print(
            f"tenants: nothing to do {cpu / count:.2f} CPU ms, {wall / count:.2f} wall ms each (target 4)", flush=True
        )


@contextmanager
def opened(scale: float, rounds: int) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), scale, rounds)
        try:
            yield bench
        finally:
            bench.connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="see the file's first lines")
    parser.add_argument("--scale", type=float, default=1.0, help="TPC-H scale factor (1: six million lines)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--only", default="nothing,refresh,additive,build,tenants")
    given = parser.parse_args()
    chosen = given.only.split(",")
    with opened(given.scale if chosen != ["tenants"] else 0, given.rounds) as bench:
        for name, part in (("nothing", nothing), ("refresh", refresh), ("additive", additive), ("build", build)):
            if name in chosen:
                part(bench)
    if "tenants" in chosen:
        with opened(0, given.rounds) as bench:
            tenants(bench, given.tenants)


if __name__ == "__main__":
    main()
