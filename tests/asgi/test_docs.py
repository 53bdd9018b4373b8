"""docs/how-to/mount-the-api.md keeps its word: its Python runs, in order, in one place, and does what the page says.

docs/reference/http.md is printed, and compared here.
"""

import inspect
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.types import ASGIApp

from aggmaint.asgi import create_app, hash_token, load_tokens
from aggmaint.errors import ConfigurationError
from tests.asgi.http_reference import page
from tests.asgi.support import ORG, Answer, ask, ask_socket, ask_together, served
from tests.support.tasks import until

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "how-to" / "mount-the-api.md").read_text(encoding="utf-8")
CURRENT = f"{ORG}/acme"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def block_with(words: str) -> int:
    (found,) = [number for number, text in enumerate(blocks("python")) if words in text]
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names that the page has defined so far, as those of a module; each block is run by `run`."""
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    names = vars(module)
    run(0, names)
    engines = [names["engine"]]
    yield names
    for engine in {id(each): each for each in [*engines, names["engine"], names.get("watched", engines[0])]}.values():
        engine.close()
        engine._store.close()


def run(block: int, names: dict[str, Any]) -> None:
    exec(compile(blocks("python")[block], f"mount-the-api.md, block {block}", "exec"), names)


def test_mounted_in_starlette(place: dict[str, Any]) -> None:
    assert ask(place["app"], "GET", f"/ops/agg{CURRENT}", token="change-me").response is None
    ask(place["app"], "GET", f"/ops/agg{CURRENT}", token="change").error(401)


def test_mounted_in_fastapi(place: dict[str, Any]) -> None:
    run(block_with("FastAPI(lifespan"), place)
    with served(place["app"]) as port:
        assert ask_socket(port, "GET", f"/ops/agg{CURRENT}", token="change-me").response is None
        assert ask_socket(port, "POST", f"/ops/agg/api/1.0{CURRENT}/run-immediately", token="change-me").status == 200
        ask_socket(port, "GET", f"/ops/agg{ORG}/a%2Fb", token="change-me").error(404)
        ask_socket(port, "GET", "/ops/agg/nothing").error(404)
        assert ask_socket(port, "GET", "/hello").content == b'"the rest of your application"'


def test_mounted_beside_django(place: dict[str, Any]) -> None:
    run(block_with("get_asgi_application"), place)
    with served(place["app"]) as port:
        ask_socket(port, "GET", f"/ops/agg{CURRENT}", token=None).error(401)
        welcome = ask_socket(port, "GET", "/sign-in", token=None)
        assert welcome.content == b"welcome"
    cookie = {"Cookie": welcome.headers["set-cookie"].partition(";")[0]}

    def signed_in(method: str, path: str, **more: str) -> Answer:
        return ask(place["app"], method, f"/ops/agg{path}", token=None, headers={**cookie, **more})

    assert signed_in("GET", CURRENT).response is None
    signed_in("GET", f"{ORG}/acme-eu").error(404)
    assert signed_in("POST", f"{CURRENT}/run-immediately", **{"Sec-Fetch-Site": "same-origin"}).status == 200
    signed_in("POST", f"{CURRENT}/run-immediately", **{"Sec-Fetch-Site": "cross-site"}).error(403)
    assert ask(place["app"], "GET", "/nothing").status == 404


NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def nginx_before(port: int, directory: Path) -> Iterator[int]:
    """A real nginx with the page's location, before the server on `port`; the port that it listens on."""
    (location,) = blocks("nginx")
    front = free_port()
    lines = [
        *("daemon off;", "worker_processes 1;", f"pid {directory}/pid;", "error_log stderr;", "events {}", "http {"),
        "access_log off;",
        *(f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
        f"server {{ listen 127.0.0.1:{front};",
        location.replace("127.0.0.1:8000", f"127.0.0.1:{port}"),
        "}}",
    ]
    (directory / "nginx.conf").write_text("\n".join(lines), encoding="utf-8")
    assert NGINX is not None
    with subprocess.Popen([NGINX, "-p", str(directory), "-c", str(directory / "nginx.conf")]) as process:
        try:
            until(lambda: accepts(front), "nginx listens")
            yield front
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (apt-get install nginx-light)")
def test_behind_nginx_the_path_comes_as_it_was_sent(place: dict[str, Any], tmp_path: Path) -> None:
    place["engine"].register_organizations(["a/history", "Größe %"])
    run(block_with("FastAPI(lifespan"), place)
    with served(place["app"]) as port, nginx_before(port, tmp_path) as front:
        ours = partial(ask_socket, front, token="change-me")
        assert ours("GET", f"/ops/agg{CURRENT}").response is None
        assert ours("GET", f"/ops/agg{ORG}/a%2Fhistory").response is None, "not the history of `a`"
        assert ours("GET", f"/ops/agg{ORG}/Gr%C3%B6%C3%9Fe%20%25").response is None
        assert ours("POST", f"/ops/agg/api/1.0{CURRENT}/run-immediately").status == 200
        ours("GET", f"/ops/agg{ORG}/a%252Fhistory").error(404)
        ours("GET", "/ops/agg/nothing").error(404)
        ask_socket(front, "GET", f"/ops/agg{CURRENT}", token=None).error(401)


def test_ids_with_a_slash_arrive_through_both_kinds_of_proxy(place: dict[str, Any]) -> None:
    """One passes the whole path on, to the mounted app; one takes the prefix off, and uvicorn is told of it."""
    engine = place["engine"]
    engine.register_organizations(["a/history"])

    def current(app: ASGIApp, prefix: str, root_path: str = "") -> Any:
        with served(app, root_path=root_path) as port:
            answer = ask_socket(port, "GET", f"{prefix}{ORG}/a%2Fhistory", token="change-me")
            assert ask_socket(port, "GET", f"{prefix}{ORG}/a/history", token="change-me").status == 404
            return answer.response

    assert current(place["app"], "/ops/agg") is None
    assert current(place["api"], "", root_path="/ops/agg") is None


def test_the_rest_of_the_python_runs(place: dict[str, Any]) -> None:
    run(block_with("by_session"), place)
    run(block_with("SESSIONS = {"), place)
    ask(place["api"], "GET", CURRENT).error(401)
    ask(place["api"], "GET", f"{ORG}/acme-eu", headers={"x-session": "s3ss10n"}).error(404)
    assert ask(place["api"], "GET", CURRENT, headers={"x-session": "s3ss10n"}).status == 200
    run(block_with("load_tokens"), place)
    assert ask(place["api"], "GET", CURRENT, token="change-me-too").status == 200
    ask(place["api"], "POST", f"{CURRENT}/run-immediately", token="change-me-too").error(404)
    with pytest.raises(ConfigurationError, match=r"jwks\.json can not be read"):  # the page has no key file to show
        run(block_with("JwtVerifier"), place)
    run(block_with("def main("), place)
    assert callable(place["main"]) and place["is_loopback"]("127.0.0.1")


def test_the_watched_api_counts_and_limits(place: dict[str, Any]) -> None:
    run(block_with("Metrics()"), place)
    answers = ask_together(place["api"], [("GET", CURRENT)] * 200, token="change-me")
    assert {answer.status for answer in answers} == {200, 429}
    assert b"aggmaint_http_requests_total" in ask(place["api"], "GET", "/metrics").content


def test_the_client_of_the_page_works(place: dict[str, Any]) -> None:
    run(block_with("MaintenanceClient"), place)
    with served(place["api"]) as port:
        statuses = place["refresh"](f"http://127.0.0.1:{port}", "change-me")
    assert statuses in (["inprogress"], ["done"])


def test_every_block_is_run_somewhere() -> None:
    assert len(blocks("python")) == 9


def test_every_option_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE)
    parameters = list(inspect.signature(create_app).parameters.values())[1:]
    assert [name for name, _ in described] == [each.name for each in parameters]
    for (name, shown), parameter in zip(described, parameters, strict=True):
        expected = "required" if parameter.default is inspect.Parameter.empty else f"`{parameter.default!r}`"
        assert shown.replace('"', "'") == expected, name


def test_the_token_file_of_the_page_loads(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    assert len(tomllib.loads(text)["token"]) == 2
    (tmp_path / "tokens.toml").write_text(text, encoding="utf-8")
    load_tokens(tmp_path / "tokens.toml")


def test_the_recipe_for_a_token_makes_its_digest() -> None:
    (command,) = blocks("sh")
    token, digest = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.split()
    assert hash_token(token) == digest and len(token) >= 43


# -- the reference -----------------------------------------------------------------------------------------------------


def test_the_reference_is_printed_from_the_code() -> None:
    assert (DOCS / "reference" / "http.md").read_text(encoding="utf-8") == page(), (
        "print it again: python -m tests.asgi.http_reference > docs/reference/http.md"
    )
