"""A directory with orders.parquet and an aggmaint.toml, and ways to run the command on it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

CONFIGURATION = """
[warehouse]
duckdb = "warehouse.duckdb"
[organizations]
ids = ["acme"]
[sources.orders]
file = "orders.parquet"
[[aggregate]]
cube = "sales"
name = "orders by month"
source = "orders"
attributes = [{ name = "month", expression = "date_trunc('month', order_date)" }, "status"]
measures = [
  { name = "orders", function = "count" },
  { name = "revenue", function = "sum", expression = "price * quantity" },
]
partition = { expression = "order_date", by = "month" }
[jobs]
lease_s = 2
heartbeat_s = 0.4
deadline_s = 600
"""

SLOW_RUN = Path(__file__).with_name("slow_run.py")
TIMEOUT_S = 60


def wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"waited {TIMEOUT_S} s for: {what}"
        time.sleep(0.01)


@frozen
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Place:
    """A working directory for the command. `run` is `aggmaint …` in a process of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._children: list[subprocess.Popen[str]] = []

    def write_config(self, text: str = CONFIGURATION) -> None:
        (self.path / "aggmaint.toml").write_text(text, encoding="utf-8")

    def write_orders(self, change: str = "") -> None:
        """200 days of orders from 2024-01-01 on; `change` is SQL on the table `orders`."""
        import duckdb

        with duckdb.connect() as connection:
            connection.execute("""
                CREATE TABLE orders AS SELECT DATE '2024-01-01' + INTERVAL (n) DAY AS order_date,
                ['new', 'paid'][1 + n % 2] AS status, CAST(n AS DECIMAL(9, 2)) AS price, 1 + n % 3 AS quantity
                FROM range(200) AS numbers(n)""")
            if change:
                connection.execute(change)
            connection.execute(f"COPY orders TO '{self.path / 'orders.parquet'}'")

    def run(self, *arguments: str, **environment: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "aggmaint", *arguments],
            cwd=self.path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells start background jobs without it
        )
        self._children.append(child)
        return child

    def start_slow_run(self) -> "subprocess.Popen[str]":
        """`aggmaint run` that holds the warehouse and waits until `open_gate`."""
        child = self.start(str(SLOW_RUN), str(self.path / "gate"), "run", "acme")
        reached = self.path / "gate.reached"
        wait_until(lambda: reached.exists() or child.poll() is not None, "the run to open the warehouse")
        assert child.poll() is None, child.communicate()
        return child

    def open_gate(self) -> None:
        (self.path / "gate").touch()

    def query(self, sql: str) -> list[Any]:
        import duckdb

        with duckdb.connect(str(self.path / "warehouse.duckdb"), read_only=True) as connection:
            rows: list[Any] = connection.execute(sql).fetchall()
        return rows

    def end(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.communicate()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    place.write_config()
    place.write_orders()
    yield place
    place.end()
