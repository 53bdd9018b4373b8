"""Stores that break what threads, handles, processes and optional abilities are promised."""

import pickle
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from attrs import evolve

from aggmaint.core.ids import JobId, OrgId
from aggmaint.core.job import Fence
from aggmaint.core.organization import OrgChange, OrgSnapshot, Verdict
from aggmaint.errors import LeaseLostError
from aggmaint.store import (
    CommitResult,
    Committed,
    JobRecord,
    Loaded,
    Stale,
)
from aggmaint.stores.memory import MemoryStore
from aggmaint.stores.sqlite import SQLiteStore
from tests.examples.json_directory_store import JsonDirectoryStore
from tests.testing.broken_base import RACES, Broken

# -- threads, capabilities ---------------------------------------------------------------------------------------------


class NoLock(Broken):
    """Reads, judges and writes without a lock between threads."""

    FAILS = RACES

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        results: list[CommitResult] = []
        for change in changes:
            stored = self.load([change.org_id]).snapshots.get(change.org_id, OrgSnapshot(change.org_id))
            verdict = self.judged(change, stored, self.now())
            time.sleep(0.0005)  # another thread runs
            with self._lock:
                org = self._orgs.get(change.org_id)
                there = org.document if org else stored
                if verdict is Verdict.APPLY:
                    results.append(self.applied(change, there, self.now()))
                else:
                    results.append(Stale() if verdict is Verdict.STALE else Committed(there.revision))
        return results


class TornDocuments(Broken):
    """Reads a document in two steps that a writer can come between."""

    FAILS = ("readers_see_whole_commits_I1",)

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        first = super().load(org_ids)
        time.sleep(0.0001)  # another thread runs
        again = super().load(org_ids).snapshots
        torn = {
            org_id: evolve(document, last_mark=again[org_id].last_mark) for org_id, document in first.snapshots.items()
        }
        return Loaded(torn, first.time)


# -- abilities ---------------------------------------------------------------------------------------------------------


class ClaimsWhatNobodyChecks(Broken):
    """Declares an ability that this kit does not know."""

    FAILS = ("capabilities_are_known_to_the_kit",)
    capabilities = ("Notifies",)


class ClaimsFencesOnly(Broken):
    """Declares Fences and has not the method."""

    FAILS = (
        "capabilities_are_known_to_the_kit",
        "fenced_commits_what_was_written_I8",
        "fenced_rolls_back_when_the_block_fails_I8",
        "fenced_refuses_who_does_not_hold_the_job_I8",
        "fenced_holds_the_job_until_the_block_ends_I8",
    )
    capabilities = ("Fences",)


class Store(SQLiteStore):
    """An honest SQLite store, quick because no power cut is tested."""

    FAILS: ClassVar[tuple[str, ...]]

    def __init__(self, location: str) -> None:
        super().__init__(Path(location) / "jobs.db", synchronous="NORMAL")
        self.location = Path(location)


class FencedWithoutProof(Store):
    """Opens a transaction for whoever asks."""

    FAILS = ("fenced_refuses_who_does_not_hold_the_job_I8",)

    @contextmanager
    def fenced(self, org_id: OrgId, fence: Fence) -> Iterator[sqlite3.Connection]:
        with self._connections.writing() as connection:
            yield connection


class FencedByTheNumber(Store):
    """Asks whether the fence is the newest, not whether its job is in progress."""

    FAILS = ("fenced_refuses_who_does_not_hold_the_job_I8",)

    @contextmanager
    def fenced(self, org_id: OrgId, fence: Fence) -> Iterator[sqlite3.Connection]:
        with self._connections.writing() as connection:
            document = self.load([org_id]).snapshots.get(org_id)
            if document is None or Fence(document.generation, document.last_fence) != fence:
                raise LeaseLostError(org_id, str(fence.number))
            yield connection


class FencedCommitsAnyway(Store):
    """Commits what a failed block wrote."""

    FAILS = ("fenced_rolls_back_when_the_block_fails_I8",)

    @contextmanager
    def fenced(self, org_id: OrgId, fence: Fence) -> Iterator[sqlite3.Connection]:
        failure: Exception | None = None
        with super().fenced(org_id, fence) as connection:
            try:
                yield connection
            except Exception as exc:
                failure = exc
        if failure is not None:
            raise failure


class FencedProvesTooEarly(Store):
    """Proves in one transaction and lets the host write in the next."""

    FAILS = ("fenced_holds_the_job_until_the_block_ends_I8",)

    @contextmanager
    def fenced(self, org_id: OrgId, fence: Fence) -> Iterator[sqlite3.Connection]:
        with super().fenced(org_id, fence):
            pass
        connection = sqlite3.connect(self.location / "beside.db", isolation_level=None)
        try:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()


# -- handles -----------------------------------------------------------------------------------------------------------


class CachesDocuments(Store):
    """Keeps documents that it has read, until it changes them itself."""

    FAILS = ("another_handle_sees_commits_at_once",)

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._cache: dict[OrgId, OrgSnapshot] = {}

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        missing = [org_id for org_id in org_ids if org_id not in self._cache]
        loaded = super().load(missing)
        self._cache |= loaded.snapshots
        return Loaded({org_id: self._cache[org_id] for org_id in org_ids if org_id in self._cache}, loaded.time)

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        results = super().commit(changes)
        for change in changes:
            self._cache.pop(change.org_id, None)
        return results


class WritesWhenClosed(MemoryStore):
    """Keeps everything in memory and writes it when it is closed."""

    FAILS: ClassVar[tuple[str, ...]] = ("another_handle_sees_commits_at_once", "closing_one_handle_leaves_the_others")

    def __init__(self, location: str) -> None:
        super().__init__()
        self._file = Path(location) / "pickle"

    def prepare(self) -> None:
        if self._file.exists():
            self._orgs = pickle.loads(self._file.read_bytes())

    def close(self) -> None:
        self._file.write_bytes(pickle.dumps(self._orgs))


class LosesReportsWhenReopened(Store):
    """Has reports in memory only."""

    FAILS = ("reopening_gives_everything_back_I19", "another_handle_sees_commits_at_once")

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._ended: set[JobId] = set()

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        self._ended |= {change.ended.job.id for change in changes if change.ended}
        return super().commit(changes)

    def get_job(self, org_id: OrgId, job_id: JobId) -> JobRecord:
        record = super().get_job(org_id, job_id)
        return record if job_id in self._ended else evolve(record, report=None)


class ClosesForAll(Store):
    """Shares its connections between the handles on a location, and closes them with the first."""

    FAILS = ("closing_one_handle_leaves_the_others", "reopening_gives_everything_back_I19")
    shared: ClassVar[dict[Path, Any]] = {}

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._connections = self.shared.setdefault(self.location, self._connections)


class OneLocation(Store):
    """Takes no notice of the last part of its location."""

    FAILS = ("two_locations_share_nothing",)

    def __init__(self, location: str) -> None:
        super().__init__(str(Path(location).parent))


# -- processes ---------------------------------------------------------------------------------------------------------


class FilesWithoutLock(JsonDirectoryStore):
    """Writes files without the lock."""

    FAILS: ClassVar[tuple[str, ...]] = ("processes_racing_on_one_revision_one_wins_I1",)
    MAY: ClassVar[tuple[str, ...]] = ("processes_prepare_one_place_at_once",)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        time.sleep(0.001)
        yield


class LeavesItsLock(JsonDirectoryStore):
    """Takes a lock by creating a file, which stays when its holder dies."""

    FAILS: ClassVar[tuple[str, ...]] = ("a_killed_process_leaves_whole_commits_I19",)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock, give_up_at = self._directory / "lock-by-name", time.monotonic() + 2.0
        while True:
            try:
                lock.touch(exist_ok=False)
                break
            except FileExistsError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.0005)
        try:
            time.sleep(0.02)  # so that a kill finds it locked
            yield
        finally:
            lock.unlink()


class PreparesAlone(JsonDirectoryStore):
    """Looks whether the place is new, and makes it then."""

    FAILS: ClassVar[tuple[str, ...]] = ("processes_prepare_one_place_at_once",)

    def prepare(self) -> None:
        if not self._orgs.exists():
            time.sleep(0.3)  # another process prepares
            self._orgs.mkdir(parents=True)
        super().prepare()
