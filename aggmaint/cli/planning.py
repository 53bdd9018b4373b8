"""`plan`: what would be done for an organisation, and why. Opens the warehouse, and only reads."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..config import Config, load_config
from ..core.ids import OrgId
from ..errors import ConfigurationError
from ..maintenance import Plan, TaskOptions
from . import show
from .hosting import Reader, the_org
from .options import config_option, json_option, optional_org
from .patience import patiently


@click.command()
@optional_org
@config_option
@json_option
@click.option("--all", "everything", is_flag=True, help="Show what is fresh, too.")
@click.option("--sql", is_flag=True, help="Show the SQL of each step.")
@click.option("--out", type=click.Path(dir_okay=False), help="Write the plan to this file, for `aggmaint apply`.")
def plan(org: str | None, config_path: str, as_json: bool, everything: bool, sql: bool, out: str | None) -> None:
    """Show what a run would do for ORG, and why. Reads the warehouse and writes nothing in it."""
    config = load_config(config_path)
    org_id = the_org(config, org)
    made = make_plan(config, org_id)
    if out is not None:
        write_json(out, made.to_json())
    if as_json:
        show.document(made.to_json())
        return
    show_plan(org_id, made.to_json(), everything=everything, sql=sql)
    if out is not None:
        show.say(f"wrote plan {made.digest} to {out}; do exactly this: aggmaint apply {out}")


def make_plan(config: Config, org_id: OrgId, options: TaskOptions | None = None) -> Plan:
    """What a job would do that was started now: it knows the marks and the last inventory, as that job would."""
    task = config.task()
    reader = Reader.of(config)
    document = reader.document(org_id)
    inventory = reader.engine.get_inventory(org_id) if reader.engine and document else None
    return patiently(
        lambda: task.plan(
            org_id,
            now=datetime.now(UTC),
            options=options or TaskOptions(),
            marks=document.marks if document else (),
            last_inventory=inventory.content if inventory else None,
        )
    )


def write_json(path: str, value: Any) -> None:
    try:
        Path(path).write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as exc:
        raise ConfigurationError(f"{path} can not be written: {exc.strerror}") from exc


def show_plan(org_id: str, plan: Mapping[str, Any], *, everything: bool = False, sql: bool = False) -> None:
    decisions = plan["decisions"]
    todo = [decision for decision in decisions if everything or decision["weight"] != "fine"]
    steps = len(plan["steps"])
    words = "nothing to do" if not steps else "1 step to do" if steps == 1 else f"{steps} steps to do"
    show.title(f"{org_id}: {words}")
    if todo:
        show.table(("aggregate", "action", "partitions", "why"), [_decision_row(decision) for decision in todo])
    fine = len(decisions) - len(todo)
    if fine and not everything:
        show.say(f"{fine} more decisions say that nothing is needed (--all shows them)")
    for step in plan["steps"] if sql else ():
        show.say()
        rows = "" if step["rows"] is None else f", about {step['rows']:,} rows"
        show.say(f"-- {step['action']} {step['aggregate']}{rows} [{step['reason']}]")
        for statement in step["sql"]:
            show.say(f"{statement};")


def _decision_row(decision: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return (
        decision["aggregate"],
        decision["action"],
        show.partitions(decision["partitions"]),
        f"{decision['words']} [{decision['reason']}]",
    )
