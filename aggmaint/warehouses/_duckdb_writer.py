"""What is written to a managed schema in DuckDB, inside the session's guarded transactions.

Every method here assumes an open transaction whose first statement was the guard (`build`: whose intents were). Each
compares the ledger with what the plan saw before it writes, and proves that an object is ours, by its tag as it is *now*,
before it replaces or drops it. CREATE OR REPLACE VIEW loses the comment, so the tag is written again with each view.
Nothing is ever dropped with CASCADE.
"""

from collections.abc import Sequence
from datetime import datetime

from ..aggregates.additive import mark_now
from ..aggregates.decisions import AdoptStep, DisownStep, DropStep, ForgetStep, RecordStep, RedefineStep, RetireStep
from ..aggregates.dialects import DuckDBDialect
from ..aggregates.gate import Computed
from ..aggregates.model import AggregateDefinition, InstanceStatus
from ..aggregates.naming import Tag, format_tag, parse_tag
from ..aggregates.observation import InstanceRecord, source_moved
from ..aggregates.periods import Period
from ..aggregates.reasons import Reason
from ..aggregates.scans import Answers
from ..aggregates.sql import rows_of_periods_sql, select_sql, view_sql
from ..core.job import Fence
from ..errors import FenceLostError, WarehouseQueryError
from ..warehouse import (
    BuildRequest,
    Built,
    Failures,
    ManagedSchema,
    PartitionWrite,
    Publication,
    Refresh,
    RestoreView,
    Switch,
    Tick,
)
from ._duckdb_adopt import Adopter
from ._duckdb_bind import DIALECT, bound_parameters
from ._duckdb_connection import Connection
from ._duckdb_derive import Deriver
from ._duckdb_ledger import Ledger
from ._duckdb_ledger_rows import columns_text
from ._duckdb_merge import Merger
from ._duckdb_observe import Observer
from ._duckdb_pieces import PieceBuilder
from ._duckdb_tokens import BrokenQueryError
from .checking import require_gate
from .intents import intent_of


class Writer:
    """The writing half of a session."""

    def __init__(
        self, connection: Connection, ledger: Ledger, schema: ManagedSchema, observer: Observer, engine: str
    ) -> None:
        self._connection = connection
        self._ledger = ledger
        self._schema = schema
        self._observer = observer
        self._deriver = Deriver(connection, ledger, observer)
        self._pieces = PieceBuilder(connection, ledger, observer, self._make_empty, self._finish)
        self.merger = Merger(connection, ledger, observer)
        self._adopter = Adopter(connection, ledger, observer, engine)
        self._dialect = DuckDBDialect()

    # -- building beside ----------------------------------------------------------------------------------------------

    def prepare(self, requests: Sequence[BuildRequest]) -> None:
        """What must be asked outside of a transaction, before `build`."""
        self._deriver.bind(requests)

    def build(self, requests: Sequence[BuildRequest], tick: Tick) -> tuple[Built, ...]:
        """Tokens first, then the tables, all from the transaction's one snapshot. Raises BrokenQueryError."""
        definitions = [each.definition for each in requests]
        self._observer.note_files(definitions)
        answers = self._observer.tokens.for_build(definitions, tick, self._deriver.token_requests(requests))
        return tuple(self._pieces.postponed(each, answers) or self._build_one(each, answers, tick) for each in requests)

    def build_piece(self, request: BuildRequest, fence: Fence, at: datetime, tick: Tick) -> Built:
        """The next piece of a build that was begun, in a guarded transaction. Raises BrokenQueryError."""
        return self._pieces.build(request, fence, at, tick)

    def _make_empty(self, request: BuildRequest) -> None:
        """An empty table with the columns of the definition, and its tag."""
        definition, table = request.definition, self._ledger.table(request.table_name)
        sql = f"CREATE TABLE {table} AS SELECT * FROM ({select_sql(definition, DIALECT)}) LIMIT 0"
        self._connection.run(sql, bound_parameters(definition))
        self._tag("TABLE", request.table_name, definition, request.instance_id, f"aggregate {definition.label}")

    def _build_one(self, request: BuildRequest, answers: Answers, tick: Tick) -> Built:
        definition = request.definition
        table = self._ledger.table(request.table_name)
        tick(definition.label)
        try:
            if not self._deriver.make(request, table, answers):
                sql = select_sql(definition, DIALECT)
                self._connection.run(f"CREATE TABLE {table} AS {sql}", bound_parameters(definition))
            self._tag("TABLE", request.table_name, definition, request.instance_id, f"aggregate {definition.label}")
            return self._finish(request, answers)
        except WarehouseQueryError as problem:
            raise BrokenQueryError(problem, definition_id=definition.id) from problem

    def _finish(self, request: BuildRequest, answers: Answers) -> Built:
        """What a whole table holds, and the tokens that it was made from."""
        definition = request.definition
        table = self._ledger.table(request.table_name)
        contents = self._observer.contents_of(definition, table)
        tokens = self._tokens(definition, answers)
        source_tokens = self._observer.tokens.source_tokens(definition, answers)
        mark = mark_now(definition, source_tokens)
        columns = self._connection.columns(f"SELECT * FROM {table}")
        require_gate(self._connection.run, Computed(definition, table, columns), DIALECT)
        self._observer.require_files(definition)
        writes = tuple(
            PartitionWrite(each.period, each.rows, tokens.get(each.period, each.content), each.content, mark)
            for each in contents
        )
        return Built(
            request,
            sum(each.rows for each in contents),
            columns,
            writes,
            source_tokens,
        )

    def _tokens(self, definition: AggregateDefinition, answers: Answers) -> dict[Period, str]:
        """The source token of each period. None for joins whose token is the content itself: see scans.py."""
        if not definition.joins:
            return dict(answers[definition.id, ""])
        if self._observer.tokens.has_float_sums(definition):
            return dict(self._observer.tokens.level_two(definition))
        return {}

    def _tag(self, kind: str, name: str, definition: AggregateDefinition, instance_id: str, words: str) -> None:
        comment = format_tag(Tag(self._schema.installation, definition.id, instance_id), words)
        self._connection.run(f"COMMENT ON {kind} {self._ledger.table(name)} IS {self._dialect.text(comment)}")

    # -- publishing ---------------------------------------------------------------------------------------------------

    def apply(self, publication: Publication, at: datetime, build_id: str) -> None:
        """Write one publication. Raises FenceLostError if the ledger is not as the plan saw it."""
        match publication:
            case Refresh():
                self._refresh(publication, at, build_id)
            case Switch():
                self._switch(publication, at, build_id)
            case RestoreView(definition, instance):
                self._ledger.require_active(instance)
                self._make_view(definition, instance.id, instance.table_name)
            case RedefineStep(definition, instance):
                self._redefine(definition, instance)
            case AdoptStep():
                self._adopt(publication, at, build_id)
            case DisownStep():
                self._disown(publication)
            case _:
                self._keep_books(publication, at)

    def _keep_books(
        self, publication: RetireStep | DropStep | ForgetStep | Failures | RecordStep, at: datetime
    ) -> None:
        """What ends, is forgotten or noted."""
        match publication:
            case RetireStep(instance, status, reason, drop_view):
                self._end(instance, status, reason, at)
                self._drop_own("VIEW", instance.view_name if drop_view else None, instance)
            case DropStep(instance, drop_table, reason):
                self._end(instance, InstanceStatus.DELETED, reason, at)
                self._drop_own("TABLE", instance.table_name if drop_table else None, instance)
            case ForgetStep(instance):
                self._ledger.forget(instance.id)
            case Failures():
                self._fail(publication, at)
            case RecordStep(records, forgotten):
                self._ledger.replace_records(records, forgotten)

    def _end(self, instance: InstanceRecord, status: InstanceStatus, reason: Reason, at: datetime) -> None:
        """Out of service: the record stays, its partitions go."""
        self._ledger.move(instance.id, status, at, {"reason": reason.value})
        self._ledger.forget_details(instance.id)

    def _fail(self, publication: Failures, at: datetime) -> None:
        for each in publication.builds:
            status = InstanceStatus.CANCELLED if each.cancelled else InstanceStatus.FAILED
            self._ledger.move(each.instance_id, status, at, {"message": each.message})

    def _refresh(self, publication: Refresh, at: datetime, build_id: str) -> None:
        instance = publication.instance
        self._ledger.note_publish(instance, at, build_id)
        table = self._ledger.table(instance.table_name)
        if publication.replaced:
            where = rows_of_periods_sql(publication.replaced, publication.definition.partition, DIALECT)
            self._connection.run(f"DELETE FROM {table} WHERE {where}")
        taken_out = self.merger.take_out(publication) if publication.merged else 0
        written = [each.key for each in (*publication.replaced, *publication.merged)]
        if written:
            self._ledger.delete_partitions(instance.id, written)
        if publication.staged is not None:
            names = ", ".join(self._dialect.quote(each.name) for each in instance.columns)
            sql = f"INSERT INTO {table} ({names}) SELECT {names} FROM {publication.staged.handle}"
            put_in = self._connection.changed(sql, {})
            if publication.merged:
                self.merger.require_count(publication, taken_out, put_in)
            self._ledger.insert_partitions(instance.id, publication.written, at, build_id)
        self._ledger.replace_sources(instance.id, publication.source_tokens)
        if publication.definition.source.marks_commit_in_order and source_moved(instance, publication.source_tokens):
            noted = mark_now(publication.definition, publication.source_tokens)
            self._ledger.note_mark(instance.id, noted, but_for=written)
        self._ledger.recount(instance.id)

    def _switch(self, publication: Switch, at: datetime, build_id: str) -> None:
        built, old = publication.built, publication.supersedes
        request, definition = built.request, built.request.definition
        serving = self._ledger.active_ids(definition.id)
        if serving != ([] if old is None else [(old.id, old.build_id)]):
            raise FenceLostError(f"aggregate {definition.label} was published since it was observed; rolled back")
        facts = {"build_id": build_id, "built_at": at, "published_at": at, "row_count": built.rows}
        columns = {"column_list": columns_text(built.columns)}
        self._ledger.move(request.instance_id, InstanceStatus.ACTIVE, at, {**facts, **columns})
        self._ledger.forget_details(request.instance_id)  # of its pieces
        self._ledger.insert_partitions(request.instance_id, built.partitions, at, build_id)
        self._ledger.replace_sources(request.instance_id, built.source_tokens)
        if old is not None:
            self._ledger.move(old.id, InstanceStatus.INVALID, at, {"reason": "superseded"})
            self._ledger.forget_details(old.id)
            if old.view_name.casefold() != definition.view_name.casefold():
                self._drop_own("VIEW", old.view_name, old)
        self._make_view(definition, request.instance_id, request.table_name)

    def _make_view(self, definition: AggregateDefinition, instance_id: str, table_name: str) -> None:
        """Point the stable view at a table; refuses to replace an object that is not ours."""
        name = definition.view_name
        for kind in ("TABLE", "VIEW"):
            there, tag = self._object(kind, name)
            if there and (
                tag is None or tag.definition_id != definition.id or self._schema.installation != tag.installation
            ):
                raise WarehouseQueryError(
                    f"{kind.lower()} {name!r} in schema {self._schema.name} is not ours and has the name of the view; "
                    "rename or remove it",
                    definition_id=definition.id,
                )
        select = view_sql(definition, self._ledger.table(table_name), DIALECT)
        self._connection.run(f"CREATE OR REPLACE VIEW {self._ledger.table(name)} AS {select}")
        self._tag("VIEW", name, definition, instance_id, f"aggregate {definition.label}, read this")

    def _drop_own(self, kind: str, name: str | None, instance: InstanceRecord) -> None:
        """Drop a table or view whose tag says, now, that it is this instance's (a table) or definition's (a view)."""
        there, tag = (False, None) if name is None else self._object(kind, name)
        if name is None or not there:
            return
        fits = tag is not None and (tag.installation, tag.definition_id) == (
            self._schema.installation,
            instance.definition_id,
        )
        if kind == "TABLE":
            fits = fits and tag is not None and tag.instance_id == instance.id
        if not fits:
            raise FenceLostError(f"{kind.lower()} {name} is no longer the one that was observed; rolled back")
        self._connection.run(f"DROP {kind} {self._ledger.table(name)}")

    def _redefine(self, definition: AggregateDefinition, instance: InstanceRecord) -> None:
        """Let an instance serve its changed definition, where only the view differs."""
        self._ledger.require_active(instance)
        request = BuildRequest(definition, instance.id, instance.table_name)
        self._ledger.redefine(
            instance.id, intent_of(request, Fence(instance.generation, instance.fence), instance.started_at)
        )
        if instance.view_name.casefold() != definition.view_name.casefold():
            self._drop_own("VIEW", instance.view_name, instance)
        self._make_view(definition, instance.id, instance.table_name)

    def _adopt(self, step: AdoptStep, at: datetime, build_id: str) -> None:
        _, tag = self._object("TABLE", step.instance.table_name)
        self._adopter.adopt(step, tag, at, build_id)
        self._make_view(step.definition, step.instance.id, step.instance.table_name)

    def _disown(self, step: DisownStep) -> None:
        self._adopter.disown(step)
        self._untag("TABLE", step.instance.table_name, step.instance)
        self._untag("VIEW", step.instance.view_name, step.instance)

    def _untag(self, kind: str, name: str, instance: InstanceRecord) -> None:
        """Take our tag off a table or view; one that is gone, or not ours, is left as it is."""
        _, tag = self._object(kind, name)
        if tag is not None and (tag.installation, tag.instance_id) == (self._schema.installation, instance.id):
            self._connection.run(f"COMMENT ON {kind} {self._ledger.table(name)} IS NULL")

    def _object(self, kind: str, name: str) -> tuple[bool, Tag | None]:
        """Whether there is such a table or view in the schema, and its tag."""
        source, column = ("duckdb_tables()", "table_name") if kind == "TABLE" else ("duckdb_views()", "view_name")
        rows = self._connection.run(
            f"SELECT comment FROM {source} WHERE database_name = current_database() AND schema_name = $schema "
            f"AND lower({column}) = lower($name)",
            {"schema": self._schema.name, "name": name},
        )
        return bool(rows), parse_tag(rows[0][0]) if rows else None
