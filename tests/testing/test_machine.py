"""I21: every store gives the memory model's answers, step by step; and a store that does not is found.

By default few examples with a fixed seed. 200 × 50 for each store: `AGGMAINT_DEEP=1 python -m pytest tests/testing`. The
deep run: `AGGMAINT_DEEP_EXAMPLES=20000 AGGMAINT_DEEP_STEPS=200 AGGMAINT_DEEP=1 pytest tests/testing/test_machine.py`
(hours; HYPOTHESIS_PROFILE=deep makes the examples random). The smallest failing sequence is printed with the failure.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aggmaint import JobStore
from aggmaint.testing import CheckFailedError, run_store_machine
from tests.examples.json_directory_store import make_store
from tests.testing.broken_answers import PrunesOneMore
from tests.testing.broken_commits import IgnoresAge, LastWriteWins, RemembersTen
from tests.testing.stores import make_memory, make_quick_sqlite

DEEP = os.environ.get("AGGMAINT_DEEP") == "1"
EXAMPLES = int(os.environ.get("AGGMAINT_DEEP_EXAMPLES", "200" if DEEP else "0"))
STEPS = int(os.environ.get("AGGMAINT_DEEP_STEPS", "50"))


@pytest.mark.parametrize(
    ("factory", "examples"),
    [(make_memory, 20), (make_quick_sqlite, 60), (make_store, 6)],
    ids=["memory", "sqlite", "json"],
)
def test_a_store_answers_as_the_model_does_I21(factory: Callable[..., JobStore], examples: int, tmp_path: Path) -> None:
    seed_number = None if DEEP else 1
    run_store_machine(
        factory, examples=EXAMPLES or examples, steps=STEPS, seed_number=seed_number, location=str(tmp_path)
    )


@pytest.mark.parametrize("broken", [LastWriteWins, IgnoresAge, RemembersTen, PrunesOneMore])
def test_the_machine_finds_a_broken_store(broken: Any) -> None:
    def factory() -> Any:
        return broken()

    with pytest.raises(CheckFailedError, match="I21"):
        run_store_machine(factory, examples=100, steps=50, seed_number=1, shrink=False)


def test_the_same_seed_finds_the_same() -> None:
    def factory() -> Any:
        return LastWriteWins()

    found: list[str] = []
    for _ in range(2):
        with pytest.raises(CheckFailedError) as caught:
            run_store_machine(factory, examples=100, steps=20, seed_number=7, shrink=False)
        found.append("\n".join(getattr(caught.value, "__notes__", ["no notes"])))
    assert found[0] == found[1]
