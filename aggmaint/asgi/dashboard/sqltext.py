"""SQL for reading: broken into lines and marked up, without a parser.

Only what is safe to do by looking at words: strings, quoted names and numbers are told apart, a line begins before each
clause at the outer level, and after each comma of the outermost list. What is not understood stays as it is, so the text
without white space is always the text that was given.
"""

import re
from collections.abc import Iterator
from typing import Final

from attrs import frozen

_TOKEN: Final = re.compile(
    r"""(?P<string>'(?:[^']|'')*'?)|(?P<name>"(?:[^"]|"")*"?)|(?P<number>\b\d+(?:\.\d+)?\b)"""
    r"""|(?P<word>[^\W\d]\w*)|(?P<space>\s+)|(?P<sign>.)""",
    re.DOTALL,
)
_CLAUSES: Final = frozenset({"FROM", "WHERE", "GROUP", "ORDER", "HAVING", "INNER", "LEFT", "UNION", "JOIN"})
_KEYWORDS: Final = _CLAUSES | frozenset(
    {"SELECT", "AS", "BY", "ON", "AND", "OR", "NOT", "IN", "IS", "NULL", "CASE", "WHEN", "THEN", "ELSE", "END"}
    | {"DISTINCT", "FILTER", "CAST", "BETWEEN", "LIKE", "INTERVAL", "TRUE", "FALSE", "DATE", "OUTER", "CROSS", "USING"}
    | {"ASC", "DESC", "LIMIT", "TIMESTAMP"}
)
_CALLED: Final = frozenset(
    {
        "SUM",
        "COUNT",
        "MIN",
        "MAX",
        "AVG",
        "ABS",
        "DATE_TRUNC",
        "COALESCE",
        "NULLIF",
        "STRFTIME",
        "YEAR",
        "MONTH",
        "QUARTER",
    }
)


@frozen
class Token:
    """A piece of text with its kind: a CSS class, or empty for what is plain."""

    text: str
    kind: str


def tokens(sql: str) -> tuple[Token, ...]:
    return tuple(_laid_out(sql))


def _laid_out(sql: str) -> Iterator[Token]:
    depth, before, listing = 0, "", False
    for match in _TOKEN.finditer(sql):
        kind, text = match.lastgroup or "sign", match.group()
        upper = text.upper()
        if kind == "space":
            following = _following_word(sql, match.end())
            if depth == 0 and following in _CLAUSES and before not in ("INNER", "LEFT", "OUTER", "CROSS"):
                text, listing = "\n", False
            else:
                text = "\n  " if depth == 0 and listing and before in (",", "SELECT") else " "
        elif kind == "sign" and text in "()":
            depth = max(0, depth + (1 if text == "(" else -1))
        listing = listing or (upper == "SELECT" and depth == 0)
        yield Token(text, _kind(kind, upper))
        before = before if kind == "space" else upper


def _following_word(sql: str, at: int) -> str:
    match = re.compile(r"[A-Za-z]+").match(sql, at)
    return match.group().upper() if match else ""


def _kind(kind: str, upper: str) -> str:
    if kind == "word":
        return "keyword" if upper in _KEYWORDS else "function" if upper in _CALLED else ""
    return kind if kind in ("string", "number", "name") else ""
