"""`certify`: suite, machine and timings of one store, as one value that says whether it conforms.

A certificate names what was run: the store's class and version, the kit's, the seed. With the same seed the same examples
are tried (but for the threads and processes that race, which no seed can fix). It fails closed: a check that could not run
because of something that the store claims is a failure, and a capability without checks is one too.
"""

import json
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Any, Final

from attrs import asdict, frozen

from .. import __version__
from ..errors import InvalidValueError
from ..store import JobStore
from ._suite_base import takes_location
from ._suite_fences import claimed_capabilities
from .machine import run_store_machine
from .suite import CheckResult, JobStoreSuite, Outcome, run_check, run_suite
from .timings import Timings, measure

KIT_VERSION: Final = f"3 of aggmaint {__version__}"
"""The number of the set of checks, raised when a check is added or made stricter, and the library that it came with."""

MACHINE_NAME: Final = "agreement_with_the_memory_model_I21"
MACHINE_PROMISE: Final = (
    "Random operations, batches, retries and questions: every answer equals the memory model's (I21)."
)
SIGNS: Final = {Outcome.PASSED: "passed", Outcome.FAILED: "FAILED", Outcome.NOT_APPLICABLE: "n/a   "}


@frozen
class Effort:
    """How much a certificate tries."""

    seed: int = 0
    examples: int = 50
    steps: int = 50
    location: str | None = None
    timed: bool = True


@frozen
class Certificate:
    """What was found. `handles`: `many` if the factory takes a location, else `one`."""

    store: str
    store_version: str
    kit_version: str
    python: str
    seed: int
    machine: str
    handles: str
    capabilities: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    timings: Timings | None

    @property
    def passed(self) -> bool:
        return all(check.outcome is not Outcome.FAILED for check in self.checks)

    def counted(self, outcome: Outcome) -> int:
        return sum(check.outcome is outcome for check in self.checks)

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "passed": self.passed}, ensure_ascii=True, indent=2)

    def as_text(self) -> str:
        """The certificate as people read it."""
        handles = "many handles and processes" if self.handles == "many" else "a single handle only"
        verdict = "CONFORMS" if self.passed else "DOES NOT CONFORM"
        counts = ", ".join(f"{self.counted(outcome)} {outcome.value}" for outcome in Outcome)
        lines = [
            f"{self.store} {self.store_version}: {verdict}, checked for {handles}",
            f"kit {self.kit_version}, Python {self.python}, seed {self.seed}, machine {self.machine}",
            f"capabilities: {', '.join(self.capabilities) or 'none'}",
            f"checks: {counts}",
        ]
        lines += lines_of_checks(self.checks)
        if self.timings:
            lines.append(_timings_line(self.timings))
        return "\n".join(lines)


def lines_of_checks(checks: Sequence[CheckResult]) -> list[str]:
    """Each check with its outcome; of one that failed what was promised and what was found; why others do not apply."""
    lines = []
    for check in checks:
        lines.append(f"  {SIGNS[check.outcome]}  {check.name.removeprefix('test_')}")
        if check.reason and check.outcome is Outcome.FAILED:
            lines += [f"          promised: {check.promise}", *_indented(f"found: {check.reason}")]
    reasons = sorted({check.reason for check in checks if check.outcome is Outcome.NOT_APPLICABLE})
    return [*lines, *(f"not applicable: {reason}" for reason in reasons)]


def _indented(text: str, lines_max: int = 12) -> list[str]:
    return [f"          {line}" for line in text.splitlines()[:lines_max]]


def _timings_line(timings: Timings) -> str:
    return (
        f"timings: {timings.jobs_per_s:,.0f} jobs/s start to done, {timings.commits_per_s:,.0f} commits/s, "
        f"{timings.batched_per_s:,.0f} changes/s in batches of 500; find_due over {timings.orgs:,} organisations "
        f"{timings.idle_s * 1e3:.2f} ms idle, {timings.due_s * 1e3:.2f} ms due; a history page {timings.page_s * 1e3:.2f} ms"
    )


def suite_of(target: Any, effort: Effort) -> type[JobStoreSuite]:
    """The suite to run for a factory, or for a subclass of JobStoreSuite that has one."""
    parts: dict[str, Any] = {"seed": effort.seed, "location": effort.location}
    if isinstance(target, type) and issubclass(target, JobStoreSuite):
        return type("CertifiedSuite", (target,), parts)
    if not callable(target):
        raise InvalidValueError(f"{target!r} is no factory: give a function that makes a store, or a JobStoreSuite")
    return type("CertifiedSuite", (JobStoreSuite,), {**parts, "factory": staticmethod(target)})


def certify(target: Callable[..., JobStore] | type[JobStoreSuite], effort: Effort | None = None) -> Certificate:
    """Run everything on new stores of a factory (or of a suite's). Never raises for what a store does."""
    effort = effort or Effort()
    suite = suite_of(target, effort)
    checks = (*run_suite(suite), _machine_check(suite, effort))
    name, version, capabilities = _described(suite)
    passed = all(check.outcome is not Outcome.FAILED for check in checks)
    return Certificate(
        store=name,
        store_version=version,
        kit_version=KIT_VERSION,
        python=platform.python_version(),
        seed=effort.seed,
        machine=f"{effort.examples} × {effort.steps} steps",
        handles="many" if takes_location(suite.factory) else "one",
        capabilities=capabilities,
        checks=checks,
        timings=measure(suite.factory, location=effort.location) if effort.timed and passed else None,
    )


def _machine_check(suite: type[JobStoreSuite], effort: Effort) -> CheckResult:
    def agree(self: JobStoreSuite) -> None:
        run_store_machine(
            type(self).factory,
            examples=effort.examples,
            steps=effort.steps,
            seed_number=effort.seed,
            location=effort.location,
        )

    agree.__doc__ = MACHINE_PROMISE
    machine = type("CertifiedMachine", (suite,), {MACHINE_NAME: agree})
    return run_check(machine, MACHINE_NAME)


def _described(suite: type[JobStoreSuite]) -> tuple[str, str, tuple[str, ...]]:
    """The store's class, its version and what it claims; a factory that makes nothing has failed every check by now."""
    instance = suite()
    instance.setup_method()
    try:
        store = instance.make(instance.place() if instance.many_handles else None)
        kind = type(store)
        return f"{kind.__module__}.{kind.__qualname__}", version_of(kind), claimed_capabilities(store)
    except Exception as exc:
        return f"(no store: {type(exc).__name__})", "", ()
    finally:
        instance.teardown_method()


def version_of(kind: type) -> str:
    top = kind.__module__.partition(".")[0]
    own = getattr(sys.modules.get(top), "__version__", None)
    if own:
        return str(own)
    for distribution in metadata.packages_distributions().get(top, ()):
        return metadata.version(distribution)
    return "(no version)"


def find_target(name: str) -> Any:
    """What `module:factory` names. Raises InvalidValueError that says what is missing."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InvalidValueError(f"{name!r}: give module:factory, for example mypackage.stores:make_store")
    try:
        module = import_module(module_name)
    except ImportError as exc:
        raise InvalidValueError(f"{name!r}: the module can not be imported ({exc}); is it on PYTHONPATH?") from exc
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise InvalidValueError(f"{name!r}: the module {module_name} has no {attribute!r}") from None
