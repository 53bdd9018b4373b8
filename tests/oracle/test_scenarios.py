"""Single stories, each about one promise that the machine meets among many others."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import evolve

from aggmaint.core.job import JobStatus

from .crash_runs import built
from .model import ORG, Sale
from .variants import narrowed
from .world import World


def test_a_job_that_was_ended_by_an_operator_publishes_nothing_more(tmp_path: Path) -> None:
    """No successor has claimed the schema, so the guard would let it pass: the job store is asked before each publish."""
    world = World(tmp_path, ["by_month", "totals"])
    sale = Sale(1, date(2024, 1, 31), None, "north", Decimal(1), 1)
    world.change({1: sale})
    world.settle()
    world.change({1: evolve(sale, amount=Decimal(2))})
    published: list[str] = []

    def abandon(sql: str) -> None:
        if sql.startswith("INSERT INTO") and "as_agg" in sql:
            published.append(sql)
        if sql == "COMMIT" and len(published) == 1:
            newest = world.newest_job()
            assert newest is not None
            world.make_engine().abandon(ORG, newest.id, reason="it hangs")

    world.listen(after=abandon)
    world.job()
    world.listen()
    assert len(published) == 1, "the second aggregate was not published any more"
    newest = world.newest_job()
    assert newest is not None and newest.status is JobStatus.FAILED
    world.settle()


def test_a_pair_that_is_exchanged_for_another_pair_is_seen(tmp_path: Path) -> None:
    """As many rows as before, each twice: XOR of their hashes is zero before and after."""
    world = World(tmp_path, ["by_month"])
    one, other = Sale(0, date(2024, 1, 31), qty=1), Sale(0, date(2024, 1, 31), qty=2)
    world.change({key: evolve(one, id=key) for key in (1, 2)})
    world.settle()
    world.change({1: None, 2: None, 3: evolve(other, id=3), 4: evolve(other, id=4)})
    world.settle()


def test_a_superseded_table_stays_for_the_queries_that_still_read_it(tmp_path: Path) -> None:
    """A host may have read the table's name, and read from it until the grace is over."""
    world = World(tmp_path, ["by_month"])
    world.change({1: Sale(1, date(2024, 1, 31), qty=1)})
    world.settle()
    old = world.in_service("by_month")
    world.redefine("by_month", narrowed(world.kinds["by_month"]))
    world.settle()
    world.clock.pass_s(world.policy.retired_grace_s - 60)
    world.settle()
    assert (old, "TABLE") in world.objects()
    world.clock.pass_s(120)
    world.settle()
    assert (old, "TABLE") not in world.objects()


@pytest.mark.parametrize(
    "name", ["events_by_month", "all_events", "events_by_region", "grown_months", "accounts_by_month"]
)
def test_a_row_that_changes_behind_a_promise_is_found_by_the_audit(name: str, tmp_path: Path) -> None:
    world = built(tmp_path, name)
    table = world.kinds[name].table
    world.change(accounts=[evolve(world.state.accounts[2], amount=Decimal(3))])  # now the first one is below the mark
    world.settle()
    row = getattr(world.state, table)[1]
    world.break_a_promise(table, evolve(row, qty=40))
    before = world.view(name)
    world.job()
    assert world.view(name) == before, "it is hidden from a run that believes the promise"
    world.clock.pass_s(86400 * (world.policy.audit_days + 1))
    world.settle()
    assert world.view(name) != before


@pytest.mark.parametrize("name", ["accounts_by_month", "all_accounts"])
def test_a_change_with_the_newest_stamp_once_more_is_found(name: str, tmp_path: Path) -> None:
    """Clocks are coarse: what is at the mark is looked at again."""
    world = built(tmp_path, name)
    world.change(accounts=[evolve(world.state.accounts[2], qty=40)], coarse=True)
    world.settle()
