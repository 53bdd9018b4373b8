"""The writing half of a maintenance run: publishes, and builds in batches or pieces. Not for use on its own."""

from collections.abc import Callable, Mapping, Sequence

from attrs import define, evolve, field, frozen

from ._maintenance_publications import publication_of
from ._maintenance_report import StepResult
from .aggregates.budget import Purse, leave_over
from .aggregates.decisions import BuildStep, MaintenancePlan, Step, step_action, step_label
from .aggregates.findings import STEP_FAILED
from .aggregates.naming import table_name
from .aggregates.options import Wishes
from .aggregates.policy import Policy
from .aggregates.reasons import Reason
from .errors import (
    AggmaintError,
    GateError,
    StopWorkError,
    WarehouseError,
    WarehouseInterruptedError,
    WarehouseQueryError,
)
from .task import TaskContext
from .warehouse import (
    BuildRequest,
    Built,
    Failed,
    Failures,
    Publication,
    Staged,
    Switch,
    WarehouseSession,
)


@frozen
class RunSettings:
    """How a run works, beside what it is given: see AggregateMaintenance."""

    policy: Policy
    wishes: Wishes
    new_id: Callable[[], str]
    dialect: str


@define
class Applier:
    """Does the steps of one plan.

    over_budget  why nothing more may be begun, in words; None if something may.
    results      how steps went so far; those of this plan are added.
    """

    _session: WarehouseSession
    _context: TaskContext
    _settings: RunSettings
    _purse: Purse
    _over_budget: Callable[[], str | None]
    _results: list[StepResult]
    _unfinished: list[BuildStep] = field(factory=list)

    def apply(self, plan: MaintenancePlan, staged: Mapping[str, Staged]) -> MaintenancePlan:
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
        return leave_over(plan, without(plan.steps, left), over or "over budget") if left else plan

    def _do(self, step: Step, publication: Publication, total: int) -> None:
        """Publish one step, and note how it went."""
        action = step_action(step).value
        self._context.progress(action, done=len(self._results), total=total, detail=step_label(step))
        started = self._context.now()
        build_id = self._settings.new_id()
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
        size = 1 if self._purse.bounded else self._settings.policy.builds_per_snapshot
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
        pieces = self._settings.policy.build_partitions_per_publish
        if resumes is not None:
            return BuildRequest(
                step.definition, resumes.id, resumes.table_name, step.supersedes, None, pieces, begun=True
            )
        instance_id = self._settings.new_id()
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
        self._publish(Failures(tuple(marks)), self._settings.new_id())
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
            self._session.publish(marks, at=self._context.now(), build_id=self._settings.new_id())
        except WarehouseError:
            return

    def _switch(self, step: BuildStep, built: Built, total: int) -> None:
        periods_max = self._settings.policy.partitions_max
        if len(built.partitions) > periods_max:
            words = (
                f"aggregate {step.definition.label!r} has {len(built.partitions)} periods, more than "
                f"partitions_max={periods_max}; choose a coarser granularity or filter absurd dates out"
            )
            self._publish(Failures((Failed(built.request.instance_id, False, words),)), self._settings.new_id())
            self._results.append(StepResult.failed_build(step, built.request, words))
            return
        self._do(step, Switch(built, step.supersedes), total)
        error = self._results[-1].error
        if error is not None:
            self._publish(Failures((Failed(built.request.instance_id, False, error),)), self._settings.new_id())


def without(steps: Sequence[Step], left: Sequence[Step]) -> list[Step]:
    return [each for each in steps if not any(each is other for other in left)]
