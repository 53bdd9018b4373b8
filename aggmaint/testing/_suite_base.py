"""What the checks of `JobStoreSuite` stand on: a fresh place for each, the handles that it opened, and one driver.

Theory of operation. A *place* is what the factory's argument names: a directory of its own, empty at first. Each check gets
a fresh one, so that no check sees what another left, and a failing check says nothing about the next. A factory without an
argument makes a new, empty store with each call; then there is nothing to reopen and nobody to share with, and the checks
that need several handles say so (they are skipped, and a certificate lists them as not applicable).
"""

import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest

from ..core.ids import OrgId
from ..store import JobStore
from .driving import Driver

ACME, OTHER = OrgId("acme"), OrgId("other")
ONE_HANDLE = "the factory takes no location: two handles on the same data can not be made"


def takes_location(factory: Callable[..., JobStore]) -> bool:
    """Whether the factory is `factory(location)`: its first parameter can be given by position."""
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return any(parameter.kind in kinds for parameter in inspect.signature(factory).parameters.values())


class SuiteBase:
    """Fixtures of one check. pytest makes one instance for each test method; so does the certificate."""

    factory: ClassVar[Callable[..., JobStore]]
    seed: ClassVar[int] = 0
    location: ClassVar[str | None] = None
    histories_max: ClassVar[int] = 25
    shrink: ClassVar[bool] = True

    def setup_method(self) -> None:
        self._base = TemporaryDirectory(prefix="aggmaint-", dir=self.location, ignore_cleanup_errors=True)
        self._places = 0
        self._handles: list[JobStore] = []
        self._driver: Driver | None = None

    def teardown_method(self) -> None:
        for handle in self._handles:
            with suppress(Exception):  # closing is a check of its own
                handle.close()
        self._base.cleanup()

    # -- places and handles --

    def place(self) -> str:
        """A new location, with nothing in it."""
        self._places += 1
        place = Path(self._base.name) / f"place-{self._places}"
        place.mkdir()
        return str(place)

    def open(self, place: str | None = None) -> JobStore:
        """A prepared handle: on `place`, or on a new one."""
        store = self.make(place if place is not None or not self.many_handles else self.place())
        store.prepare()
        return store

    def make(self, place: str | None) -> JobStore:
        """A handle that is not prepared yet; closed after the check."""
        store: JobStore = self.factory(place) if self.many_handles else self.factory()
        self._handles.append(store)
        return store

    @property
    def many_handles(self) -> bool:
        if not hasattr(self, "factory"):
            raise TypeError(f"{type(self).__name__} needs a factory: `factory = staticmethod(make_store)`")
        return takes_location(self.factory)

    def need_many_handles(self) -> None:
        if not self.many_handles:
            pytest.skip(ONE_HANDLE)

    # -- one store, one driver --

    @property
    def driver(self) -> Driver:
        """A driver of the check's own store, in which `acme` and `other` are registered."""
        if self._driver is None:
            self._driver = Driver(self.open())
            self._driver.register(ACME, OTHER)
        return self._driver

    @property
    def store(self) -> JobStore:
        return self.driver.store

    def drive(self, store: JobStore, name: str, **parts: Any) -> Driver:
        return Driver(store, name, **parts)
