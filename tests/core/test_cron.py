"""Time expressions: `H`, the two rules at changes of the clock, and properties.

Refusals are in test_cron_refusals.py, the golden table is in test_cron_golden.py, the oracle in test_cron_oracle.py.
"""

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggmaint.core import _cron_days, _cron_zones, cron
from aggmaint.core.cron import hash_key, newest_slot, next_slot, parse_cron
from aggmaint.errors import InvalidCronError


def epoch(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def walk(expression: str, zone: str, after: int, until: int) -> list[int]:
    found: list[int] = []
    slot = next_slot(expression, zone, after)
    while slot is not None and slot <= until:
        found.append(slot)
        slot = next_slot(expression, zone, slot)
    return found


def test_day_numbers_mean_what_their_dialect_says() -> None:
    """The trap: 2 is Monday in Quartz and Tuesday in cron."""
    after = epoch("2026-01-01 00:00")
    quartz, cron = next_slot("0 0 4 ? * 2", "UTC", after), next_slot("0 4 * * 2", "UTC", after)
    assert (quartz, cron) == (epoch("2026-01-05 04:00"), epoch("2026-01-06 04:00"))


# -- changes of the clock ---------------------------------------------------------------------------------------------


def local(slots: list[int], zone: str) -> list[str]:
    return [datetime.fromtimestamp(slot, ZoneInfo(zone)).strftime("%d %H:%M%z") for slot in slots]


BERLIN = "Europe/Berlin"  # 2026: 29 March 02:00 -> 03:00, 25 October 03:00 -> 02:00


@pytest.mark.parametrize(
    ("expression", "day", "expected"),
    [
        ("0 30 2 * * ?", "2026-03-29", ["29 03:00+0200"]),
        ("0 0 2 * * ?", "2026-03-29", ["29 03:00+0200"]),
        ("0 0 3 * * ?", "2026-03-29", ["29 03:00+0200"]),
        ("0 30 2 * * ?", "2026-10-25", ["25 02:30+0200"]),
        ("0 0 3 * * ?", "2026-10-25", ["25 03:00+0100"]),
        ("*/30 * 2 * * ?", "2026-03-29", []),
        ("0 0/30 2 * * ?", "2026-03-29", []),
        ("0 0/30 2 * * ?", "2026-10-25", ["25 02:00+0200", "25 02:30+0200", "25 02:00+0100", "25 02:30+0100"]),
        ("0 30 1-3 * * ?", "2026-03-29", ["29 01:30+0100", "29 03:00+0200", "29 03:30+0200"]),
        ("0 30 1-3 * * ?", "2026-10-25", ["25 01:30+0200", "25 02:30+0200", "25 03:30+0100"]),
        ("0 0,10,20 2 * * ?", "2026-03-29", ["29 03:00+0200"]),
        ("0 0-40/20 1,2 * * ?", "2026-03-29", ["29 01:00+0100", "29 01:20+0100", "29 01:40+0100"]),
        ("*/30 30 2 * * ?", "2026-03-29", ["29 03:00+0200"]),
    ],
)
def test_gap_and_fold_in_berlin(expression: str, day: str, expected: list[str]) -> None:
    start = epoch(f"{day} 00:00", BERLIN)
    assert local(walk(expression, BERLIN, start, start + 12 * 3600), BERLIN) == expected


# -- H ----------------------------------------------------------------------------------------------------------------

KEYS = [hash_key(f"org-{n}", "4f1c") for n in range(600)]


def test_h_is_one_number_per_key_and_the_same_for_ever() -> None:
    """Written down: another hash, or another key, would move every schedule with an `H`."""
    assert hash_key("acme", "4f1c") == "acme/4f1c"
    assert parse_cron("H H * * *", "acme/4f1c").spelled == "46 22 * * *"
    assert parse_cron("H H H H H ?", "acme/4f1c").spelled == "57 46 22 7 12 ?"
    assert parse_cron("H/15 * * * *", "acme/4f1c").spelled == "1-59/15 * * * *"


@pytest.mark.parametrize(
    ("expression", "field", "values"),
    [
        ("H 4 * * *", "minutes", range(60)),
        ("H(0-29) 4 * * *", "minutes", range(30)),
        ("0 H * * *", "hours", range(24)),
        ("0 H(2-5) * * *", "hours", range(2, 6)),
        ("H 0 4 ? * *", "seconds", range(60)),
    ],
)
def test_h_spreads_over_its_range_and_never_leaves_it(expression: str, field: str, values: range) -> None:
    found = Counter(getattr(parse_cron(expression, key), field) for key in KEYS)
    assert set(found) == {(value,) for value in values}, "with 600 organisations every value has some"
    assert max(found.values()) < 4 * 600 / len(values)


def test_h_with_a_step_starts_within_the_first_step() -> None:
    starts = set()
    for key in KEYS:
        minutes = parse_cron("H/15 * * * *", key).minutes
        assert [b - a for a, b in pairwise(minutes)] == [15, 15, 15]
        starts.add(minutes[0])
    assert starts == set(range(15))
    assert {parse_cron("H(10-19)/5 * * * *", key).minutes for key in KEYS} == {(n, n + 5) for n in range(10, 15)}


def test_h_of_days_is_a_day_that_every_month_has() -> None:
    days = {parse_cron("0 0 4 H * ?", key).days[0].split()[0] for key in KEYS}
    assert days == {str(day) for day in range(1, 29)}
    quartz = {parse_cron("0 0 4 ? * H", key).days[0].split()[2] for key in KEYS}
    assert quartz == {parse_cron("0 4 * * H", key).days[0].split()[2] for key in KEYS} == set("0123456")


def test_h_of_two_fields_is_not_one_number() -> None:
    """Else a fleet of 600 would meet in 60 moments."""
    assert len({(e.minutes, e.hours) for e in (parse_cron("H H * * *", key) for key in KEYS)}) > 450


def test_h_moves_the_slots_and_no_h_means_no_key() -> None:
    after = epoch("2026-01-01")
    assert len({next_slot("H H * * *", "UTC", after, key) for key in KEYS}) > 450
    assert {next_slot("0 4 * MAR THU", "UTC", after, key) for key in KEYS} == {next_slot("0 4 * MAR THU", "UTC", after)}
    known = next_slot("H H * * *", "UTC", after, KEYS[0])
    assert known is not None
    assert newest_slot("H H * * *", "UTC", known, known + 10 * 86_400 + 5, KEYS[0]) == known + 10 * 86_400


def test_organisations_without_an_h_share_what_was_computed() -> None:
    cron._remembered_slot.cache_clear()
    for key in KEYS:
        next_slot("0 0 4 ? MAR THU", "UTC", epoch("2026-01-01"), key)
    assert cron._remembered_slot.cache_info().misses == 1


def test_an_h_is_a_fixed_moment_with_a_step_it_follows_elapsed_time() -> None:
    assert parse_cron("H H(0-3) * * *", "a").fixed
    assert not any(parse_cron("H/45 H(0-3) * * *", key).fixed for key in KEYS), (
        "one expression, one rule, whatever the key"
    )


# -- properties -------------------------------------------------------------------------------------------------------

EXPRESSIONS = st.sampled_from(
    [
        "0 4 * * *",
        "30 2 * * *",
        "*/5 * * * *",
        "*/45 * * * *",
        "0 0 4 L * ?",
        "0 0 0 ? * 6#3",
        "15 */6 * * *",
        "*/20 * 2 * * ?",
        "0 0 12 1 1 ?",
        "59 23 31 12 *",
        "10-40/10 1 * * MON",
        "5,35 0-3 * * *",
        "0 0 0 29 2 ?",
        "0 4 13 * FRI",
    ]
)
ZONES = st.sampled_from(
    [
        *("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "Europe/Dublin", "UTC"),
        *("America/Sao_Paulo", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu", "Asia/Tokyo", "Africa/Casablanca"),
    ]
)
INSTANTS = st.integers(epoch("2005-01-01"), epoch("2037-01-01"))


def forget() -> None:
    """Everything that was remembered."""
    for function in (cron._remembered_slot, cron.parse_cron, _cron_days._ask_croniter, _cron_zones._stretches):
        function.cache_clear()


@given(EXPRESSIONS, ZONES, INSTANTS, st.integers(1, 400 * 86_400))
def test_slots_grow_and_depend_on_nothing_else(expression: str, zone: str, after: int, further: int) -> None:
    """I23, and monotone: starting later never gives an earlier slot; nothing lies between an instant and its next."""
    first, later = next_slot(expression, zone, after), next_slot(expression, zone, after + further)
    assert first is not None and later is not None
    assert after < first <= later
    assert first == next_slot(expression, zone, first - 1)
    forget()
    assert next_slot(expression, zone, after) == first


@given(EXPRESSIONS, ZONES, INSTANTS, st.integers(0, 40), st.just(0) | st.integers(0, 86_400))
def test_newest_slot_is_where_a_walk_ends(expression: str, zone: str, after: int, count: int, more: int) -> None:
    known = next_slot(expression, zone, after)
    assert known is not None
    newest = known
    for _ in range(count):
        following = next_slot(expression, zone, newest)
        assert following is not None
        newest = following
    following = next_slot(expression, zone, newest)
    assert following is not None
    until = min(newest + more, following - 1)
    assert newest_slot(expression, zone, known, until) == newest


@given(EXPRESSIONS, ZONES, INSTANTS)
def test_a_slot_reads_as_the_expression_says_unless_its_moment_was_skipped(text: str, zone: str, after: int) -> None:
    slot = next_slot(text, zone, after)
    assert slot is not None
    expression, reading = parse_cron(text), datetime.fromtimestamp(slot, ZoneInfo(zone))
    wall = int(reading.replace(tzinfo=UTC).timestamp())
    if expression.next_reading(wall) != wall:
        before = datetime.fromtimestamp(slot - 1, ZoneInfo(zone))
        assert expression.fixed
        assert reading.replace(tzinfo=None) - before.replace(tzinfo=None) > (reading - before) * 2, "the end of a gap"


def test_the_newest_slot_may_be_this_second_or_the_known_one() -> None:
    assert newest_slot("* * * * * ?", "UTC", 100, 200) == 200
    assert newest_slot("* * * * * ?", "UTC", 100, 101) == 101
    assert newest_slot("* * * * *", "UTC", 120, 180) == 180
    assert newest_slot("* * * * *", "UTC", 120, 179) == 120
    year = 366 * 86_400
    assert newest_slot("* * * * *", "UTC", 120, 120 + year) == 120 + year, "also after a year, in about thirty steps"
    assert newest_slot("0 0 4 * * ? 2026", "UTC", epoch("2026-01-01 04:00"), epoch("2031-01-01")) == epoch(
        "2026-12-31 04:00"
    )


def test_a_slot_that_does_not_move_on_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard: whatever goes wrong below, a scheduler never runs in circles."""
    forget()
    monkeypatch.setattr(cron, "_next_fixed", lambda *arguments: arguments[-1])
    with pytest.raises(InvalidCronError, match="gives no later slot after 1767225600 in UTC; please report"):
        next_slot("0 4 * * *", "UTC", epoch("2026-01-01"))


@pytest.mark.parametrize("after", ["9000-01-01", "9999-12-31"])
def test_the_calendar_ends_without_an_error(after: str) -> None:
    for expression in ("0 4 * * *", "* * * * *", "0 0 4 L * ?", "0 0 4 ? * * 2099"):
        assert next_slot(expression, "Europe/Berlin", epoch(after) + 86_400 * 300) is None


def test_an_expression_whose_years_are_over_has_no_next_slot() -> None:
    assert next_slot("0 0 4 * * ? 2020", "UTC", epoch("2026-01-01")) is None
    with pytest.raises(InvalidCronError, match="no date left in the future"):
        next_slot("0 0 4 * * ? 2020", "UTC", epoch("2026-01-01"), required=True)


def test_a_year_far_ahead_is_found() -> None:
    """croniter gives up before it, in every release."""
    assert next_slot("0 0 0 1 1 ? 2099", "UTC", epoch("2026-01-01")) == epoch("2099-01-01")
    assert next_slot("0 0 0 29 2 ? 1970-2099", "UTC", epoch("2096-03-01")) is None
