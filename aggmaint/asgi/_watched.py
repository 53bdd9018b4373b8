"""A value read from a file, and read again when the file has changed: tokens and keys are changed while a server runs.

A file that can not be read any more, or that is wrong, changes nothing: what was read last stays, and the problem is logged
once for each state of the file. So an editor's half-saved file locks nobody out, and lets nobody in.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import ConfigurationError

T = TypeVar("T")
_log = logging.getLogger("aggmaint.asgi")


class Watched(Generic[T]):
    """`read(path)` raises ConfigurationError; so does the first reading here. Safe for threads; every call blocks."""

    def __init__(self, path: str | Path, read: Callable[[Path], T]) -> None:
        self._path = Path(path)
        self._read = read
        self._lock = threading.Lock()
        self._stamp = self._look()
        self.value: T = read(self._path)

    def refresh(self, *, forced: bool = False) -> T:
        """The value, read again if the file has changed since (or `forced`)."""
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp or forced:
                self._stamp = stamp  # taken before reading: a change meanwhile is another change
                try:
                    self.value = self._read(self._path)
                    _log.info("%s was read again", self._path)
                except ConfigurationError as exc:
                    _log.error("%s; what was read before still holds", exc.message)
            return self.value

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
