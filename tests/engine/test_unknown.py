"""A batch whose outcome is unknown: each change is looked after by itself, and one that stays unknown harms no other."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from aggmaint import JobStatus, JobStore
from aggmaint.errors import UnknownOutcomeError
from aggmaint.testing.clocks import ManualClock
from aggmaint.testing.faulty import Fault, FaultyStore, ScriptedPlan, Unavailable, Unknown
from tests.engine.conftest import MakeEngine

NAMES = ["a", "b", "c"]
FIRST_STAYS_UNKNOWN: dict[int | tuple[str, int], Fault | Sequence[Fault]] = {
    ("commit", 1): Unknown(),
    ("commit", 2): Unknown(),
    ("load", 2): Unavailable(),
}
"""The batch is committed and its answer lost, and for its first change nobody can look again."""


def test_jobs_of_a_batch_are_run_although_one_of_it_stays_unknown(
    make_engine: MakeEngine, store: JobStore, clock: ManualClock
) -> None:
    administrator = make_engine()
    administrator.register_organizations(NAMES)
    for name in NAMES:
        administrator.add_schedule(name, "0 0 13 ? * * *")
    clock.pass_s(3600)
    faulty = FaultyStore(store, ScriptedPlan(FIRST_STAYS_UNKNOWN))
    engine = make_engine(store=faulty, jobs_max=3, executor=ThreadPoolExecutor(3))
    engine.tick()
    assert engine.wait_until_idle(timeout_s=30)

    def jobs() -> dict[str, JobStatus]:
        return {name: administrator.list_jobs(name).jobs[-1].status for name in NAMES}

    assert jobs() == {"a": JobStatus.INPROGRESS, "b": JobStatus.DONE, "c": JobStatus.DONE}
    clock.pass_s(60)
    administrator.tick()
    assert jobs()["a"] is JobStatus.FAILED, "the one that nobody ran is rescued when its lease has passed"


def test_registering_says_that_an_outcome_is_unknown_after_it_has_tried_all(
    make_engine: MakeEngine, store: JobStore
) -> None:
    engine = make_engine(store=FaultyStore(store, ScriptedPlan(FIRST_STAYS_UNKNOWN)))
    with pytest.raises(UnknownOutcomeError):
        engine.register_organizations(NAMES)
    assert make_engine().register_organizations(NAMES) == 0, "all of them are there"
