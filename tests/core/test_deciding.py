"""The rules by properties: any sequence of decisions, time and reboots keeps the invariants of design/jobs.md.

`Ledger` applies one decision after another, as a store would, and checks after each what must hold whatever happened.
"""

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from aggmaint import (
    CubeUpdate,
    FailureCode,
    Fence,
    JobFinished,
    JobId,
    JobStarted,
    JobStatus,
    LeaseLapsed,
    MaintenanceJob,
    Queued,
    RefusalReason,
    Refused,
    Schedule,
    ScheduleId,
    SlotSkipped,
    SlotsMissed,
    Started,
)
from aggmaint.core.cron import next_slot
from aggmaint.core.deciding import decide_register
from aggmaint.core.ids import OrgId
from aggmaint.core.instants import epoch_s
from aggmaint.core.organization import OrgChange, OrgSnapshot, Waiting
from aggmaint.core.outcomes import Finished, IfBusy, Lost, Renewed
from aggmaint.core.settings import JobSettings
from aggmaint.core.steps import Basis, Decision, Grant
from aggmaint.core.trigger import TriggerKind
from aggmaint.testing.clocks import ManualClock
from tests.support.operations import (
    Activate,
    AddSchedule,
    Ask,
    Attend,
    Cancel,
    Enable,
    Finish,
    Operation,
    Pass,
    PauseSchedule,
    RemoveSchedule,
    Renew,
    SetPause,
    Update,
    operations,
    passings,
)
from tests.support.profiles import examples

SETTINGS = JobSettings()
_CHANGE = CubeUpdate.DYNAMIC_CUBE_UPDATED
ASK = Ask(free=True, if_busy=IfBusy.FOLD, options={})
DONE = Finish(mine=True, code=None, complete=True, report=None, inventory=None)


class Ledger:
    """One organisation's document, its history, and the books that the checks are made against."""

    def __init__(self, settings: JobSettings = SETTINGS) -> None:
        self.clock = ManualClock()
        self.settings = settings
        self.history: dict[JobId, MaintenanceJob] = {}
        self.fired_slots: set[tuple[ScheduleId, int]] = set()
        self.skipped_after_firing: dict[ScheduleId, int] = {}
        self.nominal: dict[ScheduleId, int] = {}
        self._count = 0
        change = decide_register(None, OrgId("acme"), ScheduleId("s-default"), self.basis()).change
        assert change is not None
        self.doc = change.document

    def basis(self) -> Basis:
        self._count += 1
        return Basis(self.clock.read(), f"c{self._count:04}", self.settings)

    def step(self, what: "Operation | Pass") -> Any:
        """Do one thing; the answer of a decision."""
        if isinstance(what, Pass):
            self.clock.pass_s(what.seconds)
            self.clock.step_wall(what.wall_s)
            if what.reboot:
                self.clock.reboot()
            return None
        basis = self.basis()
        decision = what.decide(self.doc, basis, Grant(JobId(f"j{self._count:04}"), "holder"))
        before, after = self.doc, decision.change.document if decision.change else self.doc
        if decision.change:
            self._check_change(before, decision.change, basis)
        self._check_answer(what, before, after, decision)
        self._check_running(what, before, after, basis)
        self._check_demand(before, after, decision.change, what)
        self._check_slots(before, after, what, basis)
        self._check_attention(what, after)
        self.doc = after
        return decision.answer

    def _check_change(self, before: OrgSnapshot, change: OrgChange, basis: Basis) -> None:
        after = change.document
        assert change.base_revision == before.revision and after.revision == before.revision + 1
        assert after.change_ids[-1] == basis.change_id and len(after.change_ids) <= 32
        assert after.change_ids[:-1] == before.change_ids[-31:], "I10: the newest ids are kept"
        assert after.org_id == before.org_id and after.generation == before.generation
        started = [event.job for event in change.events if isinstance(event, JobStarted)]
        finished = [event.job for event in change.events if isinstance(event, JobFinished)]
        assert started == ([change.granted] if change.granted else []), "I28"
        assert finished == ([change.ended.job] if change.ended else []), "I28"
        if change.ended:
            self._check_end(before, change.ended.job)
        if change.granted:
            job = change.granted
            assert before.running is None or change.ended is not None, "I1"
            assert after.running is not None and after.running.job == job
            assert job.fence == Fence(before.generation, before.last_fence + 1) and job.id not in self.history, "I3"
            assert after.last_fence == job.fence.number
            assert job.created_at <= job.started_at
            assert not (before.paused and job.trigger.kind is TriggerKind.TIME), "I17"
            assert before.enabled, "disabled starts nothing"
            self.history[job.id] = job
        else:
            assert after.last_fence == before.last_fence, "I3"

    def _check_end(self, before: OrgSnapshot, job: MaintenanceJob) -> None:
        assert before.running is not None and before.running.job.id == job.id
        assert self.history[job.id].status is JobStatus.INPROGRESS, "I4: ended once"
        as_it_was = evolve(job, status=JobStatus.INPROGRESS, ended_at=None, error=None, complete=None)
        assert as_it_was == self.history[job.id], "I5: nothing else changed"
        assert job.ended_at is not None and job.ended_at >= job.started_at
        assert (job.status is JobStatus.FAILED) == (job.error is not None), "I6"
        self.history[job.id] = job

    def _check_answer(self, what: Operation, before: OrgSnapshot, after: OrgSnapshot, decision: Decision[Any]) -> None:
        """I9: answers are honest. I7: only the holder renews and finishes."""
        answer, change = decision.answer, decision.change
        match answer:
            case Started(job):
                assert change is not None and change.granted == job and after.running is not None
            case Queued(_, behind, folded):
                assert change is not None and after.pending is not None and after.pending.folded == folded
                assert behind == (after.running.job if after.running else None)
                assert behind is not None or isinstance(what, Ask | Update)
            case Refused(_, reason, running):
                assert change is None or (change.granted is None and change.ended is not None)
                assert after.demand == before.demand
                if reason is RefusalReason.BUSY:
                    assert running is not None and after.running is not None and running == after.running.job
                if reason is RefusalReason.DISABLED:
                    assert not before.enabled and change is None
            case Lost():
                assert change is None
                assert before.running is None or not getattr(what, "mine", True) or self._other_boot(before)
            case Renewed(running, _):
                assert after.running == running and getattr(what, "mine", False), "I7"
                assert running.lease.boot == self.clock.read().boot, "I13: a lease of another boot is over"
            case Finished(job):
                assert getattr(what, "mine", False), "I7"
                assert change is not None and change.ended is not None and change.ended.job == job

    def _other_boot(self, doc: OrgSnapshot) -> bool:
        return doc.running is not None and doc.running.lease.boot != self.clock.read().boot

    def _check_running(self, what: Operation, before: OrgSnapshot, after: OrgSnapshot, basis: Basis) -> None:
        old, new = before.running, after.running
        if old and new and old.job.id == new.job.id:
            assert new.job == old.job, "I5"
            assert new.lease.until_s >= old.lease.until_s and new.lease.deadline_s == old.lease.deadline_s, "I14"
            assert new.lease.boot == old.lease.boot
            assert new.demand_seen == old.demand_seen and new.options == old.options
            assert new.cancel_requested >= old.cancel_requested
            if not isinstance(what, Renew):
                assert new.lease == old.lease, "I7"
        elif old:
            ended = self.history[old.job.id]
            if not isinstance(what, Finish):
                assert old.lease.lapsed(basis.time), "I13: rescue only with evidence"
                code = ended.error.code if ended.error else None
                same_boot = old.lease.boot == basis.time.boot
                expired = same_boot and basis.time.steady_s >= old.lease.deadline_s
                assert code is (FailureCode.TIMEOUT if expired else FailureCode.ABANDONED)
            else:
                assert what.mine, "I7"
        if isinstance(what, Cancel):
            assert (new is None) == (old is None), "I18: cancel keeps the lock"

    def _check_demand(self, before: OrgSnapshot, after: OrgSnapshot, change: OrgChange | None, what: Operation) -> None:
        for cube, number in before.demand.items():
            assert after.demand[cube] >= number, "I15"
        if after.uncovered and after.running is None:
            assert after.pending is not None and after.pending.trigger.kind is not TriggerKind.TIME, "I25: it is owed"
        if after.uncovered and after.running is not None:
            seen = after.running.demand_seen
            missing = [cube for cube, n in after.uncovered.items() if n > seen.get(cube, 0)]
            assert not missing or after.pending is not None, "I25: what the running job has not seen is owed"
        if after.covered != before.covered:
            assert change is not None and change.ended is not None and before.running is not None
            job = change.ended.job
            assert job.status is JobStatus.DONE and job.complete, "I16"
            for cube, number in after.covered.items():
                assert number == max(before.covered.get(cube, 0), before.running.demand_seen.get(cube, 0)), "I16"
        if before.pending and not after.pending:
            granted = change is not None and change.granted is not None
            stopped = isinstance(what, STOPPING) and before.pending.trigger.kind is TriggerKind.TIME
            assert granted or stopped, "I15"
        if after.paused and after.pending and not (before.pending and before.paused):
            assert after.pending.trigger.kind is not TriggerKind.TIME, "I17"

    def _check_slots(self, before: OrgSnapshot, after: OrgSnapshot, what: Operation, basis: Basis) -> None:
        """I11, I12, I20 of every schedule: each nominal slot is consumed once, as fired, skipped or missed."""
        newly = dict(after.pending.slots) if after.pending else {}
        if after.running and (before.running is None or before.running.job.id != after.running.job.id):
            for schedule in after.schedules:
                latest = schedule.latest_execution
                if latest and latest.job_id == after.running.job.id and schedule.last_slot is not None:
                    newly[schedule.id] = schedule.last_slot
        for schedule in after.schedules:
            old = before.schedule(schedule.id)
            if old is None or schedule.last_slot == old.last_slot:
                if isinstance(what, STOPPING) and old is not None and schedule.skipped != old.skipped:
                    self.skipped_after_firing[schedule.id] = self.skipped_after_firing.get(schedule.id, 0) + 1
                continue
            assert isinstance(what, Attend) and before.enabled and old.active
            assert old.next_slot is not None and schedule.last_slot is not None
            assert schedule.last_slot <= epoch_s(basis.time.wall_at), "I12"
            assert old.last_slot is None or old.last_slot < schedule.last_slot, "I11"
            if before.running and after.running and before.running.job.id == after.running.job.id:
                assert newly.get(schedule.id) != schedule.last_slot, "a slot during a run is skipped"
            self._count_nominal(schedule, old.next_slot)
            if newly.get(schedule.id) == schedule.last_slot:
                assert (schedule.id, schedule.last_slot) not in self.fired_slots, "I11"
                self.fired_slots.add((schedule.id, schedule.last_slot))
            if not schedule.missed_over:
                fired = sum(schedule_id == schedule.id for schedule_id, _ in self.fired_slots)
                fired -= self.skipped_after_firing.get(schedule.id, 0)
                assert fired + schedule.skipped + schedule.missed == self.nominal[schedule.id], "I20"

    def _count_nominal(self, schedule: Schedule, first: int) -> None:
        slot: int | None = first
        while slot is not None and schedule.last_slot is not None and slot <= schedule.last_slot:
            self.nominal[schedule.id] = self.nominal.get(schedule.id, 0) + 1
            slot = next_slot(schedule.time_expression, schedule.zone, slot)

    def _check_attention(self, what: Operation, after: OrgSnapshot) -> None:
        """After a tick with a free place nothing is due any more."""
        if isinstance(what, Attend) and what.free:
            time = self.clock.read()
            assert after.running is None or not after.running.lease.lapsed(time)
            assert after.notice_at is None or after.notice_at > time.wall_at
            assert after.waiting is None or (after.waiting.held and after.waiting.at > time.wall_at)


STOPPING = (SetPause, PauseSchedule, Activate, RemoveSchedule)
"""What skips slots that have fired and wait."""

STEPS = st.lists(operations() | passings(), max_size=60) | st.lists(operations() | passings(), min_size=30, max_size=60)
"""Short ones to be shrunk to, long ones to get somewhere."""


@examples(500)
@given(STEPS)
def test_every_sequence_keeps_the_invariants(steps: "list[Operation | Pass]") -> None:
    ledger = Ledger()
    for step in steps:
        ledger.step(step)


@examples(200)
@given(STEPS)
def test_I26_from_every_state_public_calls_lead_to_a_start(steps: "list[Operation | Pass]") -> None:
    ledger = Ledger()
    for step in [*steps, Enable(enabled=True), Pass(7 * 3600.0)]:
        ledger.step(step)
    assert isinstance(ledger.step(ASK), Started)


@examples(200)
@given(STEPS)
def test_I25_demand_is_covered_in_the_end(steps: "list[Operation | Pass]") -> None:
    """Ticks and complete jobs alone, without anybody asking, cover what was asked for."""
    ledger = Ledger()
    for step in [*steps, Enable(enabled=True)]:
        ledger.step(step)
    for _ in range(4):
        ledger.step(Pass(7 * 3600.0))
        ledger.step(Attend(free=True))
        ledger.step(DONE)
    assert not ledger.doc.uncovered


@examples(200)
@given(STEPS)
def test_events_tell_of_skipped_and_missed_slots(steps: "list[Operation | Pass]") -> None:
    """What the events said adds up to what the schedules counted, while none was removed."""
    ledger = Ledger()
    skipped = missed = lapsed = 0
    for step in steps:
        if isinstance(step, RemoveSchedule):
            continue
        if isinstance(step, Pass):
            ledger.step(step)
            continue
        decision = _peek(ledger, step)
        for event in decision.change.events if decision.change else ():
            skipped += isinstance(event, SlotSkipped)
            missed += event.missed if isinstance(event, SlotsMissed) else 0
            lapsed += isinstance(event, LeaseLapsed)
        ledger.step(step)
    assert skipped == sum(schedule.skipped for schedule in ledger.doc.schedules)
    assert missed == sum(schedule.missed for schedule in ledger.doc.schedules)
    rescued = (FailureCode.ABANDONED, FailureCode.TIMEOUT)
    assert lapsed <= sum(job.error is not None and job.error.code in rescued for job in ledger.history.values())


def _peek(ledger: Ledger, operation: Operation) -> Decision[Any]:
    return operation.decide(ledger.doc, ledger.basis(), Grant(JobId("peeked"), "holder"))


# -- single rules -----------------------------------------------------------------------------------------------------


def test_a_rescue_and_the_next_grant_are_one_commit() -> None:
    ledger = Ledger()
    first = ledger.step(ASK).job
    ledger.step(Pass(60.0))
    decision = _peek(ledger, ASK)
    assert decision.change is not None and decision.change.ended is not None and decision.change.granted is not None
    assert decision.change.ended.job.id == first.id and decision.change.granted.fence.number == 2
    kinds = [type(event) for event in decision.change.events]
    assert kinds == [LeaseLapsed, JobFinished, JobStarted]


def test_pausing_skips_a_slot_that_waits_and_keeps_what_people_asked_for() -> None:
    for asked in (False, True):
        ledger = Ledger()
        ledger.step(AddSchedule("0 13 * * *", "UTC"))
        ledger.step(Pass(3600.0))
        ledger.step(Attend(free=False))
        if asked:
            ledger.step(Ask(free=False, if_busy=IfBusy.FOLD, options={}))
        ledger.step(SetPause())
        assert (ledger.doc.pending is not None) is asked
        assert ledger.doc.schedules[1].skipped == (not asked)


@pytest.mark.parametrize("stop", [PauseSchedule(1, on=True), Activate(1, active=False), RemoveSchedule(1)], ids=str)
def test_stopping_a_schedule_skips_its_slot_that_waits_and_leaves_those_of_others(stop: Operation) -> None:
    for others in (False, True):
        ledger = Ledger()
        ledger.step(AddSchedule("0 13 * * *", "UTC"))
        if others:
            ledger.step(AddSchedule("0 13 * * MON", "UTC"))
        ledger.step(Pass(3600.0))
        ledger.step(Attend(free=False))
        assert ledger.doc.pending is not None and len(ledger.doc.pending.slots) == 1 + others
        waiting = ledger.doc.schedules[1]
        decision = _peek(ledger, stop)
        assert decision.change is not None
        after = decision.change.document
        assert [
            (event.schedule_id, event.slot) for event in decision.change.events if isinstance(event, SlotSkipped)
        ] == [(waiting.id, waiting.last_slot)]
        assert (after.pending is not None) is others
        if after.pending:
            assert list(after.pending.slots) == [ledger.doc.schedules[2].id]
        kept = after.schedule(waiting.id)
        assert kept is None or kept.skipped == 1
        ledger.step(stop)


def test_back_off_holds_slots_and_updates_but_never_people() -> None:
    ledger = Ledger()
    ledger.step(Update(True, "c", _CHANGE, None))
    ledger.step(Finish(True, FailureCode.ERROR, True, None, None))
    assert ledger.doc.not_before_at is not None
    assert isinstance(ledger.step(Update(True, "c", _CHANGE, None)), Queued)
    assert ledger.step(Attend(free=True)) is None
    assert ledger.doc.waiting == Waiting(ledger.doc.not_before_at, held=True)
    assert ledger.doc.next_run_at == ledger.doc.not_before_at
    assert isinstance(ledger.step(ASK), Started)


def test_a_success_clears_the_back_off_and_a_wish_makes_none() -> None:
    ledger = Ledger()
    for code, streak in ((FailureCode.ERROR, 1), (FailureCode.CANCELLED, 1), (FailureCode.SHUTDOWN, 1)):
        ledger.step(ASK)
        ledger.step(Finish(True, code, True, None, None))
        assert ledger.doc.failure_streak == streak
    ledger.step(ASK)
    ledger.step(DONE)
    assert (ledger.doc.failure_streak, ledger.doc.not_before_at) == (0, None)


def test_a_job_that_did_a_part_is_no_failure_and_is_followed_at_the_first_waits_pace() -> None:
    """Budgets: nothing failed, so nothing doubles, and no schedule is paused, however many jobs the work takes."""
    ledger = Ledger(settings=JobSettings(pause_after_failures=2, backoff_base_s=30))
    ledger.step(Update(True, "c", _CHANGE, None))
    for _ in range(4):
        ledger.step(Finish(True, None, False, None, None, progressed=True))
        doc = ledger.doc
        assert (doc.failure_streak, doc.paused, doc.uncovered) == (0, None, {"c": 1})
        assert doc.not_before_at is not None
        assert timedelta(seconds=27) <= doc.not_before_at - ledger.clock.wall_at <= timedelta(seconds=30)
        assert ledger.step(Attend(free=True)) is None
        ledger.step(Pass(30))
        assert isinstance(ledger.step(Attend(free=True)), MaintenanceJob)
    ledger.step(DONE)
    assert (ledger.doc.uncovered, ledger.doc.not_before_at) == ({}, None)


def test_two_schedules_due_at_once_make_one_job() -> None:
    ledger = Ledger()
    for _ in range(2):
        ledger.step(AddSchedule("0 13 * * *", "UTC"))
    ledger.step(Pass(3600.0))
    job = ledger.step(Attend(free=True))
    slot = epoch_s(ledger.clock.wall_at)
    assert isinstance(job, MaintenanceJob) and job.slot == slot
    executions = [schedule.latest_execution for schedule in ledger.doc.schedules[1:]]
    assert [execution and execution.job_id for execution in executions] == [job.id, job.id]


def test_next_run_at_is_what_people_may_expect() -> None:
    ledger = Ledger()
    default = ledger.doc.next_run_at
    assert default is not None and default.hour == 4
    ledger.step(SetPause())
    assert ledger.doc.next_run_at is None and ledger.doc.notice_at is not None
    ledger.step(Ask(free=False, if_busy=IfBusy.FOLD, options={}))
    assert ledger.doc.next_run_at == ledger.clock.wall_at
    ledger.step(Enable(enabled=False))
    disabled = ledger.doc
    assert (disabled.next_run_at, disabled.notice_at, disabled.waiting) == (None, None, None)


def test_a_deactivated_schedule_is_silent() -> None:
    ledger = Ledger()
    ledger.step(Activate(0, active=False))
    ledger.step(Pass(10 * 86_400.0))
    assert ledger.step(Attend(free=True)) is None
    assert (ledger.doc.schedules[0].missed, ledger.doc.notice_at) == (0, None)


def test_registering_is_the_first_revision() -> None:
    ledger = Ledger()
    assert (ledger.doc.revision, ledger.doc.last_fence, ledger.doc.generation) == (1, 0, 1)
    assert ledger.clock.wall_at + timedelta(days=1) > (ledger.doc.notice_at or ledger.clock.wall_at)
