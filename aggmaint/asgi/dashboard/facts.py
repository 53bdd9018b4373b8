"""What jobs left behind, read leniently: inventories and reports as values that pages can rely on.

Theory of operation. Inventory and report are JSON that a task wrote, perhaps a host's own task, perhaps an older version of
ours. A page must never fail on them. So everything is read here, once: what has the wrong shape becomes a default, what is
no object in a list is left out, unknown words stay as they are. Nothing here decides what is good or bad (states.py does).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

Json = Mapping[str, Any]


@frozen
class PartitionFacts:
    """A published partition as the inventory has it. `ends_at` is not part of it; no bounds: the NULL or whole period."""

    key: str
    state: str
    reason: str
    rows: int
    starts_at: datetime | None
    ends_at: datetime | None
    published_at: datetime | None


@frozen
class AggregateFacts:
    """One definition with how it stands. `mark_names`: what change marks call its sources; `deactivated`: why, or empty."""

    id: str
    cube: str
    name: str
    project: str
    status: str
    reason: str
    message: str
    view: str
    type: str
    subtype: str
    blocked: bool
    rows: int
    failures_in_row: int
    dimensions: tuple[str, ...]
    measures: tuple[str, ...]
    granularity: str | None
    zone: str
    partition_expression: str
    sources: tuple[str, ...]
    mark_names: tuple[str, ...]
    sql: str | None
    mixed: bool
    deactivated: str
    uses: int
    last_used_at: datetime | None
    average_ms: int | None
    published_at: datetime | None
    partitions: tuple[PartitionFacts, ...]

    @property
    def label(self) -> str:
        return f"{self.cube}.{self.name}"


@frozen
class InstanceFacts:
    id: str
    definition_id: str
    status: str
    table: str
    started_at: datetime | None
    duration_ms: int | None
    rows: int


@frozen
class InventoryFacts:
    """`job_id` is the job that wrote it; what is None or empty was not told."""

    job_id: str
    observed_at: datetime | None
    schema: str
    aggregates: tuple[AggregateFacts, ...]
    instances: tuple[InstanceFacts, ...]

    def find(self, definition_id: str) -> AggregateFacts | None:
        return next((each for each in self.aggregates if each.id == definition_id), None)


@frozen
class StepFacts:
    action: str
    aggregate: str
    definition_id: str
    instance_id: str
    table: str
    partitions: tuple[str, ...]
    rows: int
    seconds: float
    outcome: str
    error: str

    @property
    def failed(self) -> bool:
        return self.outcome == "failed"


@frozen
class DecisionFacts:
    subject: str
    reason: str
    weight: str
    action: str
    aggregate: str
    definition_id: str
    partitions: tuple[str, ...]
    words: str


@frozen
class ErrorFacts:
    step: str
    message: str
    definition_id: str


@frozen
class SizeFacts:
    definition_id: str
    rows: int
    partitions: int
    stale: int


@frozen
class ReportFacts:
    """`findings` have the shape of decisions. `rest`: details that are not ours. `omitted`: what was too much to keep."""

    complete: bool
    summary: str
    steps: tuple[StepFacts, ...]
    decisions: tuple[DecisionFacts, ...]
    findings: tuple[DecisionFacts, ...]
    errors: tuple[ErrorFacts, ...]
    sizes: tuple[SizeFacts, ...]
    rest: Json
    omitted: bool


def read_inventory(job_id: str, content: object) -> InventoryFacts:
    body = _object(content)
    return InventoryFacts(
        job_id=job_id,
        observed_at=_instant(body, "observed_at"),
        schema=_text(body, "schema"),
        aggregates=tuple(_aggregate(each) for each in _objects(body, "definitions")),
        instances=tuple(
            InstanceFacts(
                id=_text(each, "id"),
                definition_id=_text(each, "definition_id"),
                status=_text(each, "status"),
                table=_text(each, "table_name"),
                started_at=_instant(each, "started_at"),
                duration_ms=_number_or_none(each, "duration_ms"),
                rows=_number(each, "rows"),
            )
            for each in _objects(body, "instances")
        ),
    )


def _aggregate(body: Json) -> AggregateFacts:
    partition, columns = _object(body.get("partition")), _objects(body, "attributes")
    named = [(_text(each, "name"), _text(each, "type")) for each in columns]
    names = _object(body.get("mark_names"))
    return AggregateFacts(
        id=_text(body, "id"),
        cube=_text(body, "cube"),
        name=_text(body, "name"),
        project=_text(body, "project"),
        status=_text(body, "status"),
        reason=_text(body, "reason"),
        message=_text(body, "message"),
        view=_text(body, "view"),
        type=_text(body, "type"),
        subtype=_text(body, "subtype"),
        blocked=body.get("blocked") is True,
        rows=_number(body, "rows"),
        failures_in_row=_number(body, "failures_in_row"),
        dimensions=tuple(name for name, kind in named if kind != "measure"),
        measures=tuple(name for name, kind in named if kind == "measure"),
        granularity=_text(partition, "granularity") or None,
        zone=_text(partition, "zone"),
        partition_expression=_text(partition, "expression"),
        sources=_texts(body, "sources"),
        mark_names=(*_texts(names, "rows"), *_texts(names, "other")),
        sql=_text(body, "sql") or None,
        mixed=body.get("mixed") is True,
        deactivated=_text(_object(body.get("deactivated")), "reason"),
        uses=_number(body, "query_utilization"),
        last_used_at=_instant(body, "most_recent_query"),
        average_ms=_number_or_none(body, "average_build_duration_ms"),
        published_at=_instant(_object(body.get("last_build")), "published_at"),
        partitions=tuple(_partition(each) for each in _objects(body, "partition_states")),
    )


def _partition(body: Json) -> PartitionFacts:
    return PartitionFacts(
        key=_text(body, "key"),
        state=_text(body, "state"),
        reason=_text(body, "reason"),
        rows=_number(body, "rows"),
        starts_at=_instant(body, "starts_at"),
        ends_at=_instant(body, "ends_at"),
        published_at=_instant(body, "published_at"),
    )


OURS = frozenset({"schema", "decisions", "steps", "findings", "aggregates"})
"""The keys of a report's details that are shown as tables; others are shown as they are."""


def read_report(content: object) -> ReportFacts | None:
    """None for a job that left no report."""
    if not isinstance(content, Mapping):
        return None
    details = _object(content.get("details"))
    return ReportFacts(
        complete=content.get("complete") is True,
        summary=_text(content, "summary"),
        steps=tuple(_step(each) for each in _objects(details, "steps")),
        decisions=tuple(_decision(each, "reason", "words") for each in _objects(details, "decisions")),
        findings=tuple(_decision(each, "code", "message") for each in _objects(details, "findings")),
        errors=tuple(
            ErrorFacts(_text(each, "step"), _text(each, "message"), _text(each, "definition_id"))
            for each in _objects(content, "errors")
        ),
        sizes=tuple(
            SizeFacts(
                _text(each, "definition_id"),
                _number(each, "rows"),
                _number(each, "partitions"),
                _number(each, "stale_partitions"),
            )
            for each in _objects(details, "aggregates")
        ),
        rest={str(key): value for key, value in details.items() if key not in OURS},
        omitted=bool(content.get("omitted")),
    )


def _step(body: Json) -> StepFacts:
    seconds = body.get("seconds")
    return StepFacts(
        action=_text(body, "action"),
        aggregate=_text(body, "aggregate"),
        definition_id=_text(body, "definition_id"),
        instance_id=_text(body, "instance_id"),
        table=_text(body, "table"),
        partitions=_texts(body, "partitions"),
        rows=_number(body, "rows"),
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        outcome=_text(body, "outcome"),
        error=_text(body, "error"),
    )


def _decision(body: Json, code: str, words: str) -> DecisionFacts:
    return DecisionFacts(
        subject=_text(body, "subject"),
        reason=_text(body, code),
        weight=_text(body, "weight"),
        action=_text(body, "action"),
        aggregate=_text(body, "aggregate"),
        definition_id=_text(body, "definition_id"),
        partitions=_texts(body, "partitions"),
        words=_text(body, words),
    )


# -- reading what may be anything --------------------------------------------------------------------------------------


def _object(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _objects(body: Json, key: str) -> list[Json]:
    return [each for each in _list(body, key) if isinstance(each, Mapping)]


def _texts(body: Json, key: str) -> tuple[str, ...]:
    return tuple(each for each in _list(body, key) if isinstance(each, str))


def _list(body: Json, key: str) -> Sequence[object]:
    value = body.get(key)
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _text(body: Json, key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def _number(body: Json, key: str) -> int:
    return _number_or_none(body, key) or 0


def _number_or_none(body: Json, key: str) -> int | None:
    value = body.get(key)
    return int(value) if isinstance(value, int | float) and abs(value) < 2**63 else None


def _instant(body: Json, key: str) -> datetime | None:
    """Aware UTC; None for what is none."""
    try:
        at = datetime.fromisoformat(_text(body, key))
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo is not None and 1 < at.year < 9999 else None
