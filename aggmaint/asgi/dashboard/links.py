"""Where pages are. All of them lie side by side below the mount, and every link is relative: so links hold under any mount
path, and behind a proxy that takes one off. Ids travel in the query, so that any id works.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

HOME: Final = "./"
PAGES: Final = frozenset({"", "organization", "aggregate", "job"})
Value = str | int | None


def to(page: str, /, **query: Value) -> str:
    """`page`: organization, aggregate, job, act, events, …; an empty text is the list. Empty values are left out."""
    given = {key: str(value) for key, value in query.items() if value not in (None, "")}
    return (page or HOME) + (f"?{urlencode(given)}" if given else "")


def change(page: str, query: Mapping[str, Value], /, **changes: Value) -> str:
    """The same page with some parameters of its query changed; None takes one out."""
    return to(page, **{**query, **changes})


def safe_target(target: str) -> str:
    """`target` if it is a page of this dashboard, as `to` writes it; else the list. For texts that came with a request."""
    page, _, query = target.removeprefix(HOME).partition("?")
    if page not in PAGES or any(not 0x21 <= ord(each) < 0x7F or each in '\\"<>#' for each in query):
        return HOME
    return (page or HOME) + (f"?{query}" if query else "")
