"""A zone as stretches of constant offset: between two changes of the clock, local time is UTC plus a number.

Theory of operation. Zones are cut into blocks of 2^24 s (194 days); the stretches of a block are found once, by looking
every six hours and bisecting where the offset differs, and remembered. Neighbouring stretches of two blocks may have the
same offset.
All numbers are seconds since 1970-01-01: `second` of UTC, `reading` of the wall clock (UTC second + offset).
"""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import InvalidValueError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_BLOCK_BITS: Final = 24
_LOOK_S: Final = 6 * 3600
LOOK_BACK_S: Final = 2 * 86_400
"""Longer than any backward change of a clock."""


class Stretch(NamedTuple):
    """`begin <= second < end` has this offset."""

    begin: int
    end: int
    offset: int


@lru_cache(maxsize=1024)
def parse_zone(name: str) -> "ZoneInfo":
    """The time zone. Raises InvalidValueError for a name that the zone database does not know."""
    from zoneinfo import ZoneInfo  # 2 ms: imported where used, so that `import aggmaint` stays light

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as exc:
        raise InvalidValueError(f"time zone {name!r} is unknown; use an IANA name such as 'Europe/Berlin'") from exc


def stretches(zone: str, second: int) -> Iterator[Stretch]:
    """The stretch that `second` is in, and those that follow, without end."""
    block = second >> _BLOCK_BITS
    for stretch in _stretches(zone, block):
        if stretch.end > second:
            yield stretch
    while True:
        block += 1
        yield from _stretches(zone, block)


def highest_reading(zone: str, second: int) -> int:
    """The furthest that the wall clock has come at or before `second`: more than it reads then, after it was set back."""
    highest = -(1 << 62)
    for _, end, offset in stretches(zone, second - LOOK_BACK_S):
        highest = max(highest, min(end - 1, second) + offset)
        if end > second:
            break
    return highest


@lru_cache(maxsize=8192)
def _stretches(zone: str, block: int) -> tuple[Stretch, ...]:
    tz = parse_zone(zone)
    begin, block_end = block << _BLOCK_BITS, (block + 1) << _BLOCK_BITS
    offset, found = _offset_s(tz, begin), []
    for look in range(begin + _LOOK_S, block_end + _LOOK_S, _LOOK_S):
        high = min(look, block_end - 1)
        if (new := _offset_s(tz, high)) == offset:
            continue
        change = _change(tz, look - _LOOK_S, high)
        found.append(Stretch(begin, change, offset))
        begin, offset = change, new
    return (*found, Stretch(begin, block_end, offset))


def _change(tz: "ZoneInfo", low: int, high: int) -> int:
    """The first second of low+1…high that has another offset than `low`."""
    offset = _offset_s(tz, low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset_s(tz, middle) == offset else (low, middle)
    return high


def _offset_s(tz: "ZoneInfo", second: int) -> int:
    offset = datetime.fromtimestamp(second, tz).utcoffset()
    assert offset is not None
    return offset.days * 86_400 + offset.seconds
