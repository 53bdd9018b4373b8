"""What broken stores are made from: an honest memory store with places where a subclass can spoil it."""

from collections.abc import Collection
from typing import ClassVar

from attrs import evolve

from aggmaint.core.instants import StoreTime
from aggmaint.core.organization import OrgChange, OrgSnapshot, Verdict, judge
from aggmaint.store import CommitResult, Committed, Stale
from aggmaint.stores.memory import MemoryStore

I10 = ("commit_again_of_one_change_is_one_change_I10", "commit_twice_in_one_batch_is_one_change_I10")
RACES = ("threads_racing_on_one_revision_one_wins_I1", "threads_lose_nothing_that_was_acknowledged_I15")


class Broken(MemoryStore):
    """An honest memory store, but for what a subclass spoils."""

    FAILS: ClassVar[tuple[str, ...]]
    MAY: ClassVar[tuple[str, ...]] = ()

    def now(self) -> StoreTime:
        return self._clock.read()

    def ids_known(self, stored: OrgSnapshot) -> Collection[str]:
        return stored.change_ids

    def judged(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> Verdict:
        return judge(change, stored.revision, self.ids_known(stored), now)

    def _commit_one(self, change: OrgChange, now: StoreTime) -> CommitResult:
        org = self._orgs.get(change.org_id)
        stored = org.document if org else OrgSnapshot(change.org_id)
        verdict = self.judged(change, stored, now)
        if verdict is Verdict.COMMITTED_BEFORE:
            return Committed(stored.revision)
        if verdict is Verdict.STALE:
            return Stale()
        return self.applied(change, stored, now)

    def applied(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> CommitResult:
        """Apply a change that was judged so: the honest store judges it once more, on what is stored."""
        rebased = evolve(change, base_revision=stored.revision, decided_at=now, change_id=f"{change.change_id}'")
        return super()._commit_one(rebased, now)
