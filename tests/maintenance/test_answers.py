"""`why` and `why_not` from a report alone: each answer names what kept a candidate, or that it was done, or failed."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from attrs import evolve

from aggmaint.aggregates.answers import AnswerCode, why, why_not
from aggmaint.aggregates.model import AggregateDefinition, Measure
from aggmaint.aggregates.policy import Policy
from aggmaint.aggregates.reasons import Reason
from aggmaint.maintenance import TaskOptions
from aggmaint.task import MaintenanceReport

from .support import Lab, Sale, definitions

MONTHS = definitions()[0]
BROKEN = evolve(
    definitions()[1], name="sick", id="", attributes=[], measures=[Measure("x", "sum", "CAST(shop AS INTEGER)")]
)


@pytest.fixture
def lab() -> Lab:
    lab = Lab(wanted=[MONTHS])
    lab.seed()
    lab.run()
    return lab


def codes(report: MaintenanceReport, partition: str | None = None, of: AggregateDefinition = MONTHS) -> set[str]:
    answers = why_not(report.details, of.id, partition)
    assert all(each.code in {*(r.value for r in Reason), *(c.value for c in AnswerCode)} for each in answers)
    assert all(each.words and each.to_json()["code"] == each.code for each in answers)
    return {each.code for each in answers}


def touch(lab: Lab, *months: int) -> None:
    for month in months:
        lab.put(Sale(50 + month, date(2024, month, 9), "north", Decimal(len(lab.rows)), 1, 1.0))


def test_what_is_fresh_was_not_refreshed_because_it_is(lab: Lab) -> None:
    report = lab.run()
    assert codes(report) == {"definition_fresh", "partition_fresh", "view_current", "instance_healthy"}
    assert codes(report, "2024-02") == {"partition_fresh"}
    assert why(report.details, MONTHS.id, "2024-02")[0]["partitions"] == ["2024-02"]


def test_what_was_done_was_done(lab: Lab) -> None:
    touch(lab, 2)
    report = lab.run()
    assert codes(report, "2024-02") == {"done"}
    assert codes(report, "2024-01") == {"partition_fresh"}


def test_what_is_over_budget_says_so(lab: Lab) -> None:
    touch(lab, 1, 2)
    lab.policy = Policy(run_partitions_max=1)
    report = lab.run()
    assert codes(report, "2024-01") == {"done"}
    assert codes(report, "2024-02") == {"partition_over_budget"}


def test_what_was_not_asked_for_says_so(lab: Lab) -> None:
    touch(lab, 1, 2)
    report = lab.run(options=TaskOptions(rebuild={"by_month": ["2024-01"]}).to_json())
    assert codes(report, "2024-02") == {"not_covered"}


def test_what_is_blocked_or_within_its_grace_says_so(lab: Lab) -> None:
    lab.wanted = [evolve(MONTHS, blocked=True)]
    lab.run()
    report = lab.run()
    assert codes(report) == {"definition_blocked", "instance_retired_kept"}
    lab.clock[0] += timedelta(hours=2)
    assert "done" in codes(lab.run()), "it was dropped"


def test_what_the_brake_holds_says_so(lab: Lab) -> None:
    lab.wanted = []
    assert codes(lab.run()) == {"mass_drop_refused"}


def test_a_failed_step_and_a_quarantine_say_so(lab: Lab) -> None:
    lab.wanted = [MONTHS, BROKEN]
    inventory = None
    for _ in range(5):
        report = lab.run(inventory=inventory, manual=False)
        inventory = report.inventory
    assert codes(report, of=BROKEN) >= {"step_failed", "definition_quarantined"}
    (failed,) = [each for each in why_not(report.details, BROKEN.id) if each.code == "step_failed"]
    assert "Could not convert" in failed.words


def test_what_came_after_the_job_was_not_looked_at(lab: Lab) -> None:
    report = lab.run()
    assert codes(report, of=BROKEN) == {"not_looked_at"}
    marked = why_not(report.details, MONTHS.id, "2024-01", marks=["sales"])
    assert [each.code for each in marked] == ["partition_fresh", "marked_since"]
    assert codes(report, "2031-01") == {"definition_fresh"}, "no such partition: the definition's own answer"
