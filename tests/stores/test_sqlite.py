"""What only the SQLite store promises: its second guard, many threads and processes, and honest errors."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from aggmaint.core.ids import OrgId
from aggmaint.core.organization import Verdict, judge
from aggmaint.core.outcomes import IfBusy
from aggmaint.errors import InvalidValueError, StoreError, StoreSchemaError, StoreUnavailableError, UnknownOutcomeError
from aggmaint.store import Committed, JobQuery
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import FileClock, ManualClock
from tests.support.driving import Driver
from tests.support.operations import Ask, Finish
from tests.support.tasks import until

ROOT = Path(__file__).parent.parent.parent
ASK = Ask(free=True, if_busy=IfBusy.FOLD, options={})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def sqlite_store(path: Path, clock: ManualClock) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path, clock=clock)
    store.prepare()
    yield store
    store.close()


@pytest.fixture
def driver(sqlite_store: SQLiteStore) -> Driver:
    driver = Driver(sqlite_store)
    driver.register("acme", "other")
    return driver


@pytest.fixture
def raw(path: Path, driver: Driver) -> Iterator[sqlite3.Connection]:
    """A foreign hand on the file, after one ended and one running job of `acme`."""
    driver.run_through("acme")
    driver.start("acme")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA foreign_keys=ON")
    yield connection
    connection.close()


# -- the second guard -------------------------------------------------------------------------------------------------

COPY = (
    "INSERT INTO aggmaint_job SELECT org_id, {fence}, generation, {id}, trigger_type, status, created_us, started_us,"
    " ended_us, holder, requests_folded, schedule_id, slot, complete, error FROM aggmaint_job WHERE fence = {of}"
)
GUARDS = [
    ("I1 one in progress", COPY.format(fence=3, id="'j3'", of=2), "UNIQUE"),
    ("I1 no live job is deleted", "DELETE FROM aggmaint_job WHERE fence = 2", "never deleted"),
    ("I4 an end is left", "UPDATE aggmaint_job SET status = 'inprogress', ended_us = NULL WHERE fence = 1", "I4"),
    ("I4 an end is edited", "UPDATE aggmaint_job SET ended_us = ended_us + 1 WHERE fence = 1", "I4"),
    ("I5 id", "UPDATE aggmaint_job SET id = 'x' WHERE fence = 2", "I5"),
    ("I5 org", "UPDATE aggmaint_job SET org_id = 'other' WHERE fence = 2", "I5"),
    ("I5 fence", "UPDATE aggmaint_job SET fence = 9 WHERE fence = 2", "I5"),
    ("I5 trigger", "UPDATE aggmaint_job SET trigger_type = 'x' WHERE fence = 2", "I5"),
    ("I5 slot", "UPDATE aggmaint_job SET slot = 9 WHERE fence = 2", "I5"),
    ("I6 in progress with an end", "UPDATE aggmaint_job SET ended_us = 1 WHERE fence = 2", "CHECK"),
    ("I6 failed without error", "UPDATE aggmaint_job SET status='failed', ended_us=1 WHERE fence = 2", "CHECK"),
    ("I6 done with error", "UPDATE aggmaint_job SET status='done', ended_us=1, error='{}' WHERE fence = 2", "CHECK"),
    ("no other status", "UPDATE aggmaint_job SET status = 'queued' WHERE fence = 2", "CHECK"),
    ("I3 one fence twice", COPY.format(fence=1, id="'j1'", of=1), "UNIQUE"),
    ("one id twice", COPY.format(fence=3, id="id", of=1), "UNIQUE"),
    (
        "I3 fence goes back",
        "UPDATE aggmaint_organization SET revision=revision+1, last_fence=1 WHERE last_fence=2",
        "I3",
    ),
    ("revision goes back", "UPDATE aggmaint_organization SET revision = revision - 1", "I3"),
    ("revision stays", "UPDATE aggmaint_organization SET failure_streak = 1", "I3"),
    ("revision jumps", "UPDATE aggmaint_organization SET revision = revision + 2", "I3"),
    (
        "generation goes back",
        "UPDATE aggmaint_organization SET revision = revision + 1, generation = generation - 1",
        "I3",
    ),
    ("a lease without a job", "UPDATE aggmaint_organization SET revision=revision+1, job_id=NULL", "CHECK"),
    ("a job of nobody", COPY.format(fence=3, id="'j'", of=1).replace("SELECT org_id", "SELECT 'nobody'"), "FOREIGN"),
    ("organisation with history deleted", "DELETE FROM aggmaint_organization WHERE org_id = 'acme'", "FOREIGN"),
    ("text as a number", "UPDATE aggmaint_organization SET revision = revision + 1, last_fence = 'x'", "cannot store"),
]


@pytest.mark.parametrize(("sql", "message"), [g[1:] for g in GUARDS], ids=[g[0] for g in GUARDS])
def test_the_schema_is_a_second_guard(raw: sqlite3.Connection, driver: Driver, sql: str, message: str) -> None:
    before = driver.store.list_jobs(JobQuery(OrgId("acme"))), driver.document("acme")
    with pytest.raises(sqlite3.IntegrityError, match=message):
        raw.execute(sql)
    assert (driver.store.list_jobs(JobQuery(OrgId("acme"))), driver.document("acme")) == before


def test_a_bug_in_the_rules_is_an_error_and_nothing_is_written(driver: Driver) -> None:
    """A change that ends a job which is not in progress: refused whole, the document included."""
    driver.start("acme")
    finish = driver.change("acme", Finish(True, None, True, "{}", None))
    again = driver.change("acme", Finish(True, None, True, "{}", None))
    driver.commit(finish)
    forged = evolve(again, base_revision=3, document=evolve(again.document, revision=4))
    before = driver.document("acme")
    with pytest.raises(StoreError, match="not in progress"):
        driver.commit(forged)
    assert driver.document("acme") == before


def test_look_ups_use_their_indices(path: Path, driver: Driver) -> None:
    """I27: a tick costs look-ups, not a walk over all organisations."""
    statements: list[str] = []
    store = driver.store
    assert isinstance(store, SQLiteStore)
    connection = store._connections.get()
    connection.set_trace_callback(statements.append)
    store.find_due(10)
    store.list_jobs(JobQuery(OrgId("acme"), offset=100_000))
    connection.set_trace_callback(None)
    selects = [s for s in statements if s.lstrip().upper().startswith("SELECT")]
    assert len(selects) >= 5
    for statement in selects:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert not [step for step in plan if step.startswith("SCAN") and "INDEX" not in step], (statement, plan)


# -- threads and processes --------------------------------------------------------------------------------------------


def test_each_thread_has_its_own_connection_and_sees_the_same(driver: Driver, sqlite_store: SQLiteStore) -> None:
    seen: list[object] = []
    threads = [threading.Thread(target=lambda: seen.append(driver.document("acme"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == [driver.document("acme")] * 8


def test_a_fork_uses_its_own_connection_and_leaves_the_parents_alone(driver: Driver, path: Path) -> None:
    assert isinstance(driver.store, SQLiteStore)
    parents = driver.store._connections.get()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # no pytest in here: answer by the pipe
        try:
            Driver(driver.store, "child").do("acme", ASK)
            os.write(write, b"0" if driver.store._connections.get() is parents else b"1")
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"1"
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert driver.document("acme").last_fence == 1
    driver.do("other", ASK)
    assert driver.document("other").last_fence == 1


RACER = """
import sys
from pathlib import Path
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.store import Committed
from aggmaint.testing.clocks import FileClock
from tests.support.driving import Driver
from tests.support.operations import Update
from aggmaint import CubeUpdate

path, clock, name = sys.argv[1:]
driver = Driver(SQLiteStore(path, clock=FileClock(Path(clock))), name)
for line in sys.stdin:
    if line == "decide\\n":
        change = driver.change("acme", Update(True, "c", CubeUpdate.DYNAMIC_CUBE_UPDATED, None))
        print("ready", flush=True)
    else:
        print(type(driver.commit(change)).__name__, flush=True)
"""


def test_two_processes_on_one_revision_exactly_one_is_committed(path: Path, tmp_path: Path) -> None:
    clock = FileClock(tmp_path / "clock")
    clock.set(ManualClock().read())
    store = SQLiteStore(path, clock=clock)
    store.prepare()
    Driver(store, "parent").register("acme")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path), str(tmp_path / "clock"), f"child-{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for n in range(2)
    ]
    try:
        for _ in range(30):
            for word, answers in (("decide", ["ready", "ready"]), ("commit", ["Committed", "Stale"])):
                for child in children:
                    assert child.stdin is not None
                    child.stdin.write(word + "\n")
                    child.stdin.flush()
                assert sorted(child.stdout.readline().strip() for child in children if child.stdout) == answers
    finally:
        for child in children:
            child.communicate(timeout=20)
        store.close()


def test_writers_wait_for_each_other(sqlite_store: SQLiteStore, driver: Driver, path: Path) -> None:
    """BEGIN IMMEDIATE and our own patience: a writer that meets another waits, it does not fail."""
    blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    change = driver.change("acme", ASK)
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(driver.commit(change)))
    thread.start()
    assert driver.document("acme").revision == 1, "readers do not wait"
    assert not results
    blocker.execute("COMMIT")
    thread.join(20)
    assert results == [Committed(2)]
    blocker.close()


def test_a_writer_loses_patience_in_the_end(path: Path, driver: Driver, clock: ManualClock) -> None:
    impatient = SQLiteStore(path, clock=clock, patience_s=0.01)
    change = driver.change("acme", ASK)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked by other writers"):
        impatient.commit([change])
    blocker.execute("ROLLBACK")
    blocker.close()
    assert impatient.commit([change]) == [Committed(2)]
    impatient.close()


# -- what is no store -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [":memory:", "file:x?mode=memory"])
def test_memory_is_refused(path: str) -> None:
    with pytest.raises(InvalidValueError, match="MemoryStore"):
        SQLiteStore(path)


def test_a_wrong_synchronous_is_refused(path: Path) -> None:
    with pytest.raises(InvalidValueError, match="OFF"):
        SQLiteStore(path, synchronous="OFF")


def corrupt(path: Path) -> None:
    path.write_bytes(b"This is no database, but long enough to look at. " * 100)


def damage(path: Path) -> None:
    store = SQLiteStore(path)
    store.prepare()
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (corrupt, "not an SQLite database.*restore it"),
        (damage, "damaged"),
        (Path.mkdir, "can not be opened.*directory"),
    ],
)
def test_a_file_that_is_no_store_is_named_with_a_remedy_and_left_alone(
    path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    store = SQLiteStore(path)
    with pytest.raises(StoreUnavailableError, match=message) as caught:
        store.prepare()
    assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before
    store.close()


def test_a_directory_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="check that its directory exists"):
        SQLiteStore(tmp_path / "no" / "jobs.db").prepare()
    assert not (tmp_path / "no").exists()


def test_an_older_file_is_brought_up_to_date_after_a_copy(path: Path, clock: ManualClock) -> None:
    """A file as the first version left it, with a job in progress: nothing is lost, and the copy is as it was."""
    older = SQLiteStore(path, clock=clock)
    older.prepare()
    driver = Driver(older)
    driver.register("acme")
    driver.start("acme")
    before = driver.document("acme")
    assert before.running is not None
    older.close()
    raw = sqlite3.connect(path)
    for column in ("uses", "last_use"):
        raw.execute(f"ALTER TABLE aggmaint_organization DROP COLUMN {column}")
    (guard,) = raw.execute("SELECT sql FROM sqlite_schema WHERE name = 'aggmaint_organization_monotone'").fetchone()
    raw.execute("DROP TRIGGER aggmaint_organization_monotone")
    raw.execute("UPDATE aggmaint_organization SET run = json_remove(run, '$.uses')")
    raw.execute(guard)
    raw.execute("DELETE FROM _sqlite_migrations WHERE name = 'm002_uses'")
    raw.commit()
    raw.close()

    newer = SQLiteStore(path, clock=clock)
    newer.prepare()
    newer.prepare()
    assert newer.load([OrgId("acme")]).snapshots[OrgId("acme")] == before
    Driver(newer).change("acme", Finish(True, None, True, "{}", None))
    newer.close()
    copies = sorted(each.name for each in path.parent.iterdir() if ".bak-" in each.name)
    assert copies == [f"{path.name}.bak-m001_first"]
    copy = sqlite3.connect(path.parent / copies[0])
    assert copy.execute("SELECT status FROM aggmaint_job").fetchall() == [("inprogress",)]
    assert "uses" not in {row[1] for row in copy.execute("PRAGMA table_info(aggmaint_organization)")}
    copy.close()


def test_a_newer_schema_is_refused_and_left_alone(path: Path, sqlite_store: SQLiteStore, clock: ManualClock) -> None:
    raw = sqlite3.connect(path)
    raw.execute(
        "INSERT INTO _sqlite_migrations(migration_set, name, applied_at) VALUES('aggmaint', 'm099_later', '2030')"
    )
    raw.commit()
    tables = raw.execute("SELECT * FROM sqlite_schema").fetchall()
    newer = SQLiteStore(path, clock=clock)
    with pytest.raises(StoreSchemaError, match=r"newer aggmaint.*m099_later.*pip install -U"):
        newer.prepare()
    assert raw.execute("SELECT * FROM sqlite_schema").fetchall() == tables
    raw.close()
    newer.close()


def test_it_lives_beside_a_hosts_own_tables(path: Path, clock: ManualClock) -> None:
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE customers(id)")
    raw.commit()
    store = SQLiteStore(path, clock=clock)
    store.prepare()
    names = {row[0] for row in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert {name for name in names if not name.startswith(("aggmaint_", "_sqlite_migrations", "sqlite_"))} == {
        "customers"
    }
    raw.close()
    store.close()


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that other users may look into, as pytest's own are not."""
    directory = Path(tempfile.mkdtemp(prefix="aggmaint-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
@pytest.mark.parametrize("exists", [True, False])
def test_a_place_of_another_user_is_read_only(public_directory: Path, exists: bool) -> None:
    """As root nothing is read-only: a child gives up its rights first."""
    path = public_directory / "jobs.db"
    if exists:
        store = SQLiteStore(path)
        store.prepare()
        store.close()
        path.chmod(0o644)
    script = (
        "import os, sys\nimport sqlite_utils.db\nfrom aggmaint.stores.sqlite import SQLiteStore\n"
        "from aggmaint.errors import StoreUnavailableError\n"
        "store = SQLiteStore(sys.argv[1])\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: store.prepare(); store.commit([])\n"
        "except StoreUnavailableError as exc: print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    expected = "is read-only for this user" if exists else "can not be opened; check"
    assert done.returncode == 0 and expected in done.stdout, done


def test_a_full_disk_leaves_nothing_half_done_and_says_so(driver: Driver, sqlite_store: SQLiteStore) -> None:
    driver.start("acme")
    connection = sqlite_store._connections.get()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages}")
    before = driver.document("acme"), sqlite_store.list_jobs(JobQuery(OrgId("acme")))
    report = os.urandom(200_000).hex()
    change = driver.change("acme", Finish(True, None, True, report, None))
    with pytest.raises(StoreUnavailableError, match="full; make room"):
        driver.commit(change)
    assert (driver.document("acme"), sqlite_store.list_jobs(JobQuery(OrgId("acme")))) == before
    connection.execute("PRAGMA max_page_count=1000000")
    assert driver.commit(change) == Committed(3), "room was made: the same change goes through"


class CommitFails:
    """A connection whose COMMIT fails after it was done, or before."""

    def __init__(self, connection: sqlite3.Connection, *, done: bool) -> None:
        self._connection = connection
        self._done = done

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        if sql == "COMMIT":
            if self._done:
                self._connection.execute(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(sql, *values)  # type: ignore[arg-type]


@pytest.mark.parametrize("done", [True, False])
def test_a_failed_commit_is_unknown_only_if_it_may_have_been_kept(
    driver: Driver, sqlite_store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    change = driver.change("acme", ASK)
    fails = CommitFails(sqlite_store._connections.get(), done=done)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_store._connections, "get", lambda: fails)
        with pytest.raises(UnknownOutcomeError if done else StoreError) as caught:
            driver.commit(change)
    assert isinstance(caught.value, UnknownOutcomeError) is done
    assert driver.document("acme").revision == (2 if done else 1)


def test_an_interrupt_while_writing_undoes_it_and_passes(
    driver: Driver, sqlite_store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = driver.change("acme", ASK)
    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("aggmaint.stores.sqlite._insert_job", interrupted)
        with pytest.raises(KeyboardInterrupt):
            driver.commit(change)
    assert driver.document("acme").revision == 1
    assert driver.commit(change) == Committed(2), "the connection is usable again"


def test_a_closed_store_says_so(driver: Driver, sqlite_store: SQLiteStore) -> None:
    sqlite_store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        driver.document("acme")


def test_kill_9_loses_no_acknowledged_commit(path: Path, tmp_path: Path) -> None:
    """I19: a child commits and says so, line by line, until it is killed; every line is there afterwards."""
    script = (
        "import sys\nfrom aggmaint.stores.sqlite import SQLiteStore\nfrom tests.support.driving import Driver\n"
        "store = SQLiteStore(sys.argv[1]); store.prepare(); driver = Driver(store)\n"
        "for n in range(10**6):\n    driver.register(f'org-{n:06}'); print(n, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    until(lambda: child.stdout and int(child.stdout.readline()) >= 50, "50 commits")
    child.kill()
    acknowledged = [50, *(int(line) for line in child.stdout.readlines() if line.endswith("\n"))]
    child.wait(20)
    child.stdout.close()
    store = SQLiteStore(path)
    store.prepare()
    org_ids = [OrgId(f"org-{n:06}") for n in range(max(acknowledged) + 1)]
    assert len(store.load(org_ids).snapshots) == len(org_ids)
    store.close()


def test_many_prepare_one_new_file_at_the_same_time(path: Path) -> None:
    """Each store opens the new file, turns it to WAL and makes the schema; all of them succeed, and it is made once."""
    barrier = threading.Barrier(8)
    failed: list[BaseException] = []

    def prepare() -> None:
        store = SQLiteStore(path)
        barrier.wait(20)
        try:
            store.prepare()
            assert store.load([]).snapshots == {}
        except BaseException as exc:
            failed.append(exc)
        store.close()

    threads = [threading.Thread(target=prepare) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failed
    raw = sqlite3.connect(path)
    names = [name for (name,) in raw.execute("SELECT name FROM _sqlite_migrations ORDER BY name")]
    assert names == ["m001_first", "m002_uses"], "each was applied once"
    raw.close()


def test_two_handles_on_one_revision_exactly_one_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers that share no lock of ours, as two processes: only SQLite's keeps them apart, and the loser waits for it."""
    clock = ManualClock()
    handles = [SQLiteStore(tmp_path / "jobs.db", clock=clock) for _ in range(2)]
    for handle in handles:
        handle.prepare()
    driver = Driver(handles[0])
    driver.register("acme")
    both_judge = threading.Barrier(2)

    def judge_together(*arguments: Any) -> Verdict:
        with contextlib.suppress(threading.BrokenBarrierError):
            both_judge.wait(0.3)  # a second judge comes only if nothing keeps the two apart
        return judge(*arguments)

    changes = [driver.change("acme", ASK) for _ in handles]
    monkeypatch.setattr("aggmaint.stores.sqlite.judge", judge_together)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda handle, change: handle.commit([change])[0], handles, changes))
    assert sorted(type(result).__name__ for result in results) == ["Committed", "Stale"]
    for handle in handles:
        handle.close()
