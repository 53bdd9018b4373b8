"""Routes 7 and 8: definitions and instances of aggregates, as the newest inventory tells of them.

The inventory is what a job found when it last looked; it lies in the job store, so nothing here opens the warehouse. An
organisation without one (no job yet, or a task of the host's own that leaves none) has no aggregates to show.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from ..aggregates.model import DefinitionStatus, InstanceStatus
from ..engine import MaintenanceEngine
from ._parameters import AggregateParameters, aggregate_parameters
from ._paths import Call, Route
from ._replies import Reply, read_reply
from .access import Permission
from .wire_aggregates import definition_to_wire, instance_to_wire, read_objects

AGGREGATES_PATH: Final = "/aggregates/orgId/{orgId}"
DEFINITION_STATUSES: Final = tuple(status.value for status in DefinitionStatus)
INSTANCE_STATUSES: Final = ("pending", *(status.value for status in InstanceStatus))
"""`pending` is published; here it is a definition's word, and no instance has it."""


@frozen
class Aggregates:
    """The read side of aggregates over one engine."""

    engine: MaintenanceEngine

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("GET", AGGREGATES_PATH, Permission.VIEW, self.definitions),
            Route("GET", f"{AGGREGATES_PATH}/instances", Permission.VIEW, self.instances),
        )

    def definitions(self, call: Call) -> Reply:
        asked = aggregate_parameters(call.query_string, DEFINITION_STATUSES)
        content = self._inventory(call)
        instances = {str(each.get("id")): each for each in read_objects(content, "instances")}
        return _page(
            asked,
            read_objects(content, "definitions"),
            lambda each: definition_to_wire(call.org_id, each, instances),
        )

    def instances(self, call: Call) -> Reply:
        asked = aggregate_parameters(call.query_string, INSTANCE_STATUSES)
        return _page(asked, read_objects(self._inventory(call), "instances"), instance_to_wire)

    def _inventory(self, call: Call) -> Mapping[str, Any]:
        inventory = self.engine.get_inventory(call.org_id)
        return {} if inventory is None else inventory.content


def _page(
    asked: AggregateParameters,
    entries: Sequence[Mapping[str, Any]],
    write: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> Reply:
    fitting = [each for each in entries if _fits(asked, each)]
    return read_reply(
        {
            "data": [write(each) for each in fitting[asked.offset : asked.offset + asked.limit]],
            "limit": asked.limit,
            "offset": asked.offset,
            "force_pull": asked.force_pull,
        }
    )


def _fits(asked: AggregateParameters, entry: Mapping[str, Any]) -> bool:
    wanted = {"status": asked.status, "project": asked.project_id, "cube": asked.cube_id}
    return all(value is None or entry.get(key) == value for key, value in wanted.items())
