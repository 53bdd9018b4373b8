"""The built-in task: keep the aggregates of one organisation right. Observe, plan, stage, claim, apply, report.

Theory of operation
-------------------
A run looks first: it observes the warehouse and plans (a value, with a reason for every candidate), both from one snapshot,
and computes stale partitions aside from that same snapshot. Nothing has been written then. If the plan has nothing to
write, the run is over, without a write statement. Else it claims the schema with the job's fence; the claim holds only if
nothing was written since the observation, so what was planned is still right. If something was (a predecessor's last
publish), the claim is taken first and all is observed, planned and staged again. Then the steps are done one by one, each
a guarded transaction, each right after asking the job store whether this job is still the newest.

A sick aggregate stops no other: it becomes a finding and an error, and the report is not complete. A warehouse that can
not be reached stops the job, as TaskFailedError, and condemns nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from attrs import evolve

from ._maintenance_apply import RunSettings
from ._maintenance_looking import hints_of, observe_with_problems, sound_and_sick
from ._maintenance_run import MaintenanceRun
from ._maintenance_verify import Verification, Verifier, VerifyMode, VerifyOptions
from .aggregates.budget import ration
from .aggregates.certificates import Certificate, make_certificate
from .aggregates.life import Told
from .aggregates.model import AggregateDefinition
from .aggregates.naming import schema_name
from .aggregates.observation import ControlState
from .aggregates.options import Adopt, TaskOptions, find_definition, resolve
from .aggregates.plan import plan_maintenance
from .aggregates.plans import Plan, make_plan
from .aggregates.policy import Policy
from .aggregates.shaping import shape
from .aggregates.upstream import hold_back, with_upstream
from .errors import (
    FenceLostError,
    ForeignSchemaError,
    InvalidValueError,
    LedgerLostError,
    MissingExtraError,
    TaskFailedError,
    WarehouseBusyError,
    WarehouseError,
    WarehouseInterruptedError,
    WarehouseUnavailableError,
)
from .task import ChangeMark, MaintenanceReport, TaskContext
from .warehouse import ManagedSchema, Warehouse, WarehouseSession

__all__ = [
    "Adopt",
    "AggregateMaintenance",
    "Certificate",
    "Plan",
    "TaskOptions",
    "Verification",
    "VerifyMode",
    "VerifyOptions",
]

Definitions = Callable[[str], Sequence[AggregateDefinition]] | Mapping[str, Sequence[AggregateDefinition]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (WarehouseBusyError, "warehouse_busy"),
    (WarehouseUnavailableError, "warehouse_unavailable"),
    (ForeignSchemaError, "warehouse_foreign"),
    (LedgerLostError, "ledger_lost"),
    (FenceLostError, "fence_lost"),
    (WarehouseInterruptedError, "interrupted"),
    (MissingExtraError, "missing_extra"),
    (WarehouseError, "warehouse_error"),
)


class AggregateMaintenance:
    """A MaintenanceTask over aggregate definitions. Stateless between runs; may be used by many threads.

    definitions     the definitions of an organisation: a callable, or a mapping (an absent organisation has none).
    warehouse_for   the warehouse of an organisation; asked once per call, so give the same object where one is held open.
    policy          one for all, or a callable.
    installation    who we are: schemas of another installation in the same warehouse are never written.
    knows_instances whether the organisation's last inventory has instances; then a warehouse without a ledger is a lost
                    one, and is refused rather than begun again.
    new_id          draws ids of instances and builds.
    """

    def __init__(
        self,
        *,
        definitions: Definitions,
        warehouse_for: Callable[[str], Warehouse],
        policy: Policy | Callable[[str], Policy] = Policy(),  # noqa: B008 - frozen
        installation: str = "default",
        knows_instances: Callable[[str], bool] = lambda _org_id: False,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        if not installation.strip():
            raise InvalidValueError("installation is empty; give a name that stays the same, such as 'production'")
        self._definitions = definitions
        self._warehouse_for = warehouse_for
        self._policy = policy
        self._installation = installation
        self._knows_instances = knows_instances
        self._new_id = new_id

    def run(self, context: TaskContext) -> MaintenanceReport:
        """Do one maintenance run. Raises TaskFailedError (its `cause` a stable word) if it could not observe or claim.

        The job's options are those of `TaskOptions`; InvalidValueError for others, and for aggregates that are not known.
        """
        org_id = context.org_id
        definitions = self.definitions(org_id)
        options = TaskOptions.from_json(context.options)
        wishes = resolve(options, definitions)
        context.progress("connect")
        warehouse = self._warehouse_for(org_id)
        with _job_errors(), self._session(warehouse, org_id, definitions, options=options) as session:
            settings = RunSettings(
                policy=self._policy_for(org_id, options, definitions),
                wishes=wishes,
                new_id=self._new_id,
                dialect=warehouse.capabilities.dialect,
            )
            run = MaintenanceRun(session, context, definitions, settings)
            with _interrupted_by(context, session):
                return run.run(must_exist=self._knows_instances(org_id))

    def plan(
        self,
        org_id: str,
        *,
        now: datetime,
        options: TaskOptions = TaskOptions(),  # noqa: B008 - frozen
        marks: Sequence[ChangeMark] = (),
        last_inventory: Mapping[str, Any] | None = None,
    ) -> Plan:
        """What a run at `now` (with these options) would do, and why. Opens the warehouse and only reads.

        To do exactly this later: `run_immediately(org_id, options=TaskOptions(apply=plan).to_json())`. `marks` and
        `last_inventory` are what a job would be given: without them, nothing is known to be marked, and the audit begins
        with the day of the last publish.

        Raises WarehouseUnavailableError, WarehouseBusyError (names the process), ForeignSchemaError, LedgerLostError;
        InvalidValueError for what can not be asked for.
        """
        definitions = self.definitions(org_id)
        warehouse = self._warehouse_for(org_id)
        wishes = resolve(options, definitions)
        dialect = warehouse.capabilities.dialect
        policy = self._policy_for(org_id, options, definitions)
        with self._session(warehouse, org_id, definitions, read_only=True, options=options) as session:
            hints = hints_of(policy, now, marks, last_inventory)
            observation = observe_with_problems(session, definitions, dialect, hints=hints)
            told = Told(activate=frozenset(options.activate))
            plan = plan_maintenance(definitions, observation, policy, now, told, hints.marks)
            shaped = ration(hold_back(shape(plan, definitions, observation, wishes, now), definitions), policy)
            return make_plan(shaped, observation, definitions, dialect)

    def verify(
        self,
        org_id: str,
        aggregate: str | None = None,
        *,
        options: VerifyOptions = VerifyOptions(),  # noqa: B008 - frozen
        now: datetime | None = None,
    ) -> tuple[Verification, ...]:
        """Recompute aggregates (all, or the one named) and compare. Opens the warehouse and only reads.

        Blocked and unusable definitions are left out. `now` (aware; needed for mode "sample") says whose turn it is.
        Raises as `plan`, and InvalidValueError for a name or a partition that is not known.
        """
        if options.mode is VerifyMode.SAMPLE and now is None:
            raise InvalidValueError("verify: mode='sample' needs now, by which it takes turns")
        warehouse = self._warehouse_for(org_id)
        chosen, _ = sound_and_sick(self.definitions(org_id), warehouse.capabilities.dialect)
        if aggregate is not None:
            chosen = [find_definition(chosen, aggregate)]
        with self._session(warehouse, org_id, chosen, read_only=True) as session:
            return Verifier(session, options, now or _EPOCH).verify(chosen)

    def certificate(self, org_id: str, aggregate: str, *, now: datetime) -> Certificate:
        """How fresh an aggregate is, partition by partition, with what proves it. Opens the warehouse and only reads.

        Raises as `plan`, and InvalidValueError for an aggregate that is not known or not in service.
        """
        warehouse = self._warehouse_for(org_id)
        definitions = self.definitions(org_id)
        definition = find_definition(definitions, aggregate)
        dialect = warehouse.capabilities.dialect
        with self._session(warehouse, org_id, definitions, read_only=True) as session:
            observation = observe_with_problems(session, [definition], dialect)
        plan = plan_maintenance([definition], observation, self._policy_of(org_id), now)
        return make_certificate(definition, observation, plan, now)

    def control(self, org_id: str) -> ControlState | None:
        """The control row of the organisation's schema: its newest claim. None if there is none. Only reads."""
        with self._session(self._warehouse_for(org_id), org_id, self.definitions(org_id), read_only=True) as session:
            return session.observe([], sick={}).control

    def definitions(self, org_id: str) -> tuple[AggregateDefinition, ...]:
        """The organisation's definitions, as configured now."""
        if isinstance(self._definitions, Mapping):
            return with_upstream(self._definitions.get(org_id, ()))
        return with_upstream(self._definitions(org_id))

    def _policy_of(self, org_id: str) -> Policy:
        return self._policy if isinstance(self._policy, Policy) else self._policy(org_id)

    def _policy_for(self, org_id: str, options: TaskOptions, definitions: Sequence[AggregateDefinition]) -> Policy:
        policy = self._policy_of(org_id)
        if not options.approve_mass_drop:
            return policy
        return evolve(policy, retired_max=len(definitions) + 10**9, retired_share_max=1.0)

    @contextmanager
    def _session(
        self,
        warehouse: Warehouse,
        org_id: str,
        definitions: Sequence[AggregateDefinition],
        *,
        read_only: bool = False,
        options: TaskOptions | None = None,
    ) -> Iterator[WarehouseSession]:
        adopt_from = None
        if options is not None and options.adopt is not None:
            adopt_from = options.adopt.take_over_from or self._installation
        schema = ManagedSchema(self._installation, org_id, schema_name(org_id), adopt_from)
        create = self._may_create(org_id, definitions)
        session = warehouse.open(schema, create=create, read_only=read_only)
        try:
            yield session
        finally:
            session.close()

    def _may_create(self, org_id: str, definitions: Sequence[AggregateDefinition]) -> bool | None:
        """Whether a warehouse that is not there may be begun: never if it was there, and yes if all data is in files."""
        if self._knows_instances(org_id):
            return False
        sources = [s for each in definitions for s in (*each.sources, *each.dependencies) if s.aggregate is None]
        return True if sources and all(source.file is not None for source in sources) else None


@contextmanager
def _interrupted_by(context: TaskContext, session: WarehouseSession) -> Iterator[None]:
    """A statement that runs does not outlive its job: what stops the job breaks it off, and is what is raised."""
    take_off = context.on_stop(lambda _reason: session.interrupt())
    try:
        yield
    except WarehouseInterruptedError:
        context.check()
        raise
    finally:
        take_off()


@contextmanager
def _job_errors() -> Iterator[None]:
    """What stops a whole run, as the job half knows it."""
    try:
        yield
    except (WarehouseError, MissingExtraError) as problem:
        cause = next(word for kind, word in _CAUSES if isinstance(problem, kind))
        raise TaskFailedError(problem.message, cause=cause) from problem
