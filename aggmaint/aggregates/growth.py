"""What an observation says of a source to which rows were only added, or why it can not say that: values, no rules.

The rules are in `additive.py`.
"""

from enum import StrEnum

from attrs import frozen

from .periods import Period


class Hindrance(StrEnum):
    """Why new rows can not be told apart, or not be merged.

    undeclared  the source does not promise `marks_commit_in_order`.
    measures    a measure can not be merged; what is new is known all the same.
    sources     another source of the aggregate moved, or what it reads is new.
    mark        it is not known up to which mark its source was published.
    rows        rows came, changed or went at or below the mark: the promise is not kept, or the column is too coarse.
    marked      the host marked more as changed than single periods.
    refused     merging was tried in this run, and did not pass the gate.
    """

    UNDECLARED = "undeclared"
    MEASURES = "measures"
    SOURCES = "sources"
    MARK = "mark"
    ROWS = "rows"
    MARKED = "marked"
    REFUSED = "refused"


@frozen
class Hindered:
    """New rows are not merged, and why, in words."""

    hindrance: Hindrance
    words: str


@frozen
class Grown:
    """To a source rows were only added since it was published: those whose mark is greater than `since`.

    `added`: the token of the new rows of each period that has some, of the sort that the tokens of its periods are. With
    joins it is over the joined rows, or, where those are over the content, tells only how many joined rows are new.
    `rows`: without joins, how many source rows these periods have, as far as the published number is one without them.
    """

    since: str
    added: tuple[tuple[Period, str], ...]
    rows: tuple[tuple[Period, int], ...] = ()
