"""The warehouse kit, tested: each broken warehouse fails the check that is about its promise, and no check that is not."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from aggmaint.testing import Outcome, WarehouseSuite, certify_warehouse
from aggmaint.testing._warehouse_claims import ClaimChecks
from aggmaint.testing._warehouse_faults import FaultChecks
from aggmaint.testing.suite import check_names, run_check
from aggmaint.testing.warehouse_bench import MemoryBench, WarehouseBench

from .broken import BROKEN, Broken, bench_of
from .broken_more import BROKEN_MORE, ClaimsMore
from .broken_sql import BROKEN_SQL, BrokenBench, BrokenDialect
from .test_merging import WRONG

ALL = (*BROKEN, *BROKEN_MORE)
MEMORY = Path("/dev/shm")
"""Where files cost no waiting for a disk, on systems that have it."""


def failing(
    factory: Callable[[str], WarehouseBench],
    kind: type[Broken] | type[BrokenDialect],
    names: Sequence[str],
) -> None:
    location = str(MEMORY) if MEMORY.is_dir() else None
    suite = type("BrokenSuite", (WarehouseSuite,), {"factory": staticmethod(factory), "location": location})
    results = [run_check(suite, name) for name in names]
    found = {each.name.removeprefix("test_") for each in results if each.outcome is Outcome.FAILED}
    assert kind.FAILS[0] in found, f"{kind.__name__} is not noticed by {kind.FAILS[0]}"
    if "any" not in kind.MAY:
        assert found - set(kind.MAY) == set(kind.FAILS)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: str(kind.__name__))
def test_a_broken_warehouse_fails_the_check_that_is_about_it(kind: type[Broken]) -> None:
    failing(bench_of(kind), kind, check_names(WarehouseSuite))


@pytest.mark.parametrize("kind", BROKEN_SQL, ids=lambda kind: str(kind.__name__))
def test_a_broken_dialect_fails_the_check_that_is_about_it(kind: type[BrokenDialect]) -> None:
    transactions = {*check_names(FaultChecks), *check_names(ClaimChecks)}  # in which a dialect has no part
    failing(partial(BrokenBench, kind=kind), kind, [n for n in check_names(WarehouseSuite) if n not in transactions])


def test_a_capability_that_the_kit_does_not_know_fails_closed() -> None:
    certificate = certify_warehouse(bench_of(ClaimsMore))
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


def test_every_check_has_a_warehouse_that_fails_it() -> None:
    """No check is there for decoration."""
    promises: list[tuple[str, ...]] = [*(each.FAILS for each in ALL), *(each.FAILS for each in BROKEN_SQL)]
    promises.extend((check,) for _, check in WRONG.values())
    killed = {name for each in promises for name in each}
    assert killed == {name.removeprefix("test_") for name in check_names(WarehouseSuite)}
