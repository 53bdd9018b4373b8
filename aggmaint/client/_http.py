"""What both clients send with each request."""

from collections.abc import Callable
from typing import Final

from ..errors import InvalidValueError

TIMEOUT_S: Final = 30.0
Token = str | Callable[[], str] | None


def headers_of(token: Token) -> dict[str, str]:
    """Raises InvalidValueError for a token that no header can carry, without naming it."""
    headers = {"Accept": "application/json", "User-Agent": "aggmaint-client"}
    secret = token() if callable(token) else token
    if secret is None:
        return headers
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InvalidValueError("the bearer token is empty, or holds what no header can carry")
    return {**headers, "Authorization": f"Bearer {secret}"}
