"""Both clients against a real door through a real socket: every route, typed results, errors, paging."""

import asyncio
import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggmaint import JobStatus, MaintenanceEngine, MaintenanceReport, TaskContext
from aggmaint.asgi import Metrics, create_app
from aggmaint.asgi._operations import Operations
from aggmaint.asgi._published import published_routes
from aggmaint.asgi.wire import parse_instant
from aggmaint.client import (
    AggregateQuery,
    AsyncMaintenanceClient,
    DefinitionPage,
    JobHistory,
    MaintenanceClient,
    RunAnswer,
    RunOutcome,
)
from aggmaint.client._calls import PAGE, segment
from aggmaint.errors import (
    ApiAuthenticationError,
    ApiError,
    ApiProtocolError,
    ApiUnavailableError,
    InvalidCronError,
    InvalidValueError,
    OrganizationNotFoundError,
    ScheduleNotFoundError,
)
from aggmaint.stores.memory import MemoryStore
from aggmaint.testing.clocks import ManualClock
from tests.asgi.support import TOKENS, engine_with, run_through, served
from tests.asgi.test_paths import ODD_IDS
from tests.support.tasks import FunctionTask, GateTask, until

GOLDEN = Path(__file__).parents[1] / "asgi" / "golden"


class Both:
    """Calls a method on the sync or on the async client; asynchronous iterators are gathered."""

    def __init__(self, url: str, token: str | None, *, is_async: bool) -> None:
        self._url, self._token, self._is_async = url, token, is_async

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._is_async:
                with MaintenanceClient(self._url, token=self._token) as client:
                    found = getattr(client, name)(*args, **kwargs)
                    return list(found) if inspect.isgenerator(found) else found
            return asyncio.run(self._call(name, *args, **kwargs))

        return call

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        async with AsyncMaintenanceClient(self._url, token=self._token) as client:
            found = getattr(client, name)(*args, **kwargs)
            if inspect.isasyncgen(found):
                return [each async for each in found]
            return await found


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def engine(clock: ManualClock) -> Iterator[MaintenanceEngine]:
    def leave(context: TaskContext) -> MaintenanceReport:
        definitions = [
            {"id": f"d{n}", "name": f"a{n}", "cube": "sales", "status": "active", "active_instance": "i0"}
            for n in range(PAGE + 3)
        ]
        instances = [{"id": f"i{n}", "status": "active", "cube": "sales", "rows": n} for n in range(PAGE)]
        inventory = {"definitions": definitions, "instances": instances}
        return MaintenanceReport(complete=True, summary="done", inventory=inventory)

    with engine_with(FunctionTask(leave), store=MemoryStore(clock=clock), inline=True) as engine:
        yield engine


@pytest.fixture
def url(engine: MaintenanceEngine) -> Iterator[str]:
    with served(create_app(engine, authorize=TOKENS, metrics=Metrics())) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def client(url: str, is_async: bool) -> Both:
    return Both(url, "root", is_async=is_async)


# -- every route -------------------------------------------------------------------------------------------------------


def test_jobs(client: Both, engine: MaintenanceEngine) -> None:
    assert client.get_current_job("default") is None
    answer = client.run_immediately("default")
    assert answer == RunAnswer(RunOutcome.STARTED, "Maintenance successfully started for default")
    history = client.list_jobs("default", limit=5)
    assert isinstance(history, JobHistory) and (history.limit, history.offset, history.next) == (5, 0, None)
    (job,) = history.jobs
    (kept,) = engine.list_jobs("default").jobs
    assert (job.id, job.status, job.trigger_type) == (kept.id, "done", "ManualMaintenance")
    assert (job.created_at, job.started_at, job.ended_at) == (kept.created_at, kept.started_at, kept.ended_at)
    assert client.list_jobs("default", status=JobStatus.FAILED).jobs == ()
    assert client.list_jobs("default", status="done", trigger_type="ManualMaintenance", offset=1).jobs == ()


def test_a_busy_organisation(is_async: bool) -> None:
    gate = GateTask()
    with engine_with(gate, jobs_max=1) as engine, served(create_app(engine, authorize=TOKENS)) as port:
        client = Both(f"http://127.0.0.1:{port}/api/1.0/", "root", is_async=is_async)
        assert client.run_immediately("default").outcome is RunOutcome.STARTED
        job = client.get_current_job("default")
        assert (job.status, job.ended_at) == ("inprogress", None)
        assert client.run_immediately("default").outcome is RunOutcome.FOLLOWS
        assert client.run_immediately("default", if_busy="join").outcome is RunOutcome.JOINED
        refused = client.run_immediately("default", if_busy="reject")
        assert (refused.outcome, refused.running_job_id) == (RunOutcome.REFUSED, job.id)
        assert client.run_immediately("acme-eu").outcome is RunOutcome.QUEUED
        gate.open()
        until(lambda: client.get_current_job("acme-eu") is None and len(engine.list_jobs("acme-eu").jobs) == 1)


def test_schedules(client: Both, engine: MaintenanceEngine, clock: ManualClock) -> None:
    (default,) = client.list_schedules("default")
    assert (default.time_expression, default.details.active) == ("0 0 4 ? * * *", True)
    assert default.details.next_at == parse_instant("2026-03-03T04:00:00Z")
    made = client.create_schedule("default", "0 30 2 ? * MON-FRI")
    assert (made.time_expression, made.created_by_user) == ("0 30 2 ? * MON-FRI", "root")
    assert not client.deactivate_schedule("default", made.job_id).details.active
    assert [each.job_id for each in client.list_schedules("default", active=False)] == [made.job_id]
    assert client.activate_schedule("default", made.job_id).details.active
    for _ in range(2):
        assert client.delete_schedule("default", made.job_id) is None
    assert [each.job_id for each in client.list_schedules("default", active=True)] == [default.job_id]
    clock.pass_until(default.details.next_at)
    engine.tick()
    (run,) = client.list_schedules("default")
    assert run.latest_execution.id == client.list_jobs("default").jobs[0].id


def test_aggregates(client: Both) -> None:
    assert client.list_definitions("default").definitions == ()
    client.run_immediately("default")
    page = client.list_definitions("default", limit=2, offset=1)
    assert isinstance(page, DefinitionPage) and (page.limit, page.offset) == (2, 1)
    assert [each.id for each in page.definitions] == ["d1", "d2"]
    assert page.definitions[0].active_instance is not None and page.definitions[0].active_instance.id == "i0"
    assert client.list_definitions("default", query=AggregateQuery(cube_id="costs")).definitions == ()
    (instance,) = client.list_instances("default", query=AggregateQuery(status="active"), limit=1).instances
    assert (instance.id, instance.status, instance.stats.rows) == ("i0", "active", 0)


def test_iterators_walk_all_pages(client: Both, engine: MaintenanceEngine) -> None:
    ids = run_through(engine, "default", PAGE + 5)[::-1]
    assert [job.id for job in client.iter_jobs("default")] == ids[:100]  # what history keeps
    assert list(client.iter_jobs("default", status="failed")) == []
    assert [each.id for each in client.iter_definitions("default")] == [f"d{n}" for n in range(PAGE + 3)]
    assert [each.id for each in client.iter_instances("default")] == [f"i{n}" for n in range(PAGE)]


def test_operations(client: Both, engine: MaintenanceEngine) -> None:
    assert client.is_alive() is True
    readiness = client.get_readiness()
    assert readiness.ready and readiness.checks["store"] == "ok"
    assert client.get_openapi()["openapi"].startswith("3.1")
    assert "aggmaint_http_requests_total" in client.get_metrics()


def test_a_server_that_is_not_ready_is_an_answer(is_async: bool) -> None:
    engine = MaintenanceEngine(store=MemoryStore(), task=FunctionTask())
    with served(create_app(engine, authorize=TOKENS)) as port:
        readiness = Both(f"http://127.0.0.1:{port}", None, is_async=is_async).get_readiness()
    assert not readiness.ready and readiness.checks["scheduler"] == "stopped"


def test_every_route_has_its_method() -> None:
    """Each client method is one route or iterates over one; together they are all of them, in both clients alike."""
    routes = {*published_routes(cast(Any, None)), *Operations(cast(Any, None), cast(Any, object())).routes()}

    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(value).parameters)
            for name, value in vars(kind).items()
            if not name.startswith("_") and callable(value) and name not in ("close", "aclose")
        }

    assert methods(MaintenanceClient) == methods(AsyncMaintenanceClient)
    assert len([name for name in methods(MaintenanceClient) if not name.startswith("iter_")]) == len(routes)
    for kind in (MaintenanceClient, AsyncMaintenanceClient):
        assert all(inspect.getdoc(getattr(kind, name)) for name in methods(kind))
    for name in methods(MaintenanceClient):
        asynchronous = getattr(AsyncMaintenanceClient, name)
        assert inspect.iscoroutinefunction(asynchronous) or inspect.isasyncgenfunction(asynchronous)


# -- ids ---------------------------------------------------------------------------------------------------------------


def test_odd_ids_arrive_as_they_are(client: Both, engine: MaintenanceEngine) -> None:
    engine.register_organizations([*ODD_IDS, "."])
    for org_id in [*ODD_IDS, "."]:
        assert client.run_immediately(org_id).message.endswith(f" {org_id}"), org_id
        assert client.get_current_job(org_id) is None


@example(".")
@example("..")
@example("...")
@given(st.text(min_size=1).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_a_segment_is_one_segment(text: str) -> None:
    from aggmaint.asgi._paths import read_path

    written = segment(text)
    assert written.isascii() and "/" not in written and written not in (".", "..")
    assert read_path({"raw_path": f"/a/{written}/b".encode()}).segments == ("a", text, "b")


@pytest.mark.parametrize("org_id", ["", "x" * 256, "a\x00b", "\ud800"])
def test_ids_that_can_not_be_are_refused_before_sending(org_id: str) -> None:
    with pytest.raises(InvalidValueError), MaintenanceClient("http://nobody.invalid") as client:
        client.get_current_job(org_id)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_errors_are_those_of_the_library(client: Both, url: str, is_async: bool, engine: MaintenanceEngine) -> None:
    with pytest.raises(OrganizationNotFoundError, match="no right to it") as unknown:
        client.get_current_job("nobody")
    assert unknown.value.org_id == "nobody"
    with pytest.raises(ScheduleNotFoundError) as schedule:
        client.activate_schedule("default", "none")
    assert (schedule.value.org_id, schedule.value.schedule_id) == ("default", "none")
    with pytest.raises(InvalidValueError, match="six or seven fields") as bad:
        client.create_schedule("default", "0 4 * * *")
    assert not isinstance(bad.value, InvalidCronError)
    with pytest.raises(InvalidValueError, match="limit"):
        client.list_jobs("default", limit=0)
    for token in (None, "wrong"):
        with pytest.raises(ApiAuthenticationError) as unauthorised:
            Both(url, token, is_async=is_async).get_current_job("default")
        assert unauthorised.value.status == 401 and isinstance(unauthorised.value, PermissionError)
    engine.enable("default", enabled=False)
    with pytest.raises(ApiUnavailableError, match="Maintenance is disabled for default") as disabled:
        client.run_immediately("default")
    assert disabled.value.status == 503 and isinstance(disabled.value, ApiError)


def test_another_address_is_not_the_api(url: str, is_async: bool) -> None:
    client = Both(f"{url}/elsewhere", "root", is_async=is_async)
    with pytest.raises(OrganizationNotFoundError, match="no such resource"):
        client.get_current_job("default")
    with pytest.raises(ApiError, match="no such resource"):
        client.is_alive()


def test_nobody_there(is_async: bool) -> None:
    from aggmaint.asgi.serving import bind

    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ApiUnavailableError, match="no answer") as nobody:
        Both(f"http://127.0.0.1:{port}", "root", is_async=is_async).run_immediately("default")
    assert isinstance(nobody.value, ConnectionError) and nobody.value.status is None


# -- bodies of others --------------------------------------------------------------------------------------------------


def test_the_published_bodies_are_read() -> None:
    history = JobHistory.from_json(json.loads((GOLDEN / "history.json").read_text(encoding="utf-8"))["response"])
    assert len(history.jobs) == 4 and history.next is None
    wrapped = DefinitionPage.from_json([{"data": [{"id": "x"}]}])  # the published sample wraps the page in an array
    assert wrapped.definitions[0].id == "x"


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("Maintenance successfully started for x", RunOutcome.STARTED),
        ("Maintenance queued for x", RunOutcome.QUEUED),
        ("Maintenance already in progress for x; one more run will follow", RunOutcome.FOLLOWS),
        ("Maintenance already in progress for x", RunOutcome.JOINED),
        ("Something new", RunOutcome.STARTED),
    ],
)
def test_messages_are_outcomes(message: str, outcome: RunOutcome) -> None:
    assert RunAnswer.from_message(message) == RunAnswer(outcome, message)


def test_protocol_errors_are_value_errors() -> None:
    assert issubclass(ApiProtocolError, ValueError)


def test_the_client_needs_no_server_libraries() -> None:
    heavy = ["starlette", "uvicorn", "duckdb", "sqlglot", "sqlite_utils", "httpx"]
    script = f"import sys, aggmaint.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
