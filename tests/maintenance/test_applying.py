"""A plan as a value, and the job that does exactly this plan: no more, and nothing at all once it is outdated."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import sqlglot
from attrs import evolve

from aggmaint.aggregates.decisions import Action
from aggmaint.aggregates.model import Measure
from aggmaint.aggregates.options import Adopt, resolve
from aggmaint.aggregates.plans import Plan, diff
from aggmaint.core.organization import Request
from aggmaint.core.trigger import MANUAL
from aggmaint.errors import InvalidValueError, TaskFailedError
from aggmaint.maintenance import TaskOptions
from aggmaint.task import MaintenanceReport

from .support import NOON, ORG, Lab, Sale, actions, definitions, reasons, refreshed


@pytest.fixture
def lab() -> Lab:
    lab = Lab(wanted=definitions()[:2])
    lab.seed()
    return lab


def built() -> Lab:
    lab = Lab(wanted=definitions()[:2])
    lab.seed()
    lab.run()
    return lab


def plan_of(lab: Lab, options: TaskOptions | None = None) -> Plan:
    return lab.maintenance.plan(ORG, now=NOON, options=options or TaskOptions())


def apply(lab: Lab, plan: Plan) -> MaintenanceReport:
    options = json.loads(json.dumps(TaskOptions(apply=plan).to_json()))
    return lab.run(options=options)


def change(lab: Lab, number: int, month: int) -> None:
    lab.put(Sale(number, date(2024, month, 9), "north", Decimal("1.00"), 1, 1.0))


# -- the value ---------------------------------------------------------------------------------------------------------


def worlds(lab: Lab) -> list[Plan]:
    """Plans with every kind of step that a run can have here."""
    plans = [plan_of(lab)]
    lab.run()
    plans.append(plan_of(lab))
    change(lab, 60, 2)
    lab.execute(f'DROP VIEW "{lab.schema}".sales__totals')
    plans.append(plan_of(lab))
    lab.wanted = [evolve(lab.wanted[0], blocked=True), lab.wanted[1]]
    plans.append(plan_of(lab))
    lab.run()
    lab.wanted = [evolve(lab.wanted[0], blocked=False, measures=[Measure("n", "count")]), lab.wanted[1]]
    lab.clock[0] = NOON.replace(year=2027)
    plans.append(lab.maintenance.plan(ORG, now=lab.clock[0]))
    plans.append(plan_of(lab, TaskOptions(disown=["totals"])))
    return plans


def test_a_plan_is_a_value_that_json_carries_unharmed(lab: Lab) -> None:
    plans = worlds(lab)
    seen = {step.action for plan in plans for step in plan.steps}
    assert seen >= {Action.BUILD, Action.REFRESH, Action.RESTORE_VIEW, Action.RETIRE, Action.DROP, Action.DISOWN}
    for plan in plans:
        again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
        assert again == plan
        assert hash(again) == hash(plan)
        assert again.digest == plan.digest
        assert diff(plan, again).same
        assert Plan.from_json(plan.essence()).digest == plan.digest
    assert len({plan.digest for plan in plans}) == len(plans)


def test_a_step_tells_its_sql_its_rows_its_drops_and_its_reason(lab: Lab) -> None:
    plans = worlds(lab)
    steps = {(number, step.action): step for number, plan in enumerate(plans) for step in plan.steps}
    build = steps[0, Action.BUILD]
    assert build.sql[0].startswith(f'CREATE TABLE "{lab.schema}"."as_agg_…" AS SELECT')
    assert (build.rows, build.reason.value) == (None, "build_first")
    refresh = next(step for step in plans[2].steps if step.aggregate == "sales.by_month")
    assert refresh.partitions == ("2024-02",)
    assert refresh.rows == 3, "what the ledger knows of the month"
    assert refresh.reason.value == "definition_stale"
    assert [sql.split()[0] for sql in refresh.sql] == ["DELETE", "INSERT"]
    assert "2024-02-01" in refresh.sql[0]
    for sql in (text for plan in plans for step in plan.steps for text in step.sql):
        assert sql.startswith("COMMENT") or sqlglot.parse_one(sql, read="duckdb"), sql
    assert steps[3, Action.RETIRE].drops == ("sales__by_month",)
    drop = steps[4, Action.DROP]
    assert drop.drops == (drop.table,)
    assert drop.sql == (f'DROP TABLE "{lab.schema}"."{drop.table}"',)


def test_two_plans_differ_in_what_changed_between_them() -> None:
    lab = built()
    change(lab, 60, 2)
    before = plan_of(lab)
    change(lab, 61, 3)
    after = plan_of(lab)
    found = diff(before, after)
    assert not found.ledger_moved
    assert found.definitions_changed == ()
    (pair,) = [pair for pair in found.steps_changed if pair[0].aggregate == "sales.by_month"]
    assert (pair[0].partitions, pair[1].partitions) == (("2024-02",), ("2024-02", "2024-03"))
    assert found.steps_added == found.steps_removed == ()
    assert "2024-03" in {key for each in found.decisions_added for key in each.partitions}
    lab.run()
    lab.wanted = [evolve(lab.wanted[0], measures=[Measure("n", "count")]), lab.wanted[1]]
    later = diff(after, plan_of(lab))
    assert later.ledger_moved
    assert later.definitions_changed == (lab.wanted[0].id,)
    assert [each.action for each in later.steps_added] == [Action.BUILD]
    assert {each.action for each in later.steps_removed} == {Action.REFRESH}


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"version": 1}', '{"version": 9}', '"plan"'])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="plan"):
        Plan.from_json(json.loads(text))


# -- applying ----------------------------------------------------------------------------------------------------------


def test_a_first_plan_is_applied_and_a_second_time_it_is_refused(lab: Lab) -> None:
    plan = plan_of(lab)
    report = apply(lab, plan)
    assert report.complete
    assert {action for action, _ in actions(report)} == {"build"}
    lab.assert_right()
    with pytest.raises(TaskFailedError, match="make a new plan") as refused:
        apply(lab, plan)
    assert refused.value.cause == "ledger_moved"
    assert lab.writes() == []


def test_what_the_plan_does_not_cover_is_not_done() -> None:
    """February was planned; March changed after, and a new aggregate came: both are left, and said to be left."""
    lab = built()
    change(lab, 60, 2)
    plan = plan_of(lab)
    change(lab, 61, 3)
    lab.wanted = definitions()[:3]
    report = apply(lab, plan)
    assert refreshed(report)["by_month"] == {"2024-02"}
    assert not report.complete, "something is left to do"
    assert report.errors == ()
    left = [d for d in report.details["decisions"] if d["reason"] == "not_covered"]
    assert {(d["aggregate"], d["action"], tuple(d["partitions"])) for d in left} == {
        ("sales.by_month", "defer", ("2024-03",)),
        ("sales.by_region", "defer", ()),
    }
    assert report.inventory is not None
    state = next(each for each in report.inventory["definitions"] if each["name"] == "by_month")
    stale = [each["key"] for each in state["partition_states"] if each["state"] != "fresh"]
    assert stale == ["2024-03"]
    assert lab.run().complete
    lab.assert_right()


def test_what_is_fresh_again_is_not_written() -> None:
    lab = built()
    change(lab, 60, 2)
    plan = plan_of(lab)
    lab.remove(60)
    report = apply(lab, plan)
    assert report.details["steps"] == []
    assert report.complete
    assert lab.writes() == []


def test_a_moved_ledger_is_refused_even_between_looking_and_claiming() -> None:
    lab = built()
    change(lab, 60, 2)
    plan = plan_of(lab)
    count = [0]

    def publish_before_the_claim() -> None:
        count[0] += 1
        if count[0] == 1:
            lab.execute(f'UPDATE "{lab.schema}".aggmaint_control SET touch = touch + 1')

    options = TaskOptions(apply=plan).to_json()
    with pytest.raises(TaskFailedError) as refused:
        lab.run(options=options, on_confirm=publish_before_the_claim)
    assert refused.value.cause == "ledger_moved"
    assert not [sql for sql in lab.writes() if "as_agg" in sql and sql.startswith("DELETE")]


def test_a_changed_definition_is_refused_if_the_plan_touches_it() -> None:
    lab = built()
    change(lab, 60, 2)
    plan = plan_of(lab)
    lab.wanted = [lab.wanted[0], evolve(lab.wanted[1], measures=[Measure("n", "count")])]
    with pytest.raises(TaskFailedError, match=r"sales\.totals") as refused:
        apply(lab, plan)
    assert refused.value.cause == "definitions_changed"
    assert lab.writes() == []


def test_another_organisations_plan_is_refused() -> None:
    lab = built()
    change(lab, 60, 2)
    plan = evolve(plan_of(lab), organization_id="globex")
    with pytest.raises(TaskFailedError, match="globex") as refused:
        apply(lab, plan)
    assert refused.value.cause == "plan_foreign"


def test_a_part_of_a_joined_refresh_does_not_hide_the_rest() -> None:
    """The sources' tokens stand for all partitions: noted with a part of them, the others would look fresh."""
    lab = Lab(wanted=definitions()[2:3])
    lab.seed()
    lab.run()
    change(lab, 60, 2)
    plan = plan_of(lab)
    change(lab, 61, 3)
    report = apply(lab, plan)
    assert refreshed(report) == {"by_region": {"2024-02"}}
    assert refreshed(lab.run()) == {"by_region": {"2024-03"}}
    lab.assert_right()


def test_options_that_are_not_known_are_refused_and_named() -> None:
    with pytest.raises(InvalidValueError, match="'aprove_mass_drop' is not known"):
        built().run(options={"aprove_mass_drop": True})


@pytest.mark.parametrize(
    "options",
    [
        TaskOptions(),
        TaskOptions(approve_mass_drop=True),
        TaskOptions(rebuild={"a": None, "b": ["2024-01"]}, disown=["c"]),
    ],
)
def test_options_come_back_from_json(options: TaskOptions) -> None:
    assert TaskOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


def test_two_requests_that_fold_are_both_done() -> None:
    one = TaskOptions(rebuild={"by_month": ["2024-01"], "totals": ["all"]}, adopt=Adopt(None, ("totals",))).to_json()
    two = TaskOptions(rebuild={"by_month": ["2024-02"], "totals": None}, adopt=Adopt()).to_json()
    for first, second in ((one, two), (two, one)):
        folded = Request(MANUAL, NOON, False, first).fold(Request(MANUAL, NOON, False, second)).options
        read = TaskOptions.from_json(json.loads(json.dumps(folded)))
        months = dict(read.rebuild)["by_month"]
        assert months is not None and set(months) == {"2024-01", "2024-02"}
        assert dict(read.rebuild)["totals"] is None and read.adopt == Adopt()


def test_one_aggregate_named_in_two_ways_is_one() -> None:
    asked = TaskOptions(
        rebuild={"by_month": ["2024-01"], "sales.by_month": ["2024-02"], "totals": ["all"], "TOTALS": None}
    )
    wishes = resolve(asked, definitions())
    by_month, totals = definitions()[:2]
    assert wishes.rebuild == {by_month.id: ("2024-01", "2024-02"), totals.id: None}


def test_a_packed_plan_that_was_changed_is_refused() -> None:
    lab = built()
    change(lab, 60, 2)
    options: dict[str, Any] = TaskOptions(apply=plan_of(lab)).to_json()
    options["apply"]["digest"] = "0" * 16
    with pytest.raises(InvalidValueError, match="digest"):
        lab.run(options=options)
    options["apply"]["plan"] = "xxxxx"
    with pytest.raises(InvalidValueError, match="apply it anew"):
        lab.run(options=options)


def test_a_large_plan_fits_into_a_request() -> None:
    """The job half keeps at most 16 KiB of options: a plan of three aggregates with 600 days each is a third of it."""
    from aggmaint.engine import OPTIONS_BYTES_MAX

    lab = built()
    change(lab, 60, 2)
    plan = plan_of(lab)
    step = next(each for each in plan.steps if each.partitions)
    days = tuple(date.fromordinal(738000 + n).isoformat() for n in range(600))
    big = evolve(plan, steps=tuple(evolve(step, aggregate=f"a.{n}", partitions=days) for n in range(3)))
    assert len(json.dumps(TaskOptions(apply=big).to_json())) < OPTIONS_BYTES_MAX / 3


# -- rebuilding --------------------------------------------------------------------------------------------------------


def test_a_rebuild_of_one_aggregate_leaves_the_others_alone() -> None:
    lab = built()
    before = (lab.table_of("by_month"), lab.table_of("totals"))
    change(lab, 60, 2)
    report = lab.run(options=TaskOptions(rebuild={"by_month": None}).to_json())
    assert actions(report) == [("build", "by_month")]
    assert reasons(report) == {"by_month": "build_requested", "totals": "not_covered"}
    assert lab.table_of("by_month") != before[0]
    assert lab.table_of("totals") == before[1]
    lab.assert_right("by_month")
    assert lab.run().complete
    lab.assert_right()


def test_a_rebuild_of_partitions_computes_them_although_they_are_fresh() -> None:
    lab = built()
    change(lab, 60, 3)
    report = lab.run(options=TaskOptions(rebuild={"sales.by_month": ["2024-01", "2024-02"]}).to_json())
    assert refreshed(report) == {"by_month": {"2024-01", "2024-02"}}
    assert refreshed(lab.run())["by_month"] == {"2024-03"}
    lab.assert_right()


def mixed(report: MaintenanceReport) -> dict[str, bool]:
    assert report.inventory is not None
    return {each["name"]: each["mixed"] for each in report.inventory["definitions"]}


@pytest.mark.parametrize("how", ["rebuild", "apply"])
def test_a_job_that_was_asked_for_some_of_the_stale_partitions_says_that_it_leaves_a_mixture(how: str) -> None:
    """A row moved to another month: with one of the two refreshed, readers see it twice, or not at all."""
    lab = built()
    change(lab, 60, 2)
    lab.run()
    plan = plan_of(lab)
    if how == "apply":  # what the plan was to do: February only
        change(lab, 61, 2)
        change(lab, 62, 2)
        plan = plan_of(lab)
    change(lab, 60, 4)
    options = TaskOptions(apply=plan) if how == "apply" else TaskOptions(rebuild={"by_month": ["2024-02"]})
    report = lab.run(options=options.to_json())
    assert refreshed(report)["by_month"] == {"2024-02"}
    assert not report.complete
    assert reasons(report)["by_month"] == "definition_mixed"
    assert mixed(report)["by_month"]
    after = lab.run(inventory=report.inventory)
    assert after.complete and not mixed(after)["by_month"]
    lab.assert_right()


def test_a_job_that_was_asked_for_partitions_that_are_fresh_mixes_nothing() -> None:
    lab = built()
    change(lab, 60, 2)
    report = lab.run(options=TaskOptions(rebuild={"by_month": ["2024-01"]}).to_json())
    assert refreshed(report)["by_month"] == {"2024-01"}
    assert not mixed(report)["by_month"], "January was right before and is right now; all is of before the change"
    assert not report.complete


@pytest.mark.parametrize(
    ("rebuild", "words"),
    [({"nope": None}, "'nope' is not known"), ({"by_month": ["1999-01"]}, "no partition '1999-01'")],
)
def test_what_can_not_be_rebuilt_is_said(rebuild: Any, words: str) -> None:
    lab = built()
    with pytest.raises(InvalidValueError, match=words):
        lab.run(options=TaskOptions(rebuild=rebuild).to_json())
    assert lab.writes() == []


def test_a_plan_with_options_shows_what_the_job_will_do_and_can_be_applied() -> None:
    lab = built()
    plan = plan_of(lab, TaskOptions(rebuild={"by_month": ["2024-01"]}))
    (step,) = plan.steps
    assert (step.action, step.partitions) == (Action.REFRESH, ("2024-01",))
