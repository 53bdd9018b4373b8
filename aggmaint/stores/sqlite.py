"""A job store in one SQLite file: the embedded default, for many threads and many processes of one host.

Theory of operation. A commit is one IMMEDIATE transaction in which each change's organisation row is read, judged by
`core.organization.judge`, and written whole; the clock is read inside it. Reads see one snapshot (WAL) and never wait for
writers. `synchronous=FULL` makes an acknowledged commit survive a power cut; it is affordable and the default.
The hot columns are plain; schedules, marks and maps are JSON. Connections and errors: `_sqlite_connection.py`.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from ..clock import Clock, SystemClock
from ..core.ids import JobId, OrgId
from ..core.instants import StoreTime
from ..core.job import Fence, MaintenanceJob
from ..core.organization import EndedJob, OrgChange, OrgSnapshot, Verdict, judge
from ..errors import JobNotFoundError, LeaseLostError, StoreError, StoreSchemaError
from ..store import (
    CommitResult,
    Committed,
    DueOrgs,
    JobPage,
    JobQuery,
    JobRecord,
    Loaded,
    OrgPage,
    OrgQuery,
    Stale,
)
from . import _codec as codec
from ._sqlite_applied import KNOWN, applied_migrations
from ._sqlite_connection import Connections, refuse_network_file_system
from ._sqlite_due import find_due
from ._sqlite_rows import JOB_COLUMNS, ORG_COLUMNS, job_from_row, job_to_row, marks, org_from_row, org_to_row

_VARIABLES_MAX: Final = 500
_OFFSET_MAX: Final = 2**62
_JOB_WIDTH: Final = len(JOB_COLUMNS.split(","))


def _prefixed(columns: str, alias: str) -> str:
    return ", ".join(f"{alias}.{column.strip()}" for column in columns.split(","))


_SELECT_ORG: Final = f"""
    SELECT {_prefixed(JOB_COLUMNS, "job")}, {_prefixed(ORG_COLUMNS, "org")} FROM aggmaint_organization AS org
    LEFT JOIN aggmaint_job AS job ON job.org_id = org.org_id AND job.fence = org.last_fence AND org.job_id IS NOT NULL"""
_UPSERT_ORG: Final = f"""
    INSERT INTO aggmaint_organization({ORG_COLUMNS}) VALUES({marks(ORG_COLUMNS)}) ON CONFLICT(org_id) DO UPDATE SET
    {", ".join(f"{column.strip()} = excluded.{column.strip()}" for column in ORG_COLUMNS.split(",")[1:])}"""


class SQLiteStore:
    """Jobs in the SQLite file at `path`, made by `prepare` if absent (its directory must exist).

    clock             the clock that decides; by default this machine's.
    synchronous       FULL (default), EXTRA, or NORMAL (a power cut may lose the newest commits).
    patience_s        how long a call waits for other writers before StoreUnavailableError.
    allow_network_fs  use a network file system in spite of its unreliable locks.

    Safe for threads, processes of one host, and forks. Raises InvalidValueError for `:memory:` (use MemoryStore).
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock | None = None,
        synchronous: str = "FULL",
        patience_s: float = 10.0,
        allow_network_fs: bool = False,
    ) -> None:
        self._clock = clock or SystemClock()
        self._connections = Connections(Path(path), synchronous=synchronous, patience_s=patience_s)
        if not allow_network_fs:
            refuse_network_file_system(self._connections.path)

    def prepare(self) -> None:
        """Create the schema, or bring an older one up to date after a copy, `<file>.bak-<its version>`.

        Raises StoreSchemaError for a newer one.
        """
        if not self._connections.read(lambda connection: self._check(connection)):
            self._connections.read(self._copy)
            self._connections.write(self._migrate)

    def _copy(self, connection: sqlite3.Connection) -> None:
        """Keep an older schema's file as it is: one snapshot, whole or not at all. An empty file needs none."""
        applied = applied_migrations(connection)
        if not applied:
            return
        copy = self._connections.path.with_name(f"{self._connections.path.name}.bak-{applied[-1]}")
        if not copy.exists():
            beside = copy.with_name(f"{copy.name}.{uuid4().hex[:8]}")
            connection.execute("VACUUM INTO ?", (str(beside),))
            beside.replace(copy)

    def _check(self, connection: sqlite3.Connection) -> bool:
        applied = applied_migrations(connection)
        unknown = [name for name in applied if name not in KNOWN]
        if unknown:
            raise StoreSchemaError(
                f"the job store {self._connections.path} was written by a newer aggmaint (it has {', '.join(unknown)}); "
                "upgrade with: pip install -U aggmaint. Nothing was changed"
            )
        return set(applied) == set(KNOWN)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if not self._check(connection):  # again, under the lock: another process may have been first
            from ._sqlite_schema import migrate

            migrate(connection)

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        def rows(connection: sqlite3.Connection) -> list[Any]:
            found: list[Any] = []
            for start in range(0, len(org_ids), _VARIABLES_MAX):
                some = org_ids[start : start + _VARIABLES_MAX]
                sql = f"{_SELECT_ORG} WHERE org.org_id IN ({','.join('?' * len(some))})"
                found += connection.execute(sql, some).fetchall()
            return found

        documents = [_document(row) for row in self._connections.read(rows)]
        return Loaded({document.org_id: document for document in documents}, self._clock.read())

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        def work(connection: sqlite3.Connection) -> list[CommitResult]:
            return [_commit_one(connection, change, self._clock.read()) for change in changes]

        return self._connections.write(work)

    def find_due(self, orgs_max: int, now: datetime | None = None) -> DueOrgs:
        time = self._clock.read()
        at_us = codec.to_us(now or time.wall_at)
        return self._connections.read_together(lambda connection: find_due(connection, time, at_us, orgs_max))

    @contextmanager
    def fenced(self, org_id: OrgId, fence: Fence) -> Iterator[sqlite3.Connection]:
        """See `aggmaint.store.Fences`. The connection is in an IMMEDIATE transaction: end it neither way yourself."""
        with self._connections.writing() as connection:
            row = connection.execute(f"{_SELECT_ORG} WHERE org.org_id = ?", (org_id,)).fetchone()
            if row is None or not _document(row).is_held_by(fence):
                raise LeaseLostError(org_id, str(fence.number))
            yield connection

    def list_organizations(self, query: OrgQuery) -> OrgPage:
        kept = "" if query.removed else "AND org.removed_at_us IS NULL"
        sql = f"{_SELECT_ORG} WHERE org.org_id > ? {kept} ORDER BY org.org_id LIMIT ?"
        rows = self._connections.read(lambda c: c.execute(sql, (query.after or "", query.limit + 1)).fetchall())
        snapshots = tuple(_document(row) for row in rows[: query.limit])
        return OrgPage(snapshots, snapshots[-1].org_id if len(rows) > query.limit else None)

    def get_job(self, org_id: OrgId, job_id: JobId) -> JobRecord:
        sql = f"""
            SELECT {_prefixed(JOB_COLUMNS, "job")}, report.body, inventory.body FROM aggmaint_job AS job
            LEFT JOIN aggmaint_report AS report ON report.job_id = job.id
            LEFT JOIN aggmaint_inventory AS inventory ON inventory.org_id = job.org_id AND inventory.job_id = job.id
            WHERE job.id = ? AND job.org_id = ?"""
        row = self._connections.read(lambda connection: connection.execute(sql, (_bindable(job_id), org_id)).fetchone())
        if row is None:
            raise JobNotFoundError(org_id, job_id)
        *job, report, inventory = row
        return JobRecord(job_from_row(job), _unpack(report), _unpack(inventory))

    def list_jobs(self, query: JobQuery) -> JobPage:
        rows = self._connections.read_together(lambda connection: _select_jobs(connection, query))
        jobs = tuple(job_from_row(row) for row in rows[: query.limit])
        return JobPage(jobs, jobs[-1].fence.number if len(rows) > query.limit else None)

    def close(self) -> None:
        self._connections.close()


def _document(row: Sequence[Any]) -> OrgSnapshot:
    job = job_from_row(row[:_JOB_WIDTH]) if row[0] is not None else None
    return org_from_row(row[_JOB_WIDTH:], job)


def _commit_one(connection: sqlite3.Connection, change: OrgChange, now: StoreTime) -> CommitResult:
    sql = "SELECT revision, change_ids, pruned_through FROM aggmaint_organization WHERE org_id = ?"
    revision, change_ids, pruned_through = connection.execute(sql, (change.org_id,)).fetchone() or (0, "[]", 0)
    verdict = judge(change, revision, json.loads(change_ids), now)
    if verdict is Verdict.COMMITTED_BEFORE:
        return Committed(revision)
    if verdict is Verdict.STALE:
        return Stale()
    connection.execute(_UPSERT_ORG, org_to_row(change.document))
    if change.ended:
        _end_job(connection, change.ended)
    if change.granted:
        _insert_job(connection, change.granted)
    if change.document.pruned_through > pruned_through:
        _prune(connection, change.org_id, change.document.pruned_through)
    return Committed(change.document.revision)


def _insert_job(connection: sqlite3.Connection, job: MaintenanceJob) -> None:
    connection.execute(f"INSERT INTO aggmaint_job({JOB_COLUMNS}) VALUES({marks(JOB_COLUMNS)})", job_to_row(job))


def _prune(connection: sqlite3.Connection, org_id: OrgId, through: int) -> None:
    ended = "org_id = ? AND fence <= ? AND status <> 'inprogress'"
    where = (org_id, through)
    connection.execute(
        f"DELETE FROM aggmaint_report WHERE job_id IN (SELECT id FROM aggmaint_job WHERE {ended})", where
    )
    connection.execute(f"DELETE FROM aggmaint_job WHERE {ended}", where)


def _end_job(connection: sqlite3.Connection, ended: EndedJob) -> None:
    job = ended.job
    error = codec.opt_dumps(job.error and codec.error_to_json(job.error))
    done = connection.execute(
        "UPDATE aggmaint_job SET status = ?, ended_us = ?, complete = ?, error = ?"
        " WHERE org_id = ? AND fence = ? AND status = 'inprogress'",
        (job.status.value, codec.opt_to_us(job.ended_at), job.complete, error, job.org_id, job.fence.number),
    )
    if done.rowcount != 1:
        raise StoreError(
            f"organisation {job.org_id!r}: job {job.id} is not in progress in the history; nothing was changed"
        )
    if ended.report is not None:
        connection.execute("INSERT INTO aggmaint_report(job_id, body) VALUES(?, ?)", (job.id, _pack(ended.report)))
    if ended.inventory is not None:
        connection.execute(
            "INSERT INTO aggmaint_inventory(org_id, job_id, body) VALUES(?, ?, ?)"
            " ON CONFLICT(org_id) DO UPDATE SET job_id = excluded.job_id, body = excluded.body",
            (job.org_id, job.id, _pack(ended.inventory)),
        )


def _select_jobs(connection: sqlite3.Connection, query: JobQuery) -> list[Any]:
    """One page and one row more. Fences are dense, so without filters `offset` is a comparison, at any depth."""
    where, offset = ["org_id = ?"], query.offset
    values: list[Any] = [query.org_id]
    top = _newest_fence(connection, query)
    if not query.filtered:
        top, offset = top - offset, 0
    where.append("fence <= ?")
    values.append(max(top, 0))
    for column, wanted in (("status", query.statuses), ("trigger_type", query.trigger_types)):
        if wanted:
            where.append(f"{column} IN ({','.join('?' * len(wanted))})")
            values.extend(_bindable(str(value)) for value in wanted)
    sql = f"SELECT {JOB_COLUMNS} FROM aggmaint_job WHERE {' AND '.join(where)} ORDER BY fence DESC LIMIT ? OFFSET ?"
    return connection.execute(sql, (*values, query.limit + 1, min(offset, _OFFSET_MAX))).fetchall()


def _newest_fence(connection: sqlite3.Connection, query: JobQuery) -> int:
    sql = "SELECT last_fence FROM aggmaint_organization WHERE org_id = ?"
    (newest,) = connection.execute(sql, (query.org_id,)).fetchone() or (0,)
    return int(newest) if query.before is None else min(int(newest), query.before - 1)


def _bindable(text: str) -> str | bytes:
    """What SQLite can compare with a stored text; a text that is no UTF-8 equals none, as a BLOB does."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return b""
    return text


def _pack(text: str) -> bytes:
    return zlib.compress(text.encode(), 3)


def _unpack(body: bytes | None) -> str | None:
    return None if body is None else zlib.decompress(body).decode()
