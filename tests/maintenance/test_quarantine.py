"""A definition that fails run after run is told of, and holds nothing back (design/jobs.md, Overlap)."""

from typing import Any

from attrs import evolve

from aggmaint.aggregates.model import Measure
from aggmaint.aggregates.quarantine import FAILURES_MAX, QUARANTINED
from aggmaint.task import MaintenanceReport

from .support import Lab, definitions


def sick_lab(column: str = "nowhere") -> Lab:
    sound, other = definitions()[:2]
    lab = Lab(wanted=[sound, evolve(other, measures=[Measure("m", "sum", column)], id="sick")])
    lab.seed()
    return lab


def run(lab: Lab, last: MaintenanceReport | None, *, manual: bool = False) -> MaintenanceReport:
    context = lab.context()
    context.manual = manual
    context.inventory = last.inventory if last else None
    return lab.maintenance.run(context)


def codes(report: MaintenanceReport) -> list[Any]:
    return [finding["code"] for finding in report.details["findings"]]


def failed_often(lab: Lab) -> MaintenanceReport:
    report = None
    for _ in range(FAILURES_MAX):
        report = run(lab, report)
        assert not report.complete
        assert QUARANTINED not in codes(report)
    assert report is not None
    return report


def test_after_three_failures_in_a_row_it_holds_nothing_back() -> None:
    lab = sick_lab()
    report = run(lab, failed_often(lab))
    assert report.complete
    assert QUARANTINED in codes(report)
    assert report.errors, "it is still told of"


def test_a_run_that_a_person_asked_for_lifts_it() -> None:
    lab = sick_lab()
    quarantined = run(lab, failed_often(lab))
    assert not run(lab, quarantined, manual=True).complete


def test_a_changed_definition_begins_anew() -> None:
    lab = sick_lab()
    quarantined = run(lab, failed_often(lab))
    lab.wanted = sick_lab("elsewhere").wanted
    report = run(lab, quarantined)
    assert not report.complete
    assert QUARANTINED not in codes(report)


def test_a_success_in_between_begins_anew() -> None:
    lab = sick_lab("qty")
    sick = sick_lab().wanted
    healthy = lab.wanted
    lab.wanted = sick
    report = run(lab, run(lab, None))
    lab.wanted = healthy
    report = run(lab, report)
    assert report.complete
    lab.wanted = sick
    for _ in range(2):
        report = run(lab, report)
        assert not report.complete


def test_another_one_that_fails_still_counts() -> None:
    lab = sick_lab()
    quarantined = failed_often(lab)
    lab.wanted = [*lab.wanted, evolve(definitions()[0], name="newly sick", measures=[Measure("m", "sum", "gone")])]
    assert not run(lab, quarantined).complete
