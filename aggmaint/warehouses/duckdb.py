"""DuckDB as the warehouse: one file for one organisation or for many, or a connection of the host.

Theory of operation
-------------------
DuckDB lets one process at a time open a file, readers included. So by default the file is opened for a run and closed
after it (`hold="run"`); `hold="process"` keeps it open from the first session to `close()`, and other processes out. Within
a process all sessions share one database, each with a cursor of its own, so that two runs for two organisations do not
disturb each other. A host that has the file open itself gives its connection: `DuckDBWarehouse(connection=con)`.

**A file that is not there is not made by accident.** A missing file most often is a mistake in a path, or a lost volume,
and an empty database would look like "nothing was ever built". It is created only if the caller of `open` or
`create=True` says so.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

from attrs import Factory, frozen

from ..aggregates.dialects import DuckDBDialect
from ..errors import InvalidValueError, WarehouseError, WarehouseQueryError, WarehouseUnavailableError
from ..warehouse import Capabilities, ManagedSchema
from ._duckdb_connection import Connection, driver, translate
from ._duckdb_session import DuckDBSession
from ._duckdb_shared import Shared, SourceToken

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@frozen(kw_only=True)
class DuckDBOptions:
    """Less common settings of a DuckDBWarehouse.

    attach        databases to read sources from, name -> path, attached read-only: `name.schema.table`.
    config        settings of DuckDB, such as {"threads": "2", "memory_limit": "1GB"}.
    on_statement  called with each statement before it runs, for logs and tests. May raise.
    pause         sleeps between the tries after a conflict.
    source_token  names the state of a source, if the engine has a name for it (DuckLake and Iceberg have snapshots): given
                  the source and a function that runs a query in the run's snapshot, a text that is another one whenever the
                  rows may be others, or None. While it stays the same, the source is not scanned, but for the audit.
                  DuckDB's own tables have no such name, and a file's length and time are none.
    """

    attach: Mapping[str, str | Path] = Factory(dict)
    config: Mapping[str, str] = Factory(dict)
    on_statement: Callable[[str], None] | None = None
    pause: Callable[[float], None] = time.sleep
    source_token: SourceToken | None = None


class DuckDBWarehouse:
    """A Warehouse over DuckDB. May be used by many threads; each session by one.

    path          the database file. Give exactly one of path and connection.
    connection    a connection of the host; sessions use cursors of it, and never close it.
    hold          "run": the file is open while a session is. "process": from the first session until `close()`.
    create        make the file if it is not there.
    options       see DuckDBOptions.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        connection: "DuckDBPyConnection | None" = None,
        hold: Literal["run", "process"] = "run",
        create: bool = False,
        options: "DuckDBOptions | None" = None,
    ) -> None:
        if (path is None) == (connection is None):
            raise InvalidValueError("DuckDBWarehouse: give exactly one of path and connection")
        if hold not in ("run", "process"):
            raise InvalidValueError(f"DuckDBWarehouse: hold={hold!r} must be 'run' or 'process'")
        if path is not None and str(path).startswith(":memory:"):
            raise InvalidValueError(
                "DuckDBWarehouse: a memory database would be lost; give connection=duckdb.connect()"
            )
        self._path = None if path is None else Path(path)
        self._given = connection
        self._hold = hold
        self._create = create
        self._options = options or DuckDBOptions()
        self._held: DuckDBPyConnection | None = None
        self._shared = Shared(self._options.source_token)
        self._lock = Lock()

    @property
    def capabilities(self) -> Capabilities:
        major = driver().__version__.split(".")[0]
        known = self._options.source_token is not None
        return Capabilities(
            dialect=DuckDBDialect.name,
            engine=f"duckdb{major}",
            snapshot_reads=True,
            interrupts=True,
            source_tokens=known,
            exact_decimals=True,
            merges=True,
        )

    def open(self, schema: ManagedSchema, *, create: bool | None = None, read_only: bool = False) -> DuckDBSession:
        """See the port."""
        base = self._base(self._create if create is None else create, read_only)
        close_base = base.close if base is not self._given and base is not self._held else _nothing
        try:
            connection = Connection(base.cursor(), self._options.on_statement)
        except driver().Error as problem:
            raise translate(problem) from problem
        try:
            self._prepare(connection)
        except WarehouseError:
            connection.close()
            close_base()
            raise
        return DuckDBSession(
            connection,
            schema,
            self.capabilities.engine,
            pause=self._options.pause,
            on_close=close_base,
            shared=self._shared,
        )

    def close(self) -> None:
        """Let go of a file held for the process. Idempotent."""
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            held.close()

    def _base(self, create: bool, read_only: bool) -> "DuckDBPyConnection":
        if self._given is not None:
            return self._given
        if self._hold == "run":
            return self._connect(create, read_only)
        with self._lock:
            if self._held is None:
                self._held = self._connect(create, read_only)
            return self._held

    def _connect(self, create: bool, read_only: bool) -> "DuckDBPyConnection":
        assert self._path is not None
        duckdb = driver()
        target = str(self._path)
        if not self._path.exists():
            if not create:
                raise WarehouseUnavailableError(
                    f"the warehouse file {target} does not exist; correct its path or restore it, or, to begin a new one, "
                    "set create=true"
                )
            if read_only:
                target = ":memory:"
        try:
            opened: DuckDBPyConnection = duckdb.connect(target, config=dict(self._options.config))
        except duckdb.Error as problem:
            raise self._unreachable(translate(problem, target)) from problem
        return opened

    def _unreachable(self, problem: WarehouseError) -> WarehouseError:
        """Of a file that could not be opened: whatever it was, nothing was changed or condemned."""
        if "different configuration" in problem.message:
            return WarehouseUnavailableError(
                f"this process has {self._path} open with other settings; give that connection: "
                "DuckDBWarehouse(connection=…), or the same config"
            )
        if not isinstance(problem, WarehouseQueryError):
            return problem
        return WarehouseUnavailableError(
            f"the warehouse file {self._path} can not be opened ({problem.message}); check path, rights and version"
        )

    def _prepare(self, connection: Connection) -> None:
        connection.run("SET TimeZone = 'UTC'")
        # else DuckDB takes a variable of some Python frame for a table that is not there
        connection.run("SET SESSION python_enable_replacements = false")
        dialect = DuckDBDialect()
        for name, place in self._options.attach.items():
            if not Path(place).exists():
                raise WarehouseUnavailableError(f"attached database {name!r}: {place} does not exist; correct its path")
            try:
                connection.run(f"ATTACH IF NOT EXISTS {dialect.text(str(place))} AS {dialect.quote(name)} (READ_ONLY)")
            except WarehouseQueryError as problem:
                raise WarehouseUnavailableError(f"attached database {name!r}: {problem.message}") from problem


def _nothing() -> None:
    return None
