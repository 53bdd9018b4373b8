"""The rules of the job half: every change of an organisation's document is decided here, by pure functions.

Theory of operation. Each `decide_*` takes a document, the store's time and what the caller brings (a request, an ending,
a free slot), and returns a `Decision`: the change to commit (None: nothing to write) and the answer to give once it is
committed. If the commit is stale the caller loads again and decides again; nothing here remembers anything.

Four steps (steps.py) do all the work, always in this order, so that every trigger goes one way:

    rescue   end a job whose lease or deadline has passed in steady time, or whose machine was started anew (I13)
    notice   consume due slots: fired, skipped or missed (schedule.py)
    fold     write the request; if one waits already, the two become one
    claim    turn the waiting request into a job, if the caller has a free slot (`grant`), nothing runs and no back-off
             holds it: the next fence, the lease and the row of history are one commit (I1, I3)

What a trigger does while a job runs: a time slot is skipped, since the next one supersedes it; a cube update
folds, since the running job may have read before it; a manual request folds into the one follow-up, or is refused when
the caller prefers. A finish earns coverage only when the job was done and complete (I16); demand that is still
uncovered then becomes the follow-up, after a back-off if the job failed (I25).
"""

from attrs import evolve

from ..errors import InvalidCronError
from .events import RequestQueued
from .ids import JobId, OrgId, ScheduleId, check_text
from .job import ErrorInformation, FailureCode, MaintenanceJob, Progress
from .organization import OrgSnapshot, Request
from .outcomes import Finished, IfBusy, Joined, Lost, Queued, RefusalReason, Refused, Renewed, RequestOutcome, Started
from .schedule import Schedule, default_schedule, renewed, restart_after
from .steps import Basis, Decision, Draft, Ending, Grant, claim, end, notice_due, rescue
from .trigger import CubeUpdate, cube_update_trigger

# -- the organisation itself -------------------------------------------------------------------------------------------


def decide_register(doc: OrgSnapshot | None, org_id: OrgId, schedule_id: ScheduleId, basis: Basis) -> Decision[bool]:
    """A new organisation with the default schedule, or a removed one back with its own. False: it was registered.

    What is registered already has its next slots computed again, so that a host that starts with newer rules of cron or of
    time zones does not wait by the old ones.
    """
    now = basis.time.wall_at
    draft = Draft(doc or OrgSnapshot(org_id), basis)
    if doc is None:
        draft.set(schedules=(default_schedule(schedule_id, now),))
    elif doc.removed_at is not None:
        draft.set(removed_at=None, schedules=tuple(restart_after(schedule, now) for schedule in doc.schedules))
    elif (schedules := tuple(map(_renewed_if_valid, doc.schedules))) != doc.schedules:
        draft.set(schedules=schedules)
    return Decision(draft.change(), doc is None or doc.removed_at is not None)


def _renewed_if_valid(schedule: Schedule) -> Schedule:
    try:
        return renewed(schedule)
    except InvalidCronError:
        return schedule  # stopped, with an event, when it is due


# -- requests ----------------------------------------------------------------------------------------------------------


def decide_request(
    doc: OrgSnapshot, request: Request, basis: Basis, *, grant: Grant | None, if_busy: IfBusy = IfBusy.FOLD
) -> Decision[RequestOutcome]:
    """Start a job for `request` now, or queue it, or refuse it: one path for every kind of trigger."""
    if not doc.enabled:
        return Decision(None, Refused(doc.org_id, RefusalReason.DISABLED))
    draft = Draft(doc, basis)
    rescue(draft)
    running = draft.doc.running
    if running and if_busy is IfBusy.REJECT:
        left_s = running.lease.left_s(basis.time)
        return Decision(None, Refused(doc.org_id, RefusalReason.BUSY, running.job, left_s))
    if running and if_busy is IfBusy.JOIN:
        return Decision(None, Joined(running.job))
    return _queue_or_start(draft, request, grant)


def decide_cube_update(
    doc: OrgSnapshot, cube_id: str, change: CubeUpdate, version: int | None, basis: Basis, *, grant: Grant | None
) -> Decision[RequestOutcome]:
    """Remember that the cube was updated (`version` None: its next number) and start or queue a job for it.

    A version that is covered, or that the running job saw when it started, asks for nothing: refused as `covered`. If
    that job fails, the demand is still there and the follow-up comes by itself.
    """
    check_text("cube_id", cube_id, 255)
    if not doc.enabled:
        return Decision(None, Refused(doc.org_id, RefusalReason.DISABLED))
    known = max(doc.demand.get(cube_id, 0), doc.covered.get(cube_id, 0))
    number = known + 1 if version is None else version
    draft = Draft(doc, basis)
    rescue(draft)
    running = draft.doc.running
    seen = max(doc.covered.get(cube_id, 0), running.demand_seen.get(cube_id, 0) if running else 0)
    if number <= seen:
        return Decision(draft.change(), Refused(doc.org_id, RefusalReason.COVERED, running.job if running else None))
    draft.set(demand={**draft.doc.demand, cube_id: max(number, draft.doc.demand.get(cube_id, 0))})
    request = Request(cube_update_trigger(change), created_at=basis.time.wall_at, automatic=True)
    return _queue_or_start(draft, request, grant)


def _queue_or_start(draft: Draft, request: Request, grant: Grant | None) -> Decision[RequestOutcome]:
    pending = draft.doc.pending
    waiting = pending.fold(request) if pending else request
    draft.set(pending=waiting)
    claim(draft, grant)
    if draft.granted:
        return Decision(draft.change(), Started(draft.granted))
    behind = draft.doc.running.job if draft.doc.running else None
    at = draft.basis.time.wall_at
    draft.events.append(RequestQueued(draft.doc.org_id, at, waiting.trigger, behind, waiting.folded))
    return Decision(draft.change(), Queued(draft.doc.org_id, behind, waiting.folded))


def decide_attention(doc: OrgSnapshot, basis: Basis, *, grant: Grant | None) -> Decision[MaintenanceJob | None]:
    """What a tick does for one organisation: rescue, notice, claim. The answer is the job that was granted, if any."""
    draft = Draft(doc, basis)
    rescue(draft)
    if draft.doc.enabled:
        notice_due(draft)
        claim(draft, grant)
    return Decision(draft.change(), draft.granted)


# -- the running job ---------------------------------------------------------------------------------------------------


def decide_renew(
    doc: OrgSnapshot, job_id: JobId, basis: Basis, *, progress: Progress | None = None
) -> Decision[Renewed | Lost]:
    """Lengthen the lease (never shorten it; the deadline stays, I14) and write progress. Late is fine while unrescued."""
    running = doc.running
    if running is None or running.job.id != job_id or running.lease.boot != basis.time.boot:
        return Decision(None, Lost())
    lease = running.lease
    renewed = evolve(lease, until_s=max(lease.until_s, basis.time.steady_s + basis.settings.lease_s))
    running = evolve(running, lease=renewed, progress=progress or running.progress)
    draft = Draft(doc, basis)
    draft.set(running=running)
    return Decision(draft.change(), Renewed(running, renewed.past_deadline(basis.time)))


def decide_finish(doc: OrgSnapshot, job_id: JobId, ending: Ending, basis: Basis) -> Decision[Finished | Lost]:
    """End the job as its worker says. Only while it is the one in progress (I7)."""
    if doc.running is None or doc.running.job.id != job_id:
        return Decision(None, Lost())
    draft = Draft(doc, basis)
    job = end(draft, doc.running, ending)
    return Decision(draft.change(), Finished(job))


def decide_abandon(doc: OrgSnapshot, job_id: JobId, basis: Basis, *, by: str, reason: str) -> Decision[Finished | Lost]:
    """An operator's override: end the job in progress now; its worker is fenced off and its result discarded."""
    error = ErrorInformation(FailureCode.ABANDONED, f"abandoned by {by}: {reason}")
    return decide_finish(doc, job_id, Ending(error=error), basis)


def decide_cancel(doc: OrgSnapshot, job_id: JobId, basis: Basis) -> Decision[bool]:
    """Ask the running job to stop; its lock stays until its worker ends it (I18). False: it is not in progress."""
    running = doc.running
    if running is None or running.job.id != job_id:
        return Decision(None, False)
    draft = Draft(doc, basis)
    if not running.cancel_requested:
        draft.set(running=evolve(running, cancel_requested=True))
    return Decision(draft.change(), True)
