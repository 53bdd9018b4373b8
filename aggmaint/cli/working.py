"""`run`: maintenance of an organisation now, in this process, and how its end is told."""

import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, NoReturn

import click

from ..config import load_config
from ..core.ids import OrgId
from ..core.job import JobStatus, MaintenanceJob
from ..core.outcomes import IfBusy, Joined, Queued, RefusalReason, Refused
from ..engine import JobDetails, MaintenanceEngine
from ..maintenance import TaskOptions
from . import show, watching
from .exits import Exit
from .hosting import make_engine, the_org
from .options import config_option, json_option, optional_org


@click.command()
@optional_org
@config_option
@json_option
@click.option(
    "--if-busy",
    type=click.Choice([choice.value for choice in IfBusy]),
    default=IfBusy.REJECT.value,
    show_default=True,
    help="When a job of ORG runs already: refuse (exit 3), ask for one more run after it, or wait for it.",
)
@click.option("--activate", "names", multiple=True, metavar="AGGREGATE", help="Bring back one that was deactivated.")
@click.option("--approve-mass-drop", is_flag=True, help="Retire what is gone or unused, however many at once.")
def run(
    org: str | None, config_path: str, as_json: bool, if_busy: str, names: tuple[str, ...], approve_mass_drop: bool
) -> None:
    """Run maintenance for ORG now, and show how it goes."""
    config = load_config(config_path)
    org_id = the_org(config, org)
    watched = watching.Watched(config.task(), watching.make_display(quiet=as_json))
    engine = make_engine(config, watched, jobs_max=1)
    engine.register_organizations([org_id])
    interrupt_on_terminate()
    wishes = TaskOptions(activate=names, approve_mass_drop=approve_mass_drop)
    details = run_job(engine, org_id, IfBusy(if_busy), wishes.to_json())
    config.keep_answers()
    if details is None:
        if as_json:
            show.document({"job": None, "queued": True})
        return
    if as_json:
        show.document({"job": show.job(details.job), "report": details.report})
    else:
        show_result(details)
    sys.exit(exit_code_of_job(details))


def run_job(
    engine: MaintenanceEngine, org_id: OrgId, if_busy: IfBusy, options: Mapping[str, Any] | None = None
) -> JobDetails | None:
    """Start a job here and wait for its end, and for a follow-up if one was asked for; None if it was queued elsewhere."""
    try:
        outcome = engine.run_immediately(org_id, if_busy=if_busy, options=options)
        if isinstance(outcome, Refused):
            _refused(outcome)
        if isinstance(outcome, Queued):
            click.echo(f"a job of {org_id} runs already; one more run will follow it", err=True)
            return None
        if isinstance(outcome, Joined):
            engine.wait(org_id, outcome.job.id, timeout_s=float("inf"))
        engine.wait_until_idle()
        return engine.get_job(org_id, outcome.job.id)
    finally:
        if not engine.close():
            os._exit(Exit.INTERRUPTED)  # the job is recorded as ended; a query that does not stop must not hold us up


def _refused(outcome: Refused) -> NoReturn:
    if outcome.reason is RefusalReason.BUSY and outcome.running is not None:
        job = outcome.running
        click.echo(
            f"aggmaint: {outcome.org_id} is being maintained already: job {job.id}, held by {job.holder}, "
            f"{outcome.lease_left_s:.0f} s of lease left; try again later, or use --if-busy fold",
            err=True,
        )
        sys.exit(Exit.ALREADY_RUNNING)
    click.echo(f"aggmaint: maintenance of {outcome.org_id} is {outcome.reason.value}; nothing was started", err=True)
    sys.exit(Exit.USAGE)


def interrupt_on_terminate() -> None:
    """SIGTERM ends a run as Ctrl-C does: the job is told to stop and recorded as failed(shutdown)."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def exit_code_of_job(details: JobDetails) -> Exit:
    job = details.job
    if job.error is not None and job.error.cause == "warehouse_busy":
        return Exit.WAREHOUSE_HELD
    return Exit.OK if job.status is JobStatus.DONE and job.complete else Exit.STEP_FAILED


def exit_code_of_request(details: JobDetails) -> Exit:
    """Of a job that was asked for something: that it left everything else for later is no failure."""
    code = exit_code_of_job(details)
    done = details.job.status is JobStatus.DONE and not (details.report or {}).get("errors")
    return Exit.OK if done else code


def show_result(details: JobDetails) -> None:
    """The job's steps, what went wrong, and one line about the job."""
    report = details.report or {}
    steps = report.get("details", {}).get("steps", [])
    if steps:
        show.table(("aggregate", "action", "partitions", "rows", "seconds"), [_step_row(step) for step in steps])
    for error in report.get("errors", ()):
        show.say(f"{error['step']}: {error['message']}")
    show.say(job_sentence(details.job, report.get("summary", "")))


def _step_row(step: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        step["aggregate"],
        step["action"],
        show.partitions(step["partitions"]),
        step.get("rows"),
        step.get("seconds"),
    )


def job_sentence(job: MaintenanceJob, summary: str) -> str:
    """`job 1f0c… done in 0.41 s: …`"""
    took = f" in {(job.ended_at - job.started_at).total_seconds():.2f} s" if job.ended_at else ""
    if job.error is not None:
        return f"job {job.id} failed ({job.error.code}){took}: {job.error.message}"
    findings = "" if job.complete or job.status is JobStatus.INPROGRESS else ", not complete"
    return f"job {job.id} {job.status}{findings}{took}" + (f": {summary}" if summary else "")
