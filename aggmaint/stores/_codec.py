"""The document and its parts as JSON texts and plain numbers, for stores that keep columns. One direction each, no rules.

Instants are UTC epoch microseconds. Keys are short, because a document is written with every commit.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..core.ids import JobId, ScheduleId
from ..core.job import ErrorInformation, FailureCode, Progress, StepError
from ..core.marks import ChangeMark
from ..core.organization import Request
from ..core.schedule import Execution, Pause, Schedule
from ..core.trigger import Trigger
from ..core.use import DefinitionUse

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def opt_to_us(instant: datetime | None) -> int | None:
    return None if instant is None else to_us(instant)


def opt_from_us(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)


_ENCODER = json.JSONEncoder(separators=(",", ":"))
"""ASCII, because a lone surrogate (a file name in an error's message) is JSON but no UTF-8."""


def dumps(value: Any) -> str:
    return _ENCODER.encode(value)


def loads(text: str) -> Any:
    """JSON's value. Most of a document's parts are empty, and told at a glance."""
    return [] if text == "[]" else {} if text == "{}" else json.loads(text)


def opt_dumps(value: Any) -> str | None:
    return None if value is None else dumps(value)


def schedule_to_json(schedule: Schedule) -> dict[str, Any]:
    latest = schedule.latest_execution
    return {
        "id": schedule.id,
        "expr": schedule.time_expression,
        "by": schedule.created_by_user,
        "at": to_us(schedule.created_at),
        "zone": schedule.zone,
        "active": schedule.active,
        "last": schedule.last_slot,
        "after": schedule.slots_after,
        "next": schedule.next_slot,
        "start": schedule.next_start,
        "spread": schedule.spread_s,
        "key": schedule.key,
        "paused": schedule.paused and pause_to_json(schedule.paused),
        "skipped": schedule.skipped,
        "missed": schedule.missed,
        "over": schedule.missed_over,
        "latest": latest and [latest.job_id, to_us(latest.executed_at)],
    }


def schedule_from_json(data: Mapping[str, Any]) -> Schedule:
    latest = data["latest"]
    return Schedule(
        id=ScheduleId(data["id"]),
        time_expression=data["expr"],
        created_by_user=data["by"],
        created_at=from_us(data["at"]),
        zone=data["zone"],
        active=data["active"],
        last_slot=data["last"],
        slots_after=data.get("after"),  # absent in documents of the first release
        next_slot=data["next"],
        next_start=data["start"],
        spread_s=data["spread"],
        key=data["key"],
        paused=data["paused"] and pause_from_json(data["paused"]),
        skipped=data["skipped"],
        missed=data["missed"],
        missed_over=data["over"],
        latest_execution=latest and Execution(JobId(latest[0]), from_us(latest[1])),
    )


def schedules_to_json(kept: Sequence[Schedule], removed: Sequence[ScheduleId]) -> Any:
    """A list while none was removed, which is what most organisations have; else both lists by name."""
    schedules = [schedule_to_json(schedule) for schedule in kept]
    return {"kept": schedules, "removed": removed} if removed else schedules


def schedules_from_json(data: Any) -> tuple[tuple[Schedule, ...], tuple[ScheduleId, ...]]:
    parts = data if isinstance(data, dict) else {"kept": data, "removed": []}
    return tuple(schedule_from_json(each) for each in parts["kept"]), tuple(map(ScheduleId, parts["removed"]))


def request_to_json(request: Request) -> dict[str, Any]:
    return {
        "trigger": str(request.trigger),
        "at": to_us(request.created_at),
        "auto": request.automatic,
        "options": request.options,
        "slots": request.slots,
        "folded": request.folded,
    }


def request_from_json(data: Mapping[str, Any]) -> Request:
    return Request(
        trigger=Trigger.parse(data["trigger"]),
        created_at=from_us(data["at"]),
        automatic=data["auto"],
        options=data["options"],
        slots=data["slots"],
        folded=data["folded"],
    )


def progress_to_json(progress: Progress) -> list[Any]:
    return [progress.step, progress.done, progress.total, progress.detail, to_us(progress.at)]


def progress_from_json(data: list[Any]) -> Progress:
    step, done, total, detail, at = data
    return Progress(step, done, total, detail, from_us(at))


def pause_to_json(pause: Pause) -> list[Any]:
    return [pause.by, pause.reason, to_us(pause.since)]


def pause_from_json(data: list[Any]) -> Pause:
    by, reason, since = data
    return Pause(by, reason, from_us(since))


def error_to_json(error: ErrorInformation) -> dict[str, Any]:
    steps = [[e.step, e.message, e.definition_id, e.instance_id] for e in error.errors]
    return {"code": error.code.value, "message": error.message, "cause": error.cause, "errors": steps}


def error_from_json(data: Mapping[str, Any]) -> ErrorInformation:
    steps = tuple(StepError(*step) for step in data["errors"])
    return ErrorInformation(FailureCode(data["code"]), data["message"], data["cause"], steps)


def mark_to_json(mark: ChangeMark) -> list[Any]:
    return [mark.number, mark.source, opt_to_us(mark.starts_at), opt_to_us(mark.ends_at)]


def mark_from_json(data: list[Any]) -> ChangeMark:
    number, source, starts_us, ends_us = data
    return ChangeMark(number, source, opt_from_us(starts_us), opt_from_us(ends_us))


def use_to_json(use: DefinitionUse) -> list[Any]:
    return [use.definition, use.born, use.changed, use.count, to_us(use.last_at)]


def use_from_json(data: list[Any]) -> DefinitionUse:
    definition, born, changed, count, last_us = data
    return DefinitionUse(definition, born, changed, count, from_us(last_us))
