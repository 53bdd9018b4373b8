"""Periods are half-open in the aggregate's zone: each instant is in exactly one, also where only one is refreshed."""

from datetime import date, datetime
from pathlib import Path

from attrs import evolve

from aggmaint.engine import JobDetails

from .model import Sale
from .world import World


def refreshed(done: JobDetails, name: str) -> set[str]:
    assert done.report is not None
    return {
        key
        for step in done.report["details"]["steps"]
        if step["aggregate"] == f"sales.{name}"
        for key in step["partitions"]
    }


def test_the_first_instant_of_the_next_period_is_not_of_this_one(tmp_path: Path) -> None:
    """A row on the 1st of February is not counted again when January is refreshed."""
    world = World(tmp_path, ["by_month", "by_week"])
    january, february = [
        Sale(key, day, shop="north", qty=key) for key, day in ((1, date(2024, 1, 31)), (2, date(2024, 2, 1)))
    ]
    world.change({1: january, 2: february, 3: Sale(3, date(2024, 2, 5), shop="north", qty=3)})
    world.settle()
    world.change({1: evolve(january, qty=4)})
    done = world.settle()
    assert refreshed(done, "by_month") == {"2024-01"}
    assert refreshed(done, "by_week") == {"2024-01-29"}


def test_the_first_instant_of_a_period_is_of_it(tmp_path: Path) -> None:
    world = World(tmp_path, ["by_month", "by_week"])
    first, monday = Sale(1, date(2024, 2, 1), shop="north", qty=1), Sale(2, date(2024, 3, 4), shop="north", qty=2)
    world.change({1: first, 2: monday})
    world.settle()
    world.change({1: evolve(first, qty=4)})
    assert refreshed(world.settle(), "by_month") == {"2024-02"}
    world.change({2: evolve(monday, qty=3)})
    assert refreshed(world.settle(), "by_week") == {"2024-03-04"}


def test_an_evening_in_new_york_is_the_next_day_in_utc(tmp_path: Path) -> None:
    """The 9th of March ends at 05:00 UTC, the 10th, of 23 hours, at 04:00: each instant is refreshed with its own day."""
    world = World(tmp_path, ["by_day"])
    instants = {
        1: datetime(2024, 3, 10, 4, 59, 59),  # the 9th
        2: datetime(2024, 3, 10, 5),  # the 10th
        3: datetime(2024, 3, 11, 3, 59, 59),
        4: datetime(2024, 3, 11, 4),  # the 11th
    }
    world.change({key: Sale(key, None, at, "north") for key, at in instants.items()})
    world.settle()
    days = {1: "2024-03-09", 2: "2024-03-10", 3: "2024-03-10", 4: "2024-03-11"}
    for key, day in days.items():
        world.change({key: Sale(key, None, instants[key], "south")})
        assert refreshed(world.settle(), "by_day") == {day}
