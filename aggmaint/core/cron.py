"""Time expressions: two dialects, one answer, whatever croniter and whatever the clock does.

* Quartz, six or seven fields (seconds first, optional year last; `?`, `L`, `W`, `#`, names; day-of-week 1-7 = SUN-SAT):
  the dialect of the wire.
* Five-field cron and `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`: for Python and the command line.

The number of fields decides, and error messages say so. `H` stands for a number that is hashed from the caller's `key`
(`hash_key`), so that a fleet with one expression does not start at one moment.

Theory of operation. Three questions, three files: what a field says (`_cron_fields.py`, all ours), which days match
(`_cron_days.py`, croniter, asked for nothing else), how the zone's clock runs (`_cron_zones.py`). Here they meet, in
whole seconds: a *reading* is what the wall clock shows, a *slot* is a UTC epoch second (aware datetimes compare equal
across a fold). Two rules say how slots follow from matching readings, as in Debian's cron:

* **fixed**: hour and minute are numbers, lists or ranges. Each matching reading is a moment of the wall clock and fires
  once: at the first instant at which the clock has come that far. So a moment in a gap fires at the first instant after
  it, one in a fold at the first pass, and all moments of one gap are one slot.
* **elapsed**: hour or minute has `*` or a step. It fires at each instant whose reading matches: in both passes of a fold,
  not in a gap.

Slots depend on the arguments only (I23), and on the zone database.
"""

import re
from bisect import bisect_left
from functools import lru_cache
from typing import Final

from attrs import frozen

from ..errors import InvalidCronError
from ._cron_days import DAY_MAX, next_matching_day
from ._cron_fields import (
    DAY,
    HOUR,
    MINUTE,
    MONTH,
    SECOND,
    WEEKDAY_CRON,
    WEEKDAY_QUARTZ,
    YEAR,
    FieldReader,
    FieldRule,
    names_hash,
)
from ._cron_zones import highest_reading, parse_zone, stretches

__all__ = [
    "CronExpression",
    "check_wire_dialect",
    "hash_key",
    "names_hash",
    "newest_slot",
    "next_slot",
    "parse_cron",
    "parse_zone",
]

QUARTZ_FORM: Final = "second minute hour day-of-month month day-of-week [year], e.g. '0 0 4 ? * * *'"
CRON_FORM: Final = "minute hour day-of-month month day-of-week, e.g. '0 4 * * *'"
LENGTH_MAX: Final = 255

NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_QUARTZ_RULES: Final = (SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY_QUARTZ, YEAR)
_CRON_RULES: Final = (SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY_CRON)
_FIELD = re.compile(r"[0-9A-Za-z*?/,\-#()]+", re.ASCII)
_SPACE: Final = " \t\r\n"
_DAY_S: Final = 86_400


@frozen
class CronExpression:
    """A parsed expression: what it matches, and by which of the two rules it meets changes of the clock.

    `days` are conditions `day-of-month month day-of-week`, of which one must hold. `spelled` is the expression in its own
    dialect, without nicknames and with `H` replaced.
    """

    text: str
    spelled: str
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[str, ...]
    years: tuple[int, ...] | None
    fixed: bool

    def next_reading(self, reading: int) -> int | None:
        """The first matching reading of a wall clock at or after `reading`, as if it were never changed."""
        day, second = divmod(reading, _DAY_S)
        found = next_matching_day(self.days, self.years, day)
        if found == day:
            if (time := self._time_from(second)) is not None:
                return day * _DAY_S + time
            found = next_matching_day(self.days, self.years, day + 1)
        if found is None:
            return None
        return found * _DAY_S + self.hours[0] * 3600 + self.minutes[0] * 60 + self.seconds[0]

    def _time_from(self, second: int) -> int | None:
        """The first matching second of the day at or after `second`."""
        hour, rest = divmod(second, 3600)
        for hours in self.hours[bisect_left(self.hours, hour) :]:
            minute, from_second = divmod(rest if hours == hour else 0, 60)
            for minutes in self.minutes[bisect_left(self.minutes, minute) :]:
                index = bisect_left(self.seconds, from_second if minutes == minute else 0)
                if index < len(self.seconds):
                    return hours * 3600 + minutes * 60 + self.seconds[index]
        return None


def hash_key(org_id: str, schedule_id: str) -> str:
    """The key of one schedule for `H`. The same everywhere and for ever; changing it would move every `H`."""
    return f"{org_id}/{schedule_id}"


@lru_cache(maxsize=4096)
def parse_cron(text: str, key: str = "") -> CronExpression:
    """Parse either dialect. Raises InvalidCronError with the reason and the form that was expected.

    An expression with `H` needs the key of its schedule (`hash_key`); for others the key has no meaning.
    """
    fields = _split(text)
    cron = len(fields) == 5
    rules: tuple[FieldRule, ...] = _CRON_RULES if cron else _QUARTZ_RULES
    given = ("0", *fields) if cron else fields
    readers = [FieldReader(text, rule) for rule in rules[: len(given)]]
    plain = tuple(reader.without_hash(field, key) for reader, field in zip(readers, given, strict=True))
    seconds, minutes, hours = (
        tuple(sorted(reader.numbers(field))) for reader, field in zip(readers[:3], plain[:3], strict=True)
    )
    _check_days(text, given, cron=cron)
    expression = CronExpression(
        text=text,
        spelled=" ".join(plain[1:] if cron else plain),
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        days=_day_conditions(readers[3], readers[4], readers[5], plain[3:6]),
        years=_years(readers[6], plain[6]) if len(plain) == 7 else None,
        fixed=not any(sign in field for field in given[1:3] for sign in "*/"),
    )
    if next_matching_day(expression.days, expression.years, 0) is None:
        raise InvalidCronError(text, "no date matches it; check day-of-month, month and year")
    return expression


def check_wire_dialect(text: str) -> None:
    """Refuse what the HTTP API does not take: anything but six or seven fields. Raises InvalidCronError."""
    if len(_words(text)) not in (6, 7):
        raise InvalidCronError(text, f"give six or seven fields: {QUARTZ_FORM}")


def _words(text: str) -> list[str]:
    return [word for word in re.split(f"[{_SPACE}]+", text) if word]


def _split(text: str) -> tuple[str, ...]:
    if len(text) > LENGTH_MAX:
        raise InvalidCronError(text[:40] + "…", f"longer than {LENGTH_MAX} characters")
    expanded = text.strip(_SPACE)
    if expanded == "@reboot":
        raise InvalidCronError(text, "a start of the program is no moment in time, and never starts a job")
    if expanded.startswith("@"):
        if expanded not in NICKNAMES:
            raise InvalidCronError(text, f"unknown name; known are {', '.join(NICKNAMES)}")
        expanded = NICKNAMES[expanded]
    fields = _words(expanded)
    for field in fields:
        if "." in field:
            raise InvalidCronError(text, f"field {field!r}: whole numbers only; the shortest period is one second")
        if not _FIELD.fullmatch(field):
            raise InvalidCronError(text, f"field {field!r} has a character that no dialect knows")
    if len(fields) not in (5, 6, 7):
        raise InvalidCronError(
            text, f"has {len(fields)} fields; give six or seven ({QUARTZ_FORM}) or five ({CRON_FORM})"
        )
    return tuple(field.upper() for field in fields)


def _check_days(text: str, fields: tuple[str, ...], *, cron: bool) -> None:
    """Day-of-month and day-of-week: what each dialect takes for the pair."""
    day, week = fields[3], fields[5]
    if day == week == "?":
        raise InvalidCronError(text, "'?' may stand for day-of-month or day-of-week, not for both; write '*' for one")
    if day in ("*", "?") or week in ("*", "?"):
        return
    if not cron:
        raise InvalidCronError(text, "day-of-month and day-of-week are both given; Quartz wants '?' for one of them")
    if day.startswith("*") or week.startswith("*"):
        raise InvalidCronError(
            text,
            f"day-of-month {day!r} with day-of-week {week!r}: cron programs disagree whether both or either must match; "
            "for either write a range, such as 1-31/2",
        )


def _day_conditions(
    day: FieldReader, month: FieldReader, week: FieldReader, fields: tuple[str, ...]
) -> tuple[str, ...]:
    """One condition; two when both kinds of days are restricted (cron: either). `?` is `*`."""
    days = "*" if fields[0] == "?" else day.days(fields[0])
    numbers = month.numbers(fields[1])
    months = "*" if len(numbers) == 12 else ",".join(map(str, sorted(numbers)))
    weekdays = "*" if fields[2] == "?" else week.weekdays(fields[2])
    if days == "*" or weekdays == "*":
        either = (fields[0] not in ("*", "?")) and (fields[2] not in ("*", "?"))
        return (f"* {months} *",) if either else (f"{days} {months} {weekdays}",)
    return f"{days} {months} *", f"* {months} {weekdays}"


def _years(reader: FieldReader, field: str) -> tuple[int, ...] | None:
    return None if field == "*" else tuple(sorted(reader.numbers(field)))


def next_slot(text: str, zone: str, after: int, key: str = "", *, required: bool = False) -> int | None:
    """The first slot after the epoch second `after`; None when no more will come (a year field in the past).

    With `required`, None is an InvalidCronError instead. `key` matters to expressions with `H` only, which are refused
    without one. Remembered: many organisations share few expressions.
    """
    slot = _remembered_slot(text, zone, after, key if names_hash(text) else "")
    if slot is None and required:
        raise InvalidCronError(text, "has no date left in the future")
    return slot


def newest_slot(text: str, zone: str, known: int, until: int, key: str = "") -> int:
    """The newest slot at or before `until`, given that `known` is one. About thirty look-ups at any distance.

    Bisects `next_slot`, which is monotone, so there is no second set of rules for going backwards.
    """
    low, high = known, until + 1  # a slot is at or after low; the next slot after high - 1 lies beyond until
    while high - low > 1:
        middle = (low + high) // 2
        following = next_slot(text, zone, middle - 1, key)
        if following is not None and following <= until:
            low = following
        else:
            high = middle
    return low


@lru_cache(maxsize=16_384)
def _remembered_slot(text: str, zone: str, after: int, key: str) -> int | None:
    expression = parse_cron(text, key)
    parse_zone(zone)
    if after >= DAY_MAX * _DAY_S:
        return None
    slot = _next_fixed(expression, zone, after) if expression.fixed else _next_elapsed(expression, zone, after)
    if slot is not None and slot <= after:  # a scheduler that got this would run in circles
        raise InvalidCronError(text, f"gives no later slot after {after} in {zone}; please report this expression")
    return slot


def _next_fixed(expression: CronExpression, zone: str, after: int) -> int | None:
    """The instant at which the wall clock first comes to the next matching reading, or past it."""
    wanted = expression.next_reading(highest_reading(zone, after) + 1)
    if wanted is None:
        return None
    # No offset is a day: before `wanted` minus a day no clock has come that far, and the search may begin there.
    for begin, end, offset in stretches(zone, max(after + 1, wanted - _DAY_S)):
        if wanted - offset < end:
            return max(begin, wanted - offset)
    raise AssertionError("stretches do not end")


def _next_elapsed(expression: CronExpression, zone: str, after: int) -> int | None:
    """The first instant whose reading matches, stretch by stretch."""
    known_from: int | None = None  # `wanted` is the first match at or after it
    wanted: int | None = None
    for begin, end, offset in stretches(zone, after + 1):
        reading = max(begin, after + 1) + offset
        if known_from is None or wanted is None or not known_from <= reading <= wanted:
            known_from, wanted = reading, expression.next_reading(reading)
            if wanted is None:
                return None
        if wanted - offset < end:
            return wanted - offset
    raise AssertionError("stretches do not end")
