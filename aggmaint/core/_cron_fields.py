"""The grammar of time expressions: one field's text in, numbers out; what is refused, and why.

Theory of operation. Every list, range, step and name is worked out *here*, to plain numbers. Releases of croniter disagree
on steps, ranges and lists (`59/15` was {59}, then {0, 15, 30, 45}, then {59} again), so none of these reaches it: hours,
minutes and seconds never do, days do as plain lists (`_cron_days.py`).

    field := item (',' item)*
    item  := base ['/' step]        base := '*' | value | value '-' value | 'H' | 'H(' value '-' value ')'
    day-of-month also: 'L' (the last day), '15W' (the weekday nearest to the 15th)
    day-of-week also:  'FRIL', '6L' (the last Friday of the month), 'FRI#3', '6#3' (the third)

`value/step` runs from the value to the field's end. Days of the week are 1-7 = SUN-SAT in Quartz, 0-7 = SUN-SUN in cron;
inside they are 0-6. `H` is replaced by a number before anything else is read: SHA-256 of the field's name and the caller's
key, so it is the same on every machine, and different for the minute and for the hour of one key.

What different programs read differently, or what can only be a slip, is refused with the remedy.
"""

import re
from functools import lru_cache
from hashlib import sha256
from typing import Final

from attrs import evolve, frozen

from ..errors import InvalidCronError

MONTH_NAMES: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAY_NAMES: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@frozen
class FieldRule:
    """What a field may say. `high` is the largest number that may be written, `top` where `*` and open steps end."""

    name: str
    low: int
    high: int
    top: int
    names: tuple[str, ...] = ()
    first_name: int = 0
    hash_top: int | None = None


SECOND: Final = FieldRule("second", 0, 59, 59, hash_top=59)
MINUTE: Final = FieldRule("minute", 0, 59, 59, hash_top=59)
HOUR: Final = FieldRule("hour", 0, 23, 23, hash_top=23)
DAY: Final = FieldRule("day-of-month", 1, 31, 31, hash_top=28)  # days that every month has
MONTH: Final = FieldRule("month", 1, 12, 12, MONTH_NAMES, 1, hash_top=12)
WEEKDAY_CRON: Final = FieldRule("day-of-week", 0, 7, 6, DAY_NAMES, 0, hash_top=6)
WEEKDAY_QUARTZ: Final = evolve(WEEKDAY_CRON, low=1, top=7, first_name=1, hash_top=7)
YEAR: Final = FieldRule("year", 1970, 2099, 2099)

_HASH_ITEM = re.compile(r"H(?:\(([^()-]+)-([^()-]+)\))?(?:/(.*))?")
_HASH_WORD = re.compile(r"(?<![A-Z])H(?![A-Z])")
_DIGITS = re.compile(r"[0-9]{1,4}", re.ASCII)
_NEAREST = re.compile(r"([0-9]{1,2})W", re.ASCII)
_LAST = re.compile(r"([0-9A-Z]+)L", re.ASCII)
_NTH = re.compile(r"([0-9A-Z]+)#([0-9]*)", re.ASCII)


@frozen
class FieldReader:
    """Reads one field of one expression; its errors name the expression, the field and the remedy."""

    expression: str
    rule: FieldRule

    def refuse(self, item: str, reason: str) -> InvalidCronError:
        return InvalidCronError(self.expression, f"{self.rule.name} {item!r}: {reason}")

    # -- plain numbers -------------------------------------------------------------------------------------------------

    def numbers(self, field: str) -> frozenset[int]:
        """The numbers of a field that has no special words, as they are written (days of the week: see `weekdays`)."""
        items = field.split(",")
        if len(items) > 1 and any(item in ("*", "?") for item in items):
            raise self.refuse(field, "'*' in a list makes the rest meaningless; leave one out")
        return frozenset(number for item in items for number in self._item(item))

    def _item(self, item: str) -> range:
        base, slash, step_text = item.partition("/")
        first, dash, last = base.partition("-")
        if base in ("R", "?") or base.startswith("R("):
            raise self.refuse(item, _REASONS[base[0]])
        if base == "*":
            begin, end = self.rule.low, self.rule.top
        elif dash:
            begin, end = self._range(base, first, last)
        else:
            begin = self.value(base)
            end = self.rule.top if slash else begin
        if slash and base != "*" and not dash and begin >= self.rule.top:
            raise self.refuse(item, f"a step from the largest value never steps; write {base}")
        return range(begin, end + 1, self._step(item, step_text, self.rule.top) if slash else 1)

    def _range(self, base: str, first: str, last: str) -> tuple[int, int]:
        begin, end = self.value(first), self.value(last)
        if begin == end:
            raise self.refuse(base, f"a range of one value; write {first}")
        if begin > end:
            raise self.refuse(base, "the range runs backwards; write two ranges")
        if (begin, end) == (0, 7) and self.rule is WEEKDAY_CRON:
            raise self.refuse(base, "names Sunday twice; write '*'")
        return begin, end

    def _step(self, item: str, step: str, most: int) -> int:
        if not _DIGITS.fullmatch(step) or not 1 <= int(step) <= most:
            raise self.refuse(item, f"the step must be 1 to {most}")
        return int(step)

    def value(self, word: str) -> int:
        """A number or a name of this field, as it is written. Refuses everything else."""
        rule = self.rule
        if word in rule.names:
            return rule.names.index(word) + rule.first_name
        if _DIGITS.fullmatch(word) and rule.low <= int(word) <= rule.high:
            return int(word)
        names = f" or {rule.names[0]}-{rule.names[-1]}" if rule.names else ""
        if rule is WEEKDAY_QUARTZ:
            raise self.refuse(word, "Quartz counts 1-7 = SUN-SAT, or takes these names")
        raise self.refuse(word, f"not readable; {rule.low} to {rule.high}{names} was expected")

    # -- days ----------------------------------------------------------------------------------------------------------

    def days(self, field: str) -> str:
        """Days of the month, as croniter's plain list: numbers, `L`, or one `15W`."""
        if "W" in field:
            return self._nearest_weekday(field)
        items = field.split(",")
        if any(item.startswith("L") and item != "L" for item in items):
            raise self.refuse(field, f"{_REASONS['L']}; use 'L' or a number")
        plain = [item for item in items if item != "L"]
        numbers = sorted(self.numbers(",".join(plain))) if plain else []
        if "L" in items and "*" in plain:
            raise self.refuse(field, "'*' in a list makes the rest meaningless; leave one out")
        if len(numbers) == self.rule.top:
            return "*"
        return ",".join([*map(str, numbers), *(["L"] if "L" in items else [])])

    def _nearest_weekday(self, field: str) -> str:
        if field in ("LW", "WL"):
            raise self.refuse(field, f"{_REASONS['LW']}; use 'L' or a number")
        found = _NEAREST.fullmatch(field)
        if found is None or int(found[1]) < 1:
            raise self.refuse(field, "'W' stands alone after one day, such as 15W")
        if int(found[1]) > 28:
            raise self.refuse(field, "not every month has that day, and programs disagree what follows; use 1W to 28W")
        return f"{int(found[1])}W"

    def weekdays(self, field: str) -> str:
        """Days of the week, as croniter's plain list: 0-6, `5#3`, `L5`."""
        if field == "L":
            if self.rule is WEEKDAY_QUARTZ:
                return "6"
            raise self.refuse(field, "cron programs disagree on it; write SAT, or FRIL for the last Friday")
        special = [item for item in field.split(",") if self._is_special(item)]
        if not special:
            numbers = sorted({self._inside(number) for number in self.numbers(field)})
            return "*" if len(numbers) == 7 else ",".join(map(str, numbers))
        if len(special) < len(field.split(",")):
            raise self.refuse(field, "'#' and 'L' do not mix with plain days; write two schedules")
        return ",".join(self._special(item) for item in special)

    def _is_special(self, item: str) -> bool:
        return "#" in item or (item.endswith("L") and item not in self.rule.names)

    def _special(self, item: str) -> str:
        if last := _LAST.fullmatch(item):
            return f"L{self._inside(self.value(last[1]))}"
        nth = _NTH.fullmatch(item)
        if nth is None:
            raise self.refuse(item, "not readable; write FRI#3 for the third Friday, FRIL for the last")
        day = self.value(nth[1])
        if nth[2] not in tuple("12345"):
            raise self.refuse(item, "give the week of the month after '#', 1 to 5")
        return f"{self._inside(day)}#{nth[2]}"

    def _inside(self, day: int) -> int:
        return (day - self.rule.first_name) % 7

    # -- H -------------------------------------------------------------------------------------------------------------

    def without_hash(self, field: str, key: str) -> str:
        """The field with each `H` replaced by what the key gives: a number, or a range with a step."""
        if not _HASH_WORD.search(field):
            return field
        pieces = re.split(r",(?![^()]*\))", field)
        return ",".join(self._hashed(item, key) if _HASH_WORD.search(item) else item for item in pieces)

    def _hashed(self, item: str, key: str) -> str:
        found = _HASH_ITEM.fullmatch(item)
        if found is None or self.rule.hash_top is None:
            raise self.refuse(item, "'H' is written H, H/15, H(0-29) or H(0-29)/10, and not for the year")
        low, high = self.rule.low, self.rule.hash_top
        if found[1]:
            low, high = self._range(f"{found[1]}-{found[2]}", found[1], found[2])
        size = high - low + 1
        step = self._step(item, found[3], size) if found[3] is not None else size
        if not key:
            raise self.refuse(item, "'H' spreads by organisation and schedule, and none was given here")
        digest = sha256(f"{self.rule.name}\0{key}".encode("utf-8", "surrogatepass")).digest()
        start = low + int.from_bytes(digest[:8]) % step
        return str(start) if start + step > high else f"{start}-{high}/{step}"


_REASONS: Final = {
    "R": "'R' is random; a schedule must give the same slots to everybody; 'H' spreads and is stable",
    "?": "'?' is for day-of-month and day-of-week only; write '*'",
    "L": "not supported, the calendar underneath can not say days before the last",
    "LW": "not supported, the calendar underneath can not say the last weekday",
}


@lru_cache(maxsize=4096)
def names_hash(text: str) -> bool:
    """Whether the expression has an `H`, so that its slots depend on the key."""
    return _HASH_WORD.search(text.upper()) is not None
