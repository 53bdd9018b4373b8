"""One tick: idle at 1,000 and at 100,000 organisations, side by side; then 100,000 slots due at 04:00 on SQLite, FULL.

`python benchmarks/bench_tick.py [ORGANISATIONS]`. Targets: idle within 2 × of a hundredth of the organisations; due slots
noticed at 8,000 a second or more; then all are claimed in order, as places become free.
"""

import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from aggmaint import MaintenanceEngine, MaintenanceReport, TaskContext
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import ManualClock

EVENING = datetime(2026, 11, 24, 20, tzinfo=UTC)
FOUR = datetime(2026, 11, 25, 4, tzinfo=UTC)


class NoOp:
    def run(self, context: TaskContext) -> MaintenanceReport:
        return MaintenanceReport(complete=True, summary=context.org_id)


def make(directory: Path, organizations: int) -> tuple[MaintenanceEngine, SQLiteStore, ManualClock]:
    clock = ManualClock(EVENING)
    store = SQLiteStore(directory / f"{organizations}.db", clock=clock)
    engine = MaintenanceEngine(store=store, task=NoOp(), scheduler=None, executor=None)
    began = time.perf_counter()
    engine.register_organizations(f"org-{number:06}" for number in range(organizations))
    print(f"register {organizations:,}: {time.perf_counter() - began:.2f} s")
    return engine, store, clock


def idle_s(engine: MaintenanceEngine) -> float:
    began = time.perf_counter()
    engine.tick()
    return time.perf_counter() - began


def notice(store: SQLiteStore, clock: ManualClock) -> float:
    """Notice all due slots in batches, as a tick does, without claiming; seconds."""
    engine = MaintenanceEngine(store=store, task=NoOp(), scheduler=None, jobs_max=1)
    clock.pass_until(FOUR)
    gate = engine._runner._slots
    gate.close()  # no place is free: only noticing is timed
    began = time.perf_counter()
    engine.tick()
    return time.perf_counter() - began


def main(organizations: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        small, _, _ = make(Path(name), organizations // 100)
        large, store, clock = make(Path(name), organizations)
        pairs = [(idle_s(large), idle_s(small)) for _ in range(201)]
        many, few = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"idle tick: {many * 1e6:.0f} µs at {organizations:,}, {few * 1e6:.0f} µs at {organizations // 100:,}")
        print(f"ratio {many / few:.2f} (target <= 2)")
        seconds = notice(store, clock)
        print(
            f"noticed {organizations:,} slots in {seconds:.2f} s: {organizations / seconds:,.0f} /s (target >= 8,000)"
        )
        began = time.perf_counter()
        granted = large.tick().granted
        seconds = time.perf_counter() - began
        print(
            f"claimed and ran {granted:,} jobs in {seconds:.1f} s, the longest waiting first: {granted / seconds:,.0f} /s"
        )
        print(f"left waiting: {len(store.find_due(organizations).claiming):,}")
        store.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
