"""The sync client. What is sent, read, tried again and raised stands in `_calls.py` and `_conversation.py`, for both."""

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..asgi.wire import WireJob
from ..asgi.wire_schedules import WireSchedule
from ..core.job import JobStatus
from ..core.outcomes import IfBusy
from ..errors import MissingExtraError
from . import _calls as calls
from ._calls import AggregateQuery, Call, Received
from ._conversation import Failed, Retries, Send, converse
from ._http import TIMEOUT_S, Token, headers_of
from ._results import (
    AggregateDefinitionInfo,
    AggregateInstanceInfo,
    DefinitionPage,
    InstancePage,
    JobHistory,
    Readiness,
    RunAnswer,
)

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
ALL = AggregateQuery()


class MaintenanceClient:
    """Talks to the HTTP API at `base_url`, such as "https://host/ops/agg"; `with` closes its connections.

    token      the bearer token, or a function that gives it for each request (tokens that are renewed).
    retries    of calls that may be sent twice; see `Retries`.
    http       an `httpx.Client` of your own (proxies, certificates); it is left open, and its time-out holds.
    sleep      how to wait between attempts; for tests.

    Methods raise InvalidValueError (400), OrganizationNotFoundError (404: unknown, or no right to it),
    ScheduleNotFoundError, ApiAuthenticationError (401), ApiRateLimitError (429), ApiUnavailableError (no answer, 503),
    ApiProtocolError (it is not the API that answers), and ApiError for everything else.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: Token = None,
        retries: Retries | None = None,
        timeout_s: float = TIMEOUT_S,
        http: "httpx.Client | None" = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        try:
            import httpx
        except ModuleNotFoundError as exc:
            raise MissingExtraError("httpx", "client") from exc
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._retries = retries or Retries()
        self._own = httpx.Client(timeout=timeout_s) if http is None else None
        self._http: httpx.Client = http or self._own  # type: ignore[assignment]  # one of the two is there
        self._transport_error = httpx.TransportError
        self._sleep = sleep

    def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _do(self, call: Call[T]) -> T:
        conversation = converse(call, self._retries)
        step = next(conversation)
        try:
            while True:
                if isinstance(step, Send):
                    step = conversation.send(self._send(call))
                else:
                    self._sleep(step.seconds)
                    step = next(conversation)
        except StopIteration as done:
            result: T = done.value
            return result

    def _send(self, call: Call[Any]) -> Received | Failed:
        try:
            answer = self._http.request(
                call.method, self._base_url + call.target, headers=headers_of(self._token), follow_redirects=False
            )
        except self._transport_error as exc:
            return Failed(exc)
        return Received(answer.status_code, answer.headers, answer.content)

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def run_immediately(self, org_id: str, *, if_busy: IfBusy | str | None = None) -> RunAnswer:
        """Ask for a job now. Never sent twice: after ApiUnavailableError look at the current job.

        if_busy  while a job runs: "fold" into the one that follows (the server's default), "reject", or "join" it.
        """
        return self._do(calls.run_immediately(org_id, if_busy))

    def get_current_job(self, org_id: str) -> WireJob | None:
        """The job in progress, or None."""
        return self._do(calls.get_current_job(org_id))

    def list_jobs(
        self,
        org_id: str,
        *,
        limit: int = 10,
        offset: int = 0,
        status: JobStatus | str | None = None,
        trigger_type: str | None = None,
    ) -> JobHistory:
        """A page of jobs, newest first. For all of them: `iter_jobs`."""
        call = calls.list_jobs(org_id, limit=limit, offset=offset, status=status, trigger_type=trigger_type)
        return self._do(call)

    def iter_jobs(
        self, org_id: str, *, status: JobStatus | str | None = None, trigger_type: str | None = None
    ) -> Iterator[WireJob]:
        """All jobs, newest first, page after page by cursor: newer jobs do not shift the pages."""
        after: str | None = ""
        while after is not None:
            call = calls.list_jobs(org_id, limit=calls.PAGE, status=status, trigger_type=trigger_type, after=after)
            page = self._do(call)
            yield from page.jobs
            after = page.next

    # -- schedules -----------------------------------------------------------------------------------------------------

    def list_schedules(self, org_id: str, *, active: bool | None = None) -> tuple[WireSchedule, ...]:
        """Schedules with details: only active ones, only others, or (None) all."""
        return self._do(calls.list_schedules(org_id, active))

    def create_schedule(self, org_id: str, time_expression: str) -> WireSchedule:
        """Create a schedule (Quartz, six or seven fields). Never sent twice. Raises InvalidValueError."""
        return self._do(calls.create_schedule(org_id, time_expression))

    def activate_schedule(self, org_id: str, schedule_id: str) -> WireSchedule:
        """Idempotent. Raises ScheduleNotFoundError."""
        return self._do(calls.set_schedule_active(org_id, schedule_id, active=True))

    def deactivate_schedule(self, org_id: str, schedule_id: str) -> WireSchedule:
        """Idempotent. Raises ScheduleNotFoundError."""
        return self._do(calls.set_schedule_active(org_id, schedule_id, active=False))

    def delete_schedule(self, org_id: str, schedule_id: str) -> None:
        """Idempotent. Raises ScheduleNotFoundError for one that never was."""
        self._do(calls.delete_schedule(org_id, schedule_id))

    # -- aggregates ----------------------------------------------------------------------------------------------------

    def list_definitions(
        self, org_id: str, *, query: AggregateQuery = ALL, limit: int = 10, offset: int = 0
    ) -> DefinitionPage:
        """A page of aggregate definitions, by cube and name. For all of them: `iter_definitions`."""
        return self._do(calls.list_definitions(org_id, query, limit, offset))

    def iter_definitions(self, org_id: str, *, query: AggregateQuery = ALL) -> Iterator[AggregateDefinitionInfo]:
        """All definitions, page after page."""
        offset = 0
        while True:
            page = self._do(calls.list_definitions(org_id, query, calls.PAGE, offset))
            yield from page.definitions
            if len(page.definitions) < calls.PAGE:
                return
            offset += calls.PAGE

    def list_instances(
        self, org_id: str, *, query: AggregateQuery = ALL, limit: int = 10, offset: int = 0
    ) -> InstancePage:
        """A page of aggregate instances, newest first. For all of them: `iter_instances`."""
        return self._do(calls.list_instances(org_id, query, limit, offset))

    def iter_instances(self, org_id: str, *, query: AggregateQuery = ALL) -> Iterator[AggregateInstanceInfo]:
        """All instances, page after page."""
        offset = 0
        while True:
            page = self._do(calls.list_instances(org_id, query, calls.PAGE, offset))
            yield from page.instances
            if len(page.instances) < calls.PAGE:
                return
            offset += calls.PAGE

    # -- operations ----------------------------------------------------------------------------------------------------

    def is_alive(self) -> bool:
        """Whether the server answers; ApiUnavailableError if it does not."""
        return self._do(calls.is_alive())

    def get_readiness(self) -> Readiness:
        """Store, schema, scheduler and warehouse as the server sees them; also when it is not ready."""
        return self._do(calls.get_readiness())

    def get_openapi(self) -> Mapping[str, Any]:
        """The server's OpenAPI document."""
        return self._do(calls.get_openapi())

    def get_metrics(self) -> str:
        """The server's metrics in Prometheus' format; ApiError where there are none."""
        return self._do(calls.get_metrics())
