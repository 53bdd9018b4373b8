"""The pages of the fleet: what each shows, and that each stands below any mount and with any headers it must have."""

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine
from aggmaint.asgi import Dashboard
from aggmaint.errors import InvalidValueError
from tests.asgi.support import ask, exchange
from tests.dashboard.support import AT, address, app_of, engine_of, get, read


def find(app: ASGIApp, org: str, name: str) -> str:
    """The id of an aggregate, as its link has it."""
    link = next(given["href"] for given, text in get(app, "organization", org=org).all("a") if text == name)
    return link.rpartition("id=")[2]


def test_the_list_shows_how_each_organisation_stands(fleet_app: ASGIApp) -> None:
    page = get(fleet_app, "")
    rows = {text.split()[0]: text for _, text in page.all("tr")[1:]}
    assert list(rows) == sorted(rows)
    assert "3 failures in a row" in rows["globex"] and "Failed" in rows["globex"]
    assert "Healthy 2 of 2 fresh Done" in rows["hooli"] and "idle" in rows["hooli"]
    assert "Paused" in rows["initech"] and "paused: moving to another warehouse until Friday" in rows["initech"]
    assert "Never run not looked at yet none" in rows["stark-industries"]
    assert "Switched off" in rows["umbrella"] and "none planned" in rows["umbrella"]
    assert "1 of 4 fresh 2 stale 1 unknown" in rows["acme"] and "not complete" in rows["acme"]


def test_the_organisation_tells_aggregates_runs_and_schedules(fleet_app: ASGIApp) -> None:
    text = get(fleet_app, "organization", org="acme").text
    assert "1 change mark since the last complete run" in text
    assert "revenue by month sales stale 2 stale of 95" in text
    assert "visits by day web fresh every partition equals its source" in text
    assert "At 04:00 active 0 0 4 ? * * * · UTC · by admin" in text
    assert "At 02:30, Monday through Friday active 0 30 2 ? * MON-FRI · Europe/Berlin · by ada" in text
    assert "Done, not complete Schedule" in text and "4 aggregates: 2 refreshed" in text
    failing = get(fleet_app, "organization", org="globex").text
    assert "held by process 4711" in failing and "Failed" in failing


def test_runs_are_paged_and_filtered_in_the_url(fleet_app: ASGIApp) -> None:
    page = get(fleet_app, "organization", org="globex")
    first = [text for _, text in page.all("tr") if "Done" in text or "Failed" in text]
    (older,) = [given["href"] for given, text in page.all("a") if text == "Older runs"]
    second = read(ask(fleet_app, "GET", AT + older.partition("#")[0]))
    assert "Newest" in second.text and len(first) == 12
    failed = get(fleet_app, "organization", org="globex", status="failed")
    assert len([text for _, text in failed.all("tr") if "Failed" in text]) == 3
    assert not [text for _, text in failed.all("tr") if "Done" in text]


def test_the_aggregate_shows_every_partition_and_why_it_is_stale(fleet_app: ASGIApp) -> None:
    aggregate = find(fleet_app, "acme", "revenue by month")
    page = get(fleet_app, "aggregate", org="acme", id=aggregate)
    cells = {text.partition(":")[0]: text for given, text in page.all("a") if "data-cell" in given}
    assert (
        len(cells) == 95
        and cells["2023-03"].startswith("2023-03: stale, ")
        and cells["2023-05"].startswith("2023-05: fresh")
    )
    assert (
        "partition marked Marked as changed after the last look: lineitem, from 2023-03-01 to 2023-05-01" in page.text
    )
    assert "93 of 95" in page.text and "builds since 4 Nov" in page.text
    assert 'FROM "lineitem" AS "lineitem" GROUP BY 1, 2, 3' in page.text
    assert "Sources lineitem" in page.text


def test_a_chosen_partition_tells_its_own_story(fleet_app: ASGIApp) -> None:
    aggregate = find(fleet_app, "acme", "revenue by month")
    written = get(fleet_app, "aggregate", org="acme", id=aggregate, partition="2025-06")
    assert (
        "written by the last run, because: 152 rows, 5 fewer than when it was published"
        in written.text.lower().replace("rows, 5", "rows, 5")
    )
    assert [given["id"] for given, _ in written.all("a", aria_current="true") if "data-cell" in given] == [
        "cell-2025-06"
    ]
    absent = get(fleet_app, "aggregate", org="acme", id=aggregate, partition="1066-10")
    assert "There is no partition 1066-10" in absent.text


def test_an_aggregate_that_could_not_be_compared_says_why(fleet_app: ASGIApp) -> None:
    text = get(fleet_app, "aggregate", org="acme", id=find(fleet_app, "acme", "visitors")).text
    assert "unknown" in text and "Could not convert string 'n/a'" in text


def test_the_job_tells_steps_decisions_and_errors(fleet_app: ASGIApp, fleet_engine: MaintenanceEngine) -> None:
    job = fleet_engine.list_jobs("acme", limit=1).jobs[0]
    page = get(fleet_app, "job", org="acme", job=job.id)
    assert "What went wrong definition aggregate 'web.visitors': its query broke off" in page.text
    assert "sales.revenue by month refresh 2025-06" in page.text
    assert "partition changed 152 rows, 5 fewer than when it was published refresh" in page.text
    assert "partition fresh" not in page.text
    everything = get(fleet_app, "job", org="acme", job=job.id, decisions="all")
    assert "partition fresh" in everything.text and "instance healthy" in everything.text
    failed = fleet_engine.list_jobs("globex", limit=1).jobs[0]
    text = get(fleet_app, "job", org="globex", job=failed.id).text
    assert "warehouse_busy" in text and "held by process 4711" in text


def test_empty_states_give_the_next_command() -> None:
    with engine_of() as engine:
        assert "aggmaint serve --config aggmaint.toml" in get(app_of(engine), "").text
        engine.register_organizations(["acme"])
        text = get(app_of(engine), "organization", org="acme").text
        assert "aggmaint run acme" in text
        for schedule in engine.get_organization("acme").schedules:
            engine.remove_schedule("acme", schedule.id)
        text = get(app_of(engine), "organization", org="acme").text
        assert "aggmaint schedule add acme '0 0 4 ? * * *'" in text
        assert "Nothing matches" in get(app_of(engine), "", q="zzz").text


# -- where it stands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mount", ["", "/ops/agg"])
def test_every_link_leads_somewhere_below_any_mount(fleet_app: ASGIApp, mount: str) -> None:
    app = Starlette(routes=[Mount(mount, fleet_app)]) if mount else fleet_app
    waiting, seen = [""], set()
    while waiting:
        target = waiting.pop().partition("#")[0]
        shape = target.partition("partition=")[0] + target.partition("before=")[1]
        if shape in seen or target.startswith("act?"):
            continue
        seen.add(shape)
        answer = ask(app, "GET", mount + AT + target)
        assert answer.status == 200, target
        waiting.extend(link.removeprefix("./") for link in read(answer).links if not link.startswith("#"))
    assert len(seen) > 60


def test_the_bare_address_leads_to_the_dashboard_unless_the_host_says_no(fleet_engine: MaintenanceEngine) -> None:
    answer = ask(app_of(fleet_engine), "GET", "/")
    assert (answer.status, answer.headers["location"]) == (307, "./dashboard/")
    bare = ask(app_of(fleet_engine), "GET", "/dashboard")
    assert (bare.status, bare.headers["location"]) == (307, "dashboard/")
    assert ask(app_of(fleet_engine, index=False), "GET", "/").status == 404
    assert ask(app_of(fleet_engine), "POST", "/").status == 404
    elsewhere = app_of(fleet_engine, path="/pages")
    assert ask(elsewhere, "GET", "/").headers["location"] == "./pages/"
    assert ask(elsewhere, "GET", "/pages/").status == 200


def test_the_api_goes_on_beside_it(fleet_app: ASGIApp) -> None:
    assert ask(fleet_app, "GET", "/aggregates/maintenance/orgId/acme").response is None
    assert ask(fleet_app, "GET", "/nothing").error(404)


@pytest.mark.parametrize("path", ["nothing", "organization/", "static/", "static/../app.py", "static/base.html", "%FF"])
def test_what_is_not_there_is_a_page_too(fleet_app: ASGIApp, path: str) -> None:
    answer = ask(fleet_app, "GET", AT + path)
    assert answer.status == (400 if path == "%FF" else 404)
    read(answer)


def test_other_methods_are_refused(fleet_app: ASGIApp) -> None:
    assert ask(fleet_app, "DELETE", address("organization", org="acme")).status == 405
    assert ask(fleet_app, "PUT", AT + "static/dashboard.css").status == 404
    head = ask(fleet_app, "HEAD", address("organization", org="acme"))
    full = ask(fleet_app, "GET", address("organization", org="acme"))
    assert (head.status, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(full.content))


def test_web_sockets_are_refused(fleet_app: ASGIApp) -> None:
    scope = {"type": "websocket", "path": AT, "raw_path": AT.encode(), "subprotocols": []}
    assert exchange(fleet_app, scope, {"type": "websocket.connect"})[0]["type"] == "websocket.close"


def test_static_files_are_kept_and_their_address_changes_with_them(fleet_app: ASGIApp) -> None:
    page = get(fleet_app, "")
    styles = [given["href"] for given, _ in page.all("link", rel="stylesheet")]
    answer = ask(fleet_app, "GET", AT + styles[0])
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"] and "?v=" in styles[0]
    assert get(fleet_app, "").elements == page.elements
    assert ask(fleet_app, "GET", AT).headers["cache-control"] == "no-store"
    assert ask(fleet_app, "GET", AT).headers["referrer-policy"] == "same-origin"


def test_nothing_that_is_served_names_another_host(fleet_app: ASGIApp) -> None:
    for name in ("dashboard.css", "dashboard.js", "theme.js", "mark.svg"):
        text = ask(fleet_app, "GET", AT + f"static/{name}").content.decode()
        assert "//" not in text.replace("http://www.w3.org/2000/svg", "").replace("// ", ""), name


def test_wrong_options_are_refused() -> None:
    with pytest.raises(InvalidValueError):
        Dashboard(streams_max=-1)
    with engine_of() as engine, pytest.raises(InvalidValueError):
        app_of(engine, path="/aggregates/pages")
