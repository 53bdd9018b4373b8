"""The ledger of a managed schema in DuckDB: its tables, and the statements that read and write them.

The tables have no indexes and no constraints that DuckDB would check through one: rows are few, and an update of an
indexed row is a delete and an insert to DuckDB. That there is one control row follows from its birth: it is inserted by
the transaction that creates its table, and two such transactions conflict. Instants are stored as UTC without zone.
The tables and their versions: `_duckdb_ledger_schema.py`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import evolve

from ..aggregates.dialects import DuckDBDialect
from ..aggregates.life import DefinitionRecord
from ..aggregates.model import INSTANCE_PREDECESSORS, InstanceStatus
from ..aggregates.observation import ControlState, InstanceRecord, Observation, PartitionRecord
from ..core.job import Fence
from ..errors import FenceLostError, ForeignSchemaError
from ..warehouse import ManagedSchema, PartitionWrite
from ._duckdb_connection import Connection
from ._duckdb_ledger_rows import instance_of, measures_text, partition_of, stored, text
from ._duckdb_ledger_schema import (
    CONTROL,
    DEFINITION,
    EVIDENCE,
    INSTANCE,
    LEDGER_VERSION,
    OLDEST,
    PARTITION,
    SOURCE,
    TABLES,
    migrate_ledger,
)
from ._duckdb_records import read_records, replace_records


class Ledger:
    """Reads and writes the ledger through a connection. Writes belong into the caller's transaction."""

    def __init__(self, connection: Connection, schema: ManagedSchema) -> None:
        self._connection = connection
        self._schema = schema
        self._quoted = DuckDBDialect().quote(schema.name)

    def table(self, name: str) -> str:
        """The quoted reference of a table or view of the schema."""
        return f"{self._quoted}.{DuckDBDialect().quote(name)}"

    # -- birth, claim, guard ------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        found = self._connection.run(
            "SELECT COUNT(*) FROM duckdb_tables() WHERE database_name = current_database() "
            "AND schema_name = $schema AND table_name = $control",
            {"schema": self._schema.name, "control": CONTROL},
        )
        return bool(found[0][0])

    def create(self, fence: Fence) -> None:
        """Schema, ledger and the control row, claimed at once."""
        run = self._connection.run
        run(f"CREATE SCHEMA IF NOT EXISTS {self._quoted}")
        for name, columns in TABLES.items():
            again = "" if name == CONTROL or self._schema.adopt_from is None else "IF NOT EXISTS "
            run(f"CREATE TABLE {again}{self.table(name)} ({columns})")
        run(
            f"INSERT INTO {self.table(CONTROL)} VALUES ($installation, $org, $generation, $fence, 1, TRUE, '', $version)",
            {**self._identity(), **_fence(fence), "version": LEDGER_VERSION},
        )
        if self._schema.adopt_from is not None:
            migrate_ledger(run, self.table, OLDEST)  # of what is left nobody knows the version

    def complete(self) -> None:
        """Make the tables of the ledger that are gone again, empty."""
        for name, columns in TABLES.items():
            self._connection.run(f"CREATE TABLE IF NOT EXISTS {self.table(name)} ({columns})")

    def claim(self, fence: Fence, touch: int | None) -> bool:
        """Take the schema, if the fence is greater and, where `touch` is given, nothing was written since."""
        unchanged = "" if touch is None else " AND touch = $touch"
        adopt_from = self._schema.adopt_from
        takes_over = "" if adopt_from is None else "installation = $installation, "
        owner = "installation = $installation" if adopt_from is None else "installation IN ($installation, $adopt_from)"
        taken = self._connection.changed(
            f"UPDATE {self.table(CONTROL)} SET {takes_over}generation = $generation, fence = $fence, touch = touch + 1, "
            f"open = TRUE WHERE {owner} AND org = $org "
            f"AND (generation < $generation OR (generation = $generation AND fence < $fence)){unchanged}",
            {
                **self._identity(),
                **_fence(fence),
                **({} if touch is None else {"touch": touch}),
                **({} if adopt_from is None else {"adopt_from": adopt_from}),
            },
        )
        if taken == 1:
            self._migrate()
        return taken == 1

    def _migrate(self) -> None:
        """Bring an older ledger up to date, in the transaction of the claim."""
        _, version = self.read_control()
        if version < LEDGER_VERSION:
            migrate_ledger(self._connection.run, self.table, version)

    def guard(self, fence: Fence, build_id: str) -> None:
        """The first statement of every writing transaction. Raises FenceLostError."""
        held = self._connection.changed(
            f"UPDATE {self.table(CONTROL)} SET generation = generation, fence = fence, touch = touch + 1, build = $build "
            "WHERE installation = $installation AND org = $org AND generation = $generation AND fence = $fence AND open",
            {**self._identity(), **_fence(fence), "build": build_id},
        )
        if held != 1:
            raise FenceLostError(
                f"job fence {fence.generation}.{fence.number} no longer holds schema {self._schema.name}; rolled back"
            )

    def release(self, fence: Fence) -> None:
        self._connection.run(
            f"UPDATE {self.table(CONTROL)} SET open = FALSE WHERE installation = $installation AND org = $org "
            "AND generation = $generation AND fence = $fence",
            {**self._identity(), **_fence(fence)},
        )

    def _identity(self) -> dict[str, Any]:
        return {"installation": self._schema.installation, "org": self._schema.org_id}

    # -- reading ------------------------------------------------------------------------------------------------------

    def read_into(self, observation: Observation, control: ControlState, version: int) -> Observation:
        """The observation with what this ledger holds; what an older version lacks is left empty."""
        records = read_records(self._connection, self.table(DEFINITION)) if version >= 2 else ()
        return evolve(observation, control=control, instances=self._instances(version), records=records)

    def control(self) -> ControlState:
        """The control row. Raises ForeignSchemaError if it is not this installation's and organisation's."""
        return self.read_control()[0]

    def read_control(self) -> tuple[ControlState, int]:
        """The control row, and the ledger's version. Raises ForeignSchemaError, also for a newer version."""
        return self.look(())[:2]

    def look(self, tables: Iterable[str]) -> tuple[ControlState, int, tuple[Any, ...]]:
        """The control row, the ledger's version, and evidence of what it and these of its tables hold: see EVIDENCE.

        One statement, since planning is what such small reads cost. Raises ForeignSchemaError, also for a newer version.
        """
        hashes = " UNION ALL ".join(
            f"SELECT HASH({EVIDENCE[name]}, {number}) AS aggmaint_h FROM {self.table(name)}"
            for number, name in enumerate(tables)
        )
        evidence = f"(SELECT [COUNT(*), SUM(aggmaint_h)] FROM ({hashes}))" if hashes else "NULL"
        rows = self._connection.run(
            "SELECT installation, org, generation, fence, touch, open, build, version, "
            f"{evidence} FROM {self.table(CONTROL)}"
        )
        where = f"schema {self._schema.name}"
        if len(rows) != 1:
            raise ForeignSchemaError(
                f"{where} has {len(rows)} control rows instead of one; somebody changed the ledger"
            )
        *values, version, found = rows[0]
        state = ControlState(*values)
        self._require_ours(where, state, version)
        return state, version, (state, version, *(found or ()))

    def _require_ours(self, where: str, state: ControlState, version: int) -> None:
        if not 1 <= version <= LEDGER_VERSION:
            raise ForeignSchemaError(
                f"{where} has ledger version {version}, which a newer aggmaint wrote (this one knows {LEDGER_VERSION}); "
                "upgrade with: pip install -U aggmaint. Nothing was changed"
            )
        if state.installation not in (self._schema.installation, self._schema.adopt_from):
            raise ForeignSchemaError(
                f"{where} belongs to installation {state.installation!r}, not to {self._schema.installation!r}; "
                "set the same installation, use another warehouse, or take it over: aggmaint adopt "
                f"{self._schema.org_id} --from {state.installation}"
            )
        if state.org_id != self._schema.org_id:
            raise ForeignSchemaError(
                f"{where} belongs to organisation {state.org_id!r}, not to {self._schema.org_id!r}"
            )

    def instances(self) -> tuple[InstanceRecord, ...]:
        """All instances with their partitions and source tokens, in one order."""
        return self._instances(self.read_control()[1])

    def _instances(self, version: int) -> tuple[InstanceRecord, ...]:
        parts = "parts, measures" if version >= 2 else "NULL, NULL"
        marks = "mark, computed_at" if version >= 3 else "NULL, NULL"
        partitions: dict[str, list[PartitionRecord]] = {}
        for instance_id, *row in self._connection.run(
            "SELECT instance_id, period_key, starts_on, starts_at, ends_at, row_count, token, content, build_id, "
            f"published_at, {marks} FROM {self.table(PARTITION)} ORDER BY period_key"
        ):
            partitions.setdefault(instance_id, []).append(partition_of(row))
        sources: dict[str, list[tuple[str, str]]] = {}
        for instance_id, key, token in self._connection.run(
            f"SELECT instance_id, source_key, token FROM {self.table(SOURCE)} ORDER BY source_key"
        ):
            sources.setdefault(instance_id, []).append((key, token))
        return tuple(
            instance_of(row, tuple(partitions.get(row[0], ())), tuple(sources.get(row[0], ())))
            for row in self._connection.run(
                "SELECT id, definition_id, label, table_name, view_name, status, since_at, generation, fence, "
                "definition_hash, structure_hash, build_id, started_at, built_at, published_at, row_count, column_list, "
                f"reason, message, {parts} FROM {self.table(INSTANCE)} ORDER BY started_at, id"
            )
        )

    def active_ids(self, definition_id: str) -> list[tuple[str, str]]:
        """(instance id, build id) of the instances in service."""
        rows = self._connection.run(
            f"SELECT id, build_id FROM {self.table(INSTANCE)} WHERE definition_id = $id AND status = 'active'",
            {"id": definition_id},
        )
        return [(str(row[0]), str(row[1])) for row in rows]

    def knows(self, instance_id: str) -> bool:
        sql = f"SELECT COUNT(*) FROM {self.table(INSTANCE)} WHERE id = $id"
        return bool(self._connection.run(sql, {"id": instance_id})[0][0])

    # -- writing ------------------------------------------------------------------------------------------------------

    def insert_intent(self, instance: InstanceRecord) -> None:
        self._connection.run(
            f"INSERT INTO {self.table(INSTANCE)} VALUES ($id, $definition_id, $label, $table_name, $view_name, $status, "
            "$at, $generation, $fence, $definition_hash, $structure_hash, $build_id, $at, NULL, NULL, 0, '[]', NULL, NULL, "
            "$parts, $measures)",
            {
                **{
                    name: getattr(instance, name)
                    for name in ("id", "definition_id", "label", "table_name", "view_name")
                },
                **{name: getattr(instance, name) for name in ("definition_hash", "structure_hash", "build_id")},
                "generation": instance.generation,
                "fence": instance.fence,
                "status": instance.status.value,
                "at": stored(instance.started_at),
                "parts": json.dumps(dict(instance.parts)),
                "measures": measures_text(instance.measures),
            },
        )

    def move(self, instance_id: str, to: InstanceStatus, at: datetime, more: Mapping[str, Any] | None = None) -> None:
        """Give an instance its next status, from one that may come before it. `more`: further columns.

        Raises FenceLostError if it has another one.
        """
        allowed = ", ".join(f"'{status.value}'" for status in sorted(INSTANCE_PREDECESSORS[to]))
        values = {name: stored(value) if isinstance(value, datetime) else value for name, value in (more or {}).items()}
        sets = "".join(f", {name} = ${name}" for name in values)
        moved = self._connection.changed(
            f"UPDATE {self.table(INSTANCE)} SET status = $to, since_at = $at{sets} WHERE id = $id AND status IN ({allowed})",
            {**values, "to": to.value, "at": stored(at), "id": instance_id},
        )
        if moved != 1:
            raise FenceLostError(f"instance {instance_id} is not as the plan saw it; rolled back")

    def note_publish(self, instance: InstanceRecord, at: datetime, build_id: str) -> None:
        """Note a new publish of an active instance. Raises FenceLostError if its last one is not the one planned on."""
        noted = self._connection.changed(
            f"UPDATE {self.table(INSTANCE)} SET build_id = $build, published_at = $at "
            "WHERE id = $id AND status = 'active' AND build_id = $before",
            {"build": build_id, "at": stored(at), "id": instance.id, "before": instance.build_id},
        )
        if noted != 1:
            raise FenceLostError(f"table {instance.table_name} was published since it was observed; rolled back")

    def recount(self, instance_id: str) -> None:
        """Make the instance's rows the sum of its partitions'."""
        self._connection.run(
            f"UPDATE {self.table(INSTANCE)} SET row_count = (SELECT COALESCE(SUM(row_count), 0) "
            f"FROM {self.table(PARTITION)} WHERE instance_id = $id) WHERE id = $id",
            {"id": instance_id},
        )

    def go_on_building(self, instance_id: str, fence: Fence) -> None:
        """A build goes on under this job's fence. Raises FenceLostError if the instance is not being built any more."""
        mine = self._connection.changed(
            f"UPDATE {self.table(INSTANCE)} SET generation = $generation, fence = $fence "
            "WHERE id = $id AND status = 'inprogress'",
            {"id": instance_id, **_fence(fence)},
        )
        if mine != 1:
            raise FenceLostError(f"instance {instance_id} is not being built any more; rolled back")

    def has_table(self, name: str) -> bool:
        found = self._connection.run(
            "SELECT COUNT(*) FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = $schema "
            "AND lower(table_name) = lower($name)",
            {"schema": self._schema.name, "name": name},
        )
        return bool(found[0][0])

    def require_active(self, instance: InstanceRecord) -> None:
        if instance.id not in {found for found, _ in self.active_ids(instance.definition_id)}:
            raise FenceLostError(f"table {instance.table_name} is no longer in service; rolled back")

    def delete_partitions(self, instance_id: str, keys: Iterable[str]) -> None:
        self._connection.run(
            f"DELETE FROM {self.table(PARTITION)} WHERE instance_id = $id AND period_key IN (SELECT UNNEST($keys))",
            {"id": instance_id, "keys": list(keys)},
        )

    def insert_partitions(
        self, instance_id: str, writes: Iterable[PartitionWrite], at: datetime, build_id: str
    ) -> None:
        """One statement, whatever the number of partitions."""
        listed = [
            [
                *(each.period.key, each.period.starts_on, text(each.period.starts_at), text(each.period.ends_at)),
                *(str(each.rows), each.token, each.content, each.mark, text(each.computed_at)),
            ]
            for each in writes
        ]
        if listed:
            self._connection.run(
                f"INSERT INTO {self.table(PARTITION)} SELECT $id, r[1], r[2], CAST(r[3] AS TIMESTAMP), "
                "CAST(r[4] AS TIMESTAMP), CAST(r[5] AS BIGINT), r[6], r[7], $build, $at, r[8], CAST(r[9] AS TIMESTAMP) "
                "FROM (SELECT UNNEST($rows) AS r)",
                {"id": instance_id, "rows": listed, "build": build_id, "at": stored(at)},
            )

    def note_mark(self, instance_id: str, mark: str | None, but_for: Iterable[str]) -> None:
        """All partitions of the instance, but for those with these keys, are current up to this mark of its source."""
        self._connection.run(
            f"UPDATE {self.table(PARTITION)} SET mark = $mark WHERE instance_id = $id "
            "AND period_key NOT IN (SELECT UNNEST(CAST($keys AS VARCHAR[])))",
            {"id": instance_id, "mark": mark, "keys": list(but_for)},
        )

    def replace_sources(self, instance_id: str, tokens: Iterable[tuple[str, str]]) -> None:
        self._connection.run(f"DELETE FROM {self.table(SOURCE)} WHERE instance_id = $id", {"id": instance_id})
        for key, token in tokens:
            self._connection.run(
                f"INSERT INTO {self.table(SOURCE)} VALUES ($id, $key, $token)",
                {"id": instance_id, "key": key, "token": token},
            )

    def redefine(self, instance_id: str, wanted: InstanceRecord) -> None:
        """Give an instance the names and hashes of a changed definition; its table and partitions stay."""
        self._connection.run(
            f"UPDATE {self.table(INSTANCE)} SET label = $label, view_name = $view_name, definition_hash = $definition_hash, "
            "structure_hash = $structure_hash, parts = $parts, measures = $measures WHERE id = $id",
            {
                **{n: getattr(wanted, n) for n in ("label", "view_name", "definition_hash", "structure_hash")},
                "parts": json.dumps(dict(wanted.parts)),
                "measures": measures_text(wanted.measures),
                "id": instance_id,
            },
        )

    def replace_records(self, records: Sequence[DefinitionRecord], forgotten: Iterable[str]) -> None:
        replace_records(self._connection, self.table(DEFINITION), records, forgotten)

    def forget_details(self, instance_id: str) -> None:
        """Remove the partition and source rows of an instance that is out of service."""
        for name in (PARTITION, SOURCE):
            self._connection.run(f"DELETE FROM {self.table(name)} WHERE instance_id = $id", {"id": instance_id})

    def disown(self, instance_id: str) -> None:
        """Remove all rows of an instance, whatever its status."""
        self.forget_details(instance_id)
        self._connection.run(f"DELETE FROM {self.table(INSTANCE)} WHERE id = $id", {"id": instance_id})

    def forget(self, instance_id: str) -> None:
        self.forget_details(instance_id)
        self._connection.run(
            f"DELETE FROM {self.table(INSTANCE)} WHERE id = $id AND status = 'deleted'", {"id": instance_id}
        )


def _fence(fence: Fence) -> dict[str, Any]:
    return {"generation": fence.generation, "fence": fence.number}
