"""While a simulation runs: ids, jitter and logs that depend on nothing but the seed.

The library draws ids from `uuid4` and its short pauses between two tries from `random`; nothing it decides depends on
either, but a replay is only a replay if they are the same too (a schedule's spread is a hash of its id). So both come from
the seed for as long as a simulation runs in this process; therefore only one runs at a time.
"""

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final
from uuid import UUID

from .. import _administration, _committing, _slots, engine

MODULES: Final[tuple[ModuleType, ...]] = (_administration, _committing, _slots, engine)
_one_at_a_time = threading.Lock()


@contextmanager
def seeded_chance(seed: int) -> Iterator[None]:
    """Replaces the library's chance by the seed's, and mutes its log, until the block ends."""
    chance = random.Random(seed)
    log = logging.getLogger("aggmaint")

    def seeded_uuid4() -> UUID:
        return UUID(int=chance.getrandbits(128), version=4)

    with _one_at_a_time:
        originals = [(module, vars(module)["uuid4"]) for module in MODULES]
        state, level = random.getstate(), log.level
        try:
            for module in MODULES:
                vars(module)["uuid4"] = seeded_uuid4
            random.seed(seed)
            log.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for module, original in originals:
                vars(module)["uuid4"] = original
            random.setstate(state)
            log.setLevel(level)
