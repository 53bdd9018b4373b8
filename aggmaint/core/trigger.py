"""What asked for a job: the wire's `triggerType`, parsed and formatted without loss.

The published form is `Name` or `Name(Argument)` (spec/domain.md, 2.3). Readers meet strings that nobody foresaw, so an
unknown string is kept as it is and formats to the very same text. The *kind* decides what the trigger does while a job
runs (design/jobs.md, Overlap); the *strength* decides which trigger names the job when several requests fold into one.
"""

import re
from enum import StrEnum
from typing import Final

from attrs import frozen

_FORM = re.compile(r"([A-Za-z]+)(?:\(([A-Za-z]+)\))?", re.ASCII)


class TriggerKind(StrEnum):
    TIME = "time"
    CUBE_UPDATE = "cube_update"
    MANUAL = "manual"
    OTHER = "other"


class CubeUpdate(StrEnum):
    """How a cube changed; the argument of `CubeUpdateMaintenance(…)`."""

    FIRST_TIME_CUBE_PROCESSED = "FirstTimeCubeProcessed"
    STATIC_CUBE_UPDATED = "StaticCubeUpdated"
    DYNAMIC_CUBE_UPDATED = "DynamicCubeUpdated"


@frozen
class Trigger:
    """A parsed trigger type. `str(trigger)` is the wire text; `Trigger.parse` is its inverse."""

    name: str
    argument: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Trigger":
        """Never raises: a text outside the published form becomes a name of its own."""
        match = _FORM.fullmatch(text)
        return cls(match[1], match[2]) if match else cls(text)

    def __str__(self) -> str:
        return self.name if self.argument is None else f"{self.name}({self.argument})"

    @property
    def kind(self) -> TriggerKind:
        return KIND_BY_NAME.get(self.name, TriggerKind.OTHER)

    @property
    def strength(self) -> int:
        """Higher wins when requests fold (jobs.md, Noticing and claiming)."""
        return STRENGTH.get(str(self), 0)


MANUAL: Final = Trigger("ManualMaintenance")
TIME_BASED: Final = Trigger("TimeBasedMaintenance")
PERIODIC: Final = Trigger("PeriodicMaintenance")

KIND_BY_NAME: Final = {
    "ManualMaintenance": TriggerKind.MANUAL,
    "TimeBasedMaintenance": TriggerKind.TIME,
    "PeriodicMaintenance": TriggerKind.TIME,
    "CubeUpdateMaintenance": TriggerKind.CUBE_UPDATE,
}


def cube_update_trigger(change: CubeUpdate) -> Trigger:
    return Trigger("CubeUpdateMaintenance", change.value)


STRENGTH: Final = {
    str(MANUAL): 5,
    str(cube_update_trigger(CubeUpdate.FIRST_TIME_CUBE_PROCESSED)): 4,
    str(cube_update_trigger(CubeUpdate.STATIC_CUBE_UPDATED)): 3,
    str(cube_update_trigger(CubeUpdate.DYNAMIC_CUBE_UPDATED)): 2,
    str(TIME_BASED): 1,
    str(PERIODIC): 1,
}
