"""Geometry of the two charts: the strip of jobs, and an aggregate's builds over time. Pure; templates draw it as SVG.

Heights follow the square root of a duration, so that a run of a second stays visible beside one of ten minutes.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Final

from attrs import frozen

from ...core.job import JobStatus, MaintenanceJob
from . import words
from .points import BuildPoint

HEIGHT: Final = 100.0
"""Charts are drawn in their own units: bars 10 apart, 0…100 high; CSS gives them their size."""
PITCH: Final = 10.0
LEAST: Final = 4.0
SLOTS_LEAST: Final = 30


@frozen
class Bar:
    """One bar, from the bottom. `tone` is a CSS class, `title` what it says."""

    x: float
    y: float
    width: float
    height: float
    tone: str
    title: str


@frozen
class Strip:
    bars: tuple[Bar, ...]
    width: float
    since: str
    latest: str
    longest: str


@frozen
class BuildChart:
    """Bars of durations, and the line of the aggregate's rows (`M x y L x y …`; empty: not known)."""

    bars: tuple[Bar, ...]
    line: str
    width: float
    since: str
    latest: str
    longest: str
    rows_most: str


def job_tone(job: MaintenanceJob) -> str:
    if job.status is JobStatus.INPROGRESS:
        return "running"
    if job.status is JobStatus.FAILED:
        return "failed"
    return "partial" if job.complete is False else "done"


def job_strip(jobs: Sequence[MaintenanceJob], slots: int) -> Strip | None:
    """`jobs` newest first; the strip has the newest at its right end. None without jobs."""
    shown = list(reversed(jobs[:slots]))
    if not shown:
        return None
    seconds = [words.took(job.started_at, job.ended_at) or 0.0 for job in shown]
    heights = _heights(seconds)
    left = slots - len(shown)
    bars = tuple(
        Bar(
            x=(left + index) * PITCH + 1.5,
            y=HEIGHT - height,
            width=PITCH - 3,
            height=height,
            tone=job_tone(job),
            title=f"{words.instant(job.started_at)}: {job_word(job)}, {words.duration(took)}",
        )
        for index, (job, height, took) in enumerate(zip(shown, heights, seconds, strict=True))
    )
    since = f"{words.plural(len(shown), 'run')} since {words.day(shown[0].started_at)}"
    return Strip(bars, slots * PITCH, since, words.day(shown[-1].started_at), words.duration(max(seconds)))


def job_word(job: MaintenanceJob) -> str:
    return {"running": "running", "failed": "failed", "partial": "done, not complete", "done": "done"}[job_tone(job)]


def build_chart(points: Sequence[BuildPoint]) -> BuildChart | None:
    """`points` oldest first. None without points."""
    if not points:
        return None
    slots = max(SLOTS_LEAST, len(points))
    left = slots - len(points)
    heights = _heights([each.seconds for each in points])
    bars = tuple(
        Bar(
            x=(left + index) * PITCH + 1.5,
            y=HEIGHT - height,
            width=PITCH - 3,
            height=height,
            tone="failed" if each.failed else each.action,
            title=f"{words.instant(each.at)}: {each.action}, {words.duration(each.seconds)}",
        )
        for index, (each, height) in enumerate(zip(points, heights, strict=True))
    )
    most = max((each.rows_total or 0 for each in points), default=0)
    places = [
        ((left + index + 0.5) * PITCH, HEIGHT - 4 - (HEIGHT - 12) * each.rows_total / max(1, most))
        for index, each in enumerate(points)
        if each.rows_total is not None
    ]
    line = "M " + " L ".join(f"{x:.1f} {y:.1f}" for x, y in places) if len(places) > 1 else ""
    return BuildChart(
        bars=bars,
        line=line,
        width=slots * PITCH,
        since=f"{words.plural(len(points), 'build')} since {words.day(points[0].at)}",
        latest=words.day(points[-1].at),
        longest=words.duration(max(each.seconds for each in points)),
        rows_most=words.count(most),
    )


def _heights(seconds: Sequence[float]) -> list[float]:
    longest = max(seconds, default=0.0) or 1.0
    return [LEAST + (HEIGHT - LEAST) * sqrt(max(0.0, each) / longest) for each in seconds]
