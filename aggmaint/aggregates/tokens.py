"""Tokens: fingerprints of rows, and what comparing two of them says.

A token is a text `<scheme>:<rows>:<sum>`: the number of rows and the 128-bit sum of the hashes of the rows, over the columns
that matter. The sum does not depend on the order of the rows, sees pairs of equal rows (XOR would not) and balanced
deletes and inserts (a count or a maximum would not). `scheme` names how it was made: engine and major version (`hash()`
is promised by none across versions), what was hashed (source rows, joined rows, or the aggregate's own rows) and a digest
of the columns. **Tokens of different schemes say nothing about each other**, not even that something changed.
"""

import hashlib
from collections.abc import Iterable
from enum import StrEnum

UNVERIFIED = "unverified"


class TokenKind(StrEnum):
    """What was hashed. `content` hashes rows of an aggregate: those of its table, or as they would be computed now."""

    SOURCE = "source"
    JOINED = "joined"
    CONTENT = "content"


class Comparison(StrEnum):
    SAME = "same"
    DIFFERENT = "different"
    INCOMPARABLE = "incomparable"


def make_token(engine: str, kind: TokenKind, columns: Iterable[str], rows: int, hashes: int) -> str:
    """The token of `rows` rows whose hashes over `columns` add up to `hashes`. `engine` carries its major version."""
    digest = hashlib.sha256("\x00".join(columns).encode("utf-8")).hexdigest()[:8]
    return f"{engine}-{kind.value}-{digest}:{rows}:{hashes:x}"


def unverified_token(rows: int) -> str:
    """The token of rows that nobody has compared with their source: it compares with no other, not even with itself."""
    return f"{UNVERIFIED}:{rows}:0"


def token_rows(token: str) -> int:
    """How many rows the token stands for."""
    return int(token.split(":", 2)[1])


def token_scheme(token: str) -> str:
    return token.split(":", 1)[0]


def compare_tokens(before: str, after: str) -> Comparison:
    if UNVERIFIED in (token_scheme(before), token_scheme(after)):
        return Comparison.INCOMPARABLE
    if before == after:
        return Comparison.SAME
    return Comparison.DIFFERENT if token_scheme(before) == token_scheme(after) else Comparison.INCOMPARABLE
