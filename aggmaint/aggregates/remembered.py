"""What the SQL parser answered, kept so that a later process need not ask it again.

Theory of operation
-------------------
Importing sqlglot and parsing a first expression take longer than looking at a warehouse in which nothing changed. All that
is wanted of it are functions from texts to texts, names or flags. They are pure, so an answer that was given once can be
given again: `remembered` keeps it by the function's name, the dialect and the arguments. Whoever starts processes may
store the `answers` and `learn` them in the next one, as long as the very same code would give them (`_config_answers.py`).
What raises is not kept; an answer is a cache's, and losing it costs a parse.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from .dialects import DialectName

ANSWERS_MAX = 20_000
"""Beyond that no more are kept."""

T = TypeVar("T")

_ANSWERS: dict[str, Any] = {}


def remembered(function: Callable[..., T]) -> Callable[..., T]:
    """Keep the answers of a function of texts and a dialect, the last argument. It answers what JSON can hold."""

    @wraps(function)
    def asked(*arguments: str) -> T:
        dialect = arguments[-1]
        engine = type(dialect.dialect).__qualname__ if isinstance(dialect, DialectName) else ""
        key = "\x1f".join((function.__name__, engine, *arguments))
        if key in _ANSWERS:
            answer: T = _ANSWERS[key]
            return answer
        answer = function(*arguments)
        if len(_ANSWERS) < ANSWERS_MAX:
            _ANSWERS[key] = answer
        return answer

    return asked


def answers() -> Mapping[str, Any]:
    """All answers that are known."""
    return _ANSWERS


def learn(given: Mapping[str, Any]) -> None:
    """Take answers that the same code gave before."""
    _ANSWERS.update(given)
