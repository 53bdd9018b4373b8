"""docs/how-to/use-the-dashboard.md keeps its word."""

import re
from pathlib import Path
from typing import Any

from attrs import fields

from aggmaint.asgi import Dashboard
from aggmaint.asgi.dashboard.states import State
from tests.asgi.support import ask
from tests.dashboard.support import AT, read

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "use-the-dashboard.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "use-the-dashboard.md", "exec"), names)
    assert ask(names["app"], "GET", "/", token=None).headers["location"] == "./dashboard/"
    assert ask(names["app"], "GET", AT, token=None).status == 401
    page = read(ask(names["app"], "GET", AT, token=None, headers={"Cookie": "session=s3ss10n"}))
    assert "Tenants" in page.all("title")[0][1]
    assert [text.split()[0] for _, text in page.all("tr")[1:]] == ["acme"]


def test_every_option_and_every_state_is_told() -> None:
    options = [each.name for each in fields(Dashboard) if each.init]
    assert [name for name in options if f"| `{name}` |" not in PAGE] == []
    assert [state for state in State if f"| {state.value} |" not in PAGE] == []
