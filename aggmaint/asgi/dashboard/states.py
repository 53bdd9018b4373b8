"""What is good and what is not: the state of an organisation, of an aggregate, of each partition. The rules, in one place.

Theory of operation. An organisation's *health* follows from its document alone, so that a list of thousands costs one read
each. The *state of a partition* follows from three things: the inventory (what the last job that looked had found and left),
that job's report (what it wanted to do, and where it failed), and the change marks that came since. Worse news wins:

    missing   the source has rows of the period, and nothing is published of it
    failed    a step that should have refreshed it failed
    stale     it is known or marked to differ from its source
    unknown   the last job could not compare it
    fresh     compared, or written, and equal then; nothing was marked since

"Fresh" is never assumed: a word that this version does not know is `unknown`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum

from attrs import frozen

from ...aggregates.reasons import MEANINGS, Reason
from ...core.marks import EVERYTHING, ChangeMark
from ...core.organization import OrgSnapshot
from .facts import AggregateFacts, DecisionFacts, InventoryFacts, PartitionFacts, ReportFacts


class Health(StrEnum):
    """What an operator must know first about an organisation, the most urgent first."""

    FAILING = "failing"
    DISABLED = "disabled"
    PAUSED = "paused"
    NEW = "new"
    HEALTHY = "healthy"


def health(document: OrgSnapshot) -> Health:
    if not document.enabled:
        return Health.DISABLED
    if document.failure_streak:
        return Health.FAILING
    if document.paused is not None:
        return Health.PAUSED
    return Health.HEALTHY if document.last_fence and document.inventory_job_id is not None else _unseen(document)


def _unseen(document: OrgSnapshot) -> Health:
    """No inventory: nothing has ever run to its end, or the host's own task leaves none."""
    ran = document.last_fence > (1 if document.running else 0)
    return Health.HEALTHY if ran else Health.NEW


class State(StrEnum):
    MISSING = "missing"
    FAILED = "failed"
    STALE = "stale"
    UNKNOWN = "unknown"
    FRESH = "fresh"


WORST_FIRST: Sequence[State] = tuple(State)


@frozen
class PartitionState:
    """A partition as it is to be believed now. `why`: what was found; `meaning`: what the reason's code says in general."""

    key: str
    state: State
    reason: str
    why: str
    meaning: str
    rows: int
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    published_at: datetime | None = None


@frozen
class Freshness:
    """How an aggregate stands: how many of its partitions are in which state, and what to say about the whole."""

    counts: dict[State, int]
    blocked: bool
    built: bool
    failing: int

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def fresh(self) -> int:
        return self.counts.get(State.FRESH, 0)

    @property
    def state(self) -> State:
        """The worst of its partitions; what was never built is missing, or failed if that was tried."""
        if not self.built:
            return State.FAILED if self.failing else State.MISSING
        return next((each for each in WORST_FIRST if self.counts.get(each)), State.FRESH)


def partition_states(
    aggregate: AggregateFacts, report: ReportFacts | None, marks: Iterable[ChangeMark]
) -> tuple[PartitionState, ...]:
    """Every partition that is published or wanted, in the order of keys. `report`: of the job that wrote the inventory."""
    decided = _decided(aggregate, report)
    failed = _failed(aggregate, report)
    mine = [mark for mark in marks if _is_about(mark, aggregate)]
    published = {each.key for each in aggregate.partitions}
    states = [_published(each, decided.get(each.key), failed, mine) for each in aggregate.partitions]
    for key, decision in decided.items():
        if key not in published and decision.action == "refresh":
            why = f"{decision.words}; {failed[key]}" if key in failed else decision.words
            states.append(PartitionState(key, State.MISSING, decision.reason, why, meaning(decision.reason), 0))
    return tuple(sorted(states, key=lambda each: (each.key == "null", each.key)))


def freshness(aggregate: AggregateFacts, states: Sequence[PartitionState]) -> Freshness:
    counts: dict[State, int] = {}
    for each in states:
        counts[each.state] = counts.get(each.state, 0) + 1
    return Freshness(
        counts=counts,
        blocked=aggregate.blocked,
        built=aggregate.status == "active",
        failing=aggregate.failures_in_row or (1 if aggregate.status == "invalid" and not aggregate.blocked else 0),
    )


def worst(found: Iterable[Freshness]) -> State | None:
    """The worst state of those that are wanted; None if there are none."""
    states = [each.state for each in found if not each.blocked]
    return min(states, key=WORST_FIRST.index, default=None)


def meaning(reason: str) -> str:
    """What the reason's code says in general; nothing for a code that this version does not know."""
    try:
        return MEANINGS[Reason(reason)].sentence
    except ValueError:
        return ""


def all_freshness(
    inventory: InventoryFacts, report: ReportFacts | None, marks: Sequence[ChangeMark]
) -> list[tuple[AggregateFacts, Freshness]]:
    return [
        (each, freshness(each, partition_states(each, report, marks))) for each in inventory.aggregates
    ]  # in the inventory's order: by cube and name


def _published(
    facts: PartitionFacts, decision: DecisionFacts | None, failed: dict[str, str], marks: Sequence[ChangeMark]
) -> PartitionState:
    state, reason = _word(facts.state), facts.reason
    why = decision.words if decision is not None else meaning(reason)
    if facts.key in failed and state is not State.FRESH:
        state, why = State.FAILED, f"{why}; {failed[facts.key]}" if why else failed[facts.key]
    elif state is State.FRESH:
        if decision is not None and decision.action == "refresh":
            why = f"written by the last run, because: {decision.words}"
        mark = next((each for each in marks if _touches(each, facts)), None)
        if mark is not None:
            state, reason, why = State.STALE, MARKED, _mark_words(mark)
    return PartitionState(
        key=facts.key,
        state=state,
        reason=reason,
        why=why,
        meaning=_MARKED if reason == MARKED else meaning(reason),
        rows=facts.rows,
        starts_at=facts.starts_at,
        ends_at=facts.ends_at,
        published_at=facts.published_at,
    )


MARKED = "source_marked"
_MARKED = "The host said that rows of the source changed after the last job looked; the next run compares them."


def _word(state: str) -> State:
    try:
        return State(state)
    except ValueError:
        return State.UNKNOWN


def _decided(aggregate: AggregateFacts, report: ReportFacts | None) -> dict[str, DecisionFacts]:
    decisions = report.decisions if report is not None else ()
    return {
        key: each
        for each in decisions
        if each.subject == "partition" and each.definition_id == aggregate.id
        for key in each.partitions
    }


def _failed(aggregate: AggregateFacts, report: ReportFacts | None) -> dict[str, str]:
    """The partitions of failed steps, each with what went wrong."""
    steps = report.steps if report is not None else ()
    return {
        key: f"the step failed: {each.error}"
        for each in steps
        if each.failed and each.definition_id == aggregate.id
        for key in each.partitions
    }


def _is_about(mark: ChangeMark, aggregate: AggregateFacts) -> bool:
    """A mark names a source as the definition does, or by the last part of its name."""
    if mark.source == EVERYTHING:
        return True
    wanted = mark.source.casefold()
    return any(wanted in (each.casefold(), _last_part(each).casefold()) for each in aggregate.sources)


def _last_part(source: str) -> str:
    return source.rsplit(".", 1)[-1].strip().strip('"')


def _touches(mark: ChangeMark, partition: PartitionFacts) -> bool:
    """Whether the ranges overlap; a side without bound reaches everywhere."""
    starts_before = mark.starts_at is None or partition.ends_at is None or mark.starts_at < partition.ends_at
    ends_after = mark.ends_at is None or partition.starts_at is None or mark.ends_at > partition.starts_at
    return starts_before and ends_after


def _mark_words(mark: ChangeMark) -> str:
    source = "all sources" if mark.source == EVERYTHING else mark.source
    if mark.whole:
        return f"marked as changed after the last look: {source}"
    start = mark.starts_at.strftime("%Y-%m-%d") if mark.starts_at else "the beginning"
    end = mark.ends_at.strftime("%Y-%m-%d") if mark.ends_at else "the end"
    return f"marked as changed after the last look: {source}, from {start} to {end}"
