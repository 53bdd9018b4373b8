"""Prints docs/reference/http.md from the route table and the OpenAPI document: `python -m tests.asgi.http_reference > …`."""

from collections.abc import Iterator
from typing import Any, cast

from aggmaint.asgi._openapi import ERRORS, openapi_document
from aggmaint.asgi._operations import Operations
from aggmaint.asgi._published import published_routes
from aggmaint.asgi.guards import SECURITY_HEADERS

HEAD = """# HTTP

What `aggmaint.asgi.create_app` serves: AtScale's *Aggregate Maintenance* API as published, and routes for operators. For
machines: `GET /openapi.json`. How to serve it: [mount the API](../how-to/mount-the-api.md).

This page is printed from the route table and the OpenAPI document (`python -m tests.asgi.http_reference`).

Every route answers with and without the prefix `/api/1.0`, and `HEAD` where `GET` does. `orgId` is compared exactly:
percent-encode it, a slash too. A query parameter that is known is given at most once; unknown ones are ignored. Bodies are
at most 64 KiB.

## Routes

| route | permission | what |
|---|---|---|"""

ENVELOPE = """
## Answers

Reading routes answer in the engine style, with code **0** under HTTP 200; `run-immediately` and schedules in the action
style:

```json
{"status": {"code": 0, "message": "200 OK"}, "responseCreated": "2022-04-01T14:01:14.372616Z", "response": null}
{"status": {"code": 200, "message": "success"}, "responseCreated": "2022-04-02T14:34:23.585278Z", "response": []}
```

Instants are UTC with six digits. Errors have an object under `response`, always:

```json
{"status": {"code": 404, "message": "Not Found"}, "responseCreated": "2026-03-02T12:00:00.000000Z",
 "response": {"error": "no such organisation, or no right to it", "message": "Not Found"}}
```

| code | when |
|---|---|"""

NOTES = """
404 is one answer for an organisation that does not exist and for one that the caller has no right to. 401 carries
`WWW-Authenticate: Bearer`, 405 `Allow`, 429 `Retry-After`. 409 names the job in progress in `response.jobId`, 404 the
schedule that does not exist in `response.scheduleId`.

`run-immediately` while a job runs is remembered once: `Maintenance already in progress for acme; one more run will follow`.
With no free place it waits: `Maintenance queued for acme`. Both are 200.

Deep pages of history: give `after=`, empty at first; the page then carries `next`, the following `after=`, and `null` at the
end. They cost what the first page costs.

Time expressions are Quartz with six or seven fields: [schedules](schedules.md). Deleting a schedule again answers 200, one
that never existed 404.

Every answer carries these headers, unless it has set them itself:

| header | value |
|---|---|"""


def operations() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Method, path, permission and what the document says, in the order of the table."""
    document = openapi_document(with_metrics=True)
    routes = [*published_routes(cast(Any, None)), *Operations(cast(Any, None), cast(Any, object())).routes()]
    for route in routes:
        permission = "none" if route.permission is None else route.permission.value
        yield route.method, route.path, permission, document["paths"][route.path][route.method.lower()]


def _values(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "boolean":
        return "`true`, `false`"
    if schema["type"] == "integer":
        return (
            f"{schema['minimum']} to {schema['maximum']}"
            if schema["maximum"] < 2**31
            else f"{schema['minimum']} or more"
        )
    return "text"


def page() -> str:
    lines = [HEAD]
    for method, path, permission, operation in operations():
        lines.append(f"| `{method} {path}` | {permission} | {operation['summary']} |")
    lines += ["", "## Parameters", "", "| route | parameter | values | default | what |", "|---|---|---|---|---|"]
    for method, path, _, operation in operations():
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            default = f"`{schema['default']}`".lower() if "default" in schema else ""
            what = parameter["description"]
            lines.append(f"| `{method} {path}` | `{parameter['name']}` | {_values(schema)} | {default} | {what} |")
    lines.append(ENVELOPE)
    lines.append("| 200 | as asked |")
    lines += [
        f"| {status} | {description[0].lower()}{description[1:]} |" for status, (description, _) in ERRORS.items()
    ]
    lines.append(NOTES)
    lines += [f"| `{name}` | `{value}` |" for name, value in SECURITY_HEADERS.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 - this is what it is for
