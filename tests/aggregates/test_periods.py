"""Periods: keys, half-open ranges in UTC, days of 23 and 25 hours, dates that Python can not hold."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggmaint.aggregates.model import Granularity, PartitionBy
from aggmaint.aggregates.periods import NULL_PERIOD, WHOLE_PERIOD, date_ranges, period_of

CALENDAR = [each for each in Granularity if each is not Granularity.VALUE]
BERLIN = PartitionBy("d", "day", zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("granularity", "start", "key", "end"),
    [
        ("day", "2024-02-29", "2024-02-29", datetime(2024, 3, 1, tzinfo=UTC)),
        ("week", "2024-12-30", "2024-12-30", datetime(2025, 1, 6, tzinfo=UTC)),
        ("month", "2024-12-01", "2024-12", datetime(2025, 1, 1, tzinfo=UTC)),
        ("quarter", "2024-10-01", "2024-Q4", datetime(2025, 1, 1, tzinfo=UTC)),
        ("year", "2024-01-01", "2024", datetime(2025, 1, 1, tzinfo=UTC)),
    ],
)
def test_keys_and_ranges(granularity: str, start: str, key: str, end: datetime) -> None:
    period = period_of(start, PartitionBy("d", granularity))
    assert (period.key, period.starts_on, period.ends_at) == (key, start, end)
    assert period.starts_at == datetime.fromisoformat(start).replace(tzinfo=UTC)


@pytest.mark.parametrize(("day", "hours"), [("2024-03-31", 23), ("2024-10-27", 25), ("2024-06-01", 24)])
def test_a_day_is_from_midnight_to_midnight_of_its_zone(day: str, hours: int) -> None:
    period = period_of(day, BERLIN)
    assert period.starts_at is not None
    assert period.ends_at is not None
    assert period.ends_at - period.starts_at == timedelta(hours=hours)


@given(
    st.dates(min_value=date(2, 1, 1), max_value=date(9990, 1, 1)),
    st.sampled_from(CALENDAR),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]),
)
def test_periods_follow_each_other_without_gap_or_overlap(day: date, granularity: Granularity, zone: str) -> None:
    partition = PartitionBy("d", granularity, zone=zone)
    start = _start(day, granularity)
    following = _start(
        start + timedelta(days={"day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}[granularity]), granularity
    )
    first, second = period_of(start.isoformat(), partition), period_of(following.isoformat(), partition)
    assert first.ends_at is not None
    assert second.starts_at is not None
    assert first.ends_at == second.starts_at or _overlap_in_st_johns(second.starts_at, first.ends_at, zone)
    assert first.key < second.key


def _overlap_in_st_johns(starts_at: datetime, ends_at: datetime, zone: str) -> bool:
    """Until 2011 the clocks there went back at 00:01, over midnight."""
    return zone == "America/St_Johns" and timedelta() < ends_at - starts_at <= timedelta(hours=2)


def _start(day: date, granularity: Granularity) -> date:
    match granularity:
        case Granularity.DAY | Granularity.VALUE:
            return day
        case Granularity.WEEK:
            return day - timedelta(days=day.weekday())
        case Granularity.MONTH:
            return day.replace(day=1)
        case Granularity.QUARTER:
            return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        case Granularity.YEAR:
            return day.replace(month=1, day=1)


def test_special_periods() -> None:
    assert period_of(None, BERLIN) == NULL_PERIOD
    assert period_of(None, None) == period_of("2024-01-01", None) == WHOLE_PERIOD
    for text in ("infinity", "294247-01-01", "0044-03-15 (BC)"):
        assert period_of(text, BERLIN).key == text
    assert period_of("9999-12-01", PartitionBy("d", "month")).ends_at is None


def test_ranges_hold_all_periods_and_no_others_or_are_left_out() -> None:
    month = PartitionBy("d", "month")
    periods = [period_of(each, month) for each in ("2024-05-01", "2024-02-01", None, "2024-03-01")]
    assert date_ranges(periods, month) == ([("2024-02-01", "2024-04-01"), ("2024-05-01", "2024-06-01")], True)
    assert date_ranges([period_of("2024-05-01", BERLIN)], BERLIN) == ([("2024-04-30", "2024-05-03")], False)
    assert date_ranges([NULL_PERIOD], month)[0] == []
    assert date_ranges([*periods, period_of("infinity", month)], month) == ([], False)
    assert date_ranges([period_of("9999-12-01", month)], month) == ([], False)
    many = [period_of(f"{year}-01-01", month) for year in range(1900, 1950)]
    assert date_ranges(many, month) == ([("1900-01-01", "1949-02-01")], False), "then they only help to skip"
