"""The inventory: what aggregates there are and how they stand, as JSON, for readers that can not open the warehouse.

A job writes it when it ends; CLI, HTTP routes and dashboard read it. Its shape (version 1; instants are ISO-8601 in UTC with
`Z`, or null):

    {"version": 1, "organization_id", "schema", "observed_at",
     "definitions": [{"id", "name", "cube", "project", "type", "subtype", "blocked",
                      "status": "active" | "pending" | "invalid", "reason": code, "message": words,
                      "view": "schema.view", "view_schema", "view_name", "definition_hash",
                      "attributes": [{"name", "type": "dimension" | "measure"}],
                      "sources": [the tables and files that it reads],
                      "mark_names": see freshness.py,
                      "sql": null | what computes it, at most 4,000 characters,
                      "partition": null | {"expression", "granularity", "zone"},
                      "rows", "partitions", "stale_partitions",
                      "mixed": whether only a part of the stale partitions was refreshed (a budget, a request),
                      "last_build": null | {"started_at", "ended_at", "published_at", "duration_ms", "rows"},
                      "created_at", "average_build_duration_ms": null | int,
                      "query_utilization": all uses ever told, "recent_utilization": uses of the last `unused_days`,
                      "most_recent_query": instant | null,
                      "deactivated": null | {"at", "reason": "unused" | "over_limit"},
                      "failures_in_row": int,
                      "active_instance": null | id, "latest_instance": null | id, "invalidation_reason": null | code,
                      "partition_states": [{"key", "starts_at", "ends_at", "state": "fresh" | "stale" | "unknown",
                                            "rows", "published_at", "reason": code, "verified_at"}]}],
     "instances": [{"id", "definition_id", "cube", "project", "name", "status", "message", "reason", "table_schema",
                    "table_name", "started_at", "built_at", "published_at", "since_at", "rows", "duration_ms"}]}

An inventory that would be too large has neighbouring fresh partitions folded into one entry with a `folded` count, and says
under `omitted` what else was left out (`inventory_bound.py`).

`stale_partitions` counts all that are not proved fresh. Definitions are ordered by cube and name, instances newest first.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from .decisions import Action, Decision, MaintenancePlan, Subject
from .expressions import ExpressionError
from .life import DefinitionRecord
from .model import AggregateDefinition, DefinitionStatus, InstanceStatus
from .observation import InstanceRecord, PartitionRecord, active_instance
from .reasons import Reason, Weight
from .sql import select_sql

VERSION = 1
SQL_CHARACTERS_MAX = 4000


def make_inventory(  # noqa: PLR0913 - the parts of a report, each by keyword
    plan: MaintenancePlan,
    definitions: Sequence[AggregateDefinition],
    instances: tuple[InstanceRecord, ...],
    *,
    failed: Mapping[str, str],
    observed_at: datetime,
    failures_in_row: Mapping[str, int] | None = None,
    dialect: str | None = None,
    records: Sequence[DefinitionRecord] = (),
    recent_days: int = 45,
) -> dict[str, Any]:
    """The inventory after a plan's run. `instances` are as it left them; `failed`: what broke, by definition id.

    `failures_in_row`: how many runs in a row, this one included, failed with a definition as it is now. `dialect`: of the
    SQL that is told of each definition; None: none is told. `records`: of definitions, as the run left them; recent uses
    are those of `recent_days`.
    """
    schema, decisions = plan.schema, plan.decisions
    by_id = {each.id: each for each in definitions}
    known = {each.definition_id: each for each in records}
    own = {each.definition_id: each for each in decisions if each.subject is Subject.DEFINITION}
    partitions: dict[str, dict[str, Decision]] = {}
    for each in decisions:
        if each.subject is Subject.PARTITION and each.definition_id and each.partition is not None:
            partitions.setdefault(each.definition_id, {})[each.partition] = each
    ordered = sorted(definitions, key=lambda each: (each.cube.casefold(), each.name.casefold(), each.id))
    newest_first = sorted(instances, key=lambda each: (each.started_at, each.id), reverse=True)
    return {
        "version": VERSION,
        "organization_id": plan.organization_id,
        "schema": schema,
        "observed_at": _instant(observed_at),
        "definitions": [
            {
                **_definition(
                    each, schema, instances, own[each.id], partitions.get(each.id, {}), failed=failed.get(each.id)
                ),
                "failures_in_row": (failures_in_row or {}).get(each.id, 0),
                "sql": None if dialect is None else _sql(each, dialect),
                **_life(known.get(each.id), _first_started(each.id, instances), observed_at, recent_days),
            }
            for each in ordered
        ],
        "instances": [_instance(each, by_id.get(each.definition_id), schema) for each in newest_first],
    }


def _definition(
    definition: AggregateDefinition,
    schema: str,
    instances: tuple[InstanceRecord, ...],
    decision: Decision,
    partitions: Mapping[str, Decision],
    *,
    failed: str | None,
) -> dict[str, Any]:
    mine = sorted((each for each in instances if each.definition_id == definition.id), key=lambda each: each.started_at)
    active = active_instance(definition.id, instances)
    states = [_partition(each, decision, partitions, failed) for each in (active.partitions if active else ())]
    built = [duration for each in mine if (duration := _duration_ms(each)) is not None]
    partition = definition.partition
    return {
        "id": definition.id,
        "name": definition.name,
        "cube": definition.cube,
        "project": definition.project,
        "type": definition.type.value,
        "subtype": definition.subtype.value,
        "blocked": definition.blocked,
        "status": _status(definition, active, decision, failed).value,
        "reason": decision.reason.value,
        "message": failed or decision.words,
        "view": f"{schema}.{definition.view_name}",
        "view_schema": schema,
        "view_name": definition.view_name,
        "definition_hash": definition.definition_hash,
        "attributes": [
            *({"name": each.name, "type": "dimension"} for each in definition.attributes),
            *({"name": each.name, "type": "measure"} for each in definition.measures),
        ],
        "sources": list(dict.fromkeys(each.label for each in (*definition.sources, *definition.dependencies))),
        "partition": partition
        and {
            "expression": partition.expression,
            "granularity": partition.granularity.value,
            "zone": partition.zone,
        },
        "rows": active.rows if active else 0,
        "partitions": len(states),
        "stale_partitions": sum(each["state"] != "fresh" for each in states),
        "mixed": decision.reason is Reason.DEFINITION_MIXED,
        "last_build": _last_build(active),
        "average_build_duration_ms": round(sum(built) / len(built)) if built else None,
        "active_instance": active.id if active else None,
        "latest_instance": mine[-1].id if mine else None,
        "invalidation_reason": next((each.reason for each in reversed(mine) if each.reason), None),
        "partition_states": states,
    }


def _first_started(definition_id: str, instances: tuple[InstanceRecord, ...]) -> datetime | None:
    return min((each.started_at for each in instances if each.definition_id == definition_id), default=None)


def _life(
    record: DefinitionRecord | None, first_started_at: datetime | None, now: datetime, recent_days: int
) -> dict[str, Any]:
    """What the ledger knows of a definition beside its instances; one without a record is known since its first build."""
    gone = record.deactivation if record else None
    return {
        "created_at": _instant(record.created_at if record else first_started_at),
        "query_utilization": record.use_count if record else 0,
        "recent_utilization": record.recent_uses(now, recent_days) if record else 0,
        "most_recent_query": _instant(record.last_used_at) if record else None,
        "deactivated": gone and {"at": _instant(gone.at), "reason": gone.reason.value},
    }


def _sql(definition: AggregateDefinition, dialect: str) -> str | None:
    """What computes the whole aggregate; None for a definition that can not be used. For people: long SQL is cut."""
    try:
        sql = select_sql(definition, dialect)
    except ExpressionError:
        return None
    return sql if len(sql) <= SQL_CHARACTERS_MAX else sql[: SQL_CHARACTERS_MAX - 1] + "…"


def _status(
    definition: AggregateDefinition, active: InstanceRecord | None, decision: Decision, failed: str | None
) -> DefinitionStatus:
    if definition.blocked or decision.reason in _DEACTIVATED:
        return DefinitionStatus.INVALID
    if active is not None:
        return DefinitionStatus.ACTIVE
    return DefinitionStatus.INVALID if failed or decision.weight is Weight.PROBLEM else DefinitionStatus.PENDING


def _partition(
    record: PartitionRecord, decision: Decision, partitions: Mapping[str, Decision], failed: str | None
) -> dict[str, Any]:
    """A published partition is fresh if the run proved it or wrote it; what a failed step leaves is as it was judged."""
    judged = partitions.get(record.period.key)
    reason = judged.reason if judged is not None else decision.reason
    if (judged or decision).action is Action.DEFER:
        state = "stale"
    elif decision.weight is Weight.PROBLEM or reason is Reason.PARTITION_UNVERIFIED:
        state = "unknown"
    elif failed is not None and reason not in {Reason.PARTITION_FRESH, Reason.PARTITION_VOUCHED}:
        state = "stale"
    else:
        state = "fresh"
        reason = reason if reason is Reason.PARTITION_VOUCHED else Reason.PARTITION_FRESH
    return {
        "key": record.period.key,
        "starts_at": _instant(record.period.starts_at),
        "ends_at": _instant(record.period.ends_at),
        "state": state,
        "rows": record.rows,
        "published_at": _instant(record.published_at),
        "reason": reason.value,
        "verified_at": _instant(record.last_computed_at),
    }


def _instance(instance: InstanceRecord, definition: AggregateDefinition | None, schema: str) -> dict[str, Any]:
    cube, _, name = instance.label.partition(".")
    return {
        "id": instance.id,
        "definition_id": instance.definition_id,
        "cube": definition.cube if definition else cube,
        "project": definition.project if definition else None,
        "name": definition.name if definition else name,
        "status": instance.status.value,
        "message": instance.message or _MESSAGES[instance.status],
        "reason": instance.reason,
        "table_schema": schema,
        "table_name": instance.table_name,
        "started_at": _instant(instance.started_at),
        "built_at": _instant(instance.built_at),
        "published_at": _instant(instance.published_at),
        "since_at": _instant(instance.since_at),
        "rows": instance.rows,
        "duration_ms": _duration_ms(instance),
    }


_DEACTIVATED = frozenset({Reason.DEFINITION_UNUSED, Reason.DEFINITION_OVER_LIMIT, Reason.DEFINITION_DEACTIVATED})

_MESSAGES = {
    InstanceStatus.INPROGRESS: "Aggregate is being built",
    InstanceStatus.ACTIVE: "Normal aggregate activated",
    InstanceStatus.FAILED: "Build failed",
    InstanceStatus.CANCELLED: "Build cancelled",
    InstanceStatus.UNRELIABLE: "Health check failed",
    InstanceStatus.INVALID: "Aggregate deactivated",
    InstanceStatus.DELETED: "Aggregate table dropped",
}


def _last_build(active: InstanceRecord | None) -> dict[str, Any] | None:
    if active is None:
        return None
    return {
        "started_at": _instant(active.started_at),
        "ended_at": _instant(active.built_at),
        "published_at": _instant(active.published_at),
        "duration_ms": _duration_ms(active),
        "rows": active.rows,
    }


def _duration_ms(instance: InstanceRecord) -> int | None:
    if instance.built_at is None:
        return None
    return round((instance.built_at - instance.started_at).total_seconds() * 1000)


@lru_cache(maxsize=65_536)
def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")
