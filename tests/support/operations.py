"""Operations on an organisation's document, as values that Hypothesis can draw and print.

Each has `decide(document, basis, grant)`, which calls one `decide_*` function. Ids come from the basis, so that the same
sequence of operations gives the same documents in every store.
"""

from datetime import timedelta
from typing import Any, Protocol

from attrs import frozen
from hypothesis import strategies as st

from aggmaint.core import administering, deciding
from aggmaint.core.ids import JobId, ScheduleId
from aggmaint.core.job import ErrorInformation, FailureCode, Progress, StepError
from aggmaint.core.organization import OrgSnapshot, Request
from aggmaint.core.outcomes import IfBusy
from aggmaint.core.schedule import Pause, new_schedule
from aggmaint.core.steps import Basis, Decision, Ending, Grant
from aggmaint.core.trigger import MANUAL, CubeUpdate

NOBODYS_JOB = JobId("nobody's")


class Operation(Protocol):
    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]: ...


@frozen
class Ask:
    free: bool
    if_busy: IfBusy
    options: dict[str, Any]

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        request = Request(MANUAL, created_at=basis.time.wall_at, automatic=False, options=self.options)
        offered = grant if self.free else None
        return deciding.decide_request(doc, request, basis, grant=offered, if_busy=self.if_busy)


@frozen
class Update:
    free: bool
    cube: str
    change: CubeUpdate
    version: int | None

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        offered = grant if self.free else None
        return deciding.decide_cube_update(doc, self.cube, self.change, self.version, basis, grant=offered)


@frozen
class Attend:
    free: bool

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        return deciding.decide_attention(doc, basis, grant=grant if self.free else None)


def _running_id(doc: OrgSnapshot, mine: bool) -> JobId:
    return doc.running.job.id if doc.running and mine else NOBODYS_JOB


@frozen
class Renew:
    mine: bool
    step: str | None

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        progress = Progress(self.step, 1, None, "detail", basis.time.wall_at) if self.step else None
        return deciding.decide_renew(doc, _running_id(doc, self.mine), basis, progress=progress)


@frozen
class Finish:
    mine: bool
    code: FailureCode | None
    complete: bool
    report: str | None
    inventory: str | None
    progressed: bool = False

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        error = None
        if self.code:
            error = ErrorInformation(self.code, f"it was {self.code}", "cause", (StepError("build", "no", "d", None),))
        ending = Ending(error, self.complete, self.report, self.inventory, self.progressed)
        return deciding.decide_finish(doc, _running_id(doc, self.mine), ending, basis)


@frozen
class Cancel:
    mine: bool

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        return deciding.decide_cancel(doc, _running_id(doc, self.mine), basis)


@frozen
class SetPause:
    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        return administering.decide_pause(doc, basis, by="op", reason="migration")


@frozen
class Resume:
    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        return administering.decide_resume(doc, basis)


@frozen
class Enable:
    enabled: bool

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        return administering.decide_enable(doc, basis, enabled=self.enabled)


@frozen
class AddSchedule:
    expression: str
    zone: str

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        schedule_id = ScheduleId(f"s-{basis.change_id}")
        now = basis.time.wall_at
        schedule = new_schedule(schedule_id, self.expression, zone=self.zone, created_by_user="op", now=now)
        return administering.decide_add_schedule(doc, schedule, basis)


def _schedule_id(doc: OrgSnapshot, index: int) -> ScheduleId | None:
    return doc.schedules[index % len(doc.schedules)].id if doc.schedules else None


@frozen
class RemoveSchedule:
    index: int

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        schedule_id = _schedule_id(doc, self.index)
        return administering.decide_remove_schedule(doc, schedule_id, basis) if schedule_id else Decision(None, None)


@frozen
class Activate:
    index: int
    active: bool

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        schedule_id = _schedule_id(doc, self.index)
        if schedule_id is None:
            return Decision(None, None)
        return administering.decide_activate_schedule(doc, schedule_id, basis, active=self.active)


@frozen
class PauseSchedule:
    index: int
    on: bool

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        schedule_id = _schedule_id(doc, self.index)
        if schedule_id is None:
            return Decision(None, None)
        pause = Pause("op", "why", basis.time.wall_at) if self.on else None
        return administering.decide_pause_schedule(doc, schedule_id, basis, pause=pause)


@frozen
class MarkChanged:
    source: str
    hour: int | None

    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        start = (
            None if self.hour is None else basis.time.wall_at.replace(hour=self.hour, minute=0, second=0, microsecond=0)
        )
        ends_at = None if start is None else start + hours(1)
        return administering.decide_mark(doc, self.source, start, ends_at, basis)


@frozen
class RegisterAgain:
    def decide(self, doc: OrgSnapshot, basis: Basis, grant: Grant) -> Decision[Any]:
        return deciding.decide_register(doc, doc.org_id, ScheduleId(f"s-{basis.change_id}"), basis)


EXPRESSIONS = ("0 0 4 ? * * *", "*/5 * * * *", "0 30 2 ? * MON-FRI", "@hourly", "0 0 12 ? * *")
ZONES = ("UTC", "Europe/Berlin", "America/New_York")
CUBES = ("sales", "Größe", "stock")
JSON = st.dictionaries(
    st.text("abü\ud800", max_size=3), st.integers(0, 9) | st.none() | st.text(max_size=3), max_size=2
)


def operations() -> st.SearchStrategy[Operation]:
    return st.one_of(
        st.builds(Ask, st.booleans(), st.sampled_from(IfBusy), JSON),
        st.builds(
            Update, st.booleans(), st.sampled_from(CUBES), st.sampled_from(CubeUpdate), st.none() | st.integers(1, 4)
        ),
        st.builds(Attend, st.booleans()),
        st.builds(Attend, st.just(True)),
        st.builds(Renew, st.sampled_from([True, True, False]), st.none() | st.just("build")),
        st.builds(
            Finish,
            st.sampled_from([True, True, True, False]),
            st.none() | st.sampled_from(FailureCode),
            st.booleans(),
            st.none() | st.just('{"summary":"…"}'),
            st.none() | st.just('{"aggregates":[]}'),
        ),
        st.builds(Cancel, st.booleans()),
        st.builds(SetPause),
        st.builds(Resume),
        st.builds(Enable, st.sampled_from([True, True, False])),
        st.builds(AddSchedule, st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES)),
        st.builds(RemoveSchedule, st.integers(0, 3)),
        st.builds(Activate, st.integers(0, 3), st.booleans()),
        st.builds(PauseSchedule, st.integers(0, 3), st.booleans()),
        st.builds(MarkChanged, st.sampled_from(CUBES), st.none() | st.integers(0, 23)),
        st.builds(RegisterAgain),
    )


@frozen
class Pass:
    """Time passes; with `wall_s` the wall clock is stepped as well; `reboot` starts another life of the steady clock."""

    seconds: float
    wall_s: float = 0.0
    reboot: bool = False


def passings() -> st.SearchStrategy[Pass]:
    seconds = st.sampled_from([0.5, 4.0, 6.0, 40.0, 59.9, 60.1, 299.0, 3500.0, 3700.0, 21_600.0, 86_400.0, 600_000.0])
    return st.one_of(
        st.builds(Pass, seconds),
        st.builds(Pass, seconds),
        st.builds(Pass, st.just(0.0), st.sampled_from([-7200.0, -30.0, 30.0, 7200.0])),
        st.builds(Pass, st.just(1.0), st.just(0.0), st.just(True)),
    )


def hours(count: float) -> timedelta:
    return timedelta(hours=count)
