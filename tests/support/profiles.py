"""How many examples a property test runs: few with each change, many with TEST_DEPTH (a factor) set."""

import os

from hypothesis import settings

DEPTH = int(os.environ.get("TEST_DEPTH", "1"))


def examples(count: int, *, steps: int = 50) -> settings:
    return settings(max_examples=count * DEPTH, stateful_step_count=steps)
