"""Operations on an organisation's document, as values that Hypothesis can draw, shrink and print.

Each has `decide(document, basis, grant)`, which calls one `decide_*` function of the core. What it needs besides comes from
the operation and the basis, so that the same operations at the same times give the same documents in every store.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from attrs import Factory, evolve, frozen

from ..core import administering, deciding
from ..core.ids import JobId, ScheduleId
from ..core.job import ErrorInformation, FailureCode, Progress, StepError
from ..core.organization import OrgSnapshot, Request
from ..core.outcomes import IfBusy
from ..core.schedule import Pause, new_schedule
from ..core.steps import Basis, Decision, Ending, Grant
from ..core.trigger import MANUAL, CubeUpdate, Trigger
from ..core.use import Use as UseOf

NOBODYS_JOB: Final = JobId("nobody's")
NOTHING: Final[Decision[Any]] = Decision(None, None)


class Operation(Protocol):
    """One thing that a host, a worker or an operator does to one organisation."""

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant, /) -> Decision[Any]: ...


@frozen
class Ask:
    """Run maintenance: a manual request, or (`trigger`) any other. `free`: there is a place for the job."""

    free: bool = True
    if_busy: IfBusy = IfBusy.FOLD
    options: dict[str, Any] = Factory(dict)
    trigger: Trigger = MANUAL
    automatic: bool = False

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant, /) -> Decision[Any]:
        request = Request(self.trigger, basis.time.wall_at, automatic=self.automatic, options=self.options)
        offered = grant if self.free else None
        return deciding.decide_request(doc, request, basis, grant=offered, if_busy=self.if_busy)


@frozen
class Update:
    """A cube was updated."""

    free: bool = True
    cube: str = "sales"
    change: CubeUpdate = CubeUpdate.DYNAMIC_CUBE_UPDATED
    version: int | None = None

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant, /) -> Decision[Any]:
        offered = grant if self.free else None
        return deciding.decide_cube_update(doc, self.cube, self.change, self.version, basis, grant=offered)


@frozen
class Attend:
    """What a tick does: rescue, notice, claim."""

    free: bool = True

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant, /) -> Decision[Any]:
        return deciding.decide_attention(doc, basis, grant=grant if self.free else None)


def _running_id(doc: OrgSnapshot, mine: bool) -> JobId:
    return doc.running.job.id if doc.running and mine else NOBODYS_JOB


@frozen
class Renew:
    """The worker renews its lease, and writes progress if there is a `step`."""

    mine: bool = True
    step: str | None = None

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        progress = Progress(self.step, 1, None, "detail", basis.time.wall_at) if self.step else None
        return deciding.decide_renew(doc, _running_id(doc, self.mine), basis, progress=progress)


@frozen
class Finish:
    """The worker ends its job: done (`code` None), or failed."""

    mine: bool = True
    code: FailureCode | None = None
    complete: bool = True
    report: str | None = None
    inventory: str | None = None
    progressed: bool = False

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        error = None
        if self.code:
            error = ErrorInformation(self.code, f"it was {self.code}", "cause", (StepError("build", "no", "d", None),))
        ending = Ending(error, self.complete, self.report, self.inventory, self.progressed)
        return deciding.decide_finish(doc, _running_id(doc, self.mine), ending, basis)


@frozen
class Cancel:
    mine: bool = True

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        return deciding.decide_cancel(doc, _running_id(doc, self.mine), basis)


@frozen
class SetPause:
    """Pause (or resume) the organisation."""

    paused: bool = True

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        if not self.paused:
            return administering.decide_resume(doc, basis)
        return administering.decide_pause(doc, basis, by="op", reason="migration")


@frozen
class Enable:
    enabled: bool = True

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        return administering.decide_enable(doc, basis, enabled=self.enabled)


@frozen
class AddSchedule:
    expression: str = "0 * * * *"
    zone: str = "UTC"
    spread_s: float = 0.0

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        schedule = new_schedule(
            ScheduleId(f"s-{basis.change_id}"),
            self.expression,
            zone=self.zone,
            created_by_user="op",
            now=basis.time.wall_at,
            spread_s=self.spread_s,
        )
        return administering.decide_add_schedule(doc, schedule, basis)


def _schedule_id(doc: OrgSnapshot, index: int) -> ScheduleId | None:
    return doc.schedules[index % len(doc.schedules)].id if doc.schedules else None


@frozen
class RemoveSchedule:
    index: int = 0

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        schedule_id = _schedule_id(doc, self.index)
        return administering.decide_remove_schedule(doc, schedule_id, basis) if schedule_id else NOTHING


@frozen
class Activate:
    index: int = 0
    active: bool = True

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        schedule_id = _schedule_id(doc, self.index)
        if schedule_id is None:
            return NOTHING
        return administering.decide_activate_schedule(doc, schedule_id, basis, active=self.active)


@frozen
class PauseSchedule:
    index: int = 0
    paused: bool = True

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        schedule_id = _schedule_id(doc, self.index)
        if schedule_id is None:
            return NOTHING
        pause = Pause("op", "quiet", basis.time.wall_at) if self.paused else None
        return administering.decide_pause_schedule(doc, schedule_id, basis, pause=pause)


@frozen
class Remove:
    """Remove the organisation, leaving a tombstone."""

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        return administering.decide_remove(doc, basis)


@frozen
class Register:
    """Bring a removed organisation back; one that is there is left alone."""

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        return deciding.decide_register(doc, doc.org_id, ScheduleId(f"default-{basis.change_id}"), basis)


@frozen
class Mark:
    """Rows of a source have changed in an hour, `hours` from now; None: anywhere in it."""

    source: str = "orders"
    hours: int | None = None

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        starts_at: datetime | None = None
        if self.hours is not None:
            starts_at = basis.time.wall_at + timedelta(hours=self.hours)
        ends_at = starts_at and starts_at + timedelta(hours=1)
        return administering.decide_mark(doc, self.source, starts_at, ends_at, basis)


@frozen
class Use:
    """A definition was used `count` times, the last time `ago_s` before now."""

    definition: str = "sales.by_day"
    count: int = 1
    ago_s: float = 0.0

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        last_at = basis.time.wall_at - timedelta(seconds=self.ago_s)
        return administering.decide_uses(doc, {self.definition: UseOf(self.count, last_at)}, basis)


@frozen
class Recover:
    """Raise the generation, as `doctor --recover` does; only while nothing runs."""

    at_least: int = 2

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        return NOTHING if doc.running else administering.decide_raise_generation(doc, self.at_least, basis)


@frozen
class Lapse:
    """Rewrite the running job's lease, as if it had been written `ago_s` ago or in another life of the machine.

    No rule does this: it makes a lapsed job for a store whose clock a test can not move.
    """

    ago_s: float = 1e6
    boot: str | None = None

    def decide(self, doc: OrgSnapshot, basis: Basis, _grant: Grant, /) -> Decision[Any]:
        if doc.running is None:
            return NOTHING
        lease = doc.running.lease
        moved = evolve(
            lease,
            boot=self.boot or lease.boot,
            until_s=lease.until_s - self.ago_s,
            deadline_s=lease.deadline_s - self.ago_s,
        )
        running = evolve(doc.running, lease=moved)
        renewed = deciding.decide_renew(doc, running.job.id, basis)
        if renewed.change is None:
            return NOTHING
        document = evolve(renewed.change.document, running=running)
        return Decision(evolve(renewed.change, document=document), running)
