"""Budgets: what is over them is left, said to be left, and done by the runs that follow; nothing starves."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import pytest
from attrs import evolve

from aggmaint.aggregates.model import Source
from aggmaint.aggregates.policy import Policy
from aggmaint.errors import InvalidValueError
from aggmaint.task import MaintenanceReport

from .support import ORG, Lab, Sale, actions, definitions, reasons, refreshed


@pytest.fixture
def lab() -> Lab:
    """Three months of by_month are stale."""
    lab = Lab(wanted=definitions()[:1])
    lab.seed()
    lab.run()
    touch(lab, 1, 2, 3)
    return lab


def touch(lab: Lab, *months: int) -> None:
    for month in months:
        lab.put(Sale(50 + month, date(2024, month, 9), "north", Decimal(lab.number), 1, 1.0))


def state(report: MaintenanceReport) -> tuple[bool, list[str]]:
    assert report.inventory is not None
    (definition,) = report.inventory["definitions"]
    return definition["mixed"], [p["key"] for p in definition["partition_states"] if p["state"] != "fresh"]


def test_a_partition_budget_splits_a_refresh_and_the_next_runs_finish_it(lab: Lab) -> None:
    lab.policy = Policy(run_partitions_max=2)
    report = lab.run()
    assert refreshed(report)["by_month"] == {"2024-01", "2024-02"}
    assert not report.complete and report.progressed
    assert report.errors == ()
    assert reasons(report) == {"by_month": "definition_mixed"}
    (left,) = [d for d in report.details["decisions"] if d["action"] == "defer"]
    assert (left["reason"], left["partitions"]) == ("partition_over_budget", ["2024-03"])
    assert "run_partitions_max=2" in left["words"]
    assert state(report) == (True, ["2024-03"])
    report = lab.run()
    assert refreshed(report)["by_month"] == {"2024-03"}
    assert report.complete and not report.progressed
    assert state(report) == (False, [])
    lab.assert_right()


def test_what_is_mixed_says_so_until_it_is_done_also_in_runs_that_do_not_reach_it() -> None:
    lab = Lab(wanted=[each for each in definitions() if each.name in ("by_month", "by_region")])
    lab.seed()
    reports = [lab.run()]

    def mixed() -> dict[str, bool]:
        reports.append(lab.run(inventory=reports[-1].inventory))
        inventory = reports[-1].inventory
        assert inventory is not None
        return {each["name"]: each["mixed"] for each in inventory["definitions"]}

    touch(lab, 1, 2, 3)
    lab.policy = Policy(run_partitions_max=4)
    assert mixed() == {"by_month": False, "by_region": True}
    touch(lab, 1, 2, 3)
    lab.policy = Policy(run_partitions_max=3)
    assert mixed() == {"by_month": False, "by_region": True}, "the budget went to the other one"
    lab.execute("ALTER TABLE sales RENAME TO elsewhere")
    assert mixed() == {"by_month": False, "by_region": True}, "nothing could be looked at"
    lab.execute("ALTER TABLE elsewhere RENAME TO sales")
    assert mixed() == {"by_month": False, "by_region": False}
    lab.assert_right()


def test_the_partitions_whose_publish_is_oldest_come_first(lab: Lab) -> None:
    """January changes before each run, and still February and March have their turns."""
    lab.policy = Policy(run_partitions_max=1)
    done: list[str] = []
    for _ in range(3):
        touch(lab, 1)
        done += refreshed(lab.run())["by_month"]
    assert sorted(done) == ["2024-01", "2024-02", "2024-03"]


def test_the_first_piece_of_work_is_always_done(lab: Lab) -> None:
    lab.policy = Policy(run_rows_max=1, run_s=0.000001)
    for expected in (["2024-02", "2024-03"], ["2024-03"], []):
        report = lab.run()
        assert state(report)[1] == expected
    lab.assert_right()


@pytest.mark.parametrize("policy", [Policy(run_partitions_max=1), Policy(run_rows_max=1), Policy(run_s=0.000001)])
def test_builds_are_left_one_by_one(policy: Policy) -> None:
    lab = Lab(policy=policy)
    lab.seed()
    for number in range(4):
        report = lab.run()
        assert [action for action, _ in actions(report)] == ["build"], number
        assert report.complete is (number == 3)
        left = {name for name, reason in reasons(report).items() if reason == "definition_over_budget"}
        assert len(left) == 3 - number
    lab.assert_right()
    assert lab.run().details["steps"] == []


def test_seconds_are_judged_between_pieces_of_work() -> None:
    lab = Lab(policy=Policy(run_s=60))
    lab.seed()

    def slow(step: str, _detail: str) -> None:
        if step == "build":
            lab.clock[0] += timedelta(seconds=25)

    report = lab.run(on_progress=slow)
    assert 1 <= len(report.details["steps"]) < 4
    assert not report.complete
    assert lab.run().complete
    lab.assert_right()


def test_rows_that_were_really_written_end_a_run(lab: Lab) -> None:
    """The ledger knows nothing of the new aggregates' rows, so only what was written can end the run."""
    lab.policy = Policy(run_rows_max=5)
    lab.wanted = definitions()
    report = lab.run()
    assert len(actions(report)) < 4
    assert "run_rows_max=5" in str(report.details["decisions"])


def test_a_refresh_for_a_dependency_is_not_cut() -> None:
    """Its token stands for all partitions: cut, the aggregate would never be done."""
    lab = Lab(wanted=[evolve(definitions()[0], dependencies=[Source(table="shops")])])
    lab.seed()
    lab.run()
    lab.policy = Policy(run_partitions_max=1)
    lab.set_region("north", "hot")
    report = lab.run()
    assert len(refreshed(report)["by_month"]) == 5
    assert report.complete


def test_a_cut_refresh_of_joins_does_not_hide_the_rest() -> None:
    lab = Lab(wanted=definitions()[2:3], policy=Policy(run_partitions_max=1))
    lab.seed()
    lab.policy = Policy()
    lab.run()
    lab.policy = Policy(run_partitions_max=1)
    touch(lab, 1, 2, 3)
    for _ in range(3):
        assert len(refreshed(lab.run())["by_region"]) == 1
    assert lab.run().details["steps"] == []
    lab.assert_right()


def test_a_plan_shows_what_the_budget_will_leave(lab: Lab) -> None:
    lab.policy = Policy(run_partitions_max=2)
    plan = lab.maintenance.plan(ORG, now=lab.clock[0])
    assert [each.partitions for each in plan.steps] == [("2024-01", "2024-02")]
    assert "partition_over_budget" in {each.reason.value for each in plan.decisions}


def test_no_budget_is_no_bound(lab: Lab) -> None:
    assert lab.run().complete


@pytest.mark.parametrize("make", [lambda: Policy(run_partitions_max=-1), lambda: Policy(run_s=-1)])
def test_a_negative_budget_is_refused(make: Callable[[], Policy]) -> None:
    with pytest.raises(InvalidValueError, match="run_"):
        make()
