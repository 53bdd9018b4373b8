"""Partitions as periods: their keys, and their half-open ranges in UTC.

A warehouse knows a period by the DATE on which it begins in the partition's zone. `period_of` turns the text of that date
into a `Period`: a key for people (`2024`, `2024-Q1`, `2024-03`, `2024-03-04` for days and weeks) and the instants
between which it lies, `starts_at <= instant < ends_at`. Days of 23 and 25 hours come out right, because both ends are
midnights of the zone. Two periods have no range: `null` (rows without a value) and `all` (an aggregate in one piece).
Dates that Python can not hold (before year 1, after 9999, infinity) keep the warehouse's text as their key.

Partitions by value have no range either. Their key is the value's text, made safe for URLs and command lines (`value_key`).

**Where midnight is not plain.** A day begins at the first instant whose civil date is that day, even where 00:00 was
skipped or came twice, and ends where its last instant does. So a day that was skipped as a whole (Samoa, 2011-12-30) has
an empty range, and where the clock went back over midnight into the day before (St. John's until 2011: 00:01 became
23:01) two days overlap by that hour: a range always holds all rows of its period.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from attrs import frozen

from .parts import Granularity, PartitionBy


@frozen(cache_hash=True)
class Period:
    """One partition's identity. `starts_on` is the warehouse's text of the first date, or of the value (by value).

    It is None for `null` and `all`. `starts_at <= instant < ends_at` are aware UTC, None where there is no range.
    """

    key: str
    starts_on: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None


NULL_PERIOD = Period("null")
WHOLE_PERIOD = Period("all")


def start_of(day: date, granularity: Granularity) -> date:
    """The first day of the period that a day is in."""
    match granularity:
        case Granularity.DAY:
            return day
        case Granularity.WEEK:
            return day - timedelta(days=day.weekday())
        case Granularity.MONTH:
            return day.replace(day=1)
        case Granularity.QUARTER:
            return date(day.year, (day.month - 1) // 3 * 3 + 1, 1)
        case Granularity.YEAR:
            return date(day.year, 1, 1)
        case Granularity.VALUE:
            raise AssertionError("values have no dates")


def next_start(start: date, granularity: Granularity) -> date:
    """The first day of the next period."""
    match granularity:
        case Granularity.DAY:
            return start + timedelta(days=1)
        case Granularity.WEEK:
            return start + timedelta(days=7)
        case Granularity.MONTH:
            return _add_months(start, 1)
        case Granularity.QUARTER:
            return _add_months(start, 3)
        case Granularity.YEAR:
            return date(start.year + 1, start.month, start.day)
        case Granularity.VALUE:
            raise AssertionError("values have no dates")


def _add_months(start: date, months: int) -> date:
    index = start.year * 12 + start.month - 1 + months
    return date(index // 12, index % 12 + 1, start.day)


def _key(start: date, granularity: Granularity) -> str:
    match granularity:
        case Granularity.YEAR:
            return f"{start.year:04d}"
        case Granularity.QUARTER:
            return f"{start.year:04d}-Q{(start.month + 2) // 3}"
        case Granularity.MONTH:
            return f"{start.year:04d}-{start.month:02d}"
        case Granularity.DAY | Granularity.WEEK:
            return start.isoformat()
        case Granularity.VALUE:
            raise AssertionError("values have no dates")


def _begin(day: date, zone: str) -> datetime | None:
    """The first instant whose civil date in the zone is `day` (or later, if the day was skipped)."""
    midnights = _midnights(day, zone)
    if midnights is None:
        return None
    first, second = midnights
    return first if first <= second else _first_of(day, zone, second, first)


def _end(day: date, zone: str) -> datetime | None:
    """The instant after the last one whose civil date is before `day`."""
    midnights = _midnights(day, zone)
    if midnights is None:
        return None
    first, second = midnights
    if first < second and _civil_date(second - timedelta(microseconds=1), zone) < day:
        return second
    return _begin(day, zone)


def _midnights(day: date, zone: str) -> tuple[datetime, datetime] | None:
    """00:00 of `day` by the offset before and after a change of the clocks; equal but around one."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    try:
        return midnight.astimezone(UTC), midnight.replace(fold=1).astimezone(UTC)
    except OverflowError:
        return None


def _civil_date(instant: datetime, zone: str) -> date:
    return instant.astimezone(ZoneInfo(zone)).date()


def _first_of(day: date, zone: str, low: datetime, high: datetime) -> datetime:
    """The first second from `low` to `high` whose civil date is `day` or later: where a skipped midnight was."""
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if _civil_date(middle, zone) < day:
            low = middle
        else:
            high = middle
    return high if _civil_date(low, zone) < day else low


_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
"""The bytes that stand for themselves in a key: those that URLs never escape, but for `~`, which is a mark of ours."""

SAFE_VALUE_LENGTH_MAX = 64


def value_key(text: str) -> str:
    """The key of a value's partition: its text, percent-encoded as in a URL, different for different values.

    `~` marks what is not the plain text: the empty text is `~`, the values `null` and `all` (which name other partitions)
    are `~null` and `~all`, and a long text is its beginning, `~` and 16 hex digits of its SHA-256.
    """
    raw = text.encode("utf-8", "surrogatepass")
    safe = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)
    if safe in {"", NULL_PERIOD.key, WHOLE_PERIOD.key}:
        return f"~{safe}"
    if len(safe) <= SAFE_VALUE_LENGTH_MAX:
        return safe
    digest = hashlib.sha256(raw).hexdigest()[:16]
    return f"{safe[:40]}~{digest}"


@lru_cache(maxsize=65536)
def period_of(starts_on: str | None, partition: PartitionBy | None) -> Period:
    """The period that begins on `starts_on`: the warehouse's text of a DATE or value; None is the NULL partition."""
    if partition is None:
        return WHOLE_PERIOD
    if starts_on is None:
        return NULL_PERIOD
    if partition.by_value:
        return Period(value_key(starts_on), starts_on)
    try:
        start = date.fromisoformat(starts_on)
    except ValueError:
        return Period(starts_on, starts_on)
    try:
        end = _end(next_start(start, partition.granularity), partition.zone)
    except (ValueError, OverflowError):
        end = None
    return Period(_key(start, partition.granularity), starts_on, _begin(start, partition.zone), end)


RANGES_MAX = 24


def date_ranges(periods: Iterable[Period], partition: PartitionBy) -> tuple[list[tuple[str, str]], bool]:
    """ISO dates [from, until) that hold all rows of these periods, and whether they hold no others.

    Exact in UTC; a day wider on both sides in other zones, and one range from first to last where there are many: then they
    only help the engine to skip, and decide nothing on their own. None at all if one of the periods has no dates.
    """
    if partition.by_value:
        return [], False
    found: list[tuple[date, date]] = []
    margin = timedelta(days=0 if partition.zone == "UTC" else 1)
    try:
        for period in sorted((each for each in periods if each != NULL_PERIOD), key=lambda each: each.starts_on or ""):
            start = date.fromisoformat(period.starts_on or "")
            low, high = start - margin, next_start(start, partition.granularity) + margin
            if found and low <= found[-1][1]:
                low = found.pop()[0]
            found.append((low, high))
    except (ValueError, OverflowError):
        return [], False
    exact = partition.zone == "UTC" and len(found) <= RANGES_MAX
    if len(found) > RANGES_MAX:
        found = [(found[0][0], found[-1][1])]
    return [(low.isoformat(), high.isoformat()) for low, high in found], exact
