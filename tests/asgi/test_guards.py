"""What stands before every family of routes: headers on each answer, forged requests refused, nothing escapes as it is."""

from typing import Any

import pytest
from attrs import frozen
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from aggmaint import MaintenanceEngine
from aggmaint.asgi import LOOPBACK_HOSTS, Anonymous, create_app
from aggmaint.asgi.guards import READING, SECURITY_HEADERS, host_of, is_forged
from aggmaint.errors import InvalidValueError
from tests.asgi.support import ORG, TOKENS, ask, exchange, send_raw, served

RUN = f"{ORG}/default/run-immediately"


# -- headers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", f"{ORG}/default", {}),
        ("HEAD", f"{ORG}/default", {}),
        ("GET", f"{ORG}/nobody", {}),
        ("DELETE", f"{ORG}/default", {}),
        ("GET", "/nothing", {}),
        ("GET", "/%FF", {}),
        ("POST", RUN, {"Authorization": "", "Sec-Fetch-Site": "cross-site"}),
    ],
)
def test_every_answer_has_the_security_headers(app: ASGIApp, method: str, path: str, headers: dict[str, str]) -> None:
    answer = ask(app, method, path, headers=headers)
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "default-src 'none'" in SECURITY_HEADERS["Content-Security-Policy"]
    assert SECURITY_HEADERS["X-Content-Type-Options"] == "nosniff"


@frozen
class Pages:
    """A family of its own, as a dashboard is one."""

    app: ASGIApp
    path: str = "/pages"
    index: bool = False

    def build(self, engine: MaintenanceEngine, admission: Any, threads: Any) -> ASGIApp:
        return self.app


def test_a_mounted_family_keeps_the_headers_that_it_sets(engine: MaintenanceEngine) -> None:
    own = {"Content-Security-Policy": "default-src 'self'", "cache-control": "max-age=60"}
    app = create_app(engine, authorize=TOKENS, mounted=[Pages(HTMLResponse("<p>hello", headers=own))])
    answer = ask(app, "GET", "/pages/anything")
    assert (answer.status, answer.content) == (200, b"<p>hello")
    assert answer.headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert answer.headers.get_list("cache-control") == ["max-age=60"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert ask(app, "GET", f"{ORG}/default").status == 200


def test_a_mounted_family_is_given_what_it_needs(engine: MaintenanceEngine) -> None:
    given: list[Any] = []

    class Family:
        path = "/pages"
        index = False

        def build(self, *parts: Any) -> ASGIApp:
            given.extend(parts)
            return PlainTextResponse("x")

    create_app(engine, authorize=TOKENS, mounted=[Family()])
    assert given[0] is engine and [type(each).__name__ for each in given[1:]] == ["Admission", "Threads"]


@pytest.mark.parametrize("root_path", ["", "/ops"])
def test_a_family_has_its_whole_path_and_nothing_else(engine: MaintenanceEngine, root_path: str) -> None:
    async def show(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["root_path"] + " " + scope["path"])(scope, receive, send)

    app = create_app(engine, authorize=TOKENS, mounted=[Pages(show)])
    for below in ("/pages", "/pages/", "/pages/a%0Ab/c", "/%70ages/x"):
        answer = ask(app, "GET", below, root_path=root_path)
        assert answer.content.decode().startswith(f"{root_path}/pages /pages"), below
    for below in ("/pagesx", "/page", "/x/pages", "/api/1.0/pages"):
        ask(app, "GET", below, root_path=root_path).error(404)


@pytest.mark.parametrize("path", ["", "/", "pages", "/pages/", "/a%20b", "/aggregates", "/aggregates/x"])
def test_a_family_can_not_be_mounted_anywhere(engine: MaintenanceEngine, path: str) -> None:
    with pytest.raises(InvalidValueError, match="mounted at"):
        create_app(engine, authorize=TOKENS, mounted=[Pages(PlainTextResponse("x"), path)])


# -- forged requests ---------------------------------------------------------------------------------------------------

HOST = "agg.example:8321"


@pytest.mark.parametrize(
    ("headers", "forged"),
    [
        ({}, False),  # no browser
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "none"}, False),  # typed, or a bookmark
        ({"Sec-Fetch-Site": "same-site"}, True),  # another host of the same domain
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": ""}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://friend.example"}, False),  # trusted
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://friend.example.evil"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": f"http://{HOST}"}, True),  # the browser knows better
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, False),
        ({"Origin": f"http://{HOST}"}, False),  # a browser without Sec-Fetch-Site
        ({"Origin": f"https://{HOST}"}, False),  # TLS ends before this server
        ({"Origin": "http://agg.example"}, True),  # another port
        ({"Origin": "http://AGG.example:8321"}, False),
        ({"Origin": "https://evil.example:8321"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": ""}, True),
        ({"Origin": "http://agg.example:x"}, True),
        ({"Origin": "http://["}, True),
        ({"Origin": f"ftp://{HOST}"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Authorization": "Bearer t"}, False),
        (
            {"Sec-Fetch-Site": "cross-site", "Authorization": "Basic dXNlcjpwYXNz"},
            True,
        ),  # browsers send it by themselves
        ({"Sec-Fetch-Site": "cross-site", "Authorization": "Bearer"}, True),
    ],
    ids=str,
)
def test_what_another_site_made_a_browser_send_is_forged(headers: dict[str, str], forged: bool) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert is_forged(method, Headers({"Host": HOST, **headers}), {"https://friend.example"}) is forged
    for method in READING:
        assert not is_forged(method, Headers({"Host": HOST, **headers}), ())


def test_the_usual_port_is_the_same_as_none() -> None:
    assert not is_forged("POST", Headers({"Host": "a.example", "Origin": "https://a.example:443"}))
    assert not is_forged("POST", Headers({"Host": "a.example:443", "Origin": "https://a.example"}))
    assert is_forged("POST", Headers({"Origin": "https://a.example"}))  # no host to compare with


def test_a_forged_request_is_403_and_starts_nothing(engine: MaintenanceEngine) -> None:
    app = create_app(engine, authorize=Anonymous(), trusted_origins=["https://friend.example"])
    forged = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    ask(app, "POST", RUN, token=None, headers=forged).error(403)
    ask(app, "POST", f"{ORG}/nobody/run-immediately", token=None, headers=forged).error(403)
    ask(app, "POST", "/nothing", token=None, headers=forged).error(403)
    assert engine.list_jobs("default").jobs == ()
    assert ask(app, "GET", f"{ORG}/default", token=None, headers=forged).status == 200
    trusted = {**forged, "Origin": "https://friend.example"}
    assert ask(app, "POST", RUN, token=None, headers=trusted).status == 200


def test_forged_forms_are_refused_in_mounted_families_too(engine: MaintenanceEngine) -> None:
    app = create_app(engine, authorize=Anonymous(), mounted=[Pages(PlainTextResponse("done"))])
    ask(app, "POST", "/pages/run", token=None, headers={"Sec-Fetch-Site": "cross-site"}).error(403)
    assert ask(app, "POST", "/pages/run", token=None, headers={"Sec-Fetch-Site": "same-origin"}).content == b"done"


@pytest.mark.parametrize(
    "origin",
    ["", "*", "null", "a.example", "https://a.example/", "https://A.example", "https://a.example/x", "ftp://a.b"],
)
def test_a_trusted_origin_is_an_origin(engine: MaintenanceEngine, origin: str) -> None:
    with pytest.raises(InvalidValueError, match="trusted origin"):
        create_app(engine, authorize=TOKENS, trusted_origins=[origin])


# -- hosts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8321", 200),
        ("127.0.0.1:8321", 200),
        ("[::1]:8321", 200),
        ("evil.example", 400),  # resolves to 127.0.0.1
        ("evil.example:8321", 400),
        ("localhost.evil.example", 400),
        ("localhost@evil.example", 400),
        ("", 400),
        ("[", 400),
        ("127.1", 400),
    ],
)
def test_a_door_without_tokens_is_addressed_by_its_own_names(engine: MaintenanceEngine, host: str, status: int) -> None:
    app = create_app(engine, authorize=Anonymous(), allowed_hosts=LOOPBACK_HOSTS)
    same_origin = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    answer = ask(app, "POST", RUN, token=None, headers=same_origin)
    assert answer.status == status
    assert len(engine.list_jobs("default").jobs) == (status == 200)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_two_host_headers_are_as_good_as_none() -> None:
    assert host_of(Headers(raw=[(b"host", b"localhost"), (b"host", b"evil.example")])) is None
    assert host_of(Headers({})) is None


# -- the last net ------------------------------------------------------------------------------------------------------


async def fail_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("SELECT secret")


async def fail_half_way(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("SELECT secret")


def test_what_escapes_a_family_is_the_envelope_without_a_word_of_it(
    engine: MaintenanceEngine, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(engine, authorize=TOKENS, mounted=[Pages(fail_at_once)])
    answer = ask(app, "GET", "/pages")
    answer.error(500)
    assert b"SELECT" not in answer.content and "SELECT secret" in caplog.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_half_an_answer_never_passes_for_a_whole_one(engine: MaintenanceEngine) -> None:
    app = create_app(engine, authorize=TOKENS, mounted=[Pages(fail_half_way)])
    with pytest.raises(RuntimeError):
        exchange(app, {"path": "/pages", "raw_path": b"/pages"})
    with served(app) as port:
        answer = send_raw(port, b"GET /pages HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"half") and b"SELECT" not in answer and b"Traceback" not in answer
