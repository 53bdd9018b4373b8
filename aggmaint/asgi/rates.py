"""How often somebody may ask: a guard against clients that hammer, not against floods from everywhere.

Theory of operation. The generic cell rate algorithm: for each key one number, the instant at which its bucket would be full
again if nothing more came. A request moves it by 1/rate; it is refused while that would put it more than a burst ahead. No
timers, no windows at whose edge twice as much passes.

The key is *who was let in*: the name that the authoriser gave, else the token's digest. Whoever was not let in is known by
address only (an IPv6 address by its /64, which one subscriber has whole), so guessing tokens spends one bucket, and does
not spend those of the tokens. Keys are kept in memory, the least recently used go first, and each process counts for itself:
with n processes behind a balancer a client has n buckets.
"""

import hashlib
import ipaddress
import math
from collections import OrderedDict
from typing import Any, Final

from attrs import frozen

from ..clock import Clock, SystemClock
from ..errors import InvalidValueError
from ._replies import RequestError

KEYS_MAX: Final = 10_000


@frozen
class RateLimit:
    """`requests_per_s` in the long run, and `burst` of them at once."""

    requests_per_s: float
    burst: int

    def __attrs_post_init__(self) -> None:
        if not 0 < self.requests_per_s < math.inf or self.burst < 1:
            raise InvalidValueError(
                f"a rate limit of {self.requests_per_s} requests per second and bursts of {self.burst} lets nobody in; "
                "give numbers above 0"
            )


def arrive(full_at_s: float, now_s: float, limit: RateLimit) -> tuple[float, float]:
    """One request at `now_s`: the bucket's new instant, and how many seconds too early it came (0: it is accepted)."""
    step_s = 1 / limit.requests_per_s
    moved = max(full_at_s, now_s) + step_s
    early_s = moved - now_s - limit.burst * step_s
    return (full_at_s, early_s) if early_s > 1e-9 else (moved, 0.0)


class RateGuard:
    """Counts requests by key. For one event loop; None as limit counts nothing."""

    def __init__(self, limit: RateLimit | None, *, clock: Clock | None = None, keys_max: int = KEYS_MAX) -> None:
        self._limit = limit
        self._clock = clock or SystemClock()
        self._keys_max = keys_max
        self._full_at_s: OrderedDict[str, float] = OrderedDict()

    def charge(self, scope: Any, *, known: bool, user: str | None = None) -> None:
        """Raises RequestError (429) when this sender has asked too often. `known`: the authoriser let the sender in."""
        if self._limit is None:
            return
        key = sender_key(scope, known=known, user=user)
        now_s = self._clock.read().steady_s
        moved, early_s = arrive(self._full_at_s.get(key, now_s), now_s, self._limit)
        self._full_at_s[key] = moved
        self._full_at_s.move_to_end(key)
        if len(self._full_at_s) > self._keys_max:
            self._full_at_s.popitem(last=False)
        if early_s:
            wait_s = str(math.ceil(early_s))
            raise RequestError(
                429,
                f"too many requests; ask again in {wait_s} s, and at most {self._limit.requests_per_s:g} times per second",
                headers={"Retry-After": wait_s},
            )


def sender_key(scope: Any, *, known: bool, user: str | None) -> str:
    if known and user is not None:
        return f"user {user}"
    if known:
        for name, value in scope["headers"]:
            if name == b"authorization":
                return f"token {hashlib.sha256(value).hexdigest()}"
    return f"client {_client(scope)}"


def _client(scope: Any) -> str:
    address = (scope.get("client") or ("unknown",))[0]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return str(address)
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
