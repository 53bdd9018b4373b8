"""The async client. What is sent, read, tried again and raised stands in `_calls.py` and `_conversation.py`, for both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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


class AsyncMaintenanceClient:
    """Talks to the HTTP API at `base_url`, such as "https://host/ops/agg"; `async with` closes its connections.

    token      the bearer token, or a function that gives it for each request (tokens that are renewed).
    retries    of calls that may be sent twice; see `Retries`.
    http       an `httpx.AsyncClient` of your own (proxies, certificates); it is left open, and its time-out holds.
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
        http: "httpx.AsyncClient | None" = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        try:
            import httpx
        except ModuleNotFoundError as exc:
            raise MissingExtraError("httpx", "client") from exc
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._retries = retries or Retries()
        self._own = httpx.AsyncClient(timeout=timeout_s) if http is None else None
        self._http: httpx.AsyncClient = http or self._own  # type: ignore[assignment]  # one of the two is there
        self._transport_error = httpx.TransportError
        self._sleep = sleep

    async def aclose(self) -> None:
        """Close the connections, unless they are the caller's."""
        if self._own is not None:
            await self._own.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _do(self, call: Call[T]) -> T:
        conversation = converse(call, self._retries)
        step = next(conversation)
        try:
            while True:
                if isinstance(step, Send):
                    step = conversation.send(await self._send(call))
                else:
                    await self._sleep(step.seconds)
                    step = next(conversation)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _send(self, call: Call[Any]) -> Received | Failed:
        try:
            answer = await self._http.request(
                call.method, self._base_url + call.target, headers=headers_of(self._token), follow_redirects=False
            )
        except self._transport_error as exc:
            return Failed(exc)
        return Received(answer.status_code, answer.headers, answer.content)

    # -- jobs ----------------------------------------------------------------------------------------------------------

    async def run_immediately(self, org_id: str, *, if_busy: IfBusy | str | None = None) -> RunAnswer:
        """Ask for a job now. Never sent twice: after ApiUnavailableError look at the current job.

        if_busy  while a job runs: "fold" into the one that follows (the server's default), "reject", or "join" it.
        """
        return await self._do(calls.run_immediately(org_id, if_busy))

    async def get_current_job(self, org_id: str) -> WireJob | None:
        """The job in progress, or None."""
        return await self._do(calls.get_current_job(org_id))

    async def list_jobs(
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
        return await self._do(call)

    async def iter_jobs(
        self, org_id: str, *, status: JobStatus | str | None = None, trigger_type: str | None = None
    ) -> AsyncIterator[WireJob]:
        """All jobs, newest first, page after page by cursor: newer jobs do not shift the pages."""
        after: str | None = ""
        while after is not None:
            call = calls.list_jobs(org_id, limit=calls.PAGE, status=status, trigger_type=trigger_type, after=after)
            page = await self._do(call)
            for job in page.jobs:
                yield job
            after = page.next

    # -- schedules -----------------------------------------------------------------------------------------------------

    async def list_schedules(self, org_id: str, *, active: bool | None = None) -> tuple[WireSchedule, ...]:
        """Schedules with details: only active ones, only others, or (None) all."""
        return await self._do(calls.list_schedules(org_id, active))

    async def create_schedule(self, org_id: str, time_expression: str) -> WireSchedule:
        """Create a schedule (Quartz, six or seven fields). Never sent twice. Raises InvalidValueError."""
        return await self._do(calls.create_schedule(org_id, time_expression))

    async def activate_schedule(self, org_id: str, schedule_id: str) -> WireSchedule:
        """Idempotent. Raises ScheduleNotFoundError."""
        return await self._do(calls.set_schedule_active(org_id, schedule_id, active=True))

    async def deactivate_schedule(self, org_id: str, schedule_id: str) -> WireSchedule:
        """Idempotent. Raises ScheduleNotFoundError."""
        return await self._do(calls.set_schedule_active(org_id, schedule_id, active=False))

    async def delete_schedule(self, org_id: str, schedule_id: str) -> None:
        """Idempotent. Raises ScheduleNotFoundError for one that never was."""
        await self._do(calls.delete_schedule(org_id, schedule_id))

    # -- aggregates ----------------------------------------------------------------------------------------------------

    async def list_definitions(
        self, org_id: str, *, query: AggregateQuery = ALL, limit: int = 10, offset: int = 0
    ) -> DefinitionPage:
        """A page of aggregate definitions, by cube and name. For all of them: `iter_definitions`."""
        return await self._do(calls.list_definitions(org_id, query, limit, offset))

    async def iter_definitions(
        self, org_id: str, *, query: AggregateQuery = ALL
    ) -> AsyncIterator[AggregateDefinitionInfo]:
        """All definitions, page after page."""
        offset = 0
        while True:
            page = await self._do(calls.list_definitions(org_id, query, calls.PAGE, offset))
            for definition in page.definitions:
                yield definition
            if len(page.definitions) < calls.PAGE:
                return
            offset += calls.PAGE

    async def list_instances(
        self, org_id: str, *, query: AggregateQuery = ALL, limit: int = 10, offset: int = 0
    ) -> InstancePage:
        """A page of aggregate instances, newest first. For all of them: `iter_instances`."""
        return await self._do(calls.list_instances(org_id, query, limit, offset))

    async def iter_instances(self, org_id: str, *, query: AggregateQuery = ALL) -> AsyncIterator[AggregateInstanceInfo]:
        """All instances, page after page."""
        offset = 0
        while True:
            page = await self._do(calls.list_instances(org_id, query, calls.PAGE, offset))
            for instance in page.instances:
                yield instance
            if len(page.instances) < calls.PAGE:
                return
            offset += calls.PAGE

    # -- operations ----------------------------------------------------------------------------------------------------

    async def is_alive(self) -> bool:
        """Whether the server answers; ApiUnavailableError if it does not."""
        return await self._do(calls.is_alive())

    async def get_readiness(self) -> Readiness:
        """Store, schema, scheduler and warehouse as the server sees them; also when it is not ready."""
        return await self._do(calls.get_readiness())

    async def get_openapi(self) -> Mapping[str, Any]:
        """The server's OpenAPI document."""
        return await self._do(calls.get_openapi())

    async def get_metrics(self) -> str:
        """The server's metrics in Prometheus' format; ApiError where there are none."""
        return await self._do(calls.get_metrics())
