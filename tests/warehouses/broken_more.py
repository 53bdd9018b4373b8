"""More warehouses that break one promise each: of what changes meanwhile, of ledgers, of threads that meet, of claims.

As in broken.py each is the memory warehouse with one thing spoilt. Where a promise is about threads, the broken one waits
until they have met, so that whether it is noticed is not left to chance.
"""

import threading
from collections.abc import Callable
from typing import Any, ClassVar

from attrs import evolve

from aggmaint.aggregates.decisions import AdoptStep, RedefineStep
from aggmaint.aggregates.growth import Grown
from aggmaint.aggregates.observation import DefinitionFacts
from aggmaint.aggregates.tokens import snapshot_token
from aggmaint.core.job import Fence
from aggmaint.warehouse import Refresh, Switch
from aggmaint.warehouses._memory_compute import bind, period_tokens
from aggmaint.warehouses._memory_schema import SchemaState

from .broken import Broken, Skips


class RedefinesNothing(Skips):
    FAILS, SKIPPED = ("redefine_changes_the_view_only",), RedefineStep


class AdoptsNothing(Skips):
    FAILS, SKIPPED = ("a_lost_ledger_is_adopted_without_a_build",), AdoptStep
    MAY = ("adopt_and_disown",)


class LeavesTagsBehind(Broken):
    """Takes the control row over, and not the tags."""

    FAILS = ("another_installations_schema_can_be_taken_over",)
    MAY = ("a_lost_ledger_is_adopted_without_a_build",)

    def claim(self, fence: Fence, **more: Any) -> bool:
        things = dict(self._warehouse.schemas.get(self._schema.name, SchemaState()).things)
        claimed = super().claim(fence, **more)
        if claimed and self._schema.adopt_from is not None:
            self._warehouse.schemas[self._schema.name].things = things
        return claimed


class TokenAfterStage(Broken):
    """Publishes what was staged with the tokens of what is there by now."""

    FAILS = ("what_changes_before_it_is_staged_is_found",)

    def publish(self, publication: Any, **more: Any) -> None:
        if isinstance(publication, Refresh) and not publication.definition.joins:
            tables = self._tables()
            definition = publication.definition
            now = dict(period_tokens(definition, bind(definition, tables), tables))
            written = tuple(evolve(each, token=now.get(each.period, each.token)) for each in publication.written)
            publication = evolve(publication, written=written)
        super().publish(publication, **more)


class TokenAfterBuild(Broken):
    """Reads a build's tokens when its rows are computed."""

    FAILS = ("what_changes_during_a_build_is_found",)

    def _build_one(self, request: Any, tables: Any, say: Any) -> Any:
        table, built = super()._build_one(request, tables, say)
        definition, later = request.definition, self._tables()
        now = dict(period_tokens(definition, bind(definition, later), later))
        return table, evolve(
            built, partitions=tuple(evolve(each, token=now.get(each.period, each.token)) for each in built.partitions)
        )


class ForgetsWhatItBegan(Broken):
    """Takes a build that was begun for one that is done."""

    FAILS = ("a_build_that_was_begun_goes_on",)

    def _build_one(self, request: Any, *arguments: Any) -> Any:
        table, built = super()._build_one(request, *arguments)
        return (evolve(table, rows=table.rows[:1]) if request.begun else table), built


class InterruptsUnasked(Broken):
    """Interrupts, and does not claim it."""

    FAILS = ("interrupt_breaks_a_verb_off",)
    CLAIMS: ClassVar[dict[str, Any]] = {"interrupts": False}


class NamesStatesUnasked(Broken):
    """Has tokens of the engine's own, and does not claim them."""

    FAILS = ("engine_tokens_move_with_every_change",)
    MAY = ("any",)

    def _facts(self, *arguments: Any) -> DefinitionFacts:
        facts = super()._facts(*arguments)
        return evolve(facts, source_tokens=(*facts.source_tokens, ("source:kit", snapshot_token("memory1", "7"))))


class MergesUnasked(Broken):
    """Tells of rows to merge, and does not claim that it can."""

    FAILS = ("merging_gives_what_computing_anew_gives",)
    MAY = ("any",)

    def _facts(self, *arguments: Any) -> DefinitionFacts:
        facts = super()._facts(*arguments)
        return evolve(facts, grown=Grown("9", ())) if arguments[0].source.append_only else facts


class ClaimsMore(Broken):
    FAILS = ("capabilities_are_known_to_the_kit",)
    CLAIMS: ClassVar[dict[str, Any]] = {"time_travel": True}


class ChecksThenWrites(Broken):
    """The guard is proved in one transaction, the data written in another."""

    FAILS = ("a_claim_in_the_middle_of_a_publish_excludes_it",)
    MAY = ("any",)

    def _transaction(self, build_id: str, work: Callable[[SchemaState], Any]) -> Any:
        with self._warehouse.lock:
            self._warehouse.schemas[self._schema.name].copy().guard(self._schema, self._fence, build_id)
        self._step("guarded")
        return self.unguarded(build_id, work)


class EverybodyWins(Broken):
    """Grants every claim that is made from an observation."""

    FAILS = ("claims_that_race_one_wins",)
    MAY = ("any",)

    def claim(self, fence: Fence, *, seen: Any, anyway: bool = False) -> bool:
        if seen is None:
            return super().claim(fence, seen=seen, anyway=anyway)
        with self._warehouse.lock:
            state = self._warehouse.schemas[self._schema.name]
            assert state.control is not None
            state.control = evolve(state.control, generation=fence.generation, fence=fence.number, open=True)
            self._fence = fence
            return True


class GapsWhileSomebodyReads(Broken):
    """Drops the view, waits until a reader has missed it, and makes it."""

    FAILS = ("switch_supersedes_without_a_gap",)
    MAY = ("any",)

    def publish(self, publication: Any, **more: Any) -> None:
        if isinstance(publication, Switch) and publication.supersedes is not None and threading.active_count() > 1:
            name = publication.built.request.definition.view_name.casefold()
            view = self._warehouse.schemas[self._schema.name].things.pop(name, None)
            readers = [each for each in threading.enumerate() if each is not threading.current_thread()]
            for reader in readers:
                reader.join(10)  # the kit's reader ends when it meets an error
            if view is not None:
                self._warehouse.schemas[self._schema.name].put(view)
        super().publish(publication, **more)


class CutsNames(Broken):
    """Knows the first 62 bytes of a name."""

    FAILS = ("long_and_odd_names_stay_apart",)

    def publish(self, publication: Any, **more: Any) -> None:
        super().publish(publication, **more)
        things = self._warehouse.schemas[self._schema.name].things
        for name in [name for name in things if len(name) > 62]:
            cut = things.pop(name)
            things[name[:62]] = cut
            things[name[:62] + "a"] = things[name[:62] + "b"] = cut


BROKEN_MORE: tuple[type[Broken], ...] = (
    *(RedefinesNothing, AdoptsNothing, LeavesTagsBehind, TokenAfterStage, TokenAfterBuild, ForgetsWhatItBegan),
    *(InterruptsUnasked, NamesStatesUnasked, ClaimsMore, ChecksThenWrites, EverybodyWins, GapsWhileSomebodyReads),
    *(CutsNames, MergesUnasked),
)
