"""What stands before every family of routes: security headers, the guard against forged requests, and the last net.

Theory of operation. Plain ASGI wrappers, so that whatever is mounted inside (API, dashboard) has them without asking.

*Forged requests.* A browser sends cookies by itself, so another site's form could act in the name of who is signed in
here. The rule is the one of Go's `http.CrossOriginProtection` (and of OWASP's cheat sheet): reading is never refused;
a trusted `Origin` passes; `Sec-Fetch-Site`, which no page can set, must then be `same-origin` or `none`; a browser too old
to send it is judged by whether `Origin` names this very host; who sends neither is no browser. Needs no tokens and no
state. A request with a bearer token passes too: browsers send none by themselves, and a foreign page may set that header
only after the host's CORS rules have said so.

*Hosts.* A page of another site can have its own name resolve to this server (DNS rebinding), and is then of the same origin.
Where no token stands in the way, such as on a developer's loopback, only the `Host` tells: it must be one of those allowed.

*Headers.* What the API serves is data: no script, no frame, no guessing of types, no caching. A family that serves pages
sets its own Content-Security-Policy; what a response has set already stays.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import InvalidValueError
from ._replies import RequestError, encode, translate

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Set on every response that has not set them itself. Strict-Transport-Security is for who terminates TLS."""

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE: Final = frozenset({"same-origin", "none"})
_BEARER: Final = re.compile(r"bearer\s", re.IGNORECASE)
_PORTS: Final = {"http": 80, "https": 443}
_RAW_HEADERS: Final = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_log = logging.getLogger("aggmaint.asgi")


class Shield:
    """The outermost wrapper: SECURITY_HEADERS on every response of `app` (what it has set stays), and the last net.

    What escapes `app` is logged, and answered by the error envelope if nothing was answered yet.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def shielded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": with_security_headers(message.get("headers", ()))}
            await send(message)

        try:
            await self._app(scope, receive, shielded)
        except Exception as exc:
            _log.exception("%s %r failed", scope["method"], scope["path"])
            if started:
                raise  # half an answer is out: the server must break the connection, or it would pass for a whole one
            await encode(translate(exc).reply()).send(scope, shielded)


def with_security_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    present = {name.lower() for name, _ in given}
    return given + [header for header in _RAW_HEADERS if header[0] not in present]


class HostGuard:
    """Refuses (400) requests for another host than those allowed: names without ports, "localhost"."""

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str]) -> None:
        self._app = app
        self._allowed = frozenset(host.lower() for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and host_of(Headers(scope=scope)) not in self._allowed:
            error = RequestError(400, "this server is not addressed by this name; see create_app(allowed_hosts=…)")
            await encode(error.reply()).send(scope, send)
            return
        await self._app(scope, receive, send)


class CsrfGuard:
    """Refuses (403) what another site made a browser send. `trusted_origins`: "https://app.example.com", exactly.

    Raises InvalidValueError for an origin that is none.
    """

    def __init__(self, app: ASGIApp, *, trusted_origins: Collection[str] = ()) -> None:
        self._app = app
        self._trusted = frozenset(check_origin(origin) for origin in trusted_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        changing = scope["type"] == "http" and scope["method"] not in READING
        if changing and is_forged(scope["method"], Headers(scope=scope), self._trusted):
            error = RequestError(403, "this request was made by a page of another site; use this site's own pages")
            await encode(error.reply()).send(scope, send)
            return
        await self._app(scope, receive, send)


def host_of(headers: Headers) -> str | None:
    """The name in the one `Host` header, without its port, in lower case; None if there is none or it is malformed."""
    hosts = headers.getlist("host")
    try:
        return urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
    except ValueError:
        return None


def is_forged(method: str, headers: Headers, trusted_origins: Collection[str] = ()) -> bool:
    """Whether a browser was made to send this by a page of another site."""
    if method in READING or _BEARER.match(headers.get("authorization", "")):
        return False
    origin = headers.get("origin")
    if origin is not None and origin in trusted_origins:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in _OWN_SITE
    return origin is not None and not _is_own(origin, headers.get("host", ""))


def _is_own(origin: str, host: str) -> bool:
    """Whether `origin` is this host's; its scheme is not judged, because TLS may end before this server."""
    try:
        theirs, own = urlsplit(origin), urlsplit(f"//{host}")
        usual = _PORTS[theirs.scheme]
        return bool(host) and (theirs.hostname, theirs.port or usual) == (own.hostname, own.port or usual)
    except (ValueError, KeyError):  # no URL, a port that is no number; another scheme
        return False


def check_origin(origin: str) -> str:
    """`origin`, if browsers would send it like this. Raises InvalidValueError."""
    parts = urlsplit(origin)
    if parts.scheme not in _PORTS or not parts.netloc or f"{parts.scheme}://{parts.netloc}".lower() != origin:
        raise InvalidValueError(
            f"trusted origin {origin!r} is none; write scheme and host in lower case, and the port only where it is "
            "not the usual one, e.g. https://app.example.com"
        )
    return origin
