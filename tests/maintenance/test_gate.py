"""The gate: what was computed wrongly is not published, whichever way it is wrong, and stops no other aggregate.

The computation is made wrong on purpose, by replacing the SQL that computes: the gate must not share the mistake.
"""

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from aggmaint.aggregates.model import AggregateDefinition, Measure
from aggmaint.aggregates.periods import Period, period_of
from aggmaint.aggregates.sql import select_sql
from aggmaint.warehouses import _duckdb_stage, _duckdb_writer

from .support import Lab, Sale, actions, definitions, reasons, refreshed

Compute = Callable[[AggregateDefinition, str, Sequence[Period] | None], str]


def right(definition: AggregateDefinition, dialect: str, periods: Sequence[Period] | None) -> str:
    return select_sql(definition, dialect, periods)


def next_period_too(definition: AggregateDefinition, dialect: str, periods: Sequence[Period] | None) -> str:
    """An upper bound that is not exclusive."""
    march = period_of("2024-03-01", definition.partition)
    return right(definition, dialect, None if periods is None else [*periods, march])


def each_row_twice(definition: AggregateDefinition, dialect: str, periods: Sequence[Period] | None) -> str:
    sql = right(definition, dialect, periods)
    return f"{sql} UNION ALL {sql}"


def a_row_missing(definition: AggregateDefinition, dialect: str, periods: Sequence[Period] | None) -> str:
    return f"SELECT * FROM ({right(definition, dialect, periods)}) ORDER BY ALL DESC OFFSET 1"


def an_amount_wrong(definition: AggregateDefinition, dialect: str, periods: Sequence[Period] | None) -> str:
    return f"SELECT * REPLACE (amount + 0.01 AS amount) FROM ({right(definition, dialect, periods)})"


def a_maximum_too_small(definition: AggregateDefinition, dialect: str, periods: Sequence[Period] | None) -> str:
    return f"SELECT * REPLACE (most - 1 AS most) FROM ({right(definition, dialect, periods)})"


WRONG = [
    (next_period_too, "outside of the periods"),
    (each_row_twice, "column 'amount' adds up to"),
    (a_row_missing, "adds up to"),
    (an_amount_wrong, "column 'amount' adds up to"),
    (a_maximum_too_small, "column 'most' adds up to"),
]


@pytest.fixture
def lab() -> Lab:
    lab = Lab(wanted=definitions()[:2])
    lab.seed()
    return lab


def compute(monkeypatch: pytest.MonkeyPatch, wrong: Compute) -> None:
    def select(definition: AggregateDefinition, dialect: str, periods: Any = None) -> str:
        return (wrong if definition.name == "by_month" else right)(definition, dialect, periods)

    monkeypatch.setattr(_duckdb_stage, "select_sql", select)
    monkeypatch.setattr(_duckdb_writer, "select_sql", select)


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_a_wrong_refresh_is_not_published(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, wrong: Compute, words: str
) -> None:
    lab.run()
    before = lab.view("by_month")
    lab.put(Sale(50, date(2024, 2, 9), "north", Decimal("1.00"), 1, 1.0))
    compute(monkeypatch, wrong)
    report = lab.run()
    assert not report.complete
    assert reasons(report)["by_month"] == "gate_failed"
    (finding,) = [each for each in report.details["findings"] if each["code"] == "gate_failed"]
    assert words in finding["message"]
    assert lab.view("by_month") == before, "what was published stays"
    assert refreshed(report)["totals"] == {"all"}, "the other aggregate is refreshed"
    monkeypatch.undo()
    assert lab.run().complete
    lab.assert_right()


@pytest.mark.parametrize("built", [False, True], ids=["build", "refresh"])
def test_what_counts_no_rows_is_looked_through_for_repeated_keys(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, built: bool
) -> None:
    """Its only measure is a maximum, whose total does not show that a row is there twice."""
    lab.wanted = [evolve(definitions()[0], measures=[Measure("most", "max", "amount")])]
    if built:
        lab.run()
        lab.put(Sale(50, date(2024, 2, 9), "north", Decimal("1.00"), 1, 1.0))
    compute(monkeypatch, each_row_twice)
    (finding,) = [each for each in lab.run().details["findings"] if each["code"] == "gate_failed"]
    assert "keys have more than one row" in finding["message"]


@pytest.mark.parametrize(("wrong", "words"), WRONG[1:])
def test_a_wrong_build_is_not_published(lab: Lab, monkeypatch: pytest.MonkeyPatch, wrong: Compute, words: str) -> None:
    compute(monkeypatch, wrong)
    report = lab.run()
    assert not report.complete
    assert ("build", "totals") in actions(report)
    (finding,) = [each for each in report.details["findings"] if each["code"] == "gate_failed"]
    assert words in finding["message"]
    assert ("sales__by_month", "VIEW") not in lab.objects()
    assert [name for name, _ in lab.objects() if name.startswith("as_agg_")] == [lab.table_of("totals")]
    monkeypatch.undo()
    assert lab.run().complete
    lab.assert_right()


def test_sums_of_floats_may_differ_by_the_order_of_their_addition_and_no_more() -> None:
    lab = Lab(wanted=definitions()[3:])
    lab.set_region("north", "cold")
    lab.put(*(Sale(n, date(2024, 1, 1 + n % 28), "north", None, 1, 1e15 / (n + 1) - 3e14) for n in range(400)))
    assert lab.run().complete
    lab.put(Sale(900, date(2024, 1, 1), "north", None, 1, 0.1))
    assert lab.run().complete
    assert all(each.equal for each in lab.maintenance.verify("acme"))


def test_an_empty_source_passes() -> None:
    lab = Lab()
    assert lab.run().complete
    lab.put(Sale(1, None, None, None, None, None))
    assert lab.run().complete
    lab.remove(1)
    assert lab.run().complete
    lab.assert_right()
