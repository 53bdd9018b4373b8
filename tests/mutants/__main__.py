"""`python -m tests.mutants [WORD …]`: plant each bug (or those whose name has a WORD) in a copy, and run its test.

The tree that you work in is never touched. Exit code 1 if a planted bug is not seen by the test that the catalogue names.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .catalogue import MUTANTS
from .mutant import Mutant

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.duckdb")


def is_seen(mutant: Mutant, copy: Path) -> bool:
    """Plant the bug, run the one test, take the bug out again. True if the test failed."""
    place = copy / mutant.file
    sound = place.read_text(encoding="utf-8")
    place.write_text(sound.replace(mutant.before, mutant.after, 1), encoding="utf-8")
    try:
        return run(mutant.killer, copy) in (1, 2)  # 2: the planted code can not even be imported
    finally:
        place.write_text(sound, encoding="utf-8")


def run(test: str, copy: Path) -> int:
    """pytest's exit code: 0 passed, 1 failed, 2 could not be collected, others no test. One that hangs counts as failed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, timeout=300, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return 1


def main(words: list[str]) -> int:
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    survivors = []
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "copy"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        for mutant in chosen:
            seen = is_seen(mutant, copy)
            survivors += [] if seen else [mutant]
            sys.stdout.write(f"{'seen    ' if seen else 'SURVIVED'}  {mutant.name}  by {mutant.killer}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - len(survivors)} of {len(chosen)} planted bugs were seen\n")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
