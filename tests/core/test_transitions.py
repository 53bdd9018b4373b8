"""The transition table, exhaustively, and the page that is printed from it."""

from itertools import product
from pathlib import Path

import pytest

from aggmaint import FailureCode, JobStatus
from aggmaint.core.transitions import (
    CODES,
    EVENT_BY_CODE,
    INITIAL,
    TERMINAL,
    TRANSITIONS,
    JobEvent,
    advance,
    as_markdown,
    check_table,
)
from aggmaint.errors import InvalidTransitionError

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "jobs.md"
IN, DONE, FAILED = JobStatus.INPROGRESS, JobStatus.DONE, JobStatus.FAILED


@pytest.mark.parametrize(("status", "event"), list(product(JobStatus, JobEvent)))
def test_I4_every_status_and_event(status: JobStatus, event: JobEvent) -> None:
    """Said here once more, by hand: from in progress every event ends the job, and from an end nothing leads on."""
    if status is IN:
        assert advance(status, event) is (DONE if event is JobEvent.SUCCEED else FAILED)
    else:
        with pytest.raises(InvalidTransitionError, match="never changes"):
            advance(status, event)


def test_every_code_is_an_event_and_back() -> None:
    assert {FailureCode(code) for code in EVENT_BY_CODE} == set(FailureCode)
    assert all(CODES[EVENT_BY_CODE[code]] is code for code in FailureCode)
    assert INITIAL is JobStatus("inprogress") and frozenset(JobStatus) - {INITIAL} == TERMINAL


def without(*events: JobEvent) -> dict[tuple[JobStatus, JobEvent], JobStatus]:
    return {key: after for key, after in TRANSITIONS.items() if key[1] not in events}


BAD_TABLES = {
    "ends that can be left": {**TRANSITIONS, (DONE, JobEvent.ERROR): FAILED},
    "ends that can be left, to the start": {**TRANSITIONS, (FAILED, JobEvent.SUCCEED): IN},
    "statuses that can not be reached": without(JobEvent.SUCCEED) | {(IN, JobEvent.SUCCEED): IN},
    "events without use": without(JobEvent.SHUT_DOWN),
    "failures without a code": {**TRANSITIONS, (IN, JobEvent.SUCCEED): FAILED, (IN, JobEvent.ERROR): DONE},
    "codes without a failure": {**TRANSITIONS, (IN, JobEvent.CANCEL): DONE},
    "statuses without a way out": {},
}


@pytest.mark.parametrize("table", BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_table_is_refused(table: dict[tuple[JobStatus, JobEvent], JobStatus]) -> None:
    with pytest.raises(InvalidTransitionError, match="transition table"):
        check_table(table)


def test_the_table_in_use_is_good() -> None:
    check_table(TRANSITIONS)


def test_the_reference_page_is_printed_from_the_table() -> None:
    assert as_markdown() in PAGE.read_text(encoding="utf-8"), "print as_markdown() anew and paste it"
