"""`status`, `history`, `why`, `why-not`: what the job store knows. They never open the warehouse, so a job may run."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
from attrs import frozen

from ..aggregates import answers
from ..aggregates.freshness import with_marks
from ..aggregates.reasons import Reason
from ..core.ids import OrgId
from ..core.job import JobStatus, MaintenanceJob, Progress
from ..core.marks import EVERYTHING
from ..core.organization import OrgSnapshot
from ..engine import Inventory
from ..errors import ConfigurationError
from . import show
from .hosting import Reader, open_reader, the_org
from .options import config_option, json_option, optional_org


@click.command()
@optional_org
@config_option
@json_option
def status(org: str | None, config_path: str, as_json: bool) -> None:
    """Show jobs and aggregates of ORG (or of all), as the last job left them."""
    reader = open_reader(config_path)
    org_ids = reader.config.organizations if org is None else (reader.config.known(org),)
    found = [_status_of(reader, org_id) for org_id in org_ids]
    if as_json:
        show.document({"organizations": found})
        return
    for each in found:
        _show_status(each)


def _status_of(reader: Reader, org_id: OrgId) -> dict[str, Any]:
    """`{"id", "current_job", "last_job", "next_run_at", "paused", "enabled", "progress", "observed_at", "aggregates"}`."""
    document = reader.document(org_id)
    inventory = reader.engine.get_inventory(org_id) if reader.engine and document else None
    running = document.running if document else None
    last = _last_job(reader, org_id) if document else None
    return {
        "id": org_id,
        "current_job": show.job(running.job) if running else None,
        "progress": _progress_json(running.progress if running else None),
        "last_job": show.job(last) if last else None,
        "next_run_at": _instant(document.next_run_at if document else None),
        "enabled": document.enabled if document else True,
        "paused": document.paused.reason if document and document.paused else None,
        "request_waiting": bool(document and document.pending),
        "observed_at": inventory.content["observed_at"] if inventory else None,
        "aggregates": [_aggregate_json(each) for each in _definitions(inventory, document)],
    }


def _last_job(reader: Reader, org_id: OrgId) -> MaintenanceJob | None:
    """The newest job that has ended."""
    assert reader.engine is not None, "there is a document, so there is a store"
    ended = (JobStatus.DONE, JobStatus.FAILED)
    return next(iter(reader.engine.list_jobs(org_id, limit=1, statuses=ended).jobs), None)


def _definitions(inventory: Inventory | None, document: OrgSnapshot | None) -> Sequence[Mapping[str, Any]]:
    """The aggregates as the last job left them, and as later change marks make them."""
    if inventory is None or document is None:
        return ()
    definitions: Sequence[Mapping[str, Any]] = with_marks(inventory.content, document.marks)["definitions"]
    return definitions


def _instant(at: Any) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _progress_json(progress: Progress | None) -> dict[str, Any] | None:
    if progress is None:
        return None
    return {
        "step": progress.step,
        "done": progress.done,
        "total": progress.total,
        "detail": progress.detail,
        "at": _instant(progress.at),
    }


def _aggregate_json(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": definition["name"],
        "cube": definition["cube"],
        "status": definition["status"],
        "stale_partitions": definition["stale_partitions"],
        "partitions": definition["partitions"],
        "rows": definition["rows"],
        "view": definition["view"],
        "reason": definition["reason"],
        "message": definition["message"],
        "last_build": definition["last_build"],
    }


def _show_status(found: Mapping[str, Any]) -> None:
    show.title(f"{found['id']}: {_job_line(found)}")
    show.say(f"next run: {show.instant(found['next_run_at'])}{_state_words(found)}")
    if found["aggregates"]:
        rows = [_aggregate_row(each) for each in found["aggregates"]]
        show.table(("aggregate", "status", "partitions", "stale", "rows", "why", "view"), rows)
        show.say(f"as the last job found it at {show.instant(found['observed_at'])}")
    else:
        show.say(f"no job has looked at its aggregates yet; try: aggmaint run {found['id']}")
    show.say()


def _job_line(found: Mapping[str, Any]) -> str:
    job, progress, last = found["current_job"], found["progress"], found["last_job"]
    if job is not None:
        step = f", {progress['step']} {progress['detail']}".rstrip() if progress else ""
        return f"job {job['id']} runs since {show.instant(job['startTime'])}{step}"
    if last is None:
        return "no job has run"
    error = last["errorInformation"].get("message")
    return f"last job {last['status']} at {show.instant(last['endTime'])}" + (f": {error}" if error else "")


def _state_words(found: Mapping[str, Any]) -> str:
    words = [] if found["enabled"] else ["maintenance is disabled"]
    if found["paused"]:
        words.append(f"scheduled runs are paused ({found['paused']})")
    if found["request_waiting"]:
        words.append("one more run waits")
    return "".join(f"; {word}" for word in words)


def _aggregate_row(each: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        f"{each['cube']}.{each['name']}",
        each["status"],
        each["partitions"],
        each["stale_partitions"],
        each["rows"],
        each["reason"],
        each["view"],
    )


@click.command()
@optional_org
@config_option
@json_option
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 1000))
@click.option("--offset", default=0, show_default=True, type=click.IntRange(0))
def history(org: str | None, config_path: str, as_json: bool, limit: int, offset: int) -> None:
    """Show the jobs of ORG, newest first."""
    reader = open_reader(config_path)
    org_id = the_org(reader.config, org)
    known = reader.engine if reader.document(org_id) else None
    jobs = known.list_jobs(org_id, limit=limit, offset=offset).jobs if known else ()
    if as_json:
        data = [show.job(job) for job in jobs]
        show.document({"data": data, "limit": limit, "offset": offset, "force_pull": False})
    elif not jobs:
        show.say(f"no job of {org_id} has run yet; try: aggmaint run {org_id}")
    else:
        show.table(("started", "status", "took (s)", "trigger", "job", "error"), [_job_row(job) for job in jobs])


def _job_row(job: MaintenanceJob) -> tuple[Any, ...]:
    took = (job.ended_at - job.started_at).total_seconds() if job.ended_at else None
    outcome = "done, not complete" if job.complete is False else job.status.value
    error = f"{job.error.code}: {job.error.message}" if job.error else ""
    return job.started_at, outcome, took, str(job.trigger), job.id, error


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="[ORG] AGGREGATE")
@config_option
@json_option
@click.option("--partition", help="Only this partition, e.g. 2024-03.")
def why(names: tuple[str, ...], config_path: str, as_json: bool, partition: str | None) -> None:
    """Show what the last job decided about AGGREGATE (its name, or cube.name), and why."""
    asked = _asked(names, config_path)
    definition, inventory = asked.definition, asked.inventory
    decisions = answers.why(asked.details, definition["id"], partition)
    if partition is not None and not decisions:
        raise ConfigurationError(f"the last job saw no partition {partition!r} of {names[-1]!r}")
    states = [each for each in definition["partition_states"] if partition in (None, each["key"])]
    if as_json:
        shown = {**_aggregate_json(definition), "partition_states": states}
        show.document({"job": show.job(inventory.job), "aggregate": shown, "decisions": decisions})
        return
    label = f"{definition['cube']}.{definition['name']}"
    show.title(
        f"{label} of {asked.org_id}, as job {inventory.job.id} decided at {show.instant(inventory.content['observed_at'])}"
    )
    rows = [(each["subject"], show.partitions(each["partitions"]), each["action"], _words(each)) for each in decisions]
    show.table(("about", "partitions", "action", "why"), rows)
    marked = [each["key"] for each in states if each["reason"] == Reason.PARTITION_MARKED.value]
    if marked:
        show.say(f"marked as changed since then: {show.partitions(marked)} [{Reason.PARTITION_MARKED.value}]")
    fresh = sum(each["state"] == "fresh" for each in states)
    show.say(f"now: {definition['status']}, {fresh} of {len(states)} partitions fresh")


@frozen
class _Asked:
    """What a question about one aggregate is answered from."""

    org_id: OrgId
    document: OrgSnapshot
    inventory: Inventory
    definition: Mapping[str, Any]
    details: Mapping[str, Any]


def _asked(names: tuple[str, ...], config_path: str) -> _Asked:
    """`[ORG] AGGREGATE`, as the last job saw it. Raises ConfigurationError if there was none, or no such aggregate."""
    if len(names) > 2:
        raise click.UsageError("give ORG and AGGREGATE; put a name with spaces in quotes")
    reader = open_reader(config_path)
    org_id = the_org(reader.config, names[0] if len(names) == 2 else None)
    document = reader.document(org_id)
    inventory = reader.engine.get_inventory(org_id) if reader.engine and document else None
    if reader.engine is None or document is None or inventory is None:
        raise ConfigurationError(f"no job of {org_id} has looked at its aggregates yet; try: aggmaint run {org_id}")
    report = reader.engine.get_job(org_id, inventory.job.id).report or {}
    definition = _find(names[-1], _definitions(inventory, document))
    return _Asked(org_id, document, inventory, definition, report.get("details", {}))


@click.command("why-not")
@click.argument("names", nargs=-1, required=True, metavar="[ORG] AGGREGATE")
@config_option
@json_option
@click.option("--partition", help="Only this partition, e.g. 2024-03.")
def why_not(names: tuple[str, ...], config_path: str, as_json: bool, partition: str | None) -> None:
    """Show why the last job did not build, refresh or drop AGGREGATE (its name, or cube.name), or that it did."""
    asked = _asked(names, config_path)
    read = {*asked.definition.get("sources", ()), EVERYTHING}
    marks = [mark.source for mark in asked.document.marks if mark.source in read]
    found = answers.why_not(asked.details, asked.definition["id"], partition, marks=marks)
    if as_json:
        told = [each.to_json() for each in found]
        show.document({"job": show.job(asked.inventory.job), "aggregate": asked.definition["id"], "answers": told})
        return
    label = f"{asked.definition['cube']}.{asked.definition['name']}"
    at = show.instant(asked.inventory.content["observed_at"])
    show.title(f"{label} of {asked.org_id}, as job {asked.inventory.job.id} left it at {at}")
    rows = [(each.subject.value, show.partitions(each.partitions), f"{each.words} [{each.code}]") for each in found]
    show.table(("about", "partitions", "why not"), rows)


def _words(decision: Mapping[str, Any]) -> str:
    return f"{decision['words']} [{decision['reason']}]"


def _find(name: str, definitions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    folded = name.casefold()
    fitting = [
        d for d in definitions if folded in (d["name"].casefold(), f"{d['cube']}.{d['name']}".casefold(), d["id"])
    ]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(repr(f"{d['cube']}.{d['name']}") for d in definitions)
    problem = "is in several cubes; write cube.name" if fitting else "is not known"
    raise ConfigurationError(f"aggregate {name!r} {problem}; the last job saw: {known}")
