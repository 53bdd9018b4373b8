"""Rules of the oracle machine: runs of each sort, and what must be true of them when nothing goes wrong."""

from collections.abc import Sequence
from datetime import date

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from aggmaint.aggregates.decisions import Subject
from aggmaint.aggregates.options import Adopt, TaskOptions
from aggmaint.aggregates.policy import Policy
from aggmaint.aggregates.reasons import Reason
from aggmaint.core.job import JobStatus
from aggmaint.engine import JobDetails

from .kinds import KINDS
from .model import ORG, Sale, spelled
from .rules_base import DAYS, BaseRules
from .world import definitions_told

BUDGETS = st.sampled_from(
    [
        *(Policy(run_partitions_max=1), Policy(run_partitions_max=2), Policy(run_partitions_max=3)),
        *(Policy(run_rows_max=1), Policy(run_rows_max=4), Policy(run_s=0.05), Policy(run_s=0.4)),
    ]
)
RUNS_MAX = 120
"""More pieces of work than this there are not in any of these worlds."""


class RunRules(BaseRules):
    """Runs that nobody disturbs."""

    @property
    def can_settle(self) -> bool:
        wanted = (name for name in self.world.names if name not in self.world.blocked)  # what rests may come back
        return self.world.base == "sales" or not any(self.reads_sales(name) for name in wanted)

    def reads_sales(self, name: str) -> bool:
        return KINDS[(name, *self.world.upstream(name))[-1]].table == "sales"

    @property
    def undisturbed(self) -> bool:
        """A run now can be complete."""
        return self.can_settle and not any(self.world.held(name) for name in self.world.served)

    def watched(self, **options: object) -> JobDetails:
        """A job, with readers that look after each commit, and one that looks again at what it began to read before."""
        reader = self.world.tap.connection.cursor()
        reader.execute("BEGIN TRANSACTION")
        objects = self.world.objects()
        hidden = self.world.broken | {name for name in self.world.served if (f"sales__{name}", "VIEW") not in objects}
        readable = [name for name in self.world.served if name in self.world.seen and name not in hidden]
        queries = [f'SELECT * FROM "{self.world.schema}"."sales__{name}"' for name in readable]
        before = [spelled(reader.execute(query).fetchall()) for query in queries]
        self.world.listen(after=self.look_after_commits)
        try:
            return self.world.job(**options)
        finally:
            self.world.listen()
            assert [spelled(reader.execute(query).fetchall()) for query in queries] == before
            reader.close()

    def look_after_commits(self, sql: str) -> None:
        if sql == "COMMIT":
            self.world.look_at_all()

    def recover(self) -> JobDetails:
        """A job that may run. Before it, what an operator does who is told that the fence is behind, or the ledger gone,
        or that a table is there which the ledger does not know.

        No refused job has written.
        """
        for generation in range(1, 20):
            before = (self.world.ledger(), self.world.fence(), self.world.objects())
            done = self.watched()
            if done.job.status is not JobStatus.FAILED:
                lost = [name for name, reason in definitions_told(done).items() if reason == "ledger_lost"]
                if not lost:
                    return done
                assert self.backups or self.forgetful, "nobody but an older ledger has forgotten a table of ours"
                self.world.job(**TaskOptions(rebuild=dict.fromkeys(lost)).to_json())
                continue
            after = (self.world.ledger(), self.world.fence(), self.world.objects())
            assert after == before, "a job that was refused has written"
            assert done.job.error is not None
            if done.job.error.cause == "fence_behind":
                self.world.engine.raise_generation(ORG, at_least=generation)
            else:
                assert done.job.error.cause == "ledger_lost", done.job.error
                self.world.lives.forgotten()
                self.world.told_mixed.clear()
                self.world.engine.remove_organization(ORG)
                self.world.engine.register_organizations([ORG])
        raise AssertionError("no generation was high enough")

    @rule(again=st.booleans())
    def run(self, again: bool) -> None:
        if not self.can_settle:
            done = self.recover()
            assert done.job.status is JobStatus.DONE
            assert done.report is not None
            assert not done.report["complete"] or not any(self.reads_sales(name) for name in self.world.served)
            return
        stale = [
            each
            for each in self.world.served
            if self.clean
            and each in self.world.seen
            and not self.world.held(each)
            and self.world.must(each, self.world.seen[each]) != self.world.now(each)
        ]
        self.world.settled(done := self.recover())
        assert self.written(done) >= self.world.labels(name for name in stale if name in self.world.served)
        for name in {*self.world.blocked, *self.world.resting}:
            assert not self.world.has_view(name), f"{name} is not to be served and is shown"
        if again:
            self.world.settle()
            assert self.world.writes() == [], "a run without changes writes nothing"
        self.clean = True

    def written(self, done: JobDetails) -> set[str]:
        assert done.report is not None
        return {step["aggregate"] for step in done.report["details"]["steps"]}

    @rule()
    def plan_tells_the_truth(self) -> None:
        """What is said to be fresh is of the present, partition by partition."""
        plan = self.world.maintenance.plan(ORG, now=self.world.clock.wall_at)
        for name in self.world.served:
            fresh = {
                key
                for each in plan.decisions
                for key in each.partitions
                if (each.subject, each.aggregate, each.reason)
                == (Subject.PARTITION, f"sales.{name}", Reason.PARTITION_FRESH)
            }
            if fresh and name not in self.world.broken and not self.world.held(name):
                there = self.world.partitions(name, self.world.kinds[name])
                must = self.world.must_hold(len(self.world.states) - 1, self.world.meant(name))
                for key in fresh:
                    assert there.get(key, []) == must.get(key, []), f"{name} {key} is not fresh"

    @precondition(lambda self: self.clean and self.undisturbed and self.world.state.sales)
    @rule(data=st.data())
    def permute(self, data: st.DataObject) -> None:
        """Rows in another order have the same fingerprint: there is nothing to do."""
        self.world.settle()
        self.world.permute(data.draw(st.permutations(list(self.world.state.sales.values()))))
        self.world.settle()
        assert self.world.writes() == []

    # -- budgets -------------------------------------------------------------------------------------------------------

    @rule(budget=BUDGETS)
    def run_on_a_budget(self, budget: Policy) -> None:
        """What is over it is left, and said to be left; each partition is of one state all the same."""
        self.clean = False
        with self.world.on_a_budget(budget):
            done = self.recover()
        assert done.job.status is JobStatus.DONE
        self.world.look_at_all()

    @precondition(lambda self: self.undisturbed)
    @rule(budget=BUDGETS)
    def a_budget_delays_and_starves_nobody(self, budget: Policy) -> None:
        """Each run does something, and one after the other all is done."""
        self.clean = False
        with self.world.on_a_budget(budget):
            for _ in range(RUNS_MAX):
                done = self.recover()
                assert done.report is not None
                if done.report["complete"] or not self.undisturbed:
                    break
                assert done.report["details"]["steps"] or self.resumed(done), "a run that is not complete did nothing"
            else:
                raise AssertionError("the budget starves somebody")
        self.run(again=True)

    def resumed(self, done: JobDetails) -> bool:
        """A build that is done piece by piece is a step only when it is whole."""
        return any(sql.startswith("INSERT INTO") and "as_agg" in sql for sql in self.world.statements)

    # -- what a job may be asked for -----------------------------------------------------------------------------------

    def only(self, options: TaskOptions) -> JobDetails:
        """A job that does only what it was asked for, which may be a part of what is stale."""
        self.clean = False
        self.world.mixed |= set(self.world.served)
        done = self.watched(**options.to_json())
        self.world.look_at_all()
        return done

    @precondition(lambda self: self.clean and self.undisturbed and self.world.served)
    @rule(data=st.data(), whole=st.booleans())
    def rebuild(self, data: st.DataObject, whole: bool) -> None:
        """On request: an aggregate, or some of its partitions. What was right stays right."""
        name = data.draw(st.sampled_from(self.world.served))
        keys: Sequence[str] | None = None
        if not whole:
            listed = sorted(self.world.partitions(name, self.world.kinds[name]))
            keys = data.draw(st.lists(st.sampled_from(listed), unique=True, max_size=2)) if listed else []
        done = self.only(TaskOptions(rebuild={name: keys or None}))
        assert done.job.status is JobStatus.DONE, done.job.error
        self.run(again=True)

    @rule(data=st.data(), meanwhile=st.sampled_from(["nothing", "another job", "the base changes"]))
    def apply_a_plan(self, data: st.DataObject, meanwhile: str) -> None:
        """It does what was shown, or is refused if that is not right any more."""
        plan = self.world.maintenance.plan(ORG, now=self.world.clock.wall_at)
        if meanwhile == "another job":
            self.world.job()
        elif meanwhile == "the base changes" and self.world.state.sales:
            self.move(data, data.draw(DAYS), None)
        done = self.only(TaskOptions(apply=plan))
        assert done.job.status in (JobStatus.DONE, JobStatus.FAILED)

    @precondition(lambda self: self.clean and self.undisturbed and self.world.served and not self.backups)
    @rule(changed=st.booleans())
    def lose_the_ledger_and_adopt(self, changed: bool) -> None:
        """Its rows are gone: nothing is written until somebody says `adopt`; then readers notice nothing."""
        for table in ("aggmaint_instance", "aggmaint_partition", "aggmaint_source"):
            self.world.execute(f'DELETE FROM "{self.world.schema}".{table}')
        self.forgetful = True
        self.world.lives.forgotten()
        before = self.world.objects()
        done = self.watched()
        assert done.report is not None and not done.report["complete"]
        assert self.world.writes() == [] and self.world.objects() == before
        if changed:
            self.world.change(shops=[("north", "warm")], sales={99_999: Sale(99_999, date(2023, 5, 5), qty=1)})
        adopted = self.only(TaskOptions(adopt=Adopt()))
        assert adopted.report is not None and adopted.report["complete"], adopted.report
        assert self.world.objects() == before
        self.run(again=True)
