"""Warehouses that break one promise of the port each: the proof that the kit notices.

Each is the memory warehouse with one thing spoilt. `FAILS` names the checks that must fail, the one that is about the
promise first; `MAY` those that may notice as well (`any`: many). test_broken.py wants exactly these to fail.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from attrs import evolve, fields, frozen

from aggmaint.aggregates.decisions import DisownStep, DropStep, ForgetStep, RetireStep
from aggmaint.aggregates.model import InstanceStatus
from aggmaint.aggregates.observation import DefinitionFacts, ObjectKind, TableFacts
from aggmaint.core.job import Fence
from aggmaint.errors import FenceLostError, ForeignSchemaError, WarehouseError, WarehouseInterruptedError
from aggmaint.testing.warehouse_bench import MemoryBench
from aggmaint.warehouse import Capabilities, Refresh, RestoreView, Switch
from aggmaint.warehouses._memory_schema import SchemaState, Thing
from aggmaint.warehouses._memory_session import MemorySession
from aggmaint.warehouses.memory import MemoryWarehouse


class Broken(MemorySession):
    """An honest session, but for what a subclass spoils."""

    FAILS: ClassVar[tuple[str, ...]]
    MAY: ClassVar[tuple[str, ...]] = ()
    CLAIMS: ClassVar[dict[str, Any]] = {}
    """Capabilities that it declares otherwise than the honest one; unknown ones, too."""

    def unguarded(self, build_id: str, work: Callable[[SchemaState], Any]) -> Any:
        """A transaction that proves nothing."""
        with self._warehouse.lock:
            draft = self._warehouse.schemas[self._schema.name].copy()
            assert draft.control is not None
            draft.control = evolve(draft.control, touch=draft.control.touch + 1, build=build_id)
            self._step("guard")
            answer = work(draft)
            self._step("commit")
            self._warehouse.schemas[self._schema.name] = draft
            return answer


class NoGuard(Broken):
    FAILS = (
        "a_zombie_refreshes_nothing",
        "a_zombie_switches_nothing",
        "a_zombie_retires_drops_and_forgets_nothing",
        "a_zombie_builds_nothing_that_stays",
        "nobody_writes_without_a_claim",
        "claim_is_refused_when_something_was_written_since",
    )
    MAY = ("a_claim_in_the_middle_of_a_publish_excludes_it",)

    def _transaction(self, build_id: str, work: Callable[[SchemaState], Any]) -> Any:
        return self.unguarded(build_id, work)


class ClaimsWithoutTouch(Broken):
    FAILS = ("claim_is_refused_when_something_was_written_since",)
    MAY = ("claims_that_race_one_wins",)

    def claim(self, fence: Fence, *, seen: Any, anyway: bool = False) -> bool:
        done = super().claim(fence, seen=seen, anyway=anyway)
        state = self._warehouse.schemas[self._schema.name]
        assert state.control is not None
        if done and seen is not None:
            state.control = evolve(state.control, touch=seen.touch)
        return done


class ClaimsWithAnyFence(Broken):
    FAILS = ("claim_needs_a_greater_fence", "a_closed_claim_is_over")
    MAY = ("claims_that_race_one_wins",)

    def claim(self, fence: Fence, *, seen: Any, anyway: bool = False) -> bool:
        try:
            return super().claim(fence, seen=seen, anyway=anyway)
        except FenceLostError:
            state = self._warehouse.schemas[self._schema.name]
            assert state.control is not None
            state.control = evolve(state.control, generation=fence.generation, fence=fence.number, open=True)
            self._fence = fence
            return True


class NeverGivesBack(Broken):
    FAILS = ("claim_makes_the_ledger_and_takes_it", "observe_tells_what_was_published")

    def close(self) -> None:
        self._fence = None
        super().close()


class TakesForeignSchemas(Broken):
    FAILS = ("another_installation_or_organisation_is_refused",)
    MAY = ("another_installations_schema_can_be_taken_over",)

    def _required(self, state: SchemaState) -> Any:
        try:
            return super()._required(state)
        except ForeignSchemaError:
            return state.control


class ObserveWrites(Broken):
    FAILS = ("observe_writes_nothing",)

    def observe(self, *arguments: Any, **more: Any) -> Any:
        observation = super().observe(*arguments, **more)
        if self._schema.name not in self._warehouse.schemas:
            self._warehouse.schemas[self._schema.name] = SchemaState()
            self._warehouse.schemas[self._schema.name].put(Thing("aggmaint_notes", ObjectKind.TABLE))
        return observation


class CountsRowsOnly(Broken):
    """A fingerprint that is a count."""

    FAILS: ClassVar[tuple[str, ...]] = (
        "observe_sees_every_change_in_its_periods",
        "observe_sees_a_pair_exchanged_for_another",
        "observe_isolates_what_is_sick",
        "refresh_of_an_aggregate_in_one_piece",
    )
    MAY = ("any",)

    def _facts(self, *arguments: Any) -> DefinitionFacts:
        facts = super()._facts(*arguments)
        instance = next((e for e in arguments[1].instances if e.definition_id == arguments[0].id), None)
        if facts.tokens is None or instance is None:
            return facts
        ledger = {each.period: each.token for each in instance.partitions}
        counted = [
            (period, ledger[period] if period in ledger and _rows(ledger[period]) == _rows(token) else token)
            for period, token in facts.tokens
        ]
        return evolve(facts, tokens=tuple(counted))


def _rows(token: str) -> str:
    return token.split(":")[1]


class OneSickStopsAll(Broken):
    FAILS = ("observe_isolates_what_is_sick",)
    MAY = ("any",)

    def _facts(self, *arguments: Any) -> DefinitionFacts:
        facts = super()._facts(*arguments)
        if facts.failure is not None and not arguments[4]:
            raise WarehouseError(facts.failure.message)
        return facts


class AsksTheSick(Broken):
    FAILS = ("observe_does_not_ask_the_sick_again",)

    def observe(self, *arguments: Any, **more: Any) -> Any:
        return super().observe(*arguments, **{**more, "sick": {}})


class ForgetsTags(Broken):
    FAILS = ("observe_tells_what_was_published",)
    MAY = ("any",)

    def observe(self, *arguments: Any, **more: Any) -> Any:
        found = super().observe(*arguments, **more)
        return evolve(found, objects=tuple(evolve(each, tag=None) for each in found.objects))


class BlindToDamage(Broken):
    FAILS = ("observe_tells_of_tables_that_are_gone_or_not_ours",)

    def _table_facts(self, *arguments: Any) -> dict[str, TableFacts]:
        found = super()._table_facts(*arguments)
        columns = {each.id: each.columns for each in arguments[1].instances}
        return {key: evolve(facts, columns=columns.get(key, facts.columns)) for key, facts in found.items()}


class StagesThePresent(Broken):
    """Claims snapshot_reads, and stages from what is there now."""

    FAILS = ("stage_reads_what_observe_read",)

    def stage(self, *arguments: Any, **more: Any) -> Any:
        self._snapshot = None
        return super().stage(*arguments, **more)


class StagesInTheSchema(Broken):
    FAILS = ("stage_is_all_or_none_and_names_the_culprit", "observe_writes_nothing")
    MAY = ("any",)

    def stage(self, *arguments: Any, **more: Any) -> Any:
        staged = super().stage(*arguments, **more)
        self._warehouse.schemas.setdefault(self._schema.name, SchemaState()).put(Thing("stage", ObjectKind.TABLE))
        return staged


class ComparesNothing(Broken):
    FAILS = ("compare_finds_missing_extra_and_wrong_rows", "compare_can_be_of_some_periods_or_of_the_others")

    def compare(self, *arguments: Any, **more: Any) -> Any:
        return evolve(super().compare(*arguments, **more), missing=0, extra=0, wrong=0, samples=())


class CompareRaises(Broken):
    FAILS = ("compare_says_why_it_could_not",)
    MAY = ("observe_writes_nothing",)

    def compare(self, *arguments: Any, **more: Any) -> Any:
        found = super().compare(*arguments, **more)
        if found.problem is not None:
            raise WarehouseError(found.problem)
        return found


class DeafToInterrupts(Broken):
    """Claims interrupts."""

    FAILS = ("interrupt_breaks_a_verb_off",)

    def interrupt(self) -> None:
        return


class InterruptedForGood(Broken):
    FAILS = ("interrupt_breaks_a_verb_off",)

    def _pause(self) -> None:
        if self._interrupted.is_set():
            raise WarehouseInterruptedError


class BuildsInView(Broken):
    FAILS = ("build_makes_tables_that_no_view_shows",)
    MAY = ("any",)

    def build(self, requests: Any, **more: Any) -> Any:
        built = super().build(requests, **more)
        for each in built:
            what = each.request.definition
            self._warehouse.schemas[self._schema.name].put(
                Thing(what.view_name, ObjectKind.VIEW, None, over=each.request.table_name, definition=what)
            )
        return built


class LeavesHalfABuild(Broken):
    """Tables are put in place one by one."""

    FAILS = ("build_is_all_or_none", "build_that_is_told_to_stop_leaves_no_table", "a_build_is_whole_or_not_at_all")
    MAY = ("any",)

    def _build_one(self, *arguments: Any) -> Any:
        table, built = super()._build_one(*arguments)
        self._warehouse.schemas[self._schema.name].put(table)
        return table, built


class BlamesNobody(Broken):
    FAILS = ("build_is_all_or_none", "stage_is_all_or_none_and_names_the_culprit")

    def build(self, *arguments: Any, **more: Any) -> Any:
        return self.nameless(lambda: super(BlamesNobody, self).build(*arguments, **more))

    def stage(self, *arguments: Any, **more: Any) -> Any:
        return self.nameless(lambda: super(BlamesNobody, self).stage(*arguments, **more))

    def nameless(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except WarehouseError as problem:
            if hasattr(problem, "definition_id"):
                problem.definition_id = None
            raise


class LedgerFirst(Broken):
    """A publish commits its ledger rows before its data."""

    FAILS = ("a_refresh_is_whole_or_not_at_all",)
    MAY = ("any",)

    def publish(self, publication: Any, **more: Any) -> None:
        if isinstance(publication, Refresh):
            state = self._warehouse.schemas[self._schema.name]
            found = state.instances[publication.instance.id]
            state.instances[found.id] = evolve(found, message="half")
            super().publish(publication, **more)
            state = self._warehouse.schemas[self._schema.name]
            state.instances[found.id] = evolve(state.instances[found.id], message=None)
            return
        super().publish(publication, **more)


class RetiresInTwo(Broken):
    """The view goes first, in a transaction of its own."""

    FAILS = ("a_retirement_is_whole_or_not_at_all",)
    MAY = ("any",)

    def publish(self, publication: Any, **more: Any) -> None:
        if isinstance(publication, RetireStep) and self._fence is not None:
            self._warehouse.schemas[self._schema.name].things.pop(publication.instance.view_name.casefold(), None)
        super().publish(publication, **more)


class DropsInTwo(Broken):
    FAILS = ("a_drop_is_whole_or_not_at_all",)
    MAY = ("any",)

    def publish(self, publication: Any, **more: Any) -> None:
        state = self._warehouse.schemas[self._schema.name]
        there = state.thing(publication.instance.table_name) if isinstance(publication, DropStep) else None
        if there is not None and there.tag is not None:
            del state.things[there.name.casefold()]
        super().publish(publication, **more)


class SwitchesWithAGap(Broken):
    """Drops the view, then makes it."""

    FAILS = ("a_switch_is_whole_or_not_at_all",)
    MAY = ("any", "switch_supersedes_without_a_gap")

    def publish(self, publication: Any, **more: Any) -> None:
        if isinstance(publication, Switch) and publication.supersedes is not None:
            name = publication.built.request.definition.view_name
            self._warehouse.schemas[self._schema.name].things.pop(name.casefold(), None)
        super().publish(publication, **more)


class TakesOutdatedPlans(Broken):
    FAILS = ("publish_of_an_outdated_plan_is_refused", "publish_twice_is_refused")

    def publish(self, publication: Any, **more: Any) -> None:
        if isinstance(publication, Refresh):
            now = self._warehouse.schemas[self._schema.name].instances[publication.instance.id]
            publication = evolve(publication, instance=now)
        super().publish(publication, **more)


class ServesTwo(Broken):
    FAILS = ("two_first_builds_do_not_both_serve",)

    def publish(self, publication: Any, **more: Any) -> None:
        if isinstance(publication, Switch) and publication.supersedes is None:
            active = self._warehouse.schemas[self._schema.name].active(publication.built.request.definition.id)
            publication = evolve(publication, supersedes=active[0] if active else None)
        super().publish(publication, **more)


class DropsByName(Broken):
    FAILS = ("a_table_of_others_is_not_dropped",)

    def publish(self, publication: Any, **more: Any) -> None:
        state = self._warehouse.schemas[self._schema.name]
        if (
            isinstance(publication, DropStep)
            and state.instances[publication.instance.id].status is InstanceStatus.INVALID
        ):
            thing = state.thing(publication.instance.table_name)
            if thing is not None and thing.tag is None:
                del state.things[thing.name.casefold()]
        super().publish(publication, **more)


class ReplacesViewsOfOthers(Broken):
    FAILS = ("a_view_of_others_is_not_replaced",)

    def publish(self, publication: Any, **more: Any) -> None:
        if isinstance(publication, Switch):
            state = self._warehouse.schemas[self._schema.name]
            name = publication.built.request.definition.view_name
            thing = state.thing(name)
            if thing is not None and thing.tag is None:
                del state.things[name.casefold()]
        super().publish(publication, **more)


class SweepsByName(Broken):
    """Drops whatever has a name like ours."""

    FAILS = ("look_alikes_are_never_touched",)
    MAY = ("any",)

    def close(self) -> None:
        state = self._warehouse.schemas.get(self._schema.name, SchemaState())
        known = {each.table_name for each in state.instances.values()}
        for thing in list(state.things.values()):
            if thing.name.startswith("as_agg_") and thing.name not in known and self._fence is not None:
                del state.things[thing.name.casefold()]
        super().close()


class LosesRecords(Broken):
    FAILS = ("records_of_definitions_are_kept",)

    def observe(self, *arguments: Any, **more: Any) -> Any:
        return evolve(super().observe(*arguments, **more), records=())


class ClaimsInTwo(Broken):
    """The ledger's first table comes before the claim."""

    FAILS = ("a_claim_is_whole_or_not_at_all",)
    MAY = ("any",)

    def claim(self, fence: Fence, **more: Any) -> bool:
        self._warehouse.schemas.setdefault(self._schema.name, SchemaState()).put(Thing("ledger", ObjectKind.TABLE))
        return super().claim(fence, **more)


class Skips(Broken):
    """Does nothing for one kind of publication."""

    SKIPPED: ClassVar[type]

    def publish(self, publication: Any, **more: Any) -> None:
        if not isinstance(publication, self.SKIPPED):
            super().publish(publication, **more)


class RestoresNoView(Skips):
    FAILS, MAY, SKIPPED = ("a_view_is_made_again",), ("any",), RestoreView


class ForgetsNothing(Skips):
    FAILS, MAY, SKIPPED = ("retire_drop_forget",), ("any",), ForgetStep


class DisownsNothing(Skips):
    FAILS, MAY, SKIPPED = ("adopt_and_disown",), ("any",), DisownStep


class TokensNeverTheSame(Broken):
    FAILS = ("observe_after_a_build_finds_nothing_stale",)
    MAY = ("any",)

    def _facts(self, *arguments: Any) -> DefinitionFacts:
        facts = super()._facts(*arguments)
        drawn = next(self._numbers)
        return evolve(
            facts, tokens=facts.tokens and tuple((period, f"{token}{drawn}") for period, token in facts.tokens)
        )


class BlindToJoins(Broken):
    FAILS = ("observe_sees_a_joined_source_move", "refresh_through_a_join")

    def _facts(self, *arguments: Any) -> DefinitionFacts:
        facts = super()._facts(*arguments)
        instance = next((e for e in arguments[1].instances if e.definition_id == arguments[0].id), None)
        if not arguments[0].joins or instance is None:
            return facts
        ledger = tuple((each.period, each.token) for each in instance.partitions)
        return evolve(facts, tokens=ledger, source_tokens=instance.source_tokens)


class HearsNoTick(Broken):
    FAILS = ("observe_stops_when_its_tick_raises",)

    def observe(self, *arguments: Any, **more: Any) -> Any:
        return super().observe(*arguments, **{**more, "tick": None})


class KeepsOldRows(Broken):
    """Inserts without deleting."""

    FAILS = ("refresh_replaces_its_periods_only",)
    MAY = ("any",)

    def publish(self, publication: Any, **more: Any) -> None:
        if isinstance(publication, Refresh):
            publication = evolve(publication, replaced=())
        super().publish(publication, **more)


class OneClaimForAll(Broken):
    FAILS = ("schemas_do_not_disturb_each_other",)

    def claim(self, fence: Fence, **more: Any) -> bool:
        for name, state in self._warehouse.schemas.items():
            if name != self._schema.name and state.control is not None:
                state.control = evolve(state.control, open=False)
        return super().claim(fence, **more)


class LosesNulls(Broken):
    """Rows whose first attribute is NULL get lost."""

    FAILS = ("switch_shows_the_aggregate",)
    MAY = ("any",)

    def _build_one(self, *arguments: Any) -> Any:
        table, built = super()._build_one(*arguments)
        return evolve(table, rows=tuple(row for row in table.rows if None not in row[:2])), built


class StripsTexts(Broken):
    FAILS = ("values_come_back_as_they_were",)
    MAY = ("any",)

    def _build_one(self, *arguments: Any) -> Any:
        table, built = super()._build_one(*arguments)
        rows = tuple(tuple(v.strip() if isinstance(v, str) else v for v in row) for row in table.rows)
        return evolve(table, rows=rows), built


class EngineTokensThatLie(CountsRowsOnly):
    FAILS = ("engine_tokens_move_with_every_change",)
    CLAIMS: ClassVar[dict[str, Any]] = {"source_tokens": True}


BROKEN: tuple[type[Broken], ...] = (
    *(NoGuard, ClaimsWithoutTouch, ClaimsWithAnyFence, NeverGivesBack, TakesForeignSchemas, ObserveWrites),
    *(CountsRowsOnly, OneSickStopsAll, AsksTheSick, ForgetsTags, BlindToDamage, StagesThePresent, StagesInTheSchema),
    *(ComparesNothing, CompareRaises, DeafToInterrupts, InterruptedForGood, BuildsInView, LeavesHalfABuild),
    *(BlamesNobody, LedgerFirst, RetiresInTwo, DropsInTwo, SwitchesWithAGap, TakesOutdatedPlans, ServesTwo),
    *(DropsByName, ReplacesViewsOfOthers, SweepsByName, LosesRecords, ClaimsInTwo, RestoresNoView, ForgetsNothing),
    *(DisownsNothing, TokensNeverTheSame, BlindToJoins, HearsNoTick, KeepsOldRows, OneClaimForAll, LosesNulls),
    *(StripsTexts, EngineTokensThatLie),
)


@frozen
class ClaimsTimeTravel(Capabilities):
    """Has a capability that no check is about."""

    time_travel: bool = True


class BrokenWarehouse(MemoryWarehouse):
    """Opens sessions of one broken kind."""

    kind: type[Broken]

    @property
    def capabilities(self) -> Capabilities:
        honest, claims = super().capabilities, dict(self.kind.CLAIMS)
        if claims.pop("time_travel", False):
            known = {each.name: getattr(honest, each.name) for each in fields(Capabilities)}
            return ClaimsTimeTravel(**known)
        return evolve(honest, **claims)

    def open(self, schema: Any, *, create: bool | None = None, read_only: bool = False) -> MemorySession:
        return self.kind(self, schema, read_only=read_only)


def bench_of(kind: type[Broken]) -> Callable[[str], MemoryBench]:
    def make(_location: str) -> MemoryBench:
        warehouse = BrokenWarehouse()
        warehouse.kind = kind
        return MemoryBench(warehouse)

    return make
