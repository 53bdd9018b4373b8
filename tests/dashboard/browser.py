"""A real browser: Debian's Chromium by Playwright, watched. What a page must never do fails the test that opened it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final

from attrs import define, field
from playwright.sync_api import Browser, Page, sync_playwright

FLAGS: Final = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
CHROMIUM: Final = os.environ.get("AGGMAINT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
NO_CHROMIUM: Final = "there is no Chromium here; apt-get install chromium, or name one in AGGMAINT_CHROMIUM"
AXE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
_TELL_VIOLATIONS: Final = """
addEventListener("securitypolicyviolation", (event) => console.error("CSP", event.violatedDirective, event.blockedURI));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@define
class Watched:
    """One page of a browser of its own, and everything that it did which no page may do."""

    browser: Browser
    origin: str
    options: dict[str, Any] = field(factory=dict)
    faults: list[str] = field(factory=list)
    page: Page = field(init=False)

    def __attrs_post_init__(self) -> None:
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **self.options})
        context.set_default_timeout(15_000)
        context.add_init_script(_TELL_VIOLATIONS)
        self.page = context.new_page()
        self.page.on("console", lambda message: self._note(message.type in ("error", "warning"), message.text))
        self.page.on("pageerror", lambda error: self._note(True, f"uncaught: {error}"))
        self.page.on("dialog", lambda dialog: self._note(True, f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self._note(not request.url.startswith(self.origin), request.url))

    def _note(self, fault: bool, what: str) -> None:
        if fault:
            self.faults.append(what)

    def open(self, path: str = "/dashboard/") -> Page:
        self.page.goto(self.origin + path)
        return self.page

    def serious(self) -> list[str]:
        """axe's findings of impact serious or critical. Evaluated by the debugger, so the page's policy stays as it is."""
        self.page.evaluate(AXE)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    @property
    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return wide

    def close(self) -> None:
        self.page.context.close()


@contextmanager
def watched(browser: Browser, port: int, **options: Any) -> Iterator[Watched]:
    """A page on a server of this machine. Fails at its end if the page did what none may do."""
    watch = Watched(browser, f"http://127.0.0.1:{port}", options)
    try:
        yield watch
        assert watch.faults == []
    finally:
        watch.close()
