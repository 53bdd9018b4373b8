"""The JobStore port: keeps organisations and their jobs, and decides nothing.

A store holds one document per organisation, the rows of its history, each ended job's report, and the inventory of the
newest job that left one. Every rule is a pure function in `core/`; the one question a store asks is
`core.organization.judge`. Stores are safe for many threads, and say in their docstring whether for many processes. Every
verb raises StoreUnavailableError when the data can not be read or written: then nothing was changed.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from attrs import Factory, frozen

from .core.ids import JobId, OrgId
from .core.instants import StoreTime
from .core.job import Fence, JobStatus, MaintenanceJob
from .core.organization import OrgChange, OrgSnapshot
from .errors import InvalidValueError

PAGE_LIMIT_MAX = 1000


@frozen
class Loaded:
    """Documents as they stand, and the store's clock read in the same moment. Unknown organisations are absent."""

    snapshots: Mapping[OrgId, OrgSnapshot]
    time: StoreTime


@frozen
class Committed:
    """The change is stored, at this revision."""

    revision: int


@frozen
class Stale:
    """Nothing of the change is stored: the organisation has moved on, or the decision is too old. Load again."""


CommitResult = Committed | Stale


@frozen
class DueOrgs:
    """Organisations that need attention, each group at most as long as was asked for.

    lapsed        a job in progress whose lease or deadline has passed, by id.
    noticing      a slot is due, the earliest first.
    claiming      a request waits that nothing holds back, the longest waiting first.
    next_wake_at  the earliest later instant at which a slot is due or a back-off ends; None: none known.
    """

    lapsed: tuple[OrgId, ...]
    noticing: tuple[OrgId, ...]
    claiming: tuple[OrgId, ...]
    next_wake_at: datetime | None


@frozen
class OrgQuery:
    """A page of organisations by id, after `after`; with `removed`, tombstones too."""

    after: OrgId | None = None
    limit: int = 100
    removed: bool = False

    def __attrs_post_init__(self) -> None:
        _check_limit(self.limit)


@frozen
class OrgPage:
    """Documents in the order of their ids (code points); `next` is the `after` of the following page, or None."""

    snapshots: tuple[OrgSnapshot, ...]
    next: OrgId | None


@frozen
class JobQuery:
    """A page of one organisation's history, newest first (by fence).

    offset     how many of the newest to leave out. Without filters its cost does not grow with depth.
    before     only jobs with a lower fence number: the cursor of the page before.
    statuses   only these (empty: all).  trigger_types: only these wire texts (empty: all).
    """

    org_id: OrgId
    limit: int = 10
    offset: int = 0
    before: int | None = None
    statuses: Collection[JobStatus] = Factory(tuple)
    trigger_types: Collection[str] = Factory(tuple)

    def __attrs_post_init__(self) -> None:
        _check_limit(self.limit)
        if self.offset < 0:
            raise InvalidValueError(f"offset={self.offset} must be 0 or more")

    @property
    def filtered(self) -> bool:
        return bool(self.statuses or self.trigger_types)


@frozen
class JobPage:
    """Jobs, newest first; `next` is the `before` of the following page, or None at the end."""

    jobs: tuple[MaintenanceJob, ...]
    next: int | None


@frozen
class JobRecord:
    """One job with what it left: report and inventory as JSON texts (None: none, or no longer kept)."""

    job: MaintenanceJob
    report: str | None = None
    inventory: str | None = None


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= PAGE_LIMIT_MAX:
        raise InvalidValueError(f"limit={limit} must be 1 to {PAGE_LIMIT_MAX}")


class JobStore(Protocol):
    """Eight verbs. Each is atomic per organisation; none may be called before `prepare` or after `close`."""

    def prepare(self) -> None:
        """Make the store usable: create an empty schema or check the one that is there. Idempotent.

        Raises StoreSchemaError for a schema of another version that this one can not bring up to date by itself.
        """

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        """The documents of these organisations, each as of one commit, and the store's time."""

    def commit(self, changes: Sequence[OrgChange]) -> Sequence[CommitResult]:
        """Apply each change whole or not at all, in order, as `judge` says; one result per change, aligned.

        A change writes the document, ends the job in `ended` (with report and inventory; an older inventory of the
        organisation is dropped), inserts `granted`, then deletes ended jobs through `document.pruned_through`, with
        their reports. A retry of a change that was committed answers Committed and
        does nothing. Raises UnknownOutcomeError when it is not known whether the commit took place.
        """

    def find_due(self, orgs_max: int, now: datetime | None = None) -> DueOrgs:
        """Organisations that need attention at `now` (None: the store's time); leases are judged by its steady time.

        At most `orgs_max` of each group. Costs look-ups in indexes, not a walk over all organisations (I27).
        Callers that ask at one moment get the same answer; engines that meet spread themselves (see `_running.py`).
        """

    def list_organizations(self, query: OrgQuery) -> OrgPage: ...

    def get_job(self, org_id: OrgId, job_id: JobId) -> JobRecord:
        """One job with its report and inventory. Raises JobNotFoundError, also when it is another organisation's."""

    def list_jobs(self, query: JobQuery) -> JobPage:
        """A page of history, read in one snapshot. An organisation that the store does not know has an empty one."""

    def close(self) -> None:
        """Let go of files and connections. Idempotent."""


@runtime_checkable
class Fences(Protocol):
    """Optional: for stores in a database that the host's data shares."""

    def fenced(self, org_id: OrgId, fence: Fence) -> AbstractContextManager[Any]:
        """A transaction that proves, before it gives its connection, that the job with `fence` is in progress and newest.

        What the host writes on the connection is committed together with that proof, or not at all. Raises
        LeaseLostError. The job can not be ended, rescued or followed until the transaction ends: keep it short.
        """
