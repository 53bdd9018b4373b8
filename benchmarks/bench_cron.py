"""One look-up of the next slot against croniter's own, and what a fleet pays when all fall due at once.

Paired: rounds in turn, medians. What we remember of days and zones is warm, slots are computed. croniter is asked as one
asks it without us: an aware datetime, a new iterator per call.

    python benchmarks/bench_cron.py [rounds]
"""

import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

from aggmaint.core import cron

ZONE = "Europe/Berlin"
START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
EXPRESSIONS = ["0 4 * * *", "30 2 * * MON-FRI", "*/15 * * * *", "0 0 L * *", "5,35 8-18 * * 1"]
LOOKS = 500
FLEET, FLEET_EXPRESSIONS = 100_000, 1_000


def ours(expression: str) -> None:
    cron._remembered_slot.cache_clear()
    for n in range(LOOKS):
        cron.next_slot(expression, ZONE, START + n * 7 * 3600)


def theirs(expression: str) -> None:
    tz, start = ZoneInfo(ZONE), datetime.fromtimestamp(START, ZoneInfo(ZONE))
    for n in range(LOOKS):
        croniter(expression, (start + timedelta(hours=7 * n)).astimezone(tz)).get_next(datetime)


def fleet() -> None:
    """100,000 organisations that share 1,000 expressions."""
    cron._remembered_slot.cache_clear()
    expressions = [f"{n % 60} {n // 60} * * *" for n in range(FLEET_EXPRESSIONS)]
    for n in range(FLEET):
        cron.next_slot(expressions[n % FLEET_EXPRESSIONS], ZONE, START, f"org-{n}")


def seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main(rounds: int) -> None:
    for expression in EXPRESSIONS:
        ours(expression)
        pairs = [(seconds(lambda: ours(expression)), seconds(lambda: theirs(expression))) for _ in range(rounds)]  # noqa: B023
        mine, croniters = (statistics.median(side) / LOOKS * 1e6 for side in zip(*pairs, strict=True))
        print(f"{expression:18} {mine:6.1f} µs · croniter {croniters:6.1f} µs · ratio {mine / croniters:.2f}")
    took = statistics.median(seconds(fleet) for _ in range(rounds))
    print(f"{FLEET:,} organisations with {FLEET_EXPRESSIONS:,} expressions: {took * 1000:.0f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
