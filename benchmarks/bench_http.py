"""The HTTP door against the same handlers in bare Starlette, and deep pages of a long history.

Paired: blocks of requests in turn, medians of the blocks. Targets: at least 0.8 × bare Starlette's requests/s, its p99 under
load within 1.5 ×, and with 1 million jobs page 10,000 of `after=` at most 1.5 × page 1.

    python benchmarks/bench_http.py [blocks] [requests in a block] [jobs] [--sockets]

Without --sockets the apps are called in this process, which shows the door's own cost undiluted; with it each has a uvicorn
process, and the requests come from 16 connections.
"""

import asyncio
import hashlib
import hmac
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from aggmaint import MaintenanceEngine, MaintenanceReport, TaskContext
from aggmaint.asgi import StaticTokens, Token, create_app, hash_token, job_to_wire
from aggmaint.asgi._parameters import encode_cursor
from aggmaint.asgi.serving import bind
from aggmaint.asgi.wire import format_instant
from aggmaint.stores.sqlite import SQLiteStore

JOBS = "/aggregates/maintenance/orgId"
PATHS = {"GET current": f"{JOBS}/acme", "GET history": f"{JOBS}/acme/history?limit=10"}
TOKEN = "t" * 43
CONNECTIONS = 16


class NoOp:
    def run(self, context: TaskContext) -> MaintenanceReport:  # noqa: ARG002 - the port gives it
        return MaintenanceReport(complete=True)


def open_engine(path: Path) -> MaintenanceEngine:
    engine = MaintenanceEngine(store=SQLiteStore(path), task=NoOp(), scheduler=None, executor=None)
    engine.register_organizations(["acme", "long"])
    return engine


def ours(engine: MaintenanceEngine) -> Any:
    tokens = [Token("bench", hash_token(TOKEN), view=frozenset({"*"}))]
    return create_app(engine, authorize=StaticTokens(tokens))


def bare(engine: MaintenanceEngine) -> Any:
    """What one would write by hand: token, organisation, parameters, envelope; Starlette's routes and responses."""
    digest = hashlib.sha256(TOKEN.encode()).digest()

    def admit(request: Request) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(hashlib.sha256(token.encode()).digest(), digest)

    def envelope(response: Any) -> JSONResponse:
        status = {"code": 0, "message": "200 OK"}
        return JSONResponse(
            {"status": status, "responseCreated": format_instant(datetime.now(UTC)), "response": response},
            headers={"Cache-Control": "no-store"},
        )

    async def current(request: Request) -> JSONResponse:
        if not admit(request):
            return JSONResponse({}, 401)
        job = await run_in_threadpool(engine.get_current_job, request.path_params["org_id"])
        return envelope(None if job is None else job_to_wire(job))

    async def history(request: Request) -> JSONResponse:
        if not admit(request):
            return JSONResponse({}, 401)
        limit, offset = int(request.query_params.get("limit", 10)), int(request.query_params.get("offset", 0))

        def read() -> list[dict[str, Any]]:
            page = engine.list_jobs(request.path_params["org_id"], limit=limit, offset=offset)
            return [job_to_wire(job) for job in page.jobs]

        data = await run_in_threadpool(read)
        return envelope({"data": data, "limit": limit, "offset": offset, "force_pull": False})

    return Starlette(routes=[Route(f"{JOBS}/{{org_id}}", current), Route(f"{JOBS}/{{org_id}}/history", history)])


APPS: dict[str, Callable[[MaintenanceEngine], Any]] = {"aggmaint": ours, "bare": bare}


# -- in this process ---------------------------------------------------------------------------------------------------


async def call(app: Any, target: str) -> bytes:
    path, _, query = target.partition("?")
    headers = [(b"host", b"x"), (b"authorization", b"Bearer " + TOKEN.encode()), (b"accept", b"*/*")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 200, sent
    return b"".join(each.get("body", b"") for each in sent[1:])


def in_process(engine: MaintenanceEngine, blocks: int, requests: int) -> None:
    apps = {name: make(engine) for name, make in APPS.items()}

    async def block(app: Any, target: str) -> float:
        began = time.process_time()
        for _ in range(requests):
            await call(app, target)
        return requests / (time.process_time() - began)

    async def measure(target: str) -> dict[str, float]:
        rates: dict[str, list[float]] = {name: [] for name in apps}
        for _ in range(blocks + 1):
            for name, app in apps.items():
                rates[name].append(await block(app, target))
        return {name: statistics.median(each[1:]) for name, each in rates.items()}  # the first block warms up

    for what, target in PATHS.items():
        rates = asyncio.run(measure(target))
        ratio = rates["aggmaint"] / rates["bare"]
        each = " · ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
        print(f"{what}: requests per CPU second: {each} · ratio {ratio:.2f} (target >= 0.8)")


# -- through sockets ---------------------------------------------------------------------------------------------------


def serve(name: str, path: Path, pipe: Any) -> None:
    engine = open_engine(path)
    with bind("127.0.0.1", 0) as listener:
        pipe.send(listener.getsockname()[1])
        config = uvicorn.Config(APPS[name](engine), log_level="critical", lifespan="off", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def servers(path: Path) -> Iterator[dict[str, int]]:
    context = multiprocessing.get_context("spawn")
    processes, ports = [], {}
    for name in APPS:
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(name, path, there), daemon=True)
        process.start()
        processes.append(process)
        ports[name] = here.recv()
    try:
        yield ports
    finally:
        for process in processes:
            process.terminate()
            process.join()


def load(port: int, target: str, requests: int) -> list[float]:
    """Latencies in seconds of one connection's requests, one after the other."""
    connection = HTTPConnection("127.0.0.1", port)
    latencies = []
    for _ in range(requests):
        began = time.perf_counter()
        connection.request("GET", target, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        latencies.append(time.perf_counter() - began)
    connection.close()
    return latencies


def through_sockets(path: Path, blocks: int, requests: int) -> None:
    with servers(path) as ports, ThreadPoolExecutor(CONNECTIONS) as pool:
        for what, target in PATHS.items():
            rates: dict[str, list[float]] = {name: [] for name in ports}
            tails: dict[str, list[float]] = {name: [] for name in ports}
            for _ in range(blocks + 1):
                for name, port in ports.items():
                    began = time.perf_counter()
                    each = requests // CONNECTIONS
                    found = pool.map(partial(load, port, target), [each] * CONNECTIONS)
                    latencies = sorted(latency for one in found for latency in one)
                    rates[name].append(len(latencies) / (time.perf_counter() - began))
                    tails[name].append(latencies[int(len(latencies) * 0.99)])
            rate = {name: statistics.median(each[1:]) for name, each in rates.items()}
            tail = {name: statistics.median(each[1:]) for name, each in tails.items()}
            print(
                f"{what}, {CONNECTIONS} connections: "
                + " · ".join(f"{name} {rate[name]:.0f} requests/s, p99 {tail[name] * 1000:.1f} ms" for name in rate)
                + f" · ratios {rate['aggmaint'] / rate['bare']:.2f} (target >= 0.8), "
                f"{tail['aggmaint'] / tail['bare']:.2f} (target <= 1.5)"
            )


# -- a long history ----------------------------------------------------------------------------------------------------


def fill(engine: MaintenanceEngine, path: Path, jobs: int) -> None:
    """One job by the engine, and the rest as copies of its row, older and older: only reading is measured."""
    import sqlite3

    engine.run_immediately("long")
    connection = sqlite3.connect(path)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(aggmaint_job)")]
    row = dict(
        zip(columns, connection.execute("SELECT * FROM aggmaint_job WHERE org_id = 'long'").fetchone(), strict=True)
    )
    at, gap = row["started_us"], timedelta(hours=1) // timedelta(microseconds=1)

    def copies() -> Iterator[tuple[Any, ...]]:
        for fence in range(2, jobs + 1):
            then = at - (jobs - fence) * gap
            changed = {"id": str(uuid4()), "fence": fence, "created_us": then, "started_us": then, "ended_us": then + 1}
            yield tuple({**row, **changed}[column] for column in columns)

    with connection:
        connection.executemany(f"INSERT INTO aggmaint_job VALUES({','.join('?' * len(columns))})", copies())
        connection.execute(
            "UPDATE aggmaint_organization SET last_fence = ?, revision = revision + 1 WHERE org_id = 'long'", (jobs,)
        )
    connection.close()


def deep_pages(engine: MaintenanceEngine, path: Path, jobs: int, rounds: int = 300) -> None:
    fill(engine, path, jobs)
    app, limit = ours(engine), 100
    deep = (jobs // limit - 1) * limit  # jobs before the last page
    history = f"{JOBS}/long/history?limit={limit}"
    pages = {1: f"{history}&after=", jobs // limit: f"{history}&after={encode_cursor(jobs - deep + 1)}"}

    async def measure() -> dict[int, float]:
        spent: dict[int, list[float]] = {page: [] for page in pages}
        for _ in range(rounds):
            for page, target in pages.items():
                began = time.perf_counter()
                body = await call(app, target)
                spent[page].append(time.perf_counter() - began)
                assert body.count(b'"organizationId"') == limit
        return {page: statistics.median(each) for page, each in spent.items()}

    (first, first_s), (last, last_s) = asyncio.run(measure()).items()
    print(
        f"history of {jobs:,} jobs by cursor, {limit} a page: page {first} {first_s * 1000:.2f} ms · "
        f"page {last:,} {last_s * 1000:.2f} ms · ratio {last_s / first_s:.2f} (target <= 1.5)"
    )


def main(blocks: int, requests: int, jobs: int, directory: Path, *, sockets: bool) -> None:
    path = directory / "jobs.db"
    engine = open_engine(path)
    for _ in range(30):
        engine.run_immediately("acme")
    if sockets:
        through_sockets(path, blocks, requests)
    else:
        in_process(engine, blocks, requests)
        deep_pages(engine, path, jobs)
    engine.close()


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:] if each.isdecimal()]
    blocks, requests, jobs = [*numbers, *(15, 400, 1_000_000)[len(numbers) :]]
    with tempfile.TemporaryDirectory() as place:
        main(blocks, requests, jobs, Path(place), sockets="--sockets" in sys.argv)
