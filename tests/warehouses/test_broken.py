"""The warehouse kit, tested: each broken warehouse fails the check that is about its promise, and no check that is not."""

import pytest

from aggmaint.testing import Outcome, WarehouseSuite, certify_warehouse
from aggmaint.testing.suite import check_names, run_check
from aggmaint.testing.warehouse_bench import MemoryBench

from .broken import BROKEN, Broken, ClaimsTheUnknown, bench_of


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: str(kind.__name__))
def test_a_broken_warehouse_fails_the_check_that_is_about_it(kind: type[Broken]) -> None:
    suite = type("BrokenSuite", (WarehouseSuite,), {"factory": staticmethod(bench_of(kind))})
    results = [run_check(suite, name) for name in check_names(WarehouseSuite)]
    found = {each.name.removeprefix("test_") for each in results if each.outcome is Outcome.FAILED}
    assert kind.FAILS[0] in found, f"{kind.__name__} is not noticed by {kind.FAILS[0]}"
    if "any" not in kind.MAY:
        assert found - set(kind.MAY) == set(kind.FAILS)


def test_a_capability_that_the_kit_does_not_know_fails_closed() -> None:
    certificate = certify_warehouse(lambda _location: MemoryBench(ClaimsTheUnknown()))
    failed = [each for each in certificate.checks if each.outcome is Outcome.FAILED]
    assert not certificate.passed
    assert [each.name for each in failed] == ["test_capabilities_are_known_to_the_kit"]
    assert "time_travel" in failed[0].reason
    assert "DOES NOT CONFORM" in certificate.as_text()


def test_a_bench_that_can_not_be_made_does_not_conform() -> None:
    def make(_location: str) -> MemoryBench:
        raise OSError("no server")

    certificate = certify_warehouse(make)
    assert not certificate.passed
    assert certificate.warehouse == "(no warehouse: OSError)"


UNKILLED = {
    "capabilities_are_known_to_the_kit": "killed by the test above: its warehouse breaks no verb",
    "a_claim_in_the_middle_of_a_publish_excludes_it": "one lock serialises the memory warehouse; DuckDB's planted bugs",
    "claims_that_race_one_wins": "depends on how threads meet; those who may fail it are listed",
    "switch_supersedes_without_a_gap": "depends on how threads meet; the same gap is seen by a_switch_is_whole_or_not",
    "long_and_odd_names_stay_apart": "of engines that cut or fold names; Python has no such dictionary",
}


def test_every_check_has_a_warehouse_that_fails_it() -> None:
    """Or says above why it needs none. No check is there for decoration."""
    killed = {name for each in BROKEN for name in each.FAILS}
    checks = {name.removeprefix("test_") for name in check_names(WarehouseSuite)}
    assert killed <= checks
    assert checks - killed == set(UNKILLED)
