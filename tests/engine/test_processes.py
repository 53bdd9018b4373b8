"""Real processes over one SQLite file: one barrier, kill -9, a zombie that wakes up, and Ctrl-C."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aggmaint import FailureCode, JobStatus, MaintenanceEngine, Queued, Started
from aggmaint.core.ids import OrgId
from aggmaint.core.job import MaintenanceJob
from aggmaint.core.organization import OrgSnapshot
from aggmaint.store import JobQuery
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import FileClock, ManualClock
from tests.support.children import Child, make_barrier
from tests.support.tasks import FunctionTask, until

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 200
ACME = OrgId("acme")


@pytest.fixture
def clock(tmp_path: Path) -> FileClock:
    clock = FileClock(tmp_path / "clock")
    clock.set(ManualClock().read())
    return clock


@pytest.fixture
def make_child(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    made: list[Child] = []

    def make(**parts: object) -> Child:
        made.append(Child(tmp_path, **parts))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for child in made:
        if child.process.is_alive():
            child.signal(signal.SIGCONT)
        child.stop()


def prepared(store: SQLiteStore) -> SQLiteStore:
    engine = MaintenanceEngine(store=store, task=FunctionTask(), scheduler=None, executor=None)
    engine.register_organizations(["acme"])
    return store


def document(store: SQLiteStore) -> OrgSnapshot:
    return store.load([ACME]).snapshots[ACME]


def jobs(store: SQLiteStore, limit: int = 10) -> tuple[MaintenanceJob, ...]:
    return store.list_jobs(JobQuery(ACME, limit)).jobs


def test_I1_two_processes_at_one_barrier_200_times(tmp_path: Path, make_child: Callable[..., Child]) -> None:
    """Exactly one Started; the other is told who runs; never two in progress; then exactly the one follow-up."""
    store = prepared(SQLiteStore(tmp_path / "jobs.db"))
    barrier = make_barrier(2)
    children = [make_child(barrier=barrier) for _ in range(2)]
    for round_ in range(ROUNDS):
        for child in children if round_ % 2 else reversed(children):  # told last tends to win
            child.say("start", "acme", round_, False, True)
        answers = sorted((child.hear() for child in children), key=lambda answer: str(answer[0]), reverse=True)
        (first, started, _), (second, nothing, behind) = answers
        assert (first, second, nothing, behind) == ("Started", "Queued", None, started)
        in_progress = [job for job in jobs(store) if job.status is JobStatus.INPROGRESS]
        assert [job.id for job in in_progress] == [started]
        assert document(store).last_fence == 2 * round_ + 1
        (tmp_path / f"gate-{round_}").touch()
        until(lambda round_=round_: is_quiet(document(store), 2 * round_ + 2), f"round {round_}")  # type: ignore[misc]
        follow_up, job = jobs(store, limit=2)
        assert job.id == started and (job.requests_folded, follow_up.requests_folded) == (1, 1)
        assert follow_up.status is job.status is JobStatus.DONE
    assert not list(tmp_path.glob("two-inside-*"))
    store.close()


def is_quiet(doc: OrgSnapshot, last_fence: int) -> bool:
    return doc.last_fence == last_fence and doc.running is None and doc.pending is None


@pytest.mark.parametrize("way", ["start", "tick"])
def test_kill_9_is_rescued_as_abandoned_after_the_lease(
    tmp_path: Path, make_child: Callable[..., Child], clock: FileClock, way: str
) -> None:
    store = prepared(SQLiteStore(tmp_path / "jobs.db", clock=clock))
    engine = MaintenanceEngine(store=store, task=FunctionTask(), scheduler=None, executor=None)
    child = make_child(clocked=True)
    kind, job_id, _ = child.start("acme")
    assert kind == "Started"
    until(lambda: (tmp_path / "inside").exists())
    child.kill()
    clock.pass_s(59)
    outcome = engine.run_immediately("acme")
    assert isinstance(outcome, Queued) and outcome.behind is not None and outcome.behind.id == job_id
    assert engine.tick().changed == 0, "the lease holds although its worker is dead: nobody can know"
    clock.pass_s(1)
    if way == "start":
        assert isinstance(engine.run_immediately("acme"), Started)
    else:
        assert engine.tick().granted == 1
    newer, older = engine.list_jobs("acme").jobs
    assert older.id == job_id and older.error is not None
    assert older.error.code is FailureCode.ABANDONED and older.holder in older.error.message
    assert newer.status is JobStatus.DONE and newer.requests_folded == (2 if way == "start" else 1)
    engine.close()
    store.close()


def test_I7_a_zombie_that_wakes_up_finds_its_job_taken(
    tmp_path: Path, make_child: Callable[..., Child], clock: FileClock
) -> None:
    """SIGSTOP, rescue, SIGCONT: what the zombie finishes is discarded."""
    store = prepared(SQLiteStore(tmp_path / "jobs.db", clock=clock))
    engine = MaintenanceEngine(store=store, task=FunctionTask(), scheduler=None, executor=None)
    zombie = make_child(clocked=True)
    zombie.start("acme", deaf=True)
    until(lambda: (tmp_path / "inside").exists())
    zombie.signal(signal.SIGSTOP)
    clock.pass_s(60)
    assert isinstance(engine.run_immediately("acme"), Started)
    before = document(store), jobs(store)
    (tmp_path / "gate-0").touch()
    zombie.signal(signal.SIGCONT)
    until(lambda: not (tmp_path / "inside").exists())
    zombie.say("ended_by")
    assert zombie.hear() == ["LeaseLostError"]
    assert (document(store), jobs(store)) == before
    engine.close()
    store.close()


CALLING_THREAD = """
import signal
import sys
from pathlib import Path
from aggmaint import MaintenanceEngine
from aggmaint.stores.sqlite import SQLiteStore
from tests.support.tasks import FileGateTask
directory = Path(sys.argv[1])

class Told(FileGateTask):
    def run(self, context):
        print("inside", flush=True)
        return super().run(context)

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with SIGINT ignored
engine = MaintenanceEngine(
    store=SQLiteStore(directory / "jobs.db"), task=Told(directory / "never"), scheduler=None, executor=None
)
engine.run_immediately("acme")
"""


def test_ctrl_c_in_the_body_leaves_no_job_in_progress(tmp_path: Path) -> None:
    store = prepared(SQLiteStore(tmp_path / "jobs.db"))
    child = subprocess.Popen(
        [sys.executable, "-c", CALLING_THREAD, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert child.stdout is not None and child.stdout.readline() == "inside\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=20)
    assert child.returncode != 0 and "KeyboardInterrupt" in errors
    (job,) = jobs(store)
    assert job.error is not None and job.error.code is FailureCode.SHUTDOWN
    assert document(store).running is None
    store.close()


AT_EXIT = """
import sys
from concurrent.futures import thread
from pathlib import Path
from aggmaint import MaintenanceEngine, MaintenanceReport
from aggmaint.stores.sqlite import SQLiteStore
from tests.support.tasks import until

class Asks:
    def run(self, context):
        if context.fence.number == 1:
            engine.run_immediately("acme")
            until(lambda: thread._shutdown)
        return MaintenanceReport(complete=True)

engine = MaintenanceEngine(store=SQLiteStore(Path(sys.argv[1]) / "jobs.db"), task=Asks(), scheduler=None)
engine.run_immediately("acme")
"""


def test_a_process_that_ends_without_closing_leaves_no_job_in_progress(tmp_path: Path) -> None:
    """At exit the executor takes no more work: the follow-up that was granted then is ended, not left behind."""
    store = prepared(SQLiteStore(tmp_path / "jobs.db"))
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    follow_up, job = jobs(store)
    assert job.status is JobStatus.DONE
    assert follow_up.error is not None and follow_up.error.code is FailureCode.SHUTDOWN
    assert document(store).running is None
    store.close()
