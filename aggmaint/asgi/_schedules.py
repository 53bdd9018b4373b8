"""Routes 4 to 6: an organisation's schedules, in the action style.

Changing one is idempotent: activating what is active, deactivating what is not and deleting what was deleted answer 200
and change nothing. A schedule that never existed is 404, and so is another organisation's: ids are looked up in the
organisation's own document only.
"""

from typing import Final

from attrs import frozen

from ..core.cron import check_wire_dialect
from ..core.organization import OrgSnapshot
from ..core.schedule import DEFAULT_CREATED_BY
from ..engine import MaintenanceEngine
from ..errors import InvalidCronError
from ._parameters import ScheduleParameters, details_parameter, schedule_parameters, time_expression
from ._paths import Call, Route
from ._replies import Reply, RequestError, action_reply
from .access import Permission
from .wire_schedules import schedule_to_wire

SCHEDULES_PATH: Final = "/aggregates/maintenance/scheduler/jobs/orgId/{orgId}"
SCHEDULE_PATH: Final = f"{SCHEDULES_PATH}/jobId/{{jobId}}"
SUCCESS: Final = "success"
USER_CHARACTERS_MAX: Final = 255


@frozen
class Schedules:
    """The schedules of organisations over one engine."""

    engine: MaintenanceEngine

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("GET", SCHEDULES_PATH, Permission.VIEW, self.list),
            Route("POST", SCHEDULES_PATH, Permission.MANAGE, self.create),
            Route("PUT", f"{SCHEDULE_PATH}/activate", Permission.MANAGE, self.activate),
            Route("PUT", f"{SCHEDULE_PATH}/deactivate", Permission.MANAGE, self.deactivate),
            Route("DELETE", SCHEDULE_PATH, Permission.MANAGE, self.delete),
        )

    def list(self, call: Call) -> Reply:
        asked: ScheduleParameters = schedule_parameters(call.query_string)
        document = self.engine.get_organization(call.org_id)
        chosen = [each for each in document.schedules if asked.active in (None, each.active)]
        return action_reply(SUCCESS, [schedule_to_wire(document, each, details=asked.details) for each in chosen])

    def create(self, call: Call) -> Reply:
        details = details_parameter(call.query_string)
        expression = time_expression(call.query_string, call.body)
        user = (call.user or DEFAULT_CREATED_BY)[:USER_CHARACTERS_MAX]
        try:
            check_wire_dialect(expression)
            added = self.engine.add_schedule(call.org_id, expression, created_by_user=user)
        except InvalidCronError as exc:
            raise RequestError(400, exc.message) from exc
        return self._reply(call, added.id, details=details)

    def activate(self, call: Call) -> Reply:
        return self._set_active(call, active=True)

    def deactivate(self, call: Call) -> Reply:
        return self._set_active(call, active=False)

    def delete(self, call: Call) -> Reply:
        self.engine.remove_schedule(call.org_id, call.parameters["jobId"])
        return action_reply(SUCCESS, None)

    def _set_active(self, call: Call, *, active: bool) -> Reply:
        details = details_parameter(call.query_string)
        changed = self.engine.activate_schedule(call.org_id, call.parameters["jobId"], active=active)
        return self._reply(call, changed.id, details=details)

    def _reply(self, call: Call, schedule_id: str, *, details: bool) -> Reply:
        document: OrgSnapshot = self.engine.get_organization(call.org_id)
        schedule = document.schedule(schedule_id)
        return action_reply(SUCCESS, schedule and schedule_to_wire(document, schedule, details=details))
