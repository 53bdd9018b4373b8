"""Verification finds every planted difference, names the rows, and keeps its budget; certificates can be checked later."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from aggmaint.aggregates.certificates import Certificate, Change, check_certificate
from aggmaint.aggregates.model import Attribute, Measure, Source
from aggmaint.errors import InvalidValueError
from aggmaint.maintenance import Verification, VerifyMode, VerifyOptions
from aggmaint.warehouse import DifferenceKind

from .support import NOON, ORG, Lab, Sale, definitions


@pytest.fixture
def lab() -> Lab:
    lab = Lab()
    lab.seed()
    lab.run()
    return lab


def verify(lab: Lab, name: str = "by_month", **how: Any) -> Verification:
    options = VerifyOptions(**how)
    (found,) = lab.maintenance.verify(ORG, name, options=options, now=NOON)
    return found


def spoil(lab: Lab) -> None:
    """In by_month: a row of January gone, one of March too many, an amount of February wrong."""
    table = f'"{lab.schema}"."{lab.table_of("by_month")}"'
    lab.execute(f"DELETE FROM {table} WHERE month = DATE '2024-01-01' AND shop = 'north'")
    lab.execute(f"UPDATE {table} SET amount = amount + 1 WHERE month = DATE '2024-02-01' AND shop = 'south'")
    lab.execute(
        f"INSERT INTO {table} SELECT * REPLACE ('ghost' AS shop) FROM {table} WHERE month = DATE '2024-03-01' LIMIT 1"
    )


def test_what_is_right_is_equal_in_every_mode(lab: Lab) -> None:
    for name in ("by_month", "totals", "by_region", "weights"):
        for how in (
            {},
            {"mode": "sample"},
            {"budget_s": 1e6},
            {"rows_max": 10**9},
        ):
            found = verify(lab, name, **how)
            assert found.equal, (name, how, found)
            assert found.complete
            assert found.rows_expected > 0


def test_the_rows_that_differ_are_shown_by_kind(lab: Lab) -> None:
    spoil(lab)
    found = verify(lab)
    assert (found.missing, found.extra, found.wrong) == (1, 1, 1)
    shown = {each.kind: each for each in found.samples}
    assert set(shown) == set(DifferenceKind)
    missing, extra, wrong = (
        shown[kind] for kind in (DifferenceKind.MISSING, DifferenceKind.EXTRA, DifferenceKind.WRONG)
    )
    assert dict(missing.key)["shop"] == "north"
    assert missing.found is None
    assert extra.expected is None
    assert dict(extra.key)["shop"] == "ghost"
    assert wrong.expected is not None
    assert wrong.found is not None
    expected, there = dict(wrong.expected), dict(wrong.found)
    assert Decimal(str(there["amount"])) - Decimal(str(expected["amount"])) == 1
    assert {key for key in expected if expected[key] != there[key]} == {"amount"}


@pytest.mark.parametrize(
    "how", [{}, {"budget_s": 1e6}, {"mode": "partition", "partitions": ("2024-01", "2024-02", "2024-03")}]
)
def test_in_parts_the_same_is_found_as_in_one_piece(lab: Lab, how: dict[str, Any]) -> None:
    spoil(lab)
    found = verify(lab, **how)
    assert (found.missing, found.extra, found.wrong) == (1, 1, 1)
    assert {each.kind for each in found.samples} == set(DifferenceKind)


def test_a_partition_alone_is_judged_alone(lab: Lab) -> None:
    spoil(lab)
    assert verify(lab, mode="partition", partitions=("2024-04", "null")).equal
    february = verify(lab, mode="partition", partitions=("2024-02",))
    assert (february.missing, february.extra, february.wrong) == (0, 0, 1)
    assert february.compared == ("2024-02",)
    with pytest.raises(InvalidValueError, match="no partition '1999-01'"):
        verify(lab, mode="partition", partitions=("1999-01",))
    with pytest.raises(InvalidValueError, match="name partitions"):
        VerifyOptions(mode=VerifyMode.PARTITION)


def test_samples_are_bounded(lab: Lab) -> None:
    lab.put(*(Sale(100 + n, date(2031, 1, 1), f"shop {n:02}", Decimal(1), 1) for n in range(30)))
    found = verify(lab, samples_max=4)
    assert found.missing == 30
    assert [dict(each.key)["shop"] for each in found.samples] == [f"shop {n:02}" for n in range(4)]
    assert verify(lab, samples_max=0).samples == ()


def test_periods_that_the_ledger_does_not_know_are_compared_too(lab: Lab) -> None:
    lab.put(Sale(70, date(2031, 1, 1), "north", Decimal(1), 1))
    found = verify(lab, budget_s=1e6)
    assert (found.missing, found.equal) == (1, False)
    assert found.compared is not None
    assert found.compared[-1] == "others"


def test_samples_of_partitions_take_turns(lab: Lab) -> None:
    chosen = set()
    for day in range(3):
        (found,) = lab.maintenance.verify(
            ORG, "by_month", options=VerifyOptions(mode=VerifyMode.SAMPLE), now=NOON + timedelta(days=day)
        )
        assert found.compared is not None
        assert {"2024-01", "null"} <= set(found.compared), "the oldest and the newest, always"
        assert len(found.compared) == 3
        chosen |= set(found.compared)
    assert chosen == {"2024-01", "2024-02", "2024-03", "2024-04", "null"}
    with pytest.raises(InvalidValueError, match="needs now"):
        lab.maintenance.verify(ORG, "by_month", options=VerifyOptions(mode=VerifyMode.SAMPLE))


def ticking(step_s: float) -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += step_s


def test_what_the_budget_does_not_reach_is_named(lab: Lab) -> None:
    seconds = ticking(1.0)
    found = verify(lab, budget_s=100.0, steady_s=lambda: next(seconds) * 20)
    assert not found.complete
    assert found.compared
    assert found.left[-1] == "others"
    assert {*found.compared, *found.left} == {"2024-01", "2024-02", "2024-03", "2024-04", "null", "others"}
    rows = verify(lab, rows_max=1)
    assert rows.compared == ("2024-01",)
    assert rows.equal


def test_a_comparison_that_outlasts_the_budget_is_broken_off(lab: Lab) -> None:
    """Real seconds: the source would take years to recompute."""
    lab.wanted = [evolve(definitions()[1], name="endless", id="", measures=[Measure("n", "count")])]
    lab.run()
    lab.execute("ALTER TABLE sales RENAME TO sold")
    lab.execute("CREATE VIEW sales AS SELECT s.* FROM sold s, range(10000000), range(10000000) WHERE hash(s.qty) > 0")
    found = verify(lab, "endless", budget_s=0.2)
    assert found.left == ("all",)
    assert not found.complete
    assert lab.execute("SELECT 1") == [(1,)]


def test_what_can_not_be_compared_says_why(lab: Lab) -> None:
    lab.wanted = [*lab.wanted, evolve(definitions()[1], name="new", id="")]
    found = verify(lab, "new")
    assert (found.equal, found.complete) == (False, False)
    assert "no table in service" in str(found.problem)
    lab.execute("ALTER TABLE sales RENAME TO sold")
    assert "sales" in str(verify(lab).problem)


# -- certificates ------------------------------------------------------------------------------------------------------


def certificate(lab: Lab, name: str = "by_month") -> Certificate:
    return lab.maintenance.certificate(ORG, name, now=lab.clock[0])


def changes(lab: Lab, before: Certificate) -> dict[str, Change]:
    check = check_certificate(before, certificate(lab))
    assert check.holds is (
        not check.definition_changed and not check.table_replaced and {c for _, c in check.partitions} == {Change.SAME}
    )
    return {key: change for key, change in check.partitions if change is not Change.SAME}


def test_a_certificate_says_what_proves_each_partition(lab: Lab) -> None:
    found = certificate(lab)
    assert found.fresh
    assert [each.key for each in found.partitions] == ["2024-01", "2024-02", "2024-03", "2024-04", "null"]
    for each in found.partitions:
        assert each.verified_at is not None
        assert each.token.startswith("duckdb")
        assert each.build_id
        assert each.reason == "partition_fresh"
    again = Certificate.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert changes(lab, again) == {}


def test_a_later_check_names_what_became_of_each_partition(lab: Lab) -> None:
    before = certificate(lab)
    lab.put(evolve(lab.rows[0], amount=Decimal(99)), Sale(70, date(2031, 1, 1), "north", Decimal(1), 1))
    lab.execute(f'DELETE FROM "{lab.schema}"."{lab.table_of("by_month")}" WHERE month = DATE \'2024-02-01\'')
    assert not certificate(lab).fresh
    assert changes(lab, before) == {"2024-01": Change.STALE, "2024-02": Change.STALE}
    lab.remove(*(key for key, row in list(lab.rows.items()) if row.day and row.day.month == 3))
    lab.run()
    assert changes(lab, before) == {
        "2024-01": Change.REPUBLISHED,
        "2024-03": Change.GONE,
        "2031-01": Change.ADDED,
    }, "February was mended: it is as it was certified"
    lab.wanted = [evolve(lab.wanted[0], attributes=[*lab.wanted[0].attributes, Attribute("qty")]), *lab.wanted[1:]]
    lab.run()
    check = check_certificate(before, certificate(lab))
    assert (check.definition_changed, check.table_replaced, check.holds) == (True, True, False)


def test_a_certificate_that_was_changed_is_refused(lab: Lab) -> None:
    value = certificate(lab).to_json()
    value["partitions"][0]["rows"] += 1
    with pytest.raises(InvalidValueError, match="digest does not fit"):
        Certificate.from_json(value)
    with pytest.raises(InvalidValueError, match="not a certificate"):
        Certificate.from_json({"version": 1})
    with pytest.raises(InvalidValueError, match=r"not for sales\.totals"):
        check_certificate(certificate(lab), certificate(lab, "totals"))


def test_what_is_not_in_service_has_no_certificate(lab: Lab) -> None:
    lab.wanted = [*lab.wanted, evolve(definitions()[1], name="new", id="", source=Source(table="sales"))]
    with pytest.raises(InvalidValueError, match="nothing to certify"):
        certificate(lab, "new")
