"""What the sessions of one DuckDB warehouse share and remember, so that a run with nothing to do reads little.

Theory of operation
-------------------
Nothing here is ever believed without a look. Each thing is kept with the evidence that it was derived from, and used again
only where that evidence was read anew and is equal:

* how a definition binds: with the columns of its sources;
* the ledger's records: with a fingerprint of the ledger's tables;
* the catalogue of the whole database has no evidence. DuckDB lists objects in a time that grows with all of the file's
  (55 ms at 4,000 tables, whatever the filter), so where there are many and listing them is slow, one reading serves the
  observations of all organisations, for as long as keeps reading it below a twentieth of the time. A schema that we
  changed is read anew. A small database is listed each time, however slow a busy machine makes that.
  So in a file of thousands of tables a stranger's object, or a comment that a stranger changed, may be seen seconds later.
  It is only ever reported; whatever drops or replaces an object reads its tag at that moment, and a table that is gone or
  altered breaks or betrays itself when its contents are compared.

Used by many threads: a value is replaced as a whole, and losing one costs a look.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

from attrs import Factory, define, field, frozen

from ..aggregates.model import Source
from ..aggregates.observation import Column
from ._duckdb_connection import Row

SourceToken = Callable[[Source, Callable[[str], list[Row]]], str | None]
"""The engine's own token of a source, read by the given function in the run's snapshot; None: it has none."""

V = TypeVar("V")

SLOW_S = 0.02
"""A catalogue that takes longer to list is shared."""

SHARED_FROM = 1000
"""… if it has so many tables and views."""

SHARED_FOR = 20.0
"""For how many times as long as its reading took a catalogue serves."""

REMEMBERED_MAX = 20_000
"""Things of one kind; beyond that all of them are forgotten."""


@define
class Kept(Generic[V]):
    """Values by key, each with its evidence."""

    _values: dict[Hashable, tuple[Any, V]] = Factory(dict)

    def get(self, key: Hashable, evidence: Any) -> V | None:
        """The value that was made from equal evidence; None if there is none."""
        known = self._values.get(key)
        return known[1] if known is not None and known[0] == evidence else None

    def keep(self, key: Hashable, evidence: Any, value: V) -> V:
        if len(self._values) >= REMEMBERED_MAX:
            self._values.clear()
        self._values[key] = (evidence, value)
        return value


@frozen
class Listed:
    """What is in one schema: (name, kind, comment) of tables and views, and the columns of each by case-folded name."""

    objects: tuple[tuple[str, str, str | None], ...] = ()
    columns: Mapping[str, tuple[Column, ...]] = Factory(dict)


@frozen
class Catalogue:
    """All schemas, as they were `read_s` ago; reading them took `took_s`."""

    schemas: Mapping[str, Listed]
    read_s: float
    took_s: float


@define
class Shared:
    """One per warehouse. `source_token`: see DuckDBOptions."""

    source_token: SourceToken | None = None
    bound: Kept[Any] = field(factory=Kept)
    ledgers: Kept[Any] = field(factory=Kept)
    _catalogue: Catalogue | None = None
    _changed: set[str] = field(factory=set)
    _clock: Callable[[], float] = time.monotonic

    def listed(self, schema: str, read: Callable[[str | None], Mapping[str, Listed]]) -> Listed:
        """What is in a schema. `read` lists one, or all for None, by name."""
        known, now_s = self._catalogue, self._clock()
        if known is not None and schema not in self._changed and now_s - known.read_s < SHARED_FOR * known.took_s:
            return known.schemas.get(schema, Listed())
        own = read(schema)
        if self._clock() - now_s > SLOW_S and (known is None or now_s - known.read_s >= SHARED_FOR * known.took_s):
            self._changed.clear()
            began_s = self._clock()
            everything = read(None)
            large = sum(len(each.objects) for each in everything.values()) >= SHARED_FROM
            self._catalogue = Catalogue(everything, began_s, self._clock() - began_s) if large else None
        return own.get(schema, Listed())

    def changed(self, schema: str) -> None:
        """Objects of this schema were made, replaced or dropped by us."""
        self._changed.add(schema)
