"""Rights: buttons obey them, and who has none learns nothing, not even that an organisation exists."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine, OrgId
from aggmaint.asgi import Access, Dashboard, Permission, create_app
from aggmaint.asgi.dashboard.actions import ACTIONS
from tests.asgi.support import ask
from tests.dashboard.support import AT, act, address, app_of, engine_of, get, led_to, post


@pytest.mark.parametrize("page", ["organization", "aggregate", "job", "events", "act"])
def test_who_is_denied_gets_what_an_unknown_organisation_gets(fleet_app: ASGIApp, page: str) -> None:
    def answer(org: str) -> tuple[int, bytes, list[tuple[str, str]]]:
        got = ask(fleet_app, "GET", address(page, org=org, id="x", job="y", action="pause"), token="nobody")
        return got.status, got.content, sorted(got.headers.items())

    assert answer("acme") == answer("no such organisation")
    assert answer("acme")[0] == 404
    unknown = ask(fleet_app, "GET", address(page, org="no such organisation", id="x", job="y", action="pause"))
    assert unknown.content == answer("acme")[1]  # also for those who may everything


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_every_action_needs_the_right_to_manage(action: str) -> None:
    with engine_of("acme") as engine:
        app = app_of(engine)
        before = engine.get_organization("acme")
        for token in ("viewer", "nobody"):
            assert act(app, "acme", action, token=token).status == 404
            assert ask(app, "GET", address("act", org="acme", action=action), token=token).status == 404
        assert act(app, "acme", action, token=None).status == 401
        assert engine.get_organization("acme") == before


def test_buttons_are_for_those_who_may_press_them(fleet_app: ASGIApp) -> None:
    assert get(fleet_app, "organization", token="viewer", org="acme").actions == set()
    assert get(fleet_app, "organization", token="manager", org="acme").actions == {
        *("run", "pause", "disable", "schedule-add", "schedule-off", "schedule-remove")
    }


def test_the_list_shows_what_one_may_view_and_tells_of_nothing_else(fleet_app: ASGIApp) -> None:
    mine = get(fleet_app, "", token="viewer")
    assert [text.split()[0] for _, text in mine.all("tr")[1:]] == ["acme"]
    assert "Next page" not in mine.text and "globex" not in mine.text
    nothing = get(fleet_app, "", token="nobody")
    with engine_of() as empty:
        assert get(app_of(empty), "", token="nobody").text == nothing.text
    for sort in ("health", "next"):
        assert [text.split()[0] for _, text in get(fleet_app, "", token="viewer", sort=sort).all("tr")[1:]] == ["acme"]


def test_cursors_name_only_organisations_that_were_shown() -> None:
    """Every other organisation of 120 is visible; all of them are found, 25 at a time, and no link names another."""
    ids = [f"org-{number:03d}" for number in range(120)]

    def authorize(request: Request, org_id: OrgId, permission: Permission) -> Access:
        return Access.GRANTED if org_id[-1] in "02468" or org_id == "default" else Access.DENIED

    with engine_of(*ids) as engine:
        app = create_app(engine, authorize=authorize, mounted=[Dashboard()])
        found: list[str] = []
        page = get(app, "")
        while True:
            found += [text.split()[0] for _, text in page.all("tr")[1:]]
            assert not [link for link in page.links if "org-" in link and link.partition("org-")[2][2] not in "02468"]
            following = [given["href"] for given, text in page.all("a") if text == "Next page"]
            if not following:
                break
            page = get(app, "", after=following[0].partition("after=")[2])
        assert found == ids[::2]


def test_a_verdict_is_asked_before_anything_is_read() -> None:
    class Shut(MaintenanceEngine):
        def __getattribute__(self, name: str) -> Any:
            assert name not in ("get_organization", "list_jobs", "get_job", "get_inventory"), "read before asking"
            return super().__getattribute__(name)

    with engine_of("acme") as engine:
        app = app_of(engine)
        engine.__class__ = Shut
        for page in ("organization", "aggregate", "job", "events", "act"):
            assert ask(app, "GET", address(page, org="acme"), token="nobody").status == 404
        engine.__class__ = MaintenanceEngine


def test_forged_requests_are_refused() -> None:
    """A page of another site can make a browser send its cookie, but not these headers."""

    def by_cookie(request: Request, org_id: OrgId, permission: Permission) -> Access:
        return Access.GRANTED if request.cookies.get("s") == "ada" else Access.UNAUTHENTICATED

    with engine_of("acme") as engine:
        app = create_app(engine, authorize=by_cookie, mounted=[Dashboard()])
        for headers, status in (
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "same-origin"}, 303),
        ):
            answer = post(app, "act?org=acme&action=run", {}, token=None, headers={"Cookie": "s=ada", **headers})
            assert answer.status == status
        assert len(engine.list_jobs("acme").jobs) == 1


def test_a_host_that_signs_people_in_is_told_of_by_a_page() -> None:
    def nobody(request: Request, org_id: OrgId, permission: Permission) -> Access:
        return Access.UNAUTHENTICATED

    with engine_of("acme") as engine:
        app = create_app(engine, authorize=nobody, mounted=[Dashboard()])
        for page in ("", "organization"):
            assert "Unauthorized" in get(app, page, expect=401, org="acme").text
        assert get(app, "sign-in", expect=404)


def test_what_people_do_is_done_in_their_name() -> None:
    def authorize(request: Request, org_id: OrgId, permission: Permission) -> Access:
        request.state.aggmaint_user = "ada"
        return Access.GRANTED

    with engine_of("acme") as engine:
        app = create_app(engine, authorize=authorize, mounted=[Dashboard()])
        act(app, "acme", "pause", reason="moving")
        paused = engine.get_organization("acme").paused
        assert paused is not None and (paused.by, paused.reason) == ("ada", "moving")


def test_an_authoriser_that_breaks_lets_nobody_in() -> None:
    def broken(request: Request, org_id: OrgId, permission: Permission) -> Any:
        return True

    with engine_of("acme") as engine:
        app = create_app(engine, authorize=broken, mounted=[Dashboard()])
        answer = ask(app, "GET", address("organization", org="acme"))
        assert answer.status == 500 and b"acme" not in answer.content.replace(b"org=acme", b"")
        assert led_to(act(app_of(engine), "acme", "run")).startswith("job?")
        assert AT
