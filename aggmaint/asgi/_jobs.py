"""Routes 1 to 3: plain functions from an admitted call to a reply. They block, and are called in threads.

There is no state here (nor in the other families): every answer is read from the store through the engine, so any number of
doors over one store answer alike. The warehouse is never touched; a job that is started runs on the engine's own executor.
"""

from typing import Final

from attrs import frozen

from ..core.outcomes import Joined, Queued, RefusalReason, Refused, Started
from ..core.trigger import MANUAL
from ..engine import MaintenanceEngine
from ..store import JobPage
from ._parameters import HistoryParameters, encode_cursor, history_parameters, if_busy_parameter
from ._paths import Call, Route
from ._replies import Reply, RequestError, action_reply, read_reply
from .access import Permission
from .wire import WireHistoryPage, job_to_wire

JOBS_PATH: Final = "/aggregates/maintenance/orgId/{orgId}"


@frozen
class Jobs:
    """An organisation's jobs: the one in progress, the history, and asking for one."""

    engine: MaintenanceEngine
    design_center_enabled: bool
    manual_trigger_type: str | None

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("POST", f"{JOBS_PATH}/run-immediately", Permission.MANAGE, self.run_immediately),
            Route("GET", JOBS_PATH, Permission.VIEW, self.current_job),
            Route("GET", f"{JOBS_PATH}/history", Permission.VIEW, self.history),
        )

    def run_immediately(self, call: Call) -> Reply:
        if_busy = if_busy_parameter(call.query_string)
        if not self.design_center_enabled:
            raise RequestError(
                503,
                "the host has switched this operation off (create_app(design_center_enabled=False))",
                phrase="Design Center APIs are not enabled",
            )
        org_id = call.org_id
        outcome = self.engine.run_immediately(org_id, if_busy=if_busy)
        match outcome:
            case Started():
                return action_reply(f"Maintenance successfully started for {org_id}", None)
            case Queued(behind=None):
                return action_reply(f"Maintenance queued for {org_id}", None)
            case Queued():
                message = f"Maintenance already in progress for {org_id}; one more run will follow"
                return action_reply(message, None)
            case Joined():
                return action_reply(f"Maintenance already in progress for {org_id}", None)
            case Refused():
                raise _refusal(outcome)

    def current_job(self, call: Call) -> Reply:
        job = self.engine.get_current_job(call.org_id)
        return read_reply(None if job is None else job_to_wire(job, manual_trigger_type=self.manual_trigger_type))

    def history(self, call: Call) -> Reply:
        asked = history_parameters(call.query_string)
        page = self._jobs(call.org_id, asked)
        written = WireHistoryPage(
            data=tuple(job_to_wire(job, manual_trigger_type=self.manual_trigger_type) for job in page.jobs),
            limit=asked.limit,
            offset=asked.offset,
            force_pull=asked.force_pull,
            has_next_key=asked.by_cursor,
            next=None if page.next is None else encode_cursor(page.next),
        )
        return read_reply(written.to_json())

    def _jobs(self, org_id: str, asked: HistoryParameters) -> JobPage:
        trigger_types = self._stored_triggers(asked.trigger_type)
        if trigger_types == [] and asked.trigger_type is not None:
            self.engine.get_organization(org_id)  # the answer for an unknown organisation stays the same
            return JobPage((), None)
        return self.engine.list_jobs(
            org_id,
            limit=asked.limit,
            offset=asked.offset,
            before=asked.before,
            statuses=[asked.status] if asked.status else [],
            trigger_types=trigger_types,
        )

    def _stored_triggers(self, written: str | None) -> list[str]:
        """The stored trigger types that are written as `written`: `manual_trigger_type` renames the manual one."""
        if written is None:
            return []
        if self.manual_trigger_type is None:
            return [written]
        stored = [written] if written != str(MANUAL) else []
        return [*stored, str(MANUAL)] if written == self.manual_trigger_type else stored


def _refusal(refused: Refused) -> RequestError:
    if refused.reason is RefusalReason.DISABLED:
        return RequestError(
            503,
            "maintenance of this organisation is switched off; an operator can enable it again",
            phrase=f"Maintenance is disabled for {refused.org_id}",
        )
    assert refused.running is not None, "a manual request is refused only when disabled or busy"
    return RequestError(
        409,
        "a job is in progress and ifBusy=reject was asked",
        phrase=f"Maintenance already in progress for {refused.org_id}",
        details={"jobId": refused.running.id},
    )
