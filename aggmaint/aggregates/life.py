"""The life of definitions: how often they are used, which are deactivated, and which come back.

Theory of operation
-------------------
The ledger keeps a record of each system-defined definition, and of each that was used: since when it is known, how often it
was used, and whether it is *deactivated*.
A deactivated definition is neither built nor served; its table leaves the view at once and is dropped by a later run, after
the grace. Two rules deactivate, and never a user-defined definition:

* **Unused**: a demand-defined definition without any use for `unused_days`. Absence of use is counted from the last use,
  from when the definition was first seen, or from when it last came back, whichever is latest: so what is new has the
  whole time to be used in. Every comparison is `now - then >= days`: a clock that is behind removes nothing.
* **Retention**: where a cube has more than limit + excess system-defined definitions (after the unused ones went), the
  least used go until the limit is met. Least used: the fewest uses in the last `unused_days` days; then the longest without
  use (counted as above); then the longest known; then the least id. So there is one order, and no ties.

Three things bring a definition back, in the run that sees them: a use later than the deactivation, a changed definition, and
the job option `activate`. Absence of use then counts anew from that run.

Uses come as entries that only grow (see `aggmaint.core.use`); the record remembers how much of each entry it has counted, so
an entry that comes again adds what it has grown by. Uses are counted per UTC day, for as many days as anything asks for.

A brake stops the unused rule where more than `retired_max` definitions would go at once: uses that are not told look just
like no uses.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from attrs import Factory, evolve, frozen

from .model import AggregateDefinition, DefinitionSubtype, DefinitionType
from .policy import UNUSED_DAYS_MAX, Policy

ANY_DEFINITION = "*"
"""The definition of an entry that stands for uses of any definition."""


class Deactivated(StrEnum):
    """Why a definition was deactivated."""

    UNUSED = "unused"
    OVER_LIMIT = "over_limit"


@frozen
class Deactivation:
    """Since when, why, and of which definition (its hash)."""

    at: datetime
    reason: Deactivated
    definition_hash: str


@frozen
class DefinitionRecord:
    """A ledger row: what is known of a definition, whatever becomes of its instances.

    created_at       when it was first seen.
    counted_from_at  absence of use is counted from here at the earliest.
    use_count        all uses ever told.
    use_days         (UTC day as ISO text, uses) of the days with uses, the newest UNUSED_DAYS_MAX days; sorted.
    carried          (name, born, count): how much of each entry is counted in the above.
    """

    definition_id: str
    label: str
    created_at: datetime
    counted_from_at: datetime
    use_count: int = 0
    last_used_at: datetime | None = None
    use_days: tuple[tuple[str, int], ...] = ()
    carried: tuple[tuple[str, str, int], ...] = ()
    deactivation: Deactivation | None = None

    @property
    def idle_since(self) -> datetime:
        """Since when nothing is known of a use."""
        return max(filter(None, (self.created_at, self.counted_from_at, self.last_used_at)))

    def recent_uses(self, now: datetime, days: int) -> int:
        """Uses of the last so many UTC days, today included."""
        first = (now - timedelta(days=days - 1)).date().isoformat()
        return sum(count for day, count in self.use_days if day >= first)


@frozen
class UseEntry:
    """An entry of uses, as a job is given it: `definition` is an id or `cube.name`; `count` only grows."""

    definition: str
    born: str
    count: int
    last_at: datetime


@frozen
class Told:
    """What a job was told besides its definitions: uses, and the definitions (id, name or `cube.name`) to bring back."""

    uses: tuple[UseEntry, ...] = ()
    activate: frozenset[str] = frozenset()


@frozen
class Life:
    """A definition's record as it will be, and what became of it in this run.

    gone   it was deactivated now.   back   in words, why it came back now.
    """

    record: DefinitionRecord
    gone: bool = False
    back: str | None = None

    @property
    def deactivation(self) -> Deactivation | None:
        return self.record.deactivation


@frozen
class Lives:
    """All definitions' lives by id, the records that differ from the ledger's, and what the brake held back.

    `refused` is by definition id, in words.
    """

    by_id: Mapping[str, Life] = Factory(dict)
    noted: tuple[DefinitionRecord, ...] = ()
    refused: Mapping[str, str] = Factory(dict)

    def deactivation(self, definition_id: str) -> Deactivation | None:
        life = self.by_id.get(definition_id)
        return life.deactivation if life else None


def names_of(definition: AggregateDefinition) -> tuple[str, ...]:
    """How a definition may be named: its id, `cube.name`, its name."""
    return (definition.id, definition.label, definition.name)


def judge_lives(
    definitions: Sequence[AggregateDefinition],
    records: Iterable[DefinitionRecord],
    first_seen: Mapping[str, datetime],
    told: Told,
    policy: Policy,
    now: datetime,
) -> Lives:
    """What becomes of each definition. `records` are the ledger's; `first_seen`: of those that have none, if known."""
    known = {each.definition_id: each for each in records}
    lives: dict[str, Life] = {}
    for definition in definitions:
        record = known.get(definition.id) or _new_record(definition, first_seen.get(definition.id, now))
        carried = carry(evolve(record, label=definition.label), _entries_of(definition, told.uses), told.uses, now)
        lives[definition.id] = _come_back(definition, carried, told, now)
    refused = _deactivate_unused(definitions, lives, policy, now)
    _deactivate_least_used(definitions, lives, policy, now)
    noted = tuple(
        lives[each.id].record
        for each in definitions
        if lives[each.id].record != known.get(each.id) and _worth_noting(each, lives[each.id].record)
    )
    return Lives(lives, noted, refused)


def _worth_noting(definition: AggregateDefinition, record: DefinitionRecord) -> bool:
    """A definition that no rule is about, and of which nothing is told, needs no row."""
    told = record.use_count or record.deactivation or record.counted_from_at != record.created_at
    return definition.type is DefinitionType.SYSTEM_DEFINED or bool(told)


def _new_record(definition: AggregateDefinition, at: datetime) -> DefinitionRecord:
    return DefinitionRecord(definition.id, definition.label, at, at)


# -- uses --------------------------------------------------------------------------------------------------------------


def _entries_of(definition: AggregateDefinition, uses: Iterable[UseEntry]) -> list[UseEntry]:
    label = definition.label.casefold()
    return [each for each in uses if each.definition == definition.id or each.definition.casefold() == label]


def carry(
    record: DefinitionRecord, own: Sequence[UseEntry], all_uses: Iterable[UseEntry], now: datetime
) -> DefinitionRecord:
    """The record with these entries counted: each adds what it has grown by since it was last counted.

    The same record if nothing has grown, so that a run without changes writes nothing.
    """
    counted = {(name, born): count for name, born, count in record.carried}
    days, total, last = dict(record.use_days), record.use_count, record.last_used_at
    grown = False
    for each in own:
        more = each.count - counted.get((each.definition, each.born), 0)
        if more <= 0:
            continue
        grown = True
        day = each.last_at.date().isoformat()
        days[day], total = days.get(day, 0) + more, total + more
        last = each.last_at if last is None else max(last, each.last_at)
    oldest = (now - timedelta(days=UNUSED_DAYS_MAX)).date().isoformat()
    spared = max((each.last_at for each in all_uses if each.definition == ANY_DEFINITION), default=None)
    record = record if spared is None else evolve(record, counted_from_at=max(record.counted_from_at, spared))
    if not grown:
        return record
    return evolve(
        record,
        use_count=total,
        last_used_at=last,
        use_days=tuple(sorted((day, count) for day, count in days.items() if day >= oldest)),
        carried=tuple(sorted((each.definition, each.born, each.count) for each in own)),
    )


# -- coming back -------------------------------------------------------------------------------------------------------


def _come_back(definition: AggregateDefinition, record: DefinitionRecord, told: Told, now: datetime) -> Life:
    gone = record.deactivation
    if gone is None:
        asked = told.activate.intersection(names_of(definition))
        return Life(evolve(record, counted_from_at=now) if asked else record)
    back: str | None = None
    if told.activate.intersection(names_of(definition)):
        back = "somebody asked for it"
    elif gone.definition_hash != definition.definition_hash:
        back = "its definition changed"
    elif record.last_used_at is not None and record.last_used_at > gone.at:
        back = f"it was used at {record.last_used_at:%Y-%m-%d %H:%M}Z"
    if back is None:
        return Life(record)
    return Life(evolve(record, deactivation=None, counted_from_at=now), back=back)


# -- going -------------------------------------------------------------------------------------------------------------


def _in_life(definition: AggregateDefinition, lives: Mapping[str, Life]) -> bool:
    """True if the rules are about it: system-defined, not blocked, not deactivated."""
    return (
        definition.type is DefinitionType.SYSTEM_DEFINED
        and not definition.blocked
        and lives[definition.id].deactivation is None
    )


def _deactivate(definition: AggregateDefinition, lives: dict[str, Life], reason: Deactivated, now: datetime) -> None:
    deactivation = Deactivation(now, reason, definition.definition_hash)
    lives[definition.id] = Life(evolve(lives[definition.id].record, deactivation=deactivation), gone=True)


def _deactivate_unused(
    definitions: Sequence[AggregateDefinition], lives: dict[str, Life], policy: Policy, now: datetime
) -> dict[str, str]:
    """Deactivate what is unused; if that is too much at once nothing, and say so for each."""
    if not policy.remove_unused:
        return {}
    idle = timedelta(days=policy.unused_days)
    unused = [
        each
        for each in definitions
        if each.subtype is DefinitionSubtype.DEMAND_DEFINED
        and _in_life(each, lives)
        and now - lives[each.id].record.idle_since >= idle
    ]
    if len(unused) > policy.retired_max:
        words = (
            f"{len(unused)} demand-defined aggregates at once had no use in {policy.unused_days} days, more than "
            f"retired_max={policy.retired_max}; if uses are told (record_use) and that is right, approve it with the task "
            "option approve_mass_drop=true, else set remove_unused=false"
        )
        return dict.fromkeys((each.id for each in unused), words)
    for each in unused:
        _deactivate(each, lives, Deactivated.UNUSED, now)
    return {}


def _deactivate_least_used(
    definitions: Sequence[AggregateDefinition], lives: dict[str, Life], policy: Policy, now: datetime
) -> None:
    cubes: dict[tuple[str, str], list[AggregateDefinition]] = {}
    for each in definitions:
        if _in_life(each, lives):
            cubes.setdefault((each.project, each.cube.casefold()), []).append(each)
    for mine in cubes.values():
        if len(mine) <= policy.retention_limit + policy.retention_excess:
            continue
        least_first = sorted(mine, key=lambda each: use_order(lives[each.id].record, policy, now))
        for each in least_first[: len(mine) - policy.retention_limit]:
            _deactivate(each, lives, Deactivated.OVER_LIMIT, now)


def use_order(record: DefinitionRecord, policy: Policy, now: datetime) -> tuple[int, datetime, datetime, str]:
    """Sorts records from the least used to the most used; no two are equal."""
    return (record.recent_uses(now, policy.unused_days), record.idle_since, record.created_at, record.definition_id)
