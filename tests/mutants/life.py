"""Bugs to plant in the life of aggregates: pieces of large builds, and what inventories keep."""

from .mutant import Mutant

LIFE_MUTANTS = (
    Mutant(
        "pieces: a part is kept whatever its source does",
        "aggmaint/warehouses/_duckdb_pieces.py",
        '            and compare_tokens(record.token, now.get(period, "")) is Comparison.SAME\n',
        "            and period in now\n",
        "tests/maintenance/test_pieces.py::test_a_source_that_moves_between_two_pieces_is_seen",
    ),
    Mutant(
        "pieces: a part is kept whatever it holds",
        "aggmaint/warehouses/_duckdb_pieces.py",
        "if contents.get(period) == record.content\n",
        "if True\n",
        "tests/maintenance/test_pieces.py::test_damaged_pieces_are_built_again",
    ),
    Mutant(
        "pieces: what is stale stays beside the new",
        "aggmaint/warehouses/_duckdb_pieces.py",
        "            if others:\n                self._take_out(request, others)\n",
        "",
        "tests/maintenance/test_pieces.py::test_pieces_whose_source_moved_are_built_again_and_only_those",
    ),
    Mutant(
        "pieces: all at once",
        "aggmaint/warehouses/_duckdb_pieces.py",
        "taken = todo[: max(request.pieces, 1)]",
        "taken = todo",
        "tests/maintenance/test_pieces.py::test_a_large_aggregate_is_built_in_pieces_and_is_right",
    ),
    Mutant(
        "pieces: switched before the last one",
        "aggmaint/warehouses/_duckdb_pieces.py",
        "            if not left:\n                return evolve(self.finish",
        "            if True:\n                return evolve(self.finish",
        "tests/maintenance/test_pieces.py::test_a_large_aggregate_is_built_in_pieces_and_is_right",
    ),
    Mutant(
        "pieces: any build is gone on with",
        "aggmaint/aggregates/_plan_instances.py",
        "        and each.definition_hash == definition.definition_hash\n        and each.partitions\n",
        "        and each.partitions\n",
        "tests/aggregates/test_plan.py::test_a_build_that_stopped_goes_on_only_as_what_it_was",
    ),
    Mutant(
        "pieces: gone on with without proof",
        "aggmaint/aggregates/_plan_instances.py",
        "        and _own_table(each, thing, observation)\n    ]",
        "    ]",
        "tests/aggregates/test_plan.py::test_a_build_that_stopped_goes_on_only_as_what_it_was",
    ),
    Mutant(
        "pieces: no guard",
        "aggmaint/warehouses/_duckdb_session.py",
        '            self._ledger.guard(fence, "")\n            return self._writer.build_piece',
        "            return self._writer.build_piece",
        "tests/maintenance/test_pieces.py::test_a_zombie_that_goes_on_with_its_pieces_is_fenced_off",
    ),
    Mutant(
        "pieces: partitions twice in the ledger",
        "aggmaint/warehouses/_duckdb_writer.py",
        "        self._ledger.forget_details(request.instance_id)  # of its pieces\n",
        "",
        "tests/maintenance/test_pieces.py::test_a_large_aggregate_is_built_in_pieces_and_is_right",
    ),
    Mutant(
        "inventory: what is stale is folded too",
        "aggmaint/aggregates/inventory_bound.py",
        'return state["state"] == "fresh" and state["starts_at"]',
        'return state["starts_at"]',
        "tests/aggregates/test_inventory_bound.py::test_no_partition_looks_fresher_for_being_folded",
    ),
    Mutant(
        "inventory: folded ones were compared when the newest was",
        "aggmaint/aggregates/inventory_bound.py",
        '"verified_at": min(verified, default=None)',
        '"verified_at": max(verified, default=None)',
        "tests/aggregates/test_inventory_bound.py::test_no_partition_looks_fresher_for_being_folded",
    ),
    Mutant(
        "inventory: a folded range ends with its first",
        "aggmaint/aggregates/inventory_bound.py",
        '        "ends_at": last["ends_at"],\n',
        "",
        "tests/aggregates/test_inventory_bound.py::test_no_partition_looks_fresher_for_being_folded",
    ),
    Mutant(
        "inventory: a folded entry counts as one",
        "aggmaint/aggregates/freshness.py",
        'sum(each.get("folded", 1) for each in states if',
        "sum(1 for each in states if",
        "tests/aggregates/test_inventory_bound.py::test_no_partition_looks_fresher_for_being_folded",
    ),
    Mutant(
        "inventory: no bound",
        "aggmaint/aggregates/inventory_bound.py",
        "if _estimate(made) <= bytes_max or _size(made) <= bytes_max:",
        "if True:",
        "tests/aggregates/test_inventory_bound.py::test_a_large_one_is_folded_to_its_bound_the_largest_aggregate_first",
    ),
)
