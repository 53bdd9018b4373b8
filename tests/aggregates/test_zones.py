"""Half-open UTC ranges against DuckDB's own calendar: every instant lies in the range of the period that DuckDB gives it.

DuckDB computes the period of a row (with ICU's time zone data), Python its range (with the IANA database). So each
checks the other, where clocks change, where midnight is skipped or comes twice, and where a day is missing.
"""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pytest

from aggmaint.aggregates.dialects import DuckDBDialect
from aggmaint.aggregates.parts import Granularity, PartitionBy
from aggmaint.aggregates.periods import Period, period_of

CALENDAR = [each for each in Granularity if each is not Granularity.VALUE]
ZONES = {
    "Europe/Berlin": (2024,),
    "America/New_York": (2024,),
    "Australia/Lord_Howe": (2024,),  # half an hour
    "Africa/Casablanca": (2024,),  # back for Ramadan
    "Asia/Kathmandu": (1986,),
    "America/Sao_Paulo": (2018,),  # midnight is skipped, and comes twice
    "America/Havana": (2024,),  # 00:00 comes twice
    "Asia/Beirut": (2022,),
    "Pacific/Apia": (2011,),  # a day is missing
    "America/St_Johns": (2006,),  # the clock goes back over midnight
    "Antarctica/Troll": (2024,),  # two hours
}


def instants(zone: str, year: int) -> list[datetime]:
    """Around every change of the clocks in a year, to the minute and the second; and every sixth hour."""
    at = datetime(year, 1, 1, tzinfo=UTC)
    steps = [at + timedelta(hours=hour) for hour in range(366 * 24)]
    found = set(steps[::6])
    for before, after in itertools.pairwise(steps):
        if before.astimezone(ZoneInfo(zone)).utcoffset() != after.astimezone(ZoneInfo(zone)).utcoffset():
            near = [before + timedelta(minutes=minute) for minute in range(-26 * 60, 26 * 60, 10)]
            found.update(each + timedelta(seconds=offset) for each in near for offset in (-60, -1, 0, 1, 60))
    return sorted(found)


@pytest.mark.parametrize("granularity", CALENDAR)
@pytest.mark.parametrize("zone", ZONES)
def test_every_instant_lies_in_the_range_of_its_period(zone: str, granularity: Granularity) -> None:
    partition = PartitionBy("at", granularity, zone=zone)
    connection = duckdb.connect(config={"threads": "1"})
    connection.execute("SET TimeZone = 'UTC'")
    (year,) = ZONES[zone]
    rows = instants(zone, year)
    sql = DuckDBDialect().period_start("moment", granularity, zone)
    listed = connection.execute(
        f"SELECT epoch_us(moment), CAST({sql} AS VARCHAR) FROM (SELECT UNNEST(?::TIMESTAMPTZ[]) AS moment)", [rows]
    ).fetchall()
    connection.close()
    assert len(listed) == len(rows) > 1400
    for micros, start in listed:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
        assert _holds(period_of(start, partition), at), (start, at)


def _holds(period: Period, at: datetime) -> bool:
    assert period.starts_at is not None
    assert period.ends_at is not None
    return period.starts_at <= at < period.ends_at


@pytest.mark.parametrize("zone", [zone for zone in ZONES if zone != "America/St_Johns"])
def test_days_follow_each_other_without_gap_or_overlap(zone: str) -> None:
    partition = PartitionBy("at", "day", zone=zone)
    days = [date(year, 1, 1) + timedelta(days=n) for year in ZONES[zone] for n in range(366)]
    periods = [period_of(day.isoformat(), partition) for day in days]
    assert all(one.ends_at == two.starts_at for one, two in itertools.pairwise(periods))


def bounds(day: str, zone: str) -> tuple[str, str]:
    period = period_of(day, PartitionBy("at", "day", zone=zone))
    assert period.starts_at is not None
    assert period.ends_at is not None
    return f"{period.starts_at:%m-%dT%H:%M}", f"{period.ends_at:%m-%dT%H:%M}"


@pytest.mark.parametrize(
    ("zone", "day", "range_utc"),
    [
        ("America/Sao_Paulo", "2018-11-04", ("11-04T03:00", "11-05T02:00")),  # 00:00 to 01:00 was skipped
        ("America/Sao_Paulo", "2018-02-17", ("02-17T02:00", "02-18T03:00")),  # 23:00 came twice
        ("America/Havana", "2024-11-03", ("11-03T04:00", "11-04T05:00")),  # begins with the first 00:00
        ("America/Havana", "2024-11-02", ("11-02T04:00", "11-03T04:00")),
        ("Pacific/Apia", "2011-12-30", ("12-30T10:00", "12-30T10:00")),  # never was
        (
            "America/St_Johns",
            "2006-10-28",
            ("10-28T02:30", "10-29T03:30"),
        ),  # its last hour came after the next midnight
        ("America/St_Johns", "2006-10-29", ("10-29T02:30", "10-30T03:30")),
    ],
)
def test_days_whose_midnight_is_not_plain(zone: str, day: str, range_utc: tuple[str, str]) -> None:
    assert bounds(day, zone) == range_utc


def test_a_midnight_within_a_skipped_hour() -> None:
    """Toronto 1919: 23:30 became 00:30, so that the next day began half an hour after its midnight."""
    assert bounds("1919-03-31", "America/Toronto") == ("03-31T04:30", "04-01T04:00")
