"""The demo, and serving its directory over HTTP, as a new user would."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from .conftest import Place, wait_until


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("demo"))
    result = place.run("demo", "--scale", "0.01", "--json")
    assert result.code == 0, result.err
    assert result.json["ok"]
    claims = [claim for chapter in result.json["chapters"] for claim in chapter.get("claims", {})]
    assert sum("equals its source" in claim for claim in claims) == 8
    assert "only the touched partitions are planned" in claims
    assert "the health check finds it" in claims
    yield place
    place.end()


def test_the_demo_leaves_a_directory_to_look_at(demo: Place) -> None:
    status = demo.run("status", "--config", "aggmaint-demo/aggmaint.toml", "--json")
    assert [each["id"] for each in status.json["organizations"]] == ["acme", "globex"]
    assert all(len(each["aggregates"]) == 4 for each in status.json["organizations"])


def test_the_demo_runs_again_over_its_own_directory_only(demo: Place, tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    refused = demo.run("demo", "--scale", "0.01", "--dir", str(tmp_path))
    assert refused.code == 2
    assert "not empty" in refused.err
    assert (tmp_path / "precious").exists()


def test_the_three_routes_are_served_from_the_demo(demo: Place) -> None:
    config = str(demo.path / "aggmaint-demo" / "aggmaint.toml")
    child = demo.start("-m", "aggmaint", "serve", "--config", config, "--port", "0", "--insecure-no-auth", "--metrics")
    assert child.stdout is not None
    line = child.stdout.readline()
    url = next(word for word in line.split() if word.startswith("http://")).rstrip(",")
    with httpx.Client(base_url=url, timeout=30) as client:
        for prefix in ("", "/api/1.0"):
            base = f"{prefix}/aggregates/maintenance/orgId/globex"
            wait_until(partial(is_idle, client, base), "no job to run")
            started = client.post(f"{base}/run-immediately")
            assert started.status_code == 200
            assert started.json()["response"] is None
            assert "globex" in started.json()["status"]["message"]
            history = client.get(f"{base}/history", params={"limit": 1}).json()
            assert history["status"] == {"code": 0, "message": "200 OK"}
            assert len(history["response"]["data"]) == 1
        assert client.get("/aggregates/maintenance/orgId/initech").status_code == 404
        assert 'aggmaint_jobs_started_total{trigger="manual"} 2.0' in client.get("/metrics").text
        rebound = client.post(f"{base}/run-immediately", headers={"Host": "evil.example"})
        assert rebound.status_code == 400, "a page of another site whose name was made to lead here"
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 0, err
    assert "Traceback" not in err


def is_idle(client: httpx.Client, path: str) -> bool:
    return client.get(path).json()["response"] is None


def test_serving_without_authorisation_is_for_loopback_only(demo: Place) -> None:
    config = str(demo.path / "aggmaint-demo" / "aggmaint.toml")
    open_to_all = demo.run("serve", "--config", config, "--host", "0.0.0.0", "--insecure-no-auth")
    assert open_to_all.code == 2
    assert "--token-file" in open_to_all.err
    assert demo.run("serve", "--config", config).code == 2
    missing = demo.run("serve", "--config", config, "--token-file", "nope.txt")
    assert missing.code == 2
    assert "nope.txt" in missing.err
