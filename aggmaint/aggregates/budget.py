"""What one run may spend, and what is left for later when it is spent.

Theory of operation
-------------------
A policy bounds the partitions that a run computes, the rows that it writes, and its seconds; 0 is no bound. Partitions and
rows are rationed before anything runs, by what the ledger knows (`ration`), so that a plan shows it; what was really spent
is counted where the work happens (`Purse`), and once it is too much nothing more is begun. A refresh may be cut at its
partitions: those never published come first, then those whose publish is oldest, so that each has its turn. It is not cut
where a whole depended-on source changed, because its token stands for all partitions. **The first unit of a run is always
done**: a bound that is smaller than the smallest piece of work delays, but never starves.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import define, evolve

from .decisions import BuildStep, Decision, MaintenancePlan, PartitionRefresh, RefreshStep, Step, Subject
from .policy import Policy
from .reasons import Reason
from .shaping import leave_out

_NEVER = datetime(1, 1, 1, tzinfo=UTC)


@define
class Purse:
    """Counts what a run spends."""

    policy: Policy
    partitions: int = 0
    rows: int = 0
    seconds: float = 0.0

    @property
    def untouched(self) -> bool:
        return self.partitions == 0

    @property
    def bounded(self) -> bool:
        """Whether what is really spent can end a run earlier than `ration` did."""
        return bool(self.policy.run_partitions_max or self.policy.run_rows_max or self.policy.run_s)

    def spend(self, partitions: int, rows: int) -> None:
        self.partitions += max(partitions, 1)
        self.rows += rows

    def empty(self) -> str | None:
        """Which bound is reached, in words; None if more may be begun. The first unit may always."""
        if self.untouched:
            return None
        policy = self.policy
        if policy.run_partitions_max and self.partitions >= policy.run_partitions_max:
            return f"over budget: run_partitions_max={policy.run_partitions_max}"
        if policy.run_rows_max and self.rows >= policy.run_rows_max:
            return f"over budget: run_rows_max={policy.run_rows_max}"
        if policy.run_s and self.seconds >= policy.run_s:
            return f"over budget: run_s={policy.run_s:g}"
        return None


def ration(plan: MaintenancePlan, policy: Policy) -> MaintenancePlan:
    """The plan without what is over budget by what the ledger knows. Removing, dropping and retiring cost nothing."""
    purse = Purse(policy)
    kept: list[Step] = []
    why = None
    for step in plan.steps:
        if not isinstance(step, BuildStep | RefreshStep) or not units_of(step):
            kept.append(step)
            continue
        part = step if purse.empty() is None else None
        if isinstance(part, RefreshStep):
            part = _affordable(part, purse)
        if part is not None:
            kept.append(part)
            purse.spend(units_of(part), rows_of(part))
        if part is not step:
            why = purse.empty() or "over budget"
    return plan if why is None else leave_over(plan, kept, why)


def leave_over(plan: MaintenancePlan, kept: Sequence[Step], why: str) -> MaintenancePlan:
    """The plan with these steps only; what is over budget is left for a later run, and says so."""
    return leave_out(plan, kept, _reason, why)


def _reason(decision: Decision) -> Reason:
    if decision.subject is Subject.PARTITION:
        return Reason.PARTITION_OVER_BUDGET
    return Reason.DEFINITION_OVER_BUDGET


def units_of(step: BuildStep | RefreshStep) -> int:
    """How many partitions a step computes, as far as it is known."""
    if isinstance(step, BuildStep):
        return len(step.supersedes.partitions) or 1 if step.supersedes else 1
    return sum(each.token is not None for each in step.partitions)


def rows_of(step: BuildStep | RefreshStep) -> int:
    """How many rows a step writes, by what the ledger knows; 0 where it knows nothing."""
    if isinstance(step, BuildStep):
        return step.supersedes.rows if step.supersedes else 0
    known = {each.period: each.rows for each in step.instance.partitions}
    return step.rows_written(
        {each.period: known.get(each.period, 0) for each in step.partitions if each.token is not None}
    )


def _affordable(step: RefreshStep, purse: Purse) -> RefreshStep:
    """As many of its partitions as the purse allows, at least one; all where it can not be cut."""
    if any(each.reason is Reason.DEPENDENCY_CHANGED for each in step.partitions):
        return step
    records = {each.period: each for each in step.instance.partitions}

    def turn(each: PartitionRefresh) -> tuple[datetime, str]:
        record = records.get(each.period)
        return (record.published_at if record else _NEVER, each.period.key)

    trial = evolve(purse)
    chosen: set[PartitionRefresh] = {each for each in step.partitions if each.token is None}
    for each in sorted(step.partitions, key=turn):
        if each.token is None:
            continue
        if trial.empty() is not None:
            break
        chosen.add(each)
        trial.spend(1, rows_of(evolve(step, partitions=(each,))))
    if len(chosen) == len(step.partitions):
        return step
    partitions = tuple(each for each in step.partitions if each in chosen)
    return evolve(step, partitions=partitions, source_tokens=step.instance.source_tokens)
