"""Findings imply their repair, and answers come from closed vocabularies."""

import pytest

from aggmaint.aggregates.decisions import Action, Subject
from aggmaint.aggregates.findings import AUTOMATIC, REPAIRS, STEP_FAILED, Repair, findings_of
from aggmaint.aggregates.quarantine import QUARANTINED
from aggmaint.aggregates.reasons import MEANINGS, Reason, Weight

from .test_plan import CASES

TOLD = [reason for reason, meaning in MEANINGS.items() if meaning.weight in {Weight.FINDING, Weight.PROBLEM}]


def test_every_finding_has_a_repair_and_nothing_else_has() -> None:
    assert set(REPAIRS) == {*(reason.value for reason in TOLD), STEP_FAILED, QUARANTINED}


@pytest.mark.parametrize("reason", TOLD)
def test_what_is_said_to_be_automatic_is_in_the_plan_or_held_back_by_a_problem(reason: Reason) -> None:
    """A finding that a run mends has a step that mends it; one that a person must mend has none of its own."""
    plan = CASES[reason]().plan()
    (finding,) = [each for each in findings_of(plan.decisions) if each.code == reason.value][:1]
    assert finding.repair is REPAIRS[reason.value]
    assert finding.automatic is (finding.repair in AUTOMATIC)
    did = {decision.action for decision in plan.decisions if decision.aggregate == finding.aggregate}
    wanted = {
        Repair.REBUILD: Action.BUILD,
        Repair.REFRESH: Action.REFRESH,
        Repair.RESTORE_VIEW: Action.RESTORE_VIEW,
    }
    if finding.repair in wanted:
        assert wanted[finding.repair] in did
    elif finding.weight is Weight.PROBLEM:
        assert did <= {Action.REFUSE, Action.REPORT, Action.NONE}
    told = finding.to_json()
    assert told["repair"] == finding.repair.value
    assert Subject(told["subject"]) is finding.subject
