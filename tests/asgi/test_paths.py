"""Two different ids never become one: raw paths, through a real socket, under mounts and proxies, and without them."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine
from aggmaint.asgi import Anonymous, create_app
from aggmaint.asgi._paths import read_path
from tests.asgi.support import (
    AGGREGATES,
    ORG,
    SCHEDULES,
    TOKENS,
    Answer,
    ask,
    ask_socket,
    engine_with,
    exchange,
    run_through,
    send_raw,
    served,
)

ODD_IDS = ["a", "a/history", "..", "\ufffd", "%zz", "%41", "ü", " ", "x ", "*", "history", "a\nb", "a?b", "U" * 255]


def owners(page: Answer) -> set[str]:
    """Whose jobs a history shows."""
    return {job["organizationId"] for job in page.response["data"]}


@pytest.fixture(scope="module")
def odd() -> Iterator[MaintenanceEngine]:
    """An engine that knows ODD_IDS; `a` and `a/history` have run."""
    with engine_with(inline=True) as engine:
        engine.register_organizations(ODD_IDS)
        run_through(engine, "a")
        run_through(engine, "a/history")
        yield engine


@pytest.fixture(scope="module")
def odd_app(odd: MaintenanceEngine) -> ASGIApp:
    return create_app(odd, authorize=TOKENS)


@pytest.fixture(scope="module")
def port(odd_app: ASGIApp) -> Iterator[int]:
    with served(odd_app) as port:
        yield port


def test_a_slash_in_an_id_is_not_a_slash_in_the_path(port: int) -> None:
    assert ask_socket(port, "GET", f"{ORG}/a%2Fhistory").response is None  # the current job of `a/history`
    assert owners(ask_socket(port, "GET", f"{ORG}/a%2Fhistory/history")) == {"a/history"}
    assert owners(ask_socket(port, "GET", f"{ORG}/a/history")) == {"a"}


def test_it_is_so_on_every_route(odd: MaintenanceEngine, port: int) -> None:
    odd.register_organizations(["a/instances", "a/jobId/x", "a/jobId/x/activate"])
    schedules = f"{SCHEDULES}/a%2FjobId%2Fx%2Factivate"
    assert ask_socket(port, "GET", f"{AGGREGATES}/a%2Finstances").response["data"] == []
    assert ask_socket(port, "GET", schedules).response[0]["organization_Id"] == "a/jobId/x/activate"
    ask_socket(port, "PUT", schedules).error(405)
    ask_socket(port, "DELETE", f"{SCHEDULES}/a%2FjobId%2Fx").error(405)
    odd.remove_organization("a/instances")
    ask_socket(port, "GET", f"{AGGREGATES}/a%2Finstances").error(404)
    assert ask_socket(port, "GET", f"{AGGREGATES}/a/instances").status == 200


@pytest.mark.parametrize("segment", ["%FF", "%FE", "%C3", "%ED%A0%80", "%C0%AF", "%zz", "%", "%2", "a%2"])
def test_what_is_no_percent_encoded_utf8_is_400(port: int, segment: str) -> None:
    ask_socket(port, "GET", f"{ORG}/{segment}").error(400)
    ask_socket(port, "GET", f"{ORG}/{segment}/history").error(400)
    ask_socket(port, "GET", f"/{segment}").error(400)


@pytest.mark.parametrize("segment", ["", "%00", "a%00b", "U" * 256])
def test_what_is_no_id_is_400(port: int, segment: str) -> None:
    ask_socket(port, "GET", f"{ORG}/{segment}").error(400)
    ask_socket(port, "POST", f"{ORG}/{segment}/run-immediately").error(400)


@pytest.mark.parametrize(
    ("segment", "org_id"),
    [
        ("%2E%2E", ".."),
        ("..", ".."),
        ("%EF%BF%BD", "\ufffd"),
        ("%25zz", "%zz"),
        ("%2541", "%41"),
        ("%C3%BC", "ü"),
        ("%20", " "),
        ("x%20", "x "),
        ("a%0Ab", "a\nb"),
        ("a%3Fb", "a?b"),
        ("%61", "a"),
        ("history", "history"),
        ("U" * 255, "U" * 255),
    ],
)
def test_ids_are_decoded_once_and_compared_exactly(port: int, segment: str, org_id: str) -> None:
    answer = ask_socket(port, "POST", f"{ORG}/{segment}/run-immediately")
    assert answer.body["status"]["message"] == f"Maintenance successfully started for {org_id}"


@pytest.mark.parametrize("segment", ["A", "a%20", "%20a", "u%CC%88", "X%20"])
def test_near_misses_are_other_organisations(port: int, segment: str) -> None:
    ask_socket(port, "GET", f"{ORG}/{segment}").error(404)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//",
        "/aggregates",
        "/aggregates/maintenance/orgId",
        f"{ORG}/a/",
        f"{ORG}/a/history/",
        f"{ORG}/a/History",
        f"/{ORG}/a",
        f"/api/1.0/api/1.0{ORG}/a",
        f"/api/2.0{ORG}/a",
        f"http://host{ORG}/a",
        f"http:{ORG}/a",
        f"x{ORG}/a",
        f"{ORG}/a%2F..%2Fb/c/history",
        "/" * 4000,
    ],
)
def test_unknown_paths_are_404_in_the_envelope(port: int, target: str) -> None:
    assert ask_socket(port, "GET", target).error(404)["error"] == "no such resource"


def test_the_asterisk_form_is_answered_too(port: int) -> None:
    answer = send_raw(port, b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ") and b'"error":"no such resource"' in answer


# -- mounts and proxies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mounts", "root_path", "base"),
    [
        (["/ops/agg"], "", "/ops/agg"),
        (["/ops", "/agg"], "", "/ops/agg"),
        (["/t/{tenant}"], "", "/t/a%20b"),
        (["/t/{tenant}"], "", "/t/%C3%BC"),
        (["/t/{rest:path}/agg"], "", "/t/x%2Fy/agg"),
        (["/aggregates"], "", "/aggregates"),
        ([], "/ops/agg", ""),
        ([], "/a%20b", ""),
        (["/agg"], "/ops", "/agg"),
        (["/agg"], "/api/1.0", "/agg"),
    ],
)
def test_mounts_and_proxies_in_uvicorn(odd_app: ASGIApp, mounts: list[str], root_path: str, base: str) -> None:
    """`mounts`: nested Starlette mounts, outer first. `root_path`: uvicorn's, for a proxy that takes a prefix off."""
    app = odd_app
    for path in reversed(mounts):
        app = Starlette(routes=[Mount(path, app)])
    with served(app, root_path=root_path) as port:
        assert ask_socket(port, "GET", f"{base}{ORG}/a%2Fhistory").response is None
        assert owners(ask_socket(port, "GET", f"{base}/api/1.0{ORG}/a/history")) == {"a"}
        assert owners(ask_socket(port, "GET", f"{base}{ORG}/a%2Fhistory/history")) == {"a/history"}
        ask_socket(port, "GET", f"{base}{ORG}/%FF").error(400)
        ask_socket(port, "GET", f"{base}/nothing").error(404)


def test_a_transport_whose_raw_path_is_below_the_root_already(odd_app: ASGIApp) -> None:
    """httpx's ASGITransport sets root_path and leaves the paths alone."""
    for root_path in ("/ops/agg", "/ops/agg/", "/api/1.0"):
        assert ask(odd_app, "GET", f"{ORG}/a%2Fhistory", root_path=root_path).response is None
        assert owners(ask(odd_app, "GET", f"/api/1.0{ORG}/a/history", root_path=root_path)) == {"a"}


@given(
    root=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1), max_size=3),
    org_id=st.text(st.characters(exclude_categories=["Cs"])),
    included=st.booleans(),
)
def test_reading_a_path_finds_what_was_put_in(root: list[str], org_id: str, included: bool) -> None:
    from urllib.parse import quote

    below = "/orgId/" + quote(org_id, safe="")
    mount = "".join("/" + quote(segment, safe="") for segment in root)
    scope = {"raw_path": ((mount if included else "") + below).encode(), "root_path": "".join(f"/{s}" for s in root)}
    if not (root == ["orgId"] or (root[:1] == ["orgId"] and not included)):  # the one case that can not be told apart
        assert read_path(scope).segments == ("orgId", org_id)


# -- servers without a raw path ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{ORG}/default", 200),
        (f"{ORG}/default/history", 200),
        (f"/api/1.0{ORG}/default", 200),
        (f"/ops/agg{ORG}/default", 200),
        (f"{ORG}/ü", 200),
        (f"{ORG}/%zz", 200),
        (f"{ORG}/a/b", 400),
        (f"{ORG}/a/b/history", 400),
        (f"{ORG}/\ufffd", 400),
        (f"{ORG}/\ufffd/history", 400),
        (f"{ORG}/", 400),
        (f"{AGGREGATES}/default", 200),
        (f"{AGGREGATES}/a/b", 400),
        (f"{AGGREGATES}/\ufffd/instances", 400),
        (f"{SCHEDULES}/default", 200),
        (f"{SCHEDULES}/a/b/jobId/x", 400),
        (f"{SCHEDULES}/default/jobId/\ufffd/activate", 400),
        ("/healthz", 200),
        ("/healthz/x/y", 404),
        ("/elsewhere", 404),
        ("/elsewhere/\ufffd", 404),
    ],
)
def test_without_a_raw_path_doubtful_ids_are_400(odd: MaintenanceEngine, path: str, status: int) -> None:
    app = create_app(odd, authorize=Anonymous())
    start, body = exchange(app, {"path": path, "root_path": "/ops/agg"}, {"type": "http.request"})
    assert start["status"] == status, body
    assert isinstance(json.loads(body["body"])["response"], dict) or status == 200


def test_routes_can_be_put_under_other_prefixes(odd: MaintenanceEngine) -> None:
    app = create_app(odd, authorize=TOKENS, prefixes=["/v2"])
    assert ask(app, "GET", f"/v2{ORG}/a").status == 200
    ask(app, "GET", f"{ORG}/a").error(404)
