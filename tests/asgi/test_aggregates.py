"""Routes 7 and 8: aggregates from the stored inventory. The main job writes it; the warehouse is never opened here."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine, MaintenanceReport, TaskContext
from aggmaint.asgi import create_app
from aggmaint.asgi.wire_aggregates import instance_to_wire
from aggmaint.config import load_config
from aggmaint.stores.sqlite import SQLiteStore
from tests.asgi.support import AGGREGATES, TOKENS, Answer, T, ask, engine_with
from tests.support.tasks import FunctionTask

HERE = f"{AGGREGATES}/default"
DEFINITION_KEYS = [
    *("id", "name", "type", "subtype", "incremental", "organization_id", "project_id", "project_caption"),
    *("cube_id", "cube_name", "cube_caption", "connection_id", "blocked", "attributes", "latest_instance"),
    *("active_instance", "stats", "most_recent_invalidation_reason"),
]
INSTANCE_KEYS = [
    *("id", "status", "message", "table_name", "table_schema", "batch_id", "connection_id", "definition_id"),
    *("cube_id", "project_id", "invalidation_reason", "stats"),
]

TOML = """
[warehouse]
duckdb = "warehouse.duckdb"
[organizations]
ids = ["default"]
[sources.orders]
file = "orders.csv"
[[aggregate]]
cube = "sales"
name = "by month"
source = "orders"
attributes = ["status"]
measures = [{ name = "orders", function = "count" }]
partition = { expression = "day", by = "month" }
[[aggregate]]
cube = "sales"
name = "by status"
source = "orders"
attributes = ["status"]
measures = [{ name = "orders", function = "count" }]
[[aggregate]]
cube = "costs"
name = "broken"
source = "orders"
attributes = ["no_such_column"]
measures = [{ name = "orders", function = "count" }]
"""


@pytest.fixture(scope="module")
def maintained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    """A door beside a worker: one real run is over, and the warehouse is gone since."""
    place = tmp_path_factory.mktemp("aggregates")
    (place / "orders.csv").write_text("day,status\n2026-01-05,open\n2026-02-06,done\n", encoding="utf-8")
    (place / "aggmaint.toml").write_text(TOML, encoding="utf-8")
    config = load_config(str(place / "aggmaint.toml"))
    worker = MaintenanceEngine(store=config.store(), task=config.task(), scheduler=None, executor=None)
    worker.register_organizations(["default", "acme-eu"])
    worker.run_immediately("default")
    (place / "warehouse.duckdb").unlink()
    store = SQLiteStore(config.store_path)
    reader = MaintenanceEngine(store=store, task=FunctionTask(_never), scheduler=None)
    yield create_app(reader, authorize=TOKENS)
    for engine in (worker, reader):
        engine.close()
        engine._store.close()
    assert not (place / "warehouse.duckdb").exists()


def _never(context: TaskContext) -> MaintenanceReport:
    raise AssertionError("a reading door ran a job")


def page(app: ASGIApp, query: str = "", tail: str = "") -> list[dict[str, Any]]:
    answer = ask(app, "GET", f"{HERE}{tail}{query}")
    assert (answer.status, answer.body["status"]) == (200, {"code": 0, "message": "200 OK"})
    assert list(answer.response) == ["data", "limit", "offset", "force_pull"]
    data: list[dict[str, Any]] = answer.response["data"]
    return data


def names(app: ASGIApp, query: str = "") -> list[str]:
    return [each["name"] for each in page(app, query)]


@pytest.mark.parametrize("prefix", ["", "/api/1.0"])
def test_definitions_have_the_published_shape(maintained: ASGIApp, prefix: str) -> None:
    answer = ask(maintained, "GET", prefix + HERE)
    assert {key: answer.response[key] for key in ("limit", "offset", "force_pull")} == {
        "limit": 10,
        "offset": 0,
        "force_pull": False,
    }
    for definition in answer.response["data"]:
        assert list(definition) == DEFINITION_KEYS
        assert list(definition["stats"]) == [
            "created_at",
            "average_build_duration",
            "query_utilization",
            "most_recent_query",
        ]
    by_month = answer.response["data"][1]
    assert (by_month["name"], by_month["cube_id"], by_month["organization_id"]) == ("by month", "sales", "default")
    assert (by_month["type"], by_month["subtype"]) == ("user_defined", "manual")
    assert (by_month["incremental"], answer.response["data"][2]["incremental"]) == (True, False)
    assert by_month["attributes"] == [
        {"name": "status", "type": "dimension"},
        *([{"name": "month", "type": "dimension"}] if len(by_month["attributes"]) == 3 else []),
        {"name": "orders", "type": "measure"},
    ]
    assert T.fullmatch(by_month["stats"]["created_at"])
    assert isinstance(by_month["stats"]["average_build_duration"], int)
    instance = by_month["active_instance"]
    assert instance == by_month["latest_instance"]
    assert list(instance) == INSTANCE_KEYS
    assert (instance["status"], instance["definition_id"]) == ("active", by_month["id"])
    assert instance["stats"]["number_of_rows"] == 2
    assert T.fullmatch(instance["stats"]["materialization_start_time"])
    assert T.fullmatch(instance["stats"]["materialization_end_time"])


def test_a_definition_that_could_not_be_built_has_no_instance(maintained: ASGIApp) -> None:
    (broken,) = page(maintained, "?cubeId=costs")
    assert (broken["active_instance"], broken["stats"]["created_at"]) == (None, None)


def test_instances_have_the_published_shape(maintained: ASGIApp) -> None:
    instances = page(maintained, tail="/instances")
    assert len(instances) == 2
    for instance in instances:
        assert list(instance) == INSTANCE_KEYS
        assert list(instance["stats"]) == [
            "materialization_start_time",
            "materialization_end_time",
            "build_duration",
            "number_of_rows",
        ]
    in_definitions = [each["active_instance"] for each in page(maintained, "?cubeId=sales")]
    assert sorted(each["id"] for each in in_definitions) == sorted(each["id"] for each in instances)


def test_filters_and_pages(maintained: ASGIApp) -> None:
    everything = ["broken", "by month", "by status"]
    assert names(maintained) == everything
    assert names(maintained, "?cubeId=sales") == everything[1:]
    assert names(maintained, "?cubeId=SALES") == names(maintained, "?projectId=nothing") == []
    assert names(maintained, "?status=active") == everything[1:]
    assert names(maintained, "?status=invalid") == ["broken"]
    assert names(maintained, "?status=active&limit=1&offset=1") == ["by status"]
    assert names(maintained, "?offset=3") == names(maintained, f"?offset={2**63 - 1}") == []
    assert len(page(maintained, "?cubeId=sales&status=active", "/instances")) == 2
    assert page(maintained, "?status=deleted", "/instances") == page(maintained, "?status=pending", "/instances") == []
    echoed = ask(maintained, "GET", f"{HERE}?limit=7&offset=2&force_pull=true").response
    assert (echoed["limit"], echoed["offset"], echoed["force_pull"]) == (7, 2, True)


@pytest.mark.parametrize("tail", ["", "/instances"])
@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "limit=x", "limit=1&limit=1", "offset=-1", "force_pull=x", "status=", "status=done"),
        *("cubeId=a&cubeId=a", "cubeId=%FF", "projectId=%FF", "projectId=a&projectId=b"),
    ],
)
def test_values_that_can_not_be_are_400(maintained: ASGIApp, tail: str, query: str) -> None:
    ask(maintained, "GET", f"{HERE}{tail}?{query}").error(400)


@pytest.mark.parametrize("tail", ["", "/instances"])
def test_an_organisation_without_an_inventory_has_none(maintained: ASGIApp, tail: str) -> None:
    empty = {
        "status": {"code": 0, "message": "200 OK"},
        "response": {"data": [], "limit": 10, "offset": 0, "force_pull": False},
    }
    assert ask(maintained, "GET", f"{AGGREGATES}/acme-eu{tail}").timeless() == empty
    ask(maintained, "GET", f"{AGGREGATES}/nobody{tail}").error(404)
    ask(maintained, "GET", f"{AGGREGATES}/acme-eu{tail}", token="viewer").error(404)


@pytest.mark.parametrize(
    "inventory",
    [
        {"definitions": 5, "instances": None},
        {"definitions": [None, "x", {}], "instances": [[], {}]},
        {"definitions": [{"id": {}, "active_instance": [], "attributes": [5], "created_at": "soon", "partition": 1}]},
        {"instances": [{"id": [], "started_at": 7}], "definitions": [{"latest_instance": {}}]},
    ],
)
def test_a_tasks_own_inventory_never_breaks_a_page(inventory: dict[str, Any]) -> None:
    def leave(context: TaskContext) -> MaintenanceReport:
        return MaintenanceReport(complete=True, summary="own", inventory=inventory)

    with engine_with(FunctionTask(leave), inline=True) as engine:
        engine.run_immediately("default")
        app = create_app(engine, authorize=TOKENS)
        answers: list[Answer] = [ask(app, "GET", HERE + tail) for tail in ("", "/instances", "?status=active&cubeId=x")]
    assert [answer.status for answer in answers] == [200] * 3


def test_instants_have_six_digits_however_the_inventory_has_them() -> None:
    stats = instance_to_wire({"started_at": "2026-03-02T12:00:00Z", "built_at": "2026-03-02T14:00:00.5+01:00"})["stats"]
    assert stats["materialization_start_time"] == "2026-03-02T12:00:00.000000Z"
    assert stats["materialization_end_time"] == "2026-03-02T13:00:00.500000Z"
