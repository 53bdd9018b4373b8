"""Checks of what definitions may ask for: periods, zones, values, measures, merging; and of ledgers that change hands.

A warehouse may refuse what its engine can not do, by a `Failure` of the definition; the check then does not apply, and the
certificate says what was refused. What is not refused must be what Python makes of the rows.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve

from ..aggregates.decisions import AdoptStep, BuildStep, RedefineStep, RefreshStep
from ..aggregates.model import AggregateDefinition
from ..aggregates.naming import LEDGER_TABLES
from ..aggregates.observation import FailureKind
from ..aggregates.parts import Attribute, Measure, PartitionBy
from ..aggregates.plan import plan_maintenance
from ..aggregates.policy import Policy
from ..aggregates.scans import float_sums
from ..errors import ForeignSchemaError
from ..warehouse import ManagedSchema, Switch
from ._expect import equal, holds, present, raises
from ._warehouse_base import ACME, BASE, BY_MONTH, KIT, TOTALS, WarehouseSuiteBase, canonical, definition
from .clocks import NOON
from .warehouse_bench import BaseRow

COUNT = Measure("n", "count")
ZONE = "Europe/Berlin"

STARTS: dict[str, Callable[[date], date]] = {
    "day": lambda day: day,
    "week": lambda day: day - timedelta(days=day.weekday()),
    "month": lambda day: day.replace(day=1),
    "quarter": lambda day: day.replace(month=day.month - (day.month - 1) % 3, day=1),
    "year": lambda day: day.replace(month=1, day=1),
}


class ModellingChecks(WarehouseSuiteBase):
    """Definitions, and ledgers that change hands."""

    def accepted(self, what: AggregateDefinition) -> None:
        """Put it in service; skip if the warehouse refuses it, and says so as it should."""
        failure = self.observed(what).definitions[what.id].failure
        if failure is not None:
            equal(failure.kind, FailureKind.DEFINITION, f"the kind of failure of what is refused ({failure.message})")
            holds(what.label in failure.message, "the failure names the aggregate")
            pytest.skip(f"the warehouse refuses it: {failure.message}")
        self.ready(what)

    def counts(self, key_of: Callable[[BaseRow], Any], name: str) -> list[str]:
        """How many base rows have each key."""
        keys = [key_of(row) for row in self.rows]
        return canonical([{name: key, "n": keys.count(key)} for key in dict.fromkeys(keys)])

    def steps(self, what: AggregateDefinition) -> list[RefreshStep | BuildStep]:
        """What a plan would compute of it."""
        steps = plan_maintenance([what], self.observed(what), Policy(), NOON).steps
        return [each for each in steps if isinstance(each, RefreshStep | BuildStep)]

    def fresh(self, what: AggregateDefinition) -> None:
        equal(self.steps(what), [], f"what is left to do of {what.label}")

    def periods_are_right(self, what: AggregateDefinition, key_of: Callable[[BaseRow], Any]) -> None:
        """After the build, and after a refresh of what changed: one row moved and one added."""
        partition = present(what.partition, "a partition")
        self.accepted(what)
        equal(self.view(what), self.counts(key_of, partition.name), f"rows by {partition.name}")
        sold_at = datetime.fromisoformat("2023-12-31 23:30:00")
        moved = {**self.rows[0], "day": date(2023, 12, 31), "sold_at": sold_at, "shop": "west"}
        self.put([moved, *self.rows[1:], {**self.rows[1], "day": date(2024, 12, 30)}])
        session = self.claimed(what)
        self.publish(session, self.refresh(session, what)[1])
        session.close()
        equal(self.view(what), self.counts(key_of, partition.name), f"rows by {partition.name} after a refresh")
        self.fresh(what)

    def by(self, granularity: str) -> None:
        what = definition(f"by_{granularity}", measures=[COUNT], partition=PartitionBy("day", granularity))
        self.periods_are_right(what, lambda row: row["day"] and STARTS[granularity](row["day"]))

    def test_periods_of_days(self) -> None:
        """Partitions by day."""
        self.by("day")

    def test_periods_of_weeks(self) -> None:
        """Partitions by week begin on Monday, across the ends of years too."""
        self.by("week")

    def test_periods_of_months(self) -> None:
        """Partitions by month."""
        self.by("month")

    def test_periods_of_quarters(self) -> None:
        """Partitions by quarter."""
        self.by("quarter")

    def test_periods_of_years(self) -> None:
        """Partitions by year."""
        self.by("year")

    def test_periods_begin_in_their_zone(self) -> None:
        """A timestamp without zone is UTC, its day is that of the partition's zone; a date is its own day in any."""

        def month(row: BaseRow) -> date | None:
            at: datetime | None = row["sold_at"]
            return at and at.replace(tzinfo=UTC).astimezone(ZoneInfo(ZONE)).date().replace(day=1)

        zoned = definition("zoned", measures=[COUNT], partition=PartitionBy("sold_at", "month", ZONE))
        self.periods_are_right(zoned, month)
        self.teardown_method()
        self.setup_method()
        dates = definition("dates", measures=[COUNT], partition=PartitionBy("day", "month", ZONE))
        self.periods_are_right(dates, lambda row: row["day"] and row["day"].replace(day=1))

    def test_periods_by_value(self) -> None:
        """A partition for each value, NULL its own; or for the listed ones, all others together."""
        self.periods_are_right(
            definition("shops", measures=[COUNT], partition=PartitionBy("shop", "value")), lambda row: row["shop"]
        )
        self.teardown_method()
        self.setup_method()
        listed = definition("listed", measures=[COUNT], partition=PartitionBy("shop", "value", values=("north",)))
        self.periods_are_right(listed, lambda row: row["shop"] and ("north" if row["shop"] == "north" else "other"))

    def test_a_view_may_merge_its_periods(self) -> None:
        """With `merge` the view shows one row per key, over all periods, though the table holds one per period."""
        measures = [COUNT, Measure("qty", "sum", "qty"), Measure("least", "min", "qty"), Measure("mean", "avg", "qty")]
        partition = PartitionBy("day", "month", merge=True)
        what = definition("merged", attributes=[Attribute("shop")], measures=measures, partition=partition)
        self.accepted(what)

        def must() -> list[str]:
            shown = []
            for shop in dict.fromkeys(row["shop"] for row in self.rows):
                mine = [row for row in self.rows if row["shop"] == shop]
                qty = [row["qty"] for row in mine if row["qty"] is not None]
                total = sum(qty) if qty else None
                row = {"shop": shop, "n": len(mine), "qty": total, "least": min(qty, default=None)}
                mean = None if total is None else total / len(qty)
                shown.append({**row, "mean": mean, "mean__sum": total, "mean__count": len(qty)})
            return canonical(shown)

        equal(self.view(what), must(), "what the view merges")
        self.change(0, qty=-3)
        session = self.claimed(what)
        self.publish(session, self.refresh(session, what)[1])
        equal(self.view(what), must(), "what the view merges after one period was refreshed")
        holds(session.compare(what).equal, "a merging view equals its recomputation")

    # -- measures --------------------------------------------------------------------------------------------------------

    def test_measures_are_what_they_say(self) -> None:
        """min, max, count of values, count distinct, averages that are fractions, and a filter: NULLs passed over."""
        measures = [
            *(Measure("least", "min", "qty"), Measure("most", "max", "qty"), Measure("known", "count", "qty")),
            *(Measure("shops", "count_distinct", "shop"), Measure("mean", "avg", "qty")),
            Measure("north", "sum", "qty", "shop = 'north'"),
        ]
        what = definition("measures", measures=measures)
        self.accepted(what)
        qty = [row["qty"] for row in self.rows if row["qty"] is not None]
        north = sum(row["qty"] for row in self.rows if row["shop"] == "north" and row["qty"] is not None)
        shops = {row["shop"] for row in self.rows if row["shop"] is not None}
        plain = {"least": min(qty), "most": max(qty), "known": len(qty), "shops": len(shops), "north": north}
        mean = {"mean": sum(qty) / len(qty), "mean__sum": sum(qty), "mean__count": len(qty)}
        equal(self.view(what), canonical([{**plain, **mean}]), "measures")
        holds(sum(qty) % len(qty), "the average of the kit's rows is no whole number")

    def test_last_is_the_value_of_the_latest_row(self) -> None:
        """Rows without value or order are passed over; of several last rows the greatest value."""
        what = definition("balance", measures=[Measure("last", "last", "qty", order="day")])
        self.change(0, qty=9)
        self.accepted(what)
        must = [{"last": 4, "last__order": date(2024, 2, 29)}]
        equal(self.view(what), canonical(must), "the last value")
        self.put(
            [*BASE, {**BASE[3], "qty": 7}, {**BASE[3], "qty": 6}, {**BASE[3], "day": date(2024, 3, 1), "qty": None}]
        )
        session = self.claimed(what)
        self.publish(session, self.refresh(session, what)[1])
        equal(self.view(what), canonical([{**must[0], "last": 7}]), "the last value, of several last rows")

    def test_few_distinct_values_are_counted_exactly_by_a_sketch(self) -> None:
        """approx_count_distinct of fewer values than a sketch keeps, merged over periods."""
        measures = [Measure("about", "approx_count_distinct", "shop")]
        what = definition("sketch", measures=measures, partition=PartitionBy("day", "month", merge=True))
        self.accepted(what)
        equal(self.view(what), canonical([{"about": 2}]), "distinct values, by sketches")

    def test_decimals_are_exact_if_that_is_claimed(self) -> None:
        """With `exact_decimals` sums keep every digit; without, their columns count as floats, compared with a tolerance."""
        what = definition("money", measures=[Measure("amount", "sum", "amount")])
        amounts = [
            Decimal("9999999999.99"),
            Decimal("0.01"),
            Decimal("1234567890.12"),
            Decimal("0.10"),
            Decimal("0.20"),
        ]
        self.put([{**BASE[0], "amount": each} for each in amounts])
        self.ready(what)
        if self.warehouse.capabilities.exact_decimals:
            ((shown,),) = (tuple(row.values()) for row in self.bench.read(self.schema.name, what.view_name))
            holds(isinstance(shown, Decimal), f"a sum of decimals is a decimal, not {type(shown).__name__}")
            equal(shown, sum(amounts), "a sum of decimals")
        else:
            columns, dialect = self.active(what).columns, self.warehouse.capabilities.dialect
            equal(float_sums(what, columns, dialect), {"amount"}, "columns whose sums are compared with a tolerance")

    # -- what changes meanwhile ------------------------------------------------------------------------------------------

    def right_or_found(self, what: AggregateDefinition, words: str) -> None:
        """The view shows the present base, or a plan finds what to refresh; then it does."""
        steps = self.steps(what)
        holds(steps or self.view(what) == self.must(what), f"{words}: what is not shown is found stale")
        if steps:
            session = self.claimed(what)
            self.publish(session, self.refresh(session, what)[1])
            session.close()
        self.right(what)
        self.fresh(what)

    def test_what_changes_before_it_is_staged_is_found(self) -> None:
        """Whether `stage` reads a snapshot or the present: what changed meanwhile is not taken for fresh."""
        self.ready(BY_MONTH)
        self.change(0, qty=9)
        session = self.claimed(BY_MONTH)
        observation = session.observe([BY_MONTH], sick={})
        self.change(0, qty=11)
        step = next(
            e for e in plan_maintenance([BY_MONTH], observation, Policy(), NOON).steps if isinstance(e, RefreshStep)
        )
        self.publish(session, self.staged(session, step))
        session.close()
        self.right_or_found(BY_MONTH, "a change between observing and staging")

    def test_what_changes_during_a_build_is_found(self) -> None:
        """Tokens are read before the data: whatever changes at any moment of a build is in it, or found stale."""
        moments: list[str] = []
        for at in range(10):
            self.teardown_method()
            self.setup_method()
            session, left = self.claimed(BY_MONTH), [at]

            def change(what: str, left: list[int] = left) -> None:
                moments.append(what)
                left[0] -= 1
                if left[0] == -1:
                    self.change(0, qty=77)

            (built,) = session.build(self.requests(BY_MONTH), at=self.at(), tick=change)
            if left[0] >= 0:
                return
            self.publish(session, Switch(built, None))
            session.close()
            self.right_or_found(BY_MONTH, f"a change at moment {at} of a build ({moments[-1]})")

    # -- ledgers -----------------------------------------------------------------------------------------------------------

    def test_a_build_that_was_begun_goes_on(self) -> None:
        """`begun` and `pieces`: whatever a call left, the next goes on with it, and what is switched to is whole."""
        session = self.claimed(BY_MONTH)
        (request,) = self.requests(BY_MONTH)
        request = evolve(request, pieces=1)
        (built,) = session.build([request], at=self.at())
        session.close()
        for _ in range(10):
            session = self.claimed(BY_MONTH)
            (built,) = session.build([evolve(request, begun=True)], at=self.at())
            if not built.left:
                break
            session.close()
        equal(built.left, 0, "partitions that are missing in the end")
        self.publish(session, Switch(built, None))
        self.right(BY_MONTH)
        self.fresh(BY_MONTH)

    def test_redefine_changes_the_view_only(self) -> None:
        """RedefineStep: the same table serves, the view is the new definition's, and nothing is stale."""
        self.ready(BY_MONTH)
        before = self.active(BY_MONTH)
        changed = evolve(BY_MONTH, partition=PartitionBy("day", "month", name="period"))
        session = self.claimed(changed)
        self.publish(session, RedefineStep(changed, before))
        equal(self.active(changed).table_name, before.table_name, "the table in service")
        names = {name for row in self.bench.read(self.schema.name, changed.view_name) for name in row}
        holds("period" in names and "month" not in names, "the view has the columns of the new definition")
        self.fresh(changed)

    def test_a_lost_ledger_is_adopted_without_a_build(self) -> None:
        """Tables that carry our tag serve again; what differs from the source by now is refreshed, and nothing else."""
        self.ready(BY_MONTH, TOTALS)
        instances = [self.active(what) for what in (BY_MONTH, TOTALS)]
        for name in self.bench.names(self.schema.name) & set(LEDGER_TABLES):
            self.bench.drop(self.schema.name, name)
        self.change(0, qty=9)
        session = self.open(evolve(self.schema, adopt_from=KIT))
        found = session.observe([BY_MONTH, TOTALS], sick={})
        equal((found.control, found.instances), (None, ()), "what is known without a ledger")
        for instance in instances:
            facts = present(found.tables.get(instance.id), "facts of a table with our tag that no ledger names")
            equal(facts.columns, instance.columns, "its columns")
        holds(session.claim(self.fence(), seen=None), "a claim of a schema without a ledger")
        session.observe([BY_MONTH, TOTALS], sick={})
        for what, instance in zip((BY_MONTH, TOTALS), instances, strict=True):
            row = evolve(instance, partitions=(), source_tokens=(), rows=0)
            self.publish(session, AdoptStep(what, row))
            equal(self.active(what).table_name, instance.table_name, "the table in service")
        session.close()
        keys = {p.period.key for each in self.steps(BY_MONTH) if isinstance(each, RefreshStep) for p in each.partitions}
        equal(keys, {"2024-01"}, "stale periods of what was adopted")
        self.right_or_found(BY_MONTH, "a change before adopting")

    def test_another_installations_schema_can_be_taken_over(self) -> None:
        """Opened with `adopt_from`, a claim makes control row and tags ours; the old installation is then foreign."""
        self.ready(BY_MONTH)
        heir = ManagedSchema("heir", ACME, self.schema.name, adopt_from=KIT)
        session = self.open(heir)
        seen = present(session.observe([BY_MONTH], sick={}).control, "the control row of who is taken over")
        holds(session.claim(self.fence(), seen=seen), "a claim that takes over")
        session.close()
        raises(ForeignSchemaError, lambda: self.observed(BY_MONTH), "observing as the old installation")
        session = self.open(evolve(heir, adopt_from=None))
        found = session.observe([BY_MONTH], sick={})
        tags = {each.tag.installation for each in found.objects if each.tag is not None}
        equal(tags, {"heir"}, "whose the tags are")
        holds(session.claim(self.fence(), seen=found.control), "the heir's next claim")
        self.change(0, qty=9)
        self.publish(session, self.refresh(session, BY_MONTH)[1])
        self.right(BY_MONTH)
