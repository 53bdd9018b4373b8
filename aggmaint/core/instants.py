"""Time as an argument: what a store's clock says, and helpers for aware UTC instants.

Three readings travel together because they answer different questions:

* `wall_at` is for people and for schedules. It may jump (NTP, an operator's hand).
* `steady_s` only grows, at one second per second, in every process of one machine. Leases and deadlines are judged by
  it, so that a jump of the wall clock neither ends nor lengthens a job.
* `boot` names the life of that steady clock. A lease written in another life has lapsed: nobody can still hold it.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import Attribute, field, frozen

from ..errors import InvalidValueError

DECISION_AGE_MAX_S = 5.0
"""A change decided on a reading older than this is refused as stale: the facts it was decided on are too old."""

WALL_STEP_MAX_S = 5.0
"""So is one decided before the wall clock was stepped by more than this: slots that were due may lie in the future now."""


def require_utc(_instance: Any, attribute: "Attribute[Any]", value: datetime | None) -> None:
    """attrs validator: an instant is aware and in UTC (or absent, where the type allows it)."""
    if value is not None and value.utcoffset() != timedelta(0):
        raise InvalidValueError(
            f"{attribute.name}={value!r} is not an aware UTC instant; use datetime.now(timezone.utc)"
        )


@frozen
class StoreTime:
    """One reading of the clock that decides: the store's own."""

    wall_at: datetime = field(validator=require_utc)
    steady_s: float
    boot: str

    def age_s(self, later: "StoreTime") -> float:
        """Seconds of steady time from this reading to `later`; infinite across a reboot."""
        return later.steady_s - self.steady_s if later.boot == self.boot else float("inf")

    def step_s(self, later: "StoreTime") -> float:
        """By how many seconds the wall clock was stepped from this reading to `later`; infinite across a reboot."""
        return abs((later.wall_at - self.wall_at).total_seconds() - self.age_s(later))


def epoch_s(instant: datetime) -> int:
    """The instant's whole UTC epoch second, rounded down."""
    return int(instant.timestamp() // 1)


def from_epoch_s(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
