"""The life of definitions on DuckDB: uses are carried once, the unused and the least used go, and come back."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from aggmaint import JobStatus, MaintenanceEngine, MaintenanceReport, TaskContext
from aggmaint.aggregates.decisions import Subject
from aggmaint.aggregates.model import AggregateDefinition
from aggmaint.aggregates.policy import Policy
from aggmaint.core.use import DefinitionUse
from aggmaint.errors import ForeignSchemaError, TaskFailedError
from aggmaint.stores.sqlite import SQLiteStore
from aggmaint.testing.clocks import ManualClock
from aggmaint.warehouses._duckdb_ledger_schema import LEDGER_VERSION

from .support import NOON, ORG, Lab, actions, definitions, reasons

DAY = timedelta(days=1)


def demanded(*numbers: int) -> list[AggregateDefinition]:
    base = evolve(definitions()[0], type="system_defined", subtype="demand_defined")
    return [evolve(base, name=f"d{number}", id="") for number in numbers]


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab(wanted=demanded(0, 1, 2))
    made.seed()
    yield made
    made.connection.close()


def used(name: str, count: int, at: datetime, born: str = "b") -> DefinitionUse:
    return DefinitionUse(f"sales.{name}", born, 1, count, at)


def tables(lab: Lab) -> set[str]:
    return {name for name, kind in lab.objects() if kind == "BASE TABLE" and name.startswith("as_agg")}


def entry(report: MaintenanceReport, name: str) -> dict[str, Any]:
    assert report.inventory is not None
    return dict(next(each for each in report.inventory["definitions"] if each["name"] == name))


def test_an_unused_one_is_deactivated_and_dropped_by_a_later_run(lab: Lab) -> None:
    lab.run()
    lab.clock[0] += 40 * DAY
    assert lab.run(told=[used("d0", 3, lab.clock[0]), used("d1", 1, lab.clock[0])]).complete
    lab.clock[0] += 6 * DAY
    lab.policy = Policy(retired_grace_s=0)
    report = lab.run()
    assert report.complete and reasons(report) == {
        "d0": "definition_fresh",
        "d1": "definition_fresh",
        "d2": "definition_unused",
    }
    assert actions(report) == [("record", ""), ("retire", "d2")]
    assert ("sales__d2", "VIEW") not in lab.objects() and len(tables(lab)) == 3, "off the view at once, not dropped yet"
    assert entry(report, "d2")["status"] == "invalid"
    assert entry(report, "d2")["deactivated"]["reason"] == "unused"
    assert entry(report, "d2")["invalidation_reason"] == "definition_unused"
    assert reasons(report, Subject.INSTANCE)["d2"] == "instance_deactivated"
    later = lab.run()
    assert actions(later) == [("drop", "d2")] and reasons(later)["d2"] == "definition_deactivated"
    assert len(tables(lab)) == 2
    assert actions(lab.run()) == [] and lab.writes() == []


def test_it_comes_back_when_it_is_used_again_or_asked_for(lab: Lab) -> None:
    lab.run()
    lab.clock[0] += 46 * DAY
    assert set(reasons(lab.run()).values()) == {"definition_unused"}
    report = lab.run(told=[used("d0", 1, lab.clock[0])], options={"activate": ["sales.d1"]})
    assert reasons(report) == {"d0": "build_reactivated", "d1": "build_reactivated", "d2": "definition_deactivated"}
    assert entry(report, "d0")["deactivated"] is None
    assert {d.aggregate: d.equal for d in lab.maintenance.verify(ORG) if d.problem is None} == {
        "sales.d0": True,
        "sales.d1": True,
    }
    lab.clock[0] += 44 * DAY
    assert reasons(lab.run())["d1"] == "definition_fresh", "its time began anew"
    lab.clock[0] += DAY
    assert reasons(lab.run())["d1"] == "definition_unused"


def test_a_wish_for_what_there_is_not_fails_the_job_before_anything(lab: Lab) -> None:
    for wish in (["sales.d0", "nobody"], "sales.d0", 3):
        with pytest.raises(TaskFailedError, match="activate names") as caught:
            lab.run(options={"activate": wish})
        assert caught.value.cause == "unknown_aggregate"
    assert lab.objects() == set()


def test_the_least_used_of_a_crowded_cube_go_and_user_defined_ones_never(lab: Lab) -> None:
    lab.wanted = [*demanded(0, 1, 2, 3, 4), *definitions()[:1]]
    lab.policy = Policy(retention_limit=2, retention_excess=2)
    report = lab.run(told=[used("d3", 5, NOON), used("d1", 4, NOON), used("d0", 3, NOON)])
    gone = {name for name, reason in reasons(report).items() if reason == "definition_over_limit"}
    assert gone == {"d0", "d2", "d4"} and reasons(report)["by_month"] == "build_first"
    words = {e["aggregate"]: e["words"] for e in report.details["decisions"] if e["subject"] == "definition"}
    assert "3 uses in 45 days" in words["sales.d0"] and "retention_limit=2" in words["sales.d0"]
    lab.wanted.append(demanded(5)[0])
    again = lab.run()
    assert reasons(again)["d5"] == "build_first" and again.complete, "there is room for one more, and another"


def test_uses_are_counted_once_whatever_fails(lab: Lab) -> None:
    lab.run()
    waiting = [used("d0", 3, NOON)]
    assert entry(lab.run(told=waiting), "d0")["query_utilization"] == 3
    report = lab.run(told=waiting)
    assert lab.writes() == [] and entry(report, "d0")["query_utilization"] == 3, "carried before: nothing to write"
    report = lab.run(told=[used("d0", 5, NOON + DAY)])
    assert entry(report, "d0")["query_utilization"] == 5
    assert entry(report, "d0")["most_recent_query"] == "2026-03-02T12:00:00Z"
    report = lab.run(told=[used("d0", 2, NOON, born="another")])
    assert entry(report, "d0")["query_utilization"] == 7


def test_the_brake_holds_back_the_unused_and_approval_lets_them_go(lab: Lab) -> None:
    lab.policy = Policy(retired_max=2)
    lab.run()
    lab.clock[0] += 46 * DAY
    report = lab.run()
    assert not report.complete and actions(report) == []
    assert set(reasons(report, Subject.INSTANCE).values()) == {"mass_drop_refused"}
    assert set(reasons(report).values()) == {"definition_fresh"}
    approved = lab.run(options={"approve_mass_drop": True})
    assert approved.complete and set(reasons(approved).values()) == {"definition_unused"}


def test_while_the_brake_holds_nothing_without_definition_is_dropped_either(lab: Lab) -> None:
    lab.run()
    everything, lab.wanted = lab.wanted, lab.wanted[1:]
    assert actions(lab.run()) == [("retire", "d0")]
    lab.wanted = []
    lab.clock[0] += DAY
    report = lab.run()
    assert actions(report) == [] and len(tables(lab)) == 3
    assert set(reasons(report, Subject.INSTANCE).values()) == {"mass_drop_refused"}
    lab.wanted = everything[1:]
    assert actions(lab.run()) == [("drop", "d0")], "as soon as the list is right again"


def test_a_definition_that_is_gone_for_good_leaves_no_record(lab: Lab) -> None:
    lab.run()
    lab.wanted = lab.wanted[1:]
    lab.run()
    for days in (1, 40, 1):
        lab.clock[0] += days * DAY
        lab.run()
    rows = lab.execute(f'SELECT label FROM "{lab.schema}".aggmaint_definition ORDER BY label')
    assert rows == [("sales.d1",), ("sales.d2",)]


# -- from the host to the ledger ---------------------------------------------------------------------------------------


def test_record_use_reaches_the_ledger_once_through_a_job_that_fails_after_its_publishes(
    lab: Lab, tmp_path: Path
) -> None:
    """The whole way: engine, SQLite, the built-in task. The second job dies after it has written the ledger."""
    clock = ManualClock(wall_at=NOON)
    store = SQLiteStore(tmp_path / "jobs.db", clock=clock)
    fails: list[str] = []

    class Task:
        def run(self, context: TaskContext) -> MaintenanceReport:
            report = lab.maintenance.run(context)
            if fails:
                raise TaskFailedError(fails.pop())
            return report

    engine = MaintenanceEngine(store=store, task=Task(), scheduler=None, executor=None, clock=clock)
    engine.register_organizations([ORG])
    engine.run_immediately(ORG)
    engine.record_use(ORG, {"sales.d0": (3, NOON)})
    engine.flush_uses()
    fails.append("died after its publishes")
    engine.run_immediately(ORG)
    engine.record_use(ORG, {"sales.d0": (4, NOON)})
    engine.flush_uses()
    engine.run_immediately(ORG)
    assert [job.status for job in engine.list_jobs(ORG).jobs] == [JobStatus.DONE, JobStatus.FAILED, JobStatus.DONE]
    inventory = engine.get_inventory(ORG)
    assert inventory is not None
    counts = {each["name"]: each["query_utilization"] for each in inventory.content["definitions"]}
    assert counts == {"d0": 7, "d1": 0, "d2": 0}
    assert engine.get_organization(ORG).uses == ()
    engine.close()
    store.close()


# -- older and newer ledgers -------------------------------------------------------------------------------------------


def make_old(lab: Lab) -> None:
    """The ledger as version 1 had it."""
    schema = lab.schema
    lab.execute(f'DROP TABLE "{schema}".aggmaint_definition')
    lab.execute(f'ALTER TABLE "{schema}".aggmaint_instance DROP COLUMN parts')
    for column in ("mark", "computed_at"):
        lab.execute(f'ALTER TABLE "{schema}".aggmaint_partition DROP COLUMN {column}')
    lab.execute(f'UPDATE "{schema}".aggmaint_control SET version = 1')


def version(lab: Lab) -> Any:
    return lab.execute(f'SELECT version FROM "{lab.schema}".aggmaint_control')[0][0]


def test_an_older_ledger_is_read_as_it_is_and_migrated_by_the_first_job_that_writes() -> None:
    lab = Lab(wanted=definitions()[:2])
    lab.seed()
    lab.run()
    make_old(lab)
    assert lab.maintenance.plan(ORG, now=NOON).writes is False
    report = lab.run()
    assert report.complete and lab.writes() == [] and version(lab) == 1, "nothing to write: left as it is"
    lab.remove(3)
    assert lab.run(told=[used("by_month", 2, NOON)]).complete
    assert version(lab) == LEDGER_VERSION
    assert lab.execute(f'SELECT use_count FROM "{lab.schema}".aggmaint_definition') == [(2,)]
    lab.assert_right()
    lab.run()
    assert lab.writes() == []


def test_a_migration_that_breaks_off_leaves_the_older_ledger() -> None:
    lab = Lab(wanted=definitions()[:1])
    lab.seed()
    lab.run()
    make_old(lab)
    lab.remove(3)

    def stop(sql: str) -> None:
        if sql.startswith("UPDATE") and "SET version" in sql:
            raise RuntimeError("the process died")

    lab.before = stop
    with pytest.raises(RuntimeError):
        lab.run()
    lab.before = lambda _sql: None
    assert version(lab) == 1
    assert lab.run().complete and version(lab) == LEDGER_VERSION
    lab.assert_right()


def test_a_newer_ledger_is_refused_with_the_remedy_and_left_alone() -> None:
    lab = Lab(wanted=definitions()[:1])
    lab.seed()
    lab.run()
    lab.execute(f'UPDATE "{lab.schema}".aggmaint_control SET version = 99')
    lab.remove(3)
    with pytest.raises(ForeignSchemaError, match=r"version 99.*newer aggmaint.*pip install -U"):
        lab.maintenance.plan(ORG, now=NOON)
    with pytest.raises(TaskFailedError, match="pip install -U"):
        lab.run()
    assert lab.writes() == []


def test_instants_are_utc_whatever_the_host_tells() -> None:
    lab = Lab(wanted=demanded(0))
    lab.seed()
    lab.run(told=[used("d0", 1, datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC))])
    (row,) = lab.execute(f'SELECT use_days, last_used_at FROM "{lab.schema}".aggmaint_definition')
    assert row == ('{"2026-02-28": 1}', datetime(2026, 2, 28, 23, 59, 59, 999999))
