"""How things are said."""

from datetime import UTC, datetime, timedelta

import pytest

from aggmaint.asgi.dashboard import words

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (0, "< 1 ms"),
        (0.02, "20 ms"),
        (0.41, "0.41 s"),
        (4.04, "4.0 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (250, "4 min 10 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
        (-3, "< 1 ms"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (-9, "just now"),
        (5, "in a moment"),
        (-59, "59 s ago"),
        (60, "in 1 min"),
        (-7199, "1 h ago"),
        (3 * 86400, "in 3 d"),
    ],
)
def test_relative_instants(seconds: float, said: str) -> None:
    assert words.relative(NOW + timedelta(seconds=seconds), NOW) == said


def test_counts_and_lists() -> None:
    assert [words.compact(number) for number in (0, 999, 1000, 12_345, 4_100_000, 2 * 10**9)] == [
        *("0", "999", "1.0 k", "12.3 k", "4.1 M", "2.0 G")
    ]
    assert words.plural(1, "row") == "1 row" and words.plural(2000, "row") == "2,000 rows"
    assert words.some(["a", "b"], 2) == "a, b" and words.some(["a", "b", "c"], 2) == "a, b and 1 more"
    assert words.sentence("the SQL") == "The SQL" and words.sentence("") == ""


def test_unknown_words_stay_as_they_are() -> None:
    assert words.trigger("CubeUpdateMaintenance(StaticCubeUpdated)") == "Cube updated"
    assert words.trigger("Whatever(New)") == "Whatever(New)"
    assert words.step("observe") != "observe" and words.step("my own step") == "my own step"
