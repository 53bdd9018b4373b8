"""`JobStoreSuite`: every promise of the JobStore port as a named check, for any store.

With pytest, in a file of your tests:

    from aggmaint.testing import JobStoreSuite

    def make_store(location: str) -> MyStore:
        return MyStore(location)

    class TestMyStore(JobStoreSuite):
        factory = staticmethod(make_store)

or, for a certificate: `python -m aggmaint.testing certify mypackage.tests:make_store`.

Each check is a method whose docstring says what is promised; the docs list them (docs/reference/conformance.md). No check
needs a clock of its own: leases, decisions and instants are made relative to what the store's `load` tells.
"""

import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import pytest
from attrs import frozen

from ._suite_commits import CommitChecks
from ._suite_documents import DocumentChecks
from ._suite_due import DueChecks
from ._suite_fences import FenceChecks
from ._suite_history import HistoryChecks
from ._suite_sharing import SharingChecks


class JobStoreSuite(DocumentChecks, CommitChecks, HistoryChecks, DueChecks, SharingChecks, FenceChecks):
    """Subclass it, set `factory`, and pytest runs one test per promise.

    factory        `factory(location)`: a store on this place; the same location gives the same data, a new one an empty
                   store. The location is an empty directory of its own; a store on a server may use its name instead.
                   A factory without an argument gives a new, empty store, and gets the checks for a single handle only.
    seed           of the random histories (default 0).
    location       the directory in which places are made (default: the system's temporary one).
    histories_max  how many random histories are replayed.
    shrink         whether a history that fails is made as small as possible (slower, easier to read).
    """


class Outcome(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@frozen
class CheckResult:
    """What became of one check. `promise` is the check's docstring; `reason` says why it failed or does not apply."""

    name: str
    promise: str
    outcome: Outcome
    reason: str = ""


def check_names(suite: type) -> list[str]:
    """The checks of a suite, in the order in which they are written."""
    names: list[str] = []
    for kind in suite.__mro__:
        names += [name for name in vars(kind) if name.startswith("test_") and name not in names]
    return names


def promise_of(suite: type, name: str) -> str:
    return inspect.cleandoc(getattr(suite, name).__doc__ or "").splitlines()[0]


class Suite(Protocol):
    """What runs checks: pytest makes one instance for each, and so does `run_check`."""

    def setup_method(self) -> None: ...

    def teardown_method(self) -> None: ...


def run_check(suite: Callable[[], Suite], name: str) -> CheckResult:
    """Run one check in an instance of its own. Never raises for what is checked."""
    instance = suite()
    promise = promise_of(type(instance), name)
    instance.setup_method()
    try:
        getattr(instance, name)()
    except pytest.skip.Exception as exc:
        return CheckResult(name, promise, Outcome.NOT_APPLICABLE, str(exc.msg))
    except Exception as exc:
        words = [str(exc).strip() or "without a word", *getattr(exc, "__notes__", ())]
        first = "\n".join(words)
        reason = first if isinstance(exc, AssertionError) else f"{type(exc).__name__}: {first}"
        return CheckResult(name, promise, Outcome.FAILED, reason)
    finally:
        instance.teardown_method()
    return CheckResult(name, promise, Outcome.PASSED)


def run_suite(suite: type[Suite]) -> tuple[CheckResult, ...]:
    """All checks of a suite, one after the other."""
    return tuple(run_check(suite, name) for name in check_names(suite))
