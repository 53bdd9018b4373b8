"""`certify_warehouse`: the suite of one warehouse, as one value that says whether it conforms.

It fails closed: a capability that is claimed and that the kit has no checks for is a failure. A bench that can not watch the
warehouse's statements leaves the checks that break them off out, and the certificate says so.
"""

import json
import platform
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

from attrs import asdict, fields, frozen

from ..errors import InvalidValueError
from .certificate import KIT_VERSION, lines_of_checks, version_of
from .suite import CheckResult, Outcome, run_suite
from .warehouse_bench import WarehouseBench
from .warehouse_suite import WarehouseSuite


@frozen
class WarehouseCertificate:
    """What was found of a warehouse. `watched`: whether its verbs were broken off at each of their statements."""

    warehouse: str
    warehouse_version: str
    kit_version: str
    python: str
    engine: str
    watched: bool
    capabilities: tuple[str, ...]
    checks: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.outcome is not Outcome.FAILED for check in self.checks)

    def counted(self, outcome: Outcome) -> int:
        return sum(check.outcome is outcome for check in self.checks)

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "passed": self.passed}, ensure_ascii=True, indent=2)

    def as_text(self) -> str:
        """The certificate as people read it."""
        how = (
            "broken off at every statement"
            if self.watched
            else "never broken off: the bench can not watch its statements"
        )
        counts = ", ".join(f"{self.counted(outcome)} {outcome.value}" for outcome in Outcome)
        return "\n".join(
            [
                f"{self.warehouse} {self.warehouse_version}: {'CONFORMS' if self.passed else 'DOES NOT CONFORM'}, {how}",
                f"kit {self.kit_version}, Python {self.python}, engine {self.engine}",
                f"capabilities: {', '.join(self.capabilities) or 'none'}",
                f"checks: {counts}",
                *lines_of_checks(self.checks),
            ]
        )


def certify_warehouse(
    target: Callable[[str], WarehouseBench] | type[WarehouseSuite], location: str | None = None
) -> WarehouseCertificate:
    """Run all checks on new benches of a factory (or of a suite's). Never raises for what a warehouse does."""
    suite = _suite_of(target, location)
    name, version, engine, capabilities, watched = _described(suite)
    return WarehouseCertificate(
        name, version, KIT_VERSION, platform.python_version(), engine, watched, capabilities, run_suite(suite)
    )


def _suite_of(target: Any, location: str | None) -> type[WarehouseSuite]:
    if isinstance(target, type) and issubclass(target, WarehouseSuite):
        return type("CertifiedSuite", (target,), {"location": location})
    if not callable(target):
        raise InvalidValueError(f"{target!r} is no factory: give a function that makes a bench, or a WarehouseSuite")
    return type("CertifiedSuite", (WarehouseSuite,), {"factory": staticmethod(target), "location": location})


def _described(suite: type[WarehouseSuite]) -> tuple[str, str, str, tuple[str, ...], bool]:
    """Class, version, engine and claims of the warehouse; one that can not be made fails every check."""
    with TemporaryDirectory(prefix="aggmaint-", dir=suite.location, ignore_cleanup_errors=True) as place:
        try:
            bench = suite.factory(place)
            watched = bench.watch(None)
            claims, kind = bench.warehouse.capabilities, type(bench.warehouse)
            bench.close()
        except Exception as exc:
            return f"(no warehouse: {type(exc).__name__})", "", "", (), False
    claimed = tuple(each.name for each in fields(type(claims)) if getattr(claims, each.name) is True)
    return f"{kind.__module__}.{kind.__qualname__}", version_of(kind), claims.engine, claimed, watched
