"""What is lost is recovered without a rebuild: ledger rows, ledger tables, the whole ledger, the installation's name."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import pytest
from attrs import evolve

from aggmaint.aggregates.naming import parse_tag
from aggmaint.aggregates.options import Adopt
from aggmaint.errors import InvalidValueError, TaskFailedError
from aggmaint.maintenance import TaskOptions
from aggmaint.task import MaintenanceReport
from aggmaint.warehouses import _duckdb_shared

from .support import NOON, ORG, Lab, Sale, actions, definitions, reasons, refreshed
from .test_health import comment_of

ADOPT = TaskOptions(adopt=Adopt()).to_json()


@pytest.fixture
def lab() -> Lab:
    lab = Lab()
    lab.seed()
    lab.run()
    return lab


def tables(lab: Lab) -> dict[str, str]:
    return {each.name: lab.table_of(each.name) for each in lab.wanted}


def physical(lab: Lab) -> set[str]:
    return {name for name, _ in lab.objects() if name.startswith("as_agg_")}


def lose_rows(lab: Lab) -> None:
    for name in ("aggmaint_instance", "aggmaint_partition", "aggmaint_source"):
        lab.execute(f'DELETE FROM "{lab.schema}".{name}')


def lose_tables(lab: Lab) -> None:
    for name in ("aggmaint_instance", "aggmaint_partition"):
        lab.execute(f'DROP TABLE "{lab.schema}".{name}')


def lose_the_instances_only(lab: Lab) -> None:
    """The partitions' rows are still there, and must not be counted twice."""
    lab.execute(f'DROP TABLE "{lab.schema}".aggmaint_instance')


def lose_the_control_row(lab: Lab) -> None:
    lab.execute(f'DROP TABLE "{lab.schema}".aggmaint_control')
    lose_rows(lab)


def lose_all(lab: Lab) -> None:
    for name in ("aggmaint_instance", "aggmaint_partition", "aggmaint_source", "aggmaint_control"):
        lab.execute(f'DROP TABLE "{lab.schema}".{name}')


LOSSES = [lose_rows, lose_tables, lose_the_instances_only, lose_the_control_row, lose_all]


@pytest.fixture(params=["catalogue read anew", "catalogue shared"], autouse=True)
def catalogue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow catalogue is shared by observations: a ledger that was lost since it was read is lost all the same."""
    if request.param == "catalogue shared":
        monkeypatch.setattr(_duckdb_shared, "SINGLE_LISTINGS", 0.0)
        monkeypatch.setattr(_duckdb_shared, "SHARED_FROM", 0)
        monkeypatch.setattr(_duckdb_shared, "SHARED_FOR", 1e9)


def run(lab: Lab) -> MaintenanceReport | TaskFailedError:
    try:
        return lab.run()
    except TaskFailedError as refused:
        return refused


@pytest.mark.parametrize("lose", LOSSES)
def test_a_run_without_its_ledger_builds_nothing_drops_nothing_and_names_adopt(
    lab: Lab, lose: Callable[[Lab], None]
) -> None:
    before, views = physical(lab), {each.name: lab.view(each.name) for each in lab.wanted}
    lose(lab)
    lab.clock[0] += timedelta(days=40)
    found = run(lab)
    if isinstance(found, TaskFailedError):
        assert found.cause == "ledger_lost"
        assert "aggmaint adopt acme" in found.message
    else:
        assert not found.complete
        assert set(reasons(found).values()) == {"ledger_lost"}
        assert all("aggmaint adopt acme" in error.message for error in found.errors)
    assert lab.writes() == []
    assert physical(lab) == before
    assert {each.name: lab.view(each.name) for each in lab.wanted} == views, "readers notice nothing"


@pytest.mark.parametrize("lose", LOSSES)
def test_adopting_recovers_without_a_rebuild(lab: Lab, lose: Callable[[Lab], None]) -> None:
    before = tables(lab)
    lose(lab)
    report = lab.run(options=ADOPT)
    assert report.complete, report.errors
    assert sorted(actions(report)) == sorted(("adopt", name) for name in before)
    assert tables(lab) == before, "the same tables are in service"
    assert not [sql for sql in lab.writes() if "as_agg" in sql and sql.startswith(("INSERT", "CREATE TABLE"))]
    lab.assert_right()
    after = lab.run()
    assert after.complete
    built = [action for action, _ in actions(after)]
    assert "build" not in built
    assert refreshed(after).keys() <= {"weights"}, "only sums of floats could not be proved equal"
    assert not [each["code"] for each in after.details["findings"]], "and nothing is wrong with what was recorded"
    assert lab.run().details["steps"] == []


def test_a_partition_that_is_not_what_its_source_says_is_refreshed_after_adopting(lab: Lab) -> None:
    lab.put(Sale(70, date(2024, 2, 9), "north", Decimal("1.00"), 1, 1.0))
    lab.put(Sale(71, date(2025, 7, 9), "north", Decimal("1.00"), 1, 1.0))
    lose_rows(lab)
    assert lab.run(options=ADOPT).complete
    found = refreshed(lab.run())
    assert found["by_month"] == {"2024-02", "2025-07"}
    assert found["by_region"] == {"2024-02", "2025-07"}
    assert found["totals"] == {"all"}
    lab.assert_right()


def test_a_partition_that_only_the_source_has_is_built_after_adopting(lab: Lab) -> None:
    """All that the table has is right; what it has not must not count as published with it."""
    lab.put(Sale(71, date(2025, 7, 9), "north", Decimal("1.00"), 1, 1.0))
    lose_rows(lab)
    assert lab.run(options=ADOPT).complete
    found = refreshed(lab.run())
    assert found["by_month"] == found["by_region"] == {"2025-07"}
    lab.assert_right()
    assert lab.run().details["steps"] == []


def copy_with_its_tag(lab: Lab, name: str, columns: str = "*") -> None:
    """Somebody keeps a copy of by_month's table, or of some columns, comment and all."""
    table, copy = f'"{lab.schema}"."{lab.table_of("by_month")}"', f'"{lab.schema}"."{name}"'
    lab.execute(f"CREATE TABLE {copy} AS SELECT {columns} FROM {table} LIMIT 1")
    tag = lab.execute("SELECT comment FROM duckdb_tables() WHERE table_name = ?", [lab.table_of("by_month")])[0][0]
    lab.execute(f"COMMENT ON TABLE {copy} IS '" + tag.replace("'", "''") + "'")


@pytest.mark.parametrize("columns", ["*", "n"])
def test_a_copy_with_its_tag_is_not_the_table_that_is_adopted(lab: Lab, columns: str) -> None:
    """A tag can be copied, a name can not be there twice: it must be that of the instance which the tag names."""
    for name in ("as_agg_00000000_by_month", "as_agg_ffffffff_by_month"):  # before and after the right one
        copy_with_its_tag(lab, name, columns)
    table = lab.table_of("by_month")
    lose_rows(lab)
    assert lab.run(options=ADOPT).complete
    assert lab.table_of("by_month") == table
    lab.assert_right()


def test_a_copy_with_its_tag_does_not_keep_an_aggregate_from_being_built_again(lab: Lab) -> None:
    """The ledger has forgotten the instance that the copied tag names; it has lost nothing."""
    copy_with_its_tag(lab, "as_agg_00000000_by_month")
    everything = lab.wanted
    lab.wanted = [evolve(each, blocked=each.name == "by_month") for each in everything]
    for _ in range(3):
        lab.run()
        lab.clock[0] += timedelta(days=40)
    lab.wanted = everything
    report = lab.run()
    assert report.complete, report.errors
    lab.assert_right()
    assert len(lab.execute(f'SELECT * FROM "{lab.schema}".as_agg_00000000_by_month')) == 1


def test_a_plan_shows_what_would_be_adopted_and_writes_nothing(lab: Lab) -> None:
    lose_all(lab)
    lab.statements.clear()
    plan = lab.maintenance.plan(ORG, now=NOON, options=TaskOptions(adopt=Adopt(aggregates=("totals",))))
    assert [(each.action.value, each.aggregate) for each in plan.steps] == [("adopt", "sales.totals")]
    assert lab.writes() == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("ALTER TABLE {} ADD COLUMN surprise INTEGER", "does not have the columns"),
        ("INSERT INTO {} FROM {}", "keys with more than one row"),
    ],
)
def test_a_table_that_does_not_fit_is_not_adopted_and_not_touched(lab: Lab, spoil: str, words: str) -> None:
    table = lab.table_of("totals")
    quoted = f'"{lab.schema}"."{table}"'
    lab.execute(spoil.format(quoted, quoted))
    rows = lab.execute(f"SELECT * FROM {quoted}")
    lose_rows(lab)
    report = lab.run(options=ADOPT)
    assert not report.complete
    assert any(words in error.message for error in report.errors), report.errors
    assert lab.execute(f"SELECT * FROM {quoted}") == rows
    assert {name for action, name in actions(report) if action == "adopt"} >= {"by_month", "by_region", "weights"}
    assert lab.run(options=TaskOptions(rebuild={"totals": None}).to_json()).errors == ()
    lab.assert_right()


def test_two_tables_that_could_be_it_are_told_apart_by_the_view(lab: Lab) -> None:
    old = lab.table_of("totals")
    lab.run(options=TaskOptions(rebuild={"totals": None}).to_json())
    new = lab.table_of("totals")
    lose_rows(lab)
    lab.execute(f'DROP VIEW "{lab.schema}".sales__by_month')
    report = lab.run(options=ADOPT)
    assert report.complete
    assert lab.table_of("totals") == new != old
    lab.assert_right()
    lose_rows(lab)
    lab.execute(f'DROP VIEW "{lab.schema}".sales__totals')
    report = lab.run(options=ADOPT)
    assert reasons(report)["totals"] == "adopt_refused"
    assert {old, new} <= physical(lab)


def test_adopting_what_the_ledger_knows_does_nothing(lab: Lab) -> None:
    before = tables(lab)
    report = lab.run(options=ADOPT)
    assert report.complete
    assert report.details["steps"] == []
    assert tables(lab) == before


# -- another installation ----------------------------------------------------------------------------------------------


def test_another_installations_schema_is_taken_over_only_when_it_is_named(lab: Lab) -> None:
    before = tables(lab)
    lab.maintenance = lab.make_maintenance("new")
    with pytest.raises(TaskFailedError, match=r"aggmaint adopt acme --from default") as refused:
        lab.run()
    assert refused.value.cause == "warehouse_foreign"
    with pytest.raises(TaskFailedError, match="belongs to installation 'default'"):
        lab.run(options=ADOPT)
    with pytest.raises(TaskFailedError, match="belongs to installation 'default'"):
        lab.run(options=TaskOptions(adopt=Adopt("staging")).to_json())
    assert not [sql for sql in lab.writes() if "COMMENT" in sql]
    taken = TaskOptions(adopt=Adopt("default")).to_json()
    assert lab.run(options=taken).complete
    assert tables(lab) == before
    for name in (*before.values(), *(f"sales__{name}" for name in before)):
        tag = parse_tag(comment_of(lab, name))
        assert tag is not None
        assert tag.installation == "new"
    assert lab.run().details["steps"] == []
    lab.assert_right()
    lab.maintenance = lab.make_maintenance()
    with pytest.raises(TaskFailedError, match="belongs to installation 'new'"):
        lab.run()


def test_taking_over_a_schema_that_lost_its_ledger_recovers_both(lab: Lab) -> None:
    before = tables(lab)
    lose_all(lab)
    lab.maintenance = lab.make_maintenance("new")
    assert lab.run(options=TaskOptions(adopt=Adopt("default")).to_json()).complete
    assert tables(lab) == before
    lab.assert_right()


def test_taking_over_is_whole_or_not_at_all(lab: Lab) -> None:
    """Killed at any tag, the schema still is the old installation's, and its tags are."""

    def fail(sql: str) -> None:
        if sql.startswith("COMMENT ON VIEW"):
            raise OSError("disk on fire")

    new = lab.make_maintenance("new")
    lab.before = fail
    with pytest.raises(OSError, match="fire"):
        new.run(lab.context(options=TaskOptions(adopt=Adopt("default")).to_json()))
    lab.before = lambda _sql: None
    assert lab.run().complete
    assert lab.run().details["steps"] == []
    lab.assert_right()


# -- giving away -------------------------------------------------------------------------------------------------------


def test_a_disowned_aggregate_stays_for_its_owner_and_is_ours_no_more(lab: Lab) -> None:
    table, rows = lab.table_of("totals"), lab.view("totals")
    report = lab.run(options=TaskOptions(disown=["totals"]).to_json())
    assert actions(report) == [("disown", "totals")]
    assert report.errors == ()
    assert lab.view("totals") == rows
    assert comment_of(lab, table) is None
    assert comment_of(lab, "sales__totals") is None
    assert reasons(lab.run())["totals"] == "view_name_taken", "the definition is still there, its name is taken"
    lab.wanted = [each for each in lab.wanted if each.name != "totals"]
    for _ in range(3):
        report = lab.run()
        assert report.complete
        assert lab.writes() == []
        lab.clock[0] += timedelta(days=40)
    assert {each["code"] for each in report.details["findings"]} == {"object_foreign"}
    assert lab.view("totals") == rows


def test_what_is_not_in_service_can_not_be_given_away(lab: Lab) -> None:
    lab.wanted = [*lab.wanted, evolve(definitions()[1], name="new", id="")]
    with pytest.raises(InvalidValueError, match="nothing to give away"):
        lab.run(options=TaskOptions(disown=["new"]).to_json())
