"""Bearer tokens from a file that may change while the server runs: a revoked token is refused within a second."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..clock import Clock, SystemClock
from ..core.ids import OrgId
from ._watched import Watched
from .access import Access, Permission
from .tokens import StaticTokens, load_tokens

if TYPE_CHECKING:
    from starlette.requests import Request

LOOK_EVERY_S: Final = 1.0


class TokenFile:
    """An authoriser over a token file, looked at for changes at most once a second, when a request comes.

    The first reading raises ConfigurationError, as `load_tokens` does; a later one that fails is logged and changes nothing.
    """

    def __init__(self, path: str | Path, *, clock: Clock | None = None, look_every_s: float = LOOK_EVERY_S) -> None:
        self._clock = clock or SystemClock()
        self._watched: Watched[StaticTokens] = Watched(path, lambda path: load_tokens(path, clock=self._clock))
        self._look_every_s = look_every_s
        self._look_at_s = self._clock.read().steady_s + look_every_s

    async def __call__(self, request: "Request", org_id: OrgId, permission: Permission, /) -> Access:
        now_s = self._clock.read().steady_s
        if now_s >= self._look_at_s:
            from starlette.concurrency import run_in_threadpool

            self._look_at_s = now_s + self._look_every_s
            await run_in_threadpool(self._watched.refresh)
        return await self._watched.value(request, org_id, permission)

    def reload(self) -> None:
        """Read the file now, changed or not: for a signal. Blocks."""
        self._watched.refresh(forced=True)
