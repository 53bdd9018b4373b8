"""/openapi.json is complete and true: against the route table, the golden bodies, the metaschema, and schemathesis."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jsonschema

from aggmaint import MaintenanceEngine
from aggmaint.asgi import Metrics, create_app
from aggmaint.asgi._openapi import ERRORS, openapi_document
from aggmaint.asgi._openapi_examples import PUBLISHED
from aggmaint.asgi._operations import Operations
from aggmaint.asgi._paths import Route
from aggmaint.asgi._published import published_routes
from tests.asgi.support import TOKENS, ask, engine_with, run_through, served

GOLDEN = Path(__file__).parent / "golden"
DOCUMENT = openapi_document(with_metrics=True)
ROUTES: list[Route] = [
    *published_routes(cast(Any, None)),
    *Operations(cast(Any, None), cast(Any, object())).routes(),
]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield method.upper(), path, operation


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    whole = {**schema, "components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())


# -- completeness ------------------------------------------------------------------------------------------------------


def test_every_route_is_documented_and_nothing_else() -> None:
    assert {(method, path) for method, path, _ in operations()} == {(each.method, each.path) for each in ROUTES}
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)


def test_every_operation_names_its_path_parameters_and_its_security() -> None:
    routes = {(each.method, each.path): each for each in ROUTES}
    for method, path, operation in operations():
        named = [each["$ref"].rpartition("/")[2] for each in DOCUMENT["paths"][path].get("parameters", [])]
        assert named == [name for name in ("orgId", "jobId") if f"{{{name}}}" in path]
        open_to_all = routes[method, path].permission is None
        assert (operation.get("security") == []) is open_to_all
        assert ("401" in operation["responses"]) is not open_to_all


def test_metrics_are_documented_where_they_are_served() -> None:
    assert "/metrics" in DOCUMENT["paths"] and "/metrics" not in openapi_document()["paths"]


def test_schemas_and_examples_are_valid() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for example in schema.get("examples", []):
            validator({"$ref": f"#/components/schemas/{name}"}).validate(example)
    seen = 0
    for _, _, operation in operations():
        for media in operation["responses"]["200"].get("content", {}).values():
            if "example" in media:
                validator(media["schema"]).validate(media["example"])
                seen += 1
    assert seen == sum(each.permission is not None for each in ROUTES)
    for status in ERRORS:
        (media,) = DOCUMENT["components"]["responses"][f"Error{status}"]["content"].values()
        validator(media["schema"]).validate(media["example"])


def test_the_published_examples_are_the_golden_bodies() -> None:
    golden = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in GOLDEN.iterdir()}
    assert golden == PUBLISHED


def test_it_is_served_everywhere_and_valid_where_it_is_read(engine: MaintenanceEngine) -> None:
    app = create_app(engine, authorize=TOKENS, metrics=Metrics())
    for path in ("/openapi.json", "/api/1.0/openapi.json"):
        answer = ask(app, "GET", path, token=None)
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, "application/json", DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1") and DOCUMENT["servers"] == [{"url": "."}]


# -- schemathesis ------------------------------------------------------------------------------------------------------

EXAMPLES = os.environ.get("AGGMAINT_SCHEMATHESIS_EXAMPLES", "8")
"""Cases for each operation and phase; 300 make a deep run of some minutes."""
CONFIG = """
[generation]
allow-extra-parameters = false   # unknown query names are ignored, as the contract says
"""


def test_schemathesis_finds_nothing_with_all_its_checks(tmp_path: Path) -> None:
    """Valid and invalid values, boundaries, links; through a real socket, in a process of its own."""
    (tmp_path / "schemathesis.toml").write_text(CONFIG, encoding="utf-8")
    with engine_with(inline=True) as engine:
        run_through(engine, "default", 3)
        with served(create_app(engine, authorize=TOKENS, metrics=Metrics())) as port:
            command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"]
            command += ["run", f"http://127.0.0.1:{port}/openapi.json", "--header", "Authorization: Bearer root"]
            command += ["--checks", "all", "--mode", "all", "--max-examples", EXAMPLES, "--seed", "7", "--no-color"]
            environment = os.environ | {
                "SCHEMATHESIS_HOOKS": "tests.asgi.schemathesis_hooks",
                "PYTHONPATH": str(Path(__file__).parents[2]),
            }
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Tested: {len(ROUTES)}" in done.stdout
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in done.stdout, done.stdout
