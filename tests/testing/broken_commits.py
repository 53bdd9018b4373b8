"""Stores that break what prepare, load, commit and close promise."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any
from unicodedata import normalize

from attrs import evolve, fields, has

from aggmaint.core.ids import OrgId
from aggmaint.core.instants import StoreTime
from aggmaint.core.job import JobStatus
from aggmaint.core.organization import OrgChange, OrgSnapshot, Verdict, judge
from aggmaint.store import (
    CommitResult,
    JobRecord,
    Loaded,
    Stale,
)
from aggmaint.testing.clocks import passed
from tests.testing.broken_base import I10, Broken

# -- prepare, load, close ----------------------------------------------------------------------------------------------


class PrepareForgets(Broken):
    """Creates its tables anew each time."""

    FAILS = ("prepare_again_keeps_everything",)

    def prepare(self) -> None:
        self._orgs.clear()


class InventsUnknown(Broken):
    """Gives an empty document for an organisation that it does not know."""

    FAILS = (
        "load_leaves_out_unknown_organizations",
        "a_new_store_is_empty",
        "commit_on_another_revision_changes_nothing",
    )

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        loaded = super().load(org_ids)
        return Loaded({org_id: OrgSnapshot(org_id) for org_id in org_ids} | dict(loaded.snapshots), loaded.time)


class LoadsFew(Broken):
    """Asks for 999 organisations at once, since its database takes no more parameters, and forgets the rest."""

    FAILS = ("load_and_commit_take_many_organizations",)

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        return super().load(org_ids[:999])


class ClockStandsStill(Broken):
    """Reads the clock once."""

    FAILS = ("load_tells_a_time_that_passes",)

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        loaded = super().load(org_ids)
        self._first = getattr(self, "_first", loaded.time)
        return Loaded(loaded.snapshots, self._first)


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The value with `change` applied to every plain part of it."""
    if has(type(value)):
        parts = {each.alias: mapped(getattr(value, each.name), change) for each in fields(type(value))}
        return type(value)(**parts)
    if isinstance(value, tuple):
        return tuple(mapped(each, change) for each in value)
    return change(value)


class Milliseconds(Broken):
    """Keeps instants in milliseconds."""

    FAILS = (
        "load_gives_back_every_field",
        "get_job_gives_back_every_field",
        "commit_ends_and_grants_in_one_change_I1",
    )

    def _commit_one(self, change: OrgChange, now: StoreTime) -> CommitResult:
        def rounded(part: Any) -> Any:
            return part.replace(microsecond=part.microsecond // 1000 * 1000) if isinstance(part, datetime) else part

        parts = {name: mapped(getattr(change, name), rounded) for name in ("document", "ended", "granted")}
        return super()._commit_one(evolve(change, **parts), now)


class MergesMarks(Broken):
    """Writes what is there and forgets to delete what is not: marks that are gone stay."""

    FAILS = ("load_gives_back_fields_that_were_cleared",)

    def _commit_one(self, change: OrgChange, now: StoreTime) -> CommitResult:
        org = self._orgs.get(change.org_id)
        if org and not change.document.marks:
            change = evolve(change, document=evolve(change.document, marks=org.document.marks))
        return super()._commit_one(change, now)


class _Folded(dict[OrgId, Any]):
    """Keys as a database with a friendly collation compares them."""

    def __missing__(self, key: OrgId) -> Any:
        raise KeyError(key)

    @staticmethod
    def fold(key: str) -> OrgId:
        return OrgId(normalize("NFC", key).casefold().rstrip())

    def __getitem__(self, key: OrgId) -> Any:
        return super().__getitem__(self.fold(key))

    def __setitem__(self, key: OrgId, value: Any) -> None:
        super().__setitem__(self.fold(key), value)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(self.fold(str(key)))

    def get(self, key: OrgId, default: Any = None) -> Any:
        return super().get(self.fold(key), default)


class FoldsCase(Broken):
    """Compares organisation ids as a database with a friendly collation does."""

    FAILS = (
        "hostile_ids_stay_apart_I2",
        "get_job_of_another_organization_is_not_found_I2",
        "list_organizations_pages_in_code_point_order",
    )

    def __init__(self) -> None:
        super().__init__()
        self._orgs = _Folded()


class ClosesOnce(Broken):
    """Closing it again is an error."""

    FAILS = ("close_is_idempotent",)

    def close(self) -> None:
        if getattr(self, "_closed", False):
            raise RuntimeError("already closed")
        self._closed = True


# -- commit ------------------------------------------------------------------------------------------------------------


class LastWriteWins(Broken):
    """Compares no revisions."""

    FAILS = (
        "commit_on_another_revision_changes_nothing",
        "commit_answers_each_change_by_itself",
        "commit_of_one_organization_twice_is_judged_in_order",
        "commit_again_is_known_among_the_newest_32_I10",
        "threads_racing_on_one_revision_one_wins_I1",
    )
    MAY = ("threads_lose_nothing_that_was_acknowledged_I15",)

    def judged(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> Verdict:
        return judge(evolve(change, base_revision=stored.revision), stored.revision, stored.change_ids, now)


class HalfStale(Broken):
    """Writes the rows of jobs before it compares the revision, and does not take them back."""

    FAILS = ("commit_on_another_revision_changes_nothing",)

    def _commit_one(self, change: OrgChange, now: StoreTime) -> CommitResult:
        org = self._orgs.get(change.org_id)
        if org and change.ended:
            ended = change.ended
            org.jobs[ended.job.id] = JobRecord(ended.job, ended.report, ended.inventory)
        return super()._commit_one(change, now)


class IgnoresAge(Broken):
    """Takes decisions of any age."""

    FAILS = ("commit_of_a_decision_older_than_5_s_is_stale",)

    def judged(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> Verdict:
        at = change.decided_at
        if at.boot == now.boot:
            change = evolve(change, decided_at=passed(at, at.age_s(now)))
        return super().judged(change, stored, now)


class IgnoresSteps(Broken):
    """Takes no notice of a wall clock that was stepped since the decision."""

    FAILS = ("commit_across_a_step_of_the_wall_clock_is_stale",)

    def judged(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> Verdict:
        at = change.decided_at
        if at.boot == now.boot:
            change = evolve(change, decided_at=passed(now, -at.age_s(now)))
        return super().judged(change, stored, now)


class IgnoresBoot(Broken):
    """Compares steady seconds of two lives of the clock."""

    FAILS = ("commit_of_a_decision_of_another_boot_is_stale",)

    def judged(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> Verdict:
        return super().judged(evolve(change, decided_at=evolve(change.decided_at, boot=now.boot)), stored, now)


class ForgetsChangeIds(Broken):
    """Knows no change again."""

    FAILS = (*I10, "commit_again_is_known_among_the_newest_32_I10")

    def ids_known(self, stored: OrgSnapshot) -> Collection[str]:
        return ()


class RemembersTen(Broken):
    """Knows the newest ten changes again."""

    FAILS = ("commit_again_is_known_among_the_newest_32_I10",)

    def ids_known(self, stored: OrgSnapshot) -> Collection[str]:
        return stored.change_ids[-10:]


class AllOrNothing(Broken):
    """Rolls the whole batch back when one change of it is stale."""

    FAILS = ("commit_answers_each_change_by_itself", "commit_of_one_organization_twice_is_judged_in_order")

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        with self._lock:
            before = {org_id: evolve(org, jobs=dict(org.jobs)) for org_id, org in self._orgs.items()}
            results = [self._commit_one(change, self.now()) for change in changes]
            if Stale() not in results:
                return results
            self._orgs = before
        return [Stale()] * len(changes)


class ResultsInAnyOrder(Broken):
    """Gives the results in the order in which it happened to write."""

    FAILS = ("commit_answers_each_change_by_itself", "commit_of_one_organization_twice_is_judged_in_order")

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        return list(super().commit(changes))[::-1]


class JudgesTheBatchAtOnce(Broken):
    """Judges all changes of a batch on what was stored before it."""

    FAILS = ("commit_of_one_organization_twice_is_judged_in_order",)

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        with self._lock:
            self._at_start = {org_id: org.document for org_id, org in self._orgs.items()}
        return super().commit(changes)

    def judged(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> Verdict:
        before = self._at_start.get(change.org_id, OrgSnapshot(change.org_id))
        if change.change_id in stored.change_ids:
            return Verdict.COMMITTED_BEFORE
        return judge(change, before.revision, before.change_ids, now)


class LosesTheGrantOfARescue(Broken):
    """Writes one row of history per commit."""

    FAILS = ("commit_ends_and_grants_in_one_change_I1",)

    def applied(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> CommitResult:
        return super().applied(evolve(change, granted=None) if change.ended else change, stored, now)


class RewritesEndedJobs(Broken):
    """Ends a job by updating all rows of the organisation."""

    FAILS = ("commit_never_changes_an_ended_job_I4",)

    def applied(self, change: OrgChange, stored: OrgSnapshot, now: StoreTime) -> CommitResult:
        result = super().applied(change, stored, now)
        if change.ended and change.ended.job.complete is not None:
            for job_id, record in self._orgs[change.org_id].jobs.items():
                if record.job.status is JobStatus.DONE:
                    job = evolve(record.job, complete=change.ended.job.complete)
                    self._orgs[change.org_id].jobs[job_id] = evolve(record, job=job)
        return result
