"""Which partitions of a healthy instance are not current, and why.

A period is a candidate if the ledger, the sources or the table know it, or if it was looked at. What the table holds is
compared with what was published (damage), then the source's token with the published one (staleness). Where the source's
rows of a period were not read, someone vouches for them (`observation.Vouch`); it is then said to be fresh only if its
table was compared and the whole source's fingerprint is the published one, else `partition_vouched`. "Fresh" is never
assumed. Tokens that can not be compared make a partition stale; how many are refreshed for that reason alone in one run is
bounded, so that an engine's upgrade does not rebuild everything at once.

Where rows were only added to the source (`growth.Grown`), the tokens of the new rows say which periods have some, and add
up to the present ones. All such periods are merged, or, where that can not be or does not pay, computed anew; periods
that must be fingerprinted all the same (marked, due for the audit, or ahead of the source's mark) are computed. See
`additive.py`.
"""

from collections.abc import Mapping, Sequence

from attrs import define, frozen

from .additive import ahead, grown_token, mark_now, merge_pays
from .decisions import Action, Decision, NewRows, PartitionRefresh, Subject
from .growth import Hindrance
from .model import AggregateDefinition
from .observation import (
    Cause,
    DefinitionFacts,
    InstanceRecord,
    PartitionContent,
    PartitionRecord,
    TableFacts,
    Vouch,
)
from .periods import Period
from .policy import Policy
from .reasons import Reason
from .scans import DEPENDENCY_KEY
from .tokens import Comparison, TokenKind, compare_tokens, token_kind, token_rows

Judgement = tuple[Reason, str]


@define
class Reverifying:
    """How many more partitions this run may refresh only because their tokens can not be compared."""

    left: int

    def take(self) -> bool:
        self.left -= 1
        return self.left >= 0


@frozen
class PartitionPlan:
    """One decision per period, in the order of their keys; the refreshes that follow; whether stale ones are left out.

    `words`: of new rows, whether they are merged; empty where nobody asked.
    """

    decisions: tuple[Decision, ...]
    refreshes: tuple[PartitionRefresh, ...]
    deferred: int
    words: str = ""


@frozen
class _Case:
    """What is known of one period. `token` None: the source has no rows of it; meant only where `cause` is given.

    `added`: the token of its new rows, where rows were only added to the source. `hindrance`: why they are not merged.
    """

    record: PartitionRecord | None
    content: PartitionContent | None
    compared: bool
    token: str | None
    cause: Cause | None
    added: str | None
    hindrance: Hindrance | None

    @property
    def token_now(self) -> str | None:
        """The token of its source rows as they are now; None if there are none."""
        if self.cause is not None:
            return self.token
        if self.record is None:
            return self.added
        return self.record.token if self.added is None else grown_token(self.record.token, self.added)


def plan_partitions(
    definition: AggregateDefinition,
    instance: InstanceRecord,
    facts: DefinitionFacts,
    table: TableFacts,
    reverifying: Reverifying,
    policy: Policy,
) -> PartitionPlan:
    dependency = _dependency_moved(instance, facts.source_tokens)
    mark = mark_now(definition, facts.source_tokens)
    cases = _cases(instance, facts, table)
    judged = {period: _judge(case, dependency, facts.vouch) for period, case in cases.items()}
    new = _new_rows(cases, judged, facts, policy)
    decisions: list[Decision] = []
    refreshes: list[PartitionRefresh] = []
    deferred = 0
    for period, case in cases.items():
        reason, words = judged[period]
        token = case.token_now
        if reason is Reason.PARTITION_MERGED and period not in new:
            reason, words = (
                Reason.PARTITION_MERGE_SMALL,
                f"{words}; to compute so little anew costs less than to merge them",
            )
        if reason is Reason.PARTITION_UNVERIFIABLE and not reverifying.take():
            reason, words = Reason.PARTITION_UNVERIFIED, f"{words}; a later run refreshes it"
            deferred += 1
        kept = reason in {Reason.PARTITION_FRESH, Reason.PARTITION_VOUCHED, Reason.PARTITION_UNVERIFIED}
        action = Action.NONE if kept else (Action.REFRESH if token is not None else Action.REMOVE)
        decisions.append(
            Decision(Subject.PARTITION, reason, action, definition.label, words, definition.id, period.key, instance.id)
        )
        if not kept:
            refreshes.append(PartitionRefresh(period, token, reason, mark, new.get(period)))
    return PartitionPlan(tuple(decisions), tuple(refreshes), deferred, _growth_words(facts, new))


def _new_rows(
    cases: Mapping[Period, _Case], judged: Mapping[Period, Judgement], facts: DefinitionFacts, policy: Policy
) -> dict[Period, NewRows]:
    """The new rows to merge, by period: of all periods where they can be merged, or, where it does not pay, of none."""
    added = {
        period: case.added
        for period, case in cases.items()
        if case.added is not None and case.cause is None and judged[period][0] in _MERGEABLE
    }
    records = {period: case.record for period, case in cases.items() if case.record is not None}
    if (
        facts.grown is None
        or facts.hindered is not None
        or not merge_pays(records, added.items(), policy.merge_rows_min)
    ):
        return {}
    return {period: NewRows(facts.grown.since, token_rows(token)) for period, token in added.items()}


_MERGEABLE = frozenset({Reason.PARTITION_MERGED, Reason.PARTITION_NEW})


def _growth_words(facts: DefinitionFacts, new: Mapping[Period, NewRows]) -> str:
    if new:
        return f"{sum(each.rows for each in new.values()):,} new rows are merged into {len(new)} of them"
    hindered = facts.hindered
    return (
        ""
        if hindered is None or hindered.hindrance is Hindrance.UNDECLARED
        else f"computed anew, since {hindered.words}"
    )


def _cases(instance: InstanceRecord, facts: DefinitionFacts, table: TableFacts) -> Mapping[Period, _Case]:
    ledger = {each.period: each for each in instance.partitions}
    contents = {each.period: each for each in table.contents}
    tokens = dict(facts.tokens or ())
    looked: dict[Period, Cause] = dict(facts.looked)
    added = _added(instance, facts)
    hindrance = facts.hindered.hindrance if facts.hindered is not None else None
    default = facts.cause if facts.tokens is not None else None
    periods = {*ledger, *contents, *tokens, *looked} if default else {*ledger, *contents, *looked, *added}
    return {
        period: _Case(
            ledger.get(period),
            contents.get(period),
            table.compared is None or period in table.compared,
            tokens.get(period),
            looked.get(period, default),
            added.get(period),
            hindrance,
        )
        for period in sorted(periods, key=lambda each: (each.key == "null", each.key))
        if period in ledger or period in contents or period in tokens or period in added
    }


def _added(instance: InstanceRecord, facts: DefinitionFacts) -> dict[Period, str]:
    """The tokens of new rows that can be added to what is published."""
    if facts.grown is None:
        return {}
    ahead_of_mark = ahead(instance, facts.grown.added, facts.grown.since)
    return {period: token for period, token in facts.grown.added if period not in ahead_of_mark}


def _judge(case: _Case, dependency: str | None, vouch: Vouch) -> Judgement:
    damage = _damage(case)
    if damage is not None:
        return Reason.PARTITION_DAMAGED, damage
    if case.record is None:
        return Reason.PARTITION_NEW, f"{_rows(case.token_now)} in the source, none published"
    if case.cause is not None:
        return _looked_at(case, case.record, case.cause, dependency)
    if case.added is not None:
        reason = Reason.PARTITION_MERGED if case.hindrance is None else Reason.PARTITION_CHANGED
        return reason, f"{_rows(case.added)} more, and nothing else changed"
    return _vouched(case, dependency, vouch)


def _looked_at(case: _Case, record: PartitionRecord, cause: Cause, dependency: str | None) -> Judgement:
    """Of a published period that was fingerprinted."""
    if case.token is None:
        return Reason.PARTITION_EMPTIED, f"no source rows any more; {_rows(record.token)} when it was published"
    if _grew_as_promised(record, case):
        return Reason.PARTITION_CHANGED, f"{_rows(case.added)} more; it was looked at whole"
    match compare_tokens(record.token, case.token):
        case Comparison.INCOMPARABLE if cause is not Cause.MARK:
            return Reason.PARTITION_UNVERIFIABLE, "its fingerprint was made by another engine version or rule"
        case Comparison.SAME if dependency is not None:
            return Reason.DEPENDENCY_CHANGED, f"{dependency} changed"
        case Comparison.SAME:
            return _same(case)
    if case.hindrance is Hindrance.REFUSED and cause is Cause.DECLARED:
        return Reason.PARTITION_MERGE_REFUSED, _difference(record.token, case.token)
    return _changed(cause, _difference(record.token, case.token))


def _grew_as_promised(record: PartitionRecord, case: _Case) -> bool:
    """True if a period that was fingerprinted for another reason is what it was and its new rows, as far as can be told."""
    if case.added is None or case.cause not in {Cause.AUDIT, Cause.MARK}:
        return False
    if token_kind(record.token) is TokenKind.CONTENT:
        return True
    return compare_tokens(grown_token(record.token, case.added), case.token or "") is Comparison.SAME


def _vouched(case: _Case, dependency: str | None, vouch: Vouch) -> Judgement:
    if dependency is not None:
        return Reason.DEPENDENCY_CHANGED, f"{dependency} changed"
    if vouch is Vouch.WHOLE and case.compared:
        return Reason.PARTITION_FRESH, "its source's fingerprint is the published one"
    return Reason.PARTITION_VOUCHED, _VOUCHED[vouch]


_VOUCHED = {
    Vouch.WHOLE: "its source's fingerprint is the published one; the audit compares its large table in turn",
    Vouch.DECLARED: "by its source's declaration nothing changed",
    Vouch.ENGINE: "by the engine's token its source is as it was",
}


def _same(case: _Case) -> Judgement:
    words = {
        Cause.MARK: "marked as changed, but its fingerprint is the published one",
        Cause.AUDIT: "audited: its fingerprint is the published one",
    }.get(case.cause or Cause.SOURCE, "its fingerprint is the published one")
    if not case.compared:
        return Reason.PARTITION_VOUCHED, f"{words}; the audit compares its large table in turn"
    return Reason.PARTITION_FRESH, words


def _changed(cause: Cause, words: str) -> Judgement:
    if cause is Cause.MARK:
        return Reason.PARTITION_MARKED, f"marked as changed: {words}"
    if cause in {Cause.AUDIT, Cause.BROKEN}:
        return Reason.PARTITION_UNDECLARED_CHANGE, f"what vouched for it was wrong: {words}"
    return Reason.PARTITION_CHANGED, words


def _damage(case: _Case) -> str | None:
    """What is wrong with the table's rows of a period, in words; None if they are those that were published."""
    record, content = case.record, case.content
    if record is None:
        return None if content is None else f"the table has {content.rows:,} rows that were not published"
    if not case.compared:
        return None
    if content is None:
        return f"the table has no rows of it, {record.rows:,} were published"
    if content.rows != record.rows:
        return f"the table has {content.rows:,} rows of it, {record.rows:,} were published"
    if compare_tokens(record.content, content.content) is Comparison.DIFFERENT:
        return f"the table's {content.rows:,} rows are not those that were published"
    return None


def _dependency_moved(instance: InstanceRecord, now: Sequence[tuple[str, str]]) -> str | None:
    before = dict(instance.source_tokens)
    for key, token in now:
        if key.startswith(DEPENDENCY_KEY) and before.get(key) != token:
            return key.removeprefix(DEPENDENCY_KEY)
    return None


def _rows(token: str | None) -> str:
    return f"{token_rows(token):,} rows" if token else "no rows"


def _difference(before: str, after: str) -> str:
    old, new = token_rows(before), token_rows(after)
    if old == new:
        return f"still {new:,} rows, but not the same ones"
    return f"{new:,} rows, {abs(new - old):,} {'more' if new > old else 'fewer'} than when it was published"
