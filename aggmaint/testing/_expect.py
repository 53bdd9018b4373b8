"""How a check says what was promised and what was found instead.

Not `assert`: the kit also runs outside pytest, where a bare assert has no words, and under `python -O`, where there is none.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from attrs import fields, has

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

PATIENCE_S = 30.0
"""How long a check waits for what must come. Only a failing check waits so long."""


class CheckFailedError(AssertionError):
    """A promise of the port is not kept; the message says which and how."""


def holds(condition: object, promise: str) -> None:
    if not condition:
        raise CheckFailedError(promise)


def equal(found: object, wanted: object, promise: str) -> None:
    if found != wanted:
        raise CheckFailedError(f"{promise}: {difference(found, wanted)}")


def present(value: T | None, promise: str) -> T:
    if value is None:
        raise CheckFailedError(f"{promise}: nothing was found")
    return value


def raises(kind: type[E], call: Callable[[], object], promise: str) -> E:
    """The exception of this kind that `call` raises. Other exceptions pass through."""
    try:
        answer = call()
    except kind as exc:
        return exc
    raise CheckFailedError(f"{promise}: {kind.__name__} was not raised; the answer was {shorten(answer)}")


def comes_true(condition: Callable[[], object], within_s: float | None = None) -> bool:
    """Poll `condition` until it is true; False if it is not within the time (None: PATIENCE_S)."""
    give_up_at = time.monotonic() + (PATIENCE_S if within_s is None else within_s)
    while not condition():
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(0.001)
    return True


def until(condition: Callable[[], object], promise: str) -> None:
    holds(comes_true(condition), f"{promise} (waited {PATIENCE_S:g} s)")


def difference(found: object, wanted: object) -> str:
    """Where two values part: the fields, keys or places that differ, down to the first plain values."""
    return "; ".join(_differences("", found, wanted)[:5]) or "they differ"


def _differences(path: str, found: Any, wanted: Any) -> list[str]:
    if found == wanted:
        return []
    if type(found) is type(wanted):
        if has(type(wanted)):
            names = [attribute.name for attribute in fields(type(wanted))]
            return _of_parts([(f"{path}.{n}", getattr(found, n), getattr(wanted, n)) for n in names])
        if isinstance(wanted, dict) and found.keys() == wanted.keys():
            return _of_parts([(f"{path}[{key!r}]", found[key], wanted[key]) for key in wanted])
        if isinstance(wanted, list | tuple) and len(found) == len(wanted):
            pairs = zip(found, wanted, strict=True)
            return _of_parts([(f"{path}[{n}]", one, other) for n, (one, other) in enumerate(pairs)])
    where = f"{path.lstrip('.')}: " if path else ""
    return [f"{where}found {shorten(found)} instead of {shorten(wanted)}"]


def _of_parts(parts: list[tuple[str, Any, Any]]) -> list[str]:
    return [line for path, found, wanted in parts for line in _differences(path, found, wanted)]


def shorten(value: object, characters_max: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= characters_max else f"{text[:characters_max]}… ({len(text)} characters)"
