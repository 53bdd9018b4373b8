"""Processes that run engines over one SQLite file until they are killed, and the record that the database itself keeps.

Theory of operation. The oracle is in the database: triggers on `aggmaint_job` write every transition into a table of ours,
in the transaction that makes it, with the number of jobs in progress of the organisation at that moment; and what a task
publishes is written through `context.publish`, with what the job's row says in that very transaction. So whatever is
committed is judged, whoever was killed, and no process has to live to tell.

Leases are short (0.4 s), so that a process that is stopped for longer is rescued, and wakes up as a zombie.
"""

import multiprocessing
import os
import random
import signal
import sqlite3
import threading
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from aggmaint import CubeUpdate, IfBusy, MaintenanceEngine, MaintenanceReport, TaskContext
from aggmaint.core.settings import JobSettings
from aggmaint.errors import AggmaintError
from aggmaint.stores.sqlite import SQLiteStore

ORGS: Final = ["org-0", "org-1", "org-2"]
LEASE_S: Final = 0.4
SETTINGS: Final = JobSettings(
    lease_s=LEASE_S, heartbeat_s=0.1, deadline_s=5.0, backoff_base_s=0.05, backoff_cap_s=0.2, history_jobs_max=50
)
SCHEMA: Final = """
CREATE TABLE told(seq INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT, org TEXT, fence INTEGER, before TEXT, after TEXT,
                  identity TEXT, in_progress INTEGER);
CREATE TABLE published(seq INTEGER PRIMARY KEY AUTOINCREMENT, org TEXT, fence INTEGER, status TEXT, newest INTEGER);
CREATE TRIGGER told_insert AFTER INSERT ON aggmaint_job BEGIN
    INSERT INTO told(job, org, fence, before, after, identity, in_progress) VALUES(
        NEW.id, NEW.org_id, NEW.fence, NULL, NEW.status, NEW.holder || NEW.trigger_type,
        (SELECT count(*) FROM aggmaint_job WHERE org_id = NEW.org_id AND status = 'inprogress'));
END;
CREATE TRIGGER told_update AFTER UPDATE ON aggmaint_job BEGIN
    INSERT INTO told(job, org, fence, before, after, identity, in_progress) VALUES(
        NEW.id, NEW.org_id, NEW.fence, OLD.status, NEW.status, NEW.holder || NEW.trigger_type,
        (SELECT count(*) FROM aggmaint_job WHERE org_id = NEW.org_id AND status = 'inprogress'));
END;
"""


class PublishingTask:
    """Publishes a few times, with short pauses; half of the tasks do not look whether they should stop."""

    def run(self, context: TaskContext) -> MaintenanceReport:
        chance = random.Random(context.job.id)
        deaf = chance.random() < 0.5
        pause = threading.Event()
        for _ in range(chance.randint(1, 6)):
            pause.wait(chance.uniform(0, 0.05))
            if not deaf:
                context.progress("work")
            context.publish(lambda connection: publish(connection, context))
        return MaintenanceReport(complete=chance.random() < 0.8)


def publish(connection: sqlite3.Connection, context: TaskContext) -> None:
    connection.execute(
        "INSERT INTO published(org, fence, status, newest) SELECT ?, ?, status,"
        " (SELECT max(fence) FROM aggmaint_job WHERE org_id = ?) FROM aggmaint_job WHERE id = ?",
        (context.org_id, context.fence.number, context.org_id, context.job.id),
    )


def make_store(path: Path) -> SQLiteStore:
    return SQLiteStore(path, synchronous="NORMAL", patience_s=5.0)


def live(path: Path, seed: int) -> None:
    """A process: asks for jobs and ticks, until it is killed."""
    chance = random.Random(seed)
    store = make_store(path)
    engine = MaintenanceEngine(store=store, task=PublishingTask(), scheduler=None, jobs_max=3, settings=SETTINGS)
    pause = threading.Event()
    while os.getppid() != 1:
        with suppress(AggmaintError):
            act(engine, chance)
        pause.wait(chance.uniform(0, 0.01))


def act(engine: MaintenanceEngine, chance: random.Random) -> None:
    org_id = chance.choice(ORGS)
    verb = chance.choice(("run", "run", "update", "tick", "tick", "cancel"))
    if verb == "run":
        engine.run_immediately(org_id, if_busy=chance.choice(list(IfBusy)))
    elif verb == "update":
        engine.cube_updated(org_id, cube_id="sales", change=CubeUpdate.DYNAMIC_CUBE_UPDATED)
    elif verb == "tick":
        engine.tick()
    elif (job := engine.get_current_job(org_id)) and chance.random() < 0.2:
        engine.cancel(org_id, job.id)


class Torture:
    """Keeps some processes alive over one file, and kills or stops them at random moments."""

    def __init__(self, path: Path, *, processes: int, seed: int) -> None:
        self.path = path
        self.kills = self.stops = 0
        self._chance = random.Random(seed)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.simulation.killing"])
        self._started = 0
        self._stopped: dict[int, float] = {}
        self._processes: list[BaseProcess] = []
        self._wanted = processes
        self._pause = threading.Event()

    def run(self, kills: int) -> None:
        try:
            while self.kills < kills:
                self._fill()
                self._pause.wait(self._chance.uniform(0.02, 0.12))
                self._strike(self._chance.choice(self._processes))
                self._wake()
        finally:
            for process in self._processes:
                self._send(process, signal.SIGKILL)
                process.join(20)

    def _fill(self) -> None:
        while len(self._processes) < self._wanted:
            self._started += 1
            process = self._context.Process(target=live, args=(self.path, self._started), daemon=True)
            process.start()
            self._processes.append(process)

    def _strike(self, process: BaseProcess) -> None:
        assert process.pid is not None
        if self._chance.random() < 0.35 and process.pid not in self._stopped:
            self._send(process, signal.SIGSTOP)
            self._stopped[process.pid] = time.monotonic() + self._chance.uniform(0.5, 3) * LEASE_S
            self.stops += 1
            return
        self._send(process, signal.SIGKILL)
        process.join(20)
        assert process.exitcode == -signal.SIGKILL, f"a process has ended by itself: {process.exitcode}"
        self._stopped.pop(process.pid, None)
        self._processes.remove(process)
        self.kills += 1

    def _wake(self) -> None:
        for process in self._processes:
            if self._stopped.get(process.pid or 0, float("inf")) <= time.monotonic():
                self._send(process, signal.SIGCONT)
                del self._stopped[process.pid or 0]

    def _send(self, process: BaseProcess, number: signal.Signals) -> None:
        assert process.pid is not None
        os.kill(process.pid, number)


def violations(connection: sqlite3.Connection) -> list[str]:
    """What the record in the database says against I1, I3, I4, I5 and I8."""
    found: list[str] = []
    jobs: dict[str, tuple[Any, ...]] = {}
    newest: dict[str, int] = dict.fromkeys(ORGS, 0)
    sql = "SELECT seq, job, org, fence, before, after, identity, in_progress FROM told ORDER BY seq"
    for seq, job, org, fence, before, after, identity, in_progress in connection.execute(sql):
        if in_progress > 1:
            found.append(f"I1: {in_progress} jobs of {org} in progress at {seq}")
        if before is None:
            if fence != newest[org] + 1:
                found.append(f"I3: fence {fence} of {org} follows {newest[org]}")
            newest[org] = fence
            jobs[job] = (org, fence, identity)
        elif before != "inprogress":
            found.append(f"I4: job {fence} of {org} was {before} and became {after}")
        elif jobs.get(job) != (org, fence, identity):
            found.append(f"I5: {jobs.get(job)} became {(org, fence, identity)}")
    last: dict[str, int] = dict.fromkeys(ORGS, 0)
    for seq, org, fence, status, top in connection.execute(
        "SELECT seq, org, fence, status, newest FROM published ORDER BY seq"
    ):
        if status != "inprogress" or top != fence or fence < last[org]:
            found.append(f"I8: publish {seq} of {org}: fence {fence} is {status}, newest {top}, last {last[org]}")
        last[org] = fence
    return found
