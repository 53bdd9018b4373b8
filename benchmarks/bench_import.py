"""`import aggmaint` against `import attrs, croniter`: a paired ratio. Target: below 1.5.

Each round starts one interpreter for each, in turn, so that both meet the same machine; the ratio is that of the medians
of the import times that the interpreters measured themselves.

    python benchmarks/bench_import.py [rounds]
"""

import os
import statistics
import subprocess
import sys

SCRIPT = "import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
WRITES_BYTECODE = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""As after `pip install`, which compiles: otherwise ours would be compiled in each round, and theirs not."""
OURS, THEIRS = "aggmaint", "attrs, croniter"


def seconds(modules: str) -> float:
    command = [sys.executable, "-c", SCRIPT.format(modules=modules)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=WRITES_BYTECODE).stdout)


def main(rounds: int) -> None:
    for modules in (OURS, THEIRS):
        seconds(modules)  # compiles, and fills the cache of files
    pairs = [(seconds(OURS), seconds(THEIRS)) for _ in range(rounds)]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"import {OURS}: {ours * 1000:.1f} ms · import {THEIRS}: {theirs * 1000:.1f} ms · {rounds} rounds")
    print(f"ratio {ours / theirs:.2f} (target < 1.5)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 25)
