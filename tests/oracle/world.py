"""A world to break: a DuckDB file with base tables, a job store, an engine over both, and what must be true of them.

Theory of operation. Everything happens in one thread. Statements of ours pass a tap, so that a test can let the base change,
another job run, or the process die between any two of them. A dead process is an exception that nothing catches; what it
leaves are the job store and a copy of the database file with its log, as a kill leaves them, and a new process opens them.
Time stands still until a test moves it; each statement takes a little of it.

Truth is the list of all states that the base was in (base.py); what readers must see of it is in readers.py. After a
complete run with nothing changed since, they see the last one.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
from attrs import evolve, frozen

from aggmaint.aggregates.model import AggregateDefinition
from aggmaint.aggregates.policy import Policy
from aggmaint.core.job import JobStatus, MaintenanceJob
from aggmaint.engine import JobDetails, MaintenanceEngine
from aggmaint.maintenance import AggregateMaintenance
from aggmaint.task import MaintenanceReport, TaskContext
from aggmaint.testing.clocks import ManualClock
from aggmaint.warehouses.duckdb import DuckDBOptions, DuckDBWarehouse

from .lives import Lives
from .mishaps import Deaf, Mortal
from .model import ORG, Kind
from .readers import WRITES, Readers
from .tap import CrashError, Tap, nothing

STATEMENT_S = 0.01
"""How long a statement takes in this world."""

RESTS = frozenset({"definition_unused", "definition_over_limit", "definition_deactivated"})
"""What a report says of a definition that is deactivated."""

UNTOUCHED = frozenset(
    {
        "definition_over_budget",
        "upstream_first",
        "not_covered",
        "source_unavailable",
        "upstream_unavailable",
        "ledger_lost",
    }
)
"""What a report says of an aggregate that was left as it was."""


@frozen
class Foreign:
    """An object of somebody else in our schema, and what it was when it was made."""

    name: str
    looks: tuple[Any, ...]


class World(Readers):
    """See the module's docstring. `names`: the aggregates that are defined; `lives`: which of them may be pruned."""

    def __init__(
        self, directory: Path, names: Sequence[str], policy: Policy | None = None, lives: Lives | None = None
    ) -> None:
        super().__init__(names)
        self.directory = directory
        self.policy = policy or Policy()
        self.lives = lives or Lives()
        self.fleeting = self.lives.subtype is not None
        self.clock = ManualClock()
        self.store = Mortal(clock=self.clock)
        self.deaf = False
        self.statements: list[str] = []
        self.wrong: list[AssertionError] = []
        self.told_mixed: set[str] = set()
        self.foreign: list[Foreign] = []
        self._ids = count(1)
        self._files = count(1)
        self._open(directory / "world-0.duckdb")
        self.create_tables()
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
        self.write_all()
        self.seen.clear()

    # -- definitions ---------------------------------------------------------------------------------------------------

    def definitions(self) -> list[AggregateDefinition]:
        wanted = [self.lives.typed(self.kinds[name].definition) for name in self.names]
        return [evolve(each, blocked=each.name in self.blocked) for each in wanted]

    def redefine(self, name: str, kind: Kind) -> None:
        """Until a complete job, readers may see what the aggregate meant before, or means now."""
        self.former.setdefault(name, []).append(self.kinds[name])
        self.kinds[name] = kind
        self.lives.redefined(name)

    # -- running -------------------------------------------------------------------------------------------------------

    def job(self, **options: Any) -> JobDetails:
        """Run a job now. It has ended when this returns."""
        self.statements.clear()
        self.lives.job_begins(self.clock.wall_at)
        self.engine.run_immediately(ORG, options=options)
        for wrong in self.wrong:
            raise wrong
        newest = self.engine.list_jobs(ORG, limit=1).jobs[0]
        assert newest.status is not JobStatus.INPROGRESS, "the engine came back before its job had ended"
        done = self.engine.get_job(ORG, newest.id)
        if done.job.status is JobStatus.DONE:
            self._believe(done, plain=not options)
        return done

    def _believe(self, done: JobDetails, *, plain: bool) -> None:
        """What the report says of definitions: which rest, and which are mixed. It is checked where it can be.

        plain  the job was asked for nothing else than to do what is to be done.
        """
        assert done.report is not None
        told = definitions_told(done)
        failed = {each["aggregate"] for each in done.report["details"]["steps"] if each["outcome"] == "failed"}
        for name in self.names:
            reason = told[f"sales.{name}"]
            if reason in RESTS:
                self.resting.add(name)
                self.seen.pop(name, None)
            else:
                self.resting.discard(name)
            if reason == "definition_mixed":
                self.told_mixed.add(name)
            elif reason not in UNTOUCHED and f"sales.{name}" not in failed:
                self.mixed.discard(name)
                self.told_mixed.discard(name)
        if plain and not failed:
            self.lives.job_ended(self.names, told, self.blocked, self.policy, self.clock.wall_at)
        inventory = self.engine.get_inventory(ORG)
        assert inventory is not None
        said = {f"{each['cube']}.{each['name']}" for each in inventory.content["definitions"] if each["mixed"]}
        unsaid = {label: told[label] for label in self.labels(self.told_mixed) - said}
        assert not unsaid, f"what a budget split is mixed until it is done: {unsaid}, failed {failed}"

    @contextmanager
    def on_a_budget(self, budget: Policy | None) -> Iterator[None]:
        """Under these bounds (None: none) an aggregate may be split, until a report says how it stands."""
        usual = self.policy
        if budget is not None:
            self.policy = evolve(
                usual,
                run_partitions_max=budget.run_partitions_max,
                run_rows_max=budget.run_rows_max,
                run_s=budget.run_s,
            )
            self.mixed |= set(self.served)
        try:
            yield
        finally:
            self.policy = usual

    def settle(self, **options: Any) -> JobDetails:
        """A job that must do everything that is to be done."""
        return self.settled(self.job(**options))

    def settled(self, done: JobDetails) -> JobDetails:
        """This job is complete, and all views show the last state of the base."""
        assert done.job.status is JobStatus.DONE, (done.job.error, done.report)
        assert done.report is not None
        held = [name for name in self.served if self.held(name)]
        assert done.report["complete"] == (not held), done.report["errors"]
        self.broken.intersection_update(held)
        self.former = {name: kinds for name, kinds in self.former.items() if held}
        for name in self.served:
            if name not in held:
                assert name not in self.mixed, f"{name} was brought up to date and is still mixed"
                assert self.view(name) == self.now(name), f"{name} is not of the present"
                self.seen[name] = len(self.states) - 1
        return done

    def writes(self) -> list[str]:
        """The write statements of the last job, but for the stages in its own temporary tables."""
        return [sql for sql in self.statements if WRITES.match(sql)]

    def newest_job(self) -> MaintenanceJob | None:
        jobs = self.engine.list_jobs(ORG, limit=1).jobs
        return jobs[0] if jobs else None

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


def definitions_told(done: JobDetails) -> dict[str, str]:
    """What a report says of each definition: its reason, by label."""
    assert done.report is not None
    decisions = done.report["details"]["decisions"]
    return {each["aggregate"]: each["reason"] for each in decisions if each["subject"] == "definition"}


def fork(world: World, directory: Path) -> World:
    """Another world that is as this one, with nothing shared."""
    other = copy(world)
    for name, value in vars(world).items():
        if isinstance(value, dict | list | set | Lives):
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
