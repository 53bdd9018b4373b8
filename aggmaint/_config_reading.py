"""Reading a configuration so that every problem is found at once, each with its key and the remedy.

Theory of operation. A `Section` wraps one table of the TOML document. Each value is taken by key with the type that is
wanted; a wrong one is noted and a harmless stand-in returned, so that reading goes on. When a section is done, keys that
nobody asked for are noted too, with the nearest known one. Nothing is used until the list of problems is empty.
`${NAME}` in a text stands for an environment variable; `$${` for a literal `${`.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|(\$\{)")


class Problems:
    """The problems found so far, in the order of the document."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, key: str, what: str) -> None:
        self.found.append(f"{key}: {what}")


class Section:
    """One table of the document. `name` is its full key, for messages."""

    def __init__(self, data: Any, name: str, problems: Problems, environment: Mapping[str, str]) -> None:
        self.name = name
        self.problems = problems
        self._environment = environment
        self._data: Mapping[str, Any] = data if isinstance(data, dict) else {}
        self._asked: set[str] = set()
        if not isinstance(data, dict):
            problems.add(name, f"must be a table, not {data!r}")

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def key(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def raw(self, key: str) -> Any:
        self._asked.add(key)
        return self._data.get(key)

    def text(self, key: str, default: str | None = None) -> str | None:
        """A text that is not empty, with `${NAME}` filled in; `default` if absent."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip():
            self.problems.add(self.key(key), f"must be a text that is not empty, not {value!r}")
            return default
        return self.expand(self.key(key), value)

    def required_text(self, key: str, remedy: str) -> str:
        if key not in self._data:
            self.problems.add(self.key(key), f"is missing; {remedy}")
        return self.text(key) or ""

    def number(self, key: str, default: float) -> float:
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.problems.add(self.key(key), f"must be a number, not {value!r}")
            return default
        return value

    def integer(self, key: str, default: int) -> int:
        value = self.number(key, default)
        if value != int(value):
            self.problems.add(self.key(key), f"must be a whole number, not {value!r}")
        return int(value)

    def boolean(self, key: str, default: bool) -> bool:
        value = self.raw(key)
        if value is not None and not isinstance(value, bool):
            self.problems.add(self.key(key), f"must be true or false, not {value!r}")
            return default
        return default if value is None else value

    def items(self, key: str) -> list[Any]:
        value = self.raw(key)
        if value is not None and not isinstance(value, list):
            self.problems.add(self.key(key), f"must be a list in [ ], not {value!r}")
            return []
        return value or []

    def section(self, key: str) -> "Section":
        """The table under `key`; an empty one if absent."""
        value = self.raw(key)
        return self.sub({} if value is None else value, key)

    def sections(self, key: str) -> list["Section"]:
        """The tables of an array of tables (`[[key]]`)."""
        return [self.sub(item, f"{key}[{number}]") for number, item in enumerate(self.items(key), 1)]

    def sub(self, data: Any, key: str) -> "Section":
        return Section(data, self.key(key), self.problems, self._environment)

    def names(self) -> list[str]:
        """All keys, for tables whose keys are names that the user gives."""
        self._asked.update(self._data)
        return list(self._data)

    def finish(self, also_known: Collection[str] = ()) -> None:
        """Note the keys that nobody asked for."""
        known = self._asked | set(also_known)
        for key in self._data:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
                self.problems.add(self.key(key), f"is not a known key; {hint}")

    def expand(self, key: str, value: str) -> str:
        def fill(match: re.Match[str]) -> str:
            if match[1]:
                return "${"
            if match[3]:
                self.problems.add(
                    key, f"{value!r}: '${{' must be followed by a name and '}}'; write $${{ for a literal one"
                )
                return ""
            if match[2] not in self._environment:
                self.problems.add(
                    key, f"environment variable {match[2]} is not set; export it, or write $${{ for a literal"
                )
            return self._environment.get(match[2], "")

        return _VARIABLE.sub(fill, value)
