"""A world to break: a DuckDB file with base tables, a job store, an engine over both, and what must be true of them.

Theory of operation. Everything happens in one thread. Statements of ours pass a tap, so that a test can let the base change,
another job run, or the process die between any two of them. A dead process is an exception that nothing catches; what it
leaves are the job store and a copy of the database file with its log, as a kill leaves them, and a new process opens them.
Time stands still until a test moves it; each statement takes a little of it.

Truth is the list of all states that the base was in. A view must at every moment show one of them, whole, and never an older
one than was seen before; after a complete run with nothing changed since, it shows the last one.
"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
from attrs import evolve, frozen

from aggmaint.aggregates.model import AggregateDefinition
from aggmaint.aggregates.naming import LEDGER_TABLES, schema_name
from aggmaint.aggregates.policy import Policy
from aggmaint.core.job import JobStatus, MaintenanceJob
from aggmaint.engine import JobDetails, MaintenanceEngine
from aggmaint.errors import StoreUnavailableError
from aggmaint.maintenance import AggregateMaintenance
from aggmaint.stores.memory import MemoryStore, _Org
from aggmaint.task import ContextWrapper, MaintenanceReport, TaskContext
from aggmaint.testing.clocks import ManualClock
from aggmaint.warehouses.duckdb import DuckDBOptions, DuckDBWarehouse

from .model import KINDS, ORG, Kind, Sale, State, shown, spelled
from .tap import CrashError, Tap, nothing

WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|CREATE|DROP|COMMENT|ALTER|COPY|MERGE|TRUNCATE)\b", re.IGNORECASE)
COLUMNS = "id INTEGER, day DATE, sold_at TIMESTAMP, shop VARCHAR, amount DECIMAL(12, 2), qty INTEGER, weight DOUBLE"
STATEMENT_S = 0.01
"""How long a statement takes in this world."""


class Mortal(MemoryStore):
    """A job store that outlives the process; a dead process can not write to it. It can be copied, and put back."""

    dead = False

    def copy(self) -> Any:
        return {org_id: (org.document, dict(org.jobs)) for org_id, org in self._orgs.items()}

    def put_back(self, copy: Any) -> None:
        for org_id, (document, jobs) in copy.items():
            self._orgs[org_id] = _Org(document, dict(jobs))

    def load(self, org_ids: Any) -> Any:
        self._require_life()
        return super().load(org_ids)

    def commit(self, changes: Any) -> Any:
        self._require_life()
        return super().commit(changes)

    def _require_life(self) -> None:
        if self.dead:
            raise CrashError


class Deaf(ContextWrapper):
    """A worker that slept through the loss of its job: it asks nobody before it publishes. Only the guard can stop it."""

    def progress(self, step: str, *, done: int = 0, total: int | None = None, detail: str = "") -> None:
        return

    def check(self) -> None:
        return

    def confirm(self) -> None:
        return


@frozen
class Foreign:
    """An object of somebody else in our schema, and what it was when it was made."""

    name: str
    looks: tuple[Any, ...]


class World:
    """See the module's docstring. `names`: the aggregates that are defined."""

    def __init__(self, directory: Path, names: Sequence[str], policy: Policy | None = None) -> None:
        self.directory = directory
        self.names = list(names)
        self.policy = policy or Policy()
        self.clock = ManualClock()
        self.store = Mortal(clock=self.clock)
        self.kinds: dict[str, Kind] = dict(KINDS)
        self.former: dict[str, list[Kind]] = {}
        self.blocked: set[str] = set()
        self.base = "sales"
        self.deaf = False
        self.statements: list[str] = []
        self.wrong: list[AssertionError] = []
        self.states = [State()]
        self.seen: dict[str, int] = {}
        self.broken: set[str] = set()
        self.foreign: list[Foreign] = []
        self._ids = count(1)
        self._files = count(1)
        self._cache: dict[tuple[str, str, int], list[str]] = {}
        self._open(directory / "world-0.duckdb")
        self.execute(f"CREATE TABLE sales ({COLUMNS})")
        self.execute("CREATE TABLE shops (shop VARCHAR, region VARCHAR)")
        self.engine.register_organizations([ORG])

    # -- the process ---------------------------------------------------------------------------------------------------

    def _open(self, path: Path) -> None:
        self.path = path
        config: dict[str, Any] = {"threads": "1", "default_block_size": "16384"}
        self.tap = Tap(duckdb.connect(str(path), config=config))
        self.store.dead = False
        self.listen()
        self.engine = self.make_engine()

    def make_engine(self) -> MaintenanceEngine:
        return MaintenanceEngine(store=self.store, task=self, scheduler=None, executor=None, clock=self.clock)

    @property
    def warehouse(self) -> DuckDBWarehouse:
        options = DuckDBOptions(pause=lambda _seconds: None)
        return DuckDBWarehouse(connection=self.tap, options=options)  # type: ignore[arg-type]  # stands in its place

    @property
    def maintenance(self) -> AggregateMaintenance:
        return AggregateMaintenance(
            definitions=lambda _org: self.definitions(),
            warehouse_for=lambda _org: self.warehouse,
            policy=lambda _org: self.policy,
            knows_instances=self._knows_instances,
            new_id=self.new_id,
        )

    def new_id(self) -> str:
        return f"{next(self._ids):08x}-0000-4000-8000-000000000000"

    def _knows_instances(self, _org_id: str) -> bool:
        found = self.engine.get_inventory(ORG)
        return found is not None and bool(found.content["instances"])

    def run(self, context: TaskContext) -> MaintenanceReport:
        """The world is the engine's task."""
        return self.maintenance.run(Deaf(context) if self.deaf else context)

    def listen(self, before: Callable[[str], None] = nothing, after: Callable[[str], None] = nothing) -> None:
        """From now on call these around each statement; without any, statements are only noted."""

        def noted(sql: str) -> None:
            self.statements.append(sql)
            self.clock.pass_s(STATEMENT_S)
            before(sql)

        self.tap.before, self.tap.after = self._honest(noted), self._honest(after)

    def _honest(self, hook: Callable[[str], None]) -> Callable[[str], None]:
        """What a hook finds wrong is told at the end of the job; the worker would take it for an error of its task."""

        def called(sql: str) -> None:
            try:
                hook(sql)
            except AssertionError as wrong:
                self.wrong.append(wrong)

        return called

    def kill(self) -> None:
        """From here on the process says nothing more, to nobody. Raises CrashError."""
        self.tap.dead = self.store.dead = True
        raise CrashError

    def restart(self) -> None:
        """A new process, with the file as the old one left it; the old one's lease runs out."""
        path = self.directory / f"world-{next(self._files)}.duckdb"
        self._copy(self.path, path)
        self.tap.close()
        self._remove(self.path)
        self._open(path)
        self.clock.pass_s(self.engine.settings.lease_s + 1)

    def _copy(self, one: Path, other: Path) -> None:
        for suffix in ("", ".wal"):
            if (source := Path(f"{one}{suffix}")).exists():
                shutil.copyfile(source, f"{other}{suffix}")

    def _remove(self, path: Path) -> None:
        for suffix in ("", ".wal"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)

    def copy_of_the_file(self) -> Path:
        """A copy of the warehouse, as a backup makes it."""
        path = self.directory / f"copy-{next(self._files)}.duckdb"
        self._copy(self.path, path)
        return path

    def put_back_the_file(self, copy: Path) -> None:
        """The warehouse is an older one now, but for the base, which is as it was."""
        path = self.directory / f"world-{next(self._files)}.duckdb"
        self._copy(copy, path)
        self.tap.close()
        self._remove(self.path)
        self._open(path)
        self._write_base()
        self.seen.clear()

    # -- the base ------------------------------------------------------------------------------------------------------

    def execute(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """As the host or a stranger would, past our code."""
        cursor = self.tap.connection.cursor()
        try:
            return (cursor.execute(sql, parameters) if parameters is not None else cursor.execute(sql)).fetchall()
        finally:
            cursor.close()

    @property
    def state(self) -> State:
        return self.states[-1]

    def change(self, sales: Mapping[int, Sale | None], shops: Sequence[tuple[str, str | None]] | None = None) -> None:
        """One transaction of the host: put these sales (None: delete), and these shops in place of all."""
        cursor = self.tap.connection.cursor()
        cursor.execute("BEGIN TRANSACTION")
        gone = [each for each in sales if each in self.state.sales]
        if gone:
            cursor.execute(f"DELETE FROM {self.base} WHERE id IN ({', '.join(map(str, gone))})")
        put = [sale for sale in sales.values() if sale is not None]
        self._insert(cursor, put)
        kept = {key: sale for key, sale in self.state.sales.items() if key not in sales}
        state = State({**kept, **{sale.id: sale for sale in put}}, self.state.shops)
        if shops is not None:
            state = evolve(state, shops=tuple(shops))
            self._insert_shops(cursor, state.shops)
        cursor.execute("COMMIT")
        cursor.close()
        self.states.append(state)

    def _insert(self, cursor: Any, sales: Sequence[Sale]) -> None:
        if sales:
            marks = ", ".join("(?, ?, ?, ?, ?, ?, ?)" for _ in sales)
            values = [v for s in sales for v in (s.id, s.day, s.at, s.shop, s.amount, s.qty, s.weight)]
            cursor.execute(
                f"INSERT INTO {self.base} (id, day, sold_at, shop, amount, qty, weight) VALUES {marks}", values
            )

    def _insert_shops(self, cursor: Any, shops: Sequence[tuple[str, str | None]]) -> None:
        cursor.execute("DELETE FROM shops")
        for pair in shops:
            cursor.execute("INSERT INTO shops VALUES (?, ?)", pair)

    def _write_base(self, sales: Sequence[Sale] | None = None) -> None:
        """All base rows anew, in this order."""
        cursor = self.tap.connection.cursor()
        cursor.execute("BEGIN TRANSACTION")
        cursor.execute(f"DELETE FROM {self.base}")
        self._insert(cursor, list(self.state.sales.values()) if sales is None else sales)
        self._insert_shops(cursor, self.state.shops)
        cursor.execute("COMMIT")
        cursor.close()

    def permute(self, sales: Sequence[Sale]) -> None:
        """The same rows in another order: nothing has changed."""
        assert sorted(sales, key=lambda each: each.id) == sorted(self.state.sales.values(), key=lambda each: each.id)
        self._write_base(sales)

    # -- definitions ---------------------------------------------------------------------------------------------------

    def definitions(self) -> list[AggregateDefinition]:
        wanted = [self.kinds[name].definition for name in self.names]
        return [evolve(each, blocked=each.name in self.blocked) for each in wanted]

    def redefine(self, name: str, kind: Kind) -> None:
        """Until a complete job, readers may see what the aggregate meant before, or means now."""
        self.former.setdefault(name, []).append(self.kinds[name])
        self.kinds[name] = kind

    @property
    def served(self) -> list[str]:
        """The aggregates that must be in service, once they were seen."""
        return [name for name in self.names if name not in self.blocked]

    # -- running -------------------------------------------------------------------------------------------------------

    def job(self, **options: Any) -> JobDetails:
        """Run a job now. It has ended when this returns."""
        self.statements.clear()
        self.engine.run_immediately(ORG, options=options)
        for wrong in self.wrong:
            raise wrong
        newest = self.engine.list_jobs(ORG, limit=1).jobs[0]
        assert newest.status is not JobStatus.INPROGRESS, "the engine came back before its job had ended"
        return self.engine.get_job(ORG, newest.id)

    def settle(self, **options: Any) -> JobDetails:
        """A job that must do everything that is to be done."""
        return self.settled(self.job(**options))

    def settled(self, done: JobDetails) -> JobDetails:
        """This job is complete, and all views show the last state of the base."""
        assert done.job.status is JobStatus.DONE, (done.job.error, done.report)
        assert done.report is not None
        assert done.report["complete"], done.report["errors"]
        self.broken.clear()
        self.former.clear()
        for name in self.served:
            assert self.view(name) == self.must(name, len(self.states) - 1), f"{name} is not of the present"
            self.seen[name] = len(self.states) - 1
        return done

    def writes(self) -> list[str]:
        """The write statements of the last job, but for the stages in its own temporary tables."""
        return [sql for sql in self.statements if WRITES.match(sql)]

    def newest_job(self) -> MaintenanceJob | None:
        jobs = self.engine.list_jobs(ORG, limit=1).jobs
        return jobs[0] if jobs else None

    # -- what readers see ----------------------------------------------------------------------------------------------

    @property
    def schema(self) -> str:
        return schema_name(ORG)

    def must(self, name: str, state: int, kind: Kind | None = None) -> list[str]:
        """What the view must show of that state."""
        kind = kind or self.kinds[name]
        key = (name, kind.definition.definition_hash, state)
        if key not in self._cache:
            self._cache[key] = shown(kind, self.states[state])
        return self._cache[key]

    def view(self, name: str) -> list[str]:
        """What the view shows. Raises AssertionError if there is none, or it can not be read."""
        try:
            return spelled(self.execute(f'SELECT * FROM "{self.schema}"."sales__{name}"'))
        except duckdb.Error as problem:
            raise AssertionError(f"{name} can not be read: {problem}") from problem

    def look(self, name: str) -> None:
        """Read one view as a reader would: it must show one state of the base, whole, and none older than the last."""
        if name in self.broken or (name not in self.seen and not self.has_view(name)):
            return
        rows = self.view(name)
        for state in range(len(self.states) - 1, self.seen.get(name, 0) - 1, -1):
            if rows in [self.must(name, state, kind) for kind in (self.kinds[name], *self.former.get(name, ()))]:
                self.seen[name] = max(state, self.seen.get(name, 0))
                return
        raise AssertionError(f"{name} shows no state of the base since {self.seen.get(name)}: {rows}")

    def look_at_all(self) -> None:
        for name in self.served:
            self.look(name)

    def has_view(self, name: str) -> bool:
        return (f"sales__{name}", "VIEW") in self.objects()

    def objects(self) -> set[tuple[str, str]]:
        rows = self.execute(
            "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = ?", [self.schema]
        )
        return {(str(name), "VIEW" if kind == "VIEW" else "TABLE") for name, kind in rows}

    def in_service(self, name: str) -> str | None:
        """The physical table that the ledger says is in service."""
        if ("aggmaint_instance", "TABLE") not in self.objects():
            return None
        found = self.execute(
            f"SELECT table_name FROM \"{self.schema}\".aggmaint_instance WHERE status = 'active' AND label = ?",
            [f"sales.{name}"],
        )
        return str(found[0][0]) if found else None

    def ledger(self) -> list[Any]:
        """Everything that a publish writes: ledger rows, and the views' definitions."""
        if ("aggmaint_instance", "TABLE") not in self.objects():
            return []
        tables = [self.execute(f'SELECT * FROM "{self.schema}".{name} ORDER BY ALL') for name in LEDGER_TABLES[1:]]
        views = self.execute(
            "SELECT view_name, sql, comment FROM duckdb_views() WHERE schema_name = ? ORDER BY 1", [self.schema]
        )
        return [*tables, views]

    def fence(self) -> tuple[int, int]:
        """(generation, number) of the newest claim; (-1, -1) before the first."""
        if ("aggmaint_control", "TABLE") not in self.objects():
            return (-1, -1)
        return self.execute(f'SELECT generation, fence FROM "{self.schema}".aggmaint_control')[0]

    # -- what others made ----------------------------------------------------------------------------------------------

    def plant(self, name: str, sql: str, comment: str | None = None) -> None:
        """Somebody makes an object in our schema. `sql` has {} for its name."""
        reference = f'"{self.schema}"."{name}"'
        self.execute(f'CREATE SCHEMA IF NOT EXISTS "{self.schema}"')
        self.execute(sql.replace("{}", reference))
        if comment is not None:
            kind = "VIEW" if sql.startswith("CREATE VIEW") else "TABLE"
            self.execute(f"COMMENT ON {kind} {reference} IS '" + comment.replace("'", "''") + "'")
        self.foreign.append(Foreign(name, self.looks(name)))

    def looks(self, name: str) -> tuple[Any, ...]:
        """An object's definition, comment and rows."""
        catalogue = self.execute(
            "SELECT table_oid, sql, comment FROM duckdb_tables() WHERE schema_name = $s AND table_name = $n "
            "UNION ALL SELECT view_oid, sql, comment FROM duckdb_views() WHERE schema_name = $s AND view_name = $n",
            {"s": self.schema, "n": name},
        )
        return (catalogue[0][1:], self.execute(f'SELECT * FROM "{self.schema}"."{name}"'))

    def look_at_foreign(self) -> None:
        for each in self.foreign:
            assert self.looks(each.name) == each.looks, f"{each.name} of somebody else was touched"


def fork(world: World, directory: Path) -> World:
    """Another world that is as this one, with nothing shared."""
    other = copy(world)
    for name, value in vars(world).items():
        if isinstance(value, dict | list | set):
            setattr(other, name, copy(value))
    other.directory = directory
    other.clock = ManualClock()
    other.clock.set(world.clock.read())
    other.store = Mortal(clock=other.clock)
    other.store.put_back(world.store.copy())
    path = directory / "fork.duckdb"
    world._copy(world.path, path)
    other._open(path)
    return other


# -- what may happen to a job --------------------------------------------------------------------------------------------


def break_connection(world: World) -> None:
    """All cursors are gone. After a commit this is a lost acknowledgement."""
    for cursor in world.tap.cursors:
        cursor.real.close()
    raise duckdb.ConnectionException("Connection Error: the connection was closed")


def fail_statement(_world: World) -> None:
    raise duckdb.IOException("IO Error: could not write: no space left on device")


def lose_store(_world: World) -> None:
    raise StoreUnavailableError("the job store is away")


def cancel_job(world: World) -> None:
    newest = world.newest_job()
    if newest is not None:
        world.make_engine().cancel(ORG, newest.id)
    world.clock.pass_s(2.0)
