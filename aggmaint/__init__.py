"""aggmaint keeps every tenant's aggregate tables fresh, healthy and affordable, from inside your own application.

This is the menu of light names. Stores, schedulers, warehouses and the built-in task are imported by their path:
`aggmaint.stores.sqlite.SQLiteStore`, `aggmaint.warehouses.duckdb.DuckDBWarehouse`,
`aggmaint.maintenance.AggregateMaintenance`, `aggmaint.asgi.create_app`.
"""

from .clock import Clock, SystemClock
from .core.events import (
    Event,
    JobFinished,
    JobStarted,
    LeaseLapsed,
    RequestQueued,
    ScheduleStopped,
    SlotSkipped,
    SlotsMissed,
)
from .core.ids import JobId, OrgId, ScheduleId
from .core.job import ErrorInformation, FailureCode, Fence, JobStatus, MaintenanceJob, StepError
from .core.marks import ChangeMark
from .core.outcomes import IfBusy, Joined, Queued, RefusalReason, Refused, RequestOutcome, Started
from .core.schedule import Schedule
from .core.settings import JobSettings
from .core.trigger import CubeUpdate, Trigger
from .engine import Inventory, JobDetails, MaintenanceEngine
from .errors import AggmaintError
from .scheduler import Scheduler, Tick
from .store import JobStore
from .task import MaintenanceReport, MaintenanceTask, TaskContext

__version__ = "0.1.0"

__all__ = [
    "AggmaintError",
    "ChangeMark",
    "Clock",
    "CubeUpdate",
    "ErrorInformation",
    "Event",
    "FailureCode",
    "Fence",
    "IfBusy",
    "Inventory",
    "JobDetails",
    "JobFinished",
    "JobId",
    "JobSettings",
    "JobStarted",
    "JobStatus",
    "JobStore",
    "Joined",
    "LeaseLapsed",
    "MaintenanceEngine",
    "MaintenanceJob",
    "MaintenanceReport",
    "MaintenanceTask",
    "OrgId",
    "Queued",
    "RefusalReason",
    "Refused",
    "RequestOutcome",
    "RequestQueued",
    "Schedule",
    "ScheduleId",
    "ScheduleStopped",
    "Scheduler",
    "SlotSkipped",
    "SlotsMissed",
    "Started",
    "StepError",
    "SystemClock",
    "TaskContext",
    "Tick",
    "Trigger",
]
