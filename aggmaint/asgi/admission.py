"""Who comes in: asks the host's authoriser about a request, and turns its verdict into what the caller is told.

One object for all families of routes. UNAUTHENTICATED is a 401 with `WWW-Authenticate: Bearer`; DENIED is the very 404 that
an unknown organisation gets. A verdict that is no member of `Access`, and an exception, deny (500). Who asks too often gets
429, whatever the verdict: it is charged to who was let in, else to the client's address (rates.py).
"""

import inspect
from collections.abc import Awaitable
from typing import Any, cast

from starlette.requests import Request

from ..core.ids import OrgId
from ..errors import AggmaintError
from ._replies import RequestError, hidden
from ._threads import Threads
from .access import Access, Authorize, Permission
from .rates import RateGuard


class InvalidVerdictError(AggmaintError, TypeError):
    """An authoriser must return a member of aggmaint.asgi.Access; the request was denied."""


class Admission:
    """Asks `authorize`: a coroutine function on the loop, a plain function in a thread."""

    def __init__(self, authorize: Authorize, threads: Threads, rates: RateGuard) -> None:
        self._authorize = authorize
        self._rates = rates
        self._threads = threads
        call = getattr(authorize, "__call__", None)  # noqa: B004 - a callable object may have a coroutine function
        self._is_async = inspect.iscoroutinefunction(authorize) or inspect.iscoroutinefunction(call)

    async def admit(self, request: Request, org_id: OrgId, permission: Permission) -> None:
        """Returns if the permission was granted. Raises RequestError: 401, 429, or 404 as for an unknown organisation."""
        verdict = await self.verdict(request, org_id, permission)
        self._rates.charge(request.scope, known=verdict is not Access.UNAUTHENTICATED, user=user_of(request))
        if verdict is Access.GRANTED:
            return
        if verdict is Access.DENIED:
            raise hidden()
        given = "authorization" in request.headers
        error = "the bearer token is invalid or expired" if given else "missing bearer token"
        raise RequestError(401, error, headers={"WWW-Authenticate": "Bearer"})

    def charge_address(self, request: Request) -> None:
        """Charge its address for a request that nobody is asked about: for an unknown path, or open to all.

        Raises RequestError (429).
        """
        self._rates.charge(request.scope, known=False)

    async def verdict(self, request: Request, org_id: OrgId, permission: Permission) -> Access:
        """What the authoriser says, for families that ask about many organisations. Raises InvalidVerdictError."""
        verdict: Any
        if self._is_async:
            verdict = await cast(Awaitable[Access], self._authorize(request, org_id, permission))
        else:
            verdict = await self._threads.run(self._authorize, request, org_id, permission)
            if inspect.isawaitable(verdict):
                verdict = await verdict
        if not isinstance(verdict, Access):
            raise InvalidVerdictError(
                f"authorize returned a {type(verdict).__name__}; it must return a member of aggmaint.asgi.Access. "
                "The request was denied"
            )
        return verdict


def user_of(request: Request) -> str | None:
    """Who the authoriser says has sent this: `request.state.aggmaint_user`."""
    state = request.scope.get("state")  # what `request.state` writes to; absent if nobody has written
    user = state.get("aggmaint_user") if isinstance(state, dict) else None
    return user if isinstance(user, str) and user else None
