"""The runs that test_crash_points.py cuts off: one of each sort that writes otherwise, up to the moment before its job."""

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from attrs import Factory, evolve, frozen

from aggmaint.aggregates.options import Adopt, TaskOptions
from aggmaint.aggregates.policy import Policy

from .kinds import KINDS, with_upstream
from .lives import Lives
from .model import Account, Event, Sale
from .tap import CrashError
from .variants import by_year, narrowed, shortened, turned
from .world import World

SALES = [
    Sale(1, date(2024, 1, 31), None, "north", Decimal("1.25"), 1, 0.5),
    Sale(2, date(2024, 2, 1), None, "south", Decimal("2.50"), 3, 0.25),
    Sale(3, date(2024, 2, 29), None, None, None, None, None),
    Sale(4, None, None, "north", Decimal("4.00"), 4, 2.0),
]
EVENTS = [Event(each.id, each.day, each.shop, each.amount, each.qty) for each in SALES]
ACCOUNTS = [Account(each.id, each.day, each.shop, each.amount, each.qty) for each in SALES]


@frozen
class Run:
    """A world before its job, and how the job is asked for. `again`: if it is cut off, it must be asked for once more."""

    make: Callable[[Path], World]
    budget: Policy | None = None
    options: Mapping[str, Any] = Factory(dict)
    again: bool = False

    @property
    def name(self) -> str:
        return self.make.__name__


def new(directory: Path, *names: str, policy: Policy | None = None, subtype: str | None = None) -> World:
    policy = policy or Policy(retired_share_max=1.0)
    world = World(directory, with_upstream(list(names)), policy, Lives(subtype))
    shops = [("north", "cold"), ("south", "warm")]
    world.change({sale.id: sale for sale in SALES}, shops, events=EVENTS, accounts=ACCOUNTS)
    return world


def built(directory: Path, *names: str, **more: Any) -> World:
    world = new(directory, *names, **more)
    world.settle()
    return world


def touch(world: World) -> None:
    """Rows came, went and moved between months."""
    world.change({1: evolve(SALES[0], day=date(2024, 2, 2)), 4: None, 5: evolve(SALES[1], id=5, day=date(2020, 5, 5))})


# -- rows that change ----------------------------------------------------------------------------------------------------


def first_build(directory: Path) -> World:
    return new(directory, "by_month", "totals")


def refresh(directory: Path) -> World:
    world = built(directory, "by_month", "by_region")
    touch(world)
    return world


def refresh_by_value_and_merged(directory: Path) -> World:
    world = built(directory, "by_place", "merged")
    touch(world)
    return world


def refresh_a_chain(directory: Path) -> World:
    world = built(directory, "over_years")
    touch(world)
    return world


def refresh_declared(directory: Path) -> World:
    """Events were appended; of the accounts one is gone and one has moved."""
    world = built(directory, "events_by_month", "all_events", "accounts_by_month")
    gone, moved = evolve(ACCOUNTS[0], gone=True), evolve(ACCOUNTS[1], day=date(2024, 3, 3))
    world.change(events=[Event(9, date(2024, 3, 1), "north", Decimal(9), 9)], accounts=[gone, moved])
    return world


def merge(directory: Path) -> World:
    """Events were appended to a source whose marks commit in order: only these are read, and merged into what is there."""
    policy = Policy(retired_share_max=1.0, merge_rows_min=0)
    world = built(directory, "grown_months", "grown_totals", "grown_regions", policy=policy)
    new_month = Event(10, date(2024, 3, 1), "south", Decimal(8), 2)
    world.change(events=[Event(9, date(2024, 1, 1), "north", Decimal(9), 9), new_month])
    return world


def note_tokens(directory: Path) -> World:
    """A joined source moved, and no partition with it."""
    world = built(directory, "by_region", "weights")
    world.change({}, [*world.state.shops, ("moon", "cold")])
    return world


# -- definitions that change ---------------------------------------------------------------------------------------------


def switch(directory: Path) -> World:
    """The definitions changed: one in its contents, one in its columns."""
    world = built(directory, "by_month", "by_region")
    world.redefine("by_month", narrowed(KINDS["by_month"]))
    world.redefine("by_region", shortened(KINDS["by_region"]))
    return world


def add_measures(directory: Path) -> World:
    """What was there is copied, what is new is computed beside it; one month is stale besides."""
    world = new(directory, "by_day", "totals")
    for name in world.names:
        world.redefine(name, shortened(KINDS[name]))
    world.settle()
    for name in world.names:
        world.redefine(name, KINDS[name])
    world.change({5: evolve(SALES[1], id=5)})
    return world


def partition_otherwise(directory: Path) -> World:
    """One is cut by years now; of the other only the view changes."""
    world = built(directory, "latest", "by_month")
    world.redefine("latest", by_year(KINDS["latest"]))
    world.redefine("by_month", turned(KINDS["by_month"]))
    return world


# -- pieces and budgets --------------------------------------------------------------------------------------------------

PIECES = Policy(retired_share_max=1.0, build_partitions_per_publish=1)


def first_build_in_pieces(directory: Path) -> World:
    return new(directory, "by_month", policy=PIECES)


def rebuild_in_pieces(directory: Path) -> World:
    """Beside the old one, which serves until then; a month is stale besides."""
    world = built(directory, "by_month", policy=PIECES)
    world.redefine("by_month", narrowed(KINDS["by_month"]))
    touch(world)
    return world


def refresh_on_a_budget(directory: Path) -> World:
    """One of several stale months is refreshed: until the others are, the aggregate is mixed."""
    return refresh(directory)


# -- what comes and goes -------------------------------------------------------------------------------------------------


def retire(directory: Path) -> World:
    world = built(directory, "by_month", "totals")
    world.blocked.add("totals")
    return world


def rest(directory: Path) -> World:
    """Nobody used them for long."""
    world = built(directory, "by_month", "totals", subtype="demand_defined")
    world.clock.pass_s(46 * 86400)
    return world


def restore_view(directory: Path) -> World:
    world = built(directory, "by_month", "totals")
    world.execute(f'DROP VIEW "{world.schema}".sales__totals')
    world.broken.add("totals")
    return world


def replace_broken(directory: Path) -> World:
    """A table was dropped behind our back: off the view at once, then built again."""
    world = built(directory, "by_month", "totals")
    world.execute(f'DROP TABLE "{world.schema}"."{world.in_service("totals")}"')
    world.broken.add("totals")
    return world


def drop(directory: Path) -> World:
    """Superseded tables, past their grace."""
    world = switch(directory)
    world.settle()
    world.clock.pass_s(7200)
    return world


def forget(directory: Path) -> World:
    """Records of tables that were dropped long ago."""
    world = drop(directory)
    world.settle()
    world.clock.pass_s(31 * 86400)
    return world


def take_over(directory: Path) -> World:
    """The one before died in the middle of a build: its claim stands, its intent and perhaps its table are there."""
    world = first_build(directory)
    left = [2]

    def die(sql: str) -> None:
        left[0] -= sql.startswith("CREATE TABLE") and "AS SELECT" in sql
        if left[0] == 0:
            world.kill()

    world.listen(after=die)
    with pytest.raises(CrashError):
        world.job()
    world.restart()
    return world


def adopt(directory: Path) -> World:
    """The ledger has lost its rows."""
    world = built(directory, "by_month", "by_region")
    for table in ("aggmaint_instance", "aggmaint_partition", "aggmaint_source"):
        world.execute(f'DELETE FROM "{world.schema}".{table}')
    return world


def rebuild(directory: Path) -> World:
    return built(directory, "by_month", "totals")


RUNS = (
    *map(Run, (first_build, refresh, note_tokens, switch, retire, restore_view, replace_broken, drop, forget)),
    *map(Run, (take_over, refresh_by_value_and_merged, refresh_a_chain, refresh_declared, merge, add_measures)),
    *map(Run, (partition_otherwise, first_build_in_pieces, rebuild_in_pieces, rest)),
    Run(refresh_on_a_budget, budget=Policy(run_partitions_max=1)),
    Run(adopt, options=TaskOptions(adopt=Adopt()).to_json(), again=True),
    Run(rebuild, options=TaskOptions(rebuild={"by_month": None, "totals": ["all"]}).to_json()),
)
