"""Which partitions of a healthy instance are not current, and why.

A period is a candidate if the ledger, the sources or the table know it. What the table holds is compared with what was
published (damage), then the source's token with the published one (staleness). Without source tokens (a definition with
joins, none of whose sources moved) only damage is looked for. "Fresh" is never assumed: it means that both comparisons
were made and came out equal. Tokens that can not be compared make a partition stale.
"""

from collections.abc import Sequence

from .decisions import Action, Decision, PartitionRefresh, Subject
from .model import AggregateDefinition
from .observation import DefinitionFacts, InstanceRecord, PartitionContent, PartitionRecord, TableFacts
from .reasons import Reason
from .scans import DEPENDENCY_KEY
from .tokens import Comparison, compare_tokens, token_rows


def plan_partitions(
    definition: AggregateDefinition, instance: InstanceRecord, facts: DefinitionFacts, table: TableFacts
) -> tuple[list[Decision], list[PartitionRefresh]]:
    """One decision per period, in the order of their keys, and the refreshes that follow."""
    ledger = {each.period: each for each in instance.partitions}
    contents = {each.period: each for each in table.contents}
    tokens = None if facts.tokens is None else dict(facts.tokens)
    dependency = _dependency_moved(instance, facts.source_tokens)
    decisions: list[Decision] = []
    refreshes: list[PartitionRefresh] = []
    for period in sorted({*ledger, *contents, *(tokens or {})}, key=lambda each: (each.key == "null", each.key)):
        record, content = ledger.get(period), contents.get(period)
        token = (record.token if record else None) if tokens is None else tokens.get(period)
        reason, words = _judge(record, content, token, dependency)
        fresh = reason is Reason.PARTITION_FRESH
        action = Action.NONE if fresh else (Action.REFRESH if token is not None else Action.REMOVE)
        decisions.append(
            Decision(Subject.PARTITION, reason, action, definition.label, words, definition.id, period.key, instance.id)
        )
        if not fresh:
            refreshes.append(PartitionRefresh(period, token, reason))
    return decisions, refreshes


def _judge(
    record: PartitionRecord | None, content: PartitionContent | None, token: str | None, dependency: str | None
) -> tuple[Reason, str]:
    damage = _damage(record, content)
    if damage is not None:
        return Reason.PARTITION_DAMAGED, damage
    if record is None:
        return Reason.PARTITION_NEW, f"{_rows(token)} in the source, none published"
    if token is None:
        return Reason.PARTITION_EMPTIED, f"no source rows any more; {_rows(record.token)} when it was published"
    match compare_tokens(record.token, token):
        case Comparison.INCOMPARABLE:
            return Reason.PARTITION_UNVERIFIABLE, "its fingerprint was made by another engine version or rule"
        case Comparison.DIFFERENT:
            return Reason.PARTITION_CHANGED, _difference(record.token, token)
        case Comparison.SAME if dependency is not None:
            return Reason.DEPENDENCY_CHANGED, f"{dependency} changed"
        case Comparison.SAME:
            return Reason.PARTITION_FRESH, "its fingerprint is the published one"


def _damage(record: PartitionRecord | None, content: PartitionContent | None) -> str | None:
    """What is wrong with the table's rows of a period, in words; None if they are those that were published."""
    if record is None:
        return None if content is None else f"the table has {content.rows:,} rows that were not published"
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
