"""The pictures of the documentation, taken of the fleet; `python -m tests.dashboard.pictures` takes them anew."""

import threading
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser

from aggmaint import MaintenanceReport, TaskContext
from aggmaint.asgi import Anonymous, Dashboard, create_app
from tests.asgi.support import served
from tests.dashboard.browser import chromium, watched
from tests.dashboard.scene import fleet
from tests.support.tasks import until

PLACE: Final = Path(__file__).parents[2] / "docs" / "pictures"
SIZE: Final = {"width": 1200, "height": 780}
NAMES: Final = ("organizations", "organization", "aggregate", "run")
THEMES: Final = ("light", "dark")


def main() -> None:
    scene = fleet()
    over = threading.Event()

    def runs(context: TaskContext) -> MaintenanceReport:
        while not over.wait(0.2):
            scene.clock.pass_s(1.1)  # so that the worker writes what it is told
            context.progress("refresh", done=7, total=12, detail="sales.revenue by month")
        return MaintenanceReport(complete=True)

    scene.bodies["hooli"] = runs
    engine = scene.engine(inline=False)
    engine.run_immediately("hooli")
    until(lambda: (running := engine.get_organization("hooli").running) and running.progress)
    PLACE.mkdir(exist_ok=True)
    with served(create_app(engine, authorize=Anonymous(), mounted=[Dashboard()])) as port, chromium() as browser:
        for theme in THEMES:
            take(browser, port, theme)
        over.set()
        engine.close()


def take(browser: Browser, port: int, theme: str) -> None:
    with watched(browser, port, color_scheme=theme, viewport=SIZE) as watch:

        def shoot(name: str) -> None:
            watch.page.mouse.move(0, 0)
            watch.page.screenshot(path=PLACE / f"dashboard-{name}-{theme}.png", animations="disabled")

        page = watch.open()
        shoot("organizations")
        page.get_by_role("link", name="acme", exact=True).click()
        page.get_by_role("heading", name="Runs").wait_for()
        shoot("organization")
        run = str(page.locator("section[aria-labelledby=runs] a.row-link").first.evaluate("each => each.href"))
        page.get_by_role("link", name="revenue by month").click()
        page.locator("#partition").wait_for()
        shoot("aggregate")
        page.goto(run)
        shoot("run")


if __name__ == "__main__":
    main()
