"""What readers see of a world, and what they must see.

A view must at every moment show one state of the base, whole, and never an older one than was seen before. Two exceptions
are known, and no more: while a changed definition is not through yet, what it meant before may be shown; and an aggregate
that a budget split shows, partition by partition, one state each (`mixed`). What somebody damaged is not looked at until a
complete job (`broken`). Where definitions are pruned, a view may leave in the middle of a run (`fleeting`).
"""

import re
from collections.abc import Iterable
from itertools import product
from typing import Any

import duckdb

from aggmaint.aggregates.model import AggregateDefinition
from aggmaint.aggregates.naming import LEDGER_TABLES, schema_name

from .base import Base
from .kinds import KINDS
from .model import ORG, Kind, key_of, periods, shown, spelled

Meant = tuple[Kind, ...]
"""A kind, and what it reads, and what that reads: how they are defined at one time."""

WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|CREATE|DROP|COMMENT|ALTER|COPY|MERGE|TRUNCATE)\b", re.IGNORECASE)


class Readers(Base):
    """Views, tables and the ledger, looked at from outside. `names`: the aggregates that are defined."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = list(names)
        self.kinds: dict[str, Kind] = dict(KINDS)
        self.former: dict[str, list[Kind]] = {}
        self.blocked: set[str] = set()
        self.resting: set[str] = set()
        self.seen: dict[str, int] = {}
        self.broken: set[str] = set()
        self.mixed: set[str] = set()
        self.fleeting = False
        self._cache: dict[Any, Any] = {}

    @property
    def schema(self) -> str:
        return schema_name(ORG)

    # -- what there must be --------------------------------------------------------------------------------------------

    @property
    def served(self) -> list[str]:
        """The aggregates that must be in service, once they were seen."""
        return [name for name in self.names if name not in self.blocked and name not in self.resting]

    def upstream(self, name: str) -> list[str]:
        """What an aggregate reads, and what that reads."""
        over = KINDS[name].over
        return [] if over is None else [over, *self.upstream(over)]

    def held(self, name: str) -> bool:
        """It reads something that can not be used: it stays as it is."""
        return any(each not in self.served for each in self.upstream(name))

    def meant(self, name: str) -> Meant:
        """As it is defined now."""
        return (self.kinds[name], *(self.kinds[each] for each in self.upstream(name)))

    def meanings(self, name: str) -> list[Meant]:
        """As it is defined now, and as it was defined until not long ago."""
        chain = [name, *self.upstream(name)]
        return list(product(*([self.kinds[each], *self.former.get(each, ())] for each in chain)))

    def must(self, name: str, state: int, meant: Meant | None = None) -> list[str]:
        """What the view must show of that state."""
        meant = meant or self.meant(name)
        key = ("view", state, *(kind.definition.definition_hash for kind in meant))
        if key not in self._cache:
            self._cache[key] = shown(meant[0], self.states[state], meant[1:])
        found: list[str] = self._cache[key]
        return found

    def now(self, name: str) -> list[str]:
        return self.must(name, len(self.states) - 1)

    def must_hold(self, state: int, meant: Meant) -> dict[str, list[str]]:
        """What the table must hold of that state, by partition key."""
        key = ("table", state, *(kind.definition.definition_hash for kind in meant))
        if key not in self._cache:
            self._cache[key] = periods(meant[0], self.states[state], meant[1:])
        found: dict[str, list[str]] = self._cache[key]
        return found

    # -- what there is -------------------------------------------------------------------------------------------------

    def view(self, name: str) -> list[str]:
        """What the view shows. Raises AssertionError if there is none, or it can not be read."""
        try:
            return spelled(self.execute(f'SELECT * FROM "{self.schema}"."sales__{name}"'))
        except duckdb.Error as problem:
            raise AssertionError(f"{name} can not be read: {problem}") from problem

    def partitions(self, name: str, kind: Kind) -> dict[str, list[str]]:
        """What the table in service holds, by partition key: the stored columns of that kind."""
        partition = kind.definition.partition
        period = "aggmaint_period" if partition else "NULL"
        columns = ", ".join([period, *(f'"{column}"' for column in kind.stored)])
        found: dict[str, list[Any]] = {}
        for first, *row in self.execute(f'SELECT {columns} FROM "{self.schema}"."{self.in_service(name)}"'):
            found.setdefault(key_of(kind, first), []).append(row)
        return {key: spelled(rows) for key, rows in found.items()}

    def look(self, name: str) -> None:
        """Read one view as a reader would: it must show one state of the base, whole, and none older than the last."""
        if name in self.broken or ((name not in self.seen or self.fleeting) and not self.has_view(name)):
            return
        rows = self.view(name)
        meanings = self.meanings(name)
        for state in range(len(self.states) - 1, self.seen.get(name, 0) - 1, -1):
            if any(rows == self.must(name, state, meant) for meant in meanings):
                if name not in self.mixed:  # a mixture may look like one state by chance
                    self.seen[name] = max(state, self.seen.get(name, 0))
                return
        if name in self.mixed:
            self.look_at_partitions(name)
            return
        raise AssertionError(f"{name} shows no state of the base since {self.seen.get(name)}: {rows}")

    def look_at_partitions(self, name: str) -> None:
        """Each partition must be of one state, none older than the last that was seen whole."""
        for meant in self.meanings(name):
            states = [self.must_hold(state, meant) for state in range(self.seen.get(name, 0), len(self.states))]
            try:
                there = self.partitions(name, meant[0])
            except duckdb.Error:
                continue  # the columns of another definition
            keys = {*there, *(key for state in states for key in state)}
            if all(any(there.get(key, []) == state.get(key, []) for state in states) for key in keys):
                return
        raise AssertionError(f"{name} is mixed, and some partition is of no state since {self.seen.get(name)}")

    def look_at_all(self) -> None:
        for name in self.served:
            self.look(name)

    def has_view(self, name: str) -> bool:
        return (f"sales__{name}", "VIEW") in self.objects()

    def objects(self) -> set[tuple[str, str]]:
        rows = self.execute(
            "SELECT table_name, 'TABLE' FROM duckdb_tables() WHERE schema_name = $1 "
            "UNION ALL SELECT view_name, 'VIEW' FROM duckdb_views() WHERE schema_name = $1",
            [self.schema],
        )
        return {(str(name), str(kind)) for name, kind in rows}

    def in_service(self, name: str) -> str | None:
        """The physical table that the ledger says is in service."""
        sql = f"SELECT table_name FROM \"{self.schema}\".aggmaint_instance WHERE status = 'active' AND label = ?"
        try:
            found = self.execute(sql, [f"sales.{name}"])
        except duckdb.CatalogException:
            return None  # there is no ledger yet
        return str(found[0][0]) if found else None

    def ledger(self) -> list[Any]:
        """Everything that a publish writes: ledger rows, and the views' definitions."""
        if ("aggmaint_instance", "TABLE") not in self.objects():
            return []
        tables = [self.execute(f'SELECT * FROM "{self.schema}".{name} ORDER BY ALL') for name in LEDGER_TABLES[1:]]
        views = self.execute(
            "SELECT view_name, sql, comment FROM duckdb_views() WHERE schema_name = ? ORDER BY 1", [self.schema]
        )
        return [*tables, views]

    def fence(self) -> tuple[int, int]:
        """(generation, number) of the newest claim; (-1, -1) before the first."""
        if ("aggmaint_control", "TABLE") not in self.objects():
            return (-1, -1)
        return self.execute(f'SELECT generation, fence FROM "{self.schema}".aggmaint_control')[0]

    def labels(self, names: Iterable[str]) -> set[str]:
        return {f"sales.{name}" for name in names}

    def definitions(self) -> list[AggregateDefinition]:
        raise NotImplementedError
