"""JSON Web Tokens as bearer tokens, verified by PyJWT (the extra `jwt`).

Theory of operation. The algorithm is fixed by configuration and never read from the token, so neither `none` nor a public
key taken for a secret gets anybody in. A token must have `exp` and `aud`; `iss` where one is configured; `nbf` and `iat` are
judged if they are there. Keys come as one key or as a JWKS file, which is read again when it changes and in which a token's
`kid` names the key. No key is ever fetched over the network: a host that rotates keys writes the file.

Rights are two claims: for which organisations (an id, a list of ids, or `*`), and what (an OAuth scope, or a list). Both
names can be configured; a tuple is a path into nested claims.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ..core.ids import OrgId
from ..errors import ConfigurationError, InvalidValueError, MissingExtraError
from ._watched import Watched
from .access import Access, Permission
from .tokens import EVERY, bearer_token

if TYPE_CHECKING:
    from starlette.requests import Request

KEY_TYPES: Final[Mapping[str, str]] = {"RS": "RSA", "PS": "RSA", "ES": "EC", "HS": "oct"}
"""By the family of the algorithm: the type (`kty`) that its keys have."""
ALGORITHMS: Final = frozenset(f"{family}{bits}" for family in KEY_TYPES for bits in (256, 384, 512))
LEEWAY_S: Final = 30.0

ClaimName = str | tuple[str, ...]


@frozen
class JwtClaims:
    """Which claims say what. `view` and `manage` are the rights' names; who may manage may view."""

    organizations: ClaimName = "organizations"
    rights: ClaimName = "scope"
    view: str = "aggmaint:view"
    manage: str = "aggmaint:manage"
    user: ClaimName = "sub"


class JwtVerifier:
    """An authoriser over signed tokens. Called in threads: verifying a signature takes a while.

    algorithm  one of ALGORITHMS; tokens with another one are invalid.
    key        the PEM public key, or the secret for HS…, or
    jwks_file  a file with a JSON Web Key Set, in which the token's `kid` is looked up.
    audience   who these tokens are for: one of them must be the token's.
    issuer     who must have issued them; None: anybody who has the key.
    leeway_s   how far clocks may be apart.

    Raises ConfigurationError for keys that do not fit, InvalidValueError, MissingExtraError without PyJWT.
    """

    def __init__(  # noqa: PLR0913 - what a verifier is configured by, each by keyword
        self,
        *,
        algorithm: str,
        audience: str | Sequence[str],
        key: str | bytes | None = None,
        jwks_file: str | Path | None = None,
        issuer: str | None = None,
        claims: JwtClaims | None = None,
        leeway_s: float = LEEWAY_S,
    ) -> None:
        if algorithm not in ALGORITHMS:
            raise InvalidValueError(f"algorithm={algorithm!r} is not one of {', '.join(sorted(ALGORITHMS))}")
        if not audience or leeway_s < 0:
            raise InvalidValueError(
                f"audience={audience!r}, leeway_s={leeway_s}: give an audience, and no negative leeway"
            )
        if (key is None) == (jwks_file is None):
            raise InvalidValueError("give either key= or jwks_file=")
        try:
            import jwt
            from jwt import algorithms
        except ModuleNotFoundError as exc:
            raise MissingExtraError("jwt (PyJWT)", "jwt") from exc
        if algorithm not in algorithms.get_default_algorithms():
            raise MissingExtraError("cryptography", "jwt")
        self._decode: Callable[..., dict[str, Any]] = partial(
            jwt.decode,
            algorithms=[algorithm],
            audience=audience if isinstance(audience, str) else list(audience),
            issuer=issuer,
            leeway=leeway_s,
            options={"require": ["exp", "aud", *(["iss"] if issuer else [])]},
        )
        self._invalid = (jwt.PyJWTError, RecursionError)
        self._key = None if key is None else _single_key(algorithm, key)
        read = partial(_read_jwks, algorithm)
        self._jwks: Watched[Mapping[str | None, Any]] | None = None if jwks_file is None else Watched(jwks_file, read)
        self._claims = claims or JwtClaims()

    def __call__(self, request: "Request", org_id: OrgId, permission: Permission, /) -> Access:
        """The verdict; `request.state.aggmaint_user` becomes the token's subject."""
        claims = self.verify(request.headers.getlist("authorization"))
        if claims is None:
            return Access.UNAUTHENTICATED
        user = _claim(claims, self._claims.user)
        if isinstance(user, str) and user:
            request.state.aggmaint_user = user
        return Access.GRANTED if self._permits(claims, org_id, permission) else Access.DENIED

    def verify(self, authorization: Sequence[str]) -> Mapping[str, Any] | None:
        """The claims of the valid token in these `Authorization` headers; None if there is none."""
        token = bearer_token(authorization)
        if token is None:
            return None
        try:
            key = self._key if self._jwks is None else self._find(self._jwks.refresh(), token)
            return None if key is None else self._decode(token, key)
        except self._invalid:
            return None

    def _find(self, keys: Mapping[str | None, Any], token: str) -> Any:
        """The key that the token names; the only one, if it names none."""
        import jwt

        key_id = jwt.get_unverified_header(token).get("kid")
        if key_id is None and len(keys) == 1:
            return next(iter(keys.values()))
        return keys.get(key_id) if isinstance(key_id, str) else None

    def _permits(self, claims: Mapping[str, Any], org_id: str, permission: Permission) -> bool:
        organizations = _words(_claim(claims, self._claims.organizations), spaced=False)
        rights = _words(_claim(claims, self._claims.rights), spaced=True)
        wanted = {self._claims.manage, *([self._claims.view] if permission is Permission.VIEW else [])}
        return (EVERY in organizations or org_id in organizations) and bool(wanted & rights)


def _claim(claims: Mapping[str, Any], name: ClaimName) -> Any:
    """The claim, or what is at the end of a path into nested ones; None if it is not there."""
    found: Any = claims
    for part in (name,) if isinstance(name, str) else name:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _words(value: Any, *, spaced: bool) -> frozenset[str]:
    """The texts in a claim: a list of them, or one (`spaced`: several, with spaces between). Anything else is none."""
    if isinstance(value, str):
        return frozenset(value.split(" ") if spaced else [value]) - {""}
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()


def _single_key(algorithm: str, key: str | bytes) -> Any:
    """Raises ConfigurationError for a key that is none of this algorithm's, and for a secret that is too short."""
    from jwt.algorithms import get_default_algorithms
    from jwt.exceptions import InvalidKeyError

    if algorithm.startswith("HS"):
        _check_secret(algorithm, len(key))
    try:
        return get_default_algorithms()[algorithm].prepare_key(key)
    except (InvalidKeyError, ValueError, TypeError) as exc:
        raise ConfigurationError(
            f"the key is none for {algorithm}: give a PEM public key, or a secret for HS…"
        ) from exc


def _read_jwks(algorithm: str, path: Path) -> Mapping[str | None, Any]:
    """Keys by their id. Raises ConfigurationError."""
    from jwt import PyJWKSet, PyJWTError

    try:
        key_set = PyJWKSet.from_json(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(
            f"key file {path} can not be read: {exc.strerror}; give the path of a JWKS file"
        ) from exc
    except (PyJWTError, ValueError, AttributeError, TypeError) as exc:
        raise ConfigurationError(f'key file {path} is no JSON Web Key Set ({exc}); it is {{"keys": […]}}') from exc
    kind = KEY_TYPES[algorithm[:2]]
    fitting = [each for each in key_set.keys if each.key_type == kind and each.public_key_use in (None, "sig")]
    keys = {each.key_id: each.key for each in fitting}
    if not keys or len(keys) != len(fitting):
        raise ConfigurationError(
            f"key file {path} must hold at least one {kind} key for {algorithm}, each with a `kid` of its own"
        )
    for each in fitting:
        if kind == "oct":
            _check_secret(algorithm, len(each.key))
    return keys


def _check_secret(algorithm: str, length: int) -> None:
    """RFC 7518, 3.2: a secret is as long as the hash."""
    least = int(algorithm[2:]) // 8
    if length < least:
        raise ConfigurationError(f"the secret for {algorithm} has {length} bytes; give {least} random ones")
