"""The honest stores as factories of a module, as a host writes them: for pytest, the certificate and child processes."""

from pathlib import Path

from aggmaint.stores.memory import MemoryStore
from aggmaint.stores.sqlite import SQLiteStore
from tests.testing.broken_sharing import ClaimsWhatNobodyChecks


def make_memory() -> MemoryStore:
    return MemoryStore()


def make_sqlite(location: str) -> SQLiteStore:
    return SQLiteStore(Path(location) / "jobs.db")


def make_quick_sqlite(location: str) -> SQLiteStore:
    """Not safe against a power cut, which no test here makes."""
    return SQLiteStore(Path(location) / "jobs.db", synchronous="NORMAL")


def make_boastful() -> ClaimsWhatNobodyChecks:
    return ClaimsWhatNobodyChecks()


def make_nothing() -> MemoryStore:
    raise OSError("no disk")
