"""What may be decided by settings: graces, the brake, and bounds. Validated when made."""

from typing import Any

from attrs import Attribute, field, frozen

from ..errors import InvalidValueError


def _at_least(least: float) -> Any:
    def check(_instance: Any, attribute: "Attribute[Any]", value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
            raise InvalidValueError(f"policy {attribute.name}={value!r} must be a number of at least {least}")

    return check


def _more_than_nothing(_instance: Any, attribute: "Attribute[Any]", value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InvalidValueError(f"policy {attribute.name}={value!r} must be a number greater than 0")


def _share(_instance: Any, attribute: "Attribute[Any]", value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidValueError(f"policy {attribute.name}={value!r} must be a share between 0 and 1")


@frozen(kw_only=True)
class Policy:
    """Settings of aggregate maintenance, for one organisation or all.

    retired_grace_s   how long a superseded or deactivated table is kept for queries that still read it. At least the
                      longest query that you allow.
    failed_grace_s    how long what failed, was cancelled or found unreliable is kept for a look at it.
    forget_s          how long the record of a deleted table is kept.
    retired_max       the brake: if more definitions than this are gone at once …
    retired_share_max … or more than this share of the active ones, nothing is retired without approval.
    partitions_max    an aggregate with more periods than this is refused (a date column with year 9999 in it is typical).
    builds_per_snapshot  how many aggregates are built from one snapshot, sharing its fingerprint scans. If one of them
                      fails, each is tried again alone.
    audit_days        within so many days each partition for which a declaration or an engine's token vouches is compared
                      with its source all the same, and each partition of a large table with what was published.
    compared_rows_max tables of up to so many rows are compared whole in each run, larger ones in rotation.
    reverified_max    after an engine's upgrade no fingerprint can be compared with an old one: how many partitions one run
                      refreshes for that reason alone.
    """

    retired_grace_s: float = field(default=3600.0, validator=_at_least(0))
    failed_grace_s: float = field(default=3600.0, validator=_at_least(0))
    forget_s: float = field(default=30 * 86400.0, validator=_at_least(0))
    retired_max: int = field(default=20, validator=_at_least(0))
    retired_share_max: float = field(default=0.5, validator=_share)
    partitions_max: int = field(default=10_000, validator=_at_least(1))
    builds_per_snapshot: int = field(default=8, validator=_at_least(1))
    audit_days: float = field(default=30.0, validator=_more_than_nothing)
    compared_rows_max: int = field(default=100_000, validator=_at_least(0))
    reverified_max: int = field(default=200, validator=_at_least(1))
