"""docs/how-to/use-the-dashboard.md keeps its word."""

import re
from pathlib import Path
from typing import Any

from attrs import fields

from aggmaint.asgi import Dashboard
from aggmaint.asgi.dashboard.states import State
from tests.asgi.support import ask
from tests.dashboard.support import AT, read

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "use-the-dashboard.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "use-the-dashboard.md", "exec"), names)
    assert ask(names["app"], "GET", "/", token=None).headers["location"] == "./dashboard/"
    assert ask(names["app"], "GET", AT, token=None).status == 401
    page = read(ask(names["app"], "GET", AT, token=None, headers={"Cookie": "session=s3ss10n"}))
    assert "Tenants" in page.all("title")[0][1]
    assert [text.split()[0] for _, text in page.all("tr")[1:]] == ["acme"]


def test_every_picture_is_there_in_both_themes_and_small() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page, place in ((PAGE, ROOT / "docs" / "how-to"), (readme, ROOT)):
        named = re.findall(r'(?:srcset|src)="([^"]+\.png)"', page)
        assert {name.rpartition("-")[2] for name in named} == {"light.png", "dark.png"}
        for name in named:
            picture = (place / name).read_bytes()
            assert picture.startswith(b"\x89PNG") and len(picture) < 200_000, name


def test_every_option_and_every_state_is_told() -> None:
    options = [each.name for each in fields(Dashboard) if each.init]
    assert [name for name in options if f"| `{name}` |" not in PAGE] == []
    assert [state for state in State if f"| {state.value} |" not in PAGE] == []
