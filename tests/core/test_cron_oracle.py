"""Slots against a brute-force oracle: a matcher of the grammar of our own, without croniter, and a walk over minutes.

Around every change of the clock (±49 h) each minute is read from the zone database and matched: every slot must be there,
and no other. Elsewhere whole days are matched: from the last slot of a matching day the next one must be the first of the
next matching day, and some days are compared slot by slot. Five expressions are compared slot by slot everywhere.

With each change: 300 expressions × 12 zones × 3 years. Every zone of the database from 2005 to 2040, with so many of the
expressions per zone (20 take an hour or two, 300 a day):

    CRON_DEEP=20 python -m pytest tests/core/test_cron_oracle.py
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple
from zoneinfo import TZPATH, ZoneInfo, available_timezones

import pytest

from aggmaint.core.cron import hash_key, names_hash, next_slot, parse_cron

DEEP = int(os.environ.get("CRON_DEEP", "0"))
KEY = hash_key("acme", "7d1f")
AROUND_S = 49 * 3600
DAY_S = 86_400
EPOCH = date(1970, 1, 1).toordinal()
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]

# -- the grammar, matched ----------------------------------------------------------------------------------------------


def number(word: str, names: list[str], first: int) -> int:
    return names.index(word) + first if word in names else int(word)


def has(field: str, value: int, low: int, high: int, names: list[str] | None = None) -> bool:
    """Whether a list of numbers, names, ranges and steps has the value."""
    for item in field.upper().split(","):
        base, _, step = item.partition("/")
        ends = [number(end, names or [], low) for end in base.split("-")] if base != "*" else [low, high]
        last = ends[-1] if len(ends) == 2 or not step else high
        if ends[0] <= value <= last and (value - ends[0]) % int(step or 1) == 0:
            return True
    return False


def has_day(field: str, day: date) -> bool:
    """Day-of-month."""
    length = ((day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)).day
    if field.endswith("W"):
        near = int(field[:-1])
        weekdays = [n for n in range(1, length + 1) if day.replace(day=n).isoweekday() <= 5]
        return day.day == min(weekdays, key=lambda n: abs(n - near))
    return any(day.day == length if item == "L" else has(item, day.day, 1, 31) for item in field.upper().split(","))


def has_weekday(field: str, day: date, quartz: bool) -> bool:
    low = 1 if quartz else 0
    number_of_day = day.isoweekday() % 7 + low
    for item in field.upper().split(","):
        base, sign, nth = item.partition("#")
        if quartz and item == "L":
            found = number_of_day == 7
        elif item.endswith("L"):
            found = _same(item[:-1], number_of_day, low) and (day + timedelta(days=7)).month != day.month
        elif sign:
            found = _same(base, number_of_day, low) and (day.day - 1) // 7 + 1 == int(nth)
        else:
            found = has(item, number_of_day, low, low + 6, DAYS) or (
                not quartz and number_of_day == 0 and item[-1] == "7" and has(item, 7, 0, 7, DAYS)
            )
        if found:
            return True
    return False


def _same(word: str, number_of_day: int, low: int) -> bool:
    return (number(word, DAYS, low) - number_of_day) % 7 == 0


class Matcher(NamedTuple):
    """What an expression matches: seconds of a minute, minutes of a day, days."""

    seconds: list[int]
    minutes: frozenset[int]
    has_day: Callable[[int], bool]
    fixed: bool

    @property
    def times(self) -> list[int]:
        return [minute * 60 + second for minute in sorted(self.minutes) for second in self.seconds]


def matcher(expression: str) -> Matcher:
    fields = expression.split()
    quartz = len(fields) > 5
    second, minute, hour, *days = fields if quartz else ["0", *fields]
    wild = any(sign in minute + hour for sign in "*/")
    minutes = frozenset(
        h * 60 + m for h in range(24) for m in range(60) if has(hour, h, 0, 23) and has(minute, m, 0, 59)
    )
    return Matcher([s for s in range(60) if has(second, s, 0, 59)], minutes, day_matcher(quartz, *days), not wild)


@cache
def day_matcher(quartz: bool, dom: str, month: str, dow: str, year: str = "*") -> Callable[[int], bool]:
    @cache
    def found(number_of_day: int) -> bool:
        day = date.fromordinal(number_of_day + EPOCH)
        if not has(month, day.month, 1, 12, MONTHS) or not has(year, day.year, 1970, 2099):
            return False
        either = not quartz and dom not in ("*", "?") and dow not in ("*", "?")
        in_month = dom == "?" or has_day(dom, day)
        in_week = dow == "?" or has_weekday(dow, day, quartz)
        return in_month or in_week if either else in_month and in_week

    return found


# -- the clock, read ---------------------------------------------------------------------------------------------------


def offset_s(tz: ZoneInfo, second: int) -> int:
    offset = datetime.fromtimestamp(second, tz).utcoffset()
    assert offset is not None
    return round(offset.total_seconds())


@cache
def changes(zone: str, start: int, end: int) -> list[int]:
    """The first seconds of a new offset, found hour by hour."""
    tz, found = ZoneInfo(zone), []
    for low, high in pairwise(range(start, end + 3600, 3600)):
        before = offset_s(tz, low)
        if before != offset_s(tz, high):
            found.append(next(s for s in range(low + 1, high + 1) if offset_s(tz, s) != before))
    return found


class Window(NamedTuple):
    """The minutes of a span, by local day: `(second, minute of the day)`; those that read something new; those skipped."""

    start: int
    end: int
    days: dict[int, list[tuple[int, int]]]
    new: dict[int, list[tuple[int, int]]]
    skipped: list[tuple[int, int, int]]

    def slots(self, expected: Matcher) -> list[int]:
        """Every slot in start <= slot < end."""
        days = self.new if expected.fixed else self.days
        found = [
            second + more
            for day, minutes in days.items()
            if expected.has_day(day)
            for second, minute in minutes
            if minute in expected.minutes
            for more in expected.seconds
        ]
        if expected.fixed:
            found += [s for s, day, minute in self.skipped if minute in expected.minutes and expected.has_day(day)]
        return sorted({slot for slot in found if self.start <= slot < self.end})


@cache
def window(zone: str, start: int, end: int) -> Window:
    """Minute by minute; it begins a day and a half earlier, to know what was read before."""
    tz, seen = ZoneInfo(zone), set()
    made = Window(start, end, {}, {}, [])
    previous: int | None = None
    for second in range(start - 36 * 3600, end, 60):
        reading = (second + offset_s(tz, second)) // 60
        day, minute = divmod(reading, 1440)
        made.days.setdefault(day, []).append((second, minute))
        if reading not in seen:
            seen.add(reading)
            made.new.setdefault(day, []).append((second, minute))
        for missing in range(reading if previous is None else previous + 1, reading):
            if missing not in seen:
                seen.add(missing)
                made.skipped.append((second, *divmod(missing, 1440)))
        previous = reading
    return made


# -- expressions and zones ---------------------------------------------------------------------------------------------

TIMES = [
    *("0 4 {}", "0 0 {}", "30 2 {}", "0 2 {}", "0 3 {}", "30 1 {}", "15 23 {}", "59 23 {}", "30 0 {}", "5,35 1-3 {}"),
    *("0 0,2,4 {}", "*/30 1-2 {}", "0 */2 {}", "0 */3 {}", "0/20 2 {}", "15 */6 {}", "45 * {}", "7-59/26 0-3 {}"),
    *("0-10 2 {}", "10,40 2-3 {}"),
]
CRON_DAYS = [
    *("* * *", "* * MON-FRI", "1 * *", "*/2 * *", "* * 0", "* * 7", "L * *", "15W * *", "* * FRI#2", "* * 5L"),
    *("1,15 * 1", "13 * FRI", "* 3-4,10-11 *", "1-7 * SUN", "* MAR,NOV SAT,SUN"),
]
QUARTZ_TIMES = [
    *(
        "0 0 4 {}",
        "30 30 2 {}",
        "0 30 1 {}",
        "0/20 0 2 {}",
        "0 0/30 1-3 {}",
        "0 15 * {}",
        "*/30 59 1 {}",
        "59 59 23 {}",
    ),
    *("0 0 0 {}", "10,50 0,30 2,3 {}"),
]
QUARTZ_DAYS = [
    *("? * *", "* * ?", "? * 2-6", "? * 1", "? * L", "? * 6L", "? * FRI#3", "? * SUN#1", "L * ?", "1W * ?", "15,L * ?"),
    *("1/10 * ?", "? 3-11 SUN", "* 1/3 ? *", "? * SAT,SUN 2011-2012,2017-2027/2", "? * 2/2", "29-31 * ?"),
]
DENSE = ["* * * * *", "*/7 * * * *", "0 0/5 * ? * SUN", "0 30 * * * ? 2018,2026"]
HASHED = ["H H(1-3) * * *", "H/20 2 * * *", "H 0 H H * ?"]
WHOLE = ["30 2 * * *", "*/30 * * * *", "0 0/20 1-3 ? * *", "0 0 0 ? * SUN", "0 0,12 L * *"]


def make_expressions() -> list[str]:
    """300, and every time meets other days: each pair's turn comes by a stride that has no factor in common with them."""
    pairs = [time.format(days) for time, days in product(TIMES, CRON_DAYS)]
    pairs += [time.format(days) for time, days in product(QUARTZ_TIMES, QUARTZ_DAYS)]
    chosen = [pairs[index * 101 % len(pairs)] for index in range(300)]
    return list(dict.fromkeys([*DENSE, *HASHED, *WHOLE, *chosen]))[:300]


EXPRESSIONS = make_expressions()
NASTY = {
    "America/New_York": 2025,
    "Europe/Berlin": 2025,
    "Australia/Lord_Howe": 2025,  # half an hour
    "Pacific/Apia": 2010,  # a whole day is missing
    "America/Sao_Paulo": 2017,  # at midnight
    "America/Havana": 2025,  # midnight is missing, and comes twice
    "Africa/Casablanca": 2025,  # Ramadan: the clock goes back, then forward
    "Asia/Kathmandu": 1985,  # a quarter of an hour, for good
    "Antarctica/Troll": 2025,  # two hours
    "America/St_Johns": 2009,  # one minute past midnight: the day before comes back
    "Europe/Dublin": 2025,  # winter is the exception
    "Asia/Pyongyang": 2016,  # half an hour, for good, at 23:30
}


def midnight(year: int) -> int:
    return (date(year, 1, 1).toordinal() - EPOCH) * DAY_S


def every_zone() -> Iterator[tuple[str, int, int]]:
    """Every zone of the system's database; aliases, whose files are alike, once."""
    known: set[bytes] = set()
    for zone in sorted(available_timezones()):
        files = [path for path in (Path(place) / zone for place in TZPATH) if path.is_file()]
        content = files[0].read_bytes() if files else zone.encode()
        if content not in known:
            known.add(content)
            yield zone, midnight(2005), midnight(2041)


CASES = list(every_zone()) if DEEP else [(zone, midnight(year), midnight(year + 3)) for zone, year in NASTY.items()]


# -- the comparison ----------------------------------------------------------------------------------------------------


def walk(expression: str, zone: str, start: int, end: int) -> list[int]:
    """Slots of the code under test in start <= slot < end."""
    found, slot = [], next_slot(expression, zone, start - 1, KEY)
    while slot is not None and slot < end:
        found.append(slot)
        slot = next_slot(expression, zone, slot, KEY)
    return found


def spans(zone: str, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """The period in turns: around changes (True), and what is between (False), which has one offset."""
    at = start
    for change in changes(zone, start, end):
        begin = max(at, change // 60 * 60 - AROUND_S)
        if at < begin:
            yield at, begin, False
        stop = change // 60 * 60 + AROUND_S
        yield begin, stop, True
        at = stop
    if at < end:
        yield at, end, False


def calm_slots(expected: Matcher, offset: int, start: int, end: int) -> list[list[int]]:
    """The slots of each matching day in a span of one offset."""
    days = range((start + offset) // DAY_S, (end + offset) // DAY_S + 1)
    made = [
        [slot for time in expected.times if start <= (slot := day * DAY_S + time - offset) < end]
        for day in days
        if expected.has_day(day)
    ]
    return [slots for slots in made if slots]


def check_calm(expression: str, zone: str, start: int, end: int, expected: Matcher) -> int:
    offset = offset_s(ZoneInfo(zone), start)
    days = calm_slots(expected, offset, start, end)
    if expression in WHOLE:
        assert walk(expression, zone, start, end) == [slot for day in days for slot in day], (expression, zone)
        return sum(map(len, days))
    last = start - 1
    for count, day in enumerate(days):
        assert next_slot(expression, zone, last, KEY) == day[0], (expression, zone, last)
        last = day[-1]
        if count % 97 == 0:
            assert walk(expression, zone, day[0], last + 1) == day, (expression, zone, day[0])
    following = next_slot(expression, zone, last, KEY)
    assert following is None or following >= end, (expression, zone, last)
    return len(days) + 1


PROBES = [-7201, -3600, -1801, -1, 0, 1, 599, 1799, 1800, 3000, 3599, 3600, 5400, 7199, 7200, 10_000]


def check_instants(expression: str, zone: str, slots: list[int], change: int) -> None:
    """Asked at any instant, not only at the slot before: a schedule may be made, or looked at, in the middle of a fold."""
    for probe in PROBES:
        index = bisect_right(slots, change + probe)
        if index < len(slots):
            assert next_slot(expression, zone, change + probe, KEY) == slots[index], (expression, zone, change + probe)


def check_zone(expressions: list[str], zone: str, start: int, end: int) -> int:
    """How many comparisons were made; the first difference is an AssertionError."""
    count = 0
    for expression in expressions:
        expected = matcher(parse_cron(expression, KEY).spelled if names_hash(expression) else expression)
        assert parse_cron(expression, KEY).fixed == expected.fixed
        for begin, stop, around in spans(zone, start, end):
            if around:
                slots = window(zone, begin, stop).slots(expected)
                assert walk(expression, zone, begin, stop) == slots, (expression, zone, begin)
                check_instants(expression, zone, slots, stop - AROUND_S)
                count += (stop - begin) // 60
            else:
                count += check_calm(expression, zone, begin, stop, expected)
    return count


@pytest.mark.parametrize(("zone", "start", "end"), CASES, ids=[zone for zone, _, _ in CASES])
def test_slots_are_those_of_the_oracle(zone: str, start: int, end: int) -> None:
    turn = [case[0] for case in CASES].index(zone)
    chosen = [EXPRESSIONS[(turn * DEEP + n) % 300] for n in range(DEEP)] if DEEP else EXPRESSIONS
    assert check_zone(chosen, zone, start, end) > 1000
    window.cache_clear()


def test_the_expressions_are_300_and_differ() -> None:
    assert len(EXPRESSIONS) == len(set(EXPRESSIONS)) == 300
    assert sum(parse_cron(each, KEY).fixed for each in EXPRESSIONS) in range(100, 250), "both rules have their share"


def test_every_nasty_zone_changes() -> None:
    for zone, year in NASTY.items():
        assert changes(zone, midnight(year), midnight(year + 3)), zone


@pytest.mark.parametrize(
    ("expression", "day", "matches"),
    [
        ("0 4 * * 7", date(2026, 3, 1), True),
        ("0 4 * * 5-7", date(2026, 3, 1), True),
        ("0 4 15W * *", date(2026, 2, 16), True),
        ("0 4 15W * *", date(2026, 2, 15), False),
        ("0 0 4 1W * ?", date(2026, 8, 3), True),
        ("0 0 4 ? * 6L", date(2026, 1, 30), True),
        ("0 0 4 ? * 6L", date(2026, 1, 23), False),
        ("0 0 4 ? * L", date(2026, 1, 3), True),
        ("0 4 13 * FRI", date(2026, 1, 13), True),
        ("0 4 * * FRI#2", date(2026, 1, 9), True),
    ],
)
def test_the_oracle_itself_knows_the_calendar(expression: str, day: date, matches: bool) -> None:
    assert matcher(expression).has_day(day.toordinal() - EPOCH) is matches
