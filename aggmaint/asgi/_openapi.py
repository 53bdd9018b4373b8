"""The OpenAPI 3.1 document of the whole door. A test holds it to the route table; schemathesis holds the door to it.

Paths are written without a prefix; `servers` is relative to where the document was read, so it is right under every mount
and prefix. What is optional in the query is optional here, and unknown names are ignored, as the contract says.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from .. import __version__
from ..core.job import JobStatus
from ..core.outcomes import IfBusy
from ..store import PAGE_LIMIT_MAX
from ._aggregates import AGGREGATES_PATH, DEFINITION_STATUSES, INSTANCE_STATUSES
from ._jobs import JOBS_PATH
from ._openapi_examples import DEFINITION, INSTANCE, PUBLISHED, error_body, page_of
from ._openapi_schemas import BOOLEAN, EXPRESSION, SCHEMAS, Schema, ref
from ._parameters import LIMIT_DEFAULT, OFFSET_MAX
from ._replies import HIDDEN
from ._schedules import SCHEDULE_PATH, SCHEDULES_PATH

JSON: Final = "application/json"

ERRORS: Final[Mapping[int, tuple[str, dict[str, Any]]]] = {
    400: (
        "A parameter, the path or the body is not allowed",
        error_body(400, "Bad Request", "limit='abc' is not allowed"),
    ),
    401: ("No token, or an invalid or expired one", error_body(401, "Unauthorized", "missing bearer token")),
    403: ("A browser was made to send this by another site", error_body(403, "Forbidden", "made by another site")),
    404: ("No such organisation, or no right to it; no such schedule", error_body(404, "Not Found", HIDDEN)),
    405: (
        "The path has no such method; see Allow",
        error_body(405, "Method Not Allowed", "PATCH is not possible here"),
    ),
    409: (
        "A job is in progress, and ifBusy=reject was asked",
        error_body(409, "Maintenance already in progress for default", "a job is in progress", jobId="87bcb6ee"),
    ),
    413: ("The body is longer than 64 KiB", error_body(413, "Content Too Large", "the request's body is longer")),
    429: ("Too many requests; see Retry-After", error_body(429, "Too Many Requests", "ask again in 1 s")),
    500: ("An error inside the server", error_body(500, "Internal Server Error", "an error inside the server")),
    503: (
        "The store can not be used; or maintenance is disabled or switched off",
        error_body(503, "Design Center APIs are not enabled", "the host has switched this operation off"),
    ),
}


def openapi_document(*, with_metrics: bool = False) -> dict[str, Any]:
    """The document, made anew each time: the caller may change it."""
    paths = {**_jobs(), **_schedules(), **_aggregates(), **_operations(with_metrics=with_metrics)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Aggregate Maintenance",
            "version": __version__,
            "description": "Maintenance jobs, their schedules, and the aggregates that they keep, per organisation.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "."}],
        "security": [{"bearer": []}],
        "paths": {path: _item(path, operations) for path, operations in paths.items()},
        "components": {
            "schemas": SCHEMAS,
            "responses": {f"Error{status}": _error(status) for status in ERRORS},
            "parameters": {"orgId": _ORG, "jobId": _SCHEDULE_ID},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


# -- paths -------------------------------------------------------------------------------------------------------------


def _jobs() -> dict[str, Any]:
    run = _operation(
        "runImmediately",
        "Start a job now",
        ref("Started"),
        PUBLISHED["run_immediately"],
        query=[_enum("ifBusy", [choice.value for choice in IfBusy], "What to do while a job runs; by default fold")],
        errors=(403, 409),
    )
    current = _operation("getCurrentJob", "The job in progress, or null", ref("CurrentJob"), PUBLISHED["current_job"])
    history = _operation(
        "listJobs",
        "Jobs, newest first",
        ref("History"),
        PUBLISHED["history"],
        query=[
            *_PAGE,
            _enum("status", [status.value for status in JobStatus], "Only these"),
            _parameter("triggerType", {"type": "string", "minLength": 1}, "Only these, compared exactly"),
            _parameter(
                "after",
                {"type": "string", "format": "cursor"},
                "A cursor: empty at first, then the `next` of the page before. Excludes offset",
            ),
        ],
    )
    return {
        JOBS_PATH: {"get": current},
        f"{JOBS_PATH}/run-immediately": {"post": run},
        f"{JOBS_PATH}/history": {"get": history},
    }


def _schedules() -> dict[str, Any]:
    one = {**PUBLISHED["schedules"], "response": PUBLISHED["schedules"]["response"][0]}
    listed = _operation(
        "listSchedules",
        "Schedules",
        ref("ScheduleList"),
        PUBLISHED["schedules"],
        query=[_parameter("active", BOOLEAN, "Only active ones, or only others; absent: all"), _DETAILS],
    )
    create = _operation(
        "createSchedule",
        "Create a schedule",
        ref("OneSchedule"),
        one,
        query=[_parameter("time_expression", EXPRESSION, "Quartz, six or seven fields; here or in the body"), _DETAILS],
        errors=(403,),
    )
    made = {"orgId": "$request.path.orgId", "jobId": "$response.body#/response/job_id"}
    followers = ("activateSchedule", "deactivateSchedule", "deleteSchedule")
    create["responses"]["200"]["links"] = {name: {"operationId": name, "parameters": made} for name in followers}
    create["requestBody"] = {"required": False, "content": {JSON: {"schema": ref("NewSchedule")}}}
    change = partial(_operation, schema=ref("OneSchedule"), example=one, query=[_DETAILS], errors=(403,))
    delete = _operation(
        "deleteSchedule", "Delete; idempotent", ref("Started"), {**one, "response": None}, errors=(403,)
    )
    return {
        SCHEDULES_PATH: {"get": listed, "post": create},
        SCHEDULE_PATH: {"delete": delete},
        f"{SCHEDULE_PATH}/activate": {"put": change("activateSchedule", "Activate; idempotent")},
        f"{SCHEDULE_PATH}/deactivate": {"put": change("deactivateSchedule", "Deactivate; idempotent")},
    }


def _aggregates() -> dict[str, Any]:
    def query(statuses: Sequence[str]) -> list[Schema]:
        named = [_parameter(name, {"type": "string"}, "Only these") for name in ("projectId", "cubeId")]
        return [*_PAGE, _enum("status", list(statuses), "Only these"), *named]

    definitions = _operation(
        "listDefinitions",
        "Aggregate definitions",
        ref("Definitions"),
        page_of(DEFINITION),
        query=query(DEFINITION_STATUSES),
    )
    instances = _operation(
        "listInstances", "Aggregate instances", ref("Instances"), page_of(INSTANCE), query=query(INSTANCE_STATUSES)
    )
    return {AGGREGATES_PATH: {"get": definitions}, f"{AGGREGATES_PATH}/instances": {"get": instances}}


def _operations(*, with_metrics: bool) -> dict[str, Any]:
    def probe(name: str, summary: str, schema: Schema, media_type: str = JSON) -> Schema:
        return {
            "operationId": name,
            "summary": summary,
            "security": [],
            "responses": {
                "200": {"description": "As asked", "content": {media_type: {"schema": schema}}},
                "503": {"$ref": "#/components/responses/Error503"},
            },
        }

    paths = {
        "/openapi.json": {"get": probe("getOpenapi", "This document", {"type": "object"})},
        "/healthz": {"get": probe("getHealth", "Whether the process answers", ref("Alive"))},
        "/readyz": {"get": probe("getReadiness", "Whether store, schema and scheduler are well", ref("Ready"))},
    }
    if with_metrics:
        paths["/metrics"] = {"get": probe("getMetrics", "Prometheus metrics", {"type": "string"}, "text/plain")}
    return paths


# -- parts -------------------------------------------------------------------------------------------------------------


def _item(path: str, operations: dict[str, Schema]) -> Schema:
    """A path item, with the parameters that the path names. HEAD answers wherever GET does."""
    named = [{"$ref": f"#/components/parameters/{name}"} for name in ("orgId", "jobId") if f"{{{name}}}" in path]
    return {**({"parameters": named} if named else {}), **operations}


def _operation(
    name: str, summary: str, schema: Schema, example: Any, *, query: Sequence[Schema] = (), errors: Sequence[int] = ()
) -> Schema:
    usual = (400, 401, 404, 413, 429, 500, 503)
    responses: dict[str, Any] = {
        "200": {"description": "As asked", "content": {JSON: {"schema": schema, "example": example}}},
        **{str(status): {"$ref": f"#/components/responses/Error{status}"} for status in sorted({*usual, *errors})},
    }
    return {"operationId": name, "summary": summary, "parameters": [*query], "responses": responses}


def _error(status: int) -> Schema:
    description, example = ERRORS[status]
    written: Schema = {"description": description, "content": {JSON: {"schema": ref("Error"), "example": example}}}
    if status == 401:
        written["headers"] = {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}}
    if status == 429:
        written["headers"] = {"Retry-After": {"required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}}
    return written


def _parameter(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _enum(name: str, values: Sequence[str], description: str) -> Schema:
    return _parameter(name, {"type": "string", "enum": list(values)}, description)


_ORG: Final[Schema] = {
    "name": "orgId",
    "in": "path",
    "required": True,
    "description": "Opaque: compared exactly. Percent-encode it, a slash too.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^\\u0000]+$"},
    "example": "default",
}
_SCHEDULE_ID: Final[Schema] = {
    "name": "jobId",
    "in": "path",
    "required": True,
    "description": "A schedule's `job_id`.",
    "schema": {"type": "string", "minLength": 1},
}
_DETAILS: Final = _parameter("details", BOOLEAN, "Also whether it is active, and when it starts next")
_PAGE: Final = (
    _parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT_MAX, "default": LIMIT_DEFAULT}, "How many"
    ),
    _parameter("offset", {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX, "default": 0}, "How many to skip"),
    _parameter("force_pull", {**BOOLEAN, "default": False}, "Echoed"),
)
