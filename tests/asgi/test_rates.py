"""How often somebody may ask: the rule, whom a request is charged to, and that the answer tells nothing else."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine, OrgId
from aggmaint.asgi import Access, Anonymous, Permission, RateLimit, create_app
from aggmaint.asgi._replies import RequestError
from aggmaint.asgi.rates import RateGuard, arrive, sender_key
from aggmaint.errors import InvalidValueError
from aggmaint.testing.clocks import ManualClock
from tests.asgi.support import ORG, TOKENS, ask

LIMIT = RateLimit(2, 3)
HERE = f"{ORG}/default"


# -- the rule ----------------------------------------------------------------------------------------------------------


def accepted(gaps_s: list[float], limit: RateLimit) -> list[float]:
    """When requests were accepted, of those that came after these gaps."""
    full_at_s, now_s, let_in = 0.0, 1000.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        full_at_s, early_s = arrive(full_at_s, now_s, limit)
        if not early_s:
            let_in.append(now_s)
    return let_in


@given(
    gaps_s=st.lists(st.floats(0, 3, allow_subnormal=False), max_size=60),
    per_s=st.floats(0.1, 50),
    burst=st.integers(1, 10),
)
def test_no_stretch_of_time_holds_more_than_burst_and_rate(gaps_s: list[float], per_s: float, burst: int) -> None:
    let_in = accepted(gaps_s, RateLimit(per_s, burst))
    for first, start in enumerate(let_in):
        for last, end in enumerate(let_in[first:], first):
            assert last - first + 1 <= burst + (end - start) * per_s + 1e-6


@given(per_s=st.floats(0.1, 50), burst=st.integers(1, 10))
def test_a_burst_passes_and_then_one_each_step(per_s: float, burst: int) -> None:
    assert len(accepted([0.0] * (burst + 5), RateLimit(per_s, burst))) == burst
    steady = [0.0] * burst + [1 / per_s + 1e-9] * 20
    assert len(accepted(steady, RateLimit(per_s, burst))) == len(steady)


@given(per_s=st.floats(0.1, 50), burst=st.integers(1, 10), over=st.integers(1, 5))
def test_who_waits_as_long_as_told_is_let_in(per_s: float, burst: int, over: int) -> None:
    limit = RateLimit(per_s, burst)
    full_at_s, now_s, early_s = 0.0, 0.0, 0.0
    for _ in range(burst + over):
        full_at_s, early_s = arrive(full_at_s, now_s, limit)
    assert early_s > 0
    assert arrive(full_at_s, now_s + early_s + 1e-9, limit)[1] == 0.0


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (1, 0), (math.inf, 1), (math.nan, 1)])
def test_limits_that_let_nobody_in_are_refused(per_s: float, burst: int) -> None:
    with pytest.raises(InvalidValueError, match="rate limit"):
        RateLimit(per_s, burst)


# -- whom it is charged to ---------------------------------------------------------------------------------------------


def scope(client: str | None = "203.0.113.7", token: str | None = None) -> dict[str, Any]:
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    return {"client": None if client is None else (client, 5), "headers": headers}


def test_who_was_let_in_has_a_bucket_of_their_own() -> None:
    def key(token: str | None, *, known: bool, user: str | None = None, client: str = "203.0.113.7") -> str:
        return sender_key(scope(client, token), known=known, user=user)

    assert key("a", known=True) == key("a", known=True, client="203.0.113.8") != key("b", known=True)
    assert key("a", known=True, user="ann") == key("b", known=True, user="ann") == "user ann"
    assert key("a", known=False, user="ann") == key("b", known=False) == key(None, known=True) == "client 203.0.113.7"
    assert "secret" not in key("secret", known=True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),  # one subscriber has a whole /64
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("testclient", "testclient", True),
        (None, None, True),
    ],
)
def test_addresses_are_known_by_what_one_subscriber_has(one: str | None, other: str | None, same: bool) -> None:
    keys = {sender_key(scope(client), known=False, user=None) for client in (one, other)}
    assert (len(keys) == 1) is same


def test_a_bounded_number_of_senders_is_remembered() -> None:
    guard = RateGuard(RateLimit(1, 1), clock=ManualClock(), keys_max=2)
    for client in ("a", "b"):
        guard.charge(scope(client), known=False)
    with pytest.raises(RequestError):
        guard.charge(scope("a"), known=False)  # `a` was used last, so `b` is forgotten next
    guard.charge(scope("c"), known=False)
    guard.charge(scope("b"), known=False)
    with pytest.raises(RequestError):
        guard.charge(scope("c"), known=False)
    assert len(guard._full_at_s) == 2


def test_time_gives_it_back() -> None:
    clock = ManualClock()
    guard = RateGuard(LIMIT, clock=clock)
    for _ in range(3):
        guard.charge(scope(), known=False)
    with pytest.raises(RequestError) as caught:
        guard.charge(scope(), known=False)
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "1"})
    clock.step_wall(3600)  # an operator's hand is not time
    with pytest.raises(RequestError):
        guard.charge(scope(), known=False)
    clock.pass_s(0.5)
    guard.charge(scope(), known=False)


# -- over HTTP ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def app(engine: MaintenanceEngine) -> ASGIApp:
    return create_app(engine, authorize=TOKENS, rate_limit=RateLimit(1e-6, 3))


def test_too_many_are_429_with_the_envelope_and_nobody_elses(app: ASGIApp, engine: MaintenanceEngine) -> None:
    assert [ask(app, "GET", HERE, token="viewer").status for _ in range(3)] == [200] * 3
    answer = ask(app, "GET", HERE, token="viewer")
    answer.error(429)
    assert int(answer.headers["retry-after"]) > 0
    ask(app, "GET", f"{ORG}/acme-eu", token="viewer").error(429)  # denied or not: the same
    ask(app, "POST", f"{HERE}/run-immediately", token="viewer").error(429)
    assert ask(app, "POST", f"{HERE}/run-immediately", token="manager").status == 200
    assert len(engine.list_jobs("default").jobs) == 1


def test_guessing_tokens_spends_the_address_and_not_the_tokens(app: ASGIApp) -> None:
    assert [ask(app, "GET", HERE, token=f"guess {n}".replace(" ", "-")).status for n in range(4)] == [401] * 3 + [429]
    ask(app, "GET", HERE, token=None).error(429)
    for path in ("/nothing", f"{ORG}/%FF", f"{ORG}/%00"):
        ask(app, "GET", path, token=None).error(429)
    ask(app, "PATCH", HERE).error(429)
    ask(app, "GET", "/readyz", token="viewer").error(429)  # open to all, so nobody is asked who it is
    assert ask(app, "GET", HERE, token="viewer").status == 200


def test_an_authorisers_user_has_one_bucket_for_all_tokens(engine: MaintenanceEngine) -> None:
    def authorize(request: Request, org_id: OrgId, permission: Permission) -> Access:
        request.state.aggmaint_user = "ann"
        return Access.GRANTED

    app = create_app(engine, authorize=authorize, rate_limit=RateLimit(1e-6, 2))
    assert [ask(app, "GET", HERE, token=f"t{n}").status for n in range(3)] == [200, 200, 429]


def test_without_a_limit_nobody_is_counted(engine: MaintenanceEngine) -> None:
    app = create_app(engine, authorize=Anonymous())
    assert {ask(app, "GET", HERE).status for _ in range(50)} == {200}
