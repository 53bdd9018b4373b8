"""The kit, tested: each broken store fails the check that is about its promise, and no check that is not.

By default the slow checks are left out where nothing is expected of them; `AGGMAINT_DEEP=1 pytest tests/testing` runs all.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aggmaint.testing import JobStoreSuite, Outcome
from aggmaint.testing._suite_sharing import SharingChecks
from aggmaint.testing.suite import check_names, run_check
from tests.testing.broken_answers import HidesTheRunningJob
from tests.testing.broken_commits import Milliseconds
from tests.testing.broken_stores import ALONE, FENCED, HANDLES, PROCESSES

DEEP = os.environ.get("AGGMAINT_DEEP") == "1"
SLOW = ("any_history", "many_organizations", "threads_", "readers_", "processes_", "killed_process")


def suite(factory: Callable[..., Any], location: Path) -> type[JobStoreSuite]:
    parts = {"factory": staticmethod(factory), "location": str(location), "histories_max": 3, "shrink": False}
    return type("BrokenSuite", (JobStoreSuite,), parts)


def worth_running(broken: Any, names: Iterator[str]) -> list[str]:
    """The quick checks, and the slow ones that the store is expected to fail."""
    expected = {*broken.FAILS, *getattr(broken, "MAY", ())}
    return [name for name in names if name.removeprefix("test_") in expected or not any(s in name for s in SLOW)]


def failing(broken: Any, factory: Callable[..., Any], location: Path, names: list[str]) -> dict[str, str]:
    results = [run_check(suite(factory, location), name) for name in names]
    return {each.name.removeprefix("test_"): each.reason for each in results if each.outcome is Outcome.FAILED}


def verify(broken: Any, found: dict[str, str]) -> None:
    may = set(getattr(broken, "MAY", ()))
    assert broken.FAILS[0] in found, f"{broken.__name__} is not noticed by {broken.FAILS[0]}"
    assert set(found) - may == set(broken.FAILS), found


@pytest.mark.parametrize("broken", ALONE, ids=lambda kind: str(kind.__name__))
def test_a_broken_store_fails_the_check_that_is_about_it(broken: Any, tmp_path: Path) -> None:
    def factory() -> Any:
        return broken()

    names = check_names(JobStoreSuite)
    if not DEEP:
        names = worth_running(broken, iter(names))
    names = [name for name in names if "any_history" not in name]
    verify(broken, failing(broken, factory, tmp_path, names))


@pytest.mark.parametrize("broken", FENCED + HANDLES, ids=lambda kind: str(kind.__name__))
def test_a_broken_handle_fails_the_check_that_is_about_it(broken: Any, tmp_path: Path) -> None:
    names = [name for name in check_names(JobStoreSuite) if name in vars(SharingChecks) or "fenced" in name]
    names = worth_running(broken, iter(names))
    verify(broken, failing(broken, broken, tmp_path, names))


@pytest.mark.parametrize("broken", PROCESSES, ids=lambda kind: str(kind.__name__))
def test_what_only_processes_show_fails_the_check_that_is_about_it(broken: Any, tmp_path: Path) -> None:
    names = [name for name in check_names(SharingChecks) if "process" in name]
    if not DEEP:
        names = worth_running(broken, iter(names))
    verify(broken, failing(broken, broken, tmp_path, names))


def test_every_check_has_a_store_that_fails_it() -> None:
    """Or says below why it needs none. No check is there for decoration."""
    broken = (*ALONE, *FENCED, *HANDLES, *PROCESSES)
    killed = {name for each in broken for name in each.FAILS}
    checks = {name.removeprefix("test_") for name in check_names(JobStoreSuite)}
    assert killed <= checks
    assert checks - killed == UNKILLED, sorted(checks - killed)


UNKILLED = {"load_gives_back_the_document_of_any_history"}
"""Killed by the test below: a random history is too slow for a table."""


@pytest.mark.parametrize("broken", [Milliseconds, HidesTheRunningJob])
def test_random_histories_find_what_is_lost(broken: Any, tmp_path: Path) -> None:
    def factory() -> Any:
        return broken()

    searching = suite(factory, tmp_path)
    searching.histories_max = 100
    assert run_check(searching, "test_load_gives_back_the_document_of_any_history").outcome is Outcome.FAILED
