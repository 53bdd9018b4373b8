"""What is good and what is not: the state of an organisation, of an aggregate, of each partition. The rules, in one place.

Theory of operation. An organisation's *health* follows from its document alone, so that a list of thousands costs one read
each. The *state of a partition* follows from three things: the inventory (what the last job that looked had found and left),
that job's report (what it wanted to do, and where it failed), and the change marks that came since. What a mark makes stale
is decided by `aggregates.freshness.with_marks`, when the inventory is read; here it is only said. Worse news wins:

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
    """How an aggregate stands: its partitions by state. `blocked`: by hand or deactivated, so that nobody waits for it."""

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
        blocked=aggregate.blocked or bool(aggregate.deactivated),
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
    state = _word(facts.state)
    why, general = decision.words if decision is not None else meaning(facts.reason), meaning(facts.reason)
    if facts.key in failed and state is not State.FRESH:
        state, why = State.FAILED, f"{why}; {failed[facts.key]}" if why else failed[facts.key]
    elif state is State.FRESH and decision is not None and decision.action == "refresh":
        why = f"written by the last run, because: {decision.words}"
    elif _is_marked_since(facts, decision):
        why, general = _mark_words(marks), _MARKED_SINCE
    return PartitionState(
        key=facts.key,
        state=state,
        reason=facts.reason,
        why=why,
        meaning=general,
        rows=facts.rows,
        starts_at=facts.starts_at,
        ends_at=facts.ends_at,
        published_at=facts.published_at,
    )


_MARKED_SINCE = "The host said that rows of a source changed after the last job looked; the next run compares them."


def _is_marked_since(facts: PartitionFacts, decision: DecisionFacts | None) -> bool:
    """Whether a mark came after the run: the inventory as it is to be read says so, and the run's report does not."""
    marked = Reason.PARTITION_MARKED.value
    return facts.reason == marked and (decision is None or decision.reason != marked)


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
    return mark.source == EVERYTHING or mark.source.casefold() in aggregate.mark_names


def _mark_words(marks: Sequence[ChangeMark]) -> str:
    return f"marked as changed after the last look: {'; '.join(map(_range_words, marks)) or 'a source of it'}"


def _range_words(mark: ChangeMark) -> str:
    source = "all sources" if mark.source == EVERYTHING else mark.source
    if mark.whole:
        return source
    start = mark.starts_at.strftime("%Y-%m-%d") if mark.starts_at else "the beginning"
    end = mark.ends_at.strftime("%Y-%m-%d") if mark.ends_at else "the end"
    return f"{source}, from {start} to {end}"
