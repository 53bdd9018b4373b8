"""start → no-op → done on SQLite (FULL), one caller, against raw SQL that does the same two fenced transactions.

Paired: blocks of jobs in turn on the same directory, medians of the blocks' rates. Target: ours at least 0.7 of raw.

    python benchmarks/bench_jobs.py [blocks] [jobs in a block] [directory]
"""

import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from aggmaint import MaintenanceEngine, MaintenanceReport, TaskContext
from aggmaint.stores.sqlite import SQLiteStore

RAW_TABLES = """
CREATE TABLE org(id TEXT PRIMARY KEY, revision INTEGER NOT NULL, fence INTEGER NOT NULL, job TEXT, until_s REAL);
CREATE TABLE job(org TEXT, fence INTEGER, id TEXT UNIQUE, status TEXT, started REAL, ended REAL, report TEXT,
  PRIMARY KEY(org, fence)) WITHOUT ROWID;
CREATE UNIQUE INDEX one ON job(org) WHERE status = 'inprogress';
INSERT INTO org VALUES('acme', 1, 0, NULL, NULL);
"""


class NoOp:
    def run(self, context: TaskContext) -> MaintenanceReport:  # noqa: ARG002 - the port gives it
        return MaintenanceReport(complete=True)


class Raw:
    """The least that keeps the promise: a grant and an end, each compared with the revision in one transaction."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(RAW_TABLES)

    def job(self) -> None:
        execute, job_id = self._connection.execute, str(uuid4())
        execute("BEGIN IMMEDIATE")
        revision, fence = execute("SELECT revision, fence FROM org WHERE id = 'acme' AND job IS NULL").fetchone()
        self._update("revision = revision + 1, fence = fence + 1, job = ?, until_s = ?", job_id, time.time(), revision)
        execute("INSERT INTO job VALUES('acme', ?, ?, 'inprogress', ?, NULL, NULL)", (fence + 1, job_id, time.time()))
        execute("COMMIT")
        execute("BEGIN IMMEDIATE")
        (revision,) = execute("SELECT revision FROM org WHERE id = 'acme' AND job = ?", (job_id,)).fetchone()
        self._update("revision = revision + 1, job = NULL, until_s = NULL", revision)
        execute(
            "UPDATE job SET status = 'done', ended = ?, report = '{}' WHERE org = 'acme' AND fence = ?",
            (time.time(), fence + 1),
        )
        execute("COMMIT")

    def _update(self, changes: str, *values: object) -> None:
        done = self._connection.execute(f"UPDATE org SET {changes} WHERE id = 'acme' AND revision = ?", values)
        assert done.rowcount == 1

    def close(self) -> None:
        self._connection.close()


def main(blocks: int, jobs: int, directory: Path) -> None:
    store, raw = SQLiteStore(directory / "jobs.db"), Raw(directory / "raw.db")
    engine = MaintenanceEngine(store=store, task=NoOp(), scheduler=None, executor=None)
    engine.register_organizations(["acme"])
    sides = {"aggmaint": lambda: engine.run_immediately("acme"), "raw": raw.job}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(blocks + 1):
        for name, run in sides.items():
            began = time.perf_counter()
            for _ in range(jobs):
                run()
            rates[name].append(jobs / (time.perf_counter() - began))
    ours, theirs = (statistics.median(rates[name][1:]) for name in sides)  # the first block warms up
    print(f"aggmaint {ours:.0f} jobs/s · raw {theirs:.0f} jobs/s · {blocks} blocks of {jobs}, synchronous=FULL")
    print(f"ratio {ours / theirs:.2f} (target >= 0.7)")
    engine.close()
    store.close()
    raw.close()


if __name__ == "__main__":
    blocks, jobs, place = [*sys.argv[1:], *("15", "200", tempfile.gettempdir())[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory(dir=place) as directory:
        main(int(blocks), int(jobs), Path(directory))
