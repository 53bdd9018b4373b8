"""A token file that changes while the server runs: revoked and added tokens, broken files, the signal."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from aggmaint import MaintenanceEngine
from aggmaint.asgi import TokenFile, create_app, hash_token
from aggmaint.errors import ConfigurationError
from aggmaint.testing.clocks import ManualClock
from tests.asgi.support import ORG, ask, ask_socket
from tests.support.tasks import until

HERE = f"{ORG}/default"


def write(path: Path, *tokens: str) -> None:
    """Replaced whole, as editors and deployments do it."""
    entries = (f'[[token]]\nname = "{each}"\nsha256 = "{hash_token(each)}"\nview = ["default"]\n' for each in tokens)
    beside = path.with_suffix(".new")
    beside.write_text("\n".join(entries), encoding="utf-8")
    beside.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "tokens.toml", "old", "kept")
    return tmp_path / "tokens.toml"


def statuses(app: ASGIApp) -> list[int]:
    return [ask(app, "GET", HERE, token=token).status for token in ("old", "kept", "new")]


def test_a_change_is_seen_after_a_second_and_only_looked_for_then(engine: MaintenanceEngine, path: Path) -> None:
    clock = ManualClock()
    app = create_app(engine, authorize=TokenFile(path, clock=clock))
    assert statuses(app) == [200, 200, 401]
    write(path, "kept", "new")
    clock.pass_s(0.9)
    assert statuses(app) == [200, 200, 401]
    clock.pass_s(0.1)
    assert statuses(app) == [401, 200, 200]


def test_a_broken_file_changes_nothing_and_is_told_of_once(
    engine: MaintenanceEngine, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    app = create_app(engine, authorize=TokenFile(path, clock=clock))
    path.write_text("[[token]]\nname = 5\n", encoding="utf-8")
    for _ in range(3):
        clock.pass_s(2)
        assert statuses(app) == [200, 200, 401]
    assert caplog.text.count("what was read before still holds") == 1 and "no token was loaded" in caplog.text
    path.unlink()
    clock.pass_s(2)
    assert statuses(app) == [200, 200, 401]
    write(path, "new")
    clock.pass_s(2)
    assert statuses(app) == [401, 401, 200]


def test_reload_looks_at_once(engine: MaintenanceEngine, path: Path) -> None:
    tokens = TokenFile(path, clock=ManualClock())
    app = create_app(engine, authorize=tokens)
    write(path, "new")
    tokens.reload()
    assert statuses(app) == [401, 401, 200]


def test_the_first_reading_must_succeed(path: Path) -> None:
    path.write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="nobody could come in"):
        TokenFile(path)


SCRIPT = """
import sys
from aggmaint import MaintenanceEngine, MaintenanceReport
from aggmaint.asgi import TokenFile, create_app, serve
from aggmaint.stores.memory import MemoryStore
from aggmaint.testing.clocks import ManualClock

engine = MaintenanceEngine(store=MemoryStore(), task=None, scheduler=None)
engine.register_organizations(["default"])
tokens = TokenFile(sys.argv[1], clock=ManualClock())  # looks by itself never
app = create_app(engine, authorize=tokens)
serve(app, port=0, on_listening=lambda url: print(url, flush=True), on_hangup=tokens.reload)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_sighup_reads_the_tokens_again(path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        port = int(process.stdout.readline().strip().rpartition(":")[2])
        assert ask_socket(port, "GET", HERE, token="old").status == 200
        write(path, "new")
        process.send_signal(signal.SIGHUP)
        until(lambda: ask_socket(port, "GET", HERE, token="new").status == 200, "the new token")
        assert ask_socket(port, "GET", HERE, token="old").status == 401
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
