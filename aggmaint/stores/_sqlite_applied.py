"""Which migrations of the SQLite store a file has seen: asked at each start, so without sqlite-utils, which takes a while.

sqlite-utils keeps the names of what was applied in a table of its own; only where one is missing is it imported, to apply it
(`_sqlite_schema.py`).
"""

import sqlite3
from typing import Final

SET: Final = "aggmaint"
KNOWN: Final = ("m001_first", "m002_uses")
"""The migrations of this version, in order; `_sqlite_schema.py` has them."""


def applied_migrations(connection: sqlite3.Connection) -> list[str]:
    """Names of what was applied to this database, in order; empty for a new one."""
    there = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlite_migrations'")
    if there.fetchone() is None:
        return []
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY rowid", (SET,))
    return [str(row[0]) for row in rows.fetchall()]
