"""The oracle machine: everything happens to a world, in any order; what readers see is always one state of the base.

With each change: a few hundred steps by plain `pytest`, 200 × 50 steps with AGGMAINT_DEEP=1. The long run:

    AGGMAINT_ORACLE=2000x200 python -m pytest tests/oracle/test_machine.py

(`AGGMAINT_ORACLE=<examples>x<steps>`; `AGGMAINT_ORACLE_SEED=<number>` tries other examples). A failure prints the steps that
lead to it; with AGGMAINT_SHRINK=1 they are first made as few as possible, for up to five minutes.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from attrs import evolve
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aggmaint.aggregates.decisions import Subject
from aggmaint.aggregates.policy import Policy
from aggmaint.aggregates.reasons import Reason
from aggmaint.core.job import JobStatus
from aggmaint.engine import JobDetails

from .model import KINDS, ORG, Sale, narrowed, periods, shortened, spelled
from .tap import CrashError
from .world import WRITES, World, break_connection, cancel_job, fail_statement, lose_store

DAYS = st.one_of(
    st.none(),
    st.sampled_from([date(2024, 1, 31), date(2024, 2, 1), date(2024, 2, 29), date(2024, 12, 31), date(2025, 1, 1)]),
)
INSTANTS = st.one_of(
    st.none(),  # New York: midnight is 05:00 or, in summer, 04:00; the 10th of March has 23 hours
    st.sampled_from([datetime(2024, 3, 10, 4, 59, 59), datetime(2024, 3, 10, 5), datetime(2024, 3, 11, 3, 59, 59)]),
    st.sampled_from([datetime(2024, 3, 11, 4), datetime(2024, 11, 3, 3, 59, 59), datetime(2024, 11, 4, 5)]),
)
SHOPS = st.sampled_from([None, "north", "south", "east", "moon"])
REGIONS = st.sampled_from([None, "cold", "warm"])
AMOUNTS = st.one_of(st.none(), st.decimals(min_value=-9, max_value=9, places=2))
QTYS = st.one_of(st.none(), st.integers(0, 4))
WEIGHTS = st.one_of(st.none(), st.sampled_from([0.125, 0.5, -0.25, 2.0**30]))
SALES = st.builds(Sale, st.just(0), DAYS, INSTANTS, SHOPS, AMOUNTS, QTYS, WEIGHTS)
POINTS = st.tuples(st.integers(0, 30), st.booleans())
"""Before or after the n-th statement of a run that writes, begins or commits."""

DAMAGES = ["DROP TABLE {}", "DELETE FROM {}", "INSERT INTO {} FROM {}", "ALTER TABLE {} ADD COLUMN extra INTEGER"]
FOREIGN = [
    ("as_agg_{:08x}_by_month", "CREATE TABLE {} AS SELECT 42 AS answer"),
    ("sales__by_month_{}", "CREATE VIEW {} AS SELECT 42 AS answer"),
    ("aggmaint_instance_{}", "CREATE TABLE {} (id INTEGER)"),
]


class Oracle(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="aggmaint-oracle-"))
        self.next_id = self.turn = 0
        self.clean = False
        self.wide = False
        self.backups: list[tuple[Any, Path]] = []

    @initialize(
        names=st.lists(st.sampled_from(sorted(KINDS)), min_size=2, max_size=3, unique=True), some=st.lists(SALES)
    )
    def begin(self, names: list[str], some: list[Sale]) -> None:
        self.world = World(self.directory, names, Policy(builds_per_snapshot=2, retired_share_max=1.0))
        self.put(*some)
        self.world.change({}, [("north", "cold"), ("south", None)])

    # -- the base changes ----------------------------------------------------------------------------------------------

    def put(self, *sales: Sale, times: int = 1) -> None:
        fresh = []
        for sale in sales * times:
            self.next_id += 1
            fresh.append(evolve(sale, id=self.next_id))
        self.world.change({sale.id: sale for sale in fresh})

    def some_of(self, data: st.DataObject, most: int = 3) -> list[Sale]:
        ids = sorted(self.world.state.sales)
        chosen = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=most, unique=True))
        return [self.world.state.sales[each] for each in chosen]

    @rule(sale=SALES, times=st.integers(1, 2))
    def insert(self, sale: Sale, times: int) -> None:
        self.put(sale, times=times)

    @precondition(lambda self: self.world.state.sales)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.world.change({sale.id: None for sale in self.some_of(data)})

    @precondition(lambda self: self.world.state.sales)
    @rule(data=st.data(), day=DAYS, at=INSTANTS)
    def move(self, data: st.DataObject, day: date | None, at: datetime | None) -> None:
        self.world.change({sale.id: evolve(sale, day=day, at=at) for sale in self.some_of(data)})

    @precondition(lambda self: self.world.state.sales)
    @rule(data=st.data(), other=SALES)
    def correct(self, data: st.DataObject, other: Sale) -> None:
        put = {
            sale.id: evolve(sale, shop=other.shop, amount=other.amount, qty=other.qty, weight=other.weight)
            for sale in self.some_of(data, 1)
        }
        self.world.change(put)

    @precondition(lambda self: len(self.world.state.sales) >= 2)
    @rule(data=st.data())
    def swap(self, data: st.DataObject) -> None:
        """Balanced: counts, sums and extremes over all rows stay."""
        chosen = self.some_of(data, 2)
        one, two = chosen[0], chosen[-1]
        self.world.change(
            {one.id: evolve(one, amount=two.amount, qty=two.qty), two.id: evolve(two, amount=one.amount, qty=one.qty)}
        )

    @precondition(lambda self: self.world.state.sales)
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        """Balanced: as many rows go as come, with other values."""
        (gone,) = self.some_of(data, 1)
        self.next_id += 1
        self.world.change({gone.id: None, self.next_id: evolve(gone, id=self.next_id, qty=3, amount=Decimal(1))})

    @rule(pairs=st.lists(st.tuples(st.sampled_from(["north", "south", "east"]), REGIONS), max_size=4))
    def change_dimension(self, pairs: list[tuple[str, str | None]]) -> None:
        """A shop may be in no region, in one, or in several: then its sales are joined to each."""
        self.world.change({}, pairs)

    @precondition(lambda self: not self.wide)
    @rule()
    def widen_a_column(self) -> None:
        self.world.execute(f"ALTER TABLE {self.world.base} ALTER qty TYPE BIGINT")
        self.world.execute(f"ALTER TABLE {self.world.base} ADD COLUMN note VARCHAR")
        self.wide, self.clean = True, False

    @precondition(lambda self: self.world.newest_job() is not None)
    @rule()
    def the_source_goes_away_or_comes_back(self) -> None:
        new = "elsewhere" if self.world.base == "sales" else "sales"
        self.world.execute(f"ALTER TABLE {self.world.base} RENAME TO {new}")
        self.world.base = new
        self.clean = False

    # -- definitions ---------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def redefine(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.world.names))
        kind = KINDS[name]
        changes = [kind, narrowed(kind)]
        if name in ("by_region", "by_day", "totals"):
            changes.append(shortened(kind))
        self.world.redefine(name, data.draw(st.sampled_from(changes)))
        self.clean = False

    @rule(data=st.data())
    def block_or_unblock(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.world.names))
        self.world.blocked ^= {name}
        self.world.broken.add(name)  # until a complete job it may be there or not
        self.world.seen.pop(name, None)
        self.clean = False

    # -- others ------------------------------------------------------------------------------------------------------

    @rule(data=st.data(), how=st.sampled_from(DAMAGES))
    def damage(self, data: st.DataObject, how: str) -> None:
        name = data.draw(st.sampled_from(self.world.names))
        table = self.world.in_service(name)
        if table is not None and (table, "TABLE") in self.world.objects():
            self.world.execute(how.replace("{}", f'"{self.world.schema}"."{table}"'))
            self.world.broken.add(name)
            self.clean = False

    @rule(data=st.data())
    def drop_a_view(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.world.names))
        if self.world.has_view(name):
            self.world.execute(f'DROP VIEW "{self.world.schema}"."sales__{name}"')
            self.world.broken.add(name)
            self.clean = False

    @precondition(lambda self: len(self.world.foreign) < 4)
    @rule(look_alike=st.sampled_from(FOREIGN), tagged=st.booleans())
    def plant_something_foreign(self, look_alike: tuple[str, str], tagged: bool) -> None:
        """Names like ours, and even a copy of our tag."""
        self.next_id += 1
        name, sql = look_alike
        tags = self.world.execute(
            "SELECT comment FROM duckdb_tables() WHERE schema_name = ? AND comment IS NOT NULL", [self.world.schema]
        )
        self.world.plant(name.format(self.next_id), sql, tags[0][0] if tagged and tags else None)

    @rule(hours=st.sampled_from([0.01, 0.5, 2.0, 24 * 31.0]))
    def time_passes(self, hours: float) -> None:
        self.world.clock.pass_s(hours * 3600)
        self.clean = False

    # -- runs ----------------------------------------------------------------------------------------------------------

    def watched(self) -> JobDetails:
        """A job, with readers that look after each commit, and one that looks again at what it began to read before."""
        reader = self.world.tap.connection.cursor()
        reader.execute("BEGIN TRANSACTION")
        readable = [name for name in self.world.served if name in self.world.seen and name not in self.world.broken]
        queries = [f'SELECT * FROM "{self.world.schema}"."sales__{name}"' for name in readable]
        before = [spelled(reader.execute(query).fetchall()) for query in queries]
        self.world.listen(after=self.look_after_commits)
        try:
            return self.world.job()
        finally:
            self.world.listen()
            assert [spelled(reader.execute(query).fetchall()) for query in queries] == before
            reader.close()

    def look_after_commits(self, sql: str) -> None:
        if sql == "COMMIT":
            self.world.look_at_all()

    @property
    def can_settle(self) -> bool:
        return self.world.base == "sales"

    @rule(again=st.booleans())
    def run(self, again: bool) -> None:
        if not self.can_settle:
            done = self.recover()
            assert done.job.status is JobStatus.DONE
            assert done.report is not None and (done.report["complete"] == (not self.world.served))
            return
        stale = [
            each
            for each in self.world.served
            if self.clean and self.world.must(each, self.world.seen[each]) != self.now(each)
        ]
        self.world.settled(done := self.recover())
        assert self.written(done) >= {f"sales.{name}" for name in stale}
        for name in self.world.blocked:
            assert not self.world.has_view(name), f"{name} is blocked and shown"
        if again:
            self.world.settle()
            assert self.world.writes() == [], "a run without changes writes nothing"
        self.clean = True

    def now(self, name: str) -> list[str]:
        return self.world.must(name, len(self.world.states) - 1)

    def written(self, done: JobDetails) -> set[str]:
        assert done.report is not None
        return {step["aggregate"] for step in done.report["details"]["steps"]}

    def recover(self) -> JobDetails:
        """A job that may run. Before it, what an operator does who is told that the fence is behind, or the ledger gone.

        No refused job has written.
        """
        for generation in range(1, 20):
            before = (self.world.ledger(), self.world.fence(), self.world.objects())
            done = self.watched()
            if done.job.status is not JobStatus.FAILED:
                return done
            after = (self.world.ledger(), self.world.fence(), self.world.objects())
            assert after == before, "a job that was refused has written"
            assert done.job.error is not None
            if done.job.error.cause == "fence_behind":
                self.world.engine.raise_generation(ORG, at_least=generation)
            else:
                assert done.job.error.cause == "ledger_lost", done.job.error
                self.world.engine.remove_organization(ORG)
                self.world.engine.register_organizations([ORG])
        raise AssertionError("no generation was high enough")

    @rule()
    def plan_tells_the_truth(self) -> None:
        """What is said to be fresh is of the present, partition by partition."""
        plan = self.world.maintenance.plan(ORG, now=self.world.clock.wall_at)
        for name in self.world.served:
            kind = self.world.kinds[name]
            must = {_key(name, period): rows for period, rows in periods(kind, self.world.state).items()}
            fresh = {
                key
                for each in plan.decisions
                for key in each.partitions
                if (each.subject, each.aggregate, each.reason)
                == (Subject.PARTITION, f"sales.{name}", Reason.PARTITION_FRESH)
            }
            for key in fresh if name not in self.world.broken else ():
                assert self.partition(name, key) == spelled(must.get(key, [])), f"{name} {key} is not fresh"

    def partition(self, name: str, key: str) -> list[str]:
        """The rows of one partition of the physical table, without the period."""
        table = self.world.in_service(name)
        period = KINDS[name].definition.partition
        rows = self.world.execute(f'SELECT * FROM "{self.world.schema}"."{table}"')
        if period is None:
            return spelled(rows)
        chosen = [row[1:] for row in rows if _key(name, row[0]) == key]
        return spelled(_with_averages(name, row) for row in chosen)

    @precondition(lambda self: self.clean and self.can_settle and self.world.state.sales)
    @rule(data=st.data())
    def permute(self, data: st.DataObject) -> None:
        """Rows in another order have the same fingerprint: there is nothing to do."""
        self.world.settle()
        self.world.permute(data.draw(st.permutations(list(self.world.state.sales.values()))))
        self.world.settle()
        assert self.world.writes() == []

    # -- what may happen to a run at any of its statements ------------------------------------------------------------

    def at_point(self, point: tuple[int, bool], act: Callable[[], None], *, commits_only: bool = False) -> None:
        """A job; at one point of it, `act`."""
        number, after = point
        left = [number]

        def counts(sql: str) -> bool:
            return sql == "COMMIT" or (not commits_only and bool(WRITES.match(sql) or sql == "BEGIN TRANSACTION"))

        def passing(sql: str, is_after: bool) -> None:
            if counts(sql) and is_after == after:
                left[0] -= 1
                if left[0] == -1:
                    self.world.listen()
                    act()
                    return
            if is_after:
                self.look_after_commits(sql)

        self.world.listen(lambda sql: passing(sql, False), lambda sql: passing(sql, True))
        self.clean = False
        try:
            self.world.job()
        except CrashError:
            self.world.restart()
        finally:
            self.world.listen()
        self.world.look_at_all()

    @rule(point=POINTS)
    def the_process_dies(self, point: tuple[int, bool]) -> None:
        self.at_point(point, self.world.kill)

    @rule(point=POINTS, mishap=st.sampled_from([break_connection, fail_statement, lose_store, cancel_job]))
    def a_mishap(self, point: tuple[int, bool], mishap: Callable[[World], None]) -> None:
        self.at_point(point, lambda: mishap(self.world))

    @rule(point=POINTS)
    def the_acknowledgement_is_lost(self, point: tuple[int, bool]) -> None:
        """The n-th commit happens, and nobody is told."""
        self.at_point((point[0] % 8, True), lambda: break_connection(self.world), commits_only=True)

    @rule(point=POINTS, sale=SALES, data=st.data())
    def the_base_changes_meanwhile(self, point: tuple[int, bool], sale: Sale, data: st.DataObject) -> None:
        def change() -> None:
            if self.world.state.sales:
                self.move(data, sale.day, sale.at)
            self.put(sale)

        self.at_point(point, change)

    @rule(point=POINTS, sale=SALES, deaf=st.booleans())
    def a_zombie_wakes(self, point: tuple[int, bool], sale: Sale, deaf: bool) -> None:
        """The worker stands still, its job is rescued, another job does the work; then the zombie goes on publishing."""
        after: list[Any] = []

        def succeed() -> None:
            self.put(sale)
            self.world.deaf = False
            self.world.clock.pass_s(self.world.engine.settings.lease_s + 1)
            rescuer = self.world.make_engine()
            rescuer.run_immediately(ORG)
            newest = rescuer.list_jobs(ORG, limit=1).jobs[0]
            if self.world.fence() == (newest.fence.generation, newest.fence.number):
                after.append(self.world.ledger())
                self.world.look_at_all()

        self.world.deaf = deaf
        self.at_point(point, succeed)
        self.world.deaf = False
        if after:
            assert self.world.ledger() == after[0], "a zombie published after its successor's claim"

    # -- older copies --------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.backups) < 2 and self.can_settle)
    @rule()
    def back_up(self) -> None:
        self.backups.append((self.world.store.copy(), self.world.copy_of_the_file()))

    @precondition(lambda self: self.backups)
    @rule(data=st.data())
    def restore_the_job_store(self, data: st.DataObject) -> None:
        store, _ = data.draw(st.sampled_from(self.backups))
        self.world.store.put_back(store)
        self.clean = False

    @precondition(lambda self: self.backups and not self.world.foreign and not self.wide and self.can_settle)
    @rule(data=st.data())
    def restore_the_warehouse(self, data: st.DataObject) -> None:
        _, copy = data.draw(st.sampled_from(self.backups))
        self.world.put_back_the_file(copy)
        self.world.broken |= set(self.world.names)
        self.clean = False

    @rule()
    def restart(self) -> None:
        self.world.restart()

    # -- always --------------------------------------------------------------------------------------------------------

    @invariant()
    def readers_see_one_state(self) -> None:
        if hasattr(self, "world"):  # one of them after each step; all after each commit
            self.turn += 1
            names = self.world.served
            if names:
                self.world.look(names[self.turn % len(names)])

    @invariant()
    def what_others_made_is_untouched(self) -> None:
        if hasattr(self, "world"):
            self.world.look_at_foreign()

    def teardown(self) -> None:
        """Whatever happened: some runs later all is right, and nothing of ours is left over."""
        try:
            if hasattr(self, "world"):
                if not self.can_settle:
                    self.the_source_goes_away_or_comes_back()
                self.run(again=False)
                for _ in range(2):  # one to drop what is past its grace, one to forget it
                    self.world.clock.pass_s(40 * 86400)
                    self.world.settle()
                self.nothing_is_left_over()
                self.world.tap.close()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def nothing_is_left_over(self) -> None:
        foreign = {each.name for each in self.world.foreign}
        tables = {name for name, _ in self.world.objects() if name.startswith("as_agg_")} - foreign
        if not self.backups:  # an older ledger does not know what came after it: that is foreign to it
            assert tables == {self.world.in_service(name) for name in self.world.served}
        if ledger := self.world.ledger():
            assert len(ledger[0]) == len(self.world.served), "the ledger knows those in service, and no others"
        self.world.look_at_foreign()


def _key(name: str, start: Any) -> str:
    """A period's key, as people write it."""
    partition = KINDS[name].definition.partition
    if partition is None:
        return "all"
    if start is None:
        return "null"
    return {"month": f"{start:%Y-%m}", "year": f"{start:%Y}"}.get(partition.granularity.value, f"{start}")


def _with_averages(name: str, row: Sequence[Any]) -> tuple[Any, ...]:
    """The physical columns of `by_month` as its view has them: the average before what it is made of, which is last."""
    if name != "by_month":
        return tuple(row)
    month, shop, amount, n, big, total, count, least, most = row
    return (month, shop, amount, n, big, total / count if count else None, least, most, total, count)


def _effort() -> tuple[int, int]:
    wanted = os.environ.get("AGGMAINT_ORACLE") or ("200x50" if os.environ.get("AGGMAINT_DEEP") else "12x40")
    examples, _, steps = wanted.partition("x")
    return int(examples), int(steps)


_EXAMPLES, _STEPS = _effort()
_SEED = int(os.environ.get("AGGMAINT_ORACLE_SEED", "0"))
TestOracle = seed(_SEED)(Oracle.TestCase) if _SEED else Oracle.TestCase
TestOracle.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=_STEPS,
    deadline=None,
    derandomize=not _SEED,
    phases=list(Phase) if os.environ.get("AGGMAINT_SHRINK") else [Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
