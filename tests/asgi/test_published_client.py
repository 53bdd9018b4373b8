"""AtScale's published Python client (the package `atscale`, 2.8.2) understands each of our errors.

It is no dependency and no part of this repository: install it to run these, `pip install --no-deps atscale==2.8.2`. Only the
two modules that read errors are loaded, as they are; what they import beyond that and do not use here is stood in for.
"""

import importlib.util
import json
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
from attrs import frozen
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine
from aggmaint.asgi import RateLimit, create_app
from aggmaint.errors import StoreUnavailableError
from aggmaint.stores.memory import MemoryStore
from tests.asgi.support import ORG, SCHEDULES, TOKENS, Answer, ask, engine_with
from tests.support.tasks import GateTask

VERSION = "2.8.2"


def missing() -> str | None:
    try:
        found = version("atscale")
    except PackageNotFoundError:
        return f"atscale is not installed: pip install --no-deps atscale=={VERSION}"
    return None if found == VERSION else f"atscale {found} is installed, not {VERSION}"


pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@frozen
class Published:
    """The client's own error reading, and its exceptions."""

    utils: ModuleType
    errors: ModuleType


class _StandIns:
    """Finds a stand-in for every module that the two do not need here."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in ("pandas", "numpy", "requests", "urllib3", "cryptography", "atscale"):
            return importlib.util.spec_from_loader(name, self, is_package=True)  # type: ignore[arg-type]  # a loader by shape
        return None

    def create_module(self, spec: Any) -> Any:
        module = MagicMock(name=spec.name)
        module.__spec__ = spec
        module.__path__ = []
        return module

    def exec_module(self, module: Any) -> None: ...


@pytest.fixture(scope="module")
def published() -> Any:
    before = dict(sys.modules)
    finder: Any = _StandIns()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("atscale", "requests", "pandas", "numpy")]:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        errors = _load("atscale.errors.atscale_errors")
        utils = _load("atscale.utils.request_utils")
        vars(utils)["atscale_errors"] = errors
        vars(utils)["json"] = json
        yield Published(utils, errors)
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - set(before):
            del sys.modules[name]
        sys.modules.update(before)


def _load(name: str) -> ModuleType:
    path = distribution("atscale").locate_file(name.replace(".", "/") + ".py")
    spec = importlib.util.spec_from_file_location(name, str(path))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@frozen
class AsRequestsHasIt:
    """An answer of ours, as the published client's HTTP library shows it."""

    status_code: int
    text: str

    @property
    def ok(self) -> bool:
        return self.status_code < 400


def raised(published: Published, answer: Answer) -> Exception:
    """What the published client raises for this answer."""
    with pytest.raises(Exception) as caught:
        published.utils.check_response(AsRequestsHasIt(answer.status, answer.content.decode()))
    return caught.value


class AwayStore(MemoryStore):
    away = False

    def load(self, org_ids: Any) -> Any:
        if self.away:
            raise StoreUnavailableError("away")
        return super().load(org_ids)


def broken(*_: Any) -> Any:
    raise RuntimeError("broken")


def errors_of(app: ASGIApp, engine: MaintenanceEngine) -> list[tuple[Answer, str]]:
    """One answer for each way to fail, with the class that the published client has for it."""
    run = f"{ORG}/default/run-immediately"
    limited = create_app(engine, authorize=TOKENS, rate_limit=RateLimit(1e-6, 1))
    ask(limited, "GET", f"{ORG}/default")
    off = create_app(engine, authorize=TOKENS, design_center_enabled=False)
    ask(app, "POST", run)
    return [
        (ask(app, "GET", f"{ORG}/default/history?limit=abc"), "ValidationError"),
        (ask(app, "GET", f"{ORG}/%FF"), "ValidationError"),
        (ask(app, "POST", f"{SCHEDULES}/default?time_expression=0+4+*+*+*"), "ValidationError"),
        (ask(app, "GET", f"{ORG}/default", token=None), "AuthenticationError"),
        (ask(app, "GET", f"{ORG}/default", token="wrong"), "AuthenticationError"),
        (ask(app, "POST", run, token="viewer"), "InaccessibleAPIError"),
        (ask(app, "GET", f"{ORG}/nobody"), "InaccessibleAPIError"),
        (ask(app, "GET", "/nothing"), "InaccessibleAPIError"),
        (ask(app, "DELETE", f"{SCHEDULES}/default/jobId/none"), "InaccessibleAPIError"),
        (ask(app, "POST", run, token=None, headers={"Sec-Fetch-Site": "cross-site"}), "InsufficientAccessError"),
        (ask(app, "PATCH", run), "AtScaleServerError"),
        (ask(app, "POST", f"{run}?ifBusy=reject"), "AtScaleServerError"),
        (ask(app, "POST", run, content=b"x" * 65537), "AtScaleServerError"),
        (ask(limited, "GET", f"{ORG}/default"), "AtScaleServerError"),
        (ask(create_app(engine, authorize=broken), "GET", f"{ORG}/default"), "AtScaleServerError"),
        (ask(off, "POST", run), "DisabledDesignCenterError"),
    ]


def test_each_of_our_errors_is_understood(published: Published) -> None:
    store = AwayStore()
    with engine_with(GateTask(), store=store) as engine:
        app = create_app(engine, authorize=TOKENS)
        answers = errors_of(app, engine)
        store.away = True
        answers.append((ask(app, "GET", f"{ORG}/default"), "DisabledDesignCenterError"))
        store.away = False
    assert {answer.status for answer, _ in answers} == {400, 401, 403, 404, 405, 409, 413, 429, 500, 503}
    for answer, kind in answers:
        error = raised(published, answer)
        assert type(error) is getattr(published.errors, kind), answer.content
        said = answer.error(answer.status)
        assert f"{said['message']}: {said['error']}" == str(error) or said["error"] == said["message"], str(error)


def test_a_success_is_no_error(published: Published, app: ASGIApp) -> None:
    answer = ask(app, "GET", f"{ORG}/default")
    accepted = AsRequestsHasIt(answer.status, answer.content.decode())
    assert published.utils.check_response(accepted) is accepted


def test_a_body_with_null_is_what_it_crashes_on(published: Published) -> None:
    """Why every error of ours carries an object: this is the client's own failure without one."""
    body = '{"status":{"code":404,"message":"Not Found"},"response":null}'
    with pytest.raises(AttributeError):
        published.utils.check_response(AsRequestsHasIt(404, body))
