"""Child processes that run an engine over one SQLite file and do what their parent says, word by word.

Nothing sleeps to wait: the parent steps the clock file, opens gates by making files, and polls what it waits for.
"""

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from aggmaint import MaintenanceEngine, MaintenanceReport, Queued, Started, TaskContext
from aggmaint.errors import StopWorkError
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import FileClock
from tests.support.tasks import PATIENCE_S, until

_SPAWN = multiprocessing.get_context("spawn")


class WitnessTask:
    """Waits for the gate of the round; leaves witnesses: who is inside, and whether two ever were."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.round = 0
        self.deaf = False
        self.ended_by: list[str] = []

    def run(self, context: TaskContext) -> MaintenanceReport:
        inside = self.directory / "inside"
        try:
            inside.touch(exist_ok=False)
        except FileExistsError:
            (self.directory / f"two-inside-{context.job.id}").touch()
        try:
            self._wait(context)
            context.confirm()
        except StopWorkError as exc:
            self.ended_by.append(type(exc).__name__)
            raise
        finally:
            inside.unlink(missing_ok=True)
        return MaintenanceReport(complete=True, summary=str(os.getpid()))

    def _wait(self, context: TaskContext) -> None:
        gate = self.directory / f"gate-{self.round}"

        def opened() -> bool:
            if not self.deaf:
                context.check()
            return gate.exists()

        until(opened, str(gate))


def _serve(connection: Connection, barrier: Barrier | None, directory: Path, clocked: bool) -> None:
    task = WitnessTask(directory)  # more places than jobs: an engine that is just ending one still offers a place
    store = SQLiteStore(directory / "jobs.db", clock=FileClock(directory / "clock") if clocked else None)
    engine = MaintenanceEngine(store=store, task=task, scheduler=None, executor=ThreadPoolExecutor(4), jobs_max=4)
    while True:
        word, *values = connection.recv()
        if word == "start":
            org_id, task.round, task.deaf, together = values
            if together and barrier:
                barrier.wait(PATIENCE_S)
            outcome = engine.run_immediately(org_id)
            started = outcome.job.id if isinstance(outcome, Started) else None
            behind = outcome.behind.id if isinstance(outcome, Queued) and outcome.behind else None
            connection.send((type(outcome).__name__, started, behind))
        elif word == "ended_by":
            connection.send(task.ended_by)
        else:
            engine.close(timeout_s=1)
            store.close()
            return


class Child:
    """A child process with an engine in it."""

    def __init__(self, directory: Path, barrier: Barrier | None = None, *, clocked: bool = False) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        arguments = (theirs, barrier, directory, clocked)
        self.process = _SPAWN.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def say(self, *words: Any) -> None:
        self._connection.send(words)

    def hear(self) -> Any:
        assert self._connection.poll(PATIENCE_S), "the child does not answer"
        return self._connection.recv()

    def start(self, org_id: str, round_: int = 0, *, deaf: bool = False) -> Any:
        self.say("start", org_id, round_, deaf, False)
        return self.hear()

    def signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.join(PATIENCE_S)

    def stop(self) -> None:
        if self.process.is_alive():
            self.say("stop")
            self.process.join(PATIENCE_S)
        assert not self.process.is_alive()
        self._connection.close()


def make_barrier(parties: int) -> Barrier:
    return _SPAWN.Barrier(parties)
