"""Asking for pages without a browser, and reading what came."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import urlencode, urljoin

from attrs import define, field
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine, MaintenanceTask
from aggmaint.asgi import Dashboard, StaticTokens, Token, create_app, hash_token
from aggmaint.stores.memory import MemoryStore
from aggmaint.testing.clocks import ManualClock
from tests.asgi.support import Answer, ask
from tests.support.tasks import FunctionTask

AT: Final = "/dashboard/"
_INLINE: Final = frozenset({"a", "span", "bdi", "strong", "code", "time"})
_VOID: Final = frozenset({"meta", "link", "input", "br", "hr", "img"})


@define
class Page(HTMLParser):
    """A page's elements: (tag, attributes, text below), in the order of their beginnings."""

    elements: list[tuple[str, dict[str, str], list[str]]] = field(factory=list)
    _open: list[int] = field(factory=list)

    def __attrs_pre_init__(self) -> None:
        HTMLParser.__init__(self, convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))
        if tag not in _INLINE:
            self.handle_data(" ")
        if tag not in _VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self.elements[self._open[-1]][0] == tag, f"</{tag}> closes what it did not open"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for index in self._open:
            self.elements[index][2].append(data)

    def all(self, tag: str, **attributes: str) -> list[tuple[dict[str, str], str]]:
        """Elements of a kind: their attributes, and their text with single spaces."""
        return [
            (given, " ".join("".join(text).split()))
            for name, given, text in self.elements
            if name == tag
            and all(given.get(key.rstrip("_").replace("_", "-")) == value for key, value in attributes.items())
        ]

    @property
    def text(self) -> str:
        (main,) = self.all("main")
        return main[1]

    @property
    def links(self) -> list[str]:
        return [attributes["href"] for attributes, _ in self.all("a") if "href" in attributes]

    @property
    def actions(self) -> set[str]:
        """What can be done from here: the action of each form and of each link that asks."""
        targets = [given["action"] for given, _ in self.all("form")] + list(self.links)
        return {each.partition("action=")[2].partition("&")[0] for each in targets if each.startswith("act?")}


def read(answer: Answer) -> Page:
    """The page, after everything that must hold of every page was found to hold."""
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    page = Page()
    page.feed(answer.content.decode())
    page.close()
    for tag, attributes, text in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        assert tag not in ("style", "iframe", "object", "base"), tag
        assert tag != "script" or (attributes["src"].startswith("static/") and not text)
        for name in ("href", "src", "action"):
            target = attributes.get(name, "./")
            assert ":" not in target.partition("?")[0] and not target.startswith("/"), f"{target} is not relative"
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)), "an id stands twice"
    return page


def address(page: str, /, **query: str) -> str:
    return AT + page + (f"?{urlencode(query)}" if query else "")


def get(app: ASGIApp, page: str, /, *, token: str | None = "root", expect: int = 200, **query: str) -> Page:
    answer = ask(app, "GET", address(page, **query), token=token)
    assert answer.status == expect, answer.content
    return read(answer)


def post(
    app: ASGIApp,
    page: str,
    form: Mapping[str, str],
    *,
    token: str | None = "root",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    sent = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin", **(headers or {})}
    return ask(app, "POST", AT + page, token=token, headers=sent, content=urlencode(form).encode())


def act(app: ASGIApp, org: str, action: str, *, token: str | None = "root", **form: str) -> Answer:
    """Press a button and, if it asks, confirm."""
    return post(app, f"act?{urlencode({'org': org, 'action': action})}", {"confirmed": "yes", **form}, token=token)


def led_to(answer: Answer) -> str:
    """Where a redirect leads, below the mount."""
    assert answer.status == 303, answer.content
    return urljoin(AT, answer.headers["location"]).removeprefix(AT)


TOKENS: Final = StaticTokens(
    [
        Token("root", hash_token("root"), manage=frozenset({"*"})),
        Token("viewer", hash_token("viewer"), view=frozenset({"acme"})),
        Token("manager", hash_token("manager"), manage=frozenset({"acme"})),
        Token("nobody", hash_token("nobody"), view=frozenset({"elsewhere"})),
    ]
)


@contextmanager
def engine_of(
    *org_ids: str, task: MaintenanceTask | None = None, inline: bool = True, clock: ManualClock | None = None
) -> Iterator[MaintenanceEngine]:
    store = MemoryStore(clock=clock) if clock else MemoryStore()
    more: dict[str, Any] = {"executor": None} if inline else {"jobs_max": 4}
    if clock:
        more["clock"] = clock
    engine = MaintenanceEngine(store=store, task=task or FunctionTask(), scheduler=None, **more)
    engine.register_organizations(org_ids)
    try:
        yield engine
    finally:
        engine.close()


def app_of(engine: MaintenanceEngine, **options: Any) -> ASGIApp:
    return create_app(engine, authorize=TOKENS, mounted=[Dashboard(**options)])
