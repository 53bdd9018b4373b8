"""One job: how far it is or how it ended, its steps, every decision with its reason, and what went wrong."""

import json
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

from attrs import frozen

from ....core.job import MaintenanceJob, Progress
from .. import links, words
from ..charts import job_tone, job_word
from ..facts import DecisionFacts, ErrorFacts, ReportFacts, StepFacts, read_report
from ..reading import JobData
from ..states import meaning

ROWS_MAX: Final = 300
"""So many steps and decisions are shown; a report is bounded, but a page should also stay readable."""
REST_CHARACTERS_MAX: Final = 20_000


class Decisions(StrEnum):
    """Which decisions are shown."""

    WORTH = "worth"
    ALL = "all"


@frozen
class DecisionRow:
    decision: DecisionFacts
    meaning: str
    partitions: str
    link: str


@frozen
class StepRow:
    step: StepFacts
    partitions: str
    link: str
    share: float


@frozen
class JobPage:
    """`share` of a step: its part of the longest step's seconds, 0…1. `rest`: a foreign report's details as JSON."""

    org_id: str
    org_link: str
    now: datetime
    job: MaintenanceJob
    tone: str
    word: str
    failure: str
    took: float | None
    trigger: str
    progress: Progress | None
    cancelling: bool
    report: ReportFacts | None
    steps: tuple[StepRow, ...]
    decisions: tuple[DecisionRow, ...]
    errors: tuple[ErrorFacts, ...]
    fine: int
    hidden: int
    show: Decisions
    all_link: str
    worth_link: str
    rest: str
    may_manage: bool
    live_link: str


def job_page(data: JobData, *, show: Decisions, may_manage: bool) -> JobPage:
    job, report = data.details.job, read_report(data.details.report)
    org_id = data.document.org_id
    running = data.document.running
    live = running is not None and running.job.id == job.id
    chosen, fine = _chosen(report, show)
    here = {"org": org_id, "job": job.id}
    return JobPage(
        org_id=org_id,
        org_link=links.to("organization", org=org_id),
        now=data.now,
        job=job,
        tone=job_tone(job),
        word=job_word(job),
        failure=words.failure(job.error.code.value) if job.error else "",
        took=words.took(job.started_at, job.ended_at),
        trigger=words.trigger(str(job.trigger)),
        progress=running.progress if running and live else None,
        cancelling=bool(running and live and running.cancel_requested),
        report=report,
        steps=_steps(report, org_id),
        decisions=tuple(_decision(each, org_id) for each in chosen[:ROWS_MAX]),
        errors=_errors(job, report),
        fine=fine,
        hidden=max(0, len(chosen) - ROWS_MAX),
        show=show,
        all_link=links.to("job", **here, decisions=Decisions.ALL.value) + "#decisions",
        worth_link=links.to("job", **here) + "#decisions",
        rest=_rest(report),
        may_manage=may_manage,
        live_link=links.to("events", **here) if live else "",
    )


def _chosen(report: ReportFacts | None, show: Decisions) -> tuple[Sequence[DecisionFacts], int]:
    """The decisions to be shown, and how many say that nothing is needed."""
    decisions = report.decisions if report else ()
    fine = sum(each.weight == "fine" for each in decisions)
    return (decisions if show is Decisions.ALL else [each for each in decisions if each.weight != "fine"]), fine


def _steps(report: ReportFacts | None, org_id: str) -> tuple[StepRow, ...]:
    steps = report.steps if report else ()
    longest = max((each.seconds for each in steps), default=0.0) or 1.0
    return tuple(
        StepRow(each, words.some(each.partitions), _aggregate_link(org_id, each.definition_id), each.seconds / longest)
        for each in steps[:ROWS_MAX]
    )


def _decision(decision: DecisionFacts, org_id: str) -> DecisionRow:
    link = _aggregate_link(org_id, decision.definition_id)
    return DecisionRow(decision, meaning(decision.reason), words.some(decision.partitions), link)


def _aggregate_link(org_id: str, definition_id: str) -> str:
    return links.to("aggregate", org=org_id, id=definition_id) if definition_id else ""


def _errors(job: MaintenanceJob, report: ReportFacts | None) -> tuple[ErrorFacts, ...]:
    if report and report.errors:
        return report.errors
    known = job.error.errors if job.error else ()
    return tuple(ErrorFacts(each.step, each.message, each.definition_id or "") for each in known)


def _rest(report: ReportFacts | None) -> str:
    if report is None or not report.rest:
        return ""
    text = json.dumps(report.rest, ensure_ascii=False, indent=2, default=str)
    return text if len(text) <= REST_CHARACTERS_MAX else text[:REST_CHARACTERS_MAX] + "\n…"
