"""`schedule …`: when maintenance of an organisation starts by itself. Never opens the warehouse.

Each command takes ORG, which the configuration must name; one that the job store does not know yet is registered, with the
default schedule. `next --expression` only shows, and opens nothing.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click
from attrs import evolve, frozen

from ..asgi.plain_english import plain_english
from ..config import Config, load_config
from ..core.cron import CronExpression, hash_key, names_hash, next_slot, parse_cron, parse_zone
from ..core.ids import OrgId
from ..core.organization import OrgSnapshot
from ..core.schedule import Schedule
from ..engine import MaintenanceEngine
from ..errors import InvalidValueError
from . import show
from .hosting import make_engine
from .options import config_option, json_option

SHOWN: Final = 5

org_argument = click.argument("org")
id_argument = click.argument("schedule_id", metavar="SCHEDULE")
shown_zone_option = click.option("--zone", help="Show instants in this time zone. Default: the schedule's own.")
count_option = click.option("--count", default=SHOWN, show_default=True, type=click.IntRange(1, 1000), help="How many.")


@click.group()
def schedule() -> None:
    """List, add, remove and look at schedules.

    An EXPRESSION is Quartz (six or seven fields, seconds first: '0 0 4 ? * MON-FRI'), cron (five fields: '0 4 * * 1-5') or
    a name such as @daily. SCHEDULE is an id, or as many of its first characters as are needed.
    """


@frozen
class Desk:
    """What the commands work with: the organisation, registered, and an engine that starts nothing by itself."""

    config: Config
    engine: MaintenanceEngine
    org_id: OrgId

    def document(self) -> OrgSnapshot:
        return self.engine.get_organization(self.org_id)

    def now(self) -> datetime:
        return self.engine.store_time().wall_at

    def find(self, schedule_id: str) -> Schedule:
        """By id, or by the beginning of it that no other has."""
        schedules = self.document().schedules
        found = [each for each in schedules if schedule_id and each.id.startswith(schedule_id)]
        exact = [each for each in found if each.id == schedule_id]
        if len(exact or found) == 1:
            return (exact or found)[0]
        known = ", ".join(each.id for each in (found or schedules)) or "none"
        problem = "begins several ids" if found else "is unknown"
        raise InvalidValueError(f"schedule {schedule_id!r} of {self.org_id!r} {problem}: {known}")


def open_desk(config_path: str, org: str) -> Desk:
    config = load_config(config_path, parse_sql=False)
    org_id = config.known(org)
    engine = make_engine(config, config.task(), executor=None)
    engine.register_organizations([org_id])
    return Desk(config, engine, org_id)


# -- commands ----------------------------------------------------------------------------------------------------------


@schedule.command("list")
@org_argument
@shown_zone_option
@config_option
@json_option
def list_schedules(org: str, zone: str | None, config_path: str, as_json: bool) -> None:
    """List the schedules of ORG, each with its next start and what it says."""
    _show_all(open_desk(config_path, org), None, zone, SHOWN, as_json=as_json, tables=False)


@schedule.command("next")
@org_argument
@click.argument("schedule_id", metavar="[SCHEDULE]", required=False)
@click.option("--expression", help="Show what this expression would give; nothing is added.")
@shown_zone_option
@count_option
@config_option
@json_option
def next_starts(  # noqa: PLR0913 - one parameter for each word of the command line
    org: str,
    schedule_id: str | None,
    expression: str | None,
    zone: str | None,
    count: int,
    config_path: str,
    as_json: bool,
) -> None:
    """Show the next starts of SCHEDULE, or of all schedules of ORG."""
    if expression is None:
        _show_all(open_desk(config_path, org), schedule_id, zone, count, as_json=as_json, tables=True)
        return
    if schedule_id is not None:
        raise InvalidValueError("give either SCHEDULE or --expression")
    load_config(config_path, parse_sql=False).known(org)
    if names_hash(expression):
        parse_cron(expression, "any")
        raise InvalidValueError(
            f"'H' takes its numbers from the schedule's id: add {expression!r}, then see: aggmaint schedule next {org}"
        )
    zone = zone or "UTC"
    after = int(datetime.now(UTC).timestamp())
    next_slot(expression, zone, after, required=True)
    shown = Shown("", parse_cron(expression), zone, zone, tuple(_instants(expression, zone, after, "", count)))
    if as_json:
        show.document(shown.to_json())
    else:
        shown.show_table()


@schedule.command("add")
@org_argument
@click.argument("expression")
@click.option(
    "--zone", default="UTC", show_default=True, help="The time zone of the expression, such as Europe/Berlin."
)
@config_option
@json_option
def add(org: str, expression: str, zone: str, config_path: str, as_json: bool) -> None:
    """Add a schedule to ORG. It never fires for the past."""
    parse_zone(zone)
    parse_cron(expression, "any")  # before a store is made; the numbers of an `H` come with the schedule's id
    desk = open_desk(config_path, org)
    added = desk.engine.add_schedule(desk.org_id, expression, zone=zone)
    _tell(desk, added, "added", as_json=as_json)


@schedule.command("remove")
@org_argument
@id_argument
@config_option
@json_option
def remove(org: str, schedule_id: str, config_path: str, as_json: bool) -> None:
    """Remove a schedule of ORG. Its jobs stay in the history."""
    desk = open_desk(config_path, org)
    found = desk.find(schedule_id)
    desk.engine.remove_schedule(desk.org_id, found.id)
    _tell(desk, evolve(found, active=False), "removed", as_json=as_json)


@schedule.command("activate")
@org_argument
@id_argument
@config_option
@json_option
def activate(org: str, schedule_id: str, config_path: str, as_json: bool) -> None:
    """Let a schedule of ORG start jobs again, from now on."""
    _set_active(org, schedule_id, config_path, as_json=as_json, active=True)


@schedule.command("deactivate")
@org_argument
@id_argument
@config_option
@json_option
def deactivate(org: str, schedule_id: str, config_path: str, as_json: bool) -> None:
    """Keep a schedule of ORG, but start nothing by it."""
    _set_active(org, schedule_id, config_path, as_json=as_json, active=False)


def _set_active(org: str, schedule_id: str, config_path: str, *, as_json: bool, active: bool) -> None:
    desk = open_desk(config_path, org)
    found = desk.engine.activate_schedule(desk.org_id, desk.find(schedule_id).id, active=active)
    _tell(desk, found, "active" if active else "inactive", as_json=as_json)


# -- showing -----------------------------------------------------------------------------------------------------------


@frozen
class Shown:
    """A schedule, or an expression that might become one, with the starts that follow."""

    id: str
    expression: CronExpression
    zone: str
    shown_zone: str
    slots: tuple[int, ...]
    schedule: Schedule | None = None

    @property
    def starts(self) -> list[datetime]:
        return [datetime.fromtimestamp(slot, parse_zone(self.shown_zone)) for slot in self.slots]

    def to_json(self) -> dict[str, Any]:
        """`next` in the zone that was asked for, with its offset."""
        found: dict[str, Any] = {
            "time_expression": self.expression.text,
            "zone": self.zone,
            "reading": plain_english(self.expression),
            "next": [start.isoformat() for start in self.starts],
        }
        if self.schedule is not None:
            kept = self.schedule
            job = kept.latest_execution.job_id if kept.latest_execution else None
            found = {"id": self.id, **found, "active": kept.active, "created_by_user": kept.created_by_user}
            found |= {"spread_s": kept.spread_s, "skipped": kept.skipped, "missed": kept.missed, "latest_job": job}
        return found

    def row(self) -> tuple[Any, ...]:
        state = "active" if self.schedule is None or self.schedule.active else "inactive"
        following = local_time(self.starts[0]) if self.slots else None
        return (self.id, self.expression.text, self.zone, state, following, plain_english(self.expression))

    def show_table(self) -> None:
        show.title(f"{self.id} {self.expression.text!r} in {self.zone}".strip())
        if reading := plain_english(self.expression):
            show.say(reading)
        if self.slots:
            rows = [(local_time(start), show.instant(start.astimezone(UTC))) for start in self.starts]
            show.table((self.shown_zone, "UTC"), rows)
            if self.schedule is not None and self.schedule.spread_s:
                show.say(f"each starts within {self.schedule.spread_s:.0f} s after this, as its spread says")
        else:
            show.say("no more starts" if self.schedule is None or self.schedule.active else "inactive: starts nothing")


def local_time(moment: datetime) -> str:
    return moment.strftime("%a %Y-%m-%d %H:%M:%S ") + moment.isoformat()[-6:]


def _shown(desk: Desk, kept: Schedule, zone: str | None, count: int, now: datetime) -> Shown:
    key = hash_key(desk.org_id, kept.id)
    after = int(now.timestamp())
    slots = tuple(_instants(kept.time_expression, kept.zone, after, key, count)) if kept.active else ()
    return Shown(kept.id, parse_cron(kept.time_expression, key), kept.zone, zone or kept.zone, slots, kept)


def _instants(expression: str, zone: str, after: int, key: str, count: int) -> Iterator[int]:
    for _ in range(count):
        following = next_slot(expression, zone, after, key)
        if following is None:
            return
        yield following
        after = following


def _show_all(
    desk: Desk, schedule_id: str | None, zone: str | None, count: int, *, as_json: bool, tables: bool
) -> None:
    if zone is not None:
        parse_zone(zone)
    document, now = desk.document(), desk.now()
    chosen: Sequence[Schedule] = document.schedules if schedule_id is None else [desk.find(schedule_id)]
    shown = [_shown(desk, each, zone, count, now) for each in chosen]
    if as_json:
        show.document({"organization_id": desk.org_id, "schedules": [each.to_json() for each in shown]})
        return
    if not shown:
        show.say(f"{desk.org_id} has no schedules; try: aggmaint schedule add {desk.org_id} '0 0 4 ? * * *'")
    elif tables:
        for each in shown:
            each.show_table()
    else:
        show.table(("id", "expression", "zone", "state", "next start", "says"), [each.row() for each in shown])
    if not document.enabled:
        show.say(f"maintenance of {desk.org_id} is disabled: nothing starts")
    elif document.paused:
        show.say(f"scheduled runs of {desk.org_id} are paused ({document.paused.reason}): these starts are skipped")


def _tell(desk: Desk, kept: Schedule, done: str, *, as_json: bool) -> None:
    shown = _shown(desk, kept, None, SHOWN, desk.now())
    if as_json:
        show.document({"organization_id": desk.org_id, "done": done, "schedule": shown.to_json()})
        return
    show.say(f"{done}: schedule {kept.id} of {desk.org_id}")
    if kept.active:
        shown.show_table()
