"""One maintenance run: the steps of `maintenance.py`, over an open session. Not for use on its own."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import evolve

from ._maintenance_report import StepResult, make_report
from ._maintenance_told import told_by
from .aggregates.check import check_definition, duplicates
from .aggregates.decisions import BuildStep, MaintenancePlan, RefreshStep, Step, ViewStep, step_action, step_label
from .aggregates.freshness import with_verified
from .aggregates.inventory import make_inventory
from .aggregates.looking import Hints, SourceMark, verified_of
from .aggregates.model import AggregateDefinition
from .aggregates.naming import table_name
from .aggregates.observation import DefinitionFacts, Failure, FailureKind, Observation
from .aggregates.plan import plan_maintenance
from .aggregates.policy import Policy
from .aggregates.quarantine import count_failures, quarantined
from .aggregates.reasons import Weight
from .errors import (
    AggmaintError,
    FenceLostError,
    StopWorkError,
    TaskFailedError,
    WarehouseError,
    WarehouseInterruptedError,
    WarehouseQueryError,
)
from .task import ChangeMark, MaintenanceReport, TaskContext
from .warehouse import (
    BuildRequest,
    Built,
    Failed,
    Failures,
    PartitionWrite,
    Publication,
    Refresh,
    RestoreView,
    Staged,
    StageRequest,
    Switch,
    WarehouseSession,
    fence_behind,
)


def sound_and_sick(
    definitions: Sequence[AggregateDefinition], dialect: str
) -> tuple[list[AggregateDefinition], dict[str, str]]:
    """Definitions that a warehouse may be asked about (unblocked ones), and by id what is wrong with the others."""
    sick: dict[str, str] = {}
    by_label = {problem.aggregate: str(problem) for problem in duplicates(definitions)}
    for each in definitions:
        problems = check_definition(each, dialect)
        if problems:
            sick[each.id] = str(problems[0])
        elif each.label in by_label:
            sick[each.id] = by_label[each.label]
    sound = [each for each in definitions if each.id not in sick and not each.blocked]
    return sound, sick


def observe_with_problems(
    session: WarehouseSession, definitions: Sequence[AggregateDefinition], dialect: str, **more: Any
) -> Observation:
    """An observation whose facts include what `sound_and_sick` found."""
    sound, sick = sound_and_sick(definitions, dialect)
    observation = session.observe(sound, **{"sick": {}, **more})
    invalid = {key: DefinitionFacts(failure=Failure(FailureKind.DEFINITION, words)) for key, words in sick.items()}
    return evolve(observation, definitions={**observation.definitions, **invalid})


def hints_of(
    policy: Policy, now: datetime, marks: Sequence[ChangeMark], last_inventory: Mapping[str, Any] | None
) -> Hints:
    """What is known before a run looks, in the words of the aggregate half."""
    return Hints(
        now=now,
        marks=tuple(SourceMark.of(each) for each in marks),
        verified_at=verified_of(last_inventory),
        audit_days=policy.audit_days,
        compared_rows_max=policy.compared_rows_max,
    )


class MaintenanceRun:
    """The state of one run. `run` is called once."""

    def __init__(
        self,
        session: WarehouseSession,
        context: TaskContext,
        definitions: Sequence[AggregateDefinition],
        *,
        policy: Policy,
        new_id: Callable[[], str],
        dialect: str,
    ) -> None:
        self._session = session
        self._context = context
        self._definitions = definitions
        self._policy = policy
        self._new_id = new_id
        self._dialect = dialect
        self._told = told_by(context, definitions)
        self._last = context.last_inventory()
        self._hints = hints_of(policy, context.now(), context.marks, self._last)
        self._sick: dict[str, str] = {}
        self._results: list[StepResult] = []

    def run(self, *, must_exist: bool) -> MaintenanceReport:
        observation, plan, staged = self._prepare(must_exist)
        if plan.writes:
            self._context.confirm()
            if not self._claim(observation):
                observation, plan, staged = self._prepare(must_exist)
            self._apply(plan, staged)
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
        inventory = with_verified(inventory, self._definitions, plan, self._last)
        return make_report(plan, self._results, inventory, quarantined(counts, manual=self._context.manual))

    # -- looking ------------------------------------------------------------------------------------------------------

    def _prepare(self, must_exist: bool) -> tuple[Observation, MaintenancePlan, Mapping[str, Staged]]:
        """Observe, plan and stage from one snapshot. An aggregate that breaks while it is staged is left out, and all is
        looked at again; so there are at most as many rounds as aggregates, and one."""
        while True:
            observation = observe_with_problems(
                self._session,
                self._definitions,
                self._dialect,
                reader=self._context.fence,
                sick=self._sick,
                tick=self._tick,
                hints=self._hints,
            )
            self._require_ours(observation, must_exist)
            plan = plan_maintenance(
                self._definitions, observation, self._policy, self._context.now(), self._told, self._hints.marks
            )
            try:
                return observation, plan, self._stage(plan)
            except WarehouseQueryError as problem:
                if problem.definition_id is None or problem.definition_id in self._sick:
                    raise
                self._sick[problem.definition_id] = problem.message

    def _require_ours(self, observation: Observation, must_exist: bool) -> None:
        """Stop before anything is judged by a ledger that is lost, or that a newer job has claimed."""
        control, fence = observation.control, self._context.fence
        if must_exist and control is None:
            raise TaskFailedError(
                f"the ledger of {self._context.org_id!r} is gone from the warehouse, though aggregates are known: is "
                "this the right warehouse? Restore it, or remove the organisation and register it again",
                cause="ledger_lost",
            )
        if control is not None and (control.generation, control.fence) > (fence.generation, fence.number):
            raise TaskFailedError(fence_behind(observation.schema, control, fence), cause="fence_behind")

    def _tick(self, what: str) -> None:
        self._context.progress("observe", detail=what)

    def _stage(self, plan: MaintenancePlan) -> dict[str, Staged]:
        steps = [step for step in plan.steps if isinstance(step, RefreshStep) and _wanted(step)]
        staged: dict[str, Staged] = {}
        for index, step in enumerate(steps):
            keys = [period.key for period in _wanted(step)]
            shown = ", ".join(keys[:3]) + (", …" if keys[3:] else "")
            detail = f"{step.definition.label}: {len(keys)} {'partition' if len(keys) == 1 else 'partitions'} ({shown})"
            self._context.progress("compute", done=index, total=len(steps), detail=detail)
            staged[step.definition.id] = self._session.stage([StageRequest(step.definition, tuple(_wanted(step)))])[0]
        return staged

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

    def _apply(self, plan: MaintenancePlan, staged: Mapping[str, Staged]) -> None:
        builds = [step for step in plan.steps if isinstance(step, BuildStep)]
        total = len(plan.steps)
        built = False
        for step in plan.steps:
            if not isinstance(step, BuildStep):
                self._do(step, _publication(step, staged), total)
            elif not built:
                built = True
                self._build_all(builds, total)

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

    def _build_all(self, steps: Sequence[BuildStep], total: int) -> None:
        """Build in batches that share a snapshot; what fails in company is tried again alone."""
        size = self._policy.builds_per_snapshot
        for first in range(0, len(steps), size):
            alone = self._build_batch(steps[first : first + size], total)
            for step in alone:
                self._build_batch([step], total)

    def _build_batch(self, steps: Sequence[BuildStep], total: int) -> list[BuildStep]:
        """Build and switch one batch. The steps that are to be tried again alone, if an aggregate of several broke."""
        started = self._context.now()
        requests = []
        for step in steps:
            instance_id = self._new_id()
            name = table_name(instance_id, step.definition.name)
            requests.append(BuildRequest(step.definition, instance_id, name))

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
        for step, each in zip(steps, built, strict=True):
            self._switch(step, each, total)
        return []

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
                self._results.append(StepResult.failed_build(step, request, problem.message))
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


def _wanted(step: RefreshStep) -> list[Any]:
    """The periods that are to be computed: those that the sources have rows of."""
    return [each.period for each in step.partitions if each.token is not None]


def _publication(step: Step, staged: Mapping[str, Staged]) -> Publication:
    """What a plan's step publishes; a builds' `Switch` comes from its build."""
    if isinstance(step, BuildStep):
        raise TypeError("a build has its publication when it is built")
    if isinstance(step, RefreshStep):
        return _refresh(step, staged.get(step.definition.id))
    return RestoreView(step.definition, step.instance) if isinstance(step, ViewStep) else step


def _refresh(step: RefreshStep, staged: Staged | None) -> Refresh:
    tokens = {each.period: each.token for each in step.partitions if each.token is not None}
    contents = staged.contents if staged is not None else ()
    return Refresh(
        definition=step.definition,
        instance=step.instance,
        staged=staged,
        replaced=tuple(each.period for each in step.partitions),
        written=tuple(PartitionWrite(each.period, each.rows, tokens[each.period], each.content) for each in contents),
        source_tokens=step.source_tokens,
    )
