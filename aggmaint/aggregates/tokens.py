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
from functools import lru_cache

from ..errors import InvalidValueError

UNVERIFIED = "unverified"


class TokenKind(StrEnum):
    """What was hashed. `content` hashes rows of an aggregate: those of its table, or as they would be computed now.

    The last two are of whole sources and hash little or nothing: `declared` (see declared.py), and `snapshot`, the engine's
    own name of a state of the source.
    """

    SOURCE = "source"
    JOINED = "joined"
    CONTENT = "content"
    DECLARED = "declared"
    SNAPSHOT = "snapshot"


class Comparison(StrEnum):
    SAME = "same"
    DIFFERENT = "different"
    INCOMPARABLE = "incomparable"


def make_scheme(engine: str, kind: TokenKind, columns: Iterable[str]) -> str:
    """How a token was made. `engine` carries its major version."""
    return _scheme(engine, kind, tuple(columns))


@lru_cache(maxsize=4096)
def _scheme(engine: str, kind: TokenKind, columns: tuple[str, ...]) -> str:
    digest = hashlib.sha256("\x00".join(columns).encode("utf-8")).hexdigest()[:8]
    return f"{engine}-{kind.value}-{digest}"


def make_token(engine: str, kind: TokenKind, columns: Iterable[str], rows: int, hashes: int) -> str:
    """The token of `rows` rows whose hashes over `columns` add up to `hashes`."""
    return f"{make_scheme(engine, kind, columns)}:{rows}:{hashes:x}"


def snapshot_token(engine: str, state: str) -> str:
    """The token of a source whose state the engine names. It says nothing about its rows but whether they are the same."""
    return f"{engine}-{TokenKind.SNAPSHOT.value}:0:{state}"


def token_kind(token: str) -> TokenKind | None:
    """What a token was made of; None for a text that is no token of ours."""
    parts = token_scheme(token).split("-")
    return TokenKind(parts[1]) if len(parts) > 1 and parts[1] in set(TokenKind) else None


def unverified_token(rows: int) -> str:
    """The token of rows that nobody has compared with their source: it compares with no other, not even with itself."""
    return f"{UNVERIFIED}:{rows}:0"


def token_rows(token: str) -> int:
    """How many rows the token stands for."""
    return int(token.split(":", 2)[1])


def token_scheme(token: str) -> str:
    return token.split(":", 1)[0]


def add_tokens(token: str, more: str, *, taken_out: bool = False) -> str:
    """The token of the rows of both; with `taken_out` of the rows without those of `more`. Raises InvalidValueError for
    tokens of different schemes: they can not be added."""
    scheme, rows, hashes = token.split(":")
    other, more_rows, more_hashes = more.split(":")
    if scheme != other or scheme == UNVERIFIED:
        raise InvalidValueError(f"tokens of the schemes {scheme!r} and {other!r} can not be added")
    sign = -1 if taken_out else 1
    return f"{scheme}:{int(rows) + sign * int(more_rows)}:{int(hashes, 16) + sign * int(more_hashes, 16):x}"


def compare_tokens(before: str, after: str) -> Comparison:
    if UNVERIFIED in (token_scheme(before), token_scheme(after)):
        return Comparison.INCOMPARABLE
    if before == after:
        return Comparison.SAME
    return Comparison.DIFFERENT if token_scheme(before) == token_scheme(after) else Comparison.INCOMPARABLE
