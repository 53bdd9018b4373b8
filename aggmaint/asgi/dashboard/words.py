"""How things are said: instants, durations, counts, triggers, steps. Pure; the clock is an argument."""

from collections.abc import Sequence
from datetime import datetime, timedelta

MINUTE, HOUR, DAY = 60, 3600, 86_400


def duration(seconds: float | None) -> str:
    """`0.41 s`, `12 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`; an en dash for None."""
    if seconds is None:
        return "–"
    seconds = max(0.0, seconds)
    if seconds < 0.001:
        return "< 1 ms"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, smaller_unit in (
        (DAY, "d", HOUR, "h"),
        (HOUR, "h", MINUTE, "min"),
        (MINUTE, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def relative(at: datetime, now: datetime) -> str:
    """`just now`, `3 min ago`, `in 2 h`: one unit, rounded down."""
    seconds = (at - now).total_seconds()
    size = abs(seconds)
    if size < 10:
        return "just now" if seconds <= 0 else "in a moment"
    for unit_s, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s")):
        if size >= unit_s:
            said = f"{int(size // unit_s)} {unit}"
            return f"in {said}" if seconds > 0 else f"{said} ago"
    return "just now"


def instant(at: datetime) -> str:
    """`2026-11-24 23:30:05 UTC`"""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def day(at: datetime) -> str:
    """`24 Nov`"""
    return f"{at.day} {at.strftime('%b')}"


def count(number: int) -> str:
    return f"{number:,}"


def compact(number: int) -> str:
    """`950`, `12.3 k`, `4.1 M`"""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(number) >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)


def plural(number: int, word: str) -> str:
    """`1 partition`, `12 partitions`"""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def sentence(text: str) -> str:
    """With a capital first letter; the rest as it is."""
    return text[:1].upper() + text[1:]


def some(texts: Sequence[str], shown: int = 6) -> str:
    """The first few, and how many more there are."""
    if len(texts) <= shown:
        return ", ".join(texts)
    return f"{', '.join(texts[:shown])} and {len(texts) - shown:,} more"


def took(started_at: datetime, ended_at: datetime | None) -> float | None:
    return None if ended_at is None else max(0.0, (ended_at - started_at) / timedelta(seconds=1))


_TRIGGERS = {
    "ManualMaintenance": "By hand",
    "TimeBasedMaintenance": "Schedule",
    "PeriodicMaintenance": "Schedule",
    "CubeUpdateMaintenance(FirstTimeCubeProcessed)": "Cube processed for the first time",
    "CubeUpdateMaintenance(StaticCubeUpdated)": "Cube updated",
    "CubeUpdateMaintenance(DynamicCubeUpdated)": "Dynamic cube updated",
}

_STEPS = {
    "connect": "Connecting to the warehouse",
    "observe": "Looking at tables and sources",
    "compute": "Computing stale partitions",
    "build": "Building",
    "refresh": "Publishing partitions",
    "note": "Noting source tokens",
    "retire": "Taking out of service",
    "drop": "Dropping tables",
    "forget": "Clearing old records",
    "restore_view": "Restoring views",
}

_FAILURES = {
    "error": "Failed",
    "timeout": "Ran out of time",
    "cancelled": "Cancelled",
    "abandoned": "Abandoned by its worker",
    "shutdown": "Stopped by a shutdown",
}


def trigger(text: str) -> str:
    """In words; an unknown one as it is."""
    return _TRIGGERS.get(text, text)


def step(text: str) -> str:
    return _STEPS.get(text, text)


def failure(code: str) -> str:
    return _FAILURES.get(code, code)


def code(text: str) -> str:
    """A code for people: `partition_changed` as `partition changed`."""
    return text.replace("_", " ")
