"""Identities, as types of their own, so that no call can take a job id for an organisation.

An organisation id is opaque: compared exactly, never folded, trimmed or normalised (spec/http-api.md, section 1).
"""

from typing import NewType

from ..errors import InvalidOrgIdError, InvalidValueError

OrgId = NewType("OrgId", str)
JobId = NewType("JobId", str)
ScheduleId = NewType("ScheduleId", str)

ORG_ID_LENGTH_MAX = 255


def parse_org_id(text: str) -> OrgId:
    """Check `text` and give it the type. Raises InvalidOrgIdError (empty, too long, NUL, lone surrogates)."""
    if not isinstance(text, str):
        raise InvalidOrgIdError(f"organisation id {text!r} is a {type(text).__name__}; give a string")
    if not 1 <= len(text) <= ORG_ID_LENGTH_MAX:
        raise InvalidOrgIdError(
            f"organisation id {text[:40]!r} has {len(text)} characters; it must have 1 to {ORG_ID_LENGTH_MAX}"
        )
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidOrgIdError(f"organisation id {text!r} contains NUL or a lone surrogate; use plain Unicode text")
    return OrgId(text)


def check_text(name: str, text: str, length_max: int) -> str:
    """`text`, if it is one that a store can keep. Raises InvalidValueError: empty, too long, NUL, lone surrogates."""
    if not isinstance(text, str) or not 1 <= len(text) <= length_max:
        raise InvalidValueError(f"{name}={text!r:.60} must be a text of 1 to {length_max} characters")
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidValueError(f"{name}={text!r:.60} contains NUL or a lone surrogate; use plain Unicode text")
    return text
