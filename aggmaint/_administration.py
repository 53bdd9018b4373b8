"""What people change through the engine: organisations, schedules, pauses, marks. The rules are in `core/administering.py`.

The base of `MaintenanceEngine`; it knows how an organisation's document is changed, and nothing of running jobs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import uuid4

from ._committing import Committer, Settled
from ._use_buffer import UseBuffer
from .core import administering, deciding
from .core.cron import hash_key
from .core.ids import JobId, OrgId, ScheduleId, parse_org_id
from .core.instants import StoreTime
from .core.marks import ChangeMark
from .core.organization import OrgSnapshot
from .core.outcomes import Finished, Refused
from .core.schedule import Pause, Schedule, new_schedule
from .core.steps import Basis, Decision
from .core.use import Use, check_definition_name
from .errors import OrganizationNotFoundError

Answer = TypeVar("Answer")

REGISTER_BATCH = 500


class Administration(ABC):
    """See `MaintenanceEngine`, which is the class to use."""

    _committer: Committer
    _uses: UseBuffer
    _auto_register: bool

    # -- organisations -------------------------------------------------------------------------------------------------

    def register_organizations(self, org_ids: Iterable[str]) -> int:
        """Register organisations with the default schedule (04:00 UTC). Idempotent; returns how many were new.

        One that was removed comes back with its schedules, history and fences.
        """
        ids = list(dict.fromkeys(parse_org_id(org_id) for org_id in org_ids))
        return sum(self._register(ids[start : start + REGISTER_BATCH]) for start in range(0, len(ids), REGISTER_BATCH))

    def _register(self, org_ids: Sequence[OrgId]) -> int:
        loaded = self._committer.store.load(org_ids)
        decisions = [
            deciding.decide_register(
                loaded.snapshots.get(org_id), org_id, ScheduleId(str(uuid4())), self._committer.basis(loaded.time)
            )
            for org_id in org_ids
        ]
        made = [(each.change, each.answer) for each in decisions if each.change is not None]
        committed = self._committer.commit_each([change for change, _ in made])
        return sum(new and kept for (_, new), kept in zip(made, committed, strict=True))

    def remove_organization(self, org_id: str) -> Refused | None:
        """Remove an organisation; `Refused(busy)` while a job runs. History, fences and cursors stay."""
        return self._administer(org_id, administering.decide_remove)

    def store_time(self) -> StoreTime:
        """What the store's clock says: the one by which leases are judged."""
        return self._committer.store.load([]).time

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def abandon(self, org_id: str, job_id: str, *, reason: str, by: str = "admin") -> bool:
        """Operator's override: end a job in progress now, as failed(abandoned). Its worker can publish nothing any more.

        A worker of this engine hears of it at once, others at their next renewal or publish. False: it is not in
        progress. Prefer `cancel`, which lets the worker end it.
        """
        job = JobId(job_id)
        answer = self._administer(
            org_id, lambda doc, basis: deciding.decide_abandon(doc, job, basis, by=by, reason=reason)
        )
        ended = isinstance(answer, Finished)
        if ended:
            self._tell(job)
        return ended

    def mark_changed(
        self, org_id: str, source: str, *, starts_at: datetime | None = None, ends_at: datetime | None = None
    ) -> ChangeMark:
        """Tell that rows of `source` in starts_at…ends_at (aware UTC; None: no bound) have changed. Starts no job.

        Never lost: the mark stays until a complete job has seen it. Raises InvalidValueError for an empty range.
        """
        return self._administer(
            org_id, lambda doc, basis: administering.decide_mark(doc, source, starts_at, ends_at, basis)
        )

    def record_use(self, org_id: str, uses: Mapping[str, tuple[int, datetime]]) -> None:
        """Tell how often definitions' aggregates were used: `{definition: (count, last_at)}`, a definition being its id or
        `cube.name`, `count` what is new since you last told, `last_at` aware UTC. Cheap: it counts in memory.

        Written to the store about once a minute by `tick`, and by `close`; carried into the warehouse by the next job.
        A crash of this process loses at most what was told since the last time; nothing counts twice. Raises
        InvalidValueError. Uses of an organisation that is not registered are dropped with a warning (auto_register
        registers it).
        """
        told = {check_definition_name(name): Use(count, last_at) for name, (count, last_at) in uses.items()}
        self._uses.add(parse_org_id(org_id), told)

    def flush_uses(self) -> bool:
        """Write what `record_use` counted now: for hosts that neither start the engine nor tick.

        False: not all could be written; it is kept for the next time.
        """
        return self._uses.flush()

    def raise_generation(self, org_id: str, *, at_least: int = 1) -> int:
        """Recovery after the job store was lost or restored: its fences will outrank those of earlier generations."""
        return self._administer(org_id, lambda doc, basis: administering.decide_raise_generation(doc, at_least, basis))

    # -- schedules, pause, enabling ------------------------------------------------------------------------------------

    def add_schedule(
        self,
        org_id: str,
        time_expression: str,
        *,
        zone: str = "UTC",
        created_by_user: str = "admin",
        spread_s: float = 0.0,
    ) -> Schedule:
        """Add a schedule (Quartz or five-field cron); `spread_s` moves each start by up to so many seconds.

        Raises InvalidCronError, InvalidValueError for the zone or the spread.
        """
        schedule_id = ScheduleId(str(uuid4()))
        schedule = new_schedule(
            schedule_id,
            time_expression,
            zone=zone,
            created_by_user=created_by_user,
            now=self.store_time().wall_at,
            spread_s=spread_s,
            key=hash_key(parse_org_id(org_id), schedule_id),
        )
        return self._administer(org_id, lambda doc, basis: administering.decide_add_schedule(doc, schedule, basis))

    def remove_schedule(self, org_id: str, schedule_id: str) -> Schedule | None:
        """Remove a schedule; None: it was removed before (the newest 32 are remembered). Raises ScheduleNotFoundError."""
        target = ScheduleId(schedule_id)
        return self._administer(org_id, lambda doc, basis: administering.decide_remove_schedule(doc, target, basis))

    def activate_schedule(self, org_id: str, schedule_id: str, *, active: bool = True) -> Schedule:
        """Activate or deactivate a schedule; raises ScheduleNotFoundError. Idempotent."""
        target = ScheduleId(schedule_id)
        return self._administer(
            org_id, lambda doc, basis: administering.decide_activate_schedule(doc, target, basis, active=active)
        )

    def pause_schedule(self, org_id: str, schedule_id: str, *, reason: str, by: str = "admin") -> Schedule:
        """Pause one schedule: its slots are skipped. Idempotent; raises ScheduleNotFoundError."""
        return self._set_schedule_pause(org_id, schedule_id, Pause(by, reason, self.store_time().wall_at))

    def resume_schedule(self, org_id: str, schedule_id: str) -> Schedule:
        """Resume one schedule. Idempotent; raises ScheduleNotFoundError."""
        return self._set_schedule_pause(org_id, schedule_id, None)

    def _set_schedule_pause(self, org_id: str, schedule_id: str, pause: Pause | None) -> Schedule:
        target = ScheduleId(schedule_id)
        return self._administer(
            org_id, lambda doc, basis: administering.decide_pause_schedule(doc, target, basis, pause=pause)
        )

    def pause(self, org_id: str, *, reason: str, by: str = "admin") -> None:
        """Pause scheduled runs; manual and event-triggered ones still go. Idempotent: the first reason stays."""
        self._administer(org_id, lambda doc, basis: administering.decide_pause(doc, basis, by=by, reason=reason))

    def resume(self, org_id: str) -> bool:
        """Resume scheduled runs. False: they were not paused."""
        return self._administer(org_id, administering.decide_resume)

    def enable(self, org_id: str, *, enabled: bool = True) -> bool:
        """Enable or disable all maintenance of the organisation. False: it was so already."""
        return self._administer(org_id, lambda doc, basis: administering.decide_enable(doc, basis, enabled=enabled))

    # -- how a document is changed -------------------------------------------------------------------------------------

    def _change(self, org_id: str, decide: Callable[[OrgSnapshot, Basis], Decision[Answer]]) -> Settled[Answer]:
        known = parse_org_id(org_id)
        try:
            return self._committer.change(known, decide)
        except OrganizationNotFoundError:
            if not self._auto_register:
                raise
        self._register([known])
        return self._committer.change(known, decide)

    def _administer(self, org_id: str, decide: Callable[[OrgSnapshot, Basis], Decision[Answer]]) -> Answer:
        settled = self._change(org_id, decide)
        self._wake()
        return settled.answer

    @abstractmethod
    def _tell(self, job: JobId) -> None:
        """Let the worker of a job, if it is this engine's, learn at once what has become of it."""

    @abstractmethod
    def _wake(self) -> None:
        """Let the scheduler look soon at what has changed."""
