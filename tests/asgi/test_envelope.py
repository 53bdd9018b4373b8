"""Whatever is sent is answered by the envelope: a property over methods, raw paths, queries, headers and bodies."""

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggmaint import MaintenanceEngine
from aggmaint.asgi import RateLimit, create_app
from aggmaint.asgi._published import published_routes
from aggmaint.asgi.guards import SECURITY_HEADERS
from tests.asgi.support import TOKENS, T, engine_with, exchange

PATHS = sorted({route.path for route in published_routes(cast(Any, None))})
SEGMENTS = st.sampled_from(
    [
        b"default",
        b"acme-eu",
        b"nobody",
        b"%FF",
        b"%00",
        b"%",
        b"%2",
        b"..",
        b"%2E%2E",
        b"a%2Fb",
        b"\xff",
        b"",
        b"%ED%A0%80",
    ]
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"limit",
                b"offset",
                b"after",
                b"status",
                b"active",
                b"details",
                b"ifBusy",
                b"time_expression",
                b"x",
                b"%00",
            ]
        ),
        st.one_of(st.binary(max_size=12), st.sampled_from([b"1", b"true", b"done", b"reject", b"0+0+4+?+*+*", b"%FF"])),
    ),
    max_size=4,
).map(lambda pairs: b"&".join(name + b"=" + value for name, value in pairs))
BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"{}", b"null", b'{"time_expression": "0 0 4 ? * *"}', b'{"time_expression": {}}', b"[" * 50000]
    ),
    st.just(b" " * 65537),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"authorization", b"host", b"origin", b"sec-fetch-site", b"content-length", b"cookie", b"x"]),
        st.one_of(
            st.sampled_from(
                [b"Bearer root", b"Bearer viewer", b"Bearer", b"cross-site", b"same-origin", b"http://[", b"-1"]
            ),
            st.binary(max_size=20),
        ),
    ),
    max_size=5,
)


@st.composite
def targets(draw: st.DrawFn) -> bytes:
    """A route with odd segments in its places, one with a segment too many, or anything at all."""
    if draw(st.booleans()):
        path = draw(st.sampled_from(PATHS)).encode()
        for name in (b"{orgId}", b"{jobId}"):
            path = path.replace(name, draw(SEGMENTS))
        return bytes(draw(st.sampled_from([b"", b"/api/1.0"])) + path + draw(st.sampled_from([b"", b"/", b"/x"])))
    return b"/" + draw(st.binary(max_size=30))


@pytest.fixture(scope="module")
def engine() -> Iterator[MaintenanceEngine]:
    with engine_with(inline=True) as engine:
        yield engine


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "BREW", "get", ""]),
    raw_path=targets(),
    query=QUERIES,
    headers=HEADERS,
    body=BODIES,
    limited=st.booleans(),
)
def test_every_answer_is_an_envelope(
    engine: MaintenanceEngine,
    method: str,
    raw_path: bytes,
    query: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    limited: bool,
) -> None:
    app = create_app(engine, authorize=TOKENS, rate_limit=RateLimit(1e-6, 1) if limited else None)
    scope = {
        "method": method,
        "path": raw_path.partition(b"?")[0].decode("latin-1"),
        "raw_path": raw_path,
        "query_string": query,
        "headers": headers,
        "client": ("203.0.113.7", 1),
    }
    start, sent = exchange(app, scope, {"type": "http.request", "body": body})
    status, answered = start["status"], dict(start["headers"])
    assert status in (200, 400, 401, 403, 404, 405, 409, 413, 429), (status, sent["body"])
    assert answered[b"content-type"] == b"application/json"
    assert {name.lower().encode() for name in SECURITY_HEADERS} <= set(answered)
    if method == "HEAD":
        assert sent["body"] == b""
        return
    assert int(answered[b"content-length"]) == len(sent["body"])
    document = json.loads(sent["body"])
    assert list(document) == ["status", "responseCreated", "response"] and T.fullmatch(document["responseCreated"])
    if status >= 400:
        assert document["status"]["code"] == status and isinstance(document["response"], dict)
        assert isinstance(document["response"]["error"], str) and b"Traceback" not in sent["body"]
