"""Which days: the one question that croniter is asked.

Theory of operation. `_ask_croniter` asks for the first matching midnight, on naive time, with plain lists of numbers and
one day condition at a time. There is no zone, no step, no range, no year and no day-of-month *or* day-of-week in the
question: those are where croniter's releases differ (`0 0 31 2 0` raised until 7.0.0, years far ahead still do). The golden
table is checked against every supported release. Days are counted from 1970-01-01, as local seconds are.
"""

from bisect import bisect_left
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final

EPOCH: Final = date(1970, 1, 1).toordinal()
DAY_MAX: Final = date(9000, 1, 1).toordinal() - EPOCH
"""No slots are told beyond it: the calendar of datetime ends at 9999."""
SEARCH_YEARS: Final = 50
"""The rarest day, a fifth Friday of February, comes every 28 or 40 years."""

EVERY_DAY: Final = "* * *"


def next_matching_day(parts: tuple[str, ...], years: tuple[int, ...] | None, day: int) -> int | None:
    """The first day at or after `day` that one of the parts (`day-of-month month day-of-week`) names, in those years."""
    while day <= DAY_MAX:
        if years is not None:
            year = date.fromordinal(day + EPOCH).year
            index = bisect_left(years, year)
            if index == len(years):
                return None
            if years[index] != year:
                day = date(years[index], 1, 1).toordinal() - EPOCH
        found = [each for part in parts if (each := _next_day(part, day)) is not None]
        if not found or years is None:
            return min(found, default=None)
        day = min(found)
        if date.fromordinal(day + EPOCH).year in years:
            return day
    return None


def _next_day(part: str, day: int) -> int | None:
    return day if part == EVERY_DAY else _ask_croniter(part, day)


@lru_cache(maxsize=65_536)
def _ask_croniter(part: str, day: int) -> int | None:
    from croniter import CroniterBadDateError, croniter  # 45 ms: imported here, so that `import aggmaint` stays light

    midnight = datetime.combine(date.fromordinal(day + EPOCH), datetime.min.time())
    walk = croniter(f"0 0 {part}", midnight - timedelta(seconds=1), max_years_between_matches=SEARCH_YEARS)
    try:
        found: datetime = walk.get_next(datetime)
    except CroniterBadDateError:
        return None
    return found.toordinal() - EPOCH
