"""Load, decide, commit: the one way in which an organisation's document changes.

Theory of operation. A decision is made on a document at a revision, and committed only while that revision stands. If
another writer was faster the answer is stale: load and decide again. Each such failure is somebody else's progress, so a
retry ends, unless very many write at once: then ContentionError after `PATIENCE_S`. If a commit's outcome is unknown, the
document tells: it carries the ids of its newest changes. Events are told after the commit that made them true, each
listener by itself.
"""

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar
from uuid import uuid4

from attrs import frozen

from .clock import Clock
from .core.events import Event
from .core.ids import OrgId
from .core.instants import StoreTime
from .core.organization import CHANGE_IDS_MAX, OrgChange, OrgSnapshot
from .core.settings import JobSettings
from .core.steps import Basis, Decision
from .errors import ContentionError, OrganizationNotFoundError, StoreUnavailableError, UnknownOutcomeError
from .store import CommitResult, Committed, JobStore, Stale

Answer = TypeVar("Answer", covariant=True)
Listener = Callable[[Event], None]

PATIENCE_S: Final = 10.0
QUICK_TRIES: Final = 3

_log = logging.getLogger("aggmaint.engine")


@frozen
class Settled(Generic[Answer]):
    """A decision that holds: the answer, the document it led to, and whether anything was written.

    `asked_s` is this machine's steady clock as it was read before the store's time on which the decision stands.
    """

    answer: Answer
    document: OrgSnapshot
    written: bool
    asked_s: float


class Committer:
    """Changes documents in one store, and tells the listeners."""

    def __init__(self, store: JobStore, settings: JobSettings, listeners: Sequence[Listener], clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self._listeners = tuple(listeners)

    def load(self, org_id: OrgId) -> tuple[OrgSnapshot, StoreTime]:
        """The document and the store's time. Raises OrganizationNotFoundError."""
        loaded = self.store.load([org_id])
        document = loaded.snapshots.get(org_id)
        if document is None or document.removed_at is not None:
            raise OrganizationNotFoundError(org_id)
        return document, loaded.time

    def change(self, org_id: OrgId, decide: Callable[[OrgSnapshot, Basis], Decision[Answer]]) -> Settled[Answer]:
        """Decide and commit until it holds. Raises what `decide` raises, and ContentionError."""
        began = self.clock.read()
        tries = 0
        while True:
            settled = self.try_change(org_id, decide)
            if settled is not None:
                return settled
            tries += 1
            if began.age_s(self.clock.read()) > PATIENCE_S:
                raise ContentionError(f"organisation {org_id!r}: {tries} tries in {PATIENCE_S:g} s met other writers")
            if tries > QUICK_TRIES:
                self.clock.sleep(random.uniform(0, 0.002 * min(tries, 10)))

    def try_change(
        self, org_id: OrgId, decide: Callable[[OrgSnapshot, Basis], Decision[Answer]]
    ) -> Settled[Answer] | None:
        """One try; None when another writer was faster."""
        asked_s = self.clock.read().steady_s
        document, now = self.load(org_id)
        decision = decide(document, self.basis(now))
        if decision.change is None:
            return Settled(decision.answer, document, written=False, asked_s=asked_s)
        if isinstance(self._commit_known(decision.change), Committed):
            self.tell(decision.change.events)
            return Settled(decision.answer, decision.change.document, written=True, asked_s=asked_s)
        return None

    def change_many(
        self, org_ids: Sequence[OrgId], decide: Callable[[OrgSnapshot, Basis], Decision[Answer]]
    ) -> Mapping[OrgId, Settled[Answer] | None]:
        """One try for each, committed together; None where another writer was faster.

        Left out are unknown organisations, and those that can not be decided about or whose outcome stays unknown (logged).
        """
        asked_s = self.clock.read().steady_s
        loaded = self.store.load(org_ids)
        settled: dict[OrgId, Settled[Answer] | None] = {}
        changes: dict[OrgId, tuple[OrgChange, Answer]] = {}
        for org_id, document in loaded.snapshots.items():
            try:
                decision = decide(document, self.basis(loaded.time))
            except Exception:
                _log.exception("organisation %r can not be attended to; the others are", org_id)
                continue
            if decision.change is None:
                settled[org_id] = Settled(decision.answer, document, written=False, asked_s=asked_s)
            else:
                changes[org_id] = (decision.change, decision.answer)
        results = self._commit_all([change for change, _ in changes.values()])
        for (org_id, (change, answer)), result in zip(changes.items(), results, strict=True):
            if isinstance(result, UnknownOutcomeError):
                _log.warning("what became of a change of organisation %r is unknown: %s", org_id, result)
                continue
            kept = isinstance(result, Committed)
            settled[org_id] = Settled(answer, change.document, written=True, asked_s=asked_s) if kept else None
            if kept:
                self.tell(change.events)
        return settled

    def commit_each(self, changes: Sequence[OrgChange]) -> list[bool]:
        """Commit changes, one try for each; which were committed. A document that changed meanwhile is left as it is.

        Raises UnknownOutcomeError when the outcome of one stays unknown, after all were tried.
        """
        results = self._commit_all(changes)
        for result in results:
            if isinstance(result, UnknownOutcomeError):
                raise result
        return [isinstance(result, Committed) for result in results]

    def basis(self, now: StoreTime) -> Basis:
        return Basis(now, uuid4().hex, self.settings)

    def tell(self, events: Iterable[Event]) -> None:
        for event in events:
            for listener in self._listeners:
                try:
                    listener(event)
                except Exception:
                    _log.exception("listener %r failed on %s; the job goes on", listener, type(event).__name__)

    def _commit_all(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult | UnknownOutcomeError]:
        """Commit changes together; if nobody knows what became of them, find out for each by itself."""
        if not changes:
            return []
        try:
            return self.store.commit(changes)
        except UnknownOutcomeError:
            return [self._commit_or_unknown(change) for change in changes]

    def _commit_or_unknown(self, change: OrgChange) -> CommitResult | UnknownOutcomeError:
        try:
            return self._commit_known(change)
        except UnknownOutcomeError as unknown:
            return unknown

    def _commit_known(self, change: OrgChange) -> CommitResult:
        """Commit one change and find out what became of it. Raises UnknownOutcomeError when nothing tells."""
        try:
            return self.store.commit([change])[0]
        except UnknownOutcomeError as unknown:
            document = self._look_again(change.org_id, unknown)
            if document is not None and change.change_id in document.change_ids:
                return Committed(document.revision)
            moved = (document.revision if document else 0) - change.base_revision
            if moved > CHANGE_IDS_MAX:
                raise  # its id may have been pushed out
            return self.store.commit([change])[0] if moved == 0 else Stale()

    def _look_again(self, org_id: OrgId, unknown: UnknownOutcomeError) -> OrgSnapshot | None:
        """The document after a commit whose outcome is unknown; it stays unknown if nobody can look (I9)."""
        try:
            return self.store.load([org_id]).snapshots.get(org_id)
        except StoreUnavailableError:
            raise unknown from None
