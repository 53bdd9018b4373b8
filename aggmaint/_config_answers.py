"""The answers of the SQL parser (`aggregates/remembered.py`) in a file beside the job store, for the next process.

They are used only if the code that gave them is this one's to the byte: sqlglot's and that of `aggregates/`, by the names,
sizes and times of their files. A file that can not be read or written costs a parse, and is no error.
"""

import hashlib
import json
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

from .aggregates import remembered


def answers_path(store_path: Path) -> Path:
    return store_path.with_name(f"{store_path.name}.sql-answers.json")


def read_answers(store_path: Path) -> int:
    """Learn what was kept; how many answers."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(answers_path(store_path).read_text(encoding="utf-8"))
        if kept["code"] == _code():
            remembered.learn(dict(kept["answers"]))
            return len(kept["answers"])
    return 0


def keep_answers(store_path: Path, known: int) -> None:
    """Write the answers down, if there are others than the `known` ones that were read."""
    given = remembered.answers()
    if len(given) == known or not store_path.is_file():
        return
    path = answers_path(store_path)
    beside = path.with_name(f"{path.name}.{uuid4().hex[:8]}")
    with suppress(OSError):
        try:
            beside.write_text(json.dumps({"code": _code(), "answers": dict(given)}), encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def _code() -> str:
    """A digest of what gives the answers."""
    sqlglot = find_spec("sqlglot")
    places = [Path(each) for each in (sqlglot.submodule_search_locations or ()) if sqlglot] if sqlglot else []
    files = [file for place in places for file in sorted(place.glob("*.py"))]
    files += sorted(Path(remembered.__file__).parent.glob("*.py"))
    seen = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(seen).encode()).hexdigest()
