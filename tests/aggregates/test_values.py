"""Tokens, policy and reasons."""

from typing import Any

import pytest

from aggmaint.aggregates.policy import Policy
from aggmaint.aggregates.reasons import MEANINGS, Reason
from aggmaint.aggregates.tokens import Comparison, TokenKind, compare_tokens, make_token, token_rows, unverified_token
from aggmaint.errors import InvalidValueError


def token(**parts: Any) -> str:
    values = {"engine": "duckdb2", "kind": TokenKind.SOURCE, "columns": ("a", "b"), "rows": 3, "hashes": 77, **parts}
    return make_token(**values)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({}, Comparison.SAME),
        ({"rows": 4}, Comparison.DIFFERENT),
        ({"hashes": 78}, Comparison.DIFFERENT),
        ({"engine": "duckdb3"}, Comparison.INCOMPARABLE),
        ({"kind": TokenKind.JOINED}, Comparison.INCOMPARABLE),
        ({"columns": ("a",)}, Comparison.INCOMPARABLE),
        ({"columns": ("a\x00b",)}, Comparison.SAME),
    ],
)
def test_tokens_compare_within_their_scheme_only(change: dict[str, Any], answer: Comparison) -> None:
    assert compare_tokens(token(), token(**change)) is answer


def test_a_token_tells_its_rows() -> None:
    assert token_rows(token(rows=1234567)) == 1234567


@pytest.mark.parametrize(
    "setting",
    [
        {"retired_grace_s": -1},
        {"failed_grace_s": "1h"},
        {"forget_s": float("nan")},
        {"retired_max": True},
        {"retired_share_max": 1.5},
        {"partitions_max": 0},
        {"builds_per_snapshot": 0},
    ],
)
def test_policies_are_validated(setting: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=next(iter(setting))):
        Policy(**setting)


def test_every_reason_has_one_sentence() -> None:
    assert set(MEANINGS) == set(Reason)
    for meaning in MEANINGS.values():
        assert meaning.sentence[0].isupper()
        assert meaning.sentence.endswith(".")
        assert "\n" not in meaning.sentence


def test_a_token_that_nobody_verified_compares_with_none_not_even_with_itself() -> None:
    unverified, real = unverified_token(3), make_token("duckdb2", TokenKind.SOURCE, ("a",), 3, 5)
    for before, after in ((unverified, unverified), (unverified, real), (real, unverified)):
        assert compare_tokens(before, after) is Comparison.INCOMPARABLE
    assert token_rows(unverified) == 3
