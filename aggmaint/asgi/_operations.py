"""Route 9: what operators and their machines ask. Open to everybody who reaches the door, so it names no organisation.

Liveness (`/healthz`) asks nothing: a process that answers is alive. Readiness (`/readyz`) asks the job store for one row
and looks whether ticking goes on. The warehouse is told of as the newest jobs found it, and is never opened here; it does
not decide readiness, because without it this door still reads, records and queues.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from .._pulse import Ticking
from ..core.job import JobStatus, MaintenanceJob
from ..engine import TICK_WAIT_MAX_S, MaintenanceEngine
from ..errors import StoreError, StoreUnavailableError
from ._openapi import openapi_document
from ._paths import Call, Route
from ._replies import Document, Reply, RequestError, action_reply
from .wire import format_instant

if TYPE_CHECKING:
    from .metrics import Metrics

STALLED_S: Final = 3 * TICK_WAIT_MAX_S
"""No tick for so long is a scheduler that hangs: it ticks at least once in TICK_WAIT_MAX_S."""
SAMPLE: Final = 20
"""Of how many organisations the newest jobs are looked at for how the warehouse is."""


@frozen
class Operations:
    """Probes, the OpenAPI document and, if there are any, metrics."""

    engine: MaintenanceEngine
    metrics: "Metrics | None" = None

    def routes(self) -> tuple[Route, ...]:
        open_to_all = (
            Route("GET", "/openapi.json", None, self.openapi),
            Route("GET", "/healthz", None, self.health),
            Route("GET", "/readyz", None, self.readiness),
        )
        return (*open_to_all, Route("GET", "/metrics", None, self.scrape)) if self.metrics else open_to_all

    def openapi(self, _call: Call) -> Document:
        return Document(_openapi(self.metrics is not None), "application/json")

    def health(self, _call: Call) -> Reply:
        return action_reply("alive", {"alive": True})

    def readiness(self, _call: Call) -> Reply:
        checks = {**self._store(), "scheduler": self._scheduler()}
        wrong = [f"{name} is {state}" for name, state in checks.items() if state not in ("ok", "host")]
        warehouse = {"state": "unknown", "as_of": None} if wrong else self._warehouse()
        told: Mapping[str, Any] = {"ready": not wrong, "checks": {**checks, "warehouse": warehouse}}
        if wrong:
            raise RequestError(503, "; ".join(wrong), phrase="not ready", details=told)
        return action_reply("ready", told)

    def scrape(self, _call: Call) -> Document:
        assert self.metrics is not None, "the route exists with metrics only"
        content, media_type = self.metrics.render()
        return Document(content, media_type)

    def _store(self) -> dict[str, str]:
        try:
            self.engine.list_organizations(limit=1)
        except StoreUnavailableError:
            return {"store": "unavailable", "schema": "unknown"}
        except StoreError:  # it answers, but not to this version's statements
            return {"store": "ok", "schema": "wrong"}
        return {"store": "ok", "schema": "ok"}

    def _scheduler(self) -> str:
        pulse = self.engine.pulse()
        if pulse.ticking is Ticking.HOST:
            return "host"
        if pulse.ticking is Ticking.STOPPED:
            return "stopped"
        return "stalled" if pulse.age_s is None or pulse.age_s > STALLED_S else "ok"

    def _warehouse(self) -> dict[str, Any]:
        try:
            org_ids = [each.org_id for each in self.engine.list_organizations(limit=SAMPLE).snapshots]
            jobs = [job for org_id in org_ids for job in self.engine.list_jobs(org_id, limit=2, removed=True).jobs]
        except StoreError:
            return {"state": "unknown", "as_of": None}
        found = [(job.ended_at, state) for job in jobs if job.ended_at and (state := warehouse_state(job))]
        ended_at, state = max(found, default=(None, "unknown"), key=_first)
        return {"state": state, "as_of": None if ended_at is None else format_instant(ended_at)}


@cache
def _openapi(with_metrics: bool) -> bytes:
    return json.dumps(openapi_document(with_metrics=with_metrics), ensure_ascii=False).encode()


def warehouse_state(job: MaintenanceJob) -> str | None:
    """What an ended job tells of its warehouse: "ok", "busy", "unavailable", …; None if it tells nothing."""
    if job.status is JobStatus.DONE:
        return "ok"
    cause = job.error.cause if job.error else None
    return cause.removeprefix("warehouse_") if cause and cause.startswith("warehouse_") else None


def _first(found: tuple[datetime, str]) -> datetime:
    return found[0]
