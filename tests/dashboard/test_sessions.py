"""Signing in with a token: what the browser gets, what it may then do, and when it ends."""

import re

from aggmaint.asgi import Anonymous, RateLimit, create_app
from aggmaint.asgi.dashboard import Dashboard
from aggmaint.asgi.dashboard.sessions import COOKIE, LIFETIME_S, Sessions, is_token
from tests.asgi.support import Answer, ask
from tests.dashboard.support import AT, TOKENS, address, app_of, engine_of, get, led_to, post, read


def sign_in(app: object, token: str, **form: str) -> Answer:
    return post(app, "sign-in", {"token": token, **form}, token=None)  # type: ignore[arg-type]  # an ASGI app


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_page_without_session_leads_to_the_sign_in_and_back() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine, sign_in=True)
        answer = ask(app, "GET", address("organization", org="acme"), token=None)
        assert led_to(answer) == "sign-in?next=organization%3Forg%3Dacme"
        page = get(app, "sign-in", token=None, next="organization?org=acme")
        (hidden,) = page.all("input", name="next")
        assert hidden[0]["value"] == "organization?org=acme"
        back = sign_in(app, "viewer", next="organization?org=acme")
        assert led_to(back) == "organization?org=acme"
        assert led_to(sign_in(app, "viewer", next="https://evil.example/")) == ""
        assert led_to(ask(app, "POST", AT + "act?org=acme&action=run", token=None)) == "sign-in?next=.%2F"


def test_the_cookie_is_for_this_site_and_no_script_and_says_nothing() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine, sign_in=True)
        text = sign_in(app, "viewer").headers["set-cookie"]
        assert re.fullmatch(rf"{COOKIE}=[\w-]{{43}}; HttpOnly; SameSite=strict", text), text
        assert cookie_of(sign_in(app, "viewer")) != cookie_of(sign_in(app, "viewer"))


def test_a_session_may_what_its_token_may() -> None:
    with engine_of("acme", "globex") as engine:
        app = app_of(engine, sign_in=True)
        for token, pages, may_run in (("viewer", ["acme"], 404), ("root", ["acme", "globex"], 303)):
            sent = {"Cookie": cookie_of(sign_in(app, token)), "Sec-Fetch-Site": "same-origin"}
            listed = read(ask(app, "GET", AT, token=None, headers=sent))
            assert [text.split()[0] for _, text in listed.all("tr")[1:]] == pages
            assert listed.all("form", action="sign-out")
            assert post(app, "act?org=acme&action=run", {}, token=None, headers=sent).status == may_run


def test_wrong_tokens_are_told_so_and_get_no_cookie() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine, sign_in=True)
        for token in ("wrong", "", "two words", "é", "x" * 5000, "a\nb"):
            answer = sign_in(app, token)
            assert answer.status == 401 and "set-cookie" not in answer.headers
            assert read(answer).all("p", role="alert")
        for cookie in ("", "x", "é" * 3):
            sent = {"Cookie": f"{COOKIE}={cookie}".encode("latin-1").decode("latin-1")}
            assert (
                led_to(
                    ask(
                        app,
                        "GET",
                        AT,
                        token=None,
                        headers={k: v.encode("ascii", "ignore").decode() for k, v in sent.items()},
                    )
                )
                == "sign-in?next=.%2F"
            )


def test_signing_out_ends_the_session_for_good() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine, sign_in=True)
        sent = {"Cookie": cookie_of(sign_in(app, "viewer")), "Sec-Fetch-Site": "same-origin"}
        answer = post(app, "sign-out", {}, token=None, headers=sent)
        assert led_to(answer) == "sign-in" and "Max-Age=0" in answer.headers["set-cookie"]
        assert ask(app, "GET", AT, token=None, headers=sent).status == 303


def test_the_api_takes_no_session() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine, sign_in=True)
        sent = {"Cookie": cookie_of(sign_in(app, "root"))}
        ask(app, "GET", "/aggregates/maintenance/orgId/acme", token=None, headers=sent).error(401)


def test_other_sites_can_neither_sign_in_nor_out() -> None:
    with engine_of("acme") as engine:
        app = app_of(engine, sign_in=True)
        foreign = {"Sec-Fetch-Site": "cross-site"}
        assert post(app, "sign-in", {"token": "viewer"}, token=None, headers=foreign).status == 403
        assert post(app, "sign-out", {}, token=None, headers=foreign).status == 403


def test_sessions_end_and_are_bounded() -> None:
    now = [0.0]
    sessions = Sessions(steady=lambda: now[0], sessions_max=2)
    first, second = sessions.open("a"), sessions.open("b")
    assert (sessions.token(first), sessions.token(second), sessions.token("else")) == ("a", "b", None)
    third = sessions.open("c")
    assert (sessions.token(first), sessions.token(third)) == (None, "c")
    now[0] = LIFETIME_S - 1
    assert sessions.token(third) == "c"
    now[0] = LIFETIME_S
    assert sessions.token(third) is None
    sessions.close(second)
    sessions.close(second)


def test_what_can_be_sent_as_a_token() -> None:
    assert is_token("abc-._~+/=") and not any(map(is_token, ("", " ", "a b", "é", "\x7f", "x" * 4097)))


def test_without_sign_in_there_is_no_such_page() -> None:
    with engine_of("acme") as engine:
        app = create_app(engine, authorize=Anonymous(), mounted=[Dashboard()])
        get(app, "sign-in", token=None, expect=404)
        page = get(app, "", token=None)
        assert not page.all("form", action="sign-out")


def test_tokens_can_not_be_tried_by_the_thousand() -> None:
    with engine_of("acme") as engine:
        limit = RateLimit(0.001, burst=5)
        app = create_app(engine, authorize=TOKENS, mounted=[Dashboard(sign_in=True)], rate_limit=limit)
        found = [sign_in(app, f"guess-{number}").status for number in range(8)]
        assert found[:5] == [401] * 5 and found[5:] == [429] * 3
