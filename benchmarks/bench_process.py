"""Whole processes: `aggmaint run` against a script that runs the SQL written by hand, paired (P9 to P11 of the goals).

Each side has a DuckDB file of its own with TPC-H's lineitem, generated at run time, and keeps the four rollups of
bench_aggregates.py. In each round both get the same change, and then one process each, in turn; what is told is the
median of the ratios of the pairs, of CPU time (user and system, all threads) and of wall time.

    python benchmarks/bench_process.py [--scale 1] [--rounds 7] [--only nothing,refresh,build]

nothing   nothing to do. By hand: one scan that hashes the columns that the four read, compared with the last one; where
          `updated_at` is declared: is there a row beyond the newest one that was seen. target: at most 3 x
refresh   1 % new rows in three months. By hand: DELETE + INSERT of these months in one transaction for each rollup, with a
          control row and a ledger, by someone who knows the months. target: at most 1.4 x
build     all four, and a view each. target: at most 1.15 x
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb

BY_HAND = """
import json, sys, duckdb
HASH = "SELECT COUNT(*), SUM(HASH(l_shipdate, l_returnflag, l_extendedprice, l_quantity, l_partkey)) FROM lineitem"
MONTHS = ("1993-04-01", "1995-11-01", "1997-02-01")
MONTH = "CAST(date_trunc('month', l_shipdate) AS DATE) AS month"
ROLLUPS = {
    "flags": f"SELECT {MONTH}, l_returnflag, sum(l_extendedprice) AS revenue, sum(l_quantity) AS quantity, count(*) AS n "
             "FROM lineitem{where} GROUP BY 1, 2",
    "parts": f"SELECT {MONTH}, l_shipdate, l_partkey, sum(l_quantity) AS quantity, count(*) AS n "
             "FROM lineitem{where} GROUP BY 1, 2, 3",
    "lines": f"SELECT {MONTH}, count(*) AS n FROM lineitem{{where}} GROUP BY 1",
    "distinct": f"SELECT {MONTH}, l_returnflag, count(DISTINCT l_partkey) AS parts FROM lineitem{{where}} GROUP BY 1, 2",
}
what = sys.argv[1]
con = duckdb.connect("hand.duckdb")
run = con.execute
if what == "nothing":
    now = [str(value) for value in run(HASH).fetchone()]
    print("nothing to do" if now == json.load(open("seen.json")) else "changed")
elif what == "declared":
    newest = json.load(open("newest.json"))
    changed = run("SELECT EXISTS (SELECT 1 FROM lineitem WHERE l_updated_at > CAST($m AS TIMESTAMP))", {"m": newest})
    print("changed" if changed.fetchone()[0] else "nothing to do")
elif what == "note":
    json.dump([str(value) for value in run(HASH).fetchone()], open("seen.json", "w"))
    json.dump(run("SELECT CAST(MAX(l_updated_at) AS VARCHAR) FROM lineitem").fetchone()[0], open("newest.json", "w"))
elif what == "build":
    run("CREATE SCHEMA IF NOT EXISTS manual")
    run("CREATE OR REPLACE TABLE manual.control AS SELECT 1 AS fence, 0 AS touch")
    run("CREATE OR REPLACE TABLE manual.ledger (name VARCHAR, month DATE, n BIGINT, published TIMESTAMP)")
    for name, query in ROLLUPS.items():
        run(f"CREATE TABLE manual.{name} AS {query.format(where='')}")
        run(f"CREATE VIEW manual.{name}_view AS SELECT * FROM manual.{name}")
elif what == "refresh":
    chosen = ", ".join(f"DATE '{month}'" for month in MONTHS)
    rows = " OR ".join(f"(l_shipdate >= DATE '{m}' AND l_shipdate < DATE '{m}' + INTERVAL 1 MONTH)" for m in MONTHS)
    for name, query in ROLLUPS.items():
        run("BEGIN")
        run("UPDATE manual.control SET fence = fence, touch = touch + 1 WHERE fence = 1")
        run(f"DELETE FROM manual.{name} WHERE month IN ({chosen})")
        run(f"INSERT INTO manual.{name} {query.format(where=f' WHERE {rows}')}")
        run(f"DELETE FROM manual.ledger WHERE name = '{name}' AND month IN ({chosen})")
        run(f"INSERT INTO manual.ledger SELECT '{name}', month, COUNT(*), now()::TIMESTAMP FROM manual.{name} "
            f"WHERE month IN ({chosen}) GROUP BY month")
        run("COMMIT")
con.close()
"""

CONFIG = """
[warehouse]
duckdb = "ours.duckdb"
[organizations]
ids = ["acme"]
[policy]
retired_grace_s = 0
[sources.lineitem]
table = "lineitem"
{declared}
[[aggregate]]
cube = "tpch"
name = "flags"
source = "lineitem"
attributes = ["l_returnflag"]
measures = [
  {{ name = "revenue", function = "sum", expression = "l_extendedprice" }},
  {{ name = "quantity", function = "sum", expression = "l_quantity" }},
  {{ name = "n", function = "count" }},
]
partition = {{ expression = "l_shipdate", by = "month" }}
[[aggregate]]
cube = "tpch"
name = "parts"
source = "lineitem"
attributes = ["l_shipdate", "l_partkey"]
measures = [
  {{ name = "quantity", function = "sum", expression = "l_quantity" }},
  {{ name = "n", function = "count" }},
]
partition = {{ expression = "l_shipdate", by = "month" }}
[[aggregate]]
cube = "tpch"
name = "lines"
source = "lineitem"
measures = [{{ name = "n", function = "count" }}]
partition = {{ expression = "l_shipdate", by = "month" }}
[[aggregate]]
cube = "tpch"
name = "distinct"
source = "lineitem"
attributes = ["l_returnflag"]
measures = [{{ name = "parts", function = "count_distinct", expression = "l_partkey" }}]
partition = {{ expression = "l_shipdate", by = "month" }}
"""
DECLARED = 'updated_at = "l_updated_at"\ndeletes = "none"\n'
GROW = (
    "INSERT INTO lineitem SELECT * REPLACE (now()::TIMESTAMP + INTERVAL (row_number() OVER ()) MICROSECOND AS "
    "l_updated_at) FROM lineitem WHERE date_trunc('month', l_shipdate) IN (DATE '1993-04-01', DATE '1995-11-01', "
    "DATE '1997-02-01') LIMIT {rows}"
)
Cost = tuple[float, float]
"""CPU and wall milliseconds of a process."""


class Bench:
    """A directory with both files and both programs."""

    def __init__(self, place: Path, scale: float, rounds: int) -> None:
        self.place = place
        self.rounds = rounds
        self._environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        (place / "hand.py").write_text(BY_HAND, encoding="utf-8")
        program = shutil.which("tpchgen-cli", path=sysconfig.get_path("scripts")) or "tpchgen-cli"
        target = place / "tpch"
        subprocess.run([program, "parquet", "-s", str(scale), "-o", str(target), "--tables=lineitem"], check=True)
        with duckdb.connect(str(place / "hand.duckdb")) as connection:
            connection.execute(
                "CREATE TABLE lineitem AS SELECT *, TIMESTAMP '2020-01-01' + INTERVAL (file_row_number) MICROSECOND AS "
                f"l_updated_at FROM read_parquet('{target}/lineitem.parquet', file_row_number = true)"
            )
            self.rows = connection.execute("SELECT COUNT(*) FROM lineitem").fetchall()[0][0] // 100
        shutil.rmtree(target)
        shutil.copy(place / "hand.duckdb", place / "ours.duckdb")

    def declare(self, declared: bool) -> None:
        text = CONFIG.format(declared=DECLARED if declared else "")
        (self.place / "aggmaint.toml").write_text(text, encoding="utf-8")

    def sql(self, file: str, *statements: str) -> None:
        with duckdb.connect(str(self.place / file)) as connection:
            for sql in statements:
                connection.execute(sql)

    def forget(self) -> None:
        """Both as if nothing had been built."""
        self.sql("hand.duckdb", "DROP SCHEMA IF EXISTS manual CASCADE", "CHECKPOINT")
        with duckdb.connect(str(self.place / "ours.duckdb")) as connection:
            named = "SELECT schema_name FROM duckdb_schemas() WHERE schema_name LIKE 'agg\\_%' ESCAPE '\\'"
            for (name,) in connection.execute(named).fetchall():
                connection.execute(f'DROP SCHEMA "{name}" CASCADE')
            connection.execute("CHECKPOINT")
        for path in self.place.glob("aggmaint.db*"):
            path.unlink()

    def ours(self, words: str) -> Cost:
        return self._process([sys.executable, "-m", "aggmaint", "run", "acme"], words)

    def hand(self, what: str, words: str = "") -> Cost:
        return self._process([sys.executable, "hand.py", what], words)

    def _process(self, command: Sequence[str], words: str) -> Cost:
        before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, cwd=self.place, env=self._environment, capture_output=True, text=True)
        wall = time.perf_counter() - wall
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0 and words in done.stdout, (command, done.stdout, done.stderr)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return cpu * 1e3, wall * 1e3

    def paired(self, what: str, target: str, prepare: Callable[[], None], ours: str, hand: tuple[str, str]) -> None:
        """Rounds of both, in turn; which goes first alternates."""
        pairs: list[tuple[Cost, Cost]] = []
        for number in range(self.rounds):
            prepare()
            if number % 2:
                theirs = self.hand(*hand)
                pairs.append((self.ours(ours), theirs))
            else:
                mine = self.ours(ours)
                pairs.append((mine, self.hand(*hand)))
        cpu, wall = (statistics.median(a[side] / b[side] for a, b in pairs) for side in (0, 1))
        (our_cpu, our_wall), (their_cpu, their_wall) = (
            [statistics.median(pair[who][side] for pair in pairs) for side in (0, 1)] for who in (0, 1)
        )
        print(
            f"{what:28} ours {our_cpu:6.0f} CPU ms {our_wall:6.0f} wall | by hand {their_cpu:6.0f} {their_wall:6.0f} | "
            f"CPU x {cpu:.2f}, wall x {wall:.2f} (target {target})",
            flush=True,
        )


def _still() -> None:
    return


def nothing(bench: Bench) -> None:
    for declared in (False, True):
        bench.declare(declared)
        bench.forget()
        bench.ours("4 built")
        bench.hand("note")
        for _ in range(2):
            bench.ours("nothing to do")
        what = "declared" if declared else "nothing"
        bench.paired(f"nothing to do, {what}", "3", _still, "nothing to do", (what, "nothing to do"))


def refresh(bench: Bench) -> None:
    for declared in (True, False):
        bench.declare(declared)
        bench.forget()
        bench.ours("4 built")
        bench.hand("build")

        def grow() -> None:
            for file in ("hand.duckdb", "ours.duckdb"):
                bench.sql(file, GROW.format(rows=bench.rows), "CHECKPOINT")

        what = "declared" if declared else "plain"
        bench.paired(f"refresh of three months, {what}", "1.4", grow, "4 refreshed", ("refresh", ""))


def build(bench: Bench) -> None:
    bench.declare(False)
    bench.paired("full build of four", "1.15", bench.forget, "4 built", ("build", ""))


def main() -> None:
    parser = argparse.ArgumentParser(description="see the file's first lines")
    parser.add_argument("--scale", type=float, default=1.0, help="TPC-H scale factor (1: six million lines)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="nothing,refresh,build")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), given.scale, given.rounds)
        for name, part in (("nothing", nothing), ("refresh", refresh), ("build", build)):
            if name in given.only.split(","):
                part(bench)


if __name__ == "__main__":
    main()
