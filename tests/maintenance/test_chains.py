"""Aggregates over aggregates, run for real: after one run everything equals the recompute from the base, or says why not."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from aggmaint.aggregates.model import AggregateDefinition, Attribute, Join, Measure, PartitionBy, Source
from aggmaint.aggregates.options import Adopt, TaskOptions

from .support import ORG, actions, group, multiset, reasons, refreshed, total
from .test_oracle import CrashError
from .trade import TRADES, Trade, TradeLab, World, month

CUBE: dict[str, Any] = {"organization_id": ORG, "cube": "sales"}


def chain() -> list[AggregateDefinition]:
    """Named so that the order of names is not that of reading: a_year reads m_month and the dimension, m_month z_day."""
    return [
        AggregateDefinition(
            **CUBE,
            name="a_year",
            source=Source(aggregate="sales.m_month", alias="m"),
            joins=[Join(source=Source(table="cities"), on="cities.city = m.seller", kind="left")],
            attributes=[Attribute("country", "cities.country"), Attribute("year", "year(m.month)")],
            measures=[
                Measure("amount", "sum", "m.amount"),
                Measure("n", "sum", "m.n"),
                Measure("w", "sum", "m.weight"),
            ],
            partition=PartitionBy("m.month", "year"),
        ),
        AggregateDefinition(
            **CUBE,
            name="b_top",
            source=Source(aggregate="sales.m_month"),
            measures=[Measure("best", "max", "amount"), Measure("months", "count_distinct", "month")],
        ),
        AggregateDefinition(
            **CUBE,
            name="m_month",
            source=Source(aggregate="Sales.Z_day", where="seller <> 'moon' OR seller IS NULL"),
            attributes=[Attribute("seller"), Attribute("month", "date_trunc('month', day)")],
            measures=[Measure("amount", "sum", "amount"), Measure("n", "sum", "n"), Measure("weight", "sum", "weight")],
            partition=PartitionBy("day", "month"),
        ),
        AggregateDefinition(
            **CUBE,
            name="z_day",
            source=TRADES,
            attributes=[Attribute("seller"), Attribute("day", "CAST(sold AS DATE)")],
            measures=[Measure("amount", "sum", "amount"), Measure("n", "count"), Measure("weight", "sum", "weight")],
            partition=PartitionBy("sold", "month"),
        ),
    ]


def expected(name: str, world: World) -> list[tuple[Any, ...]]:
    """From the base, in one step: the oracle knows no chain."""

    def sums(found: Sequence[Trade]) -> tuple[Any, ...]:
        return total([t.amount for t in found]), len(found), total([t.weight for t in found])

    if name == "z_day":
        return [(*k, *sums(f)) for k, f in group([((t.seller, t.day), t) for t in world.trades]).items()]
    trades = [t for t in world.trades if t.seller != "moon"]
    months = group([((t.seller, month(t.day)), t) for t in trades])
    if name == "m_month":
        return [(*k, *sums(f)) for k, f in months.items()]
    if name == "b_top":
        amounts = [total([t.amount for t in f]) for f in months.values()]
        best = max((a for a in amounts if a is not None), default=None)
        return [(best, len({m for _, m in months if m is not None}))]
    return [
        (*k, *sums(f)) for k, f in group([((world.country(t.seller), t.day and t.day.year), t) for t in trades]).items()
    ]


class ChainLab(TradeLab):
    def __init__(self, *, wanted: Sequence[AggregateDefinition] | None = None) -> None:
        super().__init__(wanted=chain() if wanted is None else wanted)

    def assert_right(self, *names: str) -> None:
        for name in names or [each.name for each in self.wanted]:
            assert multiset(self.view(name)) == multiset(expected(name, self.world)), name
        for difference in self.maintenance.verify(ORG):
            assert difference.equal, difference

    def change(self, name: str, **parts: Any) -> None:
        self.wanted = [evolve(each, **parts) if each.name == name else each for each in self.wanted]


@pytest.fixture
def lab() -> ChainLab:
    made = ChainLab()
    made.settle()
    made.run()
    return made


def test_a_first_run_builds_the_whole_chain_in_its_order() -> None:
    made = ChainLab()
    made.settle()
    report = made.run()
    assert report.complete, report.errors
    built = [name for action, name in actions(report) if action == "build"]
    assert built[:2] == ["z_day", "m_month"]
    assert sorted(built[2:]) == ["a_year", "b_top"]
    made.assert_right()
    made.run()
    assert made.writes() == []
    assert report.inventory is not None
    assert {each["status"] for each in report.inventory["definitions"]} == {"active"}
    assert {each["stale_partitions"] for each in report.inventory["definitions"]} == {0}


def test_one_changed_row_goes_down_the_chain_in_one_run_and_touches_its_partitions_only(lab: ChainLab) -> None:
    lab.trade(evolve(lab.trades[4], amount=Decimal("99.50")))
    report = lab.run()
    day = lab.trades[4].day
    assert day is not None
    key = f"{day:%Y-%m}"
    assert refreshed(report) == {"z_day": {key}, "m_month": {key}, "a_year": {f"{day:%Y}"}, "b_top": {"all"}}
    assert reasons(report)["a_year"] == "definition_stale", "the last word about it is what was done"
    lab.assert_right()


def test_progress_counts_the_whole_run_not_a_round(lab: ChainLab) -> None:
    lab.trade(evolve(lab.trades[4], amount=Decimal("99.50")))
    context = lab.context()
    lab.maintenance.run(context)
    told = [(done, total) for step, done, total, _ in context.seen if step == "refresh"]
    assert told == [(0, 1), (1, 2), (2, 4), (3, 4)]


def test_a_change_that_upstream_absorbs_goes_no_further(lab: ChainLab) -> None:
    """A row that the filter of m_month hides: what reads m_month is looked at, found current and left alone."""
    lab.trade(Trade(900, datetime(2024, 5, 5), "moon", None, Decimal(1)))
    report = lab.run()
    assert set(refreshed(report)) == {"z_day"}
    assert reasons(report)["m_month"] == "definition_fresh"
    assert reasons(report)["a_year"] == "definition_fresh"
    lab.assert_right()


def test_a_rebuild_upstream_with_the_same_rows_costs_downstream_nothing(lab: ChainLab) -> None:
    lab.change("z_day", source=Source(table="trades", where="id >= 0"))
    report = lab.run()
    assert actions(report) == [("build", "z_day")]
    lab.assert_right()


def test_a_view_that_is_only_named_anew_is_read_after_it_is(lab: ChainLab) -> None:
    """Only the view of z_day is another one, with the same rows: those that read it are looked at after it was made."""
    inner = next(each for each in lab.wanted if each.name == "z_day")
    assert inner.partition is not None
    lab.change("z_day", partition=evolve(inner.partition, merge=True))
    report = lab.run()
    assert ("redefine", "z_day") in actions(report)
    assert [name for _, name in actions(report)] == ["z_day"], "the rows are the same"
    assert reasons(report)["m_month"] == "definition_fresh"
    lab.assert_right()


def test_nothing_is_computed_from_a_damaged_table(lab: ChainLab) -> None:
    """The damage is in z_day's table: it is repaired, and nobody below has seen it."""
    table = f'"{lab.schema}"."{lab.table_of("z_day")}"'
    lab.execute(f"UPDATE {table} SET amount = amount + 1000 WHERE month(day) = 3")
    report = lab.run()
    assert set(refreshed(report)) == {"z_day"}
    lab.assert_right()


@pytest.mark.parametrize("what", ["TABLE", "VIEW"])
def test_a_dropped_link_is_made_again_before_it_is_read(lab: ChainLab, what: str) -> None:
    name = lab.table_of("m_month") if what == "TABLE" else "sales__m_month"
    lab.execute(f'DROP {what} "{lab.schema}"."{name}"')
    report = lab.run()
    assert report.complete, report.errors
    lab.assert_right()


def test_a_blocked_link_leaves_what_reads_it_as_it_is_with_a_reason_of_its_own(lab: ChainLab) -> None:
    before = multiset(lab.view("a_year"))
    lab.change("m_month", blocked=True)
    lab.trade(evolve(lab.trades[4], amount=Decimal(7)))
    report = lab.run()
    assert not report.complete
    found = reasons(report)
    assert found["a_year"] == found["b_top"] == "upstream_unavailable"
    assert multiset(lab.view("a_year")) == before, "an older right answer"
    assert set(refreshed(report)) == {"z_day"}
    assert report.inventory is not None
    states = {each["name"]: each for each in report.inventory["definitions"]}
    assert states["a_year"]["status"] == "active"
    assert {each["state"] for each in states["a_year"]["partition_states"]} == {"unknown"}
    lab.change("m_month", blocked=False)
    assert lab.run().complete
    lab.assert_right()


def test_a_link_whose_step_fails_holds_back_all_below_it(lab: ChainLab) -> None:
    before = {name: multiset(lab.view(name)) for name in ("m_month", "a_year", "b_top")}

    lab.trade(evolve(lab.trades[4], amount=Decimal(7)))
    lab.change("m_month", measures=(Measure("amount", "sum", "CAST(seller AS INTEGER)"),))
    report = lab.run()
    found = reasons(report)
    assert found["m_month"] == "build_structure_changed"
    assert found["a_year"] == found["b_top"] == "upstream_unavailable"
    assert not report.complete
    assert {name: multiset(lab.view(name)) for name in before} == before
    lab.wanted = chain()
    assert lab.run().complete
    lab.assert_right()


def test_a_circle_breaks_its_members_only() -> None:
    made = ChainLab()
    made.settle()
    made.change("m_month", source=Source(aggregate="sales.a_year"))
    report = made.run()
    found = reasons(report)
    assert found["z_day"] == "build_first"
    assert found["m_month"] == found["a_year"] == "definition_invalid"
    assert found["b_top"] == "upstream_unavailable"
    told = [each.message for each in report.errors]
    assert any("sales.a_year -> sales.m_month -> sales.a_year" in each for each in told), told


def test_the_plan_says_what_waits_and_the_run_that_follows_does_it(lab: ChainLab) -> None:
    lab.trade(evolve(lab.trades[4], amount=Decimal(5)))
    plan = lab.maintenance.plan(ORG, now=lab.clock[0])
    told = {each.aggregate: each.words for each in plan.decisions if each.reason.value == "upstream_first"}
    assert set(told) == {"sales.m_month", "sales.a_year", "sales.b_top"}
    assert told["sales.m_month"] == "it reads sales.z_day, brought up to date first"
    assert set(refreshed(lab.run())) == {"z_day", "m_month", "a_year", "b_top"}


ADOPT = TaskOptions(adopt=Adopt()).to_json()


def test_a_lost_chain_is_adopted_in_one_run(lab: ChainLab) -> None:
    """Each link is proved against the view of the one above it, once that is adopted."""
    before = {each.name: lab.table_of(each.name) for each in lab.wanted}
    for name in ("aggmaint_instance", "aggmaint_partition", "aggmaint_source"):
        lab.execute(f'DELETE FROM "{lab.schema}".{name}')
    report = lab.run(options=ADOPT)
    assert report.complete, report.errors
    assert sorted(actions(report)) == sorted(("adopt", name) for name in before)
    assert {each.name: lab.table_of(each.name) for each in lab.wanted} == before
    lab.assert_right()


def test_a_link_that_the_ledger_lost_is_not_built_again_after_waiting(lab: ChainLab) -> None:
    """It waits for z_day, is looked at again, and is refused as it would have been at once."""
    lost = f"SELECT id FROM \"{lab.schema}\".aggmaint_instance WHERE label = 'sales.m_month'"
    for name in ("aggmaint_partition", "aggmaint_source"):
        lab.execute(f'DELETE FROM "{lab.schema}".{name} WHERE instance_id IN ({lost})')
    lab.execute(f"DELETE FROM \"{lab.schema}\".aggmaint_instance WHERE label = 'sales.m_month'")
    lab.trade(evolve(lab.trades[4], amount=Decimal("99.50")))
    report = lab.run()
    assert not report.complete
    assert reasons(report)["m_month"] == "ledger_lost"
    assert {name for _, name in actions(report)} == {"z_day"}
    assert lab.run(options=ADOPT).complete
    assert lab.run().complete
    lab.assert_right()


class Chains(RuleBasedStateMachine):
    """Base rows, a dimension, definitions and tables change; runs come and are killed; one whole run puts all right."""

    def __init__(self) -> None:
        super().__init__()
        self.lab = ChainLab()
        self.next_id = 0

    @rule(
        at=st.sampled_from([None, datetime(2024, 1, 31, 5), datetime(2024, 2, 1), datetime(2025, 2, 1)]),
        seller=st.sampled_from([None, "oslo", "moon"]),
        amount=st.sampled_from([None, Decimal("0.25"), Decimal(-3)]),
        weight=st.sampled_from([None, 0.1, 1e9]),
    )
    def insert(self, **values: Any) -> None:
        self.next_id += 1
        self.lab.trade(Trade(self.next_id, buyer=None, **values))

    @precondition(lambda self: self.lab.trades)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.lab.untrade(data.draw(st.sampled_from(sorted(self.lab.trades))))

    @rule(country=st.sampled_from([None, "no", "it"]))
    def move_city(self, country: str | None) -> None:
        self.lab.set_country("oslo", country)

    @rule(name=st.sampled_from(["z_day", "m_month"]))
    def change_definition(self, name: str) -> None:
        source = next(each.source for each in chain() if each.name == name)
        now = next(each.source for each in self.lab.wanted if each.name == name)
        more = f"({source.where or 'TRUE'}) AND n IS NOT NULL" if name == "m_month" else "id >= 0"
        self.lab.change(name, source=source if now != source else evolve(source, where=more))

    @precondition(lambda self: self.tables())
    @rule(data=st.data(), how=st.sampled_from(["DROP TABLE {}", "DELETE FROM {}", "INSERT INTO {} FROM {}"]))
    def damage(self, data: st.DataObject, how: str) -> None:
        self.lab.execute(how.replace("{}", f'"{self.lab.schema}"."{data.draw(st.sampled_from(self.tables()))}"'))

    def tables(self) -> list[str]:
        return sorted(name for name, kind in self.lab.objects() if kind == "BASE TABLE" and name.startswith("as_agg"))

    @rule(at=st.integers(0, 250))
    def crash(self, at: int) -> None:
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

    @rule()
    def run(self) -> None:
        report = self.lab.run()
        assert report.complete, report.errors
        self.lab.assert_right()
        self.lab.run()
        assert self.lab.writes() == []

    def teardown(self) -> None:
        self.run()
        self.lab.connection.close()


TestChains = Chains.TestCase
_PROFILE = settings.get_profile(settings.get_current_profile_name())
TestChains.settings = settings(_PROFILE, max_examples=_PROFILE.max_examples // 4, stateful_step_count=15)
