"""One maintenance run: the steps of `maintenance.py`, over an open session. Not for use on its own."""

from collections.abc import Callable, Mapping, Sequence

from attrs import evolve, frozen

from ._maintenance_looking import hints_of, observe_with_problems, stopped_by_gate
from ._maintenance_publications import publication_of, wanted_periods
from ._maintenance_report import StepResult, make_report
from ._maintenance_told import told_by
from .aggregates.budget import Purse, leave_over, ration
from .aggregates.decisions import BuildStep, MaintenancePlan, RefreshStep, Step, step_action, step_label
from .aggregates.findings import STEP_FAILED
from .aggregates.freshness import with_verified
from .aggregates.inventory import make_inventory
from .aggregates.inventory_bound import bounded
from .aggregates.model import AggregateDefinition
from .aggregates.naming import table_name
from .aggregates.observation import Observation
from .aggregates.options import Wishes
from .aggregates.plan import plan_again, plan_maintenance
from .aggregates.plans import outdated
from .aggregates.policy import Policy
from .aggregates.quarantine import count_failures, quarantined
from .aggregates.reasons import Reason, Weight
from .aggregates.shaping import shape
from .aggregates.upstream import hold_back, outcome, still_waiting, waiting, with_follow_up
from .errors import (
    AggmaintError,
    FenceLostError,
    GateError,
    StopWorkError,
    TaskFailedError,
    WarehouseError,
    WarehouseInterruptedError,
    WarehouseQueryError,
)
from .task import MaintenanceReport, TaskContext
from .warehouse import (
    BuildRequest,
    Built,
    Failed,
    Failures,
    Publication,
    Staged,
    StageRequest,
    Switch,
    WarehouseSession,
    fence_behind,
)


@frozen
class RunSettings:
    """How a run works, beside what it is given: see AggregateMaintenance."""

    policy: Policy
    wishes: Wishes
    new_id: Callable[[], str]
    dialect: str


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
        self._policy = settings.policy
        self._wishes = settings.wishes
        self._purse = Purse(settings.policy)
        self._began_at = context.now()
        self._claimed = False
        self._new_id = settings.new_id
        self._dialect = settings.dialect
        self._told = told_by(context, definitions)
        self._last = context.last_inventory()
        self._hints = hints_of(settings.policy, context.now(), context.marks, self._last)
        self._sick: dict[str, str] = {}
        self._stopped_by_gate: set[str] = set()
        self._results: list[StepResult] = []
        self._unfinished: list[BuildStep] = []

    def run(self, *, must_exist: bool) -> MaintenanceReport:
        if self._wishes.adopt is not None:
            self._claim_first()
        observation, plan, staged = self._prepare(must_exist and not self._claimed)
        if plan.writes:
            self._context.confirm()
            if not self._claimed and not self._claim(observation):
                observation, plan, staged = self._prepare(must_exist)
            plan = self._follow(self._apply(plan, staged))
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
            plan = with_follow_up(plan, self._apply(later, staged))

    # -- looking ------------------------------------------------------------------------------------------------------

    def _prepare(
        self, must_exist: bool, again: Sequence[AggregateDefinition] | None = None
    ) -> tuple[Observation, MaintenancePlan, Mapping[str, Staged]]:
        """Observe, plan and stage from one snapshot; `again`: these only. An aggregate that breaks while it is staged is
        left out, and all is looked at again; so there are at most as many rounds as aggregates, and one."""
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
                hints=self._hints,
            )
            observation = stopped_by_gate(observation, self._stopped_by_gate)
            self._require_ours(observation, must_exist)
            plan = self._plan(observation, again)
            try:
                return observation, *self._stage(plan)
            except WarehouseQueryError as problem:
                if problem.definition_id is None or problem.definition_id in self._sick:
                    raise
                self._sick[problem.definition_id] = problem.message
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
        steps = [step for step in plan.steps if isinstance(step, RefreshStep) and wanted_periods(step)]
        staged: dict[str, Staged] = {}
        for index, step in enumerate(steps):
            over = self._over_budget()
            if over is not None:
                return leave_over(plan, _without(plan.steps, steps[index:]), over), staged
            keys = [period.key for period in wanted_periods(step)]
            shown = ", ".join(keys[:3]) + (", …" if keys[3:] else "")
            detail = f"{step.definition.label}: {len(keys)} {'partition' if len(keys) == 1 else 'partitions'} ({shown})"
            self._context.progress("compute", done=index, total=len(steps), detail=detail)
            ahead = tuple(StageRequest(each.definition, tuple(wanted_periods(each))) for each in steps[index + 1 :])
            rows = self._session.stage([StageRequest(step.definition, tuple(wanted_periods(step)), ahead)])[0]
            staged[step.definition.id] = rows
            purse.spend(len(rows.contents), sum(each.rows for each in rows.contents))
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

    # -- writing ------------------------------------------------------------------------------------------------------

    def _apply(self, plan: MaintenancePlan, staged: Mapping[str, Staged]) -> MaintenancePlan:
        """Do the steps; the plan without the builds that the budget does not reach."""
        builds = [step for step in plan.steps if isinstance(step, BuildStep)]
        total = len(self._results) + len(plan.steps)
        left: Sequence[BuildStep] = []
        built = False
        for step in plan.steps:
            if not isinstance(step, BuildStep):
                self._do(step, publication_of(step, staged), total)
            elif not built:
                built = True
                left = self._build_all(builds, total)
        over = self._over_budget()
        return leave_over(plan, _without(plan.steps, left), over or "over budget") if left else plan

    def _do(self, step: Step, publication: Publication, total: int) -> None:
        """Publish one step, and note how it went."""
        action = step_action(step).value
        self._context.progress(action, done=len(self._results), total=total, detail=step_label(step))
        started = self._context.now()
        build_id = self._new_id()
        error = None
        try:
            self._publish(publication, build_id)
        except WarehouseQueryError as problem:
            error = problem.message
        seconds = (self._context.now() - started).total_seconds()
        self._results.append(StepResult.of(step, publication, seconds, error))

    def _publish(self, publication: Publication, build_id: str) -> None:
        self._context.confirm()
        self._session.publish(publication, at=self._context.now(), build_id=build_id)

    def _build_all(self, steps: Sequence[BuildStep], total: int) -> Sequence[BuildStep]:
        """Build in batches that share a snapshot; what fails in company is tried again alone. What the budget left over."""
        size = 1 if self._purse.bounded else self._policy.builds_per_snapshot
        begun = [[each] for each in steps if each.resumes is not None]
        new = [each for each in steps if each.resumes is None]
        batches = [*begun, *(new[first : first + size] for first in range(0, len(new), size))]
        for index, batch in enumerate(batches):
            if self._over_budget() is not None:
                return [*self._unfinished, *(step for later in batches[index:] for step in later)]
            for step in self._build_batch(batch, total):
                self._build_batch([step], total)
        return self._unfinished

    def _build_batch(self, steps: Sequence[BuildStep], total: int) -> list[BuildStep]:
        """Build and switch one batch. The steps that are to be tried again alone, if an aggregate of several broke."""
        started = self._context.now()
        requests = [self._request(step) for step in steps]
        if requests[0].begun:
            self._build_pieces(steps[0], requests[0], total)
            return []

        def tick(what: str) -> None:
            self._context.progress("build", done=len(self._results), total=total, detail=what)

        self._context.confirm()
        try:
            built = self._session.build(requests, at=started, tick=tick)
        except WarehouseQueryError as problem:
            return self._build_failed(steps, requests, problem)
        except (StopWorkError, WarehouseInterruptedError) as stop:
            self._mark_cancelled(requests, self._why(stop))
            raise
        pairs = list(zip(steps, built, strict=True))
        for step, each in pairs:
            if not each.left:
                self._purse.spend(len(each.partitions), each.rows)
                self._switch(step, each, total)
        for step, each in pairs:
            if each.left:
                self._build_pieces(step, evolve(each.request, begun=True), total)
        return []

    def _request(self, step: BuildStep) -> BuildRequest:
        """What to build: a new instance, or one that an earlier job has begun, under its own name."""
        resumes = step.resumes
        pieces = self._policy.build_partitions_per_publish
        if resumes is not None:
            return BuildRequest(
                step.definition, resumes.id, resumes.table_name, step.supersedes, None, pieces, begun=True
            )
        instance_id = self._new_id()
        name = table_name(instance_id, step.definition.name)
        return BuildRequest(step.definition, instance_id, name, step.supersedes, step.before, pieces)

    def _build_pieces(self, step: BuildStep, request: BuildRequest, total: int) -> None:
        """Build a large aggregate piece by piece, then switch.

        A job that must stop, and one whose budget is spent, leave the pieces for the next one.
        """

        def tick(what: str) -> None:
            self._context.progress("build", done=len(self._results), total=total, detail=what)

        while True:
            if self._over_budget() is not None:
                self._unfinished.append(step)
                return
            self._context.confirm()
            try:
                (built,) = self._session.build([request], at=self._context.now(), tick=tick)
            except WarehouseQueryError as problem:
                self._build_failed([step], [request], problem)
                return
            self._purse.spend(built.taken, built.rows)
            if not built.left:
                self._switch(step, built, total)
                return

    def _build_failed(
        self, steps: Sequence[BuildStep], requests: Sequence[BuildRequest], problem: WarehouseQueryError
    ) -> list[BuildStep]:
        blamed = problem.definition_id if len(steps) > 1 else steps[0].definition.id
        marks = []
        for request in requests:
            guilty = request.definition.id == blamed
            words = problem.message if guilty else "another aggregate of its batch broke off; it is built again alone"
            marks.append(Failed(request.instance_id, not guilty, words))
        self._publish(Failures(tuple(marks)), self._new_id())
        for step, request in zip(steps, requests, strict=True):
            if step.definition.id == blamed:
                code = Reason.GATE_FAILED.value if isinstance(problem, GateError) else STEP_FAILED
                self._results.append(StepResult.failed_build(step, request, problem.message, code))
        return [step for step in steps if step.definition.id != blamed]

    def _why(self, stop: AggmaintError) -> str:
        """The reason why the job must stop, in words; an interrupted statement knows it only from the job."""
        try:
            self._context.check()
        except StopWorkError as reason:
            return reason.message
        return stop.message

    def _mark_cancelled(self, requests: Sequence[BuildRequest], words: str) -> None:
        """Best effort: if it can not be noted, the next job finds the intents abandoned."""
        marks = Failures(tuple(Failed(each.instance_id, True, words) for each in requests))
        try:
            self._session.publish(marks, at=self._context.now(), build_id=self._new_id())
        except WarehouseError:
            return

    def _switch(self, step: BuildStep, built: Built, total: int) -> None:
        excess = len(built.partitions) - self._policy.partitions_max
        if excess > 0:
            words = (
                f"aggregate {step.definition.label!r} has {len(built.partitions)} periods, more than "
                f"partitions_max={self._policy.partitions_max}; choose a coarser granularity or filter absurd dates out"
            )
            self._publish(Failures((Failed(built.request.instance_id, False, words),)), self._new_id())
            self._results.append(StepResult.failed_build(step, built.request, words))
            return
        self._do(step, Switch(built, step.supersedes), total)
        error = self._results[-1].error
        if error is not None:
            self._publish(Failures((Failed(built.request.instance_id, False, error),)), self._new_id())


def _without(steps: Sequence[Step], left: Sequence[Step]) -> list[Step]:
    return [each for each in steps if not any(each is other for other in left)]
