"""One hash for all that must be spread but not drawn: the same on every host, in every process, for ever."""


def spread_hash(*parts: object) -> int:
    """A number of 64 bits from the parts' texts; equal parts give equal numbers."""
    from hashlib import sha256  # 3 ms: imported where used, so that `import aggmaint` stays light

    return int.from_bytes(sha256("|".join(str(part) for part in parts).encode()).digest()[:8])
