"""Two server processes over one store, 32 clients, a mix of everything: no 5xx, never two jobs of one organisation at once.

That jobs exclude each other is proved by the task itself, with a file that only one process can make. By default 2,000
requests; AGGMAINT_HTTP_REQUESTS=10000 makes the whole run of the goal.
"""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from aggmaint.core.ids import OrgId
from aggmaint.store import JobQuery
from aggmaint.stores.sqlite import SQLiteStore
from tests.asgi.support import AGGREGATES, ORG, SCHEDULES

REQUESTS: Final = int(os.environ.get("AGGMAINT_HTTP_REQUESTS", "2000"))
CLIENTS: Final = 32
ORGS: Final = ("default", "acme-eu", "a/history", "ü")
SERVER = """
import os, sys, time
from pathlib import Path
from aggmaint import MaintenanceEngine, MaintenanceReport
from aggmaint.asgi import StaticTokens, Token, create_app, hash_token, serve
from aggmaint.stores.sqlite import SQLiteStore

place = Path(sys.argv[1])

class Exclusive:
    def run(self, context):
        mine = place / (context.org_id.replace("/", "_") + ".running")
        try:
            os.close(os.open(mine, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            (place / "violation").write_text(context.org_id)
            raise
        time.sleep(0.003)
        mine.unlink()
        return MaintenanceReport(complete=True, summary="done", inventory={"definitions": [], "instances": []})

engine = MaintenanceEngine(store=SQLiteStore(place / "jobs.db"), task=Exclusive(), jobs_max=2)
engine.register_organizations(["default", "acme-eu", "a/history", "\\u00fc"])
tokens = StaticTokens([
    Token("root", hash_token("root"), manage=frozenset({"*"})),
    Token("viewer", hash_token("viewer"), view=frozenset({"default"})),
])
with engine:
    serve(create_app(engine, authorize=tokens), port=0, log_level="error", on_listening=lambda url: print(url, flush=True))
"""


@contextmanager
def servers(place: Path) -> Iterator[list[int]]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SERVER, str(place)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    try:
        ports = []
        for process in processes:
            assert process.stdout is not None
            ports.append(int(process.stdout.readline().strip().rpartition(":")[2]))
        yield ports
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            _, err = process.communicate(timeout=30)
            assert process.returncode == 0 and "Traceback" not in err, err


@define
class Client:
    """One client with a connection to each process; it remembers the schedules that it made."""

    number: int
    ports: list[int]
    seen: Counter[int] = field(factory=Counter)
    schedules: list[tuple[str, str]] = field(factory=list)
    wrong: list[str] = field(factory=list)

    def run(self, requests: int) -> "Client":
        chance = random.Random(self.number)
        connections = [HTTPConnection("127.0.0.1", port, timeout=60) for port in self.ports]
        for _ in range(requests):
            method, path, token = self._draw(chance)
            connection = chance.choice(connections)
            connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            self._look(method, path, answer.status, answer.read())
        for connection in connections:
            connection.close()
        return self

    def _draw(self, chance: random.Random) -> tuple[str, str, str]:
        org = chance.choice(["default", "acme-eu", "a%2Fhistory", "%C3%BC", "nobody"])
        mine, schedule_id = chance.choice(self.schedules) if self.schedules else (org, "none")
        of_mine = f"{SCHEDULES}/{mine}/jobId/{schedule_id}"
        method, path = chance.choice(
            [
                ("POST", f"{ORG}/{org}/run-immediately"),
                ("POST", f"{ORG}/{org}/run-immediately?ifBusy={chance.choice(['reject', 'join', 'fold', 'x'])}"),
                ("GET", f"{ORG}/{org}"),
                ("GET", f"/api/1.0{ORG}/{org}"),
                ("GET", f"{ORG}/{org}/history?limit={chance.choice([1, 5, 50, 0])}&offset={chance.choice([0, 3])}"),
                ("GET", f"{ORG}/{org}/history?after=&status=inprogress"),
                ("GET", f"{SCHEDULES}/{org}?details=true"),
                ("POST", f"{SCHEDULES}/{org}?time_expression=0+0+{chance.randrange(24)}+?+*+*"),
                ("PUT", f"{of_mine}/{chance.choice(['activate', 'deactivate'])}"),
                ("DELETE", of_mine),
                ("DELETE", of_mine),
                ("GET", f"{AGGREGATES}/{org}"),
                ("GET", f"{AGGREGATES}/{org}/instances?status=active"),
                ("GET", chance.choice(["/readyz", "/nothing", f"{ORG}/%FF"])),
            ]
        )
        return method, path, chance.choice(["root", "root", "root", "viewer", "wrong"])

    def _look(self, method: str, path: str, status: int, content: bytes) -> None:
        self.seen[status] += 1
        body: dict[str, Any] = json.loads(content)
        if status >= 500:
            self.wrong.append(f"{method} {path}: {status} {content!r}")
        if status == 200 and method == "POST" and path.startswith(SCHEDULES):
            org = path.removeprefix(f"{SCHEDULES}/").partition("?")[0]
            self.schedules.append((org, body["response"]["job_id"]))
        if status == 200 and "/history?" in path:
            running = [job for job in body["response"]["data"] if job["status"] == "inprogress"]
            if len(running) > 1:
                self.wrong.append(f"two in progress: {running}")


def test_two_processes_keep_one_job_at_a_time(tmp_path: Path) -> None:
    with servers(tmp_path) as ports, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [Client(number, ports) for number in range(CLIENTS)]
        done = list(pool.map(lambda client: client.run(REQUESTS // CLIENTS), clients))
    assert [problem for client in done for problem in client.wrong] == []
    assert not (tmp_path / "violation").exists()
    seen: Counter[int] = sum((client.seen for client in done), Counter())
    assert sum(seen.values()) == REQUESTS // CLIENTS * CLIENTS
    assert {200, 400, 401, 404} <= set(seen), seen
    store = SQLiteStore(tmp_path / "jobs.db")
    try:
        for org_id in ORGS:
            jobs = store.list_jobs(JobQuery(OrgId(org_id), limit=1000)).jobs
            numbers = [job.fence.number for job in jobs]
            assert numbers == list(range(numbers[0], numbers[-1] - 1, -1)), "fences without holes"
            assert all(job.ended_at is not None for job in jobs)
            spans = [(job.started_at, job.ended_at) for job in reversed(jobs) if job.ended_at]
            assert all(ended <= started for (_, ended), (started, _) in pairwise(spans))
    finally:
        store.close()
