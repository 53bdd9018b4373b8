"""docs/reference/schedules.md keeps its word: every row of its tables is run."""

import re
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from aggmaint.core.cron import next_slot, parse_cron
from aggmaint.errors import InvalidCronError

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "schedules.md").read_text(encoding="utf-8")


def table(header: str) -> list[list[str]]:
    """The rows of the table with this header."""
    (body,) = re.findall(rf"^\| {re.escape(header)} \|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip().strip("`") for cell in line.strip().strip("|").split("|")] for line in body.splitlines()]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "starts"),
    [
        *(
            (expression, zone, "2026-01-01 00:00+00:00", starts)
            for expression, zone, starts in table("expression | zone | starts")
        ),
        *table("expression | zone | after | starts"),
    ],
)
def test_the_starts_are_those_that_are_told(expression: str, zone: str, after: str, starts: str) -> None:
    at = datetime.fromisoformat(after)
    slot: int | None = int((at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))).timestamp())
    for expected in starts.split(", "):
        assert slot is not None
        slot = next_slot(expression, zone, slot)
        shown = datetime.fromtimestamp(slot or 0, ZoneInfo(zone)).isoformat(" ")
        assert shown.startswith(expected), f"{shown} instead of {expected}"


@pytest.mark.parametrize(("expression", "why"), table("expression | why"))
def test_what_is_refused_is_refused_for_that_reason(expression: str, why: str) -> None:
    with pytest.raises(InvalidCronError) as caught:
        parse_cron(expression)
    assert why.removeprefix("a character") in caught.value.reason


def test_the_tables_are_there() -> None:
    assert len(table("expression | zone | starts")) > 10
    assert len(table("expression | why")) > 15
