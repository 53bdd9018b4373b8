"""The job's life, as one table.

A job is born in progress by the commit that grants it, and ends once. `TRANSITIONS` is the whole truth: a pair that is
missing is an error, never a silent no-op. The table is checked when this module is imported, and docs/reference/jobs.md
is printed from it (`as_markdown`).

Theory: cancelling, a passed deadline and a lost worker are not statuses. They are the *reason* why a job failed, kept as
a code beside the status, so that every reader that knows three words can read every history (spec/domain.md, 2.2).
Asking for cancellation, renewing a lease or writing progress changes no status: these are not in the table.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from ..errors import InvalidTransitionError
from .job import FailureCode, JobStatus


class JobEvent(StrEnum):
    """What can happen to a job in progress."""

    SUCCEED = "succeed"
    ERROR = "error"
    TIME_OUT = "time_out"
    CANCEL = "cancel"
    ABANDON = "abandon"
    SHUT_DOWN = "shut_down"


INITIAL: Final = JobStatus.INPROGRESS

TRANSITIONS: Final = {
    (JobStatus.INPROGRESS, JobEvent.SUCCEED): JobStatus.DONE,
    (JobStatus.INPROGRESS, JobEvent.ERROR): JobStatus.FAILED,
    (JobStatus.INPROGRESS, JobEvent.TIME_OUT): JobStatus.FAILED,
    (JobStatus.INPROGRESS, JobEvent.CANCEL): JobStatus.FAILED,
    (JobStatus.INPROGRESS, JobEvent.ABANDON): JobStatus.FAILED,
    (JobStatus.INPROGRESS, JobEvent.SHUT_DOWN): JobStatus.FAILED,
}

CODES: Final = {
    JobEvent.ERROR: FailureCode.ERROR,
    JobEvent.TIME_OUT: FailureCode.TIMEOUT,
    JobEvent.CANCEL: FailureCode.CANCELLED,
    JobEvent.ABANDON: FailureCode.ABANDONED,
    JobEvent.SHUT_DOWN: FailureCode.SHUTDOWN,
}

EVENT_BY_CODE: Final = {code: event for event, code in CODES.items()}

TERMINAL: Final = frozenset({JobStatus.DONE, JobStatus.FAILED})


def advance(status: JobStatus, event: JobEvent) -> JobStatus:
    """The status after `event`. Raises InvalidTransitionError where the table has no entry (ended jobs take nothing)."""
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise InvalidTransitionError(f"a job that is {status} can not {event}; an ended job never changes") from None


def check_table(table: Mapping[tuple[JobStatus, JobEvent], JobStatus]) -> None:
    """Raise InvalidTransitionError if an end has a way out, or a status or event is of no use."""
    leaving = {status for status, _ in table} & TERMINAL
    unreachable = set(JobStatus) - {INITIAL} - set(table.values())
    unused = set(JobEvent) - {event for _, event in table}
    uncoded = {event for (_, event), after in table.items() if (after is JobStatus.FAILED) != (event in CODES)}
    stuck = set(JobStatus) - TERMINAL - {status for status, _ in table}
    problems: dict[str, Collection[str]] = {
        "ends that can be left": leaving,
        "statuses that can not be reached": unreachable,
        "events without use": unused,
        "failures without a code, or codes without a failure": uncoded,
        "statuses without a way out": stuck,
    }
    for problem, found in problems.items():
        if found:
            raise InvalidTransitionError(f"transition table: {problem}: {sorted(found)}")


check_table(TRANSITIONS)


def as_markdown() -> str:
    """The table and its diagram, as they stand in docs/reference/jobs.md."""
    rows = [
        f"| `{before}` | `{event}` | `{after}` | {f'`{CODES[event]}`' if event in CODES else ''} |"
        for (before, event), after in TRANSITIONS.items()
    ]
    arrows = [f"    {before} --> {after}: {event}" for (before, event), after in TRANSITIONS.items()]
    ends = [f"    {status} --> [*]" for status in sorted(TERMINAL)]
    return "\n".join(
        [
            "| status | event | next status | `errorInformation.code` |",
            "|---|---|---|---|",
            *rows,
            "",
            "```mermaid",
            "stateDiagram-v2",
            f"    [*] --> {INITIAL}: grant",
            *arrows,
            *ends,
            "```",
        ]
    )
