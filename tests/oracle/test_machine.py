"""The oracle machine: everything happens to a world, in any order; what readers see is always one state of the base.

With each change: a few hundred steps by plain `pytest`, 200 × 50 steps by `python -m tests.oracle 200x50`. The long run,
2,000 × 200, is `python -m tests.oracle`; see there, and docs/how-to/simulate.md.

    AGGMAINT_ORACLE=60x50 AGGMAINT_ORACLE_SEED=7 python -m pytest tests/oracle/test_machine.py

runs so many examples of so many steps from a seed. A failure prints the steps that lead to it; with AGGMAINT_SHRINK=1 they
are first made as few as possible, for up to five minutes. AGGMAINT_ORACLE_STEPS names a file to count the steps in;
AGGMAINT_ORACLE_KINDS=grown takes only aggregates with this word in their name (at least two).

The rules are in rules_base.py (the host's tables and definitions), rules_runs.py (runs that nobody disturbs) and
rules_mishaps.py (everything that goes wrong); what must always hold is here.
"""

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import initialize, invariant

from aggmaint.aggregates import slices
from aggmaint.aggregates.policy import Policy

from .kinds import KINDS, with_upstream
from .lives import Lives
from .model import Sale
from .rules_base import SALES
from .rules_mishaps import MishapRules
from .world import World

POLICIES = st.builds(
    Policy,
    builds_per_snapshot=st.sampled_from([1, 2]),
    retired_share_max=st.just(1.0),
    build_partitions_per_publish=st.sampled_from([0, 1, 2, 500]),
    compared_rows_max=st.sampled_from([0, 100_000, 100_000]),
    unused_days=st.just(10),
    merge_rows_min=st.sampled_from([0, 0, 10_000]),
    retention_limit=st.sampled_from([1, 100]),
    retention_excess=st.just(1),
)
CHOSEN = [name for name in sorted(KINDS) if os.environ.get("AGGMAINT_ORACLE_KINDS", "") in name]
SLICES = (slices.ROWS_MIN, slices.SHARE_MAX)
SUBTYPES = st.sampled_from([None, None, None, "demand_defined", "prediction_defined"])


class Oracle(MishapRules):
    """All rules together, and what always holds."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="aggmaint-oracle-"))
        self.turn = 0

    @initialize(
        names=st.lists(st.sampled_from(CHOSEN), min_size=2, max_size=3, unique=True),
        some=st.lists(SALES),
        policy=POLICIES,
        subtype=SUBTYPES,
        sliced=st.booleans(),
    )
    def begin(self, names: list[str], some: list[Sale], policy: Policy, subtype: str | None, sliced: bool) -> None:
        """`sliced`: what a refresh reads is copied aside first, however little it is."""
        slices.ROWS_MIN, slices.SHARE_MAX = (0, 1.0) if sliced else SLICES
        self.world = World(self.directory, with_upstream(names), policy, Lives(subtype))
        self.put(*some)
        self.world.change({}, [("north", "cold"), ("south", None)])

    @invariant()
    def readers_see_one_state(self) -> None:
        if hasattr(self, "world"):  # one of them after each step; all after each commit
            self.turn += 1
            names = self.world.served
            if names:
                self.world.look(names[self.turn % len(names)])

    @invariant()
    def what_others_made_is_untouched(self) -> None:
        if hasattr(self, "world"):
            self.world.look_at_foreign()

    def teardown(self) -> None:
        """Whatever happened: some runs later all is right, and nothing of ours is left over."""
        try:
            if hasattr(self, "world"):
                if self.world.base != "sales":
                    self.the_source_goes_away_or_comes_back()
                self.run(again=False)
                for _ in range(3):  # one to rest what is not used, one to drop what is past its grace, one to forget it
                    self.world.clock.pass_s(40 * 86400)
                    self.world.settle()
                self.nothing_is_left_over()
                self.world.tap.close()
        finally:
            slices.ROWS_MIN, slices.SHARE_MAX = SLICES
            shutil.rmtree(self.directory, ignore_errors=True)
            if counted := os.environ.get("AGGMAINT_ORACLE_STEPS"):
                with Path(counted).open("a") as file:
                    file.write(f"{self.turn}\n")

    def nothing_is_left_over(self) -> None:
        foreign = {each.name for each in self.world.foreign}
        tables = {name for name, _ in self.world.objects() if name.startswith("as_agg_")} - foreign
        served = [name for name in self.world.served if self.world.in_service(name) or not self.world.held(name)]
        if not (self.backups or self.forgetful):  # what a ledger does not know, or not any more, is foreign to it
            assert tables == {self.world.in_service(name) for name in served}
        if ledger := self.world.ledger():
            assert len(ledger[0]) == len(served), "the ledger knows those in service, and no others"
        self.world.look_at_foreign()


def _effort() -> tuple[int, int]:
    wanted = os.environ.get("AGGMAINT_ORACLE") or ("200x50" if os.environ.get("AGGMAINT_DEEP") else "12x40")
    examples, _, steps = wanted.partition("x")
    return int(examples), int(steps)


_EXAMPLES, _STEPS = _effort()
_SEED = int(os.environ.get("AGGMAINT_ORACLE_SEED", "0"))
TestOracle = seed(_SEED)(Oracle.TestCase) if _SEED else Oracle.TestCase
TestOracle.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=_STEPS,
    deadline=None,
    derandomize=not _SEED,
    phases=list(Phase) if os.environ.get("AGGMAINT_SHRINK") else [Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
