"""Token files: what they grant, and what is said about each mistake in them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from aggmaint.asgi import Access, Permission, StaticTokens, Token, hash_token, load_tokens
from aggmaint.errors import ConfigurationError, InvalidValueError
from aggmaint.testing.clocks import ManualClock

DIGEST = hash_token("secret")
OTHER = hash_token("other")


def load(tmp_path: Path, text: str, clock: ManualClock | None = None) -> StaticTokens:
    path = tmp_path / "tokens.toml"
    path.write_text(text, encoding="utf-8")
    return load_tokens(path, clock=clock)


def verdict(tokens: StaticTokens, token: str, org_id: str, permission: Permission = Permission.VIEW) -> Access:
    return tokens.check([f"Bearer {token}"], org_id, permission)


def test_rights_per_organisation(tmp_path: Path) -> None:
    tokens = load(
        tmp_path,
        f"""
        [[token]]
        name = "eu"
        sha256 = "{DIGEST.upper()}"
        view = ["acme us", "a/b"]
        manage = ["acme-eu"]
        [[token]]
        name = "ops"
        sha256 = "{OTHER}"
        manage = ["*"]
        """,
    )
    manage = Permission.MANAGE
    assert verdict(tokens, "secret", "acme us") is Access.GRANTED
    assert verdict(tokens, "secret", "acme us", manage) is Access.DENIED
    assert verdict(tokens, "secret", "acme-eu", manage) is verdict(tokens, "secret", "acme-eu") is Access.GRANTED
    assert verdict(tokens, "secret", "ACME-EU") is verdict(tokens, "secret", "acme us ") is Access.DENIED
    assert verdict(tokens, "other", "anything at all", manage) is Access.GRANTED
    assert verdict(tokens, "Secret", "acme-eu") is verdict(tokens, DIGEST, "acme-eu") is Access.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("header", "good"),
    [
        ("Bearer secret", True),
        ("bearer  secret", True),
        ("BEARER secret ", True),
        ("Bearer", False),
        ("Bearer ", False),
        ("Bearer secret x", False),
        ("Basic secret", False),
        ("secret", False),
        ("", False),
        ("Bearer secret\u20ac", False),
    ],
)
def test_the_authorization_header(header: str, good: bool) -> None:
    tokens = StaticTokens([Token("t", DIGEST, view=frozenset({"*"}))])
    expected = Access.GRANTED if good else Access.UNAUTHENTICATED
    assert tokens.check([header], "default", Permission.VIEW) is expected
    assert tokens.check([], "default", Permission.VIEW) is Access.UNAUTHENTICATED


def test_tokens_of_other_alphabets_are_hashed_as_utf8() -> None:
    tokens = StaticTokens([Token("t", hash_token("gehëim"), view=frozenset({"*"}))])
    as_sent = "gehëim".encode().decode("latin-1")
    assert verdict(tokens, as_sent, "default") is Access.GRANTED


def test_an_expired_token_is_no_token(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2027, 1, 30, 22, 59, 59, tzinfo=UTC))
    line = "expires = 2027-01-31T00:00:00+01:00"
    tokens = load(tmp_path, f'[[token]]\nname = "t"\nsha256 = "{DIGEST}"\nview = ["*"]\n{line}\n', clock)
    assert verdict(tokens, "secret", "default") is Access.GRANTED
    clock.pass_s(1)
    assert verdict(tokens, "secret", "default") is Access.UNAUTHENTICATED


def test_every_digest_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer must take as long for the first token as for the last, and for none."""
    import hmac

    compared: list[bytes] = []
    original = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return original(one, other)

    tokens = StaticTokens([Token(str(n), hash_token(str(n)), view=frozenset({"*"})) for n in range(5)])
    monkeypatch.setattr("aggmaint.asgi.tokens.hmac.compare_digest", counting)
    for token in ("0", "4", "none"):
        verdict(tokens, token, "default")
    assert len(compared) == 15


GOOD = f'name = "t"\nsha256 = "{DIGEST}"\nview = ["*"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["no [[token]] entry", "Add one"]),
        ("token = 5", ["no [[token]] entry"]),
        ("token = [5]", ["no [[token]] entry"]),
        ("[[token]]\nname = \n", ["line 2", "not valid TOML"]),
        (f"[[token]]\n{GOOD}\n[[tokens]]\n", ["unknown key 'tokens'"]),
        (f"\n[[token]]\n{GOOD}rights = 1", ["token 1, line 6", "unknown key 'rights'", "view, manage"]),
        (f'[[token]]\nsha256 = "{DIGEST}"\nview = ["*"]', ["token 1, line 1", "name is None", "whose"]),
        ('[[token]]\nname = "t"\nview = ["*"]', ["token 1, line 1", "sha256 is None"]),
        (f'[[token]]\nname = "t"\nsha256 = "{DIGEST}"', ["token 1, line 1", "no rights", "view ="]),
        (f'[[token]]\nname = "t"\nsha256 = "{DIGEST}"\nmanage = []', ["no rights"]),
        (f'[[token]]\nname = "t"\nsha256 = "{DIGEST}"\nview = "acme"', ["line 4", "view is 'acme'", 'view = ["acme"]']),
        (f'[[token]]\nname = "t"\nsha256 = "{DIGEST}"\nview = ["a", 5]', ["line 4", "5", "give a string"]),
        (f'[[token]]\nname = "t"\nsha256 = "{DIGEST}"\nview = [""]', ["line 4", "must have 1 to 255"]),
        (f"[[token]]\n{GOOD}expires = 2027-01-31", ["line 5", "2027-01-31", "2027-01-31T00:00:00Z"]),
        (f"[[token]]\n{GOOD}expires = 2027-01-31T00:00:00", ["line 5", "instant with offset"]),
        (f"[[token]]\n{GOOD}[[token]]\n{GOOD}", ["token 2, line 7", "that of token 1 again"]),
        (f"token = [{{name = 't', sha256 = '{DIGEST}', view = 1}}]", ["token 1: view is 1"]),
    ],
)
def test_mistakes_are_named_with_line_and_remedy(tmp_path: Path, text: str, said: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "tokens.toml") in caught.value.message
    for part in said:
        assert part in caught.value.message


def test_a_token_in_plain_text_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, '[[token]]\nname = "t"\nsha256 = "tops3cret-tops3cret"\nview = ["*"]')
    message = caught.value.message
    assert "token 1, line 3" in message and "'tops'… (19 characters)" in message and "sha256sum" in message
    assert "s3cret" not in message


def test_all_problems_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, '[[token]]\nname = ""\n[[token]]\nsha256 = "x"\nview = 1\n')
    assert len(caught.value.problems) == 6, caught.value.problems


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_tokens(tmp_path / "absent.toml")
    with pytest.raises(ConfigurationError, match="can not be read"):
        load_tokens(tmp_path)
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_tokens(tmp_path / "latin")


@pytest.mark.parametrize("token", ["", "two words", "line\n"])
def test_what_no_header_can_carry_is_no_token(token: str) -> None:
    with pytest.raises(InvalidValueError, match="white space"):
        hash_token(token)


def test_tokens_made_in_python_are_checked_too() -> None:
    with pytest.raises(InvalidValueError, match="hash_token"):
        Token("t", "secret")
    with pytest.raises(InvalidValueError, match="same sha256"):
        StaticTokens([Token("a", DIGEST), Token("b", DIGEST)])
    assert DIGEST not in repr(Token("t", DIGEST))
