"""Rules of the oracle machine: what may happen to the base, and what its owners may do to definitions."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from attrs import evolve
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from .kinds import KINDS
from .model import ORG, Account, Event, Sale
from .variants import variants
from .world import World

DAYS = st.one_of(
    st.none(),
    st.sampled_from([date(2024, 1, 31), date(2024, 2, 1), date(2024, 2, 29), date(2024, 12, 31), date(2025, 1, 1)]),
)
INSTANTS = st.one_of(
    st.none(),  # New York: midnight is 05:00 or, in summer, 04:00; the 10th of March has 23 hours
    st.sampled_from([datetime(2024, 3, 10, 4, 59, 59), datetime(2024, 3, 10, 5), datetime(2024, 3, 11, 3, 59, 59)]),
    st.sampled_from([datetime(2024, 3, 11, 4), datetime(2024, 11, 3, 3, 59, 59), datetime(2024, 11, 4, 5)]),
)
SHOPS = st.sampled_from([None, "north", "south", "east", "moon"])
REGIONS = st.sampled_from([None, "cold", "warm"])
AMOUNTS = st.one_of(st.none(), st.decimals(min_value=-9, max_value=9, places=2))
QTYS = st.one_of(st.none(), st.integers(0, 4))
WEIGHTS = st.one_of(st.none(), st.sampled_from([0.125, 0.5, -0.25, 2.0**30]))
SALES = st.builds(Sale, st.just(0), DAYS, INSTANTS, SHOPS, AMOUNTS, QTYS, WEIGHTS)
EVENTS = st.builds(Event, st.just(0), DAYS, SHOPS, AMOUNTS, QTYS)
ACCOUNTS = st.builds(Account, st.just(0), DAYS, SHOPS, AMOUNTS, QTYS, st.booleans())


class BaseRules(RuleBasedStateMachine):
    """`clean`: the last run was complete, and since then only the base changed.

    `deceived`: a promise was broken once. `forgetful`: the ledger was lost once.
    """

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.next_id = 0
        self.clean = False
        self.wide = False
        self.deceived = self.forgetful = False
        self.backups: list[tuple[Any, Path]] = []

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def reads(self, table: str) -> bool:
        """Whether any of the aggregates reads the table."""
        return any(KINDS[name].table == table and KINDS[name].over is None for name in self.world.names)

    # -- sales and shops -----------------------------------------------------------------------------------------------

    def put(self, *sales: Sale, times: int = 1) -> None:
        fresh = [evolve(sale, id=self.new_id()) for sale in sales * times]
        self.world.change({sale.id: sale for sale in fresh})

    def some_of(self, data: st.DataObject, most: int = 3) -> list[Sale]:
        ids = sorted(self.world.state.sales)
        chosen = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=most, unique=True))
        return [self.world.state.sales[each] for each in chosen]

    @rule(sale=SALES, times=st.integers(1, 2))
    def insert(self, sale: Sale, times: int) -> None:
        self.put(sale, times=times)

    @precondition(lambda self: self.world.state.sales)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.world.change({sale.id: None for sale in self.some_of(data)})

    @precondition(lambda self: self.world.state.sales)
    @rule(data=st.data(), day=DAYS, at=INSTANTS)
    def move(self, data: st.DataObject, day: date | None, at: datetime | None) -> None:
        self.world.change({sale.id: evolve(sale, day=day, at=at) for sale in self.some_of(data)})

    @precondition(lambda self: self.world.state.sales)
    @rule(data=st.data(), other=SALES)
    def correct(self, data: st.DataObject, other: Sale) -> None:
        put = {
            sale.id: evolve(sale, shop=other.shop, amount=other.amount, qty=other.qty, weight=other.weight)
            for sale in self.some_of(data, 1)
        }
        self.world.change(put)

    @precondition(lambda self: len(self.world.state.sales) >= 2)
    @rule(data=st.data())
    def swap(self, data: st.DataObject) -> None:
        """Balanced: counts, sums and extremes over all rows stay."""
        chosen = self.some_of(data, 2)
        one, two = chosen[0], chosen[-1]
        self.world.change(
            {one.id: evolve(one, amount=two.amount, qty=two.qty), two.id: evolve(two, amount=one.amount, qty=one.qty)}
        )

    @precondition(lambda self: self.world.state.sales)
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        """Balanced: as many rows go as come, with other values."""
        (gone,) = self.some_of(data, 1)
        fresh = evolve(gone, id=self.new_id(), qty=3, amount=Decimal(1))
        self.world.change({gone.id: None, fresh.id: fresh})

    @rule(pairs=st.lists(st.tuples(st.sampled_from(["north", "south", "east"]), REGIONS), max_size=4))
    def change_dimension(self, pairs: list[tuple[str, str | None]]) -> None:
        """A shop may be in no region, in one, or in several: then its sales are joined to each."""
        self.world.change({}, pairs)

    # -- sources with a promise ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.reads("events"))
    @rule(events=st.lists(EVENTS, min_size=1, max_size=3))
    def append(self, events: Sequence[Event]) -> None:
        self.world.change(events=[evolve(each, id=self.new_id()) for each in events])

    @precondition(lambda self: self.reads("accounts"))
    @rule(data=st.data(), accounts=st.lists(ACCOUNTS, min_size=1, max_size=3), coarse=st.booleans())
    def put_accounts(self, data: st.DataObject, accounts: Sequence[Account], coarse: bool) -> None:
        """New ones, changed and moved ones, some of them gone or back again; perhaps with the newest stamp once more."""
        ids = st.sampled_from([0, *self.world.state.accounts])
        chosen = [evolve(each, id=data.draw(ids) or self.new_id()) for each in accounts]
        self.world.change(accounts=list({each.id: each for each in chosen}.values()), coarse=coarse)

    @precondition(lambda self: self.world.state.events or self.world.state.accounts)
    @rule(data=st.data(), vanish=st.booleans(), told=st.booleans())
    def break_a_promise(self, data: st.DataObject, vanish: bool, told: bool) -> None:
        """A row changes behind the declaration, or vanishes: the audit finds it in its time, or a mark at once."""
        table = data.draw(st.sampled_from([name for name in ("events", "accounts") if getattr(self.world.state, name)]))
        rows = getattr(self.world.state, table)
        row = rows[data.draw(st.sampled_from(list(rows)))]
        if vanish:
            self.world.break_a_promise(table, None, row.id)
        else:
            self.world.break_a_promise(table, evolve(row, qty=(row.qty or 0) + 7))
        self.world.broken |= {name for name in self.world.names if KINDS[name].table == table}
        if told:
            self.world.engine.mark_changed(ORG, table)
        else:
            self.wait_for_the_audit()
        self.clean, self.deceived = False, True

    def wait_for_the_audit(self) -> None:
        """By then each partition is due to be looked at, whoever vouches for it."""
        self.world.clock.pass_s(timedelta(days=self.world.policy.audit_days + 1).total_seconds())
        self.clean = False

    @rule(data=st.data(), ranged=st.booleans())
    def mark_what_did_not_change(self, data: st.DataObject, ranged: bool) -> None:
        """A mark is a hint: a false one does no harm."""
        table = data.draw(st.sampled_from(["sales", "events", "accounts", "shops"]))
        starts_at, ends_at = datetime(2024, 1, 15).astimezone(), datetime(2024, 2, 15).astimezone()
        if ranged:
            self.world.engine.mark_changed(ORG, table, starts_at=starts_at, ends_at=ends_at)
        else:
            self.world.engine.mark_changed(ORG, table)

    # -- the schema ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.wide)
    @rule()
    def widen_a_column(self) -> None:
        self.world.execute(f"ALTER TABLE {self.world.base} ALTER qty TYPE BIGINT")
        self.world.execute(f"ALTER TABLE {self.world.base} ADD COLUMN note VARCHAR")
        self.wide, self.clean = True, False

    @precondition(lambda self: self.world.newest_job() is not None)
    @rule()
    def the_source_goes_away_or_comes_back(self) -> None:
        new = "elsewhere" if self.world.base == "sales" else "sales"
        self.world.execute(f"ALTER TABLE {self.world.base} RENAME TO {new}")
        self.world.base = new
        self.clean = False

    # -- definitions ---------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def redefine(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.world.names))
        listed = variants(name)
        self.world.redefine(name, listed[data.draw(st.integers(0, len(listed) - 1))])
        self.clean = False

    @rule(data=st.data())
    def block_or_unblock(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.world.names))
        self.world.blocked ^= {name}
        self.world.broken.add(name)  # until a complete job it may be there or not
        self.world.seen.pop(name, None)
        self.clean = False

    @precondition(lambda self: self.world.lives.subtype is not None)
    @rule(data=st.data(), uses=st.integers(1, 3))
    def use(self, data: st.DataObject, uses: int) -> None:
        name = data.draw(st.sampled_from(self.world.names))
        at = self.world.clock.wall_at
        self.world.engine.record_use(ORG, {f"sales.{name}": (uses, at)})
        assert self.world.engine.flush_uses()
        self.world.lives.used(name, uses, at)
        self.clean = False

    @rule(hours=st.sampled_from([0.01, 0.5, 2.0, 24 * 31.0]))
    def time_passes(self, hours: float) -> None:
        self.world.clock.pass_s(hours * 3600)
        self.clean = False
