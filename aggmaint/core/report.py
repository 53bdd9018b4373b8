"""A job's report as it is stored: a JSON text of bounded size.

The bound keeps a store's rows small whatever a task writes. What is too long is shortened, never refused: the longest
lists of `details` keep their first entries, and say under `omitted` how many were left out.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import asdict

from .job import StepError

REPORT_BYTES_MAX: Final = 256 * 1024
TEXT_CHARACTERS_MAX: Final = 2000


def report_text(complete: bool, summary: str, details: Mapping[str, Any], errors: Sequence[StepError]) -> str:
    """`{"complete", "summary", "details", "errors"}` in at most 256 KiB of UTF-8. TypeError or ValueError for no JSON."""
    report: dict[str, Any] = {
        "complete": complete,
        "summary": summary[:TEXT_CHARACTERS_MAX],
        "details": dict(details),
        "errors": [{key: value for key, value in asdict(error).items() if value is not None} for error in errors],
    }
    text = _dumps(report)
    while len(text.encode()) > REPORT_BYTES_MAX:
        if not _shorten(report):
            report = {"complete": complete, "summary": report["summary"], "details": {}, "errors": [], "omitted": "all"}
        text = _dumps(report)
    return text


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _shorten(report: dict[str, Any]) -> bool:
    """Halve the list that takes the most room; False when there is none left."""
    lists: dict[tuple[str, ...], Sequence[Any]] = {("errors",): report["errors"]}
    lists |= {("details", key): value for key, value in report["details"].items() if isinstance(value, list | tuple)}
    long = {path: value for path, value in lists.items() if len(value) > 1}
    if not long:
        return False
    path = max(long, key=lambda name: len(_dumps(long[name])))
    kept = list(long[path][: len(long[path]) // 2])
    omitted = report.setdefault("omitted", {})
    omitted[path[-1]] = omitted.get(path[-1], 0) + len(long[path]) - len(kept)
    holder = report["details"] if len(path) == 2 else report
    holder[path[-1]] = kept
    return True
