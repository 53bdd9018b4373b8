"""The dashboard in a real browser: everything that only a browser can tell. Skipped where there is no Chromium."""

import re
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from aggmaint import MaintenanceEngine, MaintenanceReport, TaskContext
from aggmaint.asgi import Anonymous, Dashboard, create_app
from tests.asgi.support import served
from tests.dashboard.browser import CHROMIUM, NO_CHROMIUM, Watched, chromium, watched
from tests.dashboard.scene import Scene
from tests.dashboard.support import app_of, engine_of
from tests.dashboard.test_foreign import HOSTILE, reports
from tests.support.tasks import PATIENCE_S, FunctionTask

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def open_app(engine: MaintenanceEngine, **options: Any) -> ASGIApp:
    return create_app(engine, authorize=Anonymous(), mounted=[Dashboard(**options)])


@pytest.fixture(scope="module")
def fleet_port(scene: Scene) -> Iterator[int]:
    with served(open_app(scene.engine())) as port:
        yield port


def pages_of_the_fleet(page: Page) -> list[str]:
    """The address of each kind of page."""
    home = page.url
    found = [home, f"{home}?show=attention&sort=health", f"{home}?q=nothing"]
    for org in ("acme", "globex", "stark-industries"):
        page.goto(home)
        page.get_by_role("link", name=org, exact=True).click()
        found.append(page.url)
        if org == "stark-industries":
            break
        runs = page.locator("section[aria-labelledby=runs] a.row-link")
        found.append(str(runs.first.evaluate("each => each.href")))
        for link in page.locator("section[aria-labelledby=aggregates] a.row-link").all():
            found.append(str(link.evaluate("each => each.href")))
    acme = found[3]
    found.append(found[5] + "&partition=2023-03")
    found.append(found[5] + "&partition=1066-10")
    found.append(acme.replace("organization?", "act?") + "&action=pause")
    found.append(acme.replace("organization?", "act?") + "&action=schedule-add")
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_every_page_is_sound_in_both_themes_and_at_both_widths(
    browser: Browser, fleet_port: int, theme: str, width: int
) -> None:
    """No console error, no violation of the policy, nothing off the origin, nothing serious for axe, no sideways scroll."""
    size = {"width": width, "height": 800}
    with watched(browser, fleet_port, color_scheme=theme, viewport=size) as watch:
        addresses = pages_of_the_fleet(watch.open())
        assert len(addresses) == 18
        for address in addresses:
            watch.page.goto(address)
            assert watch.serious() == [], address
            assert watch.overflow == 0, address
            dark = watch.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 18, 20)"
            assert dark is (theme == "dark")


class SteppedTask:
    """Goes on when the test says so: each number put into `steps` is told as progress, None ends the run."""

    def __init__(self) -> None:
        self.steps: SimpleQueue[int | None] = SimpleQueue()

    def run(self, context: TaskContext) -> MaintenanceReport:
        while (step := self.steps.get(timeout=PATIENCE_S)) is not None:
            context.progress("refresh", done=step, total=9, detail="sales.<b>revenue</b>")
        return MaintenanceReport(complete=True, summary="nine partitions refreshed")


def test_run_now_is_pressed_and_progress_moves_to_its_end(browser: Browser) -> None:
    task = SteppedTask()
    with (
        engine_of("acme", task=task, inline=False) as engine,
        served(open_app(engine)) as port,
        watched(browser, port) as watch,
    ):
        page = watch.open()
        page.get_by_role("link", name="acme").click()
        page.get_by_role("button", name="Run now").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Running")
        for step in (2, 5, 7):
            task.steps.put(step)
            expect(page.locator("[data-live-count]")).to_have_text(f"{step} of 9", timeout=15_000)
            assert page.locator("progress").evaluate("bar => bar.value") == step
        expect(page.locator("[data-live-step]")).to_have_text("Publishing partitions")
        expect(page.locator("[data-live-detail]")).to_have_text("sales.<b>revenue</b>")
        task.steps.put(None)
        expect(page.get_by_role("heading", level=1)).to_have_text("Done", timeout=15_000)
        expect(page.get_by_text("nine partitions refreshed")).to_be_visible()
        expect(page.locator("#announce")).to_have_text("The run has ended.")
        assert engine.wait_until_idle(timeout_s=PATIENCE_S)


def test_the_list_moves_by_itself_while_something_runs(browser: Browser) -> None:
    task = SteppedTask()
    with engine_of("acme", task=task, inline=False) as engine, served(open_app(engine)) as port:
        engine.run_immediately("acme")
        with watched(browser, port) as watch:
            page = watch.open()
            task.steps.put(4)
            expect(page.get_by_text("Publishing partitions")).to_be_visible(timeout=15_000)
            task.steps.put(None)
            expect(page.get_by_text("Done")).to_be_visible(timeout=15_000)


def test_a_run_can_be_cancelled_after_it_was_asked(browser: Browser) -> None:
    stopped = threading.Event()

    class Task:
        def run(self, context: TaskContext) -> MaintenanceReport:
            try:
                while not stopped.wait(0.005):
                    context.check()
                return MaintenanceReport(complete=True)
            finally:
                stopped.set()

    with engine_of("acme", task=Task(), inline=False) as engine, served(open_app(engine)) as port:
        engine.run_immediately("acme")
        with watched(browser, port) as watch:
            page = watch.open("/dashboard/organization?org=acme")
            page.get_by_role("link", name="Follow the run").click()
            page.get_by_role("link", name="Cancel the run").click()
            dialog = page.get_by_role("dialog")
            expect(dialog).to_contain_text("Aggregates stay as they are")
            dialog.get_by_role("link", name="Go back").click()
            expect(dialog).not_to_be_visible()
            assert not stopped.is_set()
            page.get_by_role("link", name="Cancel the run").click()
            dialog.get_by_role("button", name="Cancel the run").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Cancelled", timeout=15_000)
        assert engine.wait_until_idle(timeout_s=PATIENCE_S)


def test_a_stale_partition_tells_its_reason(browser: Browser, fleet_port: int) -> None:
    with watched(browser, fleet_port) as watch:
        page = watch.open()
        page.get_by_role("link", name="acme", exact=True).click()
        page.get_by_role("link", name="revenue by month").click()
        expect(page.locator(".detail")).to_contain_text("Why not all is fresh")
        page.get_by_role("link", name=re.compile("^2023-03: stale")).click()
        expect(page.locator("[data-why]")).to_have_text(
            "Marked as changed after the last look: lineitem, from 2023-03-01 to 2023-05-01"
        )
        expect(page).to_have_url(re.compile(r"partition=2023-03#partition$"))
        page.get_by_role("link", name=re.compile("^2025-06: fresh")).click()
        expect(page.locator("[data-why]")).to_contain_text("152 rows, 5 fewer than when it was published")
        page.go_back()
        expect(page.locator("[data-why]")).to_contain_text("Marked as changed")
        page.go_back()
        expect(page.locator(".detail")).to_contain_text("Why not all is fresh")


# -- keyboard ----------------------------------------------------------------------------------------------------------

FOCUS = """() => {
  const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
  return {text: (at.ariaLabel || at.textContent || at.name || "").trim().replace(/\\s+/g, " "),
          outline: style.outlineStyle !== "none" || style.boxShadow !== "none",
          seen: box.width > 0 && box.height > 0, tag: at.tagName};
}"""


def tab_to(page: Page, text: str, *, key: str = "Tab") -> None:
    """Press Tab until the focus is on what says `text`; each stop on the way must be seen to have it."""
    for _ in range(80):
        page.keyboard.press(key)
        focus = page.evaluate(FOCUS)
        assert focus["tag"] == "BODY" or (focus["outline"] and focus["seen"]), focus
        if focus["text"].startswith(text):
            return
    raise AssertionError(f"Tab never came to {text!r}")


def test_everything_can_be_done_by_keyboard(browser: Browser) -> None:
    with engine_of("acme", "globex", task=reports("sales"), inline=False) as engine, served(open_app(engine)) as port:
        engine.run_immediately("acme")
        engine.wait_until_idle(timeout_s=PATIENCE_S)
        with watched(browser, port) as watch:
            page = watch.open()
            page.keyboard.press("Tab")
            assert page.evaluate(FOCUS)["text"] == "Skip to content"
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.id") == "main"
            tab_to(page, "acme")
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", level=1)).to_have_text("acme")
            tab_to(page, "Pause schedules")
            page.keyboard.press("Enter")
            expect(page.get_by_role("dialog")).to_be_visible()
            assert page.evaluate("document.activeElement.name") == "reason"
            page.keyboard.press("Escape")
            expect(page.get_by_role("dialog")).not_to_be_visible()
            assert page.evaluate(FOCUS)["text"] == "Pause schedules"
            page.keyboard.press("Enter")
            expect(page.get_by_role("dialog")).to_be_visible()
            page.keyboard.type("moving house")
            page.keyboard.press("Enter")
            expect(page.locator(".callout")).to_contain_text("moving house")
            tab_to(page, "Resume schedules")
            page.keyboard.press("Enter")
            expect(page.get_by_text("Scheduled runs go on.")).to_be_visible()
            tab_to(page, "sales")
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", name="Partitions by")).to_be_visible()


def test_arrows_move_in_the_map_and_enter_chooses(browser: Browser, fleet_port: int) -> None:
    def focused(page: Page) -> str:
        return str(page.evaluate("document.activeElement.id"))

    with watched(browser, fleet_port) as watch:
        page = watch.open("/dashboard/organization?org=acme")
        page.get_by_role("link", name="revenue by month").click()
        tab_to(page, "2026-01")
        for key, cell in (
            ("ArrowRight", "2026-02"),
            ("ArrowDown", "2025-02"),
            ("ArrowDown", "2024-02"),
            ("ArrowLeft", "2024-01"),
            ("ArrowUp", "2025-01"),
            ("End", "2019-12"),
            ("ArrowRight", "2019-12"),
            ("Home", "2026-01"),
        ):
            page.keyboard.press(key)
            assert focused(page) == f"cell-{cell}", key
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator(".detail h3")).to_contain_text("2025-01")
        assert focused(page) == "cell-2025-01"
        expect(page.locator("#announce")).to_contain_text("2025-01")
        page.keyboard.press("Tab")  # the map is one stop
        assert not focused(page).startswith("cell-")


# -- where it stands ---------------------------------------------------------------------------------------------------


def stripped(app: ASGIApp, prefix: str) -> ASGIApp:
    """A proxy that takes a prefix off and tells nobody."""

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(prefix):
            cut = {
                "path": scope["path"].removeprefix(prefix),
                "raw_path": scope["raw_path"].removeprefix(prefix.encode()),
            }
            scope = {**scope, **cut}
        await app(scope, receive, send)

    return proxy


@pytest.mark.parametrize(
    "placed",
    [lambda app: Starlette(routes=[Mount("/ops/agg", app)]), lambda app: stripped(app, "/ops/agg")],
    ids=["mounted", "behind a proxy"],
)
def test_all_of_it_works_below_a_path(browser: Browser, placed: Callable[[ASGIApp], ASGIApp]) -> None:
    with engine_of("acme", task=reports("sales"), inline=False) as engine:
        app = placed(app_of(engine, sign_in=True))
        with served(app) as port, watched(browser, port) as watch:
            page = watch.open("/ops/agg/")
            expect(page).to_have_url(re.compile(r"/ops/agg/dashboard/sign-in"))
            page.get_by_label("Token").fill("manager")
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("link", name="acme").click()
            page.get_by_role("button", name="Run now").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Done", timeout=15_000)
            page.get_by_role("link", name="sales").first.click()
            expect(page.get_by_role("heading", name="Partitions by")).to_be_visible()
            assert [each["path"] for each in page.context.cookies()] == ["/ops/agg/dashboard"]
            page.get_by_role("button", name="Sign out").click()
            expect(page).to_have_url(re.compile(r"/ops/agg/dashboard/sign-in$"))
            assert page.context.cookies() == []
        assert engine.wait_until_idle(timeout_s=PATIENCE_S)


def test_hostile_names_do_nothing_and_fit_a_phone(browser: Browser) -> None:
    tasks = {name: reports(name) for name in HOSTILE}
    task = FunctionTask(lambda context: tasks[context.org_id].run(context))
    with (
        engine_of(*HOSTILE, task=task) as engine,
        served(open_app(engine)) as port,
        watched(browser, port, viewport={"width": 375, "height": 700}) as watch,
    ):
        for name in HOSTILE:
            engine.run_immediately(name)
            engine.pause(name, reason=name, by=name)
        page = watch.open()
        assert watch.overflow == 0 and watch.serious() == []
        addresses = [str(each.evaluate("each => each.href")) for each in page.locator("a.row-link").all()]
        assert len(addresses) == len(HOSTILE)
        for address in addresses:
            page.goto(address)
            assert page.locator("h1 bdi").inner_text().strip() in [" ".join(name.split()) for name in HOSTILE]
            for part in ("aggregates", "runs"):
                assert watch.overflow == 0, address
                link = page.locator(f"section[aria-labelledby={part}] a.row-link").first
                below = str(link.evaluate("each => each.href"))
                page.goto(below)
                assert watch.overflow == 0, below
                if part == "aggregates":
                    page.locator("[data-cell]").first.click()
                    expect(page.locator("[data-why]")).to_be_visible()
                    assert watch.serious() == [], below
                page.goto(address)


def test_without_scripts_links_and_forms_do_it_all(browser: Browser) -> None:
    with (
        engine_of("acme", task=reports("sales")) as engine,
        served(open_app(engine)) as port,
        watched(browser, port, java_script_enabled=False) as watch,
    ):
        page = watch.open()
        page.get_by_role("link", name="acme").click()
        page.get_by_role("link", name="Pause schedules").click()
        page.get_by_label("Reason").fill("moving house")
        page.get_by_role("button", name="Pause").click()
        expect(page.locator(".callout")).to_contain_text("moving house")
        page.get_by_role("link", name="Run now").click()
        page.get_by_role("button", name="Run now").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Done")
        page.get_by_role("link", name="sales", exact=True).first.click()
        page.locator("[data-cell]").first.click()
        expect(page.locator("[data-why]")).to_be_visible()


def test_the_theme_that_was_chosen_stays(browser: Browser, fleet_port: int) -> None:
    def background(watch: Watched) -> str:
        return str(watch.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    with watched(browser, fleet_port, color_scheme="light") as watch:
        page = watch.open()
        bright = background(watch)
        button = page.get_by_role("button", name="Colour theme")
        button.click()
        assert background(watch) == bright  # light, as the system is
        button.click()
        assert background(watch) != bright
        page.reload()
        assert background(watch) != bright
        page.get_by_role("button", name="Colour theme: dark").click()
        assert background(watch) == bright


def test_when_there_is_no_place_for_a_stream_pages_ask_now_and_then(browser: Browser) -> None:
    task = SteppedTask()
    with engine_of("acme", task=task, inline=False) as engine, served(open_app(engine, streams_max=0)) as port:
        engine.run_immediately("acme")
        watch = Watched(browser, f"http://127.0.0.1:{port}")
        page = watch.open("/dashboard/organization?org=acme")
        task.steps.put(3)
        task.steps.put(None)
        expect(page.get_by_text("Idle")).to_be_visible(timeout=15_000)
        assert [each for each in watch.faults if "503" not in each] == []
        watch.close()
        assert engine.wait_until_idle(timeout_s=PATIENCE_S)
