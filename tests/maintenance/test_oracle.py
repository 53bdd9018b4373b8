"""The oracle machine: the base is changed in every way, runs come and go, and the views always equal plain Python.

After each run: every view equals the oracle; of a single-source aggregate exactly the months whose rows changed were
refreshed; another run at once issues no write statement; what others made in our schema is as they left it. The machine also
damages tables, drops tables and views behind our back, and kills runs at any statement.
"""

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aggmaint.aggregates import slices
from aggmaint.errors import TaskFailedError

from .support import Lab, Sale, refreshed

DAYS = st.one_of(
    st.none(),
    st.sampled_from([date(2024, 1, 31), date(2024, 2, 1), date(2024, 2, 29), date(2024, 12, 31), date(2025, 1, 1)]),
)
SHOPS = st.sampled_from([None, "north", "south", "east"])
AMOUNTS = st.one_of(st.none(), st.decimals(min_value=-9, max_value=9, places=2))
QTYS = st.one_of(st.none(), st.integers(0, 4))
WEIGHTS = st.one_of(st.none(), st.sampled_from([0.1, 0.2, -0.3, 1e9]))


class CrashError(BaseException):
    """A killed run: no handler of ours may catch it."""


class Oracle(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.lab = Lab()
        self.next_id = 0
        self.published: Counter[tuple[str, Any]] = Counter()
        self.foreign: list[str] = []
        self.clean = False
        """True if the last run was whole and nothing but the base changed since."""

    def fresh_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def rows(self) -> list[int]:
        return sorted(self.lab.rows)

    @initialize(sliced=st.booleans())
    def shops(self, sliced: bool) -> None:
        """`sliced`: rows are copied aside before they are computed from, however few they are."""
        self.patch.setattr(slices, "ROWS_MIN", 0 if sliced else slices.ROWS_MIN)
        self.patch.setattr(slices, "SHARE_MAX", 1.0)
        self.lab.set_region("north", "cold")
        self.lab.set_region("south", None)

    @rule(day=DAYS, shop=SHOPS, amount=AMOUNTS, qty=QTYS, weight=WEIGHTS, times=st.integers(1, 2))
    def insert(
        self,
        day: date | None,
        shop: str | None,
        amount: Decimal | None,
        qty: int | None,
        weight: float | None,
        times: int,
    ) -> None:
        for _ in range(times):
            self.lab.put(Sale(self.fresh_id(), day, shop, amount, qty, weight))

    @precondition(lambda self: self.lab.rows)
    @rule(data=st.data(), day=DAYS)
    def move(self, data: st.DataObject, day: date | None) -> None:
        row = self.lab.rows[data.draw(st.sampled_from(self.rows()))]
        self.lab.put(evolve(row, day=day))

    @precondition(lambda self: self.lab.rows)
    @rule(data=st.data(), amount=AMOUNTS, weight=WEIGHTS, shop=SHOPS)
    def correct(self, data: st.DataObject, amount: Decimal | None, weight: float | None, shop: str | None) -> None:
        row = self.lab.rows[data.draw(st.sampled_from(self.rows()))]
        self.lab.put(evolve(row, amount=amount, weight=weight, shop=shop))

    @precondition(lambda self: self.lab.rows)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.lab.remove(data.draw(st.sampled_from(self.rows())))

    @precondition(lambda self: len(self.lab.rows) >= 2)
    @rule(data=st.data())
    def swap_amounts(self, data: st.DataObject) -> None:
        """Balanced: counts and sums over all rows stay."""
        chosen = st.lists(st.sampled_from(self.rows()), min_size=2, max_size=2, unique=True)
        one, two = (self.lab.rows[each] for each in data.draw(chosen))
        self.lab.put(evolve(one, amount=two.amount), evolve(two, amount=one.amount))

    @rule(shop=st.sampled_from(["north", "south", "east", "moon"]), region=st.sampled_from([None, "cold", "warm"]))
    def change_dimension(self, shop: str, region: str | None) -> None:
        self.lab.set_region(shop, region)

    @rule(name=st.sampled_from(["by_month", "totals", "by_region"]))
    def change_definition(self, name: str) -> None:
        """A row filter that lets all pass, or not: the contents stay, the hash does not."""
        index = next(i for i, each in enumerate(self.lab.wanted) if each.name == name)
        source = self.lab.wanted[index].source
        where = None if source.where else "id >= 0 OR id IS NULL"
        self.lab.wanted[index] = evolve(self.lab.wanted[index], source=evolve(source, where=where))
        self.clean = False

    def in_service(self) -> list[str]:
        names = {name for name, _ in self.lab.objects()}
        if "aggmaint_instance" not in names:
            return []
        rows = self.lab.execute(
            f"SELECT table_name FROM \"{self.lab.schema}\".aggmaint_instance WHERE status = 'active' ORDER BY label"
        )
        return [str(row[0]) for row in rows if row[0] in names]

    @rule(data=st.data(), how=st.sampled_from(["DROP TABLE {}", "DELETE FROM {}", "INSERT INTO {} FROM {}"]))
    def damage(self, data: st.DataObject, how: str) -> None:
        tables = self.in_service()
        if tables:
            reference = f'"{self.lab.schema}"."{data.draw(st.sampled_from(tables))}"'
            self.lab.execute(how.replace("{}", reference))
            self.clean = False

    @rule(data=st.data())
    def drop_view(self, data: st.DataObject) -> None:
        views = sorted(name for name, kind in self.lab.objects() if kind == "VIEW")
        if views:
            self.lab.execute(f'DROP VIEW "{self.lab.schema}"."{data.draw(st.sampled_from(views))}"')
            self.clean = False

    @precondition(lambda self: self.in_service())
    @rule()
    def plant_foreign(self) -> None:
        name = f"as_agg_{self.fresh_id():08x}_sales"
        self.lab.execute(f'CREATE TABLE "{self.lab.schema}"."{name}" AS SELECT 42 AS answer')
        self.foreign.append(name)

    @rule(at=st.integers(0, 150))
    def crash(self, at: int) -> None:
        """Kill the run before its statement number `at`, if it has so many."""
        left = [at]

        def before(_sql: str) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise CrashError

        self.lab.before = before
        try:
            self.lab.run()
        except CrashError:
            pass
        finally:
            self.lab.before = lambda _sql: None
        self.clean = False

    @rule(_weight=st.integers(0, 1))
    def run_more_often(self, _weight: int) -> None:
        self.run()

    @rule()
    def run(self) -> None:
        report = self.lab.run()
        assert report.complete, report.errors
        self.lab.assert_right()
        if self.clean:
            assert refreshed(report).get("by_month", set()) == self.moved_months()
        self.published = self.months()
        self.clean = True
        again = self.lab.run()
        assert self.lab.writes() == []
        assert again.complete

    @precondition(lambda self: self.in_service())
    @rule()
    def old_fence(self) -> None:
        """A job of a restored job store is refused, and writes nothing."""
        newest = self.lab.execute(f'SELECT fence FROM "{self.lab.schema}".aggmaint_control')[0][0]
        number, self.lab.number = self.lab.number, newest - 2
        with pytest.raises(TaskFailedError) as refused:
            self.lab.run()
        assert refused.value.cause == "fence_behind"
        assert self.lab.writes() == []
        self.lab.number = number

    def months(self) -> Counter[tuple[str, Any]]:
        """The rows by month, as far as by_month reads them."""
        read = [
            (r.day.strftime("%Y-%m") if r.day else "null", (r.day, r.shop, r.amount, r.qty))
            for r in self.lab.rows.values()
        ]
        return Counter(read)

    def moved_months(self) -> set[str]:
        now = self.months()
        return {month for month, _ in (now - self.published) + (self.published - now)}

    @invariant()
    def foreign_tables_are_untouched(self) -> None:
        for name in self.foreign:
            assert self.lab.execute(f'SELECT * FROM "{self.lab.schema}"."{name}"') == [(42,)]

    def teardown(self) -> None:
        """Whatever happened, a whole run makes all right."""
        try:
            self.run()
        finally:
            self.patch.undo()
            self.lab.connection.close()


TestOracle = Oracle.TestCase
_PROFILE = settings.get_profile(settings.get_current_profile_name())
TestOracle.settings = settings(_PROFILE, max_examples=_PROFILE.max_examples // 4, stateful_step_count=25)
