"""Rules of the oracle machine: what may happen to a run at any of its statements, and to what it has made."""

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from aggmaint.aggregates.policy import Policy

from .mishaps import break_connection, cancel_job, fail_statement, lose_store
from .model import ORG, Sale
from .readers import WRITES
from .rules_base import EVENTS, SALES
from .rules_runs import BUDGETS, RunRules
from .tap import CrashError
from .world import World

POINTS = st.tuples(st.integers(0, 30), st.booleans())
"""Before or after the n-th statement of a run that writes, begins or commits."""

MAYBE_A_BUDGET = st.one_of(st.none(), st.none(), BUDGETS)

DAMAGES = [
    *("DROP TABLE {}", "DELETE FROM {}", "INSERT INTO {} FROM {}"),
    "ALTER TABLE {} ADD COLUMN IF NOT EXISTS extra INTEGER",
]
FOREIGN = [
    ("as_agg_f{:07x}_by_month", "CREATE TABLE {} AS SELECT 42 AS answer"),
    ("sales__by_month_{}", "CREATE VIEW {} AS SELECT 42 AS answer"),
    ("aggmaint_instance_{}", "CREATE TABLE {} (id INTEGER)"),
]


class MishapRules(RunRules):
    """Everything that goes wrong."""

    def at_point(
        self,
        point: tuple[int, bool],
        act: Callable[[], None],
        *,
        commits_only: bool = False,
        budget: Policy | None = None,
    ) -> None:
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
        self.world.lives.shaken()
        try:
            with self.world.on_a_budget(budget):
                self.world.job()
        except CrashError:
            self.world.restart()
        finally:
            self.world.listen()
            self.world.lives.shaken()
        self.world.look_at_all()

    @rule(point=POINTS, budget=MAYBE_A_BUDGET)
    def the_process_dies(self, point: tuple[int, bool], budget: Policy | None) -> None:
        self.at_point(point, self.world.kill, budget=budget)

    @rule(
        point=POINTS,
        mishap=st.sampled_from([break_connection, fail_statement, lose_store, cancel_job]),
        budget=MAYBE_A_BUDGET,
    )
    def a_mishap(self, point: tuple[int, bool], mishap: Callable[[World], None], budget: Policy | None) -> None:
        self.at_point(point, lambda: mishap(self.world), budget=budget)

    @rule(point=POINTS, budget=MAYBE_A_BUDGET)
    def the_acknowledgement_is_lost(self, point: tuple[int, bool], budget: Policy | None) -> None:
        """The n-th commit happens, and nobody is told."""
        self.at_point((point[0] % 8, True), lambda: break_connection(self.world), commits_only=True, budget=budget)

    @rule(point=POINTS, sale=SALES, events=st.lists(EVENTS, max_size=2), data=st.data(), budget=MAYBE_A_BUDGET)
    def the_base_changes_meanwhile(
        self, point: tuple[int, bool], sale: Sale, events: list[Any], data: st.DataObject, budget: Policy | None
    ) -> None:
        def change() -> None:
            if self.world.state.sales:
                self.move(data, sale.day, sale.at)
            self.put(sale)
            if events:
                self.append(events)

        self.at_point(point, change, budget=budget)

    @rule(point=POINTS, sale=SALES, events=st.lists(EVENTS, max_size=2), deaf=st.booleans(), budget=MAYBE_A_BUDGET)
    def a_zombie_wakes(
        self, point: tuple[int, bool], sale: Sale, events: list[Any], deaf: bool, budget: Policy | None
    ) -> None:
        """The worker stands still, its job is rescued, another job does the work; then the zombie goes on publishing."""
        after: list[Any] = []

        def succeed() -> None:
            self.put(sale)
            if events:
                self.append(events)
            self.world.deaf = False
            self.world.clock.pass_s(self.world.engine.settings.lease_s + 1)
            rescuer = self.world.make_engine()
            rescuer.run_immediately(ORG)
            newest = rescuer.list_jobs(ORG, limit=1).jobs[0]
            if self.world.fence() == (newest.fence.generation, newest.fence.number):
                after.append(self.world.ledger())
                self.world.look_at_all()

        self.world.deaf = deaf
        self.at_point(point, succeed, budget=budget)
        self.world.deaf = False
        if after:
            assert self.world.ledger() == after[0], "a zombie published after its successor's claim"

    # -- damage --------------------------------------------------------------------------------------------------------

    @rule(data=st.data(), how=st.sampled_from(DAMAGES))
    def damage(self, data: st.DataObject, how: str) -> None:
        name = data.draw(st.sampled_from(self.world.names))
        table = self.world.in_service(name)
        if table is not None and (table, "TABLE") in self.world.objects():
            self.world.execute(how.replace("{}", f'"{self.world.schema}"."{table}"'))
            self.world.broken.add(name)
            self.clean = False

    @rule(data=st.data())
    def falsify(self, data: st.DataObject) -> None:
        """Values change, and no count tells; large tables are compared in turn."""
        name = data.draw(st.sampled_from(self.world.names))
        table = self.world.in_service(name)
        if table is not None and (table, "TABLE") in self.world.objects():
            column = self.world.execute(f'DESCRIBE "{self.world.schema}"."{table}"')[-1][0]
            self.world.execute(f'UPDATE "{self.world.schema}"."{table}" SET "{column}" = NULL')
            self.world.broken.add(name)
            self.wait_for_the_audit()

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
        name, sql = look_alike
        tags = self.world.execute(
            "SELECT comment FROM duckdb_tables() WHERE schema_name = ? AND comment IS NOT NULL", [self.world.schema]
        )
        self.world.plant(name.format(self.new_id()), sql, tags[0][0] if tagged and tags else None)

    # -- older copies --------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.backups) < 2 and self.world.base == "sales" and not self.wide)
    @rule()
    def back_up(self) -> None:
        self.backups.append((self.world.store.copy(), self.world.copy_of_the_file()))

    def older(self) -> None:
        """An older copy knows nothing of what came after it: uses, marks on broken promises, which aggregates are mixed."""
        self.world.lives.forgotten()
        self.world.told_mixed.clear()
        self.clean = False
        if self.deceived:
            self.wait_for_the_audit()

    @precondition(lambda self: self.backups)
    @rule(data=st.data())
    def restore_the_job_store(self, data: st.DataObject) -> None:
        store, _ = data.draw(st.sampled_from(self.backups))
        self.world.store.put_back(store)
        self.older()

    @precondition(lambda self: self.backups and not self.world.foreign and not self.wide and self.world.base == "sales")
    @rule(data=st.data())
    def restore_the_warehouse(self, data: st.DataObject) -> None:
        _, copy = data.draw(st.sampled_from(self.backups))
        self.world.put_back_the_file(copy)
        self.world.broken |= set(self.world.names)
        self.older()

    @rule()
    def restart(self) -> None:
        self.world.restart()
