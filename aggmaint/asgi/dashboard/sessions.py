"""Signing in with a token: for hosts without sign-in of their own, such as `aggmaint serve --token-file`.

Theory of operation. A browser can not send `Authorization: Bearer` by itself. So the sign-in page takes the token once, and
the browser is given a random session id in a cookie that no script can read and that no other site can make it send
(HttpOnly, SameSite=Strict). The id means something in the memory of this process only: it stands for the token. Each
request is then judged as if it had brought the token, by the same authoriser as the API's: a token that expires or is
taken out of the file ends all its sessions, and a session can never do more than its token.
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from attrs import frozen
from starlette.requests import Request

COOKIE: Final = "aggmaint_session"
LIFETIME_S: Final = 12 * 3600.0
SESSIONS_MAX: Final = 1000
TOKEN_CHARACTERS_MAX: Final = 4096


@frozen
class _Session:
    token: str
    ends_at_s: float


class Sessions:
    """Session ids and the tokens they stand for. Safe for many threads; gone when the process ends.

    `steady` is a clock that only grows. When there are too many sessions the oldest ones end.
    """

    def __init__(self, *, steady: Callable[[], float] = time.monotonic, sessions_max: int = SESSIONS_MAX) -> None:
        self._steady = steady
        self._sessions_max = sessions_max
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    def open(self, token: str) -> str:
        """A new session id that stands for `token`."""
        session_id = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[session_id] = _Session(token, self._steady() + LIFETIME_S)
            while len(self._sessions) > self._sessions_max:
                self._sessions.popitem(last=False)
        return session_id

    def close(self, session_id: str) -> None:
        """End a session. Idempotent."""
        with self._lock:
            self._sessions.pop(session_id, None)

    def token(self, session_id: str) -> str | None:
        """The token that a session stands for; None if it is unknown or over."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is not None and session.ends_at_s <= self._steady():
                del self._sessions[session_id]
                session = None
        return None if session is None else session.token

    def signed_in(self, request: Request) -> Request:
        """The request as if it had brought the token of its session; the same request if it has none, or its own token."""
        token = self.token(request.cookies.get(COOKIE, ""))
        if token is None or "authorization" in request.headers:
            return request
        return with_token(request, token)


def with_token(request: Request, token: str) -> Request:
    """The request with a bearer token. What an authoriser notes in its state is seen by the request as well."""
    request.scope.setdefault("state", {})
    header = (b"authorization", b"Bearer " + token.encode("latin-1"))
    return Request({**request.scope, "headers": [*request.scope["headers"], header]}, request.receive)


def is_token(text: str) -> bool:
    """Whether a text can be sent as a bearer token at all."""
    return 0 < len(text) <= TOKEN_CHARACTERS_MAX and all(0x21 <= ord(each) < 0x7F for each in text)
