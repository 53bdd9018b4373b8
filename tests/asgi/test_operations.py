"""Probes and metrics: what operators ask, answered without naming an organisation and without opening a warehouse."""

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine, TaskContext
from aggmaint._pulse import Pulse, PulseKeeper, Ticking
from aggmaint.asgi import Metrics, create_app
from aggmaint.asgi._operations import SAMPLE, STALLED_S
from aggmaint.errors import MissingExtraError, StoreSchemaError, StoreUnavailableError, TaskFailedError
from aggmaint.stores.memory import MemoryStore
from aggmaint.testing.clocks import NOON, ManualClock
from tests.asgi.support import ORG, TOKENS, ask, engine_with, run_through
from tests.support.tasks import FunctionTask


class SickStore(MemoryStore):
    """Fails with `error` once it is set."""

    error: Exception | None = None

    def list_organizations(self, query: Any) -> Any:
        if self.error:
            raise self.error
        return super().list_organizations(query)


@pytest.fixture
def store() -> SickStore:
    return SickStore(clock=ManualClock())


@pytest.fixture
def engine(store: SickStore) -> Iterator[MaintenanceEngine]:
    with engine_with(store=store, inline=True) as engine:
        yield engine


def readiness(app: ASGIApp, status: int = 200) -> dict[str, Any]:
    answer = ask(app, "GET", "/readyz", token=None)
    assert answer.status == status, answer.content
    response: dict[str, Any] = answer.response if status == 200 else answer.error(status)
    assert response["ready"] is (status == 200)
    checks: dict[str, Any] = response["checks"]
    return checks


# -- probes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/api/1.0"])
def test_a_process_that_answers_is_alive_whatever_the_store_does(app: ASGIApp, store: SickStore, prefix: str) -> None:
    store.error = StoreUnavailableError("no")
    answer = ask(app, "GET", f"{prefix}/healthz", token=None)
    assert answer.timeless() == {"status": {"code": 200, "message": "alive"}, "response": {"alive": True}}
    ask(app, "POST", "/healthz", token=None).error(405)


def test_ready(app: ASGIApp) -> None:
    expected = {"store": "ok", "schema": "ok", "scheduler": "host", "warehouse": {"state": "unknown", "as_of": None}}
    assert readiness(app) == expected
    assert ask(app, "HEAD", "/readyz", token=None).status == 200


@pytest.mark.parametrize(
    ("error", "store_state", "schema"),
    [
        (StoreUnavailableError("SELECT secret"), "unavailable", "unknown"),
        (StoreSchemaError("SELECT secret"), "ok", "wrong"),
    ],
)
def test_not_ready_without_a_store(
    app: ASGIApp, store: SickStore, error: Exception, store_state: str, schema: str
) -> None:
    store.error = error
    checks = readiness(app, 503)
    assert (checks["store"], checks["schema"]) == (store_state, schema)
    assert "SELECT" not in str(ask(app, "GET", "/readyz").content)
    store.error = None
    readiness(app)


def test_not_ready_before_the_start_and_after_the_end() -> None:
    engine = MaintenanceEngine(store=MemoryStore(), task=FunctionTask())
    app = create_app(engine, authorize=TOKENS)
    assert readiness(app, 503)["scheduler"] == "stopped"
    with engine:
        assert readiness(app)["scheduler"] == "ok"
    assert readiness(app, 503)["scheduler"] == "stopped"


def test_a_scheduler_that_does_not_come_back_is_not_ready(
    engine: MaintenanceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(engine, authorize=TOKENS)
    for age_s, status in ((0.0, 200), (STALLED_S, 200), (STALLED_S + 1, 503), (None, 503)):
        monkeypatch.setattr(engine, "pulse", lambda age_s=age_s: Pulse(Ticking.RUNNING, age_s))
        assert readiness(app, status)["scheduler"] == ("ok" if status == 200 else "stalled")


def test_a_pulse_is_the_age_of_the_last_whole_tick() -> None:
    now_s = 100.0
    keeper = PulseKeeper(hosted=False, monotonic=lambda: now_s)
    assert keeper.read() == Pulse(Ticking.STOPPED, None)
    keeper.started()
    now_s += 5
    assert keeper.read() == Pulse(Ticking.RUNNING, 5.0)
    keeper.ticked()
    assert keeper.read() == Pulse(Ticking.RUNNING, 0.0)
    keeper.closed()
    assert keeper.read().ticking is Ticking.STOPPED
    assert PulseKeeper(hosted=True).read() == Pulse(Ticking.HOST, None)


def test_a_tick_that_fails_is_no_beat(
    store: SickStore, engine: MaintenanceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.tick()
    before = engine.pulse().age_s
    monkeypatch.setattr(store, "find_due", _fail)
    with pytest.raises(StoreUnavailableError):
        engine.tick()
    after = engine.pulse().age_s
    assert before is not None and after is not None and after >= before


def _fail(*_: Any) -> Any:
    raise StoreUnavailableError("away")


def test_the_warehouse_is_told_as_the_newest_job_found_it(store: SickStore) -> None:
    causes: list[str | None] = [None, "warehouse_busy", "ledger_lost", "warehouse_unavailable", None]
    clock = store._clock
    assert isinstance(clock, ManualClock)

    def run(context: TaskContext) -> None:
        cause = causes[len(task.contexts) - 1]
        if cause:
            raise TaskFailedError("secret path", cause=cause)

    task = FunctionTask(run)
    seen = []
    with engine_with(task, store=store, inline=True) as engine:
        app = create_app(engine, authorize=TOKENS)
        for org_id in ("default", "acme-eu", "default", "acme-eu", "default"):
            clock.pass_s(60)
            engine.run_immediately(org_id)
            checks = readiness(app)
            assert "secret" not in str(checks)
            seen.append(checks["warehouse"])
    assert [each["state"] for each in seen] == ["ok", "busy", "busy", "unavailable", "ok"]
    assert seen[0]["as_of"] == "2026-03-02T12:01:00.000000Z" and seen[2]["as_of"] == seen[1]["as_of"]
    assert NOON.minute == 0


def test_readiness_costs_the_same_for_any_number_of_organisations(
    store: SickStore, engine: MaintenanceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.register_organizations([f"org-{n}" for n in range(200)])
    asked: list[Any] = []
    listed = store.list_jobs

    def counted(query: Any) -> Any:
        asked.append(query)
        return listed(query)

    monkeypatch.setattr(store, "list_jobs", counted)
    readiness(create_app(engine, authorize=TOKENS))
    assert len(asked) == SAMPLE


# -- metrics -----------------------------------------------------------------------------------------------------------


def lines(metrics: Metrics) -> dict[str, float]:
    content, _ = metrics.render()
    read = (line.rpartition(" ") for line in content.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in read if "_created" not in name}


def test_metrics_are_served_where_they_are_asked_for(engine: MaintenanceEngine) -> None:
    ask(create_app(engine, authorize=TOKENS), "GET", "/metrics", token=None).error(404)
    app = create_app(engine, authorize=TOKENS, metrics=Metrics())
    for path in ("/metrics", "/api/1.0/metrics"):
        answer = ask(app, "GET", path, token=None)
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain; version=")
        assert b"# HELP aggmaint_jobs_running " in answer.content


def test_requests_are_counted_by_route_and_never_by_tenant(engine: MaintenanceEngine) -> None:
    metrics = Metrics()
    app = create_app(engine, authorize=TOKENS, metrics=metrics)
    for org_id in ("default", "acme-eu", *(f"tenant-{n}" for n in range(50))):
        ask(app, "GET", f"{ORG}/{org_id}")
        ask(app, "GET", f"/elsewhere/{org_id}")
        ask(app, f"X{org_id[:3]}", f"{ORG}/{org_id}")
    counted = {name: value for name, value in lines(metrics).items() if name.startswith("aggmaint_http_requests_total")}
    route = "/aggregates/maintenance/orgId/{orgId}"
    assert counted == {
        f'aggmaint_http_requests_total{{method="GET",route="{route}",status="200"}}': 2,
        f'aggmaint_http_requests_total{{method="GET",route="{route}",status="404"}}': 50,
        'aggmaint_http_requests_total{method="GET",route="other",status="404"}': 52,
        'aggmaint_http_requests_total{method="other",route="other",status="405"}': 52,
    }
    content, _ = metrics.render()
    assert b"tenant" not in content and b"acme" not in content


def failing(context: TaskContext) -> None:
    if context.org_id == "acme-eu":
        raise TaskFailedError("no", cause="warehouse_busy")


def test_jobs_are_counted_from_events() -> None:
    metrics = Metrics()
    engine = MaintenanceEngine(
        store=MemoryStore(), task=FunctionTask(failing), scheduler=None, executor=None, listeners=[metrics]
    )
    engine.register_organizations(["default", "acme-eu"])
    run_through(engine, "default", 2)
    run_through(engine, "acme-eu")
    engine.close()
    counted = lines(metrics)
    assert counted['aggmaint_jobs_started_total{trigger="manual"}'] == 3
    assert counted['aggmaint_jobs_finished_total{code="",status="done"}'] == 2
    assert counted['aggmaint_jobs_finished_total{code="error",status="failed"}'] == 1
    assert counted['aggmaint_job_duration_seconds_count{status="done"}'] == 2
    assert counted["aggmaint_jobs_running"] == 0
    assert "acme-eu" not in str(counted)


def test_only_organisations_that_the_host_names_are_a_label() -> None:
    metrics = Metrics(organizations=["acme-eu"])
    engine = MaintenanceEngine(
        store=MemoryStore(), task=FunctionTask(), scheduler=None, executor=None, listeners=[metrics]
    )
    engine.register_organizations(["default", "acme-eu", "third"])
    for org_id in ("default", "acme-eu", "third"):
        run_through(engine, org_id)
    engine.close()
    started = {name: value for name, value in lines(metrics).items() if name.startswith("aggmaint_jobs_started_total")}
    assert started == {
        'aggmaint_jobs_started_total{organization="acme-eu",trigger="manual"}': 1,
        'aggmaint_jobs_started_total{organization="other",trigger="manual"}': 2,
    }


def test_a_rescue_elsewhere_never_makes_fewer_than_none_running(engine: MaintenanceEngine) -> None:
    from aggmaint.core.events import JobFinished, JobStarted

    metrics = Metrics()
    run_through(engine, "default")
    (job,) = engine.list_jobs("default").jobs
    metrics(JobFinished(job.org_id, NOON, job))
    assert lines(metrics)["aggmaint_jobs_running"] == 0
    metrics(JobStarted(job.org_id, NOON, evolve(job)))
    assert lines(metrics)["aggmaint_jobs_running"] == 1


def test_each_metrics_has_a_registry_of_its_own() -> None:
    Metrics(), Metrics()
    registry = CollectorRegistry()
    assert Metrics(registry=registry).registry is registry
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(registry=registry)


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r"aggmaint\[metrics\]"):
        Metrics()
