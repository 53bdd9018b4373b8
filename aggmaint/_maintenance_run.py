"""One maintenance run: the steps of `maintenance.py`, over an open session. Not for use on its own."""

from collections.abc import Mapping, Sequence

from attrs import evolve

from ._maintenance_apply import Applier, RunSettings, without
from ._maintenance_looking import hints_of, observe_with_problems, stopped_by_gate
from ._maintenance_publications import request_of
from ._maintenance_report import StepResult, make_report
from ._maintenance_told import told_by
from .aggregates.budget import Purse, leave_over, ration
from .aggregates.decisions import MaintenancePlan, RefreshStep
from .aggregates.freshness import with_verified
from .aggregates.inventory import make_inventory
from .aggregates.inventory_bound import bounded
from .aggregates.model import AggregateDefinition
from .aggregates.observation import Observation
from .aggregates.plan import plan_again, plan_maintenance
from .aggregates.plans import outdated
from .aggregates.quarantine import count_failures, quarantined
from .aggregates.reasons import Weight
from .aggregates.shaping import shape
from .aggregates.upstream import hold_back, outcome, still_waiting, waiting, with_follow_up
from .errors import (
    FenceLostError,
    GateError,
    MergeError,
    TaskFailedError,
    WarehouseQueryError,
)
from .task import MaintenanceReport, TaskContext
from .warehouse import (
    Staged,
    WarehouseSession,
    fence_behind,
)


class MaintenanceRun:
    """The state of one run. `run` is called once."""

    def __init__(
        self,
        session: WarehouseSession,
        context: TaskContext,
        definitions: Sequence[AggregateDefinition],
        settings: RunSettings,
    ) -> None:
        self._session = session
        self._context = context
        self._definitions = definitions
        self._settings = settings
        self._policy = settings.policy
        self._wishes = settings.wishes
        self._purse = Purse(settings.policy)
        self._began_at = context.now()
        self._claimed = False
        self._dialect = settings.dialect
        self._told = told_by(context, definitions)
        self._last = context.last_inventory()
        self._hints = hints_of(settings.policy, context.now(), context.marks, self._last)
        self._sick: dict[str, str] = {}
        self._unmerged: dict[str, str] = {}
        self._stopped_by_gate: set[str] = set()
        self._results: list[StepResult] = []

    def run(self, *, must_exist: bool) -> MaintenanceReport:
        if self._wishes.adopt is not None:
            self._claim_first()
        observation, plan, staged = self._prepare(must_exist and not self._claimed)
        if plan.writes:
            self._context.confirm()
            if not self._claimed and not self._claim(observation):
                observation, plan, staged = self._prepare(must_exist)
            plan = self._follow(self._applied(plan, staged))
            if self._results:
                observation = self._session.observe([], sick={}, tick=self._tick)
        failed = {each.definition_id: each.error for each in self._results if each.error and each.definition_id}
        problems = {
            each.definition_id for each in plan.decisions if each.weight is Weight.PROBLEM and each.definition_id
        }
        failing = {*failed, *problems}
        counts = count_failures(self._definitions, failing, self._last)
        inventory = make_inventory(
            plan,
            self._definitions,
            observation.instances,
            failed=failed,
            observed_at=self._context.now(),
            failures_in_row=counts,
            dialect=self._dialect,
            records=observation.records,
            recent_days=self._policy.unused_days,
        )
        inventory = bounded(with_verified(inventory, self._definitions, plan, self._last))
        lenient = quarantined(counts, manual=self._context.manual)
        return make_report(plan, self._results, inventory, lenient, worked=not self._purse.untouched)

    def _follow(self, plan: MaintenancePlan) -> MaintenancePlan:
        """Look again at the aggregates that waited for others of this run, round by round: see upstream.py."""
        while True:
            done, failed = outcome(plan, [(each.step, each.error) for each in self._results])
            ready = waiting(plan, self._definitions, done)
            only_asked = self._wishes.limited and self._wishes.adopt is None
            if not ready or only_asked or self._over_budget() is not None:
                return still_waiting(hold_back(plan, self._definitions, done=done, failed=failed))
            _, later, staged = self._prepare(False, ready)
            plan = with_follow_up(plan, self._applied(later, staged))

    # -- looking ------------------------------------------------------------------------------------------------------

    def _prepare(
        self, must_exist: bool, again: Sequence[AggregateDefinition] | None = None
    ) -> tuple[Observation, MaintenancePlan, Mapping[str, Staged]]:
        """Observe, plan and stage from one snapshot; `again`: these only. An aggregate that breaks while it is staged is
        left out, or, where only merging new rows failed, computed anew, and all is looked at again; so there is an end."""
        before = Purse(self._policy) if again is None else self._purse
        while True:
            self._purse = evolve(before)
            observation = observe_with_problems(
                self._session,
                self._definitions,
                self._dialect,
                None if again is None else {each.id for each in again},
                reader=self._context.fence,
                sick=self._sick,
                tick=self._tick,
                hints=evolve(self._hints, unmerged=self._unmerged),
            )
            observation = stopped_by_gate(observation, self._stopped_by_gate)
            self._require_ours(observation, must_exist)
            plan = self._plan(observation, again)
            try:
                return observation, *self._stage(plan)
            except WarehouseQueryError as problem:
                failed = self._unmerged if isinstance(problem, MergeError) else self._sick
                if problem.definition_id is None or problem.definition_id in failed:
                    raise
                failed[problem.definition_id] = problem.message
                if isinstance(problem, GateError):
                    self._stopped_by_gate.add(problem.definition_id)

    def _plan(self, observation: Observation, again: Sequence[AggregateDefinition] | None) -> MaintenancePlan:
        """What this job does: planned, bent to what it was asked for, rationed by its budget."""
        now = self._context.now()
        if again is not None:
            more = plan_again(again, observation, self._policy, now, self._told)
            return ration(shape(more, again, observation, self._wishes, now), self._policy)
        planned = self._wishes.plan
        refused = None if planned is None else outdated(planned, observation, self._definitions)
        if refused is not None:
            raise TaskFailedError(refused[1], cause=refused[0])
        plan = plan_maintenance(self._definitions, observation, self._policy, now, self._told, self._hints.marks)
        shaped = shape(plan, self._definitions, observation, self._wishes, now)
        return ration(hold_back(shaped, self._definitions), self._policy)

    def _require_ours(self, observation: Observation, must_exist: bool) -> None:
        """Stop before anything is judged by a ledger that is lost, or that a newer job has claimed."""
        control, fence = observation.control, self._context.fence
        if must_exist and control is None:
            raise TaskFailedError(
                f"the ledger of {self._context.org_id!r} is gone from the warehouse, though aggregates are known: is this "
                f"the right warehouse? Restore it; or recover what is there: aggmaint adopt {self._context.org_id}; or, if "
                "nothing is left, remove the organisation and register it again",
                cause="ledger_lost",
            )
        if control is not None and (control.generation, control.fence) > (fence.generation, fence.number):
            raise TaskFailedError(fence_behind(observation.schema, control, fence), cause="fence_behind")

    def _tick(self, what: str) -> None:
        self._context.progress("observe", detail=what)

    def _stage(self, plan: MaintenancePlan) -> tuple[MaintenancePlan, dict[str, Staged]]:
        """Compute what is to be refreshed, as far as the budget reaches; the plan without what it does not reach."""
        purse = self._purse
        steps = [step for step in plan.steps if isinstance(step, RefreshStep) and (step.computed or step.merged)]
        staged: dict[str, Staged] = {}
        for index, step in enumerate(steps):
            over = self._over_budget()
            if over is not None:
                return leave_over(plan, without(plan.steps, steps[index:]), over), staged
            keys = [period.key for period in (*step.computed, *step.merged)]
            shown = ", ".join(keys[:3]) + (", …" if keys[3:] else "")
            detail = f"{step.definition.label}: {len(keys)} {'partition' if len(keys) == 1 else 'partitions'} ({shown})"
            self._context.progress("compute", done=index, total=len(steps), detail=detail)
            ahead = tuple(request_of(each) for each in steps[index + 1 :])
            rows = self._session.stage([evolve(request_of(step), ahead=ahead)])[0]
            staged[step.definition.id] = rows
            purse.spend(len(rows.contents), step.rows_written({each.period: each.rows for each in rows.contents}))
        return plan, staged

    def _over_budget(self) -> str | None:
        """Why nothing more may be begun in this run, in words; None if something may."""
        self._purse.seconds = (self._context.now() - self._began_at).total_seconds()
        return self._purse.empty()

    def _claim_first(self) -> None:
        """Adopting begins with the claim: it makes a ledger that can be written, and another's schema ours."""
        self._context.confirm()
        try:
            self._claimed = self._session.claim(self._context.fence, seen=None, anyway=True)
        except FenceLostError as problem:
            raise TaskFailedError(problem.message, cause="fence_behind") from problem

    def _claim(self, observation: Observation) -> bool:
        """True if what was observed still stands. False: claimed all the same, but observe again."""
        try:
            if self._session.claim(self._context.fence, seen=observation.control):
                return True
            self._session.claim(self._context.fence, seen=None, anyway=True)
            return False
        except FenceLostError as problem:
            raise TaskFailedError(problem.message, cause="fence_behind") from problem

    def _applied(self, plan: MaintenancePlan, staged: Mapping[str, Staged]) -> MaintenancePlan:
        """Do the steps; the plan without the builds that the budget does not reach."""
        applier = Applier(self._session, self._context, self._settings, self._purse, self._over_budget, self._results)
        return applier.apply(plan, staged)
