"""Names, reports and inventories that nobody expected: pages never break on them, and nothing in them becomes markup."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from aggmaint import MaintenanceReport, TaskContext
from aggmaint.asgi.dashboard import links
from aggmaint.asgi.dashboard.facts import read_inventory, read_report
from tests.asgi.support import ask
from tests.dashboard.support import AT, act, address, app_of, engine_of, get, led_to, read
from tests.support.tasks import FunctionTask

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202egnp.exe \u05d0\u05d1\u05d2",
    "a/b?c=d&org=other#e",
    "line\nbreak\ttab",
    "../../etc/passwd%00%2e",
    "W" * 255,
    "\U0001f9e8" * 200,
    " trailing ",
]


def scripted(name: str) -> Any:
    """A task whose report and inventory say `name` wherever they can."""
    definition = {
        **dict.fromkeys(("name", "cube", "project", "reason", "message", "view", "type", "subtype", "sql"), name),
        "id": name,
        "status": "active",
        "rows": 3,
        "attributes": [{"name": name, "type": "dimension"}, {"name": name, "type": "measure"}],
        "sources": [name],
        "partition": {"expression": name, "granularity": name, "zone": name},
        "partition_states": [{"key": name, "state": name, "reason": name, "rows": 1}],
    }
    about = dict.fromkeys(
        ("subject", "reason", "action", "aggregate", "words", "code", "message", "table", "error"), name
    )
    details = {
        "decisions": [{**about, "weight": "work", "definition_id": name, "partitions": [name]}],
        "steps": [{**about, "action": "build", "definition_id": name, "partitions": [name], "rows": 1, "seconds": 1}],
        "findings": [{**about, "weight": "problem"}],
        name: {"more": name},
    }
    return {"details": details, "inventory": {"definitions": [definition], "schema": name}, "summary": name}


def reports(name: str) -> FunctionTask:
    told = scripted(name)

    def body(context: TaskContext) -> MaintenanceReport:
        return MaintenanceReport(
            complete=True, summary=told["summary"], details=told["details"], inventory=told["inventory"]
        )

    return FunctionTask(body)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_text_everywhere(name: str) -> None:
    with engine_of(name, task=reports(name)) as engine:
        app = app_of(engine)
        engine.pause(name, reason=name[:200] or "-", by=name)
        job = led_to(act(app, name, "run")).partition("job=")[2].partition("&")[0]
        pages = [
            get(app, "", q=name.strip()),
            get(app, "organization", org=name),
            get(app, "aggregate", org=name, id=name, partition=name),
            get(app, "job", org=name, job=job, decisions="all"),
            get(app, "act", org=name, action="cancel", job=name),
        ]
        for page in pages:
            assert " ".join(name.split()) in page.text
            assert not page.all("img") and len(page.all("script")) == 2
            for link in page.links:
                if not link.startswith("#"):
                    assert ask(app, "GET", AT + link.partition("#")[0]).status == 200


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        *(
            "definitions",
            "instances",
            "observed_at",
            "partition_states",
            "attributes",
            "id",
            "name",
            "cube",
            "partition",
        ),
        *(
            "details",
            "decisions",
            "steps",
            "findings",
            "errors",
            "aggregates",
            "partitions",
            "rows",
            "seconds",
            "state",
        ),
        *("key", "sources", "sql", "definition_id", "action", "subject", "status", "last_build", "starts_at", "weight"),
    ]
)
ODD = st.recursive(
    st.one_of(JSON, st.sampled_from(["refresh", "build", "partition", "0001-01-01T00:00:00Z", "2024-01-01", 10**40])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=20,
)


@given(content=ODD)
@settings(max_examples=200)
def test_reading_never_fails(content: Any) -> None:
    read_inventory("j", content)
    read_report(content)


@given(details=st.dictionaries(KEYS, ODD, max_size=6), inventory=st.dictionaries(KEYS, ODD, max_size=6))
@settings(max_examples=60, deadline=None)
def test_pages_of_odd_reports_are_pages(details: dict[str, Any], inventory: dict[str, Any]) -> None:
    def body(context: TaskContext) -> MaintenanceReport:
        return MaintenanceReport(complete=True, details=details, inventory=inventory)

    with engine_of("acme", task=FunctionTask(body)) as engine:
        app = app_of(engine)
        engine.run_immediately("acme")
        job = engine.list_jobs("acme").jobs[0]
        assert job.status.value == "done"
        get(app, "")
        get(app, "job", org="acme", job=job.id, decisions="all")
        for link in get(app, "organization", org="acme").links:
            if link.startswith("aggregate?id=") is False and link.startswith("aggregate?"):
                answer = ask(app, "GET", AT + link)
                assert answer.status in (200, 404)
                read(answer)


def test_a_task_of_the_hosts_own_is_shown_as_it_is() -> None:
    def body(context: TaskContext) -> MaintenanceReport:
        return MaintenanceReport(complete=True, summary="indexes rebuilt", details={"indexes": [1, 2]})

    with engine_of("acme", task=FunctionTask(body)) as engine:
        app = app_of(engine)
        engine.run_immediately("acme")
        job = engine.list_jobs("acme").jobs[0]
        text = get(app, "job", org="acme", job=job.id).text
        assert "indexes rebuilt" in text and '"indexes": [ 1, 2 ]' in text
        assert "Healthy" in get(app, "").text


@pytest.mark.parametrize(
    "query",
    [{"org": ""}, {}, {"org": "x" * 256}, {"org": "a\x00b"}],
    ids=["empty", "none", "long", "nul"],
)
def test_what_is_no_organisation_id_is_400(fleet_app: ASGIApp, query: dict[str, str]) -> None:
    for page in ("organization", "aggregate", "job", "events", "act"):
        answer = ask(fleet_app, "GET", address(page, **query))
        assert answer.status == 400
        read(answer)


@pytest.mark.parametrize(
    "query",
    [
        {"page": "²"},
        {"page": "-1"},
        {"page": "9" * 40},
        {"sort": "x", "show": "y"},
        {"before": "abc"},
        {"status": "odd"},
    ],
    ids=str,
)
def test_mangled_queries_still_show_a_page(fleet_app: ASGIApp, query: dict[str, str]) -> None:
    for page, more in (("", {}), ("organization", {"org": "acme"}), ("", {"sort": "health"})):
        answer = ask(fleet_app, "GET", address(page, **{**query, **more}))
        assert answer.status == 200
        read(answer)


@pytest.mark.parametrize(
    ("target", "safe"),
    [
        ("organization?org=acme", "organization?org=acme"),
        ("./?q=a%20b", "./?q=a%20b"),
        ("", "./"),
        ("//evil.example", "./"),
        ("https://evil.example/organization", "./"),
        ("organization/../../x", "./"),
        ("\\evil", "./"),
        ("organization?org=a\r\nSet-Cookie: x", "./"),
        ("organization?org=a#b", "./"),
        ("act?org=acme&action=run", "./"),
        ("javascript:alert(1)", "./"),
        ("./", "./"),
    ],
)
def test_only_pages_of_the_dashboard_are_followed(target: str, safe: str) -> None:
    assert links.safe_target(target) == safe
