"""Rows that several aggregates refresh from are copied aside once; a copy is never believed on its own word."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest
from attrs import evolve

from aggmaint.aggregates import slices
from aggmaint.aggregates.model import AggregateDefinition, Measure, PartitionBy, Source
from aggmaint.aggregates.periods import NULL_PERIOD, Period, period_of
from aggmaint.aggregates.policy import Policy
from aggmaint.aggregates.slices import Cut, cut_of, slice_sql, worth_slicing
from aggmaint.errors import WarehouseQueryError
from aggmaint.warehouses import _duckdb_slices

from .support import Lab, Sale, definitions, reasons, refreshed
from .test_gate import WRONG, Compute, compute
from .test_tiers import UPDATED, World, by_month

BY_MONTH = definitions()[0]
BY_YEAR = evolve(
    BY_MONTH, name="by_year", id="", partition=PartitionBy("day", "year"), attributes=BY_MONTH.attributes[1:]
)
FEBRUARY = date(2024, 2, 9)


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices pay, however small the source is."""
    monkeypatch.setattr(slices, "ROWS_MIN", 0)
    monkeypatch.setattr(slices, "SHARE_MAX", 1.0)


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab(wanted=[BY_MONTH, BY_YEAR])
    lab.seed()
    lab.run()
    yield lab
    lab.wanted = [each for each in lab.wanted if each.name == "by_month"]
    lab.assert_right("by_month")
    assert all(each.equal for each in lab.maintenance.verify("acme"))


def made(statements: list[str]) -> list[str]:
    return [sql for sql in statements if sql.startswith("CREATE TEMP TABLE temp.aggmaint_slice")]


def staged_from(statements: list[str]) -> list[str]:
    """What each stage was computed from: `slice` or `source`."""
    staged = [sql for sql in statements if sql.startswith("CREATE TEMP TABLE temp.aggmaint_stage")]
    return ["slice" if 'FROM "temp"."aggmaint_slice' in sql else "source" for sql in staged]


def test_all_aggregates_over_a_source_are_refreshed_from_one_copy_of_its_rows(lab: Lab) -> None:
    lab.put(Sale(50, FEBRUARY, "north", Decimal("1.00"), 1))
    assert refreshed(lab.run()) == {"by_month": {"2024-02"}, "by_year": {"2024"}}
    assert len(made(lab.statements)) == 1
    assert staged_from(lab.statements) == ["slice", "slice"]
    columns = made(lab.statements)[0].split("FROM")[0]
    assert '"weight"' not in columns and '"qty"' in columns, "only what is read is copied"
    drops = [i for i, sql in enumerate(lab.statements) if sql.startswith("DROP TABLE IF EXISTS temp.aggmaint_slice")]
    claim = next(i for i, sql in enumerate(lab.statements) if sql.startswith("UPDATE"))
    assert len(drops) == 1 and drops[0] < claim, "it is gone before the first write"


def test_a_copy_of_just_what_is_asked_for_needs_no_filter(lab: Lab) -> None:
    lab.wanted = [BY_MONTH, evolve(BY_MONTH, name="again", id="")]
    lab.run()
    lab.put(Sale(50, FEBRUARY, "north", Decimal("1.00"), 1))
    assert refreshed(lab.run()) == {"again": {"2024-02"}, "by_month": {"2024-02"}}
    reading = [sql for sql in lab.statements if 'FROM "temp"."aggmaint_slice' in sql]
    assert len(reading) == 4, "two are computed, two are proved"
    assert not any("DATE" in sql.split('FROM "temp"."aggmaint_slice')[1] for sql in reading)


def test_a_copy_of_more_than_is_asked_for_is_filtered() -> None:
    """A budget allows one of the months of which the source was copied."""
    world = World(by_month(UPDATED), policy=Policy(run_partitions_max=1))
    world.run()
    world.insert(100, date(2024, 2, 7))
    world.insert(101, date(2024, 3, 31))
    report = world.run()
    assert refreshed(report) == {"by_month": {"2024-02"}} and report.errors == ()
    assert staged_from(world.statements) == ["slice"]
    assert refreshed(world.run()) == {"by_month": {"2024-03"}}
    assert world.right()


def test_rows_without_a_date_are_copied_too(lab: Lab) -> None:
    lab.put(Sale(50, None, "north", Decimal("1.00"), 1))
    assert refreshed(lab.run()) == {"by_month": {"null"}, "by_year": {"null"}}
    assert staged_from(lab.statements) == ["slice", "slice"]


def test_aggregates_that_filter_otherwise_do_not_share_a_copy(lab: Lab) -> None:
    lab.wanted = [
        BY_MONTH,
        evolve(BY_YEAR, source=Source(table="sales", where="qty = $least"), parameters={"least": 1}),
        evolve(
            BY_YEAR, name="twos", id="", source=Source(table="sales", where="qty = $least"), parameters={"least": 2}
        ),
    ]
    lab.run()
    lab.put(Sale(50, FEBRUARY, "north", Decimal("1.00"), 1), Sale(51, FEBRUARY, "north", Decimal("1.00"), 2))
    assert refreshed(lab.run()) == {"by_month": {"2024-02"}, "by_year": {"2024"}, "twos": {"2024"}}
    assert len(made(lab.statements)) == 3
    assert all(each.equal for each in lab.maintenance.verify("acme"))


def test_a_copy_that_lacks_rows_is_not_used(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computation and gate would agree with each other about it."""
    monkeypatch.setattr(_duckdb_slices, "slice_sql", lambda cuts, dialect: f"{slice_sql(cuts, dialect)} LIMIT 1")
    lab.put(Sale(50, FEBRUARY, "north", Decimal("1.00"), 1))
    lab.run()
    assert len(made(lab.statements)) >= 1
    assert staged_from(lab.statements) == ["source", "source"]


@pytest.mark.parametrize(("wrong", "words"), WRONG[1:])
def test_the_gate_stands_before_what_was_computed_from_a_copy(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, wrong: Compute, words: str
) -> None:
    before = lab.view("by_month")
    lab.put(Sale(50, FEBRUARY, "north", Decimal("1.00"), 1))
    compute(monkeypatch, wrong)
    report = lab.run()
    assert reasons(report)["by_month"] == "gate_failed"
    (finding,) = [each for each in report.details["findings"] if each["code"] == "gate_failed"]
    assert words in finding["message"]
    assert lab.view("by_month") == before
    monkeypatch.undo()
    assert lab.run().complete


def test_a_declared_sources_copy_serves_its_fingerprints_too() -> None:
    world = World(by_month(UPDATED))
    world.run()
    world.insert(100, date(2019, 7, 1))
    world.insert(101, date(2024, 3, 31))
    assert refreshed(world.run()) == {"by_month": {"2019-07", "2024-03"}}
    assert len(made(world.statements)) == 1 and staged_from(world.statements) == ["slice"]
    assert world.scans() == [], "the source itself is not hashed"
    assert world.right()
    assert world.run().details["steps"] == []


def test_a_copy_serves_the_periods_that_it_was_made_of_only() -> None:
    """A month whose table is damaged is not among those of which the source was copied."""
    world = World(by_month(UPDATED))
    world.run()
    world.insert(101, date(2024, 3, 31))
    schema, table = world.sql(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE starts_with(table_name, 'as_agg_')"
    )[0]
    world.sql(f'DELETE FROM "{schema}"."{table}" WHERE aggmaint_period = DATE \'2024-01-01\'')
    assert refreshed(world.run()) == {"by_month": {"2024-01", "2024-03"}}
    assert staged_from(world.statements) == ["source"]
    assert world.right()


def test_an_observation_that_is_made_again_copies_again(lab: Lab) -> None:
    """The first aggregate's refresh breaks off: its snapshot is gone, and its copies with it."""
    lab.put(Sale(50, FEBRUARY, "north", Decimal("1.00"), 1))
    tries = 0

    def break_once(sql: str) -> None:
        nonlocal tries
        if sql.startswith("CREATE TEMP TABLE temp.aggmaint_stage") and "by_month" not in sql:
            tries += 1
            if tries == 1:
                raise WarehouseQueryError("broke off")

    lab.before = break_once
    report = lab.run()
    assert len(made(lab.statements)) == 2
    assert not report.complete and len(refreshed(report)) == 1
    assert lab.run().complete


def test_a_copy_that_was_rolled_back_is_forgotten() -> None:
    """Another source's fingerprints break off after the copy was made: all is looked at again, in a new snapshot."""
    others = evolve(by_month(evolve(UPDATED, table="others", alias="others")), name="others", id="")
    world = World(by_month(UPDATED), others)
    world.sql("CREATE TABLE others AS SELECT * FROM events")
    world.run()
    for table in ("events", "others"):
        world.sql(f"INSERT INTO {table} VALUES (101, DATE '2024-03-31', 1, TIMESTAMP '2025-02-01')")
    world.broken = 'FROM "temp"."aggmaint_slice_2" AS aggmaint_s'
    report = world.run()
    assert len(made(world.statements)) == 3 and staged_from(world.statements) == ["slice"]
    assert refreshed(report) == {"by_month": {"2024-03"}} and not report.complete
    world.broken = ""
    assert world.run().complete and world.right()


# -- the rule ----------------------------------------------------------------------------------------------------------


def cut(rows: int, definition: AggregateDefinition = BY_MONTH) -> Cut:
    return Cut(definition, (period_of("2024-02-01", BY_MONTH.partition),), ("day",), rows)


@pytest.mark.parametrize(
    ("rows", "of", "pays"),
    [(250, 1000, True), (251, 1000, False), (1, 999, False), (0, 1000, True)],
)
def test_a_copy_pays_for_a_small_part_of_a_large_source(
    monkeypatch: pytest.MonkeyPatch, rows: int, of: int, pays: bool
) -> None:
    monkeypatch.setattr(slices, "ROWS_MIN", 1000)
    monkeypatch.setattr(slices, "SHARE_MAX", 0.25)
    assert worth_slicing([cut(rows)], of, again=False, dialect="duckdb") is pays


def test_a_copy_that_is_read_once_does_not_pay() -> None:
    distinct = evolve(BY_MONTH, measures=[Measure("shops", "count_distinct", "shop")])  # its gate reads no source
    assert not worth_slicing([cut(1, distinct)], 10, again=False, dialect="duckdb")
    assert worth_slicing([cut(1, distinct)], 10, again=True, dialect="duckdb")
    assert worth_slicing([cut(1, distinct)] * 2, 10, again=False, dialect="duckdb")
    assert not worth_slicing([], 10, again=True, dialect="duckdb")


def test_what_can_not_be_cut_from_one_source_is_not() -> None:
    counted: dict[Period, int] = {NULL_PERIOD: 3}
    assert cut_of(BY_MONTH, [NULL_PERIOD], ["day"], counted) == Cut(BY_MONTH, (NULL_PERIOD,), ("day",), 3)
    assert cut_of(BY_MONTH, [NULL_PERIOD, period_of("2024-02-01", BY_MONTH.partition)], ["day"], counted) is None
    _, totals, by_region, _ = definitions()
    assert cut_of(by_region, [NULL_PERIOD], ["day"], counted) is None, "it reads two sources"
    assert cut_of(totals, [NULL_PERIOD], ["day"], counted) is None, "it has no partitions"
