"""Bugs that the oracle machine found, planted again: the named test must see each, without the machine."""

from .mutant import Mutant

RUN = "aggmaint/_maintenance_run.py"
APPLYING = "tests/maintenance/test_applying.py::"

FOUND_MUTANTS = (
    Mutant(
        "mixed is forgotten by a run that does not reach it",
        "aggmaint/aggregates/freshness.py",
        'if each.get("mixed")}',
        'if each.get("mixed") is None}',
        "tests/maintenance/test_budget.py::test_what_is_mixed_says_so_until_it_is_done_also_in_runs_that_do_not_reach_it",
    ),
    Mutant(
        "adopting stops at the first link of a chain",
        RUN,
        "only_asked = self._wishes.limited and self._wishes.adopt is None",
        "only_asked = self._wishes.limited",
        "tests/maintenance/test_chains.py::test_a_lost_chain_is_adopted_in_one_run",
    ),
    Mutant(
        "what waited is not looked at for a lost ledger",
        RUN,
        "return ration(shape(more, again, observation, self._wishes, now), self._policy)",
        "return ration(more, self._policy)",
        "tests/maintenance/test_chains.py::test_a_link_that_the_ledger_lost_is_not_built_again_after_waiting",
    ),
    Mutant(
        "periods that only the source has count as adopted",
        "aggmaint/warehouses/proving.py",
        "if missing or any(each.token",
        "if any(each.token",
        "tests/maintenance/test_recovering.py::test_a_partition_that_only_the_source_has_is_built_after_adopting",
    ),
    Mutant(
        "a job that was asked for a part leaves an unsaid mixture",
        "aggmaint/aggregates/shaping.py",
        "decisions = tuple(mixed(told(each)) for each in plan.decisions)",
        "decisions = tuple(told(each) for each in plan.decisions)",
        APPLYING + "test_a_job_that_was_asked_for_some_of_the_stale_partitions_says_that_it_leaves_a_mixture",
    ),
    Mutant(
        "what was right and asked for makes a mixture",
        "aggmaint/aggregates/shaping.py",
        "sum(each.reason is not Reason.PARTITION_REQUESTED for each in step.partitions)",
        "len(step.partitions)",
        APPLYING + "test_a_job_that_was_asked_for_partitions_that_are_fresh_mixes_nothing",
    ),
    Mutant(
        "any table with a copied tag is a candidate",
        "aggmaint/aggregates/naming.py",
        'return match is not None and match[1] == instance_id.replace("-", "")[:8]',
        "return match is not None",
        "tests/maintenance/test_recovering.py::test_a_copy_with_its_tag_is_not_the_table_that_is_adopted",
    ),
)
