"""One organisation: how it stands, its aggregates, its runs, its schedules, and what may be done about it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attrs import frozen

from ....core.cron import parse_cron
from ....core.instants import from_epoch_s
from ....core.job import JobStatus, MaintenanceJob, Progress
from ....core.organization import OrgSnapshot
from ....core.schedule import Schedule
from ....errors import InvalidCronError
from ...plain_english import plain_english
from .. import links, words
from ..charts import Strip, job_strip, job_tone, job_word
from ..facts import AggregateFacts
from ..reading import STRIP_JOBS, OrganizationData
from ..states import Freshness, Health, State, all_freshness, health


@frozen
class AggregateRow:
    facts: AggregateFacts
    link: str
    freshness: Freshness
    segments: tuple[tuple[State, int], ...]
    why: str


@frozen
class JobRow:
    job: MaintenanceJob
    link: str
    tone: str
    word: str
    summary: str


@frozen
class ScheduleRow:
    """`reading`: the expression in plain English, None where that can not be said. `state`: active, inactive or paused."""

    schedule: Schedule
    reading: str | None
    next_at: datetime | None
    state: str
    paused_because: str


@frozen
class Choice:
    label: str
    link: str
    chosen: bool


@frozen
class OrganizationPage:
    org_id: str
    now: datetime
    may_manage: bool
    health: Health
    document: OrgSnapshot
    running: MaintenanceJob | None
    running_link: str
    progress: Progress | None
    cancelling: bool
    waiting: bool
    last: JobRow | None
    next_at: datetime | None
    observed_at: datetime | None
    aggregates: tuple[AggregateRow, ...]
    fresh: int
    wanted: int
    schema: str
    strip: Strip | None
    jobs: tuple[JobRow, ...]
    filters: tuple[Choice, ...]
    older_link: str | None
    newest_link: str | None
    schedules: tuple[ScheduleRow, ...]
    marks: int
    live_link: str


_FILTERS: Final = (("All", None), ("Done", JobStatus.DONE), ("Failed", JobStatus.FAILED))


def organization_page(
    data: OrganizationData, *, may_manage: bool, status: JobStatus | None, before: int | None
) -> OrganizationPage:
    document = data.document
    here: Mapping[str, links.Value] = {"org": document.org_id, "status": status.value if status else None}
    aggregates = _aggregates(data)
    wanted = [each for each in aggregates if not each.freshness.blocked]
    running = document.running
    ended = next((job for job in data.newest if job.status is not JobStatus.INPROGRESS), None)
    return OrganizationPage(
        org_id=document.org_id,
        now=data.now,
        may_manage=may_manage,
        health=health(document),
        document=document,
        running=running.job if running else None,
        running_link=links.to("job", org=document.org_id, job=running.job.id) if running else "",
        progress=running.progress if running else None,
        cancelling=running.cancel_requested if running else False,
        waiting=document.pending is not None,
        last=_job_row(ended, data.summaries) if ended else None,
        next_at=document.next_run_at,
        observed_at=data.found.inventory.observed_at if data.found else None,
        aggregates=aggregates,
        fresh=sum(each.freshness.state is State.FRESH for each in wanted),
        wanted=len(wanted),
        schema=data.found.inventory.schema if data.found else "",
        strip=job_strip(data.newest, STRIP_JOBS),
        jobs=tuple(_job_row(job, data.summaries) for job in data.page.jobs),
        filters=tuple(
            Choice(label, links.change("organization", here, status=value and value.value) + "#runs", value is status)
            for label, value in _FILTERS
        ),
        older_link=links.change("organization", here, before=data.page.next) + "#runs" if data.page.next else None,
        newest_link=links.change("organization", here) + "#runs" if before is not None else None,
        schedules=tuple(_schedule(each, document) for each in document.schedules),
        marks=len(document.marks),
        live_link=links.to("events", org=document.org_id) if running or document.pending else "",
    )


def _aggregates(data: OrganizationData) -> tuple[AggregateRow, ...]:
    if data.found is None:
        return ()
    rows = []
    for facts, standing in all_freshness(data.found.inventory, data.found.report, data.document.marks):
        segments = tuple((state, standing.counts[state]) for state in reversed(State) if standing.counts.get(state))
        link = links.to("aggregate", org=data.document.org_id, id=facts.id)
        rows.append(AggregateRow(facts, link, standing, segments, _why(facts, standing)))
    return tuple(rows)


def _why(facts: AggregateFacts, standing: Freshness) -> str:
    """One line for the list; the aggregate's own page tells more."""
    if standing.blocked:
        return f"deactivated: {words.code(facts.deactivated)}" if facts.deactivated else "blocked by hand"
    if not standing.built:
        return facts.message or "never built"
    if standing.state is State.FRESH:
        return "every partition equals its source"
    bad = [state for state in State if state is not State.FRESH and standing.counts.get(state)]
    parts = [f"{standing.counts[state]} {state.value}" for state in bad]
    return f"{', '.join(parts)} of {standing.total}"


def _job_row(job: MaintenanceJob, summaries: Mapping[str, str]) -> JobRow:
    summary = summaries.get(job.id) or (job.error.message if job.error else "")
    return JobRow(job, links.to("job", org=job.org_id, job=job.id), job_tone(job), job_word(job), summary)


def _schedule(schedule: Schedule, document: OrgSnapshot) -> ScheduleRow:
    state = "inactive" if not schedule.active else "paused" if schedule.paused or document.paused else "active"
    paused = schedule.paused or document.paused
    return ScheduleRow(
        schedule=schedule,
        reading=_reading(schedule),
        next_at=from_epoch_s(schedule.next_start) if schedule.active and schedule.next_start is not None else None,
        state=state,
        paused_because=paused.reason if paused and schedule.active else "",
    )


def _reading(schedule: Schedule) -> str | None:
    try:
        return plain_english(parse_cron(schedule.time_expression, schedule.key))
    except InvalidCronError:  # of another version of the rules: the engine has deactivated it
        return None
