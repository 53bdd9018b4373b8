"""The golden table: expression, zone, instant → the slots that follow. It must hold on every supported release of croniter.

`golden/cron.json` was written by hand, or by the code and then compared with the oracle of test_cron_oracle.py and read.
Null at the end of a row: no more will come. With each change it is checked on the croniter that is installed; on others,
each in a new virtual environment:

    python -m tests.core.test_cron_golden 6.2.2 6.2.4 7.0.0
"""

import json
import subprocess
import sys
import tempfile
import venv
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from aggmaint.core.cron import next_slot

TABLE = Path(__file__).parent / "golden" / "cron.json"
ROOT = Path(__file__).parents[2]


def differences() -> list[str]:
    found = []
    for row in json.loads(TABLE.read_text(encoding="utf-8")):
        expression, zone = row["expression"], row["zone"]
        after = int(datetime.fromisoformat(row["after"]).timestamp())
        for expected in row["slots"]:
            slot = next_slot(expression, zone, after)
            shown = None if slot is None else datetime.fromtimestamp(slot, ZoneInfo(zone)).isoformat()
            if shown != expected:
                found.append(f"{expression!r} in {zone}: {shown} instead of {expected}")
            if slot is None or shown != expected:
                break
            after = slot
    return found


def test_the_golden_table_holds() -> None:
    assert differences() == []


def test_the_table_has_both_dialects_and_every_kind_of_change() -> None:
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    assert len(rows) > 120
    assert {len(row["expression"].split()) for row in rows} == {1, 5, 6, 7}
    assert len({row["zone"] for row in rows}) > 10


def check_release(release: str) -> bool:
    """Whether the table holds on a release of croniter. Prints what does not."""
    with tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        python = str(Path(place) / "bin" / "python")
        packages = [f"croniter=={release}", "attrs"]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        done = subprocess.run([python, "-m", "tests.core.test_cron_golden"], cwd=ROOT, check=False)
    sys.stdout.write(f"croniter {release}: {'holds' if done.returncode == 0 else 'DIFFERS'}\n")
    return done.returncode == 0


def main(releases: list[str]) -> int:
    if releases:
        failed = [release for release in releases if not check_release(release)]
        return 1 if failed else 0
    found = differences()
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
