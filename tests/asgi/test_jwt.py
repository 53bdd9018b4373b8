"""JSON Web Tokens: what lets in, and everything that does not."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, RSAAlgorithm

from aggmaint import MaintenanceEngine
from aggmaint.asgi import JwtClaims, JwtVerifier, create_app
from aggmaint.asgi._watched import Watched
from aggmaint.errors import AggmaintError, ConfigurationError, InvalidValueError, MissingExtraError
from tests.asgi.support import ORG, SCHEDULES, ask

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
SECRET = "s" * 64
HERE = f"{ORG}/default"
RUN = f"{HERE}/run-immediately"


def pem(key: Any) -> str:
    public = key.public_key()
    return str(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    )


INSTANTS = ("exp", "nbf", "iat")


def claims(**more: Any) -> dict[str, Any]:
    """Numbers given for `exp`, `nbf` and `iat` are seconds from the moment at which the token is made."""
    now = int(time.time())
    usual = {"exp": 600, "iat": 0, "aud": "aggmaint", "sub": "ann"}
    rights = {"organizations": ["default"], "scope": "openid aggmaint:manage"}
    given = {key: value for key, value in {**usual, **rights, **more}.items() if value is not ...}
    return {key: now + value if key in INSTANTS and isinstance(value, int) else value for key, value in given.items()}


def signed(key: Any = RSA_KEY, algorithm: str = "RS256", kid: str | None = None, **more: Any) -> str:
    return jwt.encode(claims(**more), key, algorithm, headers=None if kid is None else {"kid": kid})


def statuses(engine: MaintenanceEngine, verifier: JwtVerifier, token: str) -> tuple[int, int]:
    """Of a view, and of a job asked for."""
    app = create_app(engine, authorize=verifier)
    return ask(app, "GET", HERE, token=token).status, ask(app, "POST", RUN, token=token).status


@pytest.fixture
def verifier() -> JwtVerifier:
    return JwtVerifier(algorithm="RS256", key=pem(RSA_KEY), audience="aggmaint")


@pytest.mark.parametrize(
    ("algorithm", "private", "public"),
    [
        ("RS256", RSA_KEY, pem(RSA_KEY)),
        ("PS512", RSA_KEY, pem(RSA_KEY).encode()),
        ("ES256", EC_KEY, pem(EC_KEY)),
        ("HS256", SECRET, SECRET),
        ("HS512", SECRET, SECRET.encode()),
    ],
)
def test_each_family_of_algorithms(engine: MaintenanceEngine, algorithm: str, private: Any, public: Any) -> None:
    verifier = JwtVerifier(algorithm=algorithm, key=public, audience="aggmaint")
    assert statuses(engine, verifier, signed(private, algorithm)) == (200, 200)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, (200, 200)),
        ({"scope": "aggmaint:view"}, (200, 404)),
        ({"scope": ["aggmaint:view", 5]}, (200, 404)),
        ({"scope": ["aggmaint:manage"]}, (200, 200)),
        ({"organizations": "default"}, (200, 200)),
        ({"organizations": "*"}, (200, 200)),
        ({"organizations": ["*"]}, (200, 200)),
        ({"organizations": ["acme-eu"]}, (404, 404)),
        ({"organizations": []}, (404, 404)),
        ({"organizations": ...}, (404, 404)),
        ({"organizations": {"default": True}}, (404, 404)),
        ({"organizations": "acme-eu default"}, (404, 404)),  # an id may hold spaces
        ({"scope": ...}, (404, 404)),
        ({"scope": "aggmaint:managers openid"}, (404, 404)),
        ({"scope": {"aggmaint:manage": True}}, (404, 404)),
        ({"aud": ["other", "aggmaint"]}, (200, 200)),
        ({"nbf": -5}, (200, 200)),
        ({"exp": -5}, (200, 200)),  # within the leeway
    ],
    ids=str,
)
def test_rights_are_read_from_claims(
    engine: MaintenanceEngine, verifier: JwtVerifier, more: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert statuses(engine, verifier, signed(**more)) == expected


@pytest.mark.parametrize(
    "more",
    [
        {"exp": -100},
        {"exp": ...},
        {"exp": "soon"},
        {"aud": "other"},
        {"aud": ...},
        {"aud": []},
        {"nbf": 1000},
        {"iat": 1000},
    ],
    ids=str,
)
def test_tokens_that_are_not_valid_now_or_here_are_401(
    engine: MaintenanceEngine, verifier: JwtVerifier, more: dict[str, Any]
) -> None:
    assert statuses(engine, verifier, signed(**more)) == (401, 401)


def forged_none() -> str:
    return jwt.encode(claims(), "", "none")


def forged_with_the_public_key() -> str:
    """A public key is no secret: whoever took it for one could sign with it."""
    import base64
    import hashlib
    import hmac

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    text = part(b'{"alg":"HS256","typ":"JWT"}') + "." + part(json.dumps(claims()).encode())
    mac = hmac.new(pem(RSA_KEY).encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{part(mac)}"


@pytest.mark.parametrize(
    "token",
    [
        signed(OTHER_RSA_KEY),
        signed(algorithm="RS512"),
        signed(EC_KEY, "ES256"),
        forged_none(),
        forged_with_the_public_key(),
        signed()[:-6] + "AAAAAA",
        ".".join(signed().split(".")[:2]) + ".",
        "a.b.c",
        "...",
        "x",
    ],
)
def test_forged_tokens_are_401(engine: MaintenanceEngine, verifier: JwtVerifier, token: str) -> None:
    assert statuses(engine, verifier, token) == (401, 401)


@given(st.lists(st.text(max_size=80), max_size=2))
def test_no_header_breaks_it(headers: list[str]) -> None:
    verifier = JwtVerifier(algorithm="HS256", key=SECRET, audience="aggmaint")
    assert verifier.verify([f"Bearer {each}" for each in headers]) is None


def test_the_issuer_is_checked_where_one_is_configured(engine: MaintenanceEngine) -> None:
    verifier = JwtVerifier(algorithm="RS256", key=pem(RSA_KEY), audience="aggmaint", issuer="https://id.example")
    assert statuses(engine, verifier, signed(iss="https://id.example")) == (200, 200)
    assert statuses(engine, verifier, signed(iss="https://evil.example")) == (401, 401)
    assert statuses(engine, verifier, signed()) == (401, 401)


def test_claims_can_be_named_and_nested(engine: MaintenanceEngine) -> None:
    names = JwtClaims(
        organizations="https://id.example/orgs",
        rights=("realm_access", "roles"),
        view="aggregates_view",
        manage="aggregates_manage",
        user="preferred_username",
    )
    verifier = JwtVerifier(algorithm="RS256", key=pem(RSA_KEY), audience="aggmaint", claims=names)
    for_default: dict[str, Any] = {"https://id.example/orgs": ["default"], "preferred_username": "ann@example"}
    token = signed(**for_default, realm_access={"roles": ["aggregates_manage"]})
    assert statuses(engine, verifier, token) == (200, 200)
    for wrong in ({"roles": "x"}, ["aggregates_manage"], None):
        broken = signed(**for_default, realm_access=wrong)
        assert statuses(engine, verifier, broken) == (404, 404)
    made = ask(
        create_app(engine, authorize=verifier),
        "POST",
        f"{SCHEDULES}/default?time_expression=0+0+5+?+*+*",
        token=token,
    )
    assert made.response["created_by_user"] == "ann@example"


# -- key sets ----------------------------------------------------------------------------------------------------------


def jwk(key: Any, kid: str | None = None, **more: Any) -> dict[str, Any]:
    if isinstance(key, str):
        found = HMACAlgorithm.to_jwk(key, as_dict=True)
    elif isinstance(key, rsa.RSAPrivateKey):
        found = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        found = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**found, **({} if kid is None else {"kid": kid}), **more}


def write(path: Path, *keys: dict[str, Any]) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"keys": keys}), encoding="utf-8")
    beside.replace(path)


def test_keys_by_id_and_rotation(engine: MaintenanceEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "jwks.json"
    write(path, jwk(RSA_KEY, "old"), jwk(EC_KEY, "curve"), jwk(OTHER_RSA_KEY, "enc", use="enc"))
    verifier = JwtVerifier(algorithm="RS256", jwks_file=path, audience="aggmaint")
    assert statuses(engine, verifier, signed(kid="old")) == (200, 200)
    assert statuses(engine, verifier, signed()) == (200, 200)  # there is one key only
    assert statuses(engine, verifier, signed(OTHER_RSA_KEY, kid="enc")) == (401, 401)
    assert statuses(engine, verifier, signed(EC_KEY, "ES256", kid="curve")) == (401, 401)
    assert statuses(engine, verifier, signed(OTHER_RSA_KEY, kid="new")) == (401, 401)
    write(path, jwk(RSA_KEY, "old"), jwk(OTHER_RSA_KEY, "new"))
    assert statuses(engine, verifier, signed(OTHER_RSA_KEY, kid="new")) == (200, 200)
    assert statuses(engine, verifier, signed()) == (401, 401)  # there are two now
    path.write_text("{", encoding="utf-8")
    assert statuses(engine, verifier, signed(OTHER_RSA_KEY, kid="new")) == (200, 200)
    assert "what was read before still holds" in caplog.text
    write(path, jwk(OTHER_RSA_KEY, "new"))
    assert statuses(engine, verifier, signed(kid="old")) == (401, 401)  # revoked


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "5", "{}", '{"keys": []}', '{"keys": 5}', '{"keys": [5]}', '{"keys": [{"kty": "RSA"}]}'),
        json.dumps({"keys": [jwk(EC_KEY, "x")]}),
        json.dumps({"keys": [jwk(RSA_KEY, "x"), jwk(OTHER_RSA_KEY, "x")]}),
        json.dumps({"keys": [jwk(RSA_KEY), jwk(OTHER_RSA_KEY)]}),
    ],
)
def test_a_file_that_is_no_key_set_for_this_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="key file"):
        JwtVerifier(algorithm="RS256", jwks_file=path, audience="aggmaint")
    with pytest.raises(ConfigurationError, match="can not be read"):
        JwtVerifier(algorithm="RS256", jwks_file=tmp_path / "none", audience="aggmaint")


@pytest.mark.parametrize(
    "wrong",
    [
        {"algorithm": "none"},
        {"algorithm": "RS1"},
        {"audience": ""},
        {"audience": []},
        {"leeway_s": -1},
        {"key": None},
        {"jwks_file": "x"},
        {"key": "no pem"},
        {"key": pem(EC_KEY)},
        {"algorithm": "HS256", "key": "short"},
        {"algorithm": "HS256", "key": pem(RSA_KEY)},
        {"algorithm": "HS512", "key": "s" * 63},
        {"algorithm": "ES256"},
    ],
    ids=str,
)
def test_configurations_that_can_not_work_are_refused(wrong: dict[str, Any]) -> None:
    make: Any = JwtVerifier
    with pytest.raises(AggmaintError) as caught:
        make(**{"algorithm": "RS256", "key": pem(RSA_KEY), "audience": "aggmaint", **wrong})
    assert isinstance(caught.value, InvalidValueError)


def test_secrets_in_a_key_set_are_long_too(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    write(path, jwk("short", "x"))
    with pytest.raises(ConfigurationError, match="secret"):
        JwtVerifier(algorithm="HS256", jwks_file=path, audience="aggmaint")
    write(path, jwk(SECRET, "x"))
    verifier = JwtVerifier(algorithm="HS256", jwks_file=path, audience="aggmaint")
    assert verifier.verify([f"Bearer {signed(SECRET, 'HS256')}"]) is not None


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(MissingExtraError, match=r"aggmaint\[jwt\]"):
        JwtVerifier(algorithm="RS256", key=pem(RSA_KEY), audience="aggmaint")


def test_a_watched_file_is_read_when_it_changed_and_only_then(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("1", encoding="utf-8")
    reads: list[str] = []

    def read(path: Path) -> str:
        reads.append(path.read_text(encoding="utf-8"))
        return reads[-1]

    watched = Watched(path, read)
    assert [watched.refresh() for _ in range(3)] == ["1"] * 3 and reads == ["1"]
    path.write_text("22", encoding="utf-8")
    assert watched.refresh() == "22"
    assert watched.refresh(forced=True) == "22" and reads == ["1", "22", "22"]
