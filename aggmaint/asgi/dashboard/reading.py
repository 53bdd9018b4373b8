"""What pages need of the engine, read in one go each. All of it blocks: it is called in threads. No warehouse is opened."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from attrs import frozen

from ...aggregates.freshness import with_marks
from ...core.ids import OrgId
from ...core.job import JobStatus, MaintenanceJob
from ...core.organization import OrgSnapshot
from ...engine import JobDetails, MaintenanceEngine
from ...errors import JobNotFoundError
from ...store import JobPage
from .facts import InventoryFacts, ReportFacts, read_inventory, read_report

ENDED: Final = (JobStatus.DONE, JobStatus.FAILED)
STRIP_JOBS: Final = 48
PAGE_JOBS: Final = 12
POINT_JOBS: Final = 40
"""How many of the newest jobs' reports are read for an aggregate's past; each is at most 256 KiB."""


@frozen
class Found:
    """An inventory, as it is to be read with the marks of today, and the report of the job that wrote it."""

    inventory: InventoryFacts
    report: ReportFacts | None


@frozen
class OrganizationRow:
    """What the list shows of one organisation."""

    document: OrgSnapshot
    last: MaintenanceJob | None
    found: Found | None


@frozen
class OrganizationData:
    document: OrgSnapshot
    now: datetime
    found: Found | None
    newest: Sequence[MaintenanceJob]
    page: JobPage
    summaries: Mapping[str, str]


@frozen
class AggregateData:
    document: OrgSnapshot
    now: datetime
    found: Found | None
    past: Sequence[tuple[MaintenanceJob, ReportFacts | None]]


@frozen
class JobData:
    document: OrgSnapshot
    now: datetime
    details: JobDetails


@frozen
class Reader:
    """Reads for pages. Raises what the engine raises: OrganizationNotFoundError, JobNotFoundError, StoreUnavailableError."""

    engine: MaintenanceEngine

    def now(self) -> datetime:
        return self.engine.store_time().wall_at

    def row(self, document: OrgSnapshot) -> OrganizationRow:
        last = self.engine.list_jobs(document.org_id, limit=1, statuses=ENDED).jobs
        return OrganizationRow(document, last[0] if last else None, self.found(document))

    def found(self, document: OrgSnapshot) -> Found | None:
        inventory = self.engine.get_inventory(document.org_id)
        if inventory is None:
            return None
        try:
            content = with_marks(inventory.content, document.marks)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
        ):  # of a host's own task: there is nothing to mark in it
            content = dict(inventory.content)
        facts = read_inventory(inventory.job.id, content)
        return Found(facts, self.report(document.org_id, inventory.job.id))

    def report(self, org_id: OrgId, job_id: str) -> ReportFacts | None:
        """None also when the job was pruned meanwhile."""
        try:
            return read_report(self.engine.get_job(org_id, job_id).report)
        except JobNotFoundError:
            return None

    def organization(self, org_id: OrgId, *, before: int | None, status: JobStatus | None) -> OrganizationData:
        document = self.engine.get_organization(org_id)
        newest = self.engine.list_jobs(org_id, limit=STRIP_JOBS).jobs
        statuses = (status,) if status else ()
        page = self.engine.list_jobs(org_id, limit=PAGE_JOBS, before=before, statuses=statuses)
        summaries = {str(job.id): self._summary(org_id, job) for job in page.jobs}
        return OrganizationData(document, self.now(), self.found(document), newest, page, summaries)

    def _summary(self, org_id: OrgId, job: MaintenanceJob) -> str:
        if job.error is not None:
            return job.error.message
        report = None if job.status is JobStatus.INPROGRESS else self.report(org_id, job.id)
        return report.summary if report else ""

    def aggregate(self, org_id: OrgId) -> AggregateData:
        document = self.engine.get_organization(org_id)
        jobs = self.engine.list_jobs(org_id, limit=POINT_JOBS, statuses=ENDED).jobs
        past = [(job, self.report(org_id, job.id)) for job in jobs]
        return AggregateData(document, self.now(), self.found(document), past)

    def job(self, org_id: OrgId, job_id: str) -> JobData:
        document = self.engine.get_organization(org_id)
        return JobData(document, self.now(), self.engine.get_job(org_id, job_id))
