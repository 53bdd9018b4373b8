"""Bearer tokens from a file, with rights per organisation.

Theory of operation. The file holds SHA-256 digests, never tokens, so that reading it lets nobody in; that is enough as
long as tokens are long and random, which the documented recipe sees to. A request's token is hashed and compared with
*every* digest in constant time, so the time of an answer tells nothing about any of them. The format is TOML, because
organisation ids are opaque texts that need quoting; docs/how-to/mount-the-api.md shows it.

Loading is all or nothing: every problem is listed with its line and the remedy, and no half-read file lets anybody in or
locks anybody out unnoticed. A digest that is not one may be somebody's token in plain text, so messages show its
beginning only.
"""

import hashlib
import hmac
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen

from ..clock import Clock, SystemClock
from ..core.ids import OrgId, parse_org_id
from ..core.instants import require_utc
from ..errors import ConfigurationError, InvalidOrgIdError, InvalidValueError
from .access import Access, Permission

if TYPE_CHECKING:
    from starlette.requests import Request

EVERY: Final = "*"
"""In a list of rights: every organisation, also those to come."""

_KEYS: Final = ("name", "sha256", "view", "manage", "expires")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_BEARER: Final = re.compile(r"bearer +(\S+)", re.IGNORECASE | re.ASCII)
_HEADER: Final = re.compile(r"\s*\[\[\s*token\s*\]\]")


def hash_token(token: str) -> str:
    """What to write into the file for `token`: its SHA-256 in hex. Raises InvalidValueError for what no header can carry."""
    if not token or any(character.isspace() for character in token):
        raise InvalidValueError(
            "a bearer token is not empty and holds no white space; make one: secrets.token_urlsafe(32)"
        )
    return hashlib.sha256(token.encode()).hexdigest()


@frozen
class Token:
    """One token's rights. `view` and `manage` hold organisation ids, or `*` for all; who may manage may view."""

    name: str
    sha256: str = field(repr=False)
    view: frozenset[str] = frozenset()
    manage: frozenset[str] = frozenset()
    expires_at: datetime | None = field(default=None, validator=require_utc)

    def __attrs_post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.sha256):
            raise InvalidValueError(
                f"token {self.name!r}: sha256 must be 64 lower-case hexadecimal digits; use hash_token"
            )

    def permits(self, org_id: str, permission: Permission) -> bool:
        granted = self.manage if permission is Permission.MANAGE else self.manage | self.view
        return EVERY in granted or org_id in granted


class StaticTokens:
    """An authoriser over a fixed set of tokens. `clock` tells when one has expired.

    Raises InvalidValueError when two tokens have one digest: it would not be clear which rights hold.
    """

    def __init__(self, tokens: Iterable[Token], *, clock: Clock | None = None) -> None:
        self._tokens = [(bytes.fromhex(token.sha256), token) for token in tokens]
        if len({digest for digest, _ in self._tokens}) != len(self._tokens):
            raise InvalidValueError("two tokens have the same sha256; give each token one entry with all its rights")
        self._clock = clock or SystemClock()

    async def __call__(self, request: "Request", org_id: OrgId, permission: Permission, /) -> Access:
        """The verdict; `request.state.aggmaint_user` becomes the token's name, which signs what is made by the request."""
        token = self.find(request.headers.getlist("authorization"))
        if token is not None:
            request.state.aggmaint_user = token.name
        return _verdict(token, org_id, permission)

    def check(self, authorization: Sequence[str], org_id: str, permission: Permission) -> Access:
        """The verdict for a request with these `Authorization` headers."""
        return _verdict(self.find(authorization), org_id, permission)

    def find(self, authorization: Sequence[str]) -> Token | None:
        """The valid token in these headers; None if there is none. More than one header is as good as none."""
        secret = bearer_token(authorization)
        token = None if secret is None else self._find(secret.encode("latin-1", "replace"))
        return None if token is None or self._expired(token) else token

    def _find(self, secret: bytes) -> Token | None:
        digest = hashlib.sha256(secret).digest()
        found = None
        for known, token in self._tokens:
            if hmac.compare_digest(known, digest):
                found = token
        return found

    def _expired(self, token: Token) -> bool:
        return token.expires_at is not None and self._clock.read().wall_at >= token.expires_at


def _verdict(token: Token | None, org_id: str, permission: Permission) -> Access:
    if token is None:
        return Access.UNAUTHENTICATED
    return Access.GRANTED if token.permits(org_id, permission) else Access.DENIED


def bearer_token(authorization: Sequence[str]) -> str | None:
    """The token in a request's `Authorization` headers; None unless there is exactly one, and a well-formed one."""
    match = _BEARER.fullmatch(authorization[0].strip()) if len(authorization) == 1 else None
    return match[1] if match else None


def load_tokens(path: str | Path, *, clock: Clock | None = None) -> StaticTokens:
    """Read a token file. Raises ConfigurationError that lists every problem; then no token was loaded."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise ConfigurationError(f"token file {file} can not be read: {reason}; give the path of a TOML file") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"token file {file} is not UTF-8 (byte {exc.start}); save it as UTF-8") from exc
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"token file {file} is not valid TOML: {exc}; correct that line") from exc
    reading = _Reading(text.splitlines())
    tokens = reading.read(document)
    if reading.problems:
        listed = "".join(f"\n  {problem}" for problem in reading.problems)
        raise ConfigurationError(f"token file {file} is wrong; no token was loaded:{listed}", tuple(reading.problems))
    return StaticTokens(tokens, clock=clock)


@define
class _Reading:
    """One pass over a token file; collects problems instead of stopping at the first."""

    lines: Sequence[str]
    problems: list[str] = field(factory=list)
    entry: int = 0

    def read(self, document: Mapping[str, Any]) -> list[Token]:
        for key in document:
            if key != "token":
                self.problems.append(f"unknown key {key!r}; the file holds [[token]] entries only")
        entries = document.get("token", [])
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
            self.problems.append("there is no [[token]] entry; nobody could come in. Add one with name, sha256, view")
            return []
        read = []
        for self.entry, entry in enumerate(entries):
            read.append(self._token(entry))
        self._find_twins(read)
        return [token for token in read if token is not None]

    def _token(self, entry: Mapping[str, Any]) -> Token | None:
        known_before = len(self.problems)
        for key in entry:
            if key not in _KEYS:
                self._problem(key, f"unknown key {key!r}; known are {', '.join(_KEYS)}")
        if not entry.get("view") and not entry.get("manage"):
            self._problem("view", 'the token has no rights; add view = ["acme"] or manage = ["acme"] ("*" for all)')
        name, sha256, expires_at = self._name(entry), self._digest(entry), self._expires(entry)
        view, manage = self._organizations(entry, "view"), self._organizations(entry, "manage")
        return Token(name, sha256, view, manage, expires_at) if len(self.problems) == known_before else None

    def _name(self, entry: Mapping[str, Any]) -> str:
        name = entry.get("name")
        if isinstance(name, str) and name:
            return name
        self._problem("name", f'name is {name!r}; say whose token it is, e.g. name = "dashboard"')
        return ""

    def _digest(self, entry: Mapping[str, Any]) -> str:
        digest = entry.get("sha256")
        if isinstance(digest, str) and _DIGEST.fullmatch(digest.lower()):
            return digest.lower()
        shown = f"{digest[:4]!r}… ({len(digest)} characters)" if isinstance(digest, str) else repr(digest)
        self._problem(
            "sha256",
            f"sha256 is {shown}; it must be the token's SHA-256, 64 hexadecimal digits "
            '(printf %s "$TOKEN" | sha256sum), never the token itself',
        )
        return ""

    def _organizations(self, entry: Mapping[str, Any], right: str) -> frozenset[str]:
        org_ids = entry.get(right, [])
        if not isinstance(org_ids, list):
            self._problem(right, f'{right} is {org_ids!r}; write a list: {right} = ["acme"]')
            return frozenset()
        for org_id in org_ids:
            try:
                parse_org_id(org_id)
            except InvalidOrgIdError as exc:
                self._problem(right, f"{right}: {exc.message}")
        return frozenset(org_id for org_id in org_ids if isinstance(org_id, str))

    def _expires(self, entry: Mapping[str, Any]) -> datetime | None:
        expires = entry.get("expires")
        if expires is None:
            return None
        if isinstance(expires, datetime) and expires.tzinfo is not None:
            return expires.astimezone(UTC)
        self._problem("expires", f"expires is {str(expires)!r}; write an instant with offset: 2027-01-31T00:00:00Z")
        return None

    def _find_twins(self, tokens: Sequence[Token | None]) -> None:
        first: dict[str, int] = {}
        for self.entry, token in enumerate(tokens):
            if token and first.setdefault(token.sha256, self.entry) != self.entry:
                twin = first[token.sha256] + 1
                self._problem("sha256", f"sha256 is that of token {twin} again; give each token one entry")

    def _problem(self, key: str, what: str) -> None:
        self.problems.append(f"{self._where(key)}: {what}")

    def _where(self, key: str) -> str:
        """The entry, and the line of `key` in it; of the entry's head if the key is not there."""
        heads = [number for number, line in enumerate(self.lines, 1) if _HEADER.match(line)]
        if self.entry >= len(heads):
            return f"token {self.entry + 1}"
        start, end = heads[self.entry], [*heads, len(self.lines) + 1][self.entry + 1]
        assignment = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        lines = range(start, end)
        line = next((number for number in lines if assignment.match(self.lines[number - 1])), start)
        return f"token {self.entry + 1}, line {line}"
