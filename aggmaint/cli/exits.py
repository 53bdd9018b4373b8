"""Exit codes, and which error ends with which. The first class that fits counts."""

from enum import IntEnum
from typing import Final

from ..errors import (
    AggmaintError,
    InvalidValueError,
    MissingExtraError,
    OrganizationNotFoundError,
    StoreSchemaError,
    WarehouseBusyError,
)


class Exit(IntEnum):
    OK = 0
    STEP_FAILED = 1
    USAGE = 2
    ALREADY_RUNNING = 3
    SCHEMA = 4
    WAREHOUSE_HELD = 5
    INTERRUPTED = 130


CODES: Final[tuple[tuple[type[AggmaintError], Exit], ...]] = (
    (WarehouseBusyError, Exit.WAREHOUSE_HELD),
    (StoreSchemaError, Exit.SCHEMA),
    (InvalidValueError, Exit.USAGE),
    (OrganizationNotFoundError, Exit.USAGE),
    (MissingExtraError, Exit.USAGE),
    (AggmaintError, Exit.STEP_FAILED),
)


def exit_code_of(error: AggmaintError) -> Exit:
    return next(code for kind, code in CODES if isinstance(error, kind))
