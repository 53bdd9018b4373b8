"""What may be decided by settings: graces, the brake, retention, and bounds. Validated when made."""

from typing import Any, Final

from attrs import Attribute, field, frozen

from ..errors import InvalidValueError

RETENTION_LIMIT: Final = 100
RETENTION_EXCESS: Final = 2
UNUSED_DAYS_MIN: Final = 10
UNUSED_DAYS_MAX: Final = 365
MERGE_ROWS_MIN: Final = 75_000
"""Where a merge, with a dozen statements of its own (11 ms), broke even on DuckDB 2.0: at 65,000 rows of 100,000 source rows
it took 0.93 of the CPU time of computing anew, at 20,000 rows 1.2, at 400,000 rows 0.5."""


def _at_least(least: float) -> Any:
    def check(_instance: Any, attribute: "Attribute[Any]", value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
            raise InvalidValueError(f"policy {attribute.name}={value!r} must be a number of at least {least}")

    return check


def _whole(least: int, most: int | None = None) -> Any:
    def check(_instance: Any, attribute: "Attribute[Any]", value: int) -> None:
        fits = isinstance(value, int) and not isinstance(value, bool) and least <= value
        if not fits or (most is not None and value > most):
            bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise InvalidValueError(f"policy {attribute.name}={value!r} must be a whole number {bounds}")

    return check


def _flag(_instance: Any, attribute: "Attribute[Any]", value: bool) -> None:
    if not isinstance(value, bool):
        raise InvalidValueError(f"policy {attribute.name}={value!r} must be true or false")


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
    query_max_s       the longest query that you allow on aggregates, if you bound it (0: you do not). The grace above may
                      not be shorter.
    failed_grace_s    how long what failed, was cancelled or found unreliable is kept for a look at it.
    forget_s          how long the record of a deleted table is kept.
    retired_max       the brake: if more definitions than this are gone, or found unused, at once …
    retired_share_max … or more than this share of the active ones are gone, nothing of theirs is retired or dropped without
                      approval.
    retention_limit   per cube: if it has more system-defined definitions than the limit …
    retention_excess  … and this excess, the least used are deactivated down to the limit. A 0 in either reverts both to
                      their defaults (100 and 2); 1 is valid.
    remove_unused     deactivate demand-defined definitions that were not used …
    unused_days       … for so many days, 10 to 365. Also the days of "recent" use by which retention judges.
    partitions_max    an aggregate with more periods than this is refused (a date column with year 9999 in it is typical).
    build_partitions_per_publish
                      an aggregate without joins and with more partitions than this is built in pieces of so many, each
                      committed by itself, so that a build that stops goes on where it stopped (0: never).
    builds_per_snapshot  how many aggregates are built from one snapshot, sharing its fingerprint scans. If one of them
                      fails, each is tried again alone.
    audit_days        within so many days each partition for which a declaration or an engine's token vouches is compared
                      with its source all the same, and each partition of a large table with what was published.
    compared_rows_max tables of up to so many rows are compared whole in each run, larger ones in rotation.
    merge_rows_min    where rows were only added to a source that promises it (`marks_commit_in_order`), and the partitions
                      that they belong to have at least so many rows (16 source rows counting as one), the new rows are
                      merged into them; smaller ones are computed anew. 0: they are always merged.
    reverified_max    after an engine's upgrade no fingerprint can be compared with an old one: how many partitions one run
                      refreshes for that reason alone.
    run_partitions_max, run_rows_max, run_s
                      what one run may compute, write and take (0: no bound); what is over it is left for the next run, but
                      for the first piece of work.
    """

    retired_grace_s: float = field(default=3600.0, validator=_at_least(0))
    query_max_s: float = field(default=0.0, validator=_at_least(0))
    failed_grace_s: float = field(default=3600.0, validator=_at_least(0))
    forget_s: float = field(default=30 * 86400.0, validator=_at_least(0))
    retired_max: int = field(default=20, validator=_at_least(0))
    retired_share_max: float = field(default=0.5, validator=_share)
    retention_limit: int = field(default=RETENTION_LIMIT, validator=_whole(0))
    retention_excess: int = field(default=RETENTION_EXCESS, validator=_whole(0))
    remove_unused: bool = field(default=True, validator=_flag)
    unused_days: int = field(default=45, validator=_whole(UNUSED_DAYS_MIN, UNUSED_DAYS_MAX))
    partitions_max: int = field(default=10_000, validator=_at_least(1))
    build_partitions_per_publish: int = field(default=500, validator=_whole(0))
    builds_per_snapshot: int = field(default=8, validator=_at_least(1))
    audit_days: float = field(default=30.0, validator=_more_than_nothing)
    compared_rows_max: int = field(default=100_000, validator=_at_least(0))
    merge_rows_min: int = field(default=MERGE_ROWS_MIN, validator=_at_least(0))
    reverified_max: int = field(default=200, validator=_at_least(1))
    run_partitions_max: int = field(default=0, validator=_at_least(0))
    run_rows_max: int = field(default=0, validator=_at_least(0))
    run_s: float = field(default=0.0, validator=_at_least(0))

    def __attrs_post_init__(self) -> None:
        if 0 in (self.retention_limit, self.retention_excess):  # published: 0 is unsupported and reverts both
            object.__setattr__(self, "retention_limit", RETENTION_LIMIT)
            object.__setattr__(self, "retention_excess", RETENTION_EXCESS)
        if self.retired_grace_s < self.query_max_s:
            raise InvalidValueError(
                f"policy retired_grace_s={self.retired_grace_s!r} is shorter than the longest query, "
                f"query_max_s={self.query_max_s!r}: a query would lose its table; raise retired_grace_s"
            )
