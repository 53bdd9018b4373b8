"""Checks of merging new rows, for warehouses that claim `merges`; others must compute anew, and tell of nothing to merge."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Final

import pytest
from attrs import evolve

from .._maintenance_publications import publication_of, request_of
from ..aggregates.decisions import RefreshStep
from ..aggregates.growth import Grown
from ..aggregates.plan import plan_maintenance
from ..aggregates.policy import Policy
from ..aggregates.source import Source
from ..errors import FenceLostError, WarehouseError
from ..warehouse import Refresh, WarehouseSession
from ._expect import equal, holds, present, raises
from ._warehouse_base import BY_MONTH, WarehouseSuiteBase
from .warehouse_bench import SALES, BaseRow

GROWN = evolve(BY_MONTH, source=Source(table=SALES, append_only="qty", marks_commit_in_order=True))
OLD: tuple[BaseRow, ...] = tuple(
    {"day": day, "shop": shop, "amount": amount, "qty": number, "code": "1"}
    for number, (day, shop, amount) in enumerate(
        [
            (date(2024, 1, 5), "north", Decimal("1.50")),
            (date(2024, 1, 6), None, None),
            (date(2024, 2, 1), "south", Decimal("4.00")),
            (date(2024, 2, 2), None, Decimal("0.25")),
            (None, "north", Decimal("8.00")),
        ]
    )
)
NEW: tuple[BaseRow, ...] = tuple(
    {"day": day, "shop": shop, "amount": amount, "qty": 10 + number, "code": "1"}
    for number, (day, shop, amount) in enumerate(
        [
            (date(2024, 1, 7), None, Decimal("2.00")),
            (date(2024, 1, 8), "north", None),
            (date(2024, 1, 9), "moon", None),
            (None, "north", Decimal("-1.00")),
            (date(2031, 7, 31), None, None),
        ]
    )
)
ALWAYS: Final = Policy(merge_rows_min=0)


class MergingChecks(WarehouseSuiteBase):
    """merges."""

    def need_merging(self) -> None:
        if not self.warehouse.capabilities.merges:
            pytest.skip("the warehouse does not claim merges")
        self.put(OLD)
        self.ready(GROWN)

    def merge(self, session: WarehouseSession) -> Refresh:
        """What the planner would merge, staged, as a publication that is not published yet."""
        observation = session.observe([GROWN], sick={})
        steps = plan_maintenance([GROWN], observation, ALWAYS, self.at()).steps
        step = present(next((each for each in steps if isinstance(each, RefreshStep)), None), "something to refresh")
        staged = {GROWN.id: session.stage([request_of(step)])[0]}
        publication = publication_of(step, staged)
        assert isinstance(publication, Refresh)
        return publication

    def grow(self, rows: Sequence[BaseRow]) -> Refresh:
        """Give the base these rows, and publish what follows."""
        self.put(rows)
        session = self.claimed(GROWN)
        publication = self.merge(session)
        self.publish(session, publication)
        session.close()
        return publication

    def settled(self) -> None:
        """The view is right, and the ledger true: nothing is to be done, whatever is looked at."""
        self.right(GROWN)
        plan = plan_maintenance([GROWN], self.observed(GROWN), ALWAYS, self.at())
        equal(list(plan.steps), [], "steps of a plan right after a merge")
        undeclared = self.observed(BY_MONTH)
        instance = self.active(BY_MONTH)
        now = dict(undeclared.definitions[BY_MONTH.id].tokens or ())
        equal(
            {each.period: each.token for each in instance.partitions}, now, "tokens noted, and of the source as it is"
        )
        there = {each.period: (each.rows, each.content) for each in undeclared.tables[instance.id].contents}
        equal({e.period: (e.rows, e.content) for e in instance.partitions}, there, "contents noted, and of the table")

    def test_merging_gives_what_computing_anew_gives(self) -> None:
        """Rows of old and new keys and periods, NULL keys and sums; what is noted is true. Unclaimed, nothing is merged."""
        if not self.warehouse.capabilities.merges:
            self._computes_anew()
            return
        self.need_merging()
        publication = self.grow([*OLD, *NEW])
        merged = {each.key for each in publication.merged}
        equal(merged, {"2024-01", "null", "2031-07"}, "periods that new rows are merged into")
        self.settled()
        self.grow([*OLD, *NEW, {**NEW[0], "qty": 20}, {**NEW[4], "qty": 21, "amount": Decimal(3)}])
        self.settled()

    def _computes_anew(self) -> None:
        """Without the claim nobody is told of rows that may be merged."""
        self.put(OLD)
        self.ready(GROWN)
        self.put([*OLD, *NEW])
        found = self.observed(GROWN).definitions[GROWN.id].grown
        holds(not isinstance(found, Grown), "no periods to merge are told of, for that was not claimed")
        session = self.claimed(GROWN)
        self.publish(session, self.refresh(session, GROWN)[1])
        session.close()
        self.right(GROWN)

    def test_only_rows_that_were_added_are_merged(self) -> None:
        """A row that came late, is gone, or came or changed at the mark keeps all of them from being merged."""
        self.need_merging()
        late = {**OLD[0], "qty": -1}
        wrong: list[Sequence[BaseRow]] = [
            [*OLD, *NEW, late],
            [*OLD[1:], *NEW],
            [*OLD, *NEW, {**OLD[4], "shop": "south"}],
            [*OLD[:4], {**OLD[4], "amount": Decimal(9)}, *NEW],
            [*OLD, *NEW, {**OLD[0], "qty": None}],
        ]
        for rows in wrong:
            self.teardown_method()
            self.setup_method()
            self.need_merging()
            publication = self.grow(rows)
            equal(publication.merged, (), "periods that are merged though more happened than that rows were added")
            self.right(GROWN)

    def test_a_period_that_is_ahead_of_the_mark_is_not_merged_again(self) -> None:
        """A part of a refresh was published, so that the source's old token stays noted: no row is counted twice."""
        self.need_merging()
        self.put([*OLD, *NEW])
        session = self.claimed(GROWN)
        whole = self.merge(session)
        observation = session.observe([GROWN], sick={})
        (step,) = (
            e for e in plan_maintenance([GROWN], observation, ALWAYS, self.at()).steps if isinstance(e, RefreshStep)
        )
        part = evolve(step, partitions=step.partitions[:1], source_tokens=step.instance.source_tokens)
        staged = {GROWN.id: session.stage([request_of(part)])[0]}
        self.publish(session, publication_of(part, staged))
        session.close()
        again = self.grow([*OLD, *NEW, {**NEW[0], "qty": 30}])
        holds(part.partitions[0].period not in again.merged, "a period that is ahead of the mark is not merged")
        holds(set(again.merged) < set(whole.merged), "the others are")
        self.settled()

    def test_a_merge_is_published_once(self) -> None:
        """FenceLostError for the same publication again, one of an outdated plan, or one after a successor's claim."""
        self.need_merging()
        self.put([*OLD, *NEW])
        session = self.claimed(GROWN)
        first, second = self.merge(session), self.merge(session)
        self.publish(session, first)
        self.right(GROWN)
        for publication in (first, second):
            raises(FenceLostError, partial(self.publish, session, publication), "a merge that was done already")
        self.right(GROWN)
        self.put([*OLD, *NEW, {**NEW[0], "qty": 30}])
        late = self.merge(session)
        before = self.everything()
        self.claimed(GROWN).close()
        raises(FenceLostError, lambda: self.publish(session, late), "a merge after a successor's claim")
        equal(self.everything(), before, "what is there after it")

    def test_a_merge_is_whole_or_not_at_all(self) -> None:
        """Broken off at any statement it leaves the old rows and the old ledger, and the next one is right."""
        self.need_merging()
        self.need_watching()
        for at in range(200):
            self.teardown_method()
            self.setup_method()
            self.need_merging()
            self.put([*OLD, *NEW])
            session = self.claimed(GROWN)
            publication, before, left = self.merge(session), self.everything(), [at]

            def fail(_sql: str, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise InterruptedError

            self.bench.watch(fail)
            try:
                self.publish(session, publication)
            except (InterruptedError, WarehouseError):
                self.bench.watch(None)
                equal(self.everything(), before, f"what is there after a merge that broke off at statement {at + 1}")
                session.close()
                self.grow([*OLD, *NEW, {**NEW[0], "qty": 30}])
                self.settled()
            else:
                self.bench.watch(None)
                holds(at > 0, "the bench watches the statements of a merge")
                return
        holds(False, "a merge ends within 200 statements")
