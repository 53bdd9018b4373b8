"""The kit's checks of merging, tested: a warehouse that merges wrongly in one way each fails the check that is about it."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from aggmaint.aggregates.additive import newer
from aggmaint.aggregates.merging import take_out_sql
from aggmaint.testing import Outcome, WarehouseSuite
from aggmaint.testing._warehouse_merging import MergingChecks
from aggmaint.testing.suite import check_names, run_check
from aggmaint.testing.warehouse_bench import MemoryBench
from aggmaint.warehouses import _duckdb_grown, _duckdb_ledger, _duckdb_merge
from aggmaint.warehouses._duckdb_ledger_rows import partition_of
from aggmaint.warehouses.memory import MemoryWarehouse

from .benches import make_duckdb

Patch = Callable[[pytest.MonkeyPatch], None]


def failed(factory: Callable[[str], Any]) -> set[str]:
    suite = type("Suite", (WarehouseSuite,), {"factory": staticmethod(factory)})
    results = [run_check(suite, name) for name in check_names(MergingChecks)]
    return {each.name.removeprefix("test_") for each in results if each.outcome is Outcome.FAILED}


def adds_beside(patch: pytest.MonkeyPatch) -> None:
    """The merged rows are put beside the old ones."""
    patch.setattr(_duckdb_merge.Merger, "take_out", lambda *_: 0)
    patch.setattr(_duckdb_merge.Merger, "require_count", lambda *_: None)


def null_unsafe(patch: pytest.MonkeyPatch) -> None:
    """NULL is not equal to NULL, and nobody counts."""
    patch.setattr(
        _duckdb_merge, "take_out_sql", lambda *given: take_out_sql(*given).replace("IS NOT DISTINCT FROM", "=")
    )
    patch.setattr(_duckdb_merge.Merger, "require_count", lambda *_: None)


def counts_twice(patch: pytest.MonkeyPatch) -> None:
    """The new rows are those at the mark, too."""

    def at_mark_too(*given: Any) -> Any:
        made = newer(*given)
        return evolve(made, source=evolve(made.source, where=(made.source.where or "").replace(" > ", " >= ")))

    patch.setattr(_duckdb_merge, "newer", at_mark_too)


def believes_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_duckdb_grown, "only_grew", lambda *_: None)


def forgets_marks(patch: pytest.MonkeyPatch) -> None:
    """All partitions are said to be of the source's mark, whatever was published."""
    patch.setattr(_duckdb_ledger, "partition_of", lambda row: evolve(partition_of(row), mark="4"))


def no_guard(patch: pytest.MonkeyPatch) -> None:
    """Neither the claim nor the last publish is looked at."""
    patch.setattr(_duckdb_ledger.Ledger, "guard", lambda *_: None)
    patch.setattr(_duckdb_ledger.Ledger, "note_publish", lambda *_: None)


def in_two(patch: pytest.MonkeyPatch) -> None:
    """Data first, the ledger in another transaction."""
    sound = _duckdb_ledger.Ledger.insert_partitions

    def insert(self: Any, *given: Any) -> None:
        self._connection.commit()
        self._connection.begin()
        sound(self, *given)

    patch.setattr(_duckdb_ledger.Ledger, "insert_partitions", insert)


WRONG: dict[str, tuple[Patch, str]] = {
    "adds beside": (adds_beside, "merging_gives_what_computing_anew_gives"),
    "NULL is no key": (null_unsafe, "merging_gives_what_computing_anew_gives"),
    "the mark's rows are new": (counts_twice, "merging_gives_what_computing_anew_gives"),
    "believes everything": (believes_everything, "only_rows_that_were_added_are_merged"),
    "no mark of a period": (forgets_marks, "a_period_that_is_ahead_of_the_mark_is_not_merged_again"),
    "no guard": (no_guard, "a_merge_is_published_once"),
    "in two": (in_two, "a_merge_is_whole_or_not_at_all"),
}


def test_a_sound_warehouse_passes_every_check() -> None:
    assert failed(make_duckdb) == set()


@pytest.mark.parametrize("kind", WRONG)
def test_a_warehouse_that_merges_wrongly_fails_the_check_that_is_about_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch, check = WRONG[kind]
    patch(monkeypatch)
    assert check in failed(make_duckdb)


class Boaster(MemoryWarehouse):
    """Claims to merge, and computes anew."""

    @property
    def capabilities(self) -> Any:
        return evolve(super().capabilities, merges=True)


def test_a_warehouse_that_only_claims_to_merge_does_not_conform() -> None:
    assert "merging_gives_what_computing_anew_gives" in failed(lambda _location: MemoryBench(Boaster()))
