"""What the sessions of one DuckDB warehouse share and remember, so that a run with nothing to do reads little.

Theory of operation
-------------------
Nothing here is ever believed without a look. Each thing is kept with the evidence that it was derived from, and used again
only where that evidence was read anew and is equal:

* how a definition binds: with the columns of its sources;
* the ledger's records: with the control row, which each transaction of ours changes, and a fingerprint of its tables;
* the catalogue of the whole database has no evidence. DuckDB lists the objects of one schema in a time that grows with all
  of the file's (5 ms at 6,000, whatever the filter). So where there are many, and single listings have taken as long
  together as listing all would, all are listed once, and that serves the observations of all organisations for as long
  as keeps listing below a twentieth of the time. Who runs seldom never pays for listing all. A schema that we changed is
  read anew. A small database is listed each time, however slow a busy machine makes that.
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
from ..aggregates.naming import SCHEMA_PREFIX
from ..aggregates.observation import Column
from ._duckdb_connection import Row

SourceToken = Callable[[Source, Callable[[str], list[Row]]], str | None]
"""The engine's own token of a source, read by the given function in the run's snapshot; None: it has none."""

V = TypeVar("V")

SHARED_FROM = 1000
"""A catalogue of so many tables and views is shared."""

SHARED_FOR = 20.0
"""For how many times as long as its reading took a catalogue serves. One that is too small is not sized again until single
listings have taken as long together."""

SINGLE_LISTINGS = 30.0
"""For how many single listings' time all are listed for the first time."""

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
    _spent_s: float = 0.0
    _due_s: float | None = None
    """When single listings have taken so long (`_spent_s`), all are listed."""

    def listed(self, schema: str, read: Callable[[str | None], Mapping[str, Listed]]) -> Listed:
        """What is in a schema. `read` lists one, or, for None, all that may be managed, by name."""
        known, began_s = self._catalogue, self._clock()
        if known is not None and began_s - known.read_s >= SHARED_FOR * known.took_s:
            known = self._catalogue = None
        if known is not None and schema not in self._changed and schema.startswith(SCHEMA_PREFIX):
            return known.schemas.get(schema, Listed())
        own = read(schema).get(schema, Listed())
        took_s = self._clock() - began_s
        self._spent_s += took_s
        if self._due_s is None:
            self._due_s = SINGLE_LISTINGS * took_s
        if known is None and self._spent_s >= self._due_s:
            self._read_all(read)
        return own

    def _read_all(self, read: Callable[[str | None], Mapping[str, Listed]]) -> None:
        self._changed.clear()
        began_s = self._clock()
        everything = read(None)
        took_s = self._clock() - began_s
        large = sum(len(each.objects) for each in everything.values()) >= SHARED_FROM
        self._catalogue = Catalogue(everything, began_s, took_s) if large else None
        self._spent_s, self._due_s = 0.0, took_s if large else SHARED_FOR * took_s

    def changed(self, schema: str) -> None:
        """Objects of this schema were made, replaced or dropped by us."""
        self._changed.add(schema)
