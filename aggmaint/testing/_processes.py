"""Child processes that work on a store with the factory's own handle, and do what their parent says, word by word.

Theory of operation. A child is spawned, not forked: it makes its handle from the factory and the location alone, as another
process of a host would. Parent and child talk through a pipe; a barrier lets several children begin at the same instant. A
child whose parent is gone reads the end of the pipe and leaves.
"""

import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any, Final

from ..core.organization import OrgChange
from ..store import Committed, JobStore
from ._expect import PATIENCE_S, CheckFailedError, holds
from .driving import Driver
from .operations import Update

SPAWN: Final = multiprocessing.get_context("spawn")
COUNTED: Final = Update(free=False, cube="counted")


def count_up(driver: Driver, org_id: str) -> int:
    """Add one to a number in the document, until it is committed; the revision that holds it."""
    while True:
        change = driver.change(org_id, COUNTED)
        result = driver.commit(change)
        if isinstance(result, Committed):
            return result.revision


def _work(store: JobStore, driver: Driver, word: str, values: Sequence[Any], barrier: Barrier | None) -> Any:
    if word == "prepare":
        _meet(barrier)
        store.prepare()
        return "prepared"
    if word == "commit":
        change: OrgChange = values[0]
        _meet(barrier)
        return driver.commit(driver.stamped(change))
    org_id, times = values
    _meet(barrier)
    return [count_up(driver, org_id) for _ in range(times)]


def _meet(barrier: Barrier | None) -> None:
    if barrier is not None:
        barrier.wait(PATIENCE_S)


def _serve(
    pipe: Connection, factory: Callable[..., JobStore], location: str, name: str, barrier: Barrier | None
) -> None:
    store = factory(location)
    driver = Driver(store, name)
    while True:
        try:
            word, *values = pipe.recv()
        except EOFError:
            return
        if word == "stop":
            store.close()
            return
        if word == "forever":
            while True:
                pipe.send(count_up(driver, values[0]))
        try:
            pipe.send(("answer", _work(store, driver, word, values, barrier)))
        except Exception as exc:  # told to the parent, whose check it fails
            pipe.send(("failed", f"{type(exc).__name__}: {exc}"))


class Child:
    """A process with a handle of its own."""

    def __init__(self, factory: Callable[..., JobStore], location: str, name: str, barrier: Barrier | None) -> None:
        self.pipe, theirs = SPAWN.Pipe()
        arguments = (theirs, factory, location, name, barrier)
        self.process = SPAWN.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def say(self, *words: Any) -> None:
        self.pipe.send(words)

    def hear(self) -> Any:
        """The answer to what was said last. Raises CheckFailedError if the child failed or is silent."""
        kind, value = self.receive()
        if kind == "failed":
            raise CheckFailedError(f"another process failed: {value}")
        return value

    def receive(self) -> Any:
        holds(self.pipe.poll(2 * PATIENCE_S), "another process answers")
        try:
            return self.pipe.recv()
        except EOFError:
            raise CheckFailedError("another process ended by itself") from None

    def kill(self) -> None:
        self.process.kill()
        self.process.join(PATIENCE_S)

    def stop(self) -> None:
        if self.process.is_alive():
            self.say("stop")
            self.process.join(2.0)
        if self.process.is_alive():
            self.kill()
        self.pipe.close()


@contextmanager
def children(factory: Callable[..., JobStore], location: str, count: int) -> Iterator[list[Child]]:
    """So many processes on one location, with a barrier at which each piece of work begins."""
    try:
        pickle.dumps(factory)
    except Exception as exc:
        raise CheckFailedError(
            f"the factory can not be sent to another process; define it in a module ({exc})"
        ) from exc
    barrier = SPAWN.Barrier(count) if count > 1 else None
    started = [Child(factory, location, f"child-{number}", barrier) for number in range(count)]
    try:
        yield started
    finally:
        for child in started:
            child.stop()
