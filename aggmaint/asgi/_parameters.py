"""Query parameters: each known one is given at most once and checked; unknown ones are ignored.

Values are read strictly, because a client that sends `limit=1e3` or `limit=５` wants something else than it would get.
Bytes that are no UTF-8 are refused in known parameters. The cursor of `after=` is opaque: a fence number in a wrapping
that only this module makes, checked by making it again.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from attrs import frozen

from ..core.job import JobStatus
from ..core.outcomes import IfBusy
from ..store import PAGE_LIMIT_MAX
from ._replies import RequestError

LIMIT_DEFAULT: Final = 10
OFFSET_MAX: Final = 2**63 - 1
"""What every store can count to."""
_INTEGER: Final = re.compile(r"[0-9]{1,19}")
_CURSOR: Final = re.compile(r"1:([0-9]{1,19})")


@frozen
class HistoryParameters:
    """`after` None: no cursor was asked for. `before` is the fence number that the cursor holds, None at the start."""

    limit: int
    offset: int
    force_pull: bool
    status: JobStatus | None
    trigger_type: str | None
    by_cursor: bool
    before: int | None


def history_parameters(query_string: bytes) -> HistoryParameters:
    """Raises RequestError (400)."""
    given = _known(query_string, "limit", "offset", "force_pull", "status", "triggerType", "after")
    offset = _integer(given, "offset", 0, 0, OFFSET_MAX)
    after = given.get("after")
    if after is not None and offset:
        raise RequestError(400, f"offset={offset} and after= exclude each other; page by one of them")
    return HistoryParameters(
        limit=_integer(given, "limit", LIMIT_DEFAULT, 1, PAGE_LIMIT_MAX),
        offset=offset,
        force_pull=_boolean(given, "force_pull"),
        status=_status(given),
        trigger_type=_trigger_type(given),
        by_cursor=after is not None,
        before=decode_cursor(after) if after else None,
    )


@frozen
class AggregateParameters:
    """None: not asked for."""

    limit: int
    offset: int
    force_pull: bool
    status: str | None
    project_id: str | None
    cube_id: str | None


def aggregate_parameters(query_string: bytes, statuses: Sequence[str]) -> AggregateParameters:
    """Raises RequestError (400)."""
    given = _known(query_string, "limit", "offset", "force_pull", "status", "projectId", "cubeId")
    return AggregateParameters(
        limit=_integer(given, "limit", LIMIT_DEFAULT, 1, PAGE_LIMIT_MAX),
        offset=_integer(given, "offset", 0, 0, OFFSET_MAX),
        force_pull=_boolean(given, "force_pull"),
        status=_one_of("status", given["status"], statuses) if "status" in given else None,
        project_id=given.get("projectId"),
        cube_id=given.get("cubeId"),
    )


@frozen
class ScheduleParameters:
    """`active` None: all."""

    active: bool | None
    details: bool


def schedule_parameters(query_string: bytes) -> ScheduleParameters:
    """Raises RequestError (400)."""
    given = _known(query_string, "active", "details")
    active = _boolean(given, "active") if "active" in given else None
    return ScheduleParameters(active, _boolean(given, "details"))


def details_parameter(query_string: bytes) -> bool:
    """Raises RequestError (400)."""
    return _boolean(_known(query_string, "details"), "details")


def time_expression(query_string: bytes, body: bytes) -> str:
    """From the query (published), or from a JSON body: `{"time_expression": "0 0 4 ? * * *"}`. Raises RequestError (400).

    A `+` in the query is a space, as in every form. A body that is not empty is a JSON object; both may say the same.
    """
    given = _known(query_string, "time_expression").get("time_expression")
    sent = _json_object(body).get("time_expression", given)
    if sent is None:
        raise RequestError(
            400, "time_expression is missing; give it as a query parameter or in a JSON body, e.g. 0 0 4 ? * * *"
        )
    if not isinstance(sent, str):
        raise RequestError(400, f"time_expression is {str(sent)[:40]!r} in the body; give a string, e.g. 0 0 4 ? * * *")
    if given not in (None, sent):
        raise RequestError(400, f"time_expression is {given!r} in the query and {sent!r} in the body; give it once")
    return sent


def _json_object(body: bytes) -> Mapping[str, Any]:
    """Raises RequestError (400)."""
    try:
        document = json.loads(body) if body.strip() else {}
    except ValueError as exc:  # what is no JSON, and what is no UTF-8
        raise RequestError(400, "the body is not JSON; send an object, or none") from exc
    except RecursionError as exc:
        raise RequestError(400, "the body is nested too deeply") from exc
    if not isinstance(document, dict):
        raise RequestError(400, "the body is not a JSON object; send an object, or none")
    return document


def if_busy_parameter(query_string: bytes) -> IfBusy:
    """Raises RequestError (400)."""
    given = _known(query_string, "ifBusy").get("ifBusy", IfBusy.FOLD.value)
    return IfBusy(_one_of("ifBusy", given, [choice.value for choice in IfBusy]))


def encode_cursor(before: int) -> str:
    return base64.urlsafe_b64encode(f"1:{before}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """Raises RequestError (400) for anything that `encode_cursor` did not make."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    match = _CURSOR.fullmatch(text)
    if match is None or int(match[1]) > OFFSET_MAX or encode_cursor(int(match[1])) != cursor:
        raise RequestError(400, f"after={cursor[:40]!r} is no cursor of this API; give the `next` of the page before")
    return int(match[1])


def _known(query_string: bytes, *names: str) -> Mapping[str, str]:
    given: dict[str, str] = {}
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    for name, value in pairs:
        if name not in names:
            continue
        if name in given:
            raise RequestError(400, f"{name} is given more than once; give it once")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise RequestError(400, f"{name} is not valid UTF-8; percent-encode its UTF-8 bytes")
        given[name] = value
    return given


def _integer(given: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
        raise RequestError(400, f"{name}={text[:40]!r} is not allowed; give an integer from {least} to {most}")
    return int(text)


def _boolean(given: Mapping[str, str], name: str) -> bool:
    return _one_of(name, given.get(name, "false").lower(), ["true", "false"]) == "true"


def _status(given: Mapping[str, str]) -> JobStatus | None:
    text = given.get("status")
    return None if text is None else JobStatus(_one_of("status", text, [status.value for status in JobStatus]))


def _trigger_type(given: Mapping[str, str]) -> str | None:
    text = given.get("triggerType")
    if text == "":
        raise RequestError(400, "triggerType is empty; give a trigger type, e.g. TimeBasedMaintenance, or leave it out")
    return text


def _one_of(name: str, text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise RequestError(400, f"{name}={text[:40]!r} is not allowed; give one of: {', '.join(allowed)}")
    return text
