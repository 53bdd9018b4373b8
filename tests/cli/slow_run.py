"""`aggmaint run`, stopped in the middle: `python slow_run.py GATE ARGUMENT…`.

The real command in a real process; only its progress display waits, at the first step of `observe` after the warehouse was
opened, until the file GATE appears. GATE.reached tells that it waits.
"""

import sys
import time
from pathlib import Path

from aggmaint.cli import main, watching
from aggmaint.cli.watching import Display, Quiet


class Gate(Quiet):
    def __init__(self, gate: Path) -> None:
        self._gate = gate

    def show(self, step: str, done: int, total: int | None, detail: str) -> None:
        if step == "connect":
            return
        self._gate.with_suffix(".reached").touch()
        while not self._gate.exists():
            time.sleep(0.01)


def open_gate_display(gate: Path) -> None:
    def make_display(*, quiet: bool) -> Display:
        return Gate(gate)

    watching.make_display = make_display


if __name__ == "__main__":
    open_gate_display(Path(sys.argv[1]))
    sys.argv[1:] = sys.argv[2:]
    main()
