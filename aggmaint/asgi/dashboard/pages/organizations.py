"""The list of organisations: what was asked for, what matches, in which order, and the rows that are shown.

Theory of operation. Whether an organisation matches and where it sorts follows from its document alone, so a list of many
thousands needs one read of documents; last jobs and inventories are read for the rows of one page only. In the order of ids
the list is paged by a cursor, the last id that was *shown*, and reading stops when a page is full. In other orders all
visible documents are read, sorted and cut by page number. Neither tells how many organisations there are.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

from attrs import frozen

from ....core.job import MaintenanceJob, Progress
from ....core.organization import OrgSnapshot
from .. import links
from ..charts import job_tone, job_word
from ..reading import OrganizationRow
from ..states import Freshness, Health, State, all_freshness, health, worst

ROWS: Final = 25
TEXT_MAX: Final = 255
PAGE_MAX: Final = 10_000

Word = TypeVar("Word", bound=StrEnum)


class Show(StrEnum):
    """The filters above the list."""

    ALL = "all"
    ATTENTION = "attention"
    RUNNING = "running"
    PAUSED = "paused"
    NEW = "new"


class Sort(StrEnum):
    NAME = "name"
    HEALTH = "health"
    NEXT = "next"


@frozen
class ListQuery:
    """`after`: the cursor of the order by name. `page`: 1… for the other orders."""

    text: str = ""
    show: Show = Show.ALL
    sort: Sort = Sort.NAME
    after: str = ""
    page: int = 1

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "ListQuery":
        """Whatever is unknown counts as not given: a link that was mangled still shows a list."""
        page = query.get("page", "")
        return cls(
            text=query.get("q", "").strip()[:TEXT_MAX],
            show=_one_of(Show, query.get("show", ""), Show.ALL),
            sort=_one_of(Sort, query.get("sort", ""), Sort.NAME),
            after=query.get("after", "")[:TEXT_MAX],
            page=min(max(int(page), 1), PAGE_MAX) if page.isascii() and page.isdecimal() and len(page) < 8 else 1,
        )

    def matches(self, document: OrgSnapshot) -> bool:
        if self.text and self.text.casefold() not in document.org_id.casefold():
            return False
        found = health(document)
        match self.show:
            case Show.ATTENTION:
                return found in (Health.FAILING, Health.DISABLED)
            case Show.RUNNING:
                return document.running is not None or document.pending is not None
            case Show.PAUSED:
                return document.paused is not None or not document.enabled
            case Show.NEW:
                return found is Health.NEW
        return True

    def sorted(self, documents: Sequence[OrgSnapshot]) -> list[OrgSnapshot]:
        if self.sort is Sort.HEALTH:
            order = list(Health)
            return sorted(documents, key=lambda each: (order.index(health(each)), -each.failure_streak, each.org_id))
        if self.sort is Sort.NEXT:
            far = float("inf")
            return sorted(documents, key=lambda each: (_seconds(each.next_run_at, far), each.org_id))
        return sorted(documents, key=lambda each: each.org_id)

    def link(self, **changes: links.Value) -> str:
        """This list with something else asked; paging begins anew."""
        given: dict[str, links.Value] = {
            "q": self.text,
            "show": self.show.value if self.show is not Show.ALL else None,
            "sort": self.sort.value if self.sort is not Sort.NAME else None,
        }
        return links.to("", **{**given, **changes})


def _one_of(kind: type[Word], text: str, default: Word) -> Word:
    return kind(text) if text in list(kind) else default


def _seconds(at: datetime | None, default: float) -> float:
    return default if at is None else at.timestamp()


@frozen
class RowModel:
    org_id: str
    link: str
    health: Health
    streak: int
    running: MaintenanceJob | None
    progress: Progress | None
    waiting: bool
    last: MaintenanceJob | None
    last_tone: str
    last_word: str
    next_at: datetime | None
    paused_because: str
    aggregates: int
    fresh: int
    counts: tuple[tuple[State, int], ...]
    worst: State | None


@frozen
class Choice:
    label: str
    link: str
    chosen: bool


@frozen
class ListPage:
    """`empty`: why nothing is shown: no organisations at all, or none that match."""

    query: ListQuery
    rows: tuple[RowModel, ...]
    now: datetime
    filters: tuple[Choice, ...]
    sorts: tuple[Choice, ...]
    next_link: str | None
    first_link: str | None
    empty: str | None


_SHOW_LABELS: Final = {
    Show.ALL: "All",
    Show.ATTENTION: "Needs attention",
    Show.RUNNING: "Running",
    Show.PAUSED: "Paused",
    Show.NEW: "Never run",
}
_SORT_LABELS: Final = {Sort.NAME: "Organisation", Sort.HEALTH: "Health", Sort.NEXT: "Next run"}


def list_page(query: ListQuery, rows: Sequence[OrganizationRow], now: datetime, *, more: bool) -> ListPage:
    """`more`: further matching organisations follow the rows."""
    next_link = None
    if more and rows:
        by_name = query.sort is Sort.NAME
        next_link = query.link(after=rows[-1].document.org_id) if by_name else query.link(page=query.page + 1)
    further = bool(query.after) or query.page > 1
    unfiltered = not query.text and query.show is Show.ALL and not further
    return ListPage(
        query=query,
        rows=tuple(_row(each) for each in rows),
        now=now,
        filters=tuple(
            Choice(label, query.link(show=None if show is Show.ALL else show.value), show is query.show)
            for show, label in _SHOW_LABELS.items()
        ),
        sorts=tuple(
            Choice(label, query.link(sort=None if sort is Sort.NAME else sort.value), sort is query.sort)
            for sort, label in _SORT_LABELS.items()
        ),
        next_link=next_link,
        first_link=query.link() if further else None,
        empty=None if rows else "none" if unfiltered else "no_match",
    )


def _row(row: OrganizationRow) -> RowModel:
    document, running = row.document, row.document.running
    standing = _standing(row)
    counts: dict[State, int] = {}
    for each in standing:
        counts[each.state] = counts.get(each.state, 0) + 1
    return RowModel(
        org_id=document.org_id,
        link=links.to("organization", org=document.org_id),
        health=health(document),
        streak=document.failure_streak,
        running=running.job if running else None,
        progress=running.progress if running else None,
        waiting=document.pending is not None,
        last=row.last,
        last_tone=job_tone(row.last) if row.last else "none",
        last_word=job_word(row.last) if row.last else "never",
        next_at=document.next_run_at,
        paused_because=document.paused.reason if document.paused else "",
        aggregates=len(standing),
        fresh=counts.get(State.FRESH, 0),
        counts=tuple((state, counts[state]) for state in State if counts.get(state)),
        worst=worst(standing),
    )


def _standing(row: OrganizationRow) -> list[Freshness]:
    if row.found is None:
        return []
    found = all_freshness(row.found.inventory, row.found.report, row.document.marks)
    return [each for _, each in found if not each.blocked]
