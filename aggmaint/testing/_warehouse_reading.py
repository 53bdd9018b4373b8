"""Checks of reading: capabilities, open, observe, stage, compare."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from attrs import fields

from ..aggregates.decisions import RefreshStep
from ..aggregates.dialects import dialect_of
from ..aggregates.model import AggregateDefinition
from ..aggregates.observation import FailureKind
from ..aggregates.parts import Attribute, Measure
from ..aggregates.periods import WHOLE_PERIOD
from ..aggregates.plan import plan_maintenance
from ..aggregates.policy import Policy
from ..aggregates.source import Source
from ..aggregates.tokens import TokenKind, token_kind
from ..errors import WarehouseInterruptedError, WarehouseQueryError
from ..warehouse import Capabilities, CompareRequest, DifferenceKind, StageRequest
from ._expect import equal, holds, present, raises
from ._warehouse_base import ALL, BASE, BY_MONTH, BY_REGION, TOTALS, WarehouseSuiteBase, canonical, definition
from .clocks import NOON
from .warehouse_bench import SALES

PROVED = frozenset({"dialect", "engine", "snapshot_reads", "interrupts", "source_tokens", "exact_decimals", "merges"})
"""The fields of Capabilities that this version of the kit has checks for."""


class ReadingChecks(WarehouseSuiteBase):
    """capabilities, open, observe, stage, compare."""

    def test_capabilities_are_known_to_the_kit(self) -> None:
        """Every capability that is claimed is one that this kit has checks for; dialect and engine are known words."""
        claims = self.warehouse.capabilities
        dialect_of(claims.dialect)
        holds(claims.engine.strip() and ":" not in claims.engine, "engine is a word that may be a part of a token")
        claimed = {
            each.name for each in fields(type(claims)) if getattr(claims, each.name) not in (False, None, (), "")
        }
        for name in sorted(claimed - PROVED):
            holds(False, f"the kit has no checks for the capability {name!r}, so nothing vouches for it")
        holds(isinstance(claims, Capabilities), "capabilities are a Capabilities value")

    def test_observe_writes_nothing(self) -> None:
        """Neither a schema nor a ledger nor a table comes from looking, planning, staging or comparing."""
        session = self.open()
        observation = session.observe(ALL, sick={})
        equal((observation.control, observation.instances), (None, ()), "what an empty warehouse shows")
        session.stage([StageRequest(TOTALS, (WHOLE_PERIOD,))])
        for what in ALL:
            session.compare(what)
        session.close()
        equal(self.bench.names(self.schema.name), set(), "objects in the schema after reading")

    def test_observe_tells_what_was_published(self) -> None:
        """Another session sees the control row, the instances and their partitions, the tables' contents and columns."""
        self.ready()
        found = self.observed()
        control = present(found.control, "the control row")
        equal((control.installation, control.org_id, control.open), ("kit", "acme", False), "the control row")
        for what in ALL:
            instance = present(next((e for e in found.instances if e.definition_id == what.id), None), what.label)
            facts, table = found.definitions[what.id], found.tables[instance.id]
            equal(instance.columns, facts.columns, f"columns of {what.label} in the ledger and of a build now")
            equal(table.columns, instance.columns, f"columns of the table of {what.label}")
            equal(instance.rows, len(self.view(what)), f"rows of {what.label}")
            ledger = {each.period: (each.rows, each.content) for each in instance.partitions}
            equal({e.period: (e.rows, e.content) for e in table.contents}, ledger, f"contents of {what.label}")
            tagged = {each.tag.instance_id for each in found.objects if each.tag is not None}
            holds(instance.id in tagged, f"table and view of {what.label} carry its tag")

    def test_observe_after_a_build_finds_nothing_stale(self) -> None:
        """Tokens are the same in every session and for every order of equal rows: then nothing is to be done."""
        self.ready()
        self.put([*reversed(self.rows)], [*reversed(self.shops)])
        plan = plan_maintenance(ALL, self.observed(), Policy(), NOON)
        equal(list(plan.steps), [], "steps of a plan right after a build, rows in another order")

    def stale(self, what: AggregateDefinition) -> set[str]:
        """The keys of the periods that a plan would refresh."""
        steps = plan_maintenance([what], self.observed(what), Policy(), NOON).steps
        return {each.period.key for step in steps if isinstance(step, RefreshStep) for each in step.partitions}

    def sees_every_change(self) -> None:
        twins = [{**BASE[0], "qty": 7}, {**BASE[0], "qty": 7}]
        changes: list[tuple[str, list[Any], set[str]]] = [
            ("a late row", [*BASE, {**BASE[0], "day": date(2019, 7, 31)}], {"2019-07"}),
            ("a deleted row", list(BASE[1:]), {"2024-01"}),
            ("an emptied period", list(BASE[:4]), {"null"}),
            ("a corrected value", [{**BASE[0], "qty": 9}, *BASE[1:]], {"2024-01"}),
            ("a moved row", [{**BASE[1], "day": date(2024, 2, 1)}, BASE[0], *BASE[2:]], {"2024-01", "2024-02"}),
            ("a twin", [*BASE, BASE[2]], {"2024-02"}),
            ("exchanged values", [{**BASE[0], "qty": 2}, {**BASE[1], "qty": 1}, *BASE[2:]], {"2024-01"}),
            ("a value that became NULL", [*BASE[:2], {**BASE[2], "amount": None}, *BASE[3:]], {"2024-02"}),
            ("a pair", [*BASE, *twins], {"2024-01"}),
        ]
        self.ready(BY_MONTH)
        for words, rows, keys in changes:
            self.put(rows)
            equal(self.stale(BY_MONTH), keys, f"stale periods after {words}")
            self.put(BASE)
            equal(self.stale(BY_MONTH), set(), f"stale periods when {words} was taken back")

    def test_observe_sees_every_change_in_its_periods(self) -> None:
        """Late rows, deletions, corrections, moves, twins, and balanced changes move the tokens of their periods only."""
        self.sees_every_change()

    def test_observe_sees_a_pair_exchanged_for_another(self) -> None:
        """As many rows as before, each twice: XOR of row hashes would be blind to it."""
        self.put([*BASE, {**BASE[0], "qty": 7}, {**BASE[0], "qty": 7}])
        self.ready(BY_MONTH)
        self.put([*BASE, {**BASE[0], "qty": 8}, {**BASE[0], "qty": 8}])
        equal(self.stale(BY_MONTH), {"2024-01"}, "stale periods")

    def test_engine_tokens_move_with_every_change(self) -> None:
        """With `source_tokens` no change hides behind the engine's own name of a source's state; without, there is none."""
        self.ready(BY_MONTH)
        found = self.observed(BY_MONTH).definitions[BY_MONTH.id].source_tokens
        engines = [key for key, token in found if token_kind(token) is TokenKind.SNAPSHOT]
        if self.warehouse.capabilities.source_tokens:
            self.teardown_method()
            self.setup_method()
            self.sees_every_change()
        else:
            equal(engines, [], "sources with a token of the engine's own, which was not claimed")

    def test_observe_sees_a_joined_source_move(self) -> None:
        """A dimension's change moves its source token, and makes the periods stale whose result differs; no other."""
        self.ready(BY_REGION)
        before = self.active(BY_REGION)
        self.put(self.rows, [{**self.shops[0], "region": "warm"}, *self.shops[1:]])
        facts = self.observed(BY_REGION).definitions[BY_REGION.id]
        holds(
            dict(facts.source_tokens) != dict(before.source_tokens), "the token of a joined source moves with its rows"
        )
        equal(self.stale(BY_REGION), {"2024-01", "null"}, "periods whose rows met the changed shop")

    def test_observe_isolates_what_is_sick(self) -> None:
        """A definition with an unknown column, one without its source and one that breaks on the data stop no other."""
        unknown = definition("unknown", attributes=[Attribute("x", "no_such_column")], measures=[Measure("n", "count")])
        gone = definition("gone", source=Source(table="no_such_table"), measures=[Measure("n", "count")])
        where = f"{self.bench.breaking} IS NOT NULL"
        filtered = definition("filtered", source=Source(table=SALES, where=where), measures=[Measure("n", "count")])
        self.ready(BY_MONTH, self.breaks, filtered)
        self.change(0, code="not a number", qty=3)
        found = self.observed(BY_MONTH, unknown, gone, self.breaks, filtered)
        failure = present(found.definitions[filtered.id].failure, "a failure of one whose source's filter breaks off")
        equal(failure.kind, FailureKind.QUERY, "a filter that breaks off on the data")
        kinds = {each.id: found.definitions[each.id].failure for each in (BY_MONTH, unknown, gone)}
        equal(kinds[BY_MONTH.id], None, "the failure of a sound definition")
        equal(present(kinds[unknown.id], "a failure").kind, FailureKind.DEFINITION, "an unknown column")
        holds("no_such_column" in present(kinds[unknown.id], "a failure").message, "the message names the column")
        equal(present(kinds[gone.id], "a failure").kind, FailureKind.SOURCE, "a missing source")
        equal(self.stale(BY_MONTH), {"2024-01"}, "the stale periods of a sound definition")

    def test_observe_does_not_ask_the_sick_again(self) -> None:
        """A definition that was told to be sick has that text as its failure."""
        self.ready(BY_MONTH, TOTALS)
        session = self.open(read_only=True)
        found = session.observe([BY_MONTH, TOTALS], sick={TOTALS.id: "it broke before"})
        failure = present(found.definitions[TOTALS.id].failure, "a failure of the sick one")
        holds("it broke before" in failure.message, "the failure has the text that was given")
        equal(found.definitions[BY_MONTH.id].failure, None, "the failure of the other")

    def test_observe_tells_of_tables_that_are_gone_or_not_ours(self) -> None:
        """A dropped table has no columns, one in its place no tag of ours; other objects are listed, without a tag."""
        self.ready(BY_MONTH, TOTALS)
        month, totals = self.active(BY_MONTH), self.active(TOTALS)
        for instance in (month, totals):
            self.bench.drop(self.schema.name, instance.table_name)
        self.bench.plant(self.schema.name, totals.table_name, [{"answer": 42}])
        self.bench.plant(self.schema.name, "as_agg_deadbeef_by_month", [{"answer": 42}])
        found = self.observed(BY_MONTH, TOTALS)
        equal(found.tables[month.id].columns, None, "columns of a dropped table")
        tags = {each.name: each.tag for each in found.objects}
        holds(month.table_name not in tags, "a dropped table is not listed")
        equal(tags[totals.table_name], None, "the tag of a table in the place of ours")
        equal(tags["as_agg_deadbeef_by_month"], None, "the tag of a look-alike")

    def test_observe_stops_when_its_tick_raises(self) -> None:
        """The exception passes through, and the session can be used again."""
        self.ready(BY_MONTH)
        session = self.open()

        def stop(_what: str) -> None:
            raise InterruptedError

        raises(InterruptedError, lambda: session.observe([BY_MONTH], sick={}, tick=stop), "an exception of tick")
        equal(session.observe([BY_MONTH], sick={}).definitions[BY_MONTH.id].failure, None, "observing again")

    def test_stage_reads_what_observe_read(self) -> None:
        """With `snapshot_reads`: what changes between observing and staging is not seen, by neither."""
        if not self.warehouse.capabilities.snapshot_reads:
            pytest.skip("the warehouse does not claim snapshot_reads")
        self.ready(BY_MONTH)
        self.change(0, qty=9)
        session = self.open()
        session.observe([BY_MONTH], sick={})
        periods = tuple(each.period for each in self.active(BY_MONTH).partitions)
        before = session.stage([StageRequest(BY_MONTH, periods)])[0].contents
        session.observe([BY_MONTH], sick={})
        self.put(self.rows[1:])
        equal(
            session.stage([StageRequest(BY_MONTH, periods)])[0].contents, before, "what is staged after a later change"
        )

    def test_stage_is_all_or_none_and_names_the_culprit(self) -> None:
        """WarehouseQueryError with `definition_id`; nothing of a stage is ever seen in the schema."""
        self.ready(BY_MONTH, self.breaks)
        names = self.bench.names(self.schema.name)
        self.change(0, code="not a number", qty=3)
        session = self.open()
        session.observe([BY_MONTH], sick={})
        requests = [
            StageRequest(each, tuple(p.period for p in self.active(each).partitions))
            for each in (BY_MONTH, self.breaks)
        ]
        error = raises(WarehouseQueryError, lambda: session.stage(requests), "staging what breaks on the data")
        equal(error.definition_id, self.breaks.id, "the definition that is blamed")
        session.observe([BY_MONTH], sick={})
        session.stage(requests[:1])
        session.close()
        equal(self.bench.names(self.schema.name), names, "objects in the schema after staging")

    def test_compare_finds_missing_extra_and_wrong_rows(self) -> None:
        """Against a recomputation of the present source; equal right after a build, of floats and NULLs too."""
        self.ready()
        session = self.open(read_only=True)
        for what in ALL:
            found = session.compare(what)
            holds(found.equal, f"{what.label} equals its recomputation right after its build: {found}")
            equal(found.rows_found, len(self.must(what)), f"rows of {what.label}")
        self.put([*BASE[1:3], {**BASE[3], "shop": "moon"}, {**BASE[4], "amount": Decimal("8.50")}])
        found = session.compare(BY_MONTH, CompareRequest(samples_max=5))
        equal((found.missing, found.extra, found.wrong), (1, 1, 2), "rows missing, extra and wrong")
        kinds = [each.kind for each in found.samples]
        equal(
            kinds, [DifferenceKind.EXTRA, DifferenceKind.MISSING, DifferenceKind.WRONG, DifferenceKind.WRONG], "samples"
        )

    def test_compare_can_be_of_some_periods_or_of_the_others(self) -> None:
        """Only what was asked for is compared."""
        self.ready(BY_MONTH)
        january = next(each.period for each in self.active(BY_MONTH).partitions if each.period.key == "2024-01")
        self.change(0, qty=9)
        session = self.open(read_only=True)
        equal(
            session.compare(BY_MONTH, CompareRequest(periods=(january,))).wrong, 1, "wrong rows of the changed period"
        )
        holds(session.compare(BY_MONTH, CompareRequest(periods=(january,), others=True)).equal, "the others are equal")

    def test_compare_says_why_it_could_not(self) -> None:
        """Nothing in service, or a query that breaks: a `problem` in the answer, no exception."""
        self.ready(self.breaks)
        session = self.open(read_only=True)
        holds(session.compare(BY_MONTH).problem, "an aggregate without a table in service has a problem")
        self.change(0, code="not a number")
        found = session.compare(self.breaks)
        holds(found.problem and not found.equal, "a recomputation that breaks off is a problem")
        holds(self.open(read_only=True).observe([self.breaks], sick={}), "and the warehouse can be read on")

    def test_interrupt_breaks_a_verb_off(self) -> None:
        """With `interrupts` the verb that runs, or the next, raises WarehouseInterruptedError; without, nothing happens."""
        self.ready(BY_MONTH)
        session = self.open()
        session.interrupt()
        if not self.warehouse.capabilities.interrupts:
            equal(session.observe([BY_MONTH], sick={}).definitions[BY_MONTH.id].failure, None, "an interrupt ignored")
            return
        raises(WarehouseInterruptedError, lambda: session.observe([BY_MONTH], sick={}), "a verb after interrupt()")
        equal(session.observe([BY_MONTH], sick={}).definitions[BY_MONTH.id].failure, None, "the verb after that")
        running = self.claimed(BY_MONTH)
        raises(
            WarehouseInterruptedError,
            lambda: running.build(self.requests(BY_MONTH), at=self.at(), tick=lambda _what: running.interrupt()),
            "a build that is interrupted while it runs",
        )
        equal(len([n for n in self.bench.names(self.schema.name) if n.startswith("as_agg_")]), 1, "tables after that")

    def test_long_and_odd_names_stay_apart(self) -> None:
        """View names of 63 bytes that differ in their last one; names with quotes, blanks and other letters."""
        stem = "x" * (63 - len("kit__") - 1)
        names = [f"{stem}a", f"{stem}b", 'say "hi" \u00e9', "select"]
        odd = [
            definition(name, measures=[Measure("n", "count", filter=f"qty > {index}")])
            for index, name in enumerate(names)
        ]
        self.ready(*odd)
        for index, what in enumerate(odd):
            more = sum(row["qty"] is not None and row["qty"] > index for row in self.rows)
            equal(self.view(what), canonical([{"n": more}]), f"the view of {what.name!r}")
        holds(all(self.open().compare(each).equal for each in odd), "each equals its recomputation")
