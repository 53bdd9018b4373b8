"""A session: the verbs of the port, each a transaction."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from attrs import evolve

from aggmaint.aggregates.looking import Hints
from aggmaint.aggregates.model import AggregateDefinition
from aggmaint.aggregates.observation import ControlState, Observation
from aggmaint.core.job import Fence
from aggmaint.errors import FenceLostError, WarehouseError
from aggmaint.warehouse import (
    BuildRequest,
    Built,
    CompareRequest,
    Difference,
    ManagedSchema,
    Publication,
    Staged,
    StageRequest,
    Tick,
)
from aggmaint.warehouses.bookkeeping import Bookkeeper, Books

from .connection import Connection
from .schema_file import SchemaFile

WHOLE: Final = CompareRequest()


class SQLiteSession:
    """See WarehouseSession."""

    def __init__(self, connection: Connection, schema: ManagedSchema, place: Path) -> None:
        self._connection = connection
        self._schema = schema
        self._place = place
        self._file = SchemaFile.of(connection, schema)
        self._attached = False
        self._fence: Fence | None = None
        self._stages = count(1)
        self._closed = False

    def observe(
        self,
        definitions: Sequence[AggregateDefinition],
        *,
        reader: Fence | None = None,
        sick: Mapping[str, str],
        tick: Tick | None = None,
        hints: Hints | None = None,
    ) -> Observation:
        say = tick or _silent
        with self._snapshot():
            say("ledger")
            books = self._books()
            base = Observation(
                self._schema.name,
                self._schema.installation,
                self._schema.org_id,
                control=books.required(self._schema),
                reader=None if reader is None else (reader.generation, reader.number),
                instances=books.in_order(),
                records=books.records_in_order(),
                objects=self._file.objects() if self._attached else (),
            )
            return self._file.reading.observe(base, definitions, sick, say)

    def stage(self, requests: Sequence[StageRequest], *, tick: Tick | None = None) -> tuple[Staged, ...]:
        staged = []
        with self._snapshot(new=not self._connection.raw.in_transaction):
            for request in requests:
                (tick or _silent)(request.definition.label)
                handle = f"temp.aggmaint_stage_{next(self._stages)}"
                make = partial(self._file.fill, handle, request.definition, request.periods)
                staged.append(self._file.reading.staged(request, handle, make))
        return tuple(staged)

    def compare(self, definition: AggregateDefinition, what: CompareRequest = WHOLE) -> Difference:
        with self._snapshot():
            books = self._books()
            books.required(self._schema)
            active = next(iter(books.active(definition.id)), None)
            return self._file.reading.compared(definition, active, what)

    def claim(self, fence: Fence, *, seen: ControlState | None, anyway: bool = False) -> bool:
        self._end()
        self._attach(create=True)
        with self._writing() as books:
            if not books.claim(self._schema, fence, seen, anyway=anyway):
                return False
            if self._schema.adopt_from is not None:
                self._file.take_over()
        self._fence = fence
        return True

    def build(self, requests: Sequence[BuildRequest], *, at: datetime, tick: Tick | None = None) -> tuple[Built, ...]:
        with self._guarded("") as books:
            books.intend(requests, at)
        with self._guarded(""):
            reading, create = self._file.reading, self._file.create
            return tuple(reading.built(each, partial(create, each), tick or _silent) for each in requests)

    def publish(self, publication: Publication, *, at: datetime, build_id: str) -> None:
        with self._guarded(build_id) as books:
            Bookkeeper(books, self._schema, self._file).apply(publication, at, build_id)

    def interrupt(self) -> None:
        self._connection.interrupting = True

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._connection.interrupting = False
        if self._fence is not None:
            with suppress(WarehouseError), self._writing() as books:
                books.release(self._fence)
        self._fence = None
        self._connection.raw.close()

    # -- transactions ---------------------------------------------------------------------------------------------------

    def _attach(self, *, create: bool = False) -> None:
        """Attach the schema's file, if it is there or is to be made."""
        if self._attached or not (create or self._place.exists()):
            return
        quoted = self._connection.dialect.dialect.quote(self._schema.name)
        self._connection.run(f"ATTACH :path AS {quoted}", {"path": str(self._place)})
        self._connection.run(f"PRAGMA {quoted}.journal_mode = WAL")
        self._attached = True

    def _books(self) -> Books:
        return self._file.read() if self._attached else Books()

    @contextmanager
    def _snapshot(self, *, new: bool = True) -> Iterator[None]:
        """Read in one transaction, which stays open for those who read on; an error ends it."""
        if new:
            self._end()
            self._attach()
            self._connection.run("BEGIN")
        try:
            yield
        except BaseException:
            self._connection.raw.rollback()
            raise

    def _end(self) -> None:
        """End what was read; what was staged stays."""
        if self._connection.raw.in_transaction:
            self._connection.run("COMMIT")

    @contextmanager
    def _writing(self) -> Iterator[Books]:
        """One transaction under the schema's write lock: what is left of the books is written, or nothing is."""
        self._end()
        self._attach()
        self._connection.run("BEGIN")
        try:
            self._file.lock()
            books = self._file.read()
            before = evolve(books, instances=dict(books.instances), records=dict(books.records))
            yield books
            self._file.write(before, books)
            self._connection.run("COMMIT")
        finally:
            self._connection.raw.rollback()

    @contextmanager
    def _guarded(self, build_id: str) -> Iterator[Books]:
        if self._fence is None:
            raise FenceLostError("this session holds no claim; claim before you write")
        with self._writing() as books:
            books.guard(self._schema, self._fence, build_id)
            yield books


def _silent(_what: str) -> None:
    return None
