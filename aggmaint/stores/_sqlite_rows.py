"""Documents and jobs as rows of the SQLite store: the columns, in one order, both ways."""

from collections.abc import Sequence
from typing import Any, Final

from ..core.ids import JobId, OrgId, ScheduleId
from ..core.job import Fence, JobStatus, Lease, MaintenanceJob, RunningJob
from ..core.organization import OrgSnapshot
from ..core.trigger import Trigger
from . import _codec as codec

JOB_COLUMNS: Final = (
    "org_id, fence, generation, id, trigger_type, status, created_us, started_us, ended_us, holder, requests_folded, "
    "schedule_id, slot, complete, error"
)
ORG_COLUMNS: Final = (
    "org_id, revision, change_ids, generation, last_fence, job_id, lease_boot, lease_until_s, deadline_s, lapse_s, "
    "cancel_requested, run, pending, demand, covered, schedules, enabled, paused, failure_streak, not_before_us, "
    "inventory_job_id, marks, last_mark, pruned_through, oldest_ended_us, removed_at_us, notice_at_us, claim_at_us, "
    "claim_held, uses, last_use"
)


def marks(columns: str) -> str:
    return ", ".join("?" for _ in columns.split(","))


def job_to_row(job: MaintenanceJob) -> tuple[Any, ...]:
    return (
        job.org_id,
        job.fence.number,
        job.fence.generation,
        job.id,
        str(job.trigger),
        job.status.value,
        codec.to_us(job.created_at),
        codec.to_us(job.started_at),
        codec.opt_to_us(job.ended_at),
        job.holder,
        job.requests_folded,
        job.schedule_id,
        job.slot,
        None if job.complete is None else int(job.complete),
        codec.opt_dumps(job.error and codec.error_to_json(job.error)),
    )


def job_from_row(row: Sequence[Any]) -> MaintenanceJob:
    org_id, fence, generation, job_id, trigger, status, created, started, ended, *rest = row
    holder, folded, schedule_id, slot, complete, error = rest
    return MaintenanceJob(
        id=JobId(job_id),
        org_id=OrgId(org_id),
        fence=Fence(generation, fence),
        trigger=Trigger.parse(trigger),
        created_at=codec.from_us(created),
        started_at=codec.from_us(started),
        holder=holder,
        requests_folded=folded,
        schedule_id=schedule_id and ScheduleId(schedule_id),
        slot=slot,
        status=JobStatus(status),
        ended_at=codec.opt_from_us(ended),
        error=error and codec.error_from_json(codec.loads(error)),
        complete=None if complete is None else bool(complete),
    )


def org_to_row(doc: OrgSnapshot) -> tuple[Any, ...]:
    running, waiting = doc.running, doc.waiting
    lease = running.lease if running else None
    return (
        doc.org_id,
        doc.revision,
        codec.dumps(doc.change_ids),
        doc.generation,
        doc.last_fence,
        running.job.id if running else None,
        lease.boot if lease else None,
        lease.until_s if lease else None,
        lease.deadline_s if lease else None,
        min(lease.until_s, lease.deadline_s) if lease else None,
        int(running.cancel_requested) if running else 0,
        codec.dumps(_run_to_json(running)) if running else None,
        codec.opt_dumps(doc.pending and codec.request_to_json(doc.pending)),
        codec.dumps(doc.demand),
        codec.dumps(doc.covered),
        codec.dumps(codec.schedules_to_json(doc.schedules, doc.removed_schedules)),
        int(doc.enabled),
        codec.opt_dumps(doc.paused and codec.pause_to_json(doc.paused)),
        doc.failure_streak,
        codec.opt_to_us(doc.not_before_at),
        doc.inventory_job_id,
        codec.dumps([codec.mark_to_json(mark) for mark in doc.marks]),
        doc.last_mark,
        doc.pruned_through,
        codec.opt_to_us(doc.oldest_ended_at),
        codec.opt_to_us(doc.removed_at),
        codec.opt_to_us(doc.notice_at),
        codec.to_us(waiting.at) if waiting else None,
        int(waiting.held) if waiting else None,
        codec.dumps([codec.use_to_json(use) for use in doc.uses]),
        doc.last_use,
    )


def org_from_row(row: Sequence[Any], job: MaintenanceJob | None) -> OrgSnapshot:
    """The document of an organisation's row; `job` is the row of history that its job_id names."""
    org_id, revision, change_ids, generation, last_fence, _, boot, until_s, deadline_s, _, cancel, run, *rest = row
    pending, demand, covered, schedules, enabled, paused, streak, not_before, inventory_job_id, *rest = rest
    kept, gone = codec.schedules_from_json(codec.loads(schedules))
    marks, last_mark, pruned_through, oldest_ended, removed_at, _, _, _, uses, last_use = rest
    running = _running(job, Lease(boot, until_s, deadline_s), codec.loads(run), bool(cancel)) if job else None
    return OrgSnapshot(
        org_id=OrgId(org_id),
        revision=revision,
        change_ids=tuple(codec.loads(change_ids)),
        generation=generation,
        last_fence=last_fence,
        running=running,
        pending=pending and codec.request_from_json(codec.loads(pending)),
        demand=codec.loads(demand),
        covered=codec.loads(covered),
        schedules=kept,
        removed_schedules=gone,
        enabled=bool(enabled),
        paused=paused and codec.pause_from_json(codec.loads(paused)),
        failure_streak=streak,
        not_before_at=codec.opt_from_us(not_before),
        inventory_job_id=inventory_job_id and JobId(inventory_job_id),
        marks=tuple(codec.mark_from_json(mark) for mark in codec.loads(marks)),
        last_mark=last_mark,
        pruned_through=pruned_through,
        oldest_ended_at=codec.opt_from_us(oldest_ended),
        removed_at=codec.opt_from_us(removed_at),
        uses=tuple(codec.use_from_json(use) for use in codec.loads(uses)),
        last_use=last_use,
    )


def _run_to_json(running: RunningJob) -> dict[str, Any]:
    progress = running.progress and codec.progress_to_json(running.progress)
    return {
        "options": running.options,
        "seen": running.demand_seen,
        "marks": running.marks_seen,
        "uses": running.uses_seen,
        "progress": progress,
    }


def _running(job: MaintenanceJob, lease: Lease, run: dict[str, Any], cancel_requested: bool) -> RunningJob:
    progress = run["progress"] and codec.progress_from_json(run["progress"])
    uses_seen = run.get("uses", 0)  # absent in a row that was written before uses were counted
    return RunningJob(job, lease, run["options"], run["seen"], run["marks"], cancel_requested, progress, uses_seen)
