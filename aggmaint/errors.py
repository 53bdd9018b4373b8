"""Every exception that aggmaint raises on purpose.

One base class, `AggmaintError`. Each class: its docstring's first line is the default message, a second base makes
it catchable as the nearest builtin, the ids it is about are attributes, and `http_status` is the hint for an HTTP door.
Expected outcomes (busy, paused, slot taken) are values, not exceptions: see `aggmaint.core.outcomes`.
"""

from typing import ClassVar


class AggmaintError(Exception):
    """aggmaint could not do what was asked."""

    http_status: ClassVar[int] = 500

    def __init__(self, message: str | None = None) -> None:
        default = (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]
        super().__init__(message or default)

    @property
    def message(self) -> str:
        return str(self.args[0])


class InvalidValueError(AggmaintError, ValueError):
    """A value is not allowed here; the message names it and the remedy."""

    http_status = 400


class InvalidOrgIdError(InvalidValueError):
    """An organisation id is 1 to 255 characters without NUL or lone surrogates."""


class InvalidCronError(InvalidValueError):
    """The time expression is not one that aggmaint can run."""

    def __init__(self, expression: str, reason: str) -> None:
        super().__init__(f"time expression {expression!r}: {reason}")
        self.expression = expression
        self.reason = reason


class InvalidDefinitionError(InvalidValueError):
    """An aggregate definition is not usable; the message names the aggregate, the part and the remedy."""


class ConfigurationError(InvalidValueError):
    """The configuration is wrong; every problem is listed with its key and the remedy. Nothing was run."""

    http_status = 500

    def __init__(self, message: str | None = None, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class InvalidTransitionError(AggmaintError, RuntimeError):
    """A job in this status does not take this event."""

    http_status = 409


class OrganizationNotFoundError(AggmaintError, LookupError):
    """No such organisation is registered."""

    http_status = 404

    def __init__(self, org_id: str, message: str | None = None) -> None:
        usual = f"organisation {org_id!r} is not registered; call engine.register_organizations([{org_id!r}])"
        super().__init__(message or usual)
        self.org_id = org_id


class JobNotFoundError(AggmaintError, LookupError):
    """The organisation has no such job."""

    http_status = 404

    def __init__(self, org_id: str, job_id: str) -> None:
        super().__init__(f"organisation {org_id!r} has no job {job_id!r} (it may have been pruned)")
        self.org_id = org_id
        self.job_id = job_id


class ScheduleNotFoundError(AggmaintError, LookupError):
    """The organisation has no such schedule."""

    http_status = 404

    def __init__(self, org_id: str, schedule_id: str) -> None:
        super().__init__(f"organisation {org_id!r} has no schedule {schedule_id!r}")
        self.org_id = org_id
        self.schedule_id = schedule_id


class StopWorkError(AggmaintError, RuntimeError):
    """The task must stop now; base of the reasons why. A task lets it pass."""


class LeaseLostError(StopWorkError):
    """This worker no longer holds the job: it was rescued or ended elsewhere; its result is discarded."""

    http_status = 409

    def __init__(self, org_id: str, job_id: str) -> None:
        super().__init__(f"job {job_id} of {org_id!r} is no longer held by this worker; its result is discarded")
        self.org_id = org_id
        self.job_id = job_id


class JobCancelledError(StopWorkError):
    """Cancelling was asked for."""


class DeadlineExceededError(StopWorkError, TimeoutError):
    """The job reached its deadline."""


class ShutdownError(StopWorkError):
    """The process is shutting down."""


class TaskFailedError(AggmaintError, RuntimeError):
    """The maintenance could not run at all; `cause` is a stable word for machines.

    A task raises it when a step without which nothing can go on (observe, claim) was impossible. Findings and single
    failed publishes are no reason to raise: they make the report incomplete.
    """

    def __init__(self, message: str | None = None, *, cause: str | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class StoreError(AggmaintError):
    """The job store failed."""

    http_status = 503


class StoreUnavailableError(StoreError, ConnectionError):
    """The job store can not be reached or read; nothing was changed by this call."""


class StoreSchemaError(StoreError, RuntimeError):
    """The job store's schema is not the one this version of aggmaint works with."""


class UnknownOutcomeError(StoreError, RuntimeError):
    """It is not known whether the last change was committed; ask for the present state before you repeat it."""


class ContentionError(StoreError, TimeoutError):
    """Too many writers changed the same organisation at the same time; try again."""


class WarehouseError(AggmaintError):
    """The warehouse failed."""

    http_status = 503


class WarehouseUnavailableError(WarehouseError, ConnectionError):
    """The warehouse can not be reached; nothing in it was changed or condemned."""


class WarehouseBusyError(WarehouseUnavailableError):
    """Another process holds the warehouse file."""

    def __init__(self, message: str | None = None, *, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class WarehouseQueryError(WarehouseError, RuntimeError):
    """The warehouse refused a statement; the message is the warehouse's own, shortened."""

    def __init__(self, message: str | None = None, *, definition_id: str | None = None) -> None:
        super().__init__(message)
        self.definition_id = definition_id


class GateError(WarehouseQueryError):
    """What was computed did not pass the gate before its publish; nothing of it was published."""


class MergeError(WarehouseQueryError):
    """New rows can not be merged into what is published; nothing was published. Computing it anew is another matter."""


class WarehouseInterruptedError(WarehouseError, RuntimeError):
    """A statement of the warehouse was interrupted, because its job must stop; nothing of it is there."""


class FenceLostError(WarehouseError, RuntimeError):
    """A newer job has claimed the aggregate schema; this publish was rolled back."""

    http_status = 409


class ForeignSchemaError(WarehouseError, PermissionError):
    """The aggregate schema belongs to another installation or organisation; nothing was written."""


class LedgerLostError(WarehouseError, LookupError):
    """The ledger of aggregates is gone, or a part of it; nothing was judged by what is left."""


class MissingExtraError(AggmaintError, ImportError):
    """An optional dependency is missing."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} is not installed; run: pip install 'aggmaint[{extra}]'")
        self.module = module
        self.extra = extra


class ApiError(AggmaintError):
    """The HTTP API of another process could not do what was asked."""

    http_status = 502

    def __init__(self, message: str | None = None, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ApiAuthenticationError(ApiError, PermissionError):
    """The HTTP API wants a valid token; give the client one."""


class ApiUnavailableError(ApiError, ConnectionError):
    """The HTTP API does not answer, or can not do anything at the moment; it is not known whether a change was made."""


class ApiRateLimitError(ApiError):
    """The HTTP API was asked too often; nothing was done. Ask again after `retry_after_s`."""

    def __init__(self, message: str | None = None, *, retry_after_s: float | None = None) -> None:
        super().__init__(message, status=429)
        self.retry_after_s = retry_after_s


class ApiProtocolError(ApiError, ValueError):
    """What answered is not this API; check the base URL."""
