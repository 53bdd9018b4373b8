"""The JSON schemas of every body, for the OpenAPI document. Closed where the contract names the keys exactly."""

from typing import Any, Final

from ..aggregates.model import DefinitionSubtype, DefinitionType, InstanceStatus
from ..core.job import FailureCode, JobStatus
from ..store import PAGE_LIMIT_MAX
from ._openapi_examples import DEFINITION, INSTANCE, JOB_DONE, PUBLISHED

Schema = dict[str, Any]

INSTANT: Final[Schema] = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
    "description": "UTC, with exactly six fractional digits.",
}
TEXT: Final[Schema] = {"type": "string"}
TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
COUNT_OR_NULL: Final[Schema] = {"type": ["integer", "null"], "minimum": 0}
BOOLEAN: Final[Schema] = {"type": "boolean"}
UUID: Final[Schema] = {"type": "string", "format": "uuid"}

EXPRESSION: Final[Schema] = {"type": "string", "format": "quartz-cron", "examples": ["0 0 4 ? * * *"]}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def closed(properties: dict[str, Schema], *, optional: tuple[str, ...] = (), **more: Any) -> Schema:
    """An object with these keys and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, **more}


def envelope(response: Schema, *, code: Schema) -> Schema:
    status = closed({"code": code, "message": TEXT})
    return closed({"status": status, "responseCreated": INSTANT, "response": response})


def reading(response: Schema) -> Schema:
    """The engine style: code 0."""
    return envelope(response, code={"const": 0})


def acting(response: Schema) -> Schema:
    """The action style: code 200."""
    return envelope(response, code={"const": 200})


def page(entry: Schema, **more: Schema) -> Schema:
    properties = {
        "data": array(entry),
        "limit": {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT_MAX},
        "offset": COUNT,
        "force_pull": BOOLEAN,
        **more,
    }
    return closed(properties, optional=tuple(more))


def _values(kind: Any, *more: str) -> Schema:
    return {"type": "string", "enum": [*(member.value for member in kind), *more]}


_STEP_ERROR = closed({"step": TEXT, "definitionId": TEXT_OR_NULL, "instanceId": TEXT_OR_NULL, "message": TEXT})
_ERROR_INFORMATION = closed(
    {"code": _values(FailureCode), "message": TEXT, "cause": TEXT, "errors": array(_STEP_ERROR)},
    optional=("code", "message", "cause", "errors"),
    description="Empty unless the job failed; then at least code and message.",
)
_JOB = closed(
    {
        "id": UUID,
        "organizationId": TEXT,
        "triggerType": {"type": "string", "description": "`Name` or `Name(Argument)`."},
        "creationTime": INSTANT,
        "startTime": INSTANT,
        "endTime": or_null(INSTANT),
        "status": _values(JobStatus),
        "errorInformation": _ERROR_INFORMATION,
    },
    examples=[JOB_DONE],
)
_SCHEDULE = closed(
    {
        "job_id": UUID,
        "organization_Id": TEXT,
        "full_build": BOOLEAN,
        "time_expression": {"type": "string", "description": "As it was given: Quartz, six or seven fields."},
        "created_by_user": TEXT,
        "created_at": INSTANT,
        "latest_execution": or_null(closed({"id": UUID, "jobId": UUID, "executedAt": INSTANT})),
        "path": {"const": "time-based"},
        "active": BOOLEAN,
        "next_execution": or_null(INSTANT),
    },
    optional=("active", "next_execution"),
    description="`active` and `next_execution` are there with `details=true` only.",
    examples=PUBLISHED["schedules"]["response"],
)
_INSTANCE = closed(
    {
        "id": TEXT_OR_NULL,
        "status": {"anyOf": [_values(InstanceStatus), {"type": ["string", "null"]}]},
        **dict.fromkeys(("message", "table_name", "table_schema", "batch_id", "connection_id"), TEXT_OR_NULL),
        **dict.fromkeys(("definition_id", "cube_id", "project_id", "invalidation_reason"), TEXT_OR_NULL),
        "stats": closed(
            {
                "materialization_start_time": or_null(INSTANT),
                "materialization_end_time": or_null(INSTANT),
                "build_duration": {**COUNT_OR_NULL, "description": "Milliseconds."},
                "number_of_rows": COUNT_OR_NULL,
            }
        ),
    },
    examples=[INSTANCE],
)
_DEFINITION = closed(
    {
        "id": TEXT_OR_NULL,
        "name": TEXT_OR_NULL,
        "type": _values(DefinitionType),
        "subtype": _values(DefinitionSubtype),
        "incremental": BOOLEAN,
        "organization_id": TEXT,
        **dict.fromkeys(("project_id", "project_caption", "cube_id", "cube_name", "cube_caption"), TEXT_OR_NULL),
        "connection_id": TEXT_OR_NULL,
        "blocked": BOOLEAN,
        "attributes": array(closed({"name": TEXT_OR_NULL, "type": TEXT_OR_NULL})),
        "latest_instance": or_null(ref("Instance")),
        "active_instance": or_null(ref("Instance")),
        "stats": closed(
            {
                "created_at": or_null(INSTANT),
                "average_build_duration": {**COUNT_OR_NULL, "description": "Milliseconds."},
                "query_utilization": COUNT_OR_NULL,
                "most_recent_query": or_null(INSTANT),
            }
        ),
        "most_recent_invalidation_reason": TEXT_OR_NULL,
    },
    examples=[DEFINITION],
)
_ERROR = envelope(
    {
        "type": "object",
        "properties": {
            "error": {"type": "string", "description": "What is wrong with this request, and the remedy."},
            "message": {"type": "string", "description": "The same as status.message."},
            "jobId": {"type": "string", "description": "409: the job in progress."},
            "scheduleId": {"type": "string", "description": "404: the schedule that does not exist."},
        },
        "required": ["error", "message"],
    },
    code={"type": "integer", "minimum": 400, "maximum": 599},
)
_READY = closed(
    {
        "ready": BOOLEAN,
        "checks": closed(
            {
                "store": {"enum": ["ok", "unavailable"]},
                "schema": {"enum": ["ok", "wrong", "unknown"]},
                "scheduler": {"enum": ["ok", "host", "stopped", "stalled"]},
                "warehouse": closed({"state": TEXT, "as_of": or_null(INSTANT)}),
            }
        ),
    }
)

SCHEMAS: Final[dict[str, Schema]] = {
    "Job": _JOB,
    "Schedule": _SCHEDULE,
    "Definition": _DEFINITION,
    "Instance": _INSTANCE,
    "Error": _ERROR,
    "NewSchedule": {
        "type": "object",
        "properties": {"time_expression": EXPRESSION},
    },
    "Started": acting({"type": "null"}),
    "CurrentJob": reading(or_null(ref("Job"))),
    "History": reading(page(ref("Job"), next=TEXT_OR_NULL)),
    "ScheduleList": acting(array(ref("Schedule"))),
    "OneSchedule": acting(or_null(ref("Schedule"))),
    "Definitions": reading(page(ref("Definition"))),
    "Instances": reading(page(ref("Instance"))),
    "Alive": acting(closed({"alive": {"const": True}})),
    "Ready": acting(_READY),
}
