"""Use counts: how often a definition's aggregate was used, on their way from the host to the ledger in the warehouse.

Theory of operation. The host tells uses to an engine, which buffers them (`_use_buffer.py`) and writes them into the
organisation's document about once a minute; the next job carries them into the ledger. Each step may be repeated after a
crash, and none may count twice:

* An entry *accumulates*: its count only grows, and `born` (the id of the change that made it) names it for ever. Who
  carries it remembers how much of it is carried already, so carrying it again adds only what came since.
* Uses are numbered like demand. A job that starts notes the newest number; when it ends done and complete, the entries
  that have not grown since leave the document (they were carried), the others stay and are carried on.

The document is written with every commit, so it is bounded: at most `USES_MAX` definitions are kept. Beyond that the ones
used longest ago fold into one entry for `ANY` definition. Their counts are lost, but not that they were used: a
definition never looks unused because its use was folded.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from attrs import evolve, field, frozen

from ..errors import InvalidValueError
from .ids import check_text
from .instants import require_utc

USES_MAX: Final = 200
ANY: Final = "*"
"""The definition of an entry that stands for uses of any definition."""


@frozen
class Use:
    """`count` uses of a definition, the last one at `last_at`, as the host tells them."""

    count: int
    last_at: datetime = field(validator=require_utc)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 0:
            raise InvalidValueError(f"use count={self.count!r} must be a whole number, 0 or more")

    def add(self, other: "Use") -> "Use":
        return Use(self.count + other.count, max(self.last_at, other.last_at))


@frozen
class DefinitionUse:
    """Uses of one definition that wait in the document to be carried.

    definition  its id, or `cube.name`, as the host named it; `ANY` for what was folded.
    born        the id of the change that made this entry: with `definition`, its name.
    changed     the number of the newest use in it.
    count       all uses since it was made; only grows.
    """

    definition: str
    born: str
    changed: int
    count: int
    last_at: datetime = field(validator=require_utc)


def check_definition_name(definition: str) -> str:
    """The name of a definition, as `record_use` takes it. Raises InvalidValueError."""
    return check_text("definition", definition, 255)


def merge_told(told: Mapping[str, Use], more: Mapping[str, Use]) -> dict[str, Use]:
    """What was told, and more, by definition; at most USES_MAX, beyond that folded as in the document."""
    merged = dict(told)
    for definition, use in more.items():
        merged[definition] = merged[definition].add(use) if definition in merged else use
    if len(merged) > USES_MAX:
        order = sorted(merged, key=lambda name: (name != ANY, merged[name].last_at, name), reverse=True)
        rest = [merged.pop(name) for name in order[USES_MAX - 1 :]]
        merged[ANY] = Use(sum(each.count for each in rest), max(each.last_at for each in rest))
    return merged


def add_uses(
    waiting: tuple[DefinitionUse, ...], told: Mapping[str, Use], *, number: int, change_id: str, now: datetime
) -> tuple[DefinitionUse, ...]:
    """What waits, with what is told now as use `number`. An instant after `now` is taken for now.

    (A host whose clock is ahead must not make an aggregate look used for all time to come.)
    """
    entries = {each.definition: each for each in waiting}
    for definition, use in told.items():
        known = entries.get(definition) or DefinitionUse(definition, change_id, number, 0, min(use.last_at, now))
        last_at = max(known.last_at, min(use.last_at, now))
        entries[definition] = evolve(known, changed=number, count=known.count + use.count, last_at=last_at)
    return _bounded(entries.values(), number, change_id)


def _bounded(entries: Iterable[DefinitionUse], number: int, change_id: str) -> tuple[DefinitionUse, ...]:
    """At most USES_MAX entries, by name; beyond that the ones used longest ago are one entry for ANY."""
    newest_first = sorted(
        entries, key=lambda each: (each.definition != ANY, each.last_at, each.definition), reverse=True
    )
    if len(newest_first) <= USES_MAX:
        return tuple(sorted(newest_first, key=lambda each: each.definition))
    kept, folded = newest_first[: USES_MAX - 1], newest_first[USES_MAX - 1 :]
    known = next((each for each in folded if each.definition == ANY), None)
    rest = DefinitionUse(
        ANY,
        known.born if known else change_id,
        number,
        sum(each.count for each in folded),
        max(each.last_at for each in folded),
    )
    return tuple(sorted((*kept, rest), key=lambda each: each.definition))


def not_carried(waiting: tuple[DefinitionUse, ...], seen: int) -> tuple[DefinitionUse, ...]:
    """What still waits after a complete job that had seen the uses up to number `seen` at its start."""
    return tuple(each for each in waiting if each.changed > seen)
