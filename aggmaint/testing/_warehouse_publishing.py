"""Checks of build and publish: what readers see, what the ledger says, and what is never touched."""

import threading
from datetime import date
from decimal import Decimal

from attrs import evolve

from ..aggregates.decisions import AdoptStep, DisownStep, DropStep, ForgetStep, RecordStep
from ..aggregates.life import DefinitionRecord
from ..aggregates.model import InstanceStatus
from ..aggregates.observation import active_instance
from ..aggregates.parts import Measure
from ..aggregates.plan import plan_maintenance
from ..aggregates.policy import Policy
from ..aggregates.reasons import Reason
from ..errors import FenceLostError, WarehouseError, WarehouseQueryError
from ..warehouse import Failed, Failures, RestoreView, Switch
from ._expect import equal, holds, present, raises
from ._warehouse_base import ALL, BASE, BY_MONTH, BY_REGION, TOTALS, WarehouseSuiteBase, canonical
from .clocks import NOON

LOOK_ALIKES = ("as_agg_deadbeef_by_month", "as_agg_00000000_x", "kit__other", "notes")


class PublishChecks(WarehouseSuiteBase):
    """build, publish."""

    # -- building --------------------------------------------------------------------------------------------------------

    def test_build_makes_tables_that_no_view_shows(self) -> None:
        """Beside: an intent each in the ledger, a table each, and no view; what is built says what it holds."""
        session = self.claimed(*ALL)
        built = self.build(session, *ALL)
        names = self.bench.names(self.schema.name)
        for each in built:
            holds(each.request.table_name in names, f"the table of {each.request.definition.label} is there")
            holds(not self.has_view(each.request.definition), "no view is there before the switch")
            equal(each.rows, sum(write.rows for write in each.partitions), "rows of a build and of its partitions")
            facts = self.observed(*ALL).definitions[each.request.definition.id]
            equal(each.columns, facts.columns, "the columns of a build are those that were observed")
        statuses = {each.status for each in self.observed(*ALL).instances}
        equal(statuses, {InstanceStatus.INPROGRESS}, "the status of what is built")

    def test_build_is_all_or_none(self) -> None:
        """One that breaks: WarehouseQueryError names it, no table is left of any, the intents stay and can be marked."""
        self.change(0, code="not a number")
        session = self.claimed(BY_MONTH, self.breaks)
        requests = self.requests(BY_MONTH, self.breaks)
        error = raises(WarehouseQueryError, lambda: session.build(requests, at=self.at()), "a build that breaks")
        equal(error.definition_id, self.breaks.id, "the definition that is blamed")
        equal([n for n in self.bench.names(self.schema.name) if n.startswith("as_agg_")], [], "tables that are left")
        ids = sorted(each.id for each in self.observed(BY_MONTH).instances)
        equal(ids, sorted(each.instance_id for each in requests), "intents that are left")
        self.publish(session, Failures(tuple(Failed(each.instance_id, False, "it broke") for each in requests)))
        found = {(each.status, each.message) for each in self.observed(BY_MONTH).instances}
        equal(found, {(InstanceStatus.FAILED, "it broke")}, "what the ledger says of failed builds")

    def test_build_that_is_told_to_stop_leaves_no_table(self) -> None:
        """`tick` raises: the exception passes through, no table is left, and the intents can be marked as cancelled."""
        session = self.claimed(BY_MONTH, TOTALS)
        requests, left = self.requests(BY_MONTH, TOTALS), [2]

        def stop(_what: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise InterruptedError

        raises(InterruptedError, lambda: session.build(requests, at=self.at(), tick=stop), "an exception of tick")
        equal([n for n in self.bench.names(self.schema.name) if n.startswith("as_agg_")], [], "tables that are left")
        self.publish(session, Failures(tuple(Failed(each.instance_id, True, "stopped") for each in requests)))
        equal({each.status for each in self.observed(BY_MONTH).instances}, {InstanceStatus.CANCELLED}, "their status")

    def test_switch_shows_the_aggregate(self) -> None:
        """The view shows what a group-by of the base gives, NULLs, averages, joins and all; it is then in service."""
        self.ready()
        self.right()
        for what in ALL:
            equal(self.active(what).view_name, what.view_name, "the view's name in the ledger")

    def test_switch_supersedes_without_a_gap(self) -> None:
        """The old instance becomes invalid and keeps its table; readers in another thread see the old rows or the new."""
        self.ready(BY_MONTH)
        old, before = self.active(BY_MONTH), self.view(BY_MONTH)
        shorter = evolve(BY_MONTH, measures=[Measure("n", "count")])
        session = self.claimed(shorter)
        (built,) = self.build(session, shorter)
        wrong, stop = [], threading.Event()

        def read() -> None:
            while not stop.is_set():
                try:
                    shown = self.view(BY_MONTH)
                except Exception as problem:
                    wrong.append(f"{type(problem).__name__}: {problem}")
                    return
                if shown != before and any("amount" in row for row in shown):
                    wrong.append(f"a mixture: {shown}")

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        self.publish(session, Switch(built, old))
        stop.set()
        reader.join(10)
        equal(wrong, [], "what a reader met during a switch")
        holds(all("amount" not in row for row in self.view(BY_MONTH)), "the view has the new columns")
        found = {each.id: each.status for each in self.observed(shorter).instances}
        equal(found[old.id], InstanceStatus.INVALID, "the status of what was superseded")
        holds(old.table_name in self.bench.names(self.schema.name), "the superseded table is kept")

    def test_two_first_builds_do_not_both_serve(self) -> None:
        """A switch that was planned when nothing served raises FenceLostError once something does."""
        session = self.claimed(TOTALS)
        one, two = self.build(session, TOTALS)[0], self.build(session, TOTALS)[0]
        self.publish(session, Switch(one, None))
        raises(FenceLostError, lambda: self.publish(session, Switch(two, None)), "a second first switch")
        equal(self.active(TOTALS).id, one.request.instance_id, "the one in service")

    # -- refreshing ------------------------------------------------------------------------------------------------------

    def test_refresh_replaces_its_periods_only(self) -> None:
        """A moved, a late and a deleted row, an emptied period: view and ledger are right, other periods as they were."""
        self.ready(BY_MONTH)
        self.put([{**BASE[0], "day": date(2024, 3, 1)}, {**BASE[1], "day": date(2019, 7, 31)}, *BASE[2:4]])
        before = self.active(BY_MONTH)
        session = self.claimed(BY_MONTH)
        publication = self.refresh(session, BY_MONTH)[1]
        equal({each.key for each in publication.replaced}, {"2024-01", "2024-03", "2019-07", "null"}, "stale periods")
        self.publish(session, publication)
        self.right(BY_MONTH)
        after = self.active(BY_MONTH)
        equal(after.table_name, before.table_name, "the table in service")
        equal(
            {each.period.key for each in after.partitions}, {"2024-02", "2024-03", "2019-07"}, "periods in the ledger"
        )
        kept = {each.period.key: each for each in before.partitions}["2024-02"]
        equal({each.period.key: each for each in after.partitions}["2024-02"], kept, "the row of a period left alone")
        equal(after.rows, len(self.view(BY_MONTH)), "rows in the ledger")
        holds(after.build_id != before.build_id, "a publish has a build id of its own")
        equal(
            list(plan_maintenance([BY_MONTH], self.observed(BY_MONTH), Policy(), NOON).steps), [], "what is left to do"
        )

    def test_refresh_of_an_aggregate_in_one_piece(self) -> None:
        """Also when the base becomes empty: then it is one row over nothing."""
        self.ready(TOTALS)
        for rows in ([*BASE[:2]], [], [*BASE]):
            self.put(rows)
            session = self.claimed(TOTALS)
            self.publish(session, self.refresh(session, TOTALS)[1])
            session.close()
            self.right(TOTALS)

    def test_refresh_through_a_join(self) -> None:
        """A dimension that changed is seen in the periods that it reaches; one that reached none is noted only."""
        self.ready(BY_REGION)
        for region in ("warm", "warm", None):
            self.put(
                self.rows, [{**self.shops[0], "region": region}, *self.shops[1:], {"shop": str(region), "region": "x"}]
            )
            session = self.claimed(BY_REGION)
            self.publish(session, self.refresh(session, BY_REGION)[1])
            session.close()
            self.right(BY_REGION)
        equal(
            list(plan_maintenance([BY_REGION], self.observed(BY_REGION), Policy(), NOON).steps),
            [],
            "what is left to do",
        )

    def test_publish_twice_is_refused(self) -> None:
        """FenceLostError for the same publication again, and nothing is doubled."""
        self.ready(BY_MONTH)
        self.change(0, qty=9)
        session = self.claimed(BY_MONTH)
        publication = self.refresh(session, BY_MONTH)[1]
        self.publish(session, publication)
        before = self.everything()
        raises((FenceLostError), lambda: self.publish(session, evolve(publication, staged=None)), "publishing again")
        equal(self.everything(), before, "what is there after publishing again")
        self.right(BY_MONTH)

    def test_publish_of_an_outdated_plan_is_refused(self) -> None:
        """FenceLostError if the instance was published since it was observed, though the claim holds."""
        self.ready(BY_MONTH)
        self.change(0, qty=9)
        session = self.claimed(BY_MONTH)
        outdated = self.refresh(session, BY_MONTH)[1].instance
        self.publish(session, self.refresh(session, BY_MONTH)[1])
        self.change(1, qty=9)
        publication = evolve(self.refresh(session, BY_MONTH)[1], instance=outdated)
        raises(FenceLostError, lambda: self.publish(session, publication), "publishing an outdated plan")

    # -- ending ----------------------------------------------------------------------------------------------------------

    def test_retire_drop_forget(self) -> None:
        """Off the view at once, the table later, the record last. A step that finds another status raises FenceLostError."""
        self.ready(BY_MONTH, TOTALS)
        session, instance = self.claimed(BY_MONTH), self.active(BY_MONTH)
        drop = DropStep(instance, True, Reason.INSTANCE_RETIRED_EXPIRED)
        raises(FenceLostError, lambda: self.publish(session, drop), "dropping what is in service")
        self.publish(session, self.retire(instance))
        names = self.bench.names(self.schema.name)
        holds(BY_MONTH.view_name not in names and instance.table_name in names, "retired: no view, but its table")
        raises(FenceLostError, lambda: self.publish(session, self.retire(instance)), "retiring what is retired")
        self.publish(session, drop)
        holds(instance.table_name not in self.bench.names(self.schema.name), "dropped: no table")
        equal({e.id: e.status for e in self.observed().instances}[instance.id], InstanceStatus.DELETED, "its record")
        self.publish(session, ForgetStep(instance))
        holds(instance.id not in {each.id for each in self.observed().instances}, "forgotten: no record")
        self.right(TOTALS)

    def test_a_view_is_made_again(self) -> None:
        """RestoreView: over the table in service."""
        self.ready(BY_MONTH)
        self.bench.drop(self.schema.name, BY_MONTH.view_name)
        session = self.claimed(BY_MONTH)
        self.publish(session, RestoreView(BY_MONTH, self.active(BY_MONTH)))
        self.right(BY_MONTH)

    def test_records_of_definitions_are_kept(self) -> None:
        """RecordStep writes whole rows, and removes those that are forgotten."""
        session = self.claimed()
        one, two = (DefinitionRecord(each.id, each.label, self.at(), self.at()) for each in (BY_MONTH, TOTALS))
        self.publish(session, RecordStep((one, two)))
        used = evolve(one, use_count=3, last_used_at=self.at())
        self.publish(session, RecordStep((used,), (two.definition_id,)))
        equal(self.observed().records, (used,), "records in the ledger")

    # -- what is not ours ------------------------------------------------------------------------------------------------

    def test_a_view_of_others_is_not_replaced(self) -> None:
        """Something that is not ours has the view's name: WarehouseQueryError names the aggregate, nothing is changed."""
        session = self.claimed(TOTALS)
        (built,) = self.build(session, TOTALS)
        self.bench.plant(self.schema.name, TOTALS.view_name, [{"answer": 42}], view=True)
        error = raises(WarehouseQueryError, lambda: self.publish(session, Switch(built, None)), "switching over it")
        equal(error.definition_id, TOTALS.id, "the definition that is named")
        equal(self.bench.read(self.schema.name, TOTALS.view_name), [{"answer": 42}], "the other's view")

    def test_a_table_of_others_is_not_dropped(self) -> None:
        """One in the place of ours, made after the plan: FenceLostError, and it stays."""
        self.ready(BY_MONTH)
        session, instance = self.claimed(BY_MONTH), self.active(BY_MONTH)
        self.publish(session, self.retire(instance))
        self.bench.drop(self.schema.name, instance.table_name)
        self.bench.plant(self.schema.name, instance.table_name, [{"answer": 42}])
        drop = DropStep(instance, True, Reason.INSTANCE_RETIRED_EXPIRED)
        raises(FenceLostError, lambda: self.publish(session, drop), "dropping a table that is not ours")
        equal(self.bench.read(self.schema.name, instance.table_name), [{"answer": 42}], "the other's table")

    def test_look_alikes_are_never_touched(self) -> None:
        """Through builds, refreshes, switches, retirements and drops, what others made in the schema is as they left it."""
        for name in LOOK_ALIKES:
            self.bench.plant(self.schema.name, name, [{"answer": 42}], view=name.startswith("kit__"))
        self.ready(BY_MONTH, TOTALS)
        self.change(0, qty=9)
        session = self.claimed(BY_MONTH)
        self.publish(session, self.refresh(session, BY_MONTH)[1])
        instance = self.active(BY_MONTH)
        self.publish(session, self.retire(instance))
        self.publish(session, DropStep(instance, True, Reason.INSTANCE_RETIRED_EXPIRED))
        session.close()
        for name in LOOK_ALIKES:
            equal(self.bench.read(self.schema.name, name), [{"answer": 42}], f"{name} of somebody else")

    def test_adopt_and_disown(self) -> None:
        """Disowned, an aggregate is its owner's, without our tag; adopted by its tag, it serves again without a build."""
        self.ready(TOTALS, BY_MONTH)
        session, instance = self.claimed(TOTALS), self.active(TOTALS)
        adopt = AdoptStep(TOTALS, evolve(instance, partitions=(), source_tokens=(), rows=0))
        raises(WarehouseError, lambda: self.publish(session, adopt), "adopting what is in the ledger")
        self.publish(session, DisownStep(instance))
        found = self.observed(TOTALS)
        equal(active_instance(TOTALS.id, found.instances), None, "the instance in service after disowning")
        tags = {each.name: each.tag for each in found.objects}
        equal((tags[instance.table_name], tags[TOTALS.view_name]), (None, None), "the tags of what was disowned")
        self.right(TOTALS)
        session.observe([TOTALS], sick={})
        raises(FenceLostError, lambda: self.publish(session, adopt), "adopting what has no tag of ours")

    def test_values_come_back_as_they_were(self) -> None:
        """Decimals stay exact, texts with quotes and letters of all sorts come back, NULL is no empty text."""
        shops = ["it's", 'say "x"', "", None, "\u00e9\u4e2d\U0001f600", "%_\\", " "]
        rows = [
            {**BASE[0], "shop": shop, "amount": Decimal("0.10") + index, "qty": index}
            for index, shop in enumerate(shops)
        ]
        self.put(rows)
        self.ready(BY_MONTH)
        self.right(BY_MONTH)
        equal(len(canonical(self.bench.read(self.schema.name, BY_MONTH.view_name))), len(shops), "rows with odd texts")
        present(self.active(BY_MONTH), "an instance")
