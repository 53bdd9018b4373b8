"""Rows of the ledger's instances in DuckDB, and how instants, columns and measures are kept in them. UTC without zone."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import asdict

from ..aggregates.model import InstanceStatus
from ..aggregates.observation import Column, InstanceRecord, PartitionRecord
from ..aggregates.parts import Measure
from ..aggregates.periods import Period


def stored(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant.astimezone(UTC).replace(tzinfo=None)


def read(instant: Any) -> Any:
    return None if instant is None else instant.replace(tzinfo=UTC)


def text(instant: datetime | None) -> str | None:
    kept = stored(instant)
    return None if kept is None else kept.isoformat(sep=" ")


def partition_of(row: Sequence[Any]) -> PartitionRecord:
    key, on, starts, ends, rows, token, content, build, published, mark, computed = row
    period = Period(key, on, read(starts), read(ends))
    return PartitionRecord(period, rows, token, content, build, read(published), mark, read(computed))


def instance_of(
    row: tuple[Any, ...], partitions: tuple[PartitionRecord, ...], sources: tuple[tuple[str, str], ...]
) -> InstanceRecord:
    identity, definition_id, label, table, view, status, since, generation, fence, *rest = row
    (
        definition_hash,
        structure_hash,
        build,
        started,
        built,
        published,
        rows,
        columns,
        reason,
        message,
        parts,
        measures,
    ) = rest
    return InstanceRecord(
        id=identity,
        definition_id=definition_id,
        label=label,
        table_name=table,
        view_name=view,
        status=InstanceStatus(status),
        since_at=read(since),
        generation=generation,
        fence=fence,
        definition_hash=definition_hash,
        structure_hash=structure_hash,
        build_id=build,
        started_at=read(started),
        built_at=read(built),
        published_at=read(published),
        rows=rows,
        columns=tuple(Column(name, kind) for name, kind in json.loads(columns)),
        reason=reason,
        message=message,
        partitions=partitions,
        source_tokens=sources,
        parts=() if parts is None else tuple(sorted(json.loads(parts).items())),
        measures=() if measures is None else tuple(Measure(**each) for each in json.loads(measures)),
    )


def columns_text(columns: Iterable[Column]) -> str:
    return json.dumps([[each.name, each.type] for each in columns], ensure_ascii=False)


def measures_text(measures: Iterable[Measure]) -> str:
    """Measures as a definition was given them: enough to make them again."""
    return json.dumps([asdict(each) for each in measures], ensure_ascii=True)
