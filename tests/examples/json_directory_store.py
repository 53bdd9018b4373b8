"""A job store in a directory of JSON files, for many threads and many processes of one host.

Theory of operation. One file holds all of one organisation: its document, its jobs, their reports. A commit takes the lock
file (flock: released by the system when its holder dies), judges each change on what is stored, writes new files beside
the old ones, and renames them into place. A rename is atomic, so readers take no lock and never meet half a file; and what
is of one organisation is of one commit. `find_due` reads every file: right for some hundred organisations. A database would
keep `notice_at`, `waiting` and the lease in columns with an index.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from functools import cache
from hashlib import sha256
from inspect import isclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from attrs import Factory, evolve, fields, frozen, has

from aggmaint.clock import Clock, SystemClock
from aggmaint.core.ids import JobId, OrgId
from aggmaint.core.organization import OrgChange, OrgSnapshot, Verdict, judge
from aggmaint.errors import JobNotFoundError, StoreSchemaError, StoreUnavailableError, UnknownOutcomeError
from aggmaint.store import (
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

FORMAT = "json-directory 1"


def to_json(value: Any) -> Any:
    """A frozen value as what `json` can write."""
    if has(type(value)):
        return {each.name: to_json(getattr(value, each.name)) for each in fields(type(value))}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [to_json(each) for each in value]
    if isinstance(value, Mapping):
        return {key: to_json(each) for key, each in value.items()}
    return value


def from_json(kind: Any, data: Any) -> Any:
    """The value of this type that `data` was made from."""
    origin, arguments = get_origin(kind), get_args(kind)
    if data is None or kind is Any:
        return data
    if origin in (Union, UnionType):
        return from_json(arguments[0], data)
    if origin is tuple:
        return tuple(from_json(arguments[0], each) for each in data)
    if origin is Mapping:
        return {key: from_json(arguments[1], each) for key, each in data.items()}
    if isclass(kind) and has(kind):
        return kind(**{name: from_json(hint, data[name]) for name, hint in hints(kind).items()})
    if kind is datetime:
        return datetime.fromisoformat(data)
    return kind(data) if isclass(kind) and issubclass(kind, Enum) else data


@cache
def hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


@frozen
class Organization:
    """All that is kept of one organisation: one file."""

    document: OrgSnapshot
    jobs: Mapping[str, JobRecord] = Factory(dict)

    def after(self, change: OrgChange) -> "Organization":
        """What is to be kept when `change` is applied: the job it ended, the job it granted, what it prunes."""
        jobs = dict(self.jobs)
        if change.ended:
            if change.ended.inventory is not None:  # only the newest is kept
                jobs = {job_id: evolve(record, inventory=None) for job_id, record in jobs.items()}
            jobs[change.ended.job.id] = JobRecord(change.ended.job, change.ended.report, change.ended.inventory)
        if change.granted:
            jobs[change.granted.id] = JobRecord(change.granted)
        through = change.document.pruned_through
        kept = {id_: each for id_, each in jobs.items() if each.job.fence.number > through or each.job.ended_at is None}
        return Organization(change.document, kept)


class JsonDirectoryStore:
    """Jobs as JSON files in `directory` (made by `prepare`). Safe for threads and processes of one host."""

    def __init__(self, directory: str | Path, *, clock: Clock | None = None) -> None:
        self._directory = Path(directory)
        self._orgs = self._directory / "organizations"
        self._clock = clock or SystemClock()

    def prepare(self) -> None:
        with self._translated():
            self._orgs.mkdir(parents=True, exist_ok=True)
            with self._locked():
                format_file = self._directory / "format"
                found = format_file.read_text(encoding="ascii") if format_file.exists() else None
                if found is None:
                    self._write({format_file: FORMAT})
        if found not in (None, FORMAT):
            raise StoreSchemaError(f"{self._directory} holds {found!r}, and this version reads {FORMAT!r} only")

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        with self._translated():
            found = {org_id: self._read(self._path(org_id)) for org_id in org_ids}
        return Loaded({org_id: org.document for org_id, org in found.items() if org}, self._clock.read())

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        results: list[CommitResult] = []
        touched: dict[OrgId, Organization] = {}
        with self._translated(), self._locked():
            for change in changes:
                org = touched.get(change.org_id) or self._read(self._path(change.org_id))
                stored = org.document if org else OrgSnapshot(change.org_id)
                verdict = judge(change, stored.revision, stored.change_ids, self._clock.read())
                if verdict is Verdict.APPLY:
                    touched[change.org_id] = (org or Organization(stored)).after(change)
                    stored = change.document
                results.append(Stale() if verdict is Verdict.STALE else Committed(stored.revision))
            self._write({self._path(org_id): json.dumps(to_json(org)) for org_id, org in touched.items()})
        return results

    def find_due(self, orgs_max: int, now: datetime | None = None) -> DueOrgs:
        time = self._clock.read()
        at = now or time.wall_at
        documents = self._documents()
        lapsed = sorted(each.org_id for each in documents if each.running and each.running.lease.lapsed(time))
        slots = sorted((each.notice_at, each.org_id) for each in documents if each.notice_at)
        waiting = sorted((each.waiting.at, each.org_id, each.waiting.held) for each in documents if each.waiting)
        noticing = [org_id for start, org_id in slots if start <= at]
        claiming = [org_id for since, org_id, held in waiting if not held or since <= at]
        later = [start for start, _ in slots if start > at]
        later += [until for until, _, held in waiting if held and until > at]
        first = slice(orgs_max)
        return DueOrgs(tuple(lapsed[first]), tuple(noticing[first]), tuple(claiming[first]), min(later, default=None))

    def list_organizations(self, query: OrgQuery) -> OrgPage:
        documents = [each for each in self._documents() if query.after is None or each.org_id > query.after]
        fitting = [each for each in documents if query.removed or each.removed_at is None]
        page = tuple(sorted(fitting, key=lambda each: each.org_id)[: query.limit])
        return OrgPage(page, page[-1].org_id if len(fitting) > query.limit else None)

    def get_job(self, org_id: OrgId, job_id: JobId) -> JobRecord:
        with self._translated():
            org = self._read(self._path(org_id))
        record = org.jobs.get(job_id) if org else None
        if record is None:
            raise JobNotFoundError(org_id, job_id)
        return record

    def list_jobs(self, query: JobQuery) -> JobPage:
        with self._translated():
            org = self._read(self._path(query.org_id))
        jobs = [record.job for record in org.jobs.values()] if org else []
        fitting = [
            job
            for job in sorted(jobs, key=lambda job: job.fence.number, reverse=True)
            if (query.before is None or job.fence.number < query.before)
            and (not query.statuses or job.status in query.statuses)
            and (not query.trigger_types or str(job.trigger) in query.trigger_types)
        ][query.offset :]
        page = tuple(fitting[: query.limit])
        return JobPage(page, page[-1].fence.number if len(fitting) > query.limit else None)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _path(self, org_id: OrgId) -> Path:
        """A file name that any id can have: ids may hold slashes, differ in case only, or be 1,020 bytes long."""
        return self._orgs / f"{sha256(org_id.encode()).hexdigest()}.json"

    def _read(self, path: Path) -> Organization | None:
        try:
            text = path.read_text(encoding="ascii")
        except FileNotFoundError:
            if not self._orgs.is_dir():  # an unknown organisation is an answer; a directory that is gone is not
                raise
            return None
        org: Organization = from_json(Organization, json.loads(text))
        return org

    def _documents(self) -> list[OrgSnapshot]:
        with self._translated():
            paths = [path for path in self._orgs.iterdir() if path.suffix == ".json"]
            return [org.document for path in paths if (org := self._read(path))]

    def _write(self, texts: Mapping[Path, str]) -> None:
        """Put these texts in place, each file whole, and keep them through a power cut. Only under the lock."""
        for path, text in texts.items():
            with path.with_suffix(".new").open("w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        try:
            for path in texts:
                path.with_suffix(".new").replace(path)
            for parent in {path.parent for path in texts}:
                self._sync(parent)
        except OSError as exc:  # some may be in place by now: to say "nothing was changed" would be a lie
            raise UnknownOutcomeError(f"{self._directory}: it is not known what was kept ({exc})") from exc

    def _sync(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time: each call opens the file anew, so the lock also holds between threads."""
        with (self._directory / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The one place where the system's exceptions become aggmaint's."""
        try:
            yield
        except OSError as exc:
            raise StoreUnavailableError(f"the job store {self._directory} can not be read or written ({exc})") from exc
        except ValueError as exc:
            raise StoreUnavailableError(f"a file of the job store {self._directory} is damaged ({exc})") from exc


def make_store(location: str) -> JsonDirectoryStore:
    """For the conformance kit: the same location, the same data."""
    return JsonDirectoryStore(location)
