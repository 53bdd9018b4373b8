"""The app runs the engine when it is asked to; a server that is told to stop leaves no job in progress."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aggmaint import FailureCode, JobStatus, MaintenanceEngine
from aggmaint._pulse import Ticking
from aggmaint.asgi import Anonymous, create_app
from aggmaint.core.ids import OrgId
from aggmaint.store import JobQuery
from aggmaint.stores.memory import MemoryStore
from aggmaint.stores.sqlite import SQLiteStore
from tests.asgi.support import ORG, ask_socket, served
from tests.support.tasks import FunctionTask, until

APP = """
import os, pathlib, time
from aggmaint import MaintenanceEngine, MaintenanceReport
from aggmaint.asgi import Anonymous, create_app, serve
from aggmaint.stores.sqlite import SQLiteStore

class Task:
    def run(self, context):
        here = pathlib.Path(os.environ["PLACE"])
        (here / "entered").touch()
        while not (here / "gate").exists():
            if os.environ["KIND"] == "heeding":
                context.check()
            time.sleep(0.002)
        return MaintenanceReport(complete=True, summary="through the gate")

store = SQLiteStore(os.path.join(os.environ["PLACE"], "jobs.db"))
engine = MaintenanceEngine(store=store, task=Task())
engine.register_organizations(["default"])
app = create_app(engine, authorize=Anonymous(), run_engine=True, shutdown_s=float(os.environ["GRACE"]))
"""
OURS = "from app import app, serve; serve(app, port=0, on_listening=lambda url: print(url, flush=True)); print('end')"
PLAIN = """
import uvicorn
from app import app
from aggmaint.asgi.serving import bind
with bind("127.0.0.1", 0) as listener:
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
"""


def job_of(place: Path) -> Any:
    store = SQLiteStore(place / "jobs.db")
    try:
        return store.list_jobs(JobQuery(OrgId("default"))).jobs[0]
    finally:
        store.close()


@contextmanager
def server(place: Path, script: str, kind: str, grace_s: float) -> Iterator[tuple[subprocess.Popen[str], int]]:
    (place / "app.py").write_text(APP, encoding="utf-8")
    environment = {
        "PLACE": str(place),
        "KIND": kind,
        "GRACE": str(grace_s),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline().strip().rpartition(":")[2])
        finally:
            (place / "gate").touch()
            process.terminate()


@pytest.mark.parametrize(("script", "codes"), [(OURS, {0}), (PLAIN, {0, -signal.SIGTERM})], ids=["serve", "uvicorn"])
def test_a_running_job_is_told_to_stop_and_recorded(tmp_path: Path, script: str, codes: set[int]) -> None:
    with server(tmp_path, script, "heeding", 20) as (process, port):
        assert ask_socket(port, "GET", "/readyz").response["checks"]["scheduler"] == "ok"
        ask_socket(port, "POST", f"{ORG}/default/run-immediately")
        until((tmp_path / "entered").exists, "the task's beginning")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode in codes, err
    assert "Traceback" not in err
    job = job_of(tmp_path)
    assert (job.status, job.error.code) == (JobStatus.FAILED, FailureCode.SHUTDOWN)


def test_a_deaf_job_is_ended_after_the_grace(tmp_path: Path) -> None:
    with server(tmp_path, OURS, "deaf", 0.2) as (process, port):
        ask_socket(port, "POST", f"{ORG}/default/run-immediately")
        until((tmp_path / "entered").exists, "the task's beginning")
        process.send_signal(signal.SIGTERM)
        until(lambda: job_of(tmp_path).status is JobStatus.FAILED, "the job's end while its task still runs")
        assert process.poll() is None and not (tmp_path / "gate").exists()
        (tmp_path / "gate").touch()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert job_of(tmp_path).error.code is FailureCode.SHUTDOWN


def test_the_host_keeps_the_engine_unless_it_says_otherwise() -> None:
    engine = MaintenanceEngine(store=MemoryStore(), task=FunctionTask())
    with served(create_app(engine, authorize=Anonymous())):
        assert engine.pulse().ticking is Ticking.STOPPED
    with engine, served(create_app(engine, authorize=Anonymous())):
        pass
    other = MaintenanceEngine(store=MemoryStore(), task=FunctionTask())
    with served(create_app(other, authorize=Anonymous(), run_engine=True)):
        until(lambda: other.pulse().ticking is Ticking.RUNNING, "the engine's start")
    assert other.pulse().ticking is Ticking.STOPPED


def test_an_engine_that_can_not_start_fails_the_start() -> None:
    """The server says so and ends, instead of serving a door that nothing runs behind."""

    class Refusing:
        def start(self, tick: Any) -> None:
            raise RuntimeError("no threads left")

        def wake(self) -> None: ...

        def stop(self, timeout_s: float) -> bool:
            return True

    engine = MaintenanceEngine(store=MemoryStore(), task=FunctionTask(), scheduler=Refusing())
    app = create_app(engine, authorize=Anonymous(), run_engine=True)
    sent: list[str] = []

    async def talk() -> None:
        async def receive() -> dict[str, str]:
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        with pytest.raises(RuntimeError, match="no threads left"):
            await app({"type": "lifespan"}, receive, send)

    asyncio.run(talk())
    assert sent == ["lifespan.startup.failed"]
    engine.close()
