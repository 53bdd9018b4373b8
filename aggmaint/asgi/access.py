"""Who may do what: the question that the door asks about every request, and the three answers there are.

Theory of operation. The host brings `authorize(request, org_id, permission)`; there is no default, so no door stands open
by omission. The answer is a member of `Access` and nothing else: True, None, a user object or a forgotten `return` are
errors, and an error denies (500). Members refuse to be used as truth values, because `if access:` would let everybody in.

UNAUTHENTICATED becomes 401: the caller should bring other credentials. DENIED becomes the very 404 that an unknown
organisation gets, so that nobody learns which organisations exist; the door sees to that, not the authoriser.
"""

from collections.abc import Awaitable
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Protocol

from ..core.ids import OrgId

if TYPE_CHECKING:
    from starlette.requests import Request


class Permission(StrEnum):
    """What a route needs: VIEW reads, MANAGE also starts and changes. Whoever may manage may view."""

    VIEW = "view"
    MANAGE = "manage"


class Access(Enum):
    """The verdict of an authoriser."""

    GRANTED = "granted"
    UNAUTHENTICATED = "unauthenticated"
    DENIED = "denied"

    def __bool__(self) -> bool:
        raise TypeError("an Access is no truth value; write `access is Access.GRANTED`")


class Authorize(Protocol):
    """Says whether the sender of `request` has `permission` for `org_id` (which may name no organisation at all).

    A coroutine function, or a plain function, which is called in a thread and may block. Called once per request, before
    anything about the organisation is read. An exception denies the request (500) and is logged.
    """

    def __call__(
        self, request: "Request", org_id: OrgId, permission: Permission, /
    ) -> "Access | Awaitable[Access]": ...


class Anonymous:
    """Grants everything to everybody. For a door that something else guards; hence to be named, never assumed."""

    async def __call__(self, request: "Request", org_id: OrgId, permission: Permission, /) -> Access:  # noqa: ARG002
        return Access.GRANTED
