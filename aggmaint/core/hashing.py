"""One hash for all that must be spread but not drawn: the same on every host, in every process, for ever."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread_hash(*parts: object) -> int:
    """A number of 64 bits from the parts' texts; equal parts give equal numbers."""
    from hashlib import sha256  # 3 ms: imported where used, so that `import aggmaint` stays light

    return int.from_bytes(sha256("|".join(str(part) for part in parts).encode()).digest()[:8])


def turned(items: Sequence[T], place: int) -> list[T]:
    """The items in their order, but beginning at `place` (modulo their number) and going round."""
    first = place % len(items) if items else 0
    return [*items[first:], *items[:first]]
