"""Authorisation: verdicts, authorisers that err, and that nobody without rights learns which organisations exist."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine, OrgId
from aggmaint.asgi import Access, Anonymous, Permission, StaticTokens, Token, create_app, hash_token
from aggmaint.asgi._published import published_routes
from aggmaint.errors import InvalidValueError
from aggmaint.stores.memory import MemoryStore
from tests.asgi.support import ORG, TOKENS, Answer, ask, ask_together, engine_with

PUBLISHED = sorted({(route.method, route.path) for route in published_routes(cast(Any, None))})
QUERIES = ["", "?limit=abc", "?after=x", "?active=maybe", "?ifBusy=reject", "?status=x", "?time_expression=x"]
REQUESTS = [
    *((method, path + query) for method, path in PUBLISHED for query in QUERIES),
    *(("HEAD", path) for method, path in PUBLISHED if method == "GET"),
    *(("PATCH", path) for _, path in PUBLISHED),
    ("GET", f"{ORG}/{{orgId}}/nothing"),
]
KNOWN = ["known", "known-disabled", "known-running"]


def seen(answer: Answer) -> tuple[int, Any, Any]:
    """All that a caller can tell one answer from another by, apart from T."""
    body = answer.timeless() if answer.content else None
    return answer.status, sorted(answer.headers.items()), body


@given(
    rights=st.lists(
        st.tuples(st.sampled_from(["view", "manage"]), st.sampled_from([*KNOWN, "unknown", "third"])), max_size=3
    ),
    token=st.sampled_from(["mine", "not mine", None]),
    request_line=st.sampled_from(REQUESTS),
    known=st.sampled_from(KNOWN),
    body=st.sampled_from([b"", b"{", b'{"time_expression": "0 0 4 ? * * *"}']),
)
def test_without_rights_nobody_learns_what_exists(
    rights: list[tuple[str, str]], token: str | None, request_line: tuple[str, str], known: str, body: bytes
) -> None:
    """Whoever has no right (or too little) for two organisations sees the same, whichever of them exists."""
    method, path = request_line
    needed = Permission.VIEW if method in ("GET", "HEAD") else Permission.MANAGE
    mine = Token(
        "mine",
        hash_token("mine"),
        view=frozenset(org for right, org in rights if right == "view"),
        manage=frozenset(org for right, org in rights if right == "manage"),
    )
    if any(mine.permits(org_id, needed) for org_id in (known, "unknown")):
        mine = Token("mine", hash_token("mine"), view=frozenset({"third"}))
    with engine_with(inline=True) as engine:
        engine.register_organizations([*KNOWN, "third"])
        engine.enable("known-disabled", enabled=False)
        schedule_id = engine.get_organization(known).schedules[0].id
        before = engine.get_organization(known)
        app = create_app(engine, authorize=StaticTokens([mine]))
        of_known, of_unknown = (
            ask(app, method, path.format(orgId=org_id, jobId=schedule_id), token=token, content=body)
            for org_id in (known, "unknown")
        )
        assert seen(of_known) == seen(of_unknown)
        assert of_known.status in (401, 404, 405)
        assert engine.get_organization(known) == before


@pytest.mark.parametrize(("method", "path"), PUBLISHED)
def test_denied_and_unknown_have_one_body(engine: MaintenanceEngine, app: ASGIApp, method: str, path: str) -> None:
    schedule_id = engine.get_organization("default").schedules[0].id
    query = "?time_expression=0+0+4+?+*+*+*" if method == "POST" else ""
    denied = ask(app, method, path.format(orgId="default", jobId=schedule_id) + query, token="other")
    unknown = ask(app, method, path.format(orgId="nobody", jobId=schedule_id) + query, token="root")
    assert denied.error(404) == {"error": "no such organisation, or no right to it", "message": "Not Found"}
    assert seen(denied) == seen(unknown)


def test_denied_requests_never_reach_the_store() -> None:
    class CountingStore(MemoryStore):
        reads = 0

        def load(self, org_ids: Any) -> Any:
            self.reads += 1
            return super().load(org_ids)

    store = CountingStore()
    with engine_with(store=store, inline=True) as engine:
        app = create_app(engine, authorize=TOKENS)
        before = store.reads
        for method, path in PUBLISHED:
            ask(app, method, path.format(orgId="default", jobId="x"), token="other").error(404)
        assert store.reads == before


# -- authorisers -------------------------------------------------------------------------------------------------------


def test_a_plain_function_is_called_in_a_thread(engine: MaintenanceEngine) -> None:
    asked: list[tuple[str, str, Permission, threading.Thread]] = []

    def authorize(request: Request, org_id: OrgId, permission: Permission) -> Access:
        asked.append((request.headers["authorization"], org_id, permission, threading.current_thread()))
        return Access.GRANTED

    app = create_app(engine, authorize=authorize)
    assert ask(app, "GET", f"{ORG}/default", token="t").status == 200
    assert ask(app, "POST", f"{ORG}/default/run-immediately", token="t").status == 200
    assert [each[:3] for each in asked] == [
        ("Bearer t", "default", Permission.VIEW),
        ("Bearer t", "default", Permission.MANAGE),
    ]
    assert all(each[3] is not threading.main_thread() for each in asked)


def test_a_coroutine_function_is_called_on_the_loop(engine: MaintenanceEngine) -> None:
    async def authorize(request: Request, org_id: OrgId, permission: Permission) -> Access:
        assert threading.current_thread() is threading.main_thread()
        return Access.GRANTED if (await request.body()) == b"please" else Access.DENIED

    app = create_app(engine, authorize=authorize)
    assert ask(app, "POST", f"{ORG}/default/run-immediately", content=b"please").status == 200
    ask(app, "POST", f"{ORG}/default/run-immediately", content=b"now").error(404)


def test_a_function_that_returns_an_awaitable_is_awaited(engine: MaintenanceEngine) -> None:
    async def verdict() -> Access:
        return Access.DENIED

    def authorize(request: Request, org_id: OrgId, permission: Permission) -> Awaitable[Access]:
        return verdict()

    ask(create_app(engine, authorize=authorize), "GET", f"{ORG}/default").error(404)


@pytest.mark.parametrize("verdict", [True, False, None, "granted", 1, Permission.MANAGE, Access, object()], ids=str)
def test_any_other_verdict_denies(engine: MaintenanceEngine, verdict: Any) -> None:
    def authorize(request: Request, org_id: OrgId, permission: Permission) -> Any:
        return verdict

    async def authorize_async(request: Request, org_id: OrgId, permission: Permission) -> Any:
        return verdict

    for function in (authorize, authorize_async):
        app = create_app(engine, authorize=function)
        ask(app, "POST", f"{ORG}/default/run-immediately").error(500)
        assert engine.list_jobs("default").jobs == ()


def test_an_authoriser_that_raises_denies(engine: MaintenanceEngine, caplog: pytest.LogCaptureFixture) -> None:
    def authorize(request: Request, org_id: OrgId, permission: Permission) -> Access:
        raise LookupError("SELECT secret FROM users")

    answer = ask(create_app(engine, authorize=authorize), "POST", f"{ORG}/default/run-immediately")
    answer.error(500)
    assert b"SELECT" not in answer.content
    assert "SELECT secret" in caplog.text
    assert engine.list_jobs("default").jobs == ()


def test_a_verdict_is_no_truth_value() -> None:
    for verdict in Access:
        with pytest.raises(TypeError, match=r"is Access\.GRANTED"):
            bool(verdict)


def test_anonymous_is_explicit(engine: MaintenanceEngine) -> None:
    app = create_app(engine, authorize=Anonymous())
    assert ask(app, "POST", f"{ORG}/default/run-immediately", token=None).status == 200
    ask(app, "GET", f"{ORG}/nobody", token=None).error(404)
    nothing: Any = None
    with pytest.raises(InvalidValueError, match=r"Anonymous\(\)"):
        create_app(engine, authorize=nothing)
    without_authorize: Callable[..., Any] = create_app
    with pytest.raises(TypeError, match="authorize"):
        without_authorize(engine)


def test_two_authorization_headers_are_as_good_as_none(app: ASGIApp) -> None:
    answer = ask(app, "GET", f"{ORG}/default", token=None, headers={"Authorization": "Bearer root, Bearer root"})
    answer.error(401)
    assert TOKENS.check(["Bearer root", "Bearer root"], "default", Permission.VIEW) is Access.UNAUTHENTICATED


def test_rights_hold_for_simultaneous_requests_each(app: ASGIApp) -> None:
    paths = [("GET", f"{ORG}/{org_id}") for org_id in ("default", "acme-eu") * 10]
    answers = ask_together(app, paths, token="viewer")
    assert [answer.status for answer in answers] == [200, 404] * 10
