"""Every kind of aggregate against plain Python: roles, snowflakes, values, zones, merged periods, last values, sketches."""

from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from aggmaint.aggregates.model import AggregateDefinition, Attribute, Measure, PartitionBy, Source
from aggmaint.aggregates.periods import period_of
from aggmaint.warehouse import CompareRequest, ManagedSchema

from .support import ORG, actions, multiset, reasons, refreshed
from .trade import AMOUNT, EXPECTED, Trade, TradeLab, definitions

INSTANTS = st.one_of(
    st.none(),
    st.sampled_from(
        [
            datetime(2024, 1, 31, 23, 59, 59),
            datetime(2024, 2, 1),
            datetime(
                2024, 3, 11, 3, 59, 59
            ),  # a second before the week begins in New York, on the Monday after the change
            datetime(2024, 3, 11, 4),
            datetime(2024, 12, 31, 12),
            datetime(2025, 1, 1, 1),
        ]
    ),
)
CITIES = st.sampled_from([None, "oslo", "rome's", "bari", "null", "all", "other", "~", "", "Åre/1"])
MONEY = st.one_of(st.none(), st.decimals(min_value=-9, max_value=9, places=2))
QTYS = st.one_of(st.none(), st.integers(0, 4))
WEIGHTS = st.one_of(st.none(), st.sampled_from([0.1, 0.2, -0.3, 1e9]))


class Modelling(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.lab = TradeLab()
        self.next_id = 0
        self.published: Counter[tuple[str | None, Any]] | None = None

    def ids(self) -> list[int]:
        return sorted(self.lab.trades)

    @initialize()
    def begin(self) -> None:
        self.lab.set_country("oslo", "no")
        self.lab.set_country("bari", None)
        self.lab.set_country_region("no", "north")

    @rule(at=INSTANTS, seller=CITIES, buyer=CITIES, amount=MONEY, balance=MONEY, qty=QTYS, weight=WEIGHTS)
    def insert(self, **values: Any) -> None:
        self.next_id += 1
        self.lab.trade(Trade(self.next_id, **values))

    @precondition(lambda self: self.lab.trades)
    @rule(data=st.data(), at=INSTANTS, seller=CITIES)
    def move(self, data: st.DataObject, at: datetime | None, seller: str | None) -> None:
        self.lab.trade(evolve(self.lab.trades[data.draw(st.sampled_from(self.ids()))], at=at, seller=seller))

    @precondition(lambda self: self.lab.trades)
    @rule(data=st.data(), balance=MONEY, buyer=CITIES, weight=WEIGHTS)
    def correct(self, data: st.DataObject, balance: Decimal | None, buyer: str | None, weight: float | None) -> None:
        chosen = self.lab.trades[data.draw(st.sampled_from(self.ids()))]
        self.lab.trade(evolve(chosen, balance=balance, buyer=buyer, weight=weight))

    @precondition(lambda self: self.lab.trades)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.lab.untrade(data.draw(st.sampled_from(self.ids())))

    @rule(city=st.sampled_from(["oslo", "rome's", "bari"]), country=st.sampled_from([None, "no", "it"]))
    def move_city(self, city: str, country: str | None) -> None:
        self.lab.set_country(city, country)

    @rule(country=st.sampled_from(["no", "it"]), region=st.sampled_from([None, "north", "south"]))
    def move_country(self, country: str, region: str | None) -> None:
        self.lab.set_country_region(country, region)

    @rule()
    def run(self) -> None:
        report = self.lab.run()
        assert report.complete, report.errors
        self.lab.assert_right()
        now = Counter((t.seller, (t.at, t.amount, t.balance, t.buyer)) for t in self.lab.trades.values())
        if self.published is not None:
            moved = {seller for seller, _ in (now - self.published) + (self.published - now)}
            assert len(refreshed(report).get("by_seller", set())) == len(moved), "only the touched values"
        self.published = now
        self.lab.run()
        assert self.lab.writes() == []

    def teardown(self) -> None:
        self.run()
        self.lab.connection.close()


TestModelling = Modelling.TestCase
_PROFILE = settings.get_profile(settings.get_current_profile_name())
TestModelling.settings = settings(_PROFILE, max_examples=_PROFILE.max_examples // 6, stateful_step_count=20)


@pytest.fixture
def lab() -> TradeLab:
    made = TradeLab()
    made.settle()
    made.run()
    made.assert_right()
    return made


def test_a_dimension_in_two_roles_is_judged_by_both(lab: TradeLab) -> None:
    """A city that bought in one month and sold in another changes its country: both months are refreshed."""
    flows = next(each for each in lab.wanted if each.name == "flows")
    assert [source.alias for source in flows.sources] == ["trades", "seller_city", "buyer_city", "seller_country"]
    only_bought = Trade(100, datetime(2026, 7, 1), "oslo", "lima", Decimal(1))
    only_sold = Trade(101, datetime(2026, 8, 1), "lima", "oslo", Decimal(1))
    lab.trade(only_bought, only_sold)
    lab.untrade(*[each.id for each in lab.trades.values() if each.id < 100 and "lima" in (each.seller, each.buyer)])
    lab.run()
    lab.set_country("lima", "no")
    report = lab.run()
    assert refreshed(report)["flows"] == {"2026-07", "2026-08"}
    lab.assert_right()
    lab.set_country_region("no", "elsewhere")
    assert "2026-07" in refreshed(lab.run())["flows"], "the snowflake's outer table is read through the sellers' role"
    lab.assert_right()


def test_a_role_that_does_not_move_a_result_is_noted_once(lab: TradeLab) -> None:
    lab.set_country("atlantis", "sea")
    report = lab.run()
    assert reasons(report)["flows"] == "definition_unaffected"
    assert "flows" not in refreshed(report)
    assert reasons(lab.run())["flows"] == "definition_fresh"


def test_two_roles_want_two_aliases() -> None:
    from aggmaint.aggregates.check import check_definition

    flows = definitions()[0]
    one = evolve(flows, joins=[evolve(join, source=Source(table="cities")) for join in flows.joins[:2]])
    problems = [str(each) for each in check_definition(one)]
    assert any("alias = 'cities': two sources have this alias" in each for each in problems), problems


def test_a_name_that_both_roles_have_is_ambiguous() -> None:
    lab = TradeLab(wanted=[evolve(definitions()[0], attributes=[Attribute("country", "country")])])
    lab.settle()
    report = lab.run()
    words = report.errors[0].message
    assert "column 'country' is ambiguous; write seller_city.country or buyer_city.country" in words


def test_values_that_look_like_other_partitions_have_partitions_of_their_own() -> None:
    lab = TradeLab()
    names = [
        None,
        "null",
        "all",
        "other",
        "",
        "~",
        "~null",
        "%",
        "a b",
        "x" * 100,
        "x" * 100 + "y",
        "Å",
        "a\x00b",
        "2024-01-01",
    ]
    lab.trade(*(Trade(n, datetime(2024, 1, 1), name, None, Decimal(n)) for n, name in enumerate(names)))
    lab.run()
    lab.assert_right()
    states = lab.execute(
        f'SELECT period_key FROM "{lab.schema}".aggmaint_partition JOIN "{lab.schema}".aggmaint_instance '
        "ON id = instance_id WHERE label = 'sales.by_seller' ORDER BY period_key"
    )
    assert len(states) == len(names), "each value has one, and NULL"
    assert {"null", "~null", "~all", "other", "~", "%7E", "%7Enull", "%25", "a%20b", "%C3%85", "a%00b"} <= {
        key for (key,) in states
    }
    for n, name in enumerate(names):
        lab.trade(Trade(n, datetime(2024, 1, 1), name, None, Decimal(n) + 1))
        assert len(refreshed(lab.run())["by_seller"]) == 1, name
        lab.assert_right()


def test_a_list_of_values_keeps_the_rest_together(lab: TradeLab) -> None:
    lab.trade(Trade(200, datetime(2024, 5, 1), "tokyo", None, Decimal(1)))
    assert refreshed(lab.run())["listed"] == {"other"}
    lab.trade(Trade(201, datetime(2024, 5, 1), "rome's", None, Decimal(1)))
    assert refreshed(lab.run())["listed"] == {"rome%27s"}
    lab.assert_right()


def test_a_merged_view_hides_the_periods_that_its_table_keeps(lab: TradeLab) -> None:
    """A change in one month costs one month, though no reader sees months."""
    chosen = lab.trades[5]
    lab.trade(evolve(chosen, amount=Decimal("99.75")))
    report = lab.run()
    assert len(refreshed(report)["merged"]) == 1
    lab.assert_right("merged")
    columns = lab.execute(f'DESCRIBE "{lab.schema}"."sales__merged"')
    assert "month" not in {row[0] for row in columns}
    physical = lab.execute(f'SELECT COUNT(*) FROM "{lab.schema}"."{lab.table_of("merged")}"')[0][0]
    assert physical > len(lab.view("merged")), "several periods per row of the view"


def test_the_comparison_sees_a_wrong_partial(lab: TradeLab) -> None:
    """One partial of one measure, changed behind our back: the merged view is wrong, and verify says so."""
    table = f'"{lab.schema}"."{lab.table_of("merged")}"'
    for change in ("n = n + 1", "amount = amount + 0.01", "closing = closing + 1, closing__order = DATE '2099-01-01'"):
        lab.execute(f"UPDATE {table} SET {change} WHERE aggmaint_period = DATE '2024-06-01'")
        (difference,) = lab.maintenance.verify(ORG, "merged")
        assert not difference.equal, change
        assert lab.run().complete
        lab.assert_right()


def test_the_comparison_in_parts_is_by_period_also_where_the_view_merges(lab: TradeLab) -> None:
    """Two partials of one seller, wrong by +1 and -1: the view is right, its table is not, and parts see it."""
    table = f'"{lab.schema}"."{lab.table_of("merged")}"'
    merged = next(each for each in lab.wanted if each.name == "merged")
    periods = [period_of(start, merged.partition) for start in ("2024-01-01", "2024-07-01")]
    with closing(lab.warehouse.open(ManagedSchema("default", ORG, lab.schema), read_only=True)) as session:
        assert session.compare(merged, CompareRequest(tuple(periods))).equal
        for change, start in (("+ 1", "2024-01-01"), ("- 1", "2024-07-01")):
            lab.execute(f"UPDATE {table} SET n = n {change} WHERE aggmaint_period = '{start}' AND seller = 'oslo'")
        assert session.compare(merged).equal
        parts = session.compare(merged, CompareRequest(tuple(periods), samples_max=5))
        assert (parts.wrong, parts.missing, parts.extra) == (2, 0, 0)
        assert [dict(each.key)["aggmaint_period"] for each in parts.samples] == ["2024-01-01", "2024-07-01"]
        rest = session.compare(merged, CompareRequest(tuple(periods), others=True))
        assert rest.equal
        assert rest.rows_expected > 10


def test_types_stay_what_they_are(lab: TradeLab) -> None:
    """Sums and last values of DECIMAL are DECIMAL, counts BIGINT, merged or not."""
    types = {row[0]: row[1] for row in lab.execute(f'DESCRIBE "{lab.schema}"."sales__merged"')}
    assert types["amount"] == "DECIMAL(38,2)"
    assert types["closing"] == "DECIMAL(12,2)"
    assert types["closing__order"] == "DATE"
    assert types["n"] == types["big"] == types["about"] == types["q__count"] == "BIGINT"
    assert types["most"] == "DECIMAL(12,2)"
    alone = {row[0]: row[1] for row in lab.execute(f'DESCRIBE "{lab.schema}"."sales__by_seller"')}
    assert (alone["amount"], alone["closing"]) == (types["amount"], types["closing"])


def test_of_several_last_rows_the_greatest_value_counts_whatever_the_order_of_rows() -> None:
    for amounts in ([1, 3, 2], [3, 2, 1], [2, 1, 3]):
        lab = TradeLab(wanted=[each for each in definitions() if each.name in ("by_seller", "merged")])
        at = datetime(2024, 4, 30)
        lab.trade(*(Trade(n, at, "oslo", None, None, Decimal(each)) for n, each in enumerate(amounts)))
        lab.trade(Trade(9, at + timedelta(days=1), "oslo", None, None, None))
        lab.run()
        lab.assert_right()
        assert {row[4] for row in lab.view("by_seller")} == {Decimal(3)}, "a later row without a balance says nothing"


def test_a_row_that_only_moves_in_the_order_is_seen(lab: TradeLab) -> None:
    """No other column changes, and no period: in the one aggregate rows are fingerprinted, in the other joined rows."""
    first, second = (
        Trade(each, datetime(2030, 5, each - 299), "bari", "bari", Decimal(1), Decimal(each), 1, 0.5)
        for each in (300, 301)
    )
    lab.trade(first, second)
    lab.run()
    lab.assert_right("by_seller", "merged_join")
    lab.trade(evolve(second, at=datetime(2030, 4, 1)))
    found = refreshed(lab.run())
    assert (found["by_seller"], found["merged_join"]) == ({"bari"}, {"2030"})
    lab.assert_right()


def wide(measure: Measure, **partition: Any) -> AggregateDefinition:
    return AggregateDefinition(
        organization_id=ORG,
        cube="sales",
        name="wide",
        source=Source(table="wide"),
        measures=[measure, Measure("n", "count")],
        partition=PartitionBy("day", "month", **partition),
    )


@pytest.mark.parametrize(("values", "near"), [(1000, 0.0), (1023, 0.0), (5000, 0.1), (60_000, 0.1)])
def test_a_sketch_is_exact_while_it_is_small_and_near_when_it_is_not(values: int, near: float) -> None:
    """Values that recur in every month are counted once."""
    lab = TradeLab(wanted=[wide(Measure("about", "approx_count_distinct", "v"), merge=True)])
    lab.execute(
        "CREATE TABLE wide AS SELECT DATE '2024-01-10' + INTERVAL (m) MONTH AS day, v "
        f"FROM range({values}) AS a(v), range(3) AS b(m)"
    )
    lab.run()
    ((about, n),) = lab.view("wide")
    assert n == 3 * values
    assert abs(about - values) <= near * values
    (difference,) = lab.maintenance.verify(ORG)
    assert difference.equal, "recomputed over all rows at once, the sketch is the same one"
    lab.execute("DELETE FROM wide WHERE v = 7 AND month(day) = 2")
    assert refreshed(lab.run()) == {"wide": {"2024-02"}}
    assert lab.maintenance.verify(ORG)[0].equal


def test_a_measure_that_does_not_merge_is_refused_with_the_ways_out() -> None:
    from aggmaint.aggregates.check import check_definition

    exact = Measure("buyers", "count_distinct", "v")
    (problem,) = check_definition(wide(exact, merge=True))
    assert str(problem) == (
        "aggregate 'sales.wide', measure 'buyers' = 'count_distinct': it does not merge over periods: the same value may "
        "be in two of them; use approx_count_distinct, show the period (merge = false), or leave the partition out"
    )
    assert check_definition(wide(exact)) == ()
    by_month = evolve(wide(exact, merge=True), attributes=[Attribute("month", "date_trunc('month', day)")])
    assert check_definition(by_month) == (), "where an attribute determines the period nothing has to be merged"


def test_merging_is_a_change_of_the_view(lab: TradeLab) -> None:
    """The same aggregate, first with its period shown, then merged: both right."""
    shown = evolve(
        next(each for each in lab.wanted if each.name == "merged"), partition=PartitionBy("sold", "month", name="when")
    )
    lab.wanted = [shown]
    lab.run()
    months = {row[1] for row in lab.view("merged")}
    assert len(months) > 12
    lab.wanted = definitions()
    before = lab.table_of("merged")
    done = actions(lab.run())
    assert ("redefine", "merged") in done
    assert ("build", "merged") not in done, "no row is computed anew"
    assert lab.table_of("merged") == before
    lab.assert_right()


def test_empty_sources_give_one_row_where_there_is_no_grain() -> None:
    lab = TradeLab()
    lab.run()
    lab.assert_right()
    assert lab.view("whole") == [(0, None, None, None)]
    assert multiset(lab.view("merged")) == multiset(EXPECTED["merged"](lab.world)) == []
    assert AMOUNT.columns == ("amount",)
