"""Checks that every writing verb is whole or not at all: each is broken off at each of its statements.

They need a bench that can watch the warehouse's statements; without it they do not apply, and the certificate says so.
"""

from collections.abc import Callable
from typing import Any, Final

from ..aggregates.decisions import DropStep
from ..aggregates.reasons import Reason
from ..errors import WarehouseError
from ..warehouse import WarehouseSession
from ._expect import equal, holds
from ._warehouse_base import BY_MONTH, TOTALS, WarehouseSuiteBase

STATEMENTS_MAX: Final = 500

Prepared = tuple[WarehouseSession, Callable[[], Any]]


class BrokenOffError(Exception):
    """What a check raises in the middle of a verb."""


class FaultChecks(WarehouseSuiteBase):
    """All or nothing."""

    def broken_off_everywhere(self, words: str, prepare: Callable[[], Prepared]) -> None:
        """Break the prepared verb off before its first statement, its second, and so on, until it passes."""
        self.need_watching()
        for at in range(STATEMENTS_MAX):
            self.teardown_method()
            self.setup_method()
            session, verb = prepare()
            before, left = self.everything(), [at]

            def fail(_sql: str, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise BrokenOffError

            self.bench.watch(fail)
            try:
                verb()
            except (BrokenOffError, WarehouseError):
                self.bench.watch(None)
                self.untouched(before, f"{words} that was broken off at statement {at + 1}")
                session.close()
                self.next_job_succeeds(words, at)
            else:
                self.bench.watch(None)
                holds(at > 0, f"the bench watches the statements of {words}")
                return
        holds(False, f"{words} ends within {STATEMENTS_MAX} statements")

    def untouched(self, before: dict[str, Any], words: str) -> None:
        equal(self.everything(), before, f"what is there after {words}")

    def next_job_succeeds(self, words: str, at: int) -> None:
        self.put(self.rows)
        session = self.claimed(TOTALS)
        self.serve(session, TOTALS)
        session.close()
        equal(self.view(TOTALS), self.must(TOTALS), f"a build after {words} broke off at statement {at + 1}")

    def test_a_refresh_is_whole_or_not_at_all(self) -> None:
        """Broken off at any statement it leaves the old rows, the old ledger, and a schema that can be used on."""

        def prepare() -> Prepared:
            self.ready(BY_MONTH)
            self.change(0, qty=9)
            session = self.claimed(BY_MONTH)
            publication = self.refresh(session, BY_MONTH)[1]
            return session, lambda: self.publish(session, publication)

        self.broken_off_everywhere("a refresh", prepare)

    def test_a_switch_is_whole_or_not_at_all(self) -> None:
        """Broken off at any statement it leaves the old view, the old ledger, and a schema that can be used on."""

        def prepare() -> Prepared:
            self.ready(BY_MONTH)
            session = self.claimed(BY_MONTH)
            publication = self.publications(session)["switch"]()
            return session, lambda: self.publish(session, publication)

        self.broken_off_everywhere("a switch", prepare)

    def test_a_retirement_is_whole_or_not_at_all(self) -> None:
        """Broken off at any statement it leaves the view and the ledger as they were."""

        def prepare() -> Prepared:
            self.ready(BY_MONTH)
            session, instance = self.claimed(BY_MONTH), self.active(BY_MONTH)
            return session, lambda: self.publish(session, self.retire(instance))

        self.broken_off_everywhere("a retirement", prepare)

    def test_a_drop_is_whole_or_not_at_all(self) -> None:
        """Broken off at any statement it leaves the table and the ledger as they were."""

        def prepare() -> Prepared:
            self.ready(BY_MONTH)
            session, instance = self.claimed(BY_MONTH), self.active(BY_MONTH)
            self.publish(session, self.retire(instance))
            return session, lambda: self.publish(session, DropStep(instance, True, Reason.INSTANCE_RETIRED_EXPIRED))

        self.broken_off_everywhere("a drop", prepare)

    def test_a_claim_is_whole_or_not_at_all(self) -> None:
        """Broken off at any statement, the first one of a schema too, the next job can claim."""

        def prepare() -> Prepared:
            session = self.open()
            seen = session.observe([BY_MONTH], sick={}).control
            fence = self.fence()
            return session, lambda: session.claim(fence, seen=seen)

        self.broken_off_everywhere("a claim", prepare)

    def test_a_build_is_whole_or_not_at_all(self) -> None:
        """Broken off at any statement it leaves no table; intents may stay."""

        def prepare() -> Prepared:
            self.ready(BY_MONTH)
            session = self.claimed(BY_MONTH)
            requests = self.requests(BY_MONTH)
            session.observe([BY_MONTH], sick={})
            return session, lambda: session.build(requests, at=self.at())

        self.broken_off_everywhere_but_intents(prepare)

    def broken_off_everywhere_but_intents(self, prepare: Callable[[], Prepared]) -> None:
        compared = self.untouched

        def untouched(before: dict[str, Any], words: str) -> None:
            after = self.everything()
            for name in ("objects", "rows", "records"):
                equal(after[name], before[name], f"{name} after {words}")

        self.untouched = untouched  # type: ignore[method-assign]  # for this check only
        try:
            self.broken_off_everywhere("a build", prepare)
        finally:
            self.untouched = compared  # type: ignore[method-assign]
