"""Records of definitions as rows of the ledger in DuckDB, both ways. The values are in `aggregates/life.py`."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from ..aggregates.life import Deactivated, Deactivation, DefinitionRecord
from ._duckdb_connection import Connection


def read_records(connection: Connection, table: str) -> tuple[DefinitionRecord, ...]:
    """All records, by id. `table` is the quoted reference."""
    rows = connection.run(
        "SELECT definition_id, label, created_at, counted_from_at, use_count, last_used_at, use_days, carried, "
        f"deactivated_at, deactivated_reason, deactivated_hash FROM {table} ORDER BY definition_id"
    )
    return tuple(_record(row) for row in rows)


def replace_records(
    connection: Connection, table: str, records: Sequence[DefinitionRecord], forgotten: Iterable[str]
) -> None:
    """Write these whole rows in place of what is there, and remove those of `forgotten`."""
    gone = [*(each.definition_id for each in records), *forgotten]
    connection.run(f"DELETE FROM {table} WHERE definition_id IN (SELECT UNNEST($ids))", {"ids": gone})
    if records:
        connection.run(
            f"INSERT INTO {table} SELECT r[1], r[2], CAST(r[3] AS TIMESTAMP), CAST(r[4] AS TIMESTAMP), "
            "CAST(r[5] AS BIGINT), CAST(r[6] AS TIMESTAMP), r[7], r[8], CAST(r[9] AS TIMESTAMP), r[10], r[11] "
            "FROM (SELECT UNNEST($rows) AS r)",
            {"rows": [_row(each) for each in records]},
        )


def _row(record: DefinitionRecord) -> list[str | None]:
    gone = record.deactivation
    return [
        record.definition_id,
        record.label,
        _text(record.created_at),
        _text(record.counted_from_at),
        str(record.use_count),
        _text(record.last_used_at),
        json.dumps(dict(record.use_days)),
        json.dumps(record.carried, ensure_ascii=True),
        _text(gone.at) if gone else None,
        gone.reason.value if gone else None,
        gone.definition_hash if gone else None,
    ]


def _record(row: Sequence[Any]) -> DefinitionRecord:
    identity, label, created, counted_from, count, last_used, days, carried, gone_at, reason, gone_hash = row
    return DefinitionRecord(
        identity,
        label,
        _read(created),
        _read(counted_from),
        count,
        None if last_used is None else _read(last_used),
        tuple(sorted(json.loads(days).items())),
        tuple((name, born, carried_count) for name, born, carried_count in json.loads(carried)),
        None if gone_at is None else Deactivation(_read(gone_at), Deactivated(reason), gone_hash),
    )


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")


def _read(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC)
