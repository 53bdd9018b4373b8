"""Checks of claim and guard: a schema has one writer, and who lost it writes nothing."""

import threading
from collections.abc import Callable
from functools import partial

from attrs import evolve

from ..core.job import Fence
from ..errors import FenceLostError, ForeignSchemaError, WarehouseError
from ..warehouse import ManagedSchema, RestoreView, WarehouseSession
from ._expect import PATIENCE_S, equal, holds, present, raises
from ._warehouse_base import BY_MONTH, TOTALS, WarehouseSuiteBase

RACERS = 4
STATEMENTS_MAX = 500
WAITS_S = 0.5
"""How long a claim is waited for, in the middle of a publish."""


class ClaimChecks(WarehouseSuiteBase):
    """claim, guard, close."""

    def test_claim_makes_the_ledger_and_takes_it(self) -> None:
        """The first claim creates schema and ledger; the control row has its fence, and is open until the session closes."""
        session = self.claimed(BY_MONTH)
        control = present(session.observe([], sick={}).control, "the control row after a claim")
        equal((control.installation, control.org_id, control.open), ("kit", "acme", True), "the control row")
        equal(control.fence, self._numbers, "the fence in it")
        session.close()
        session.close()
        equal(present(self.observed().control, "the control row").open, False, "open after close()")

    def test_claim_needs_a_greater_fence(self) -> None:
        """An equal or smaller one raises FenceLostError, whatever `anyway`; a greater generation comes before any number."""
        self.ready(BY_MONTH)
        seen = present(self.observed().control, "the control row")
        held = Fence(seen.generation, seen.fence)
        for fence in (held, evolve(held, number=held.number - 1), Fence(held.generation - 1, held.number + 100)):
            for anyway in (False, True):
                claim = partial(self.open().claim, fence, seen=seen, anyway=anyway)
                raises(FenceLostError, claim, f"claim {fence}")
        equal(self.observed().control, seen, "the control row after refused claims")
        holds(
            self.open().claim(Fence(held.generation + 1, 1), seen=seen), "a greater generation claims with any number"
        )

    def test_claim_is_refused_when_something_was_written_since(self) -> None:
        """False, and nothing changed; `anyway` claims all the same."""
        self.ready(BY_MONTH)
        late = self.open()
        seen = late.observe([BY_MONTH], sick={}).control
        other = self.claimed(BY_MONTH)
        equal(late.claim(self.fence(), seen=seen), False, "a claim from before another's")
        raises(
            FenceLostError, lambda: self.publish(late, self.retire(self.active(BY_MONTH))), "writing without the claim"
        )
        other.close()
        equal(late.claim(self.fence(), seen=seen), False, "a claim from before another's, when that has ended")
        other = self.claimed(BY_MONTH)
        seen = late.observe([BY_MONTH], sick={}).control
        self.publish(other, RestoreView(BY_MONTH, self.active(BY_MONTH)))
        other.close()
        equal(late.claim(self.fence(), seen=seen), False, "a claim from before a publish, when its job has ended")
        holds(late.claim(self.fence(), seen=None, anyway=True), "claim(anyway=True)")

    def test_claims_that_race_one_wins(self) -> None:
        """Threads that claim from one observation, each with a fence of its own: exactly one gets True."""
        self.ready(BY_MONTH)
        sessions = [self.open() for _ in range(RACERS)]
        seen = [session.observe([BY_MONTH], sick={}).control for session in sessions]
        fences = [self.fence() for _ in sessions]
        start = threading.Barrier(RACERS)
        won: list[int] = []

        def claim(index: int) -> None:
            start.wait(PATIENCE_S)
            try:
                if sessions[index].claim(fences[index], seen=seen[index]):
                    won.append(index)
            except WarehouseError:  # a greater fence was faster, or the conflict did not pass in time
                return

        threads = [threading.Thread(target=claim, args=(index,), daemon=True) for index in range(RACERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        equal(len(won), 1, "claims of one observation that succeeded")
        fence = present(self.observed().control, "the control row").fence
        equal(fence, fences[won[0]].number, "the fence of the winner is in the control row")

    def test_another_installation_or_organisation_is_refused(self) -> None:
        """ForeignSchemaError from observe, and from a claim; nothing is changed."""
        self.ready(BY_MONTH)
        before = self.everything(), self.observed().control
        name = self.schema.name
        for schema in (ManagedSchema("other", "acme", name), ManagedSchema("kit", "other", name)):
            raises(ForeignSchemaError, partial(self.open(schema).observe, [], sick={}), f"observing as {schema}")
            session = self.open(schema)
            try:
                taken = session.claim(Fence(99, 1), seen=None, anyway=True)
            except (ForeignSchemaError, FenceLostError):
                taken = False
            equal(taken, False, f"claiming as {schema}")
        equal((self.everything(), self.observed().control), before, "what is there after a stranger came")

    def test_schemas_do_not_disturb_each_other(self) -> None:
        """Two organisations in one warehouse: the claim of one is no claim of the other."""
        self.ready(BY_MONTH)
        mine = self.claimed(BY_MONTH)
        other = self.open(ManagedSchema("kit", "other", "agg_kit_other"))
        holds(other.claim(Fence(7, 1), seen=other.observe([], sick={}).control), "a claim of another schema")
        self.change(0, qty=9)
        self.publish(mine, self.refresh(mine, BY_MONTH)[1])
        self.right(BY_MONTH)

    # -- the guard -------------------------------------------------------------------------------------------------------

    def zombie(self, kind: str) -> tuple[WarehouseSession, Callable[[], None]]:
        """A session with something ready to be published, whose job was then claimed away."""
        self.ready(BY_MONTH)
        self.change(0, qty=9)
        session = self.claimed(BY_MONTH)
        publication = self.publications(session)[kind]()
        holds(self.open().claim(self.fence(), seen=None, anyway=True), "the successor's claim")
        return session, lambda: self.publish(session, publication)

    def lost(self, kind: str) -> None:
        _, publish = self.zombie(kind)
        before = self.everything()
        raises(FenceLostError, publish, f"a zombie's {kind}")
        equal(self.everything(), before, f"what is there after a zombie's {kind}")

    def test_a_zombie_refreshes_nothing(self) -> None:
        """After a successor's claim a refresh raises FenceLostError, and nothing of it is there."""
        self.lost("refresh")

    def test_a_zombie_switches_nothing(self) -> None:
        """After a successor's claim a switch raises FenceLostError, and nothing of it is there."""
        self.lost("switch")

    def test_a_zombie_retires_drops_and_forgets_nothing(self) -> None:
        """After a successor's claim these raise FenceLostError, and nothing of them is there."""
        for kind in ("retire", "drop", "restore view", "forget"):
            self.teardown_method()
            self.setup_method()
            self.lost(kind)

    def test_a_zombie_builds_nothing_that_stays(self) -> None:
        """After a successor's claim a build raises FenceLostError before it writes its intents."""
        session, _ = self.zombie("refresh")
        before = self.everything()
        raises(FenceLostError, lambda: session.build(self.requests(TOTALS), at=self.at()), "a zombie's build")
        equal(self.everything(), before, "what is there after a zombie's build")

    def test_a_claim_in_the_middle_of_a_publish_excludes_it(self) -> None:
        """At whatever statement of a publish a successor claims, it fails or waits, or the publish does. Never both pass."""
        self.need_watching()
        self.ready(BY_MONTH)
        for at in range(STATEMENTS_MAX):
            self.change(0, qty=20 + at)
            if not self._claimed_in_the_middle(at):
                holds(at > 0, "the bench watches the statements of a publish")
                return

    def _claimed_in_the_middle(self, at: int) -> bool:
        """Publish, with a successor's claim before statement `at`; False if there is no such statement."""
        session, successor = self.claimed(BY_MONTH), self.open()
        publication, before = self.refresh(session, BY_MONTH)[1], self.everything()
        left, passed = [at], [False]
        threads: list[threading.Thread] = []

        def claim(_sql: str) -> None:
            left[0] -= 1
            if left[0] == -1:
                self.bench.watch(None)
                threads.append(self._claiming(successor, passed))

        self.bench.watch(claim)
        try:
            self.publish(session, publication)
            published = True
        except WarehouseError:
            published = False
        self.bench.watch(None)
        for thread in threads:
            thread.join(PATIENCE_S)
        words = f"a claim at statement {at} of a publish, and the publish, both passed"
        holds(not (published and passed[0]), words)
        if not published:
            equal(self.everything(), before, "what is there after a publish that failed")
        session.close()
        successor.close()
        return bool(threads)

    def _claiming(self, session: WarehouseSession, done: list[bool]) -> threading.Thread:
        """Claim in another thread: `done` if that passed. A claim that waits for the publish has not passed before it."""
        fence = self.fence()
        outcome: list[bool] = []

        def attempt() -> None:
            try:
                outcome.append(session.claim(fence, seen=None, anyway=True))
            except WarehouseError:
                outcome.append(False)

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(WAITS_S)
        done[0] = bool(outcome and outcome[0])
        return thread

    def test_nobody_writes_without_a_claim(self) -> None:
        """FenceLostError from build and publish of a session that claimed nothing, or that was closed."""
        self.ready(BY_MONTH)
        before = self.everything()
        session = self.open()
        instance = self.active(BY_MONTH)
        raises(FenceLostError, lambda: session.build(self.requests(TOTALS), at=self.at()), "building without a claim")
        raises(FenceLostError, lambda: self.publish(session, self.retire(instance)), "publishing without a claim")
        equal(self.everything(), before, "what is there after that")

    def test_a_closed_claim_is_over(self) -> None:
        """Once a session gave its claim back, a copy of its fence claims nothing, and a new one does."""
        session = self.claimed(BY_MONTH)
        fence = Fence(1, self._numbers)
        session.close()
        raises(
            FenceLostError,
            lambda: self.open().claim(fence, seen=None, anyway=True),
            "claiming again with the same fence",
        )
        self.claimed(BY_MONTH)
