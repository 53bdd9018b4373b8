"""Typed clients for the HTTP API of another process, over httpx (the extra `client`): one sync, one async, else alike."""

from ._calls import AggregateQuery
from ._conversation import Retries
from ._results import (
    AggregateDefinitionInfo,
    AggregateInstanceInfo,
    DefinitionPage,
    DefinitionStats,
    InstancePage,
    InstanceStats,
    JobHistory,
    Readiness,
    RunAnswer,
    RunOutcome,
)
from .asynchronous import AsyncMaintenanceClient
from .synchronous import MaintenanceClient

__all__ = [
    "AggregateDefinitionInfo",
    "AggregateInstanceInfo",
    "AggregateQuery",
    "AsyncMaintenanceClient",
    "DefinitionPage",
    "DefinitionStats",
    "InstancePage",
    "InstanceStats",
    "JobHistory",
    "MaintenanceClient",
    "Readiness",
    "Retries",
    "RunAnswer",
    "RunOutcome",
]
