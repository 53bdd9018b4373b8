"""What is looked at, before anything is read: change marks, and the rotating audit. Pure.

Theory of operation
-------------------
The sources are asked from cheap to dear: the engine's token of a source, what a declaration promises (`declared.py`), a
fingerprint of the whole, fingerprints per period. The first that says "the same" ends it. Two things make more be looked at
than that, and only of sources for which something other than a fingerprint vouches:

* **Marks.** What the host marked as changed is fingerprinted, whoever vouches for it. A mark with two bounds names
  periods; one without says nothing about where, so everything is looked at.
* **The audit.** A vouching that is false (a row changed without its `updated_at`) would stay hidden for ever. So old periods
  are fingerprinted in turn, oldest look first, and all within `audit_days`. When each was last looked at is carried from
  inventory to inventory: no run writes to the warehouse for it. `audit_due` spreads the turns evenly over the days.

The same rotation compares the contents of large tables: see `compared_rows_max` of the policy.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from attrs import Factory, frozen

from .model import AggregateDefinition, PartitionBy
from .observation import Cause, InstanceRecord
from .periods import NULL_PERIOD, WHOLE_PERIOD, Period, next_start, period_of, start_of
from .source import Source

EVERY_SOURCE = "*"
PERIODS_OF_MARK_MAX = 1000
"""A mark over more periods than this is taken as one over everything."""


class Mark(Protocol):
    """What a change mark of the job half looks like from here."""

    @property
    def source(self) -> str: ...

    @property
    def starts_at(self) -> datetime | None: ...

    @property
    def ends_at(self) -> datetime | None: ...


@frozen
class SourceMark:
    """Rows of `source` (its table, file, alias or bare name; `*`: of any) in starts_at…ends_at have changed."""

    source: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    @classmethod
    def of(cls, mark: Mark) -> "SourceMark":
        return cls(mark.source, mark.starts_at, mark.ends_at)

    def names(self, source: Source) -> bool:
        return self.source == EVERY_SOURCE or self.source.casefold() in names_of(source)


def names_of(source: Source) -> frozenset[str]:
    """What a mark may call the source, case-folded."""
    bare = source.label.rsplit(".", 1)[-1].strip('"') if source.table else source.label
    return frozenset(each.casefold() for each in (source.label, source.alias, bare))


@frozen(kw_only=True)
class Hints:
    """What a run knows before it looks. Without a `now` nothing is audited.

    verified_at        when each period was last compared with its source and table, by definition id and period key.
    audit_days         within how many days all that is vouched for is looked at.
    compared_rows_max  tables of up to so many rows are compared whole, each time.
    unmerged           definitions whose new rows are not to be merged in this run, by id, and why.
    """

    now: datetime | None = None
    marks: tuple[SourceMark, ...] = ()
    verified_at: Mapping[str, Mapping[str, datetime]] = Factory(dict)
    audit_days: float = 30.0
    compared_rows_max: float = 100_000
    unmerged: Mapping[str, str] = Factory(dict)

    def marks_on(self, source: Source) -> tuple[SourceMark, ...]:
        return tuple(each for each in self.marks if each.names(source))

    def verified(self, instance: InstanceRecord) -> dict[Period, datetime]:
        """When each published period was last looked at: when it was computed, or later."""
        known = self.verified_at.get(instance.definition_id, {})
        if not known:
            return {each.period: each.last_computed_at for each in instance.partitions}
        return {
            each.period: max(each.last_computed_at, known.get(each.period.key, each.last_computed_at))
            for each in instance.partitions
        }


def audit_due(instance: InstanceRecord, hints: Hints) -> frozenset[Period]:
    """The published periods whose turn has come: so many that all have theirs within `audit_days`, oldest look first.

    Since the oldest look, a share of the periods proportional to its age must have been looked at; those that were (because
    they changed, too) count. And what is older than `audit_days` is due, whatever the rhythm of the runs was.
    """
    verified = hints.verified(instance)
    if hints.now is None or not verified:
        return frozenset()
    order = sorted(verified, key=lambda each: (verified[each], each.key))
    oldest, span = verified[order[0]], timedelta(days=hints.audit_days)
    younger = sum(1 for at in verified.values() if at > oldest)
    turns = int((hints.now - oldest) / span * len(order)) - younger
    overdue = sum(1 for at in verified.values() if hints.now - at >= span)
    return frozenset(order[: max(0, turns, overdue)])


def marked_periods(definition: AggregateDefinition, marks: Iterable[SourceMark]) -> frozenset[Period] | None:
    """The periods that marks on the definition's own source touch; None: any may be."""
    found: set[Period] = set()
    for mark in marks:
        periods = periods_in(definition.partition, mark.starts_at, mark.ends_at)
        if periods is None:
            return None
        found.update(periods)
    return frozenset(found)


def periods_in(
    partition: PartitionBy | None, starts_at: datetime | None, ends_at: datetime | None
) -> set[Period] | None:
    """The periods that overlap a half-open range; None if they can not be listed.

    The source's own times may be civil dates or instants of any zone, and the mark's author may mean either: so the range
    is taken a day wider on both sides.
    """
    if partition is None:
        return {WHOLE_PERIOD}
    if partition.by_value or starts_at is None or ends_at is None:
        return None
    zone = ZoneInfo(partition.zone)
    try:
        first = (starts_at.astimezone(zone) - timedelta(days=1)).date()
        last = (ends_at.astimezone(zone) + timedelta(days=1)).date()
        return _listed(partition, start_of(first, partition.granularity), last)
    except (OverflowError, ValueError):
        return None


def _listed(partition: PartitionBy, start: date, last: date) -> set[Period] | None:
    found: set[Period] = set()
    while start <= last:
        found.add(period_of(start.isoformat(), partition))
        if len(found) > PERIODS_OF_MARK_MAX:
            return None
        start = next_start(start, partition.granularity)
    return found


def looks(
    due: Iterable[Period], touched: Iterable[Period], marked: Iterable[Period]
) -> tuple[tuple[Period, Cause], ...]:
    """Each period once, with the strongest cause, in the order of their keys."""
    causes = {
        **dict.fromkeys(due, Cause.AUDIT),
        **dict.fromkeys(touched, Cause.DECLARED),
        **dict.fromkeys(marked, Cause.MARK),
    }
    return tuple(sorted(causes.items(), key=lambda each: (each[0] == NULL_PERIOD, each[0].key)))


def verified_of(inventory: Mapping[str, Any] | None) -> dict[str, dict[str, datetime]]:
    """`Hints.verified_at` from the last inventory."""
    return {
        each["id"]: {
            state["key"]: datetime.fromisoformat(state["verified_at"]).astimezone(UTC)
            for state in each["partition_states"]
            if state.get("verified_at")
        }
        for each in (inventory or {}).get("definitions", ())
    }


def unknown_marks(definitions: Sequence[AggregateDefinition], marks: Iterable[SourceMark]) -> tuple[SourceMark, ...]:
    """The marks whose source no definition reads: probably a misspelt name."""
    known = {
        name for each in definitions for source in (*each.sources, *each.dependencies) for name in names_of(source)
    }
    return tuple(each for each in marks if each.source != EVERY_SOURCE and each.source.casefold() not in known)
