"""Taking over, adopting and disowning in DuckDB. Everything here runs in a guarded (or claiming) transaction of the session.

Theory of operation
-------------------
*Taking over* makes another installation's schema ours: the control row and the tag of every object, together, so that no
state between has tags that the control row contradicts. *Adopting* writes the ledger rows of a table that is there: it
proves, from the transaction's one snapshot, that the table has the columns of its definition and one row per key, and
compares each period's content with a recomputation; `bookkeeping.Proof` says what is recorded of it. *Disowning*
takes the tags and the ledger rows away, and leaves the table and its view to their owner.
"""

from datetime import datetime

from attrs import evolve

from ..aggregates.decisions import AdoptStep, DisownStep
from ..aggregates.dialects import DuckDBDialect
from ..aggregates.model import AggregateDefinition, InstanceStatus
from ..aggregates.naming import Tag, format_tag, parse_tag
from ..aggregates.observation import PartitionContent
from ..aggregates.periods import Period
from ..aggregates.scans import level_two_sql, read_contents
from ..aggregates.sql import grain
from ..aggregates.tokens import TokenKind
from ..errors import FenceLostError, WarehouseQueryError
from ..warehouse import ManagedSchema
from ._duckdb_bind import DIALECT, bound_parameters
from ._duckdb_connection import Connection
from ._duckdb_ledger import Ledger
from ._duckdb_ledger_rows import columns_text
from ._duckdb_observe import Observer
from ._duckdb_tokens import BrokenQueryError, broke_off
from .proving import Proof


def take_over(connection: Connection, ledger: Ledger, schema: ManagedSchema) -> None:
    """Make the tags of `schema.adopt_from` ours. The control row is the caller's part."""
    for source, column, kind in (("duckdb_tables()", "table_name", "TABLE"), ("duckdb_views()", "view_name", "VIEW")):
        rows = connection.run(
            f"SELECT {column}, comment FROM {source} WHERE database_name = current_database() AND schema_name = $schema",
            {"schema": schema.name},
        )
        for name, comment in rows:
            tag = parse_tag(comment)
            if tag is not None and tag.installation == schema.adopt_from:
                words = comment.partition("\n")[2]
                ours = format_tag(evolve(tag, installation=schema.installation), words)
                connection.run(f"COMMENT ON {kind} {ledger.table(name)} IS {DuckDBDialect().text(ours)}")


class Adopter:
    """Adopts and disowns through one session's parts."""

    def __init__(self, connection: Connection, ledger: Ledger, observer: Observer, engine: str) -> None:
        self._connection = connection
        self._ledger = ledger
        self._observer = observer
        self._engine = engine

    def adopt(self, step: AdoptStep, tag: Tag | None, at: datetime, build_id: str) -> None:
        """Prove the table and write its ledger rows; `tag` is the table's, as it is now. The view is the caller's part."""
        definition, instance = step.definition, step.instance
        if tag is None or (tag.definition_id, tag.instance_id) != (definition.id, instance.id):
            raise FenceLostError(f"table {instance.table_name} is no longer the one that was observed; rolled back")
        if self._ledger.active_ids(definition.id) or self._ledger.knows(instance.id):
            raise FenceLostError(f"aggregate {definition.label} is in the ledger already; rolled back")
        try:
            proof = self._proved(step)
        except WarehouseQueryError as problem:
            words = problem.message if problem.definition_id else broke_off(problem)
            raise WarehouseQueryError(words, definition_id=definition.id) from problem
        except BrokenQueryError as broken:
            raise WarehouseQueryError(broke_off(broken.problem), definition_id=definition.id) from broken.problem
        self._ledger.forget_details(instance.id)  # what is left of a ledger that was lost in part
        parts = tuple(sorted(definition.part_hashes.items()))
        intent = evolve(
            instance, status=InstanceStatus.INPROGRESS, started_at=at, parts=parts, measures=definition.measures
        )
        self._ledger.insert_intent(intent)
        facts = {"build_id": build_id, "built_at": at, "published_at": at, "message": "adopted, not built"}
        columns = {"column_list": columns_text(instance.columns), "row_count": sum(each.rows for each in proof.written)}
        self._ledger.move(instance.id, InstanceStatus.ACTIVE, at, {**facts, **columns})
        self._ledger.insert_partitions(instance.id, proof.written, at, build_id)
        self._ledger.replace_sources(instance.id, proof.source_tokens)

    def _proved(self, step: AdoptStep) -> Proof:
        """Tokens first, then data, all from the transaction's one snapshot."""
        definition, table = step.definition, self._ledger.table(step.instance.table_name)
        self._require_fit(step, table)
        self._observer.note_files([definition])
        answers = self._observer.tokens.for_build([definition], lambda _what: None)
        sources = self._observer.tokens.source_tokens(definition, answers)
        tokens: dict[Period, str] = dict(answers.get((definition.id, ""), ()))
        if definition.joins:
            tokens = dict(self._observer.tokens.level_two(definition))
        proof = Proof.of(self._observer.contents_of(definition, table), self._recomputed(definition), tokens, sources)
        self._observer.require_files(definition)
        return proof

    def _require_fit(self, step: AdoptStep, table: str) -> None:
        """The columns that a build would make, and one row per key. Raises WarehouseQueryError."""
        definition, name = step.definition, step.instance.table_name
        if self._connection.columns(f"SELECT * FROM {table}") != self._observer.tokens.bound[definition.id].columns:
            words = f"table {name} does not have the columns of {definition.label}; it is not adopted"
            raise WarehouseQueryError(words, definition_id=definition.id)
        keys = ", ".join(DuckDBDialect().quote(column) for column, _ in grain(definition, DIALECT))
        grouped = f" GROUP BY {keys}" if keys else ""
        sql = f"SELECT COUNT(*) FROM (SELECT 1 FROM {table}{grouped} HAVING COUNT(*) > 1)"
        repeated = self._connection.run(sql)[0][0]
        if repeated:
            words = f"table {name} has {repeated:,} keys with more than one row; it is not adopted"
            raise WarehouseQueryError(words, definition_id=definition.id)

    def _recomputed(self, definition: AggregateDefinition) -> tuple[PartitionContent, ...]:
        sql = level_two_sql(definition, None, joined_rows=False, dialect=DIALECT)
        rows = self._connection.run(sql, bound_parameters(definition))
        return read_contents(definition, rows, TokenKind.CONTENT, self._engine, DIALECT)

    def disown(self, step: DisownStep) -> None:
        """Forget the instance in service. Its tags are the caller's part."""
        self._ledger.require_active(step.instance)
        self._ledger.disown(step.instance.id)
