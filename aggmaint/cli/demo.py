"""`demo`: the main job on real data, told step by step, and proved by recomputation.

Every claim that the demo makes is checked while it is made: the partitions that are planned are the ones that were touched,
every aggregate equals its source, the dropped table is back. If one check fails the exit code is 1.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..config import CONFIG_NAME, Config, load_config
from ..core.outcomes import IfBusy
from . import _demo_data as data
from . import show
from .exits import Exit
from .hosting import make_engine
from .options import json_option
from .planning import show_plan
from .watching import Watched, make_display
from .working import run_job, show_result


@click.command()
@click.option("--scale", default=0.05, show_default=True, type=click.FloatRange(0.01, 100), help="TPC-H scale factor.")
@click.option("--dir", "directory", default="aggmaint-demo", show_default=True, type=click.Path(file_okay=False))
@json_option
def demo(scale: float, directory: str, as_json: bool) -> None:
    """Watch real maintenance happen: TPC-H data, two organisations, four rollups, late rows, and a dropped table."""
    story = Demo(Path(directory).absolute(), quiet=as_json)
    story.tell(scale)
    if as_json:
        show.document({"ok": story.ok, "directory": str(story.directory), "chapters": story.chapters})
    sys.exit(Exit.OK if story.ok else Exit.STEP_FAILED)


class Demo:
    """The story, chapter by chapter. `chapters` collects what was seen; `ok` turns False with the first false claim."""

    def __init__(self, directory: Path, *, quiet: bool) -> None:
        self.directory = directory
        self.quiet = quiet
        self.ok = True
        self.chapters: list[dict[str, Any]] = []
        self._facts: dict[str, Any] = {}

    def tell(self, scale: float) -> None:
        first, _ = data.ORGANIZATIONS
        self.generate(scale)
        config = load_config(self.directory / CONFIG_NAME)
        with self.chapter(f"What would the first run of {first} do? (aggmaint plan {first})"):
            self.plan(config, first)
        for org in data.ORGANIZATIONS:
            with self.chapter(f"The first run of {org} (aggmaint run {org})"):
                self.run(config, org)
        with self.chapter(f"A second run of {first}: nothing changed, so nothing is written"):
            self.claim("a run without changes has no steps", not self.run(config, first))
        self.late_rows(config, first)
        self.dropped_table(config, first)
        with self.chapter(f"The history of {first}, as the HTTP API shows it"):
            self.history(config, first)
        self.farewell()

    def generate(self, scale: float) -> None:
        with self.chapter(f"TPC-H data at scale {scale} for {' and '.join(data.ORGANIZATIONS)}, in {self.directory}"):
            data.make_directory(self.directory)
            counts = data.generate(self.directory, scale)
            self.note("rows", counts)
            self.say(", ".join(f"{count:,} rows of {table}" for table, count in counts.items()) + " each")

    def late_rows(self, config: Config, org: str) -> None:
        changes = ", ".join(f"{count} {words} in {month}" for words, month, count in data.CHANGES)
        with self.chapter(f"Old months of {org} change: {changes}"):
            expected = data.change_old_months(self.directory, org)
            planned = {
                step["aggregate"]: step["partitions"]
                for step in self.plan(config, org)["steps"]
                if step["action"] == "refresh"
            }
            self.note("expected", expected)
            self.claim("only the touched partitions are planned", planned == expected)
            self.run(config, org)
            self.prove(config, org)

    def dropped_table(self, config: Config, org: str) -> None:
        with self.chapter(f"Somebody drops a table of {org} behind its back"):
            victim = next(each for each in self.inventory(config, org)["instances"] if each["status"] == "active")
            data.drop_behind_its_back(self.directory, victim["table_schema"], victim["table_name"])
            self.say(f"DROP TABLE {victim['table_name']}: {victim['cube']}.{victim['name']} is broken now")
            plan = self.plan(config, org)
            self.claim("the health check finds it", any(d["reason"] == "instance_missing" for d in plan["decisions"]))
            self.run(config, org)
            self.prove(config, org)

    # -- what the chapters are made of ---------------------------------------------------------------------------------

    def plan(self, config: Config, org: str) -> Mapping[str, Any]:
        plan: Mapping[str, Any] = config.task().plan(org, now=datetime.now(UTC)).to_json()
        self.note("plan", plan)
        if not self.quiet:
            show_plan(org, plan)
        return plan

    def run(self, config: Config, org: str) -> list[Any]:
        """Run the org's maintenance; the steps that were done."""
        engine = make_engine(config, Watched(config.task(), make_display(quiet=self.quiet)), jobs_max=1)
        engine.register_organizations([org])
        details = run_job(engine, config.known(org), IfBusy.REJECT)
        assert details is not None, "nobody else runs jobs in the demo's directory"
        self.note("job", show.job(details.job))
        if not self.quiet:
            show_result(details)
        self.claim("the job is done and complete", bool(details.job.complete))
        steps: list[Any] = (details.report or {})["details"]["steps"]
        return steps

    def prove(self, config: Config, org: str) -> None:
        """Recompute every aggregate from its source and compare row by row."""
        differences = config.task().verify(org)
        self.note("recomputed", {each.aggregate: each.rows_expected for each in differences})
        for each in differences:
            words = f"{each.aggregate} equals its source ({each.rows_expected:,} rows recomputed)"
            self.claim(words, each.equal and each.rows_expected > 0)

    def inventory(self, config: Config, org: str) -> Mapping[str, Any]:
        inventory = make_engine(config, config.task(), executor=None).get_inventory(org)
        assert inventory is not None, "the first run left one"
        return inventory.content

    def history(self, config: Config, org: str) -> None:
        jobs = make_engine(config, config.task(), executor=None).list_jobs(org).jobs
        wire = [show.job(job) for job in jobs]
        self.note("history", wire)
        if not self.quiet:
            show.document(wire)
        self.claim("four jobs, newest first, all done", [job["status"] for job in wire] == ["done"] * 4)

    def farewell(self) -> None:
        self.say()
        self.say("All of it held." if self.ok else "NOT ALL OF IT HELD: see the lines marked FAILED above.")
        config = self.directory / CONFIG_NAME
        self.say(f"Look around:         aggmaint status --config {config}")
        self.say(f"Open the dashboard:  aggmaint serve --insecure-no-auth --config {config}")
        self.say("                     then http://127.0.0.1:8321/ in a browser")

    # -- how it is told ------------------------------------------------------------------------------------------------

    @contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        if not self.quiet:
            show.say()
            show.title(title)
        self._facts = {"title": title}
        began = time.monotonic()
        yield
        self._facts["seconds"] = round(time.monotonic() - began, 3)
        self.chapters.append(self._facts)

    def note(self, key: str, value: Any) -> None:
        self._facts[key] = value

    def say(self, text: str = "") -> None:
        if not self.quiet:
            show.say(text)

    def claim(self, words: str, holds: bool) -> None:
        """Say what is so, and whether it is."""
        self.ok = self.ok and holds
        self._facts.setdefault("claims", {})[words] = holds
        self.say(f"{'ok' if holds else 'FAILED'}: {words}")
