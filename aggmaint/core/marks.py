"""Change marks: what the host knows to have changed in a source, without looking into the warehouse.

A mark says: rows of this source, in this half-open range of time (or anywhere), have changed. Marks are numbered like
demand and removed when a complete job has seen them. They are hints: what is not marked is still found by fingerprints.
At most 64 are kept; beyond that, the ranges of a source fold to the whole source, and then sources fold to everything.
"""

from datetime import datetime
from typing import Final

from attrs import field, frozen

from ..errors import InvalidValueError
from .ids import check_text
from .instants import require_utc

MARKS_MAX: Final = 64
EVERYTHING: Final = "*"
"""The source of a mark that stands for all sources."""


@frozen
class ChangeMark:
    """Rows of `source` in starts_at…ends_at have changed (None: no bound on this side). `number` orders marks."""

    number: int
    source: str
    starts_at: datetime | None = field(default=None, validator=require_utc)
    ends_at: datetime | None = field(default=None, validator=require_utc)

    def __attrs_post_init__(self) -> None:
        check_text("source", self.source, 255)
        if self.starts_at is not None and self.ends_at is not None and self.starts_at >= self.ends_at:
            raise InvalidValueError(f"change mark {self.starts_at}…{self.ends_at}: the range must end after it starts")

    @property
    def whole(self) -> bool:
        return self.starts_at is None and self.ends_at is None

    def covers(self, other: "ChangeMark") -> bool:
        """Whether everything that `other` says is said by this one."""
        if self.source not in (other.source, EVERYTHING):
            return False
        early = self.starts_at is None or (other.starts_at is not None and self.starts_at <= other.starts_at)
        late = self.ends_at is None or (other.ends_at is not None and self.ends_at >= other.ends_at)
        return early and late


def add_mark(marks: tuple[ChangeMark, ...], mark: ChangeMark) -> tuple[ChangeMark, ...]:
    """The marks with one more: those it covers go, and what is too much is folded."""
    kept = (*(each for each in marks if not mark.covers(each)), mark)
    if len(kept) > MARKS_MAX:
        kept = _fold_ranges(kept)
    if len(kept) > MARKS_MAX:
        kept = (ChangeMark(mark.number, EVERYTHING),)
    return kept


def _fold_ranges(marks: tuple[ChangeMark, ...]) -> tuple[ChangeMark, ...]:
    """The source with most marks, as one mark of the whole source with the newest number."""
    counts: dict[str, int] = {}
    for mark in marks:
        counts[mark.source] = counts.get(mark.source, 0) + 1
    source = max(counts, key=lambda name: counts[name])
    newest = max(mark.number for mark in marks if mark.source == source)
    return (*(mark for mark in marks if mark.source != source), ChangeMark(newest, source))
