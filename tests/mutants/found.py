"""Bugs that the oracle machine found, planted again: the named test must see each, without the machine."""

from .mutant import Mutant

RUN = "aggmaint/_maintenance_run.py"

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
)
