"""An aggregate's builds over time, from the reports of the jobs that are kept."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from attrs import frozen

from ...core.job import MaintenanceJob
from .facts import InstanceFacts, ReportFacts

WRITING = frozenset({"build", "refresh"})


@frozen
class BuildPoint:
    """What one job wrote of one aggregate. `rows_total`: how large it was when the job ended; None: not told."""

    job_id: str
    at: datetime
    action: str
    seconds: float
    rows_written: int
    partitions: int
    rows_total: int | None
    failed: bool


def build_points(
    definition_id: str,
    jobs: Iterable[tuple[MaintenanceJob, ReportFacts | None]],
    instances: Sequence[InstanceFacts],
) -> tuple[BuildPoint, ...]:
    """One point for each job that wrote the aggregate or tried to, oldest first. `jobs` newest first.

    A build's own time is told by its instance; a step's seconds are those of publishing.
    """
    built = {each.id: (each.duration_ms or 0) / 1000 for each in instances}
    points = []
    for job, report in jobs:
        steps = [
            each
            for each in (report.steps if report else ())
            if each.definition_id == definition_id and each.action in WRITING
        ]
        if not steps or report is None:
            continue
        size = next((each for each in report.sizes if each.definition_id == definition_id), None)
        points.append(
            BuildPoint(
                job_id=job.id,
                at=job.started_at,
                action="build" if any(each.action == "build" for each in steps) else "refresh",
                seconds=sum(
                    max(each.seconds, built.get(each.instance_id, 0.0) if each.action == "build" else 0.0)
                    for each in steps
                ),
                rows_written=sum(each.rows for each in steps),
                partitions=sum(len(each.partitions) for each in steps),
                rows_total=size.rows if size else None,
                failed=any(each.failed for each in steps),
            )
        )
    return tuple(reversed(points))
