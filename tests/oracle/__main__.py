"""`python -m tests.oracle [WORK] [--processes N] [--seed FIRST] [--shard EXAMPLES] [--minutes M]`: the long run, in shards.

WORK is `<examples>x<steps>`, 2000x200 unless given. Each shard is a process of its own with a seed of its own, so that a
violation is found again by AGGMAINT_ORACLE=<shard>x<steps> and AGGMAINT_ORACLE_SEED=<seed> for tests/oracle/test_machine.py,
and a run that was broken off goes on with `--seed`. Prints a line per shard, and how many steps were done; exit code 1 if a
shard found a violation (its output is kept, and named), 2 if time ran out before all was done.
"""

import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[2]


@frozen
class Shard:
    """Some examples, from one seed."""

    seed: int
    examples: int
    steps: int


@frozen
class Outcome:
    """How a shard went: pytest's exit code (None: it was not begun), the steps it did, and where it wrote."""

    shard: Shard
    code: int | None
    steps: int
    output: Path | None = None


def shards(work: str, size: int, first_seed: int) -> Iterator[Shard]:
    examples, steps = (int(part) for part in work.split("x"))
    for number, start in enumerate(range(0, examples, size)):
        yield Shard(first_seed + number, min(size, examples - start), steps)


def run(shard: Shard, directory: Path, until: float) -> Outcome:
    if time.monotonic() >= until:
        return Outcome(shard, None, 0)
    output, counted = directory / f"seed-{shard.seed}.txt", directory / f"steps-{shard.seed}"
    environment = {
        **os.environ,
        "AGGMAINT_ORACLE": f"{shard.examples}x{shard.steps}",
        "AGGMAINT_ORACLE_SEED": str(shard.seed),
        "AGGMAINT_ORACLE_STEPS": str(counted),
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:logging", "-p", "no:cacheprovider"]
    with output.open("wb") as file:
        code = subprocess.run(
            [*command, "tests/oracle/test_machine.py"], cwd=ROOT, env=environment, stdout=file, stderr=file, check=False
        ).returncode
    steps = sum(map(int, counted.read_text().split())) if counted.exists() else 0
    outcome = Outcome(shard, code, steps, output)
    word = "right" if code == 0 else f"VIOLATION, see {output}"
    sys.stdout.write(f"seed {shard.seed}: {shard.examples} x {shard.steps}, {steps} steps, {word}\n")
    sys.stdout.flush()
    return outcome


def arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m tests.oracle", description="The long run of the oracle machine, in shards.")
    parser.add_argument("work", nargs="?", default="2000x200", help="<examples>x<steps>")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1, help="of the first shard; the others follow")
    parser.add_argument("--shard", type=int, default=20, help="examples of one shard")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no shard later than this")
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    directory = Path(tempfile.mkdtemp(prefix="aggmaint-oracle-"))
    until = time.monotonic() + asked.minutes * 60
    with ThreadPoolExecutor(asked.processes) as pool:
        outcomes = list(
            pool.map(lambda shard: run(shard, directory, until), shards(asked.work, asked.shard, asked.seed))
        )
    wrong = [each for each in outcomes if each.code not in (0, None)]
    left = sum(each.code is None for each in outcomes)
    steps = sum(each.steps for each in outcomes)
    sys.stdout.write(f"{steps} steps, {len(wrong)} violations, {left} of {len(outcomes)} shards not begun\n")
    return 1 if wrong else 2 if left else 0


if __name__ == "__main__":
    sys.exit(main())
