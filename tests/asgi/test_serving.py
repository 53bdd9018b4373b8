"""Serving from a process of its own: signals, ports, and what the menu imports."""

import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from aggmaint import AggmaintError, MaintenanceEngine
from aggmaint.asgi import Anonymous, BindError, create_app, is_loopback, serve
from aggmaint.errors import MissingExtraError
from tests.asgi.support import ORG, ask_socket, engine_with

SCRIPT = """
from aggmaint import MaintenanceEngine, MaintenanceReport
from aggmaint.asgi import Anonymous, create_app, serve
from aggmaint.stores.memory import MemoryStore

class Task:
    def run(self, context):
        while True:
            context.check()

engine = MaintenanceEngine(store=MemoryStore(), task=Task())
engine.register_organizations(["default"])
with engine:
    serve(create_app(engine, authorize=Anonymous()), port=0, on_listening=lambda url: print(url, flush=True))
    print("returned", flush=True)
print("closed", engine.list_jobs("default").jobs[0].error.code, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_a_signal_ends_serving_and_lets_the_caller_clean_up(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        port = int(url.rpartition(":")[2])
        assert url == f"http://127.0.0.1:{port}"
        message = ask_socket(port, "POST", f"{ORG}/default/run-immediately").body["status"]["message"]
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert message == "Maintenance successfully started for default"
    assert out.splitlines() == ["returned", "closed shutdown"]
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "POST /aggregates/maintenance/orgId/default/run-immediately" in err  # the access log is not on stdout


def test_the_callers_handlers_come_back() -> None:
    """A signal before uvicorn has its own handlers is not lost either: serving ends at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with engine_with(inline=True) as engine:
        app = create_app(engine, authorize=Anonymous())
        serve(app, port=0, log_level="critical", on_listening=lambda _: signal.raise_signal(signal.SIGTERM))
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_port_in_use_is_an_error_with_a_remedy(engine: MaintenanceEngine) -> None:
    app = create_app(engine, authorize=Anonymous())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BindError, match=rf"can not listen on 127\.0\.0\.1:{port}: .*--port") as caught:
            serve(app, port=port)
    assert isinstance(caught.value, AggmaintError) and isinstance(caught.value, OSError)
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 80), ("192.0.2.1", 0), ("127.0.0.1", 70000)])
def test_addresses_that_are_none(engine: MaintenanceEngine, host: str, port: int) -> None:
    with pytest.raises(BindError, match=f"{host}:{port}"):
        serve(create_app(engine, authorize=Anonymous()), host=host, port=port)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.5", False),
        ("127.0.0.1.example.com", False),
        ("example.com", False),
        ("127.1", False),
    ],
)
def test_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_menu_is_light() -> None:
    heavy = ["starlette", "uvicorn", "anyio", "asyncio"]
    script = f"import sys, aggmaint.asgi; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["starlette", "uvicorn"])
def test_a_missing_extra_is_named(module: str) -> None:
    script = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from aggmaint.asgi import Anonymous, create_app, serve\n"
        "from aggmaint.errors import MissingExtraError\n"
        "try:\n"
        f"    {'create_app(None, authorize=Anonymous())' if module == 'starlette' else 'serve(None, port=0)'}\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(MissingExtraError(module, "asgi"))
    assert "pip install 'aggmaint[asgi]'" in done.stdout


def test_the_menu_is_what_it_says() -> None:
    import aggmaint.asgi as menu

    names: dict[str, Any] = vars(menu)
    assert all(names[name].__doc__ for name in menu.__all__)
