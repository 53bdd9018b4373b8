"""Hypothesis strategies for the job half: ids, triggers, zones, time expressions, schedules, documents, histories.

Documents and histories are not drawn field by field but grown: a random sequence of operations, each decided by the real
rules on the document that the one before left. So every example is one that can happen.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from attrs import frozen
from hypothesis import strategies as st

from ..core.deciding import decide_register
from ..core.ids import JobId, OrgId, ScheduleId
from ..core.instants import StoreTime
from ..core.job import FailureCode
from ..core.organization import OrgChange, OrgSnapshot
from ..core.outcomes import IfBusy
from ..core.schedule import Schedule, new_schedule
from ..core.settings import JobSettings
from ..core.steps import Basis, Decision, Grant
from ..core.trigger import MANUAL, TIME_BASED, CubeUpdate, Trigger, cube_update_trigger
from . import operations as op
from .clocks import NOON, passed
from .operations import Operation

HOSTILE_ORG_IDS: Final = (
    "acme",
    "ACME",
    " acme",
    "acme ",
    "a'b\"; DROP TABLE x --",
    "Zoë",
    "Zoe\u0308",
    "\u212b",
    "\u00c5",
    "日本",
    "\U0001f409",
    "\uffee",
    "%",
    "_",
    "a/b",
    "..",
    "../../etc/passwd",
    "CON",
    "a\nb",
    "\x01",
    "\u202e",
    "0",
    "00",
    "null",
    "x" * 255,
    "\U0001f409" * 255,
)
"""Ids that a store may confuse: case, space, normal forms, quotes, wildcards, paths, numbers, 1,020 bytes of UTF-8."""

HOSTILE_JOB_IDS: Final = ("", "no", "\ud800", "\x00", "x" * 5000, "../x", "%", "'")
"""Job ids that nobody has, and that a caller may send."""

NASTY_ZONES: Final = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Antarctica/Troll",
)
"""Zones with gaps and folds: of an hour, half an hour, two hours, a whole day, at midnight, and backwards in summer."""

CUBES: Final = ("sales", "Größe", "stock")
TRIGGERS: Final = (MANUAL, TIME_BASED, *(cube_update_trigger(change) for change in CubeUpdate))
HISTORY_SETTINGS: Final = JobSettings(history_jobs_max=5)
"""Settings under which a short history is pruned already."""


def org_ids() -> st.SearchStrategy[OrgId]:
    """Organisation ids: mostly hostile ones, else any text that is one."""
    text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=255)
    return (st.sampled_from(HOSTILE_ORG_IDS) | text).map(OrgId)


def triggers() -> st.SearchStrategy[Trigger]:
    """The published triggers, and texts that nobody foresaw."""
    foreign = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
    return st.sampled_from(TRIGGERS) | foreign.map(Trigger.parse)


def zones() -> st.SearchStrategy[str]:
    return st.sampled_from(NASTY_ZONES)


def instants() -> st.SearchStrategy[datetime]:
    """Aware UTC instants, to the microsecond."""
    return st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda naive: naive.replace(tzinfo=NOON.tzinfo))  # noqa: DTZ001


def time_expressions() -> st.SearchStrategy[str]:
    """Expressions of both dialects that `parse_cron` takes."""
    minute, hour = st.integers(0, 59), st.integers(0, 23)
    return st.one_of(
        st.builds(lambda m, h: f"0 {m} {h} ? * * *", minute, hour),
        st.builds(lambda s, m: f"{s} {m} * * * ?", minute, minute),
        st.builds(
            lambda m, h, day: f"0 {m} {h} ? * {day}", minute, hour, st.sampled_from(["MON-FRI", "SUN", "2", "6L"])
        ),
        st.builds(lambda m, h, day: f"{m} {h} {day} * *", minute, hour, st.integers(1, 28)),
        st.builds(lambda step: f"*/{step} * * * *", st.sampled_from([1, 5, 15, 30])),
        st.sampled_from(["@hourly", "@daily", "@weekly", "@monthly", "0 30 2 ? * *", "0 0 0 L * ?", "0 0 12 ? * 6#3"]),
    )


def schedules(now: datetime = NOON) -> st.SearchStrategy[Schedule]:
    """Schedules made at `now`, of any expression and zone, some with a spread."""
    return st.builds(
        lambda number, expression, zone, spread_s: new_schedule(
            ScheduleId(f"schedule-{number}"), expression, zone=zone, created_by_user="op", now=now, spread_s=spread_s
        ),
        st.integers(0, 99),
        time_expressions(),
        zones(),
        st.sampled_from([0.0, 0.0, 60.0, 3600.0]),
    )


def json_objects() -> st.SearchStrategy[Mapping[str, Any]]:
    """Options as a host may give them: JSON, also with a lone surrogate."""
    values = st.integers(0, 9) | st.none() | st.booleans() | st.floats(0, 1) | st.text("abü\ud800", max_size=3)
    return st.dictionaries(st.text("abü\ud800", max_size=3), values | st.lists(values, max_size=2), max_size=2)


def running_operations() -> st.SearchStrategy[Operation]:
    """What makes jobs, works on them and ends them."""
    mostly = st.sampled_from([True, True, True, False])
    return st.one_of(
        st.builds(op.Ask, mostly, st.sampled_from(IfBusy), json_objects(), triggers(), st.booleans()),
        st.builds(
            op.Update, mostly, st.sampled_from(CUBES), st.sampled_from(CubeUpdate), st.none() | st.integers(1, 4)
        ),
        st.builds(op.Attend, mostly),
        st.builds(op.Renew, mostly, st.none() | st.just("build")),
        finishes(),
        finishes(),
    )


def finishes() -> st.SearchStrategy[op.Finish]:
    """Ends of jobs: done or failed, with and without report and inventory."""
    return st.builds(
        op.Finish,
        st.sampled_from([True, True, True, False]),
        st.none() | st.sampled_from(FailureCode),
        st.booleans(),
        st.none() | st.just('{"summary":"…"}'),
        st.none() | st.just('{"aggregates":[]}'),
        progressed=st.booleans(),
    )


def administrative_operations() -> st.SearchStrategy[Operation]:
    """What people and hosts do besides."""
    mostly = st.sampled_from([True, True, True, False])
    return st.one_of(
        st.builds(op.Cancel, st.booleans()),
        st.builds(op.SetPause, st.booleans()),
        st.builds(op.Enable, mostly),
        st.builds(op.AddSchedule, time_expressions(), zones(), st.sampled_from([0.0, 900.0])),
        st.builds(op.RemoveSchedule, st.integers(0, 3)),
        st.builds(op.Activate, st.integers(0, 3), st.booleans()),
        st.builds(op.PauseSchedule, st.integers(0, 3), st.booleans()),
        st.builds(op.Mark, st.sampled_from(["orders", "Größe"]), st.none() | st.integers(-9, 9)),
        st.builds(
            op.Use, st.sampled_from(["sales.by_day", "Größe"]), st.integers(0, 3), st.sampled_from([0.0, -9.0, 9e5])
        ),
        st.sampled_from([op.Remove(), op.Register(), op.Register(), op.Register()]),
        st.builds(op.Recover, st.integers(1, 5)),
        st.builds(op.Lapse, st.just(1e6), st.none() | st.just("another life")),
    )


def operations() -> st.SearchStrategy[Operation]:
    """Any operation on a registered organisation; those that lead to jobs come more often."""
    return st.one_of(running_operations(), running_operations(), administrative_operations())


@frozen
class Pass:
    """Time passes; with `wall_s` the wall clock is stepped as well; `reboot` starts another life of the steady clock."""

    seconds: float
    wall_s: float = 0.0
    reboot: bool = False

    def after(self, time: StoreTime, boot: str) -> StoreTime:
        """The reading afterwards; `boot` names the next life, if there is one."""
        later = passed(time, self.seconds, wall_s=self.wall_s)
        return StoreTime(later.wall_at, 5.0, boot) if self.reboot else later


def passings() -> st.SearchStrategy[Pass]:
    seconds = st.sampled_from([0.5, 4.0, 6.0, 40.0, 59.9, 60.1, 299.0, 3500.0, 3700.0, 21_600.0, 86_400.0, 600_000.0])
    return st.one_of(
        st.builds(Pass, seconds),
        st.builds(Pass, seconds),
        st.builds(Pass, st.just(0.0), st.sampled_from([-7200.0, -30.0, 30.0, 7200.0])),
        st.builds(Pass, st.just(1.0), st.just(0.0), st.just(True)),
    )


def decide(doc: OrgSnapshot, operation: Operation, basis: Basis, grant: Grant) -> Decision[Any]:
    """As the engine does: a removed organisation takes nothing but registering it again."""
    if doc.removed_at is not None and not isinstance(operation, op.Register):
        return op.NOTHING
    return operation.decide(doc, basis, grant)


@st.composite
def histories(
    draw: st.DrawFn, ids: st.SearchStrategy[OrgId] | None = None, *, steps_max: int = 24
) -> tuple[OrgChange, ...]:
    """All changes of one organisation from its registration on, each decided on the document of the one before."""
    org_id = draw(ids if ids is not None else org_ids())
    time = StoreTime(draw(st.sampled_from([NOON, NOON.replace(microsecond=1)])), 1000.0, "boot-1")
    first = decide_register(None, org_id, ScheduleId("default"), Basis(time, "change-0000", HISTORY_SETTINGS)).change
    assert first is not None, "registering is a change"
    changes = [first]
    steps = st.lists(st.tuples(operations(), st.none() | passings()), min_size=min(6, steps_max), max_size=steps_max)
    for number, (operation, passing) in enumerate(draw(steps), start=1):
        if passing is not None:
            time = passing.after(time, f"boot-{number + 1}")
        basis = Basis(time, f"change-{number:04}", HISTORY_SETTINGS)
        grant = Grant(JobId(f"job-{number:04}"), "holder")
        change = decide(changes[-1].document, operation, basis, grant).change
        if change is not None:
            changes.append(change)
    return tuple(changes)


def documents(ids: st.SearchStrategy[OrgId] | None = None) -> st.SearchStrategy[OrgSnapshot]:
    """Documents as some history left them."""
    return histories(ids).map(lambda changes: changes[-1].document)
