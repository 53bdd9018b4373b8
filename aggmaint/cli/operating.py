"""`apply`, `rebuild`, `adopt`, `disown`: what a person asks of one job, which then does that and nothing else.

Each can be tried first (`--dry-run` shows the plan), and asks before it does what is dear (`--yes` answers).
"""

import json
import sys
from pathlib import Path
from typing import Any

import click

from ..config import Config, load_config
from ..core.ids import OrgId
from ..core.outcomes import IfBusy
from ..errors import ConfigurationError
from ..maintenance import Adopt, Plan, TaskOptions
from . import show, watching
from .hosting import make_engine, the_org
from .options import config_option, dry_run_option, json_option, optional_org, yes_option
from .planning import make_plan, show_plan
from .working import exit_code_of_request, interrupt_on_terminate, run_job, show_result


@click.command()
@click.argument("plan_path", metavar="PLAN.json", type=click.Path(dir_okay=False))
@config_option
@json_option
@yes_option
def apply(plan_path: str, config_path: str, as_json: bool, yes: bool) -> None:
    """Do exactly what PLAN.json (written by `plan --out`) says. Refused if anything it was made from has moved."""
    plan = read_plan(plan_path)
    config = load_config(config_path)
    org_id = config.known(plan.organization_id)
    if plan.writes:
        _ask(f"{_summary(plan)}; apply plan {plan.digest} for {org_id}?", yes=yes)
    _run(config, org_id, TaskOptions(apply=plan), as_json=as_json)


def read_plan(path: str) -> Plan:
    return Plan.from_json(read_json(path))


def read_json(path: str) -> Any:
    """Raises ConfigurationError for a file that can not be read as JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(f"{path} can not be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigurationError(f"{path} is not JSON: {exc}") from exc


def _summary(plan: Plan) -> str:
    drops = sum(len(step.drops) for step in plan.steps)
    rows = sum(step.rows or 0 for step in plan.steps)
    words = [f"{len(plan.steps)} steps", f"about {rows:,} rows", f"{drops} objects dropped"]
    return ", ".join(words[: 3 if drops else 2])


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="[ORG] AGGREGATE")
@config_option
@json_option
@click.option("--partition", "partitions", multiple=True, help="Only this partition, e.g. 2024-03; may be repeated.")
@dry_run_option
@yes_option
def rebuild(
    names: tuple[str, ...], config_path: str, as_json: bool, partitions: tuple[str, ...], dry_run: bool, yes: bool
) -> None:
    """Compute AGGREGATE anew, beside the table in service, or only some of its partitions in place."""
    if len(names) > 2:
        raise click.UsageError("give ORG and AGGREGATE; put a name with spaces in quotes")
    config = load_config(config_path)
    org_id = the_org(config, names[0] if len(names) == 2 else None)
    options = TaskOptions(rebuild={names[-1]: partitions or None})
    what = f"{len(partitions)} partitions of {names[-1]}" if partitions else names[-1]
    _request(config, org_id, options, f"compute {what} of {org_id} anew?", as_json=as_json, dry_run=dry_run, yes=yes)


@click.command()
@optional_org
@config_option
@json_option
@click.option("--from", "take_over_from", metavar="INSTALLATION", help="Take this other installation's schema over.")
@click.option("--aggregate", "aggregates", multiple=True, help="Only this aggregate; may be repeated.")
@dry_run_option
@yes_option
def adopt(  # noqa: PLR0913 - click gives each option its parameter
    org: str | None,
    config_path: str,
    as_json: bool,
    take_over_from: str | None,
    aggregates: tuple[str, ...],
    dry_run: bool,
    yes: bool,
) -> None:
    """Recover a lost ledger without a rebuild: tables that are ours are proved against their sources, and recorded."""
    config = load_config(config_path)
    org_id = the_org(config, org)
    options = TaskOptions(adopt=Adopt(take_over_from, aggregates or None))
    whose = f"what installation {take_over_from!r} made for {org_id}" if take_over_from else f"lost tables of {org_id}"
    _request(config, org_id, options, f"adopt {whose}?", as_json=as_json, dry_run=dry_run, yes=yes)


@click.command()
@click.argument("org")
@click.argument("aggregates", nargs=-1, required=True, metavar="AGGREGATE...")
@config_option
@json_option
@dry_run_option
@yes_option
def disown(org: str, aggregates: tuple[str, ...], config_path: str, as_json: bool, dry_run: bool, yes: bool) -> None:
    """Give the tables and views of AGGREGATEs to their owner: they stay as they are, and are maintained no more."""
    config = load_config(config_path)
    org_id = the_org(config, org)
    question = f"give {', '.join(aggregates)} of {org_id} away?"
    options = TaskOptions(disown=aggregates)
    _request(config, org_id, options, question, as_json=as_json, dry_run=dry_run, yes=yes)


def _request(  # noqa: PLR0913 - what the commands have in common
    config: Config, org_id: OrgId, options: TaskOptions, question: str, *, as_json: bool, dry_run: bool, yes: bool
) -> None:
    if dry_run:
        found = make_plan(config, org_id, options).to_json()
        if as_json:
            show.document(found)
        else:
            show_plan(org_id, found)
        return
    _ask(question, yes=yes)
    _run(config, org_id, options, as_json=as_json)


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here; say --yes")
    click.confirm(question, abort=True, err=True)


def _run(config: Config, org_id: OrgId, options: TaskOptions, *, as_json: bool) -> None:
    watched = watching.Watched(config.task(), watching.make_display(quiet=as_json))
    engine = make_engine(config, watched, jobs_max=1)
    engine.register_organizations([org_id])
    interrupt_on_terminate()
    details = run_job(engine, org_id, IfBusy.REJECT, options.to_json())
    assert details is not None, "only a folded request is queued"
    if as_json:
        show.document({"job": show.job(details.job), "report": details.report})
    else:
        show_result(details)
    sys.exit(exit_code_of_request(details))
