"""Checks of optional abilities. A store that claims one which the kit can not check does not pass.

`Fences` is for stores in a database that the host's data shares. What the kit writes on the fenced connection is a row of a
table of its own, by `execute(sql, parameters)`, which sqlite3, DuckDB and psycopg connections all have; a store whose
connection speaks otherwise overrides `write_beside` and `read_beside`.
"""

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final, Protocol

import pytest

from ..core.ids import OrgId
from ..core.job import Fence
from ..errors import LeaseLostError, StoreError
from ..store import Fences, JobStore
from ._expect import PATIENCE_S, comes_true, equal, holds, raises
from ._suite_base import ACME, OTHER, SuiteBase
from .operations import Ask, Finish

CAPABILITIES: Final[dict[str, type]] = {"Fences": Fences}
"""The optional Protocols that this version of the kit has checks for."""

OBSERVED_S: Final = 0.2
"""How long a check watches for what must not happen."""


class _Rolled(Exception):
    """Raised by a check inside a fenced block."""


class Fenced(Protocol):
    """A store that has shown to be one and the other."""

    def fenced(self, org_id: OrgId, fence: Fence) -> Any: ...


def claimed_capabilities(store: object) -> tuple[str, ...]:
    """What a store says that it can (`capabilities`), and what it can by the looks of it."""
    said = getattr(store, "capabilities", ())
    names = [said] if isinstance(said, str) else [str(getattr(name, "__name__", name)) for name in said]
    looks = [name for name, protocol in CAPABILITIES.items() if isinstance(store, protocol)]
    return tuple(sorted({*names, *looks}))


class FenceChecks(SuiteBase):
    """capabilities, fenced."""

    def write_beside(self, connection: Any, text: str) -> None:
        """Write one row on the connection that `fenced` gave."""
        connection.execute("CREATE TABLE IF NOT EXISTS aggmaint_kit_beside(word TEXT)")
        connection.execute(f"INSERT INTO aggmaint_kit_beside VALUES('{text}')")

    def read_beside(self, connection: Any) -> Collection[str]:
        """The rows that are there, read on the connection that `fenced` gave."""
        connection.execute("CREATE TABLE IF NOT EXISTS aggmaint_kit_beside(word TEXT)")
        return [row[0] for row in connection.execute("SELECT word FROM aggmaint_kit_beside").fetchall()]

    def fencing_store(self) -> Any:
        if "Fences" not in claimed_capabilities(self.store):
            pytest.skip("the store does not claim Fences")
        return self.store

    def test_capabilities_are_known_to_the_kit(self) -> None:
        """Every ability that the store declares is one that this kit has checks for, and is really there."""
        store = self.open()
        for name in claimed_capabilities(store):
            holds(name in CAPABILITIES, f"the kit has no checks for the capability {name!r}, so nothing vouches for it")
            holds(isinstance(store, CAPABILITIES[name]), f"the store declares {name} and has not its methods")

    def beside(self, org_id: OrgId, fence: Fence) -> Collection[str]:
        with self.fencing_store().fenced(org_id, fence) as connection:
            return list(self.read_beside(connection))

    def test_fenced_commits_what_was_written_I8(self) -> None:
        """While the job is in progress and newest, what is written on the connection is committed when the block ends."""
        store, job = self.fencing_store(), self.driver.start(ACME)
        with store.fenced(ACME, job.fence) as connection:
            self.write_beside(connection, "kept")
        equal(self.beside(ACME, job.fence), ["kept"], "I8: what a fenced block wrote")
        self.driver.finish(ACME)

    def test_fenced_rolls_back_when_the_block_fails_I8(self) -> None:
        """Nothing of a block that raises is kept, its exception passes through, and the store can be used again."""
        store, job = self.fencing_store(), self.driver.start(ACME)

        def fail() -> None:
            with store.fenced(ACME, job.fence) as connection:
                self.write_beside(connection, "lost")
                raise _Rolled

        raises(_Rolled, fail, "the exception of a fenced block")
        equal(self.beside(ACME, job.fence), [], "I8: what a failed block left")
        self.driver.finish(ACME)

    def test_fenced_refuses_who_does_not_hold_the_job_I8(self) -> None:
        """LeaseLostError before the block begins: for an ended job, an older or other fence, a stranger (I7)."""
        store, driver = self.fencing_store(), self.driver
        old = driver.start(ACME)
        driver.finish(ACME)
        refused: list[tuple[str, OrgId, Fence]] = [("an ended job", ACME, old.fence)]
        for when, org_id, fence in refused:
            self._refuse(store, when, org_id, fence)
        job = driver.start(ACME)
        next_up, generation = Fence(job.fence.generation, job.fence.number + 1), Fence(9, job.fence.number)
        self._refuse(store, "an older fence", ACME, old.fence)
        self._refuse(store, "a fence that was never granted", ACME, next_up)
        self._refuse(store, "a fence of another generation", ACME, generation)
        self._refuse(store, "an organisation without a job", OTHER, job.fence)
        self._refuse(store, "an organisation that is not there", OrgId("unknown"), job.fence)
        equal(self.beside(ACME, job.fence), [], "I8: what refused blocks wrote")

    def _refuse(self, store: Fenced, who: str, org_id: OrgId, fence: Fence) -> None:
        def enter() -> None:
            with store.fenced(org_id, fence) as connection:
                self.write_beside(connection, "refused")

        raises(LeaseLostError, enter, f"I8: fenced for {who}")

    def test_fenced_holds_the_job_until_the_block_ends_I8(self) -> None:
        """No commit can end, rescue or follow the job while the block runs: it waits, or fails with nothing changed."""
        store, driver = self.fencing_store(), self.driver
        job = driver.start(ACME)
        finish = driver.change(ACME, Finish())
        ended = threading.Event()
        rival = _in_thread(lambda: self._end(driver.store, finish, ended))
        with store.fenced(ACME, job.fence) as connection:
            rival.start()
            holds(not comes_true(ended.is_set, OBSERVED_S), "I8: a job can not end while a fenced block runs")
            self.write_beside(connection, "before the end")
        rival.join(PATIENCE_S)
        holds(not rival.is_alive(), "the commit that waited for the block goes on when it has ended")
        if not ended.is_set():
            driver.finish(ACME)
        later = self.driver.start(ACME)
        equal(self.beside(ACME, later.fence), ["before the end"], "I8: what the block wrote")
        driver.do(ACME, Ask(free=False))

    def _end(self, store: JobStore, finish: Any, ended: threading.Event) -> None:
        with suppress(StoreError):  # a store may also refuse to wait
            store.commit([finish])
            ended.set()


def _in_thread(body: Callable[[], None]) -> threading.Thread:
    return threading.Thread(target=body, daemon=True)
