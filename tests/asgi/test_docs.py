"""docs/how-to/mount-the-api.md keeps its word: its Python runs, in order, in one place, and does what the page says."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from aggmaint import MaintenanceEngine
from aggmaint.asgi import hash_token, load_tokens
from tests.asgi.support import ORG, ask

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "mount-the-api.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names that the page has defined so far; each block is run by `run`."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    yield names
    engine = cast(MaintenanceEngine, names["engine"])
    engine.close()
    engine._store.close()


def run(block: int, names: dict[str, Any]) -> None:
    exec(compile(blocks("python")[block], f"mount-the-api.md, block {block}", "exec"), names)


def test_the_python_of_the_page_runs(place: dict[str, Any]) -> None:
    current = f"{ORG}/acme"
    run(0, place)
    assert ask(place["app"], "GET", f"/ops/agg{current}", token="change-me").response is None
    ask(place["app"], "GET", f"/ops/agg{current}", token="change").error(401)
    run(1, place)
    ask(place["api"], "GET", current).error(401)
    ask(place["api"], "GET", f"{ORG}/acme-eu", headers={"x-session": "s3ss10n"}).error(404)
    assert ask(place["api"], "GET", current, headers={"x-session": "s3ss10n"}).status == 200
    run(2, place)
    assert ask(place["api"], "GET", current, token="change-me-too").status == 200
    ask(place["api"], "POST", f"{current}/run-immediately", token="change-me-too").error(404)
    run(3, place)
    assert callable(place["main"]) and place["is_loopback"]("127.0.0.1")
    assert len(blocks("python")) == 4


def test_the_token_file_of_the_page_loads(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    assert len(tomllib.loads(text)["token"]) == 2
    (tmp_path / "tokens.toml").write_text(text, encoding="utf-8")
    load_tokens(tmp_path / "tokens.toml")


def test_the_recipe_for_a_token_makes_its_digest() -> None:
    (command,) = blocks("sh")
    token, digest = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.split()
    assert hash_token(token) == digest and len(token) >= 43
