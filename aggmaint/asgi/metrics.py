"""Metrics for Prometheus by the library `prometheus_client` (the extra `metrics`), in a registry of their own.

Theory of operation. One object listens to an engine and is told of each request by the door:

    metrics = Metrics()
    engine = MaintenanceEngine(…, listeners=[metrics])
    app = create_app(engine, authorize=…, metrics=metrics)        # adds GET /metrics

Every label has a small, known set of values, so tenants and attackers can not make series: routes are the table's
patterns, methods the known ones, triggers their kinds. Organisations are no label; a host that wants some names them, and
all the others are counted as "other". Counters are of this process: scrape each process by itself.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from ..core.events import Event, JobFinished, JobStarted, LeaseLapsed, RequestQueued, SlotSkipped, SlotsMissed
from ..core.ids import JobId
from ..core.job import MaintenanceJob
from ..errors import MissingExtraError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

OTHER: Final = "other"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
REQUEST_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
JOB_BUCKETS_S: Final = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0)


class Metrics:
    """A listener for an engine and an observer of requests; `render` writes what was counted.

    organizations  those that are told apart in the metrics of jobs, by the label `organization`. None: no such label.
    registry       where the metrics are registered: by default a new one, which no other library writes to.

    Raises MissingExtraError without prometheus_client.
    """

    def __init__(
        self, *, organizations: Collection[str] | None = None, registry: "CollectorRegistry | None" = None
    ) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ModuleNotFoundError as exc:
            raise MissingExtraError("prometheus_client", "metrics") from exc
        self.registry = registry or CollectorRegistry()
        self._organizations = None if organizations is None else frozenset(organizations)
        self._running: set[JobId] = set()
        org = () if organizations is None else ("organization",)
        to = self.registry
        self._started = Counter("aggmaint_jobs_started", "Jobs granted to this process", ("trigger", *org), registry=to)
        self._finished = Counter(
            "aggmaint_jobs_finished", "Jobs seen to end here", ("status", "code", *org), registry=to
        )
        self._lapsed = Counter(
            "aggmaint_leases_lapsed", "Jobs taken from workers that stopped renewing", org, registry=to
        )
        self._queued = Counter(
            "aggmaint_requests_queued", "Requests for a job that had to wait", ("trigger", *org), registry=to
        )
        self._skipped = Counter("aggmaint_slots_skipped", "Slots consumed without a run", ("why", *org), registry=to)
        self._missed = Counter("aggmaint_slots_missed", "Slots that nobody noticed in time", org, registry=to)
        self._jobs = Gauge("aggmaint_jobs_running", "Jobs of this process in progress", registry=to)
        self._job_s = Histogram(
            "aggmaint_job_duration_seconds",
            "From start to end of a job",
            ("status",),
            buckets=JOB_BUCKETS_S,
            registry=to,
        )
        labels = ("method", "route", "status")
        self._requests = Counter("aggmaint_http_requests", "Requests answered", labels, registry=to)
        self._request_s = Histogram(
            "aggmaint_http_request_duration_seconds",
            "From a request's arrival to its answer",
            ("route",),
            buckets=REQUEST_BUCKETS_S,
            registry=to,
        )

    # -- of jobs -------------------------------------------------------------------------------------------------------

    def __call__(self, event: Event) -> None:
        """An engine's listener."""
        org = () if self._organizations is None else (self._known(event.org_id),)
        match event:
            case JobStarted():
                self._started.labels(event.job.trigger.kind.value, *org).inc()
                self._running.add(event.job.id)
                self._jobs.set(len(self._running))
            case JobFinished():
                code = event.job.error.code.value if event.job.error else ""
                self._finished.labels(event.job.status.value, code, *org).inc()
                self._job_s.labels(event.job.status.value).observe(duration_s(event.job))
                self._running.discard(event.job.id)
                self._jobs.set(len(self._running))
            case LeaseLapsed():
                (self._lapsed.labels(*org) if org else self._lapsed).inc()
            case RequestQueued():
                self._queued.labels(event.trigger.kind.value, *org).inc()
            case SlotSkipped():
                self._skipped.labels(event.why, *org).inc()
            case SlotsMissed():
                (self._missed.labels(*org) if org else self._missed).inc(event.missed)

    def _known(self, org_id: str) -> str:
        return org_id if self._organizations is not None and org_id in self._organizations else OTHER

    # -- of requests ---------------------------------------------------------------------------------------------------

    def observe(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """One request. `route` is its pattern; None for a path that is none of ours."""
        route = route or OTHER
        self._requests.labels(method if method in METHODS else OTHER, route, str(status)).inc()
        self._request_s.labels(route).observe(seconds)

    def render(self) -> tuple[bytes, str]:
        """The registry in Prometheus' text format, and its media type."""
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST


def duration_s(job: MaintenanceJob) -> float:
    """0 for a job in progress."""
    return 0.0 if job.ended_at is None else (job.ended_at - job.started_at).total_seconds()
