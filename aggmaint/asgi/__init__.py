"""The HTTP door: the published Aggregate Maintenance API over an engine.

This is the menu. Importing it costs no Starlette and no uvicorn; `create_app` and `serve` import them when called, and
raise MissingExtraError with the remedy when they are not installed.
"""

from .access import Access, Anonymous, Authorize, Permission
from .app import create_app
from .dashboard import Dashboard
from .families import Mounted
from .jwt_tokens import JwtClaims, JwtVerifier
from .metrics import Metrics
from .rates import RateLimit
from .serving import LOOPBACK_HOSTS, BindError, is_loopback, serve
from .token_file import TokenFile
from .tokens import StaticTokens, Token, hash_token, load_tokens
from .wire import WireEnvelope, WireHistoryPage, WireJob, job_to_wire
from .wire_schedules import WireExecution, WireSchedule

__all__ = [
    "LOOPBACK_HOSTS",
    "Access",
    "Anonymous",
    "Authorize",
    "BindError",
    "Dashboard",
    "JwtClaims",
    "JwtVerifier",
    "Metrics",
    "Mounted",
    "Permission",
    "RateLimit",
    "StaticTokens",
    "Token",
    "TokenFile",
    "WireEnvelope",
    "WireExecution",
    "WireHistoryPage",
    "WireJob",
    "WireSchedule",
    "create_app",
    "hash_token",
    "is_loopback",
    "job_to_wire",
    "load_tokens",
    "serve",
]
