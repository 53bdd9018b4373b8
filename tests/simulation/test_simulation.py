"""Days of several processes with faults, one seed each: no invariant is ever broken, and one seed is one history."""

import multiprocessing
import os
import threading
import uuid
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from aggmaint import Clock, MaintenanceReport, TaskContext
from aggmaint.testing._simulation_chance import MODULES
from aggmaint.testing.simulation import InvariantBrokenError, Simulation, SimulationSize
from tests.simulation.depth import FIRST_SEED, SEEDS
from tests.support.tasks import until

CORPUS = (3, 15, 16, 22, 55, 184, 234)
"""Seeds that once found something; they run first."""

BATCH = 25
MUST_BE_SEEN = (
    "answered: Started",
    "answered: Queued",
    "answered: Joined",
    "answered: Refused",
    "ended: abandoned",
    "ended: timeout",
    "ended: cancelled",
    "ended: shutdown",
    "ended: error",
    "granted: time",
    "granted: cube_update",
    "granted: manual",
    "published",
    "renewed late",
    "slot fired",
    "slot skipped",
    "slot missed",
    "unavailable",
    "UnknownOutcomeError",
    "ContentionError",
    "freezes",
    "stalls",
    "deaths",
    "restarts",
    "reboots",
    "failovers",
    "wall_steps",
)


def simulate(seeds: range) -> tuple[Counter[str], list[str]]:
    seen: Counter[str] = Counter()
    broken: list[str] = []
    for seed in seeds:
        try:
            seen.update(Simulation(seed).run().seen)
        except InvariantBrokenError as exc:
            broken.append(str(exc))
    return seen, broken


def test_I1_to_I28_hold_in_every_simulated_day() -> None:
    """500 seeds of 24 hours each with every change; what must happen somewhere in them did happen."""
    batches = [
        range(first, min(first + BATCH, FIRST_SEED + SEEDS)) for first in range(FIRST_SEED, FIRST_SEED + SEEDS, BATCH)
    ]
    seen: Counter[str] = Counter()
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for more, broken in pool.map(simulate, batches):
            assert not broken, broken[0]
            seen.update(more)
    missing = [name for name in MUST_BE_SEEN if not seen[name]]
    assert SEEDS < 100 or not missing, f"never happened in {SEEDS} days: {missing}"


@pytest.mark.parametrize("seed", CORPUS)
def test_seeds_that_once_found_something(seed: int) -> None:
    Simulation(seed).run()


@pytest.mark.parametrize("seed", [1, 2])
def test_one_seed_is_one_history(seed: int) -> None:
    first, second = Simulation(seed).run(), Simulation(seed).run()
    assert first.trace == second.trace and first.trace_hash == second.trace_hash
    assert Simulation(seed + 100).run().trace_hash != first.trace_hash


def test_a_seed_is_the_same_history_in_another_process() -> None:
    """No hash seed, no memory address, no clock of the machine has a part in it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        elsewhere = pool.submit(trace_hash, 7).result(timeout=120)
    assert elsewhere == trace_hash(7)


def trace_hash(seed: int) -> str:
    return Simulation(seed).run().trace_hash


class SlowTask:
    """A host's own task: it passes time on the clock that it is given."""

    def __init__(self, runs: list[str], clock: Clock) -> None:
        self._runs = runs
        self._clock = clock

    def run(self, context: TaskContext) -> MaintenanceReport:
        for step in range(3):
            self._clock.sleep(20)
            context.progress("work", done=step, total=3)
            context.publish(lambda data, step=step: data.update({f"{context.org_id}/mine": step}))  # type: ignore[misc]
        self._runs.append(context.org_id)
        return MaintenanceReport(complete=True)


def test_a_host_runs_its_own_task_in_a_simulation() -> None:
    runs: list[str] = []
    result = Simulation(1, task=partial(SlowTask, runs), size=SimulationSize(hours=6)).run()
    assert set(runs) == {"org-0", "org-1"} and result.seen["published"] > 0


class ForgetfulTask:
    """Never complete: what it is asked to cover is never covered."""

    def __init__(self, clock: Clock) -> None: ...

    def run(self, context: TaskContext) -> MaintenanceReport:
        return MaintenanceReport(complete=False)


def test_I25_a_task_that_never_covers_is_told_with_its_seed_and_the_trace() -> None:
    with pytest.raises(InvariantBrokenError) as info:
        Simulation(5, task=ForgetfulTask, size=SimulationSize(hours=1)).run()
    assert info.value.rule == "I25"
    assert "python -m aggmaint.testing.simulation 5" in str(info.value) and "JobFinished" in str(info.value)


def test_a_simulation_leaves_no_thread_and_no_patched_name_behind() -> None:
    Simulation(3, size=SimulationSize(hours=2)).run()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("stepped-")])
    assert all(module.uuid4 is uuid.uuid4 for module in MODULES)
