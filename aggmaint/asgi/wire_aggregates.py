"""The wire's aggregate definitions and instances, written from an inventory (spec/http-api.md, section 5).

Projects and cubes have no ids of their own here: their names are what other calls take (`?cubeId=`), so the wire's ids,
names and captions are the same text. `connection_id` is null: an organisation has one warehouse, which has no id. An
inventory is a task's own JSON, perhaps a host's task or an older version, so what is missing becomes null.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidValueError
from .wire import format_instant, parse_instant

Json = Mapping[str, Any]


def read_objects(content: Json, key: str) -> Sequence[Json]:
    """The objects in a list of `content`; nothing if it holds no such list."""
    found = content.get(key)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def definition_to_wire(org_id: str, definition: Json, instances: Mapping[str, Json]) -> dict[str, Any]:
    """`instances` by id: the newest and the active one are written whole."""
    project, cube = definition.get("project"), definition.get("cube")
    return {
        "id": definition.get("id"),
        "name": definition.get("name"),
        "type": definition.get("type", "user_defined"),
        "subtype": definition.get("subtype", "manual"),
        "incremental": definition.get("partition") is not None,
        "organization_id": org_id,
        "project_id": project,
        "project_caption": project,
        "cube_id": cube,
        "cube_name": cube,
        "cube_caption": cube,
        "connection_id": None,
        "blocked": bool(definition.get("blocked", False)),
        "attributes": [
            {"name": each.get("name"), "type": each.get("type")} for each in read_objects(definition, "attributes")
        ],
        "latest_instance": _one(instances, definition.get("latest_instance")),
        "active_instance": _one(instances, definition.get("active_instance")),
        "stats": {
            "created_at": _instant(definition.get("created_at")),
            "average_build_duration": definition.get("average_build_duration_ms"),
            "query_utilization": definition.get("query_utilization"),
            "most_recent_query": _instant(definition.get("most_recent_query")),
        },
        "most_recent_invalidation_reason": definition.get("invalidation_reason"),
    }


def instance_to_wire(instance: Json) -> dict[str, Any]:
    return {
        "id": instance.get("id"),
        "status": instance.get("status"),
        "message": instance.get("message"),
        "table_name": instance.get("table_name"),
        "table_schema": instance.get("table_schema"),
        "batch_id": None,
        "connection_id": None,
        "definition_id": instance.get("definition_id"),
        "cube_id": instance.get("cube"),
        "project_id": instance.get("project"),
        "invalidation_reason": instance.get("reason"),
        "stats": {
            "materialization_start_time": _instant(instance.get("started_at")),
            "materialization_end_time": _instant(instance.get("built_at")),
            "build_duration": instance.get("duration_ms"),
            "number_of_rows": instance.get("rows"),
        },
    }


def _one(instances: Mapping[str, Json], instance_id: Any) -> dict[str, Any] | None:
    found = instances.get(instance_id) if isinstance(instance_id, str) else None
    return None if found is None else instance_to_wire(found)


def _instant(value: Any) -> str | None:
    """With six digits and `Z`, however the inventory has it; null for what is no instant."""
    try:
        at = parse_instant(value)
    except InvalidValueError:
        return None
    return None if at is None else format_instant(at)
