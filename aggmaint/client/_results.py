"""What the client returns: values read leniently from bodies, as the wire types are. Unknown words stay as they are."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from attrs import frozen

from ..asgi.wire import WireJob, parse_instant, read_array, read_object, read_text


class RunOutcome(StrEnum):
    """What became of asking for a job."""

    STARTED = "started"
    FOLLOWS = "follows"
    """A job runs; one more will follow it."""
    QUEUED = "queued"
    """It waits for a free slot."""
    JOINED = "joined"
    """A job runs, and is the answer (if_busy="join")."""
    REFUSED = "refused"
    """A job runs, and nothing more was asked for (if_busy="reject")."""


@frozen
class RunAnswer:
    """`message` is the server's; `running_job_id` names the job in progress when it was refused."""

    outcome: RunOutcome
    message: str
    running_job_id: str | None = None

    @classmethod
    def from_message(cls, message: str) -> Self:
        """The published answer has a message and nothing else. One that nobody knows means that it was accepted."""
        outcome = RunOutcome.STARTED
        if message.startswith("Maintenance queued"):
            outcome = RunOutcome.QUEUED
        elif message.startswith("Maintenance already in progress"):
            outcome = RunOutcome.FOLLOWS if message.endswith("one more run will follow") else RunOutcome.JOINED
        return cls(outcome, message)


@frozen
class JobHistory:
    """A page of jobs, newest first. `next` is the cursor of the following page; None on the last, or without a cursor."""

    jobs: tuple[WireJob, ...]
    limit: int
    offset: int
    next: str | None

    @classmethod
    def from_json(cls, payload: object) -> Self:
        page = read_object(payload, "history")
        jobs = tuple(WireJob.from_json(job) for job in read_array(page.get("data"), "history.data"))
        return cls(jobs, int(page.get("limit", 10)), int(page.get("offset", 0)), _text(page, "next"))


@frozen
class InstanceStats:
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: int | None
    rows: int | None


@frozen
class AggregateInstanceInfo:
    """One table of an aggregate."""

    id: str | None
    definition_id: str | None
    status: str | None
    message: str | None
    table_schema: str | None
    table_name: str | None
    cube_id: str | None
    project_id: str | None
    invalidation_reason: str | None
    stats: InstanceStats

    @classmethod
    def from_json(cls, payload: object) -> Self:
        body = read_object(payload, "instance")
        stats = read_object(body.get("stats") or {}, "instance.stats")
        names = ("id", "definition_id", "status", "message", "table_schema", "table_name", "cube_id", "project_id")
        return cls(
            **{name: _text(body, name) for name in names},
            invalidation_reason=_text(body, "invalidation_reason"),
            stats=InstanceStats(
                parse_instant(stats.get("materialization_start_time")),
                parse_instant(stats.get("materialization_end_time")),
                _number(stats, "build_duration"),
                _number(stats, "number_of_rows"),
            ),
        )


@frozen
class DefinitionStats:
    created_at: datetime | None
    average_build_ms: int | None
    query_utilization: int | None
    most_recent_query_at: datetime | None


@frozen
class AggregateDefinitionInfo:
    """One aggregate: what is wanted, with its newest and its active table. `attributes` are (name, type)."""

    id: str | None
    name: str | None
    type: str | None
    subtype: str | None
    cube_id: str | None
    project_id: str | None
    incremental: bool
    blocked: bool
    attributes: tuple[tuple[str | None, str | None], ...]
    latest_instance: AggregateInstanceInfo | None
    active_instance: AggregateInstanceInfo | None
    stats: DefinitionStats
    most_recent_invalidation_reason: str | None

    @classmethod
    def from_json(cls, payload: object) -> Self:
        body = read_object(payload, "definition")
        stats = read_object(body.get("stats") or {}, "definition.stats")
        attributes = (read_object(each, "attribute") for each in read_array(body.get("attributes") or [], "attributes"))
        return cls(
            **{name: _text(body, name) for name in ("id", "name", "type", "subtype", "cube_id", "project_id")},
            incremental=bool(body.get("incremental")),
            blocked=bool(body.get("blocked")),
            attributes=tuple((_text(each, "name"), _text(each, "type")) for each in attributes),
            latest_instance=_instance(body.get("latest_instance")),
            active_instance=_instance(body.get("active_instance")),
            stats=DefinitionStats(
                parse_instant(stats.get("created_at")),
                _number(stats, "average_build_duration"),
                _number(stats, "query_utilization"),
                parse_instant(stats.get("most_recent_query")),
            ),
            most_recent_invalidation_reason=_text(body, "most_recent_invalidation_reason"),
        )


@frozen
class DefinitionPage:
    definitions: tuple[AggregateDefinitionInfo, ...]
    limit: int
    offset: int

    @classmethod
    def from_json(cls, payload: object) -> Self:
        page = _unwrapped(payload)
        read = tuple(AggregateDefinitionInfo.from_json(each) for each in read_array(page.get("data"), "data"))
        return cls(read, int(page.get("limit", 10)), int(page.get("offset", 0)))


@frozen
class InstancePage:
    instances: tuple[AggregateInstanceInfo, ...]
    limit: int
    offset: int

    @classmethod
    def from_json(cls, payload: object) -> Self:
        page = _unwrapped(payload)
        read = tuple(AggregateInstanceInfo.from_json(each) for each in read_array(page.get("data"), "data"))
        return cls(read, int(page.get("limit", 10)), int(page.get("offset", 0)))


@frozen
class Readiness:
    """`checks` as the server tells them: store, schema, scheduler, warehouse."""

    ready: bool
    checks: Mapping[str, Any]

    @classmethod
    def from_json(cls, payload: object) -> Self:
        body = read_object(payload, "readiness")
        return cls(bool(body.get("ready")), read_object(body.get("checks") or {}, "checks"))


def _unwrapped(payload: object) -> Mapping[str, Any]:
    """The published sample wraps the page in an array."""
    return read_object(payload[0] if isinstance(payload, list) and payload else payload, "page")


def _instance(payload: object) -> AggregateInstanceInfo | None:
    return None if payload is None else AggregateInstanceInfo.from_json(payload)


def _text(body: Mapping[str, Any], key: str) -> str | None:
    value = body.get(key)
    return None if value is None else read_text(value, key)


def _number(body: Mapping[str, Any], key: str) -> int | None:
    value = body.get(key)
    return value if isinstance(value, int) else None
