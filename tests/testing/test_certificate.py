"""`python -m aggmaint.testing certify`: a third store is certified from outside; what is doubtful fails closed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aggmaint.testing import Effort, Outcome, certify
from aggmaint.testing.__main__ import main
from aggmaint.testing.certificate import Certificate, find_target
from tests.testing import stores
from tests.testing.test_suites import TestMemoryStore as MemorySuite

ROOT = Path(__file__).parents[2]
QUICK = Effort(examples=3, steps=20, timed=False)


def certify_by_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "aggmaint.testing", "certify", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


def test_a_store_of_the_how_to_is_certified_by_the_command(tmp_path: Path) -> None:
    """The third store, in a process of its own, with every check that several handles allow."""
    done = certify_by_command(
        "tests.examples.json_directory_store:make_store", "--json", "--examples=3", f"--location={tmp_path}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    certificate = json.loads(done.stdout)
    assert certificate["passed"] and certificate["handles"] == "many" and certificate["seed"] == 0
    assert certificate["store"] == "tests.examples.json_directory_store.JsonDirectoryStore"
    assert certificate["timings"]["jobs_per_s"] > 0
    outcomes = {check["name"]: check["outcome"] for check in certificate["checks"]}
    assert outcomes.pop("agreement_with_the_memory_model_I21") == "passed"
    assert {name for name, outcome in outcomes.items() if outcome == "not applicable"} == {
        name for name in outcomes if "fenced" in name
    }
    assert list(tmp_path.iterdir()) == [], "the kit removes what it made"


def of(certificate: Certificate, outcome: Outcome) -> set[str]:
    return {check.name for check in certificate.checks if check.outcome is outcome}


def test_a_factory_without_a_location_gets_the_checks_for_one_handle_and_it_is_said() -> None:
    certificate = certify(stores.make_memory, QUICK)
    assert certificate.passed and certificate.handles == "one"
    assert "test_another_handle_sees_commits_at_once" in of(certificate, Outcome.NOT_APPLICABLE)
    text = certificate.as_text()
    assert "checked for a single handle only" in text and "the factory takes no location" in text


def test_a_capability_that_the_kit_does_not_know_fails_closed() -> None:
    certificate = certify(stores.make_boastful, QUICK)
    assert not certificate.passed
    assert of(certificate, Outcome.FAILED) == {"test_capabilities_are_known_to_the_kit"}
    text = certificate.as_text()
    assert "DOES NOT CONFORM" in text and "'Notifies'" in text and "promised: Every ability" in text


def test_a_factory_that_makes_nothing_fails_every_check() -> None:
    certificate = certify(stores.make_nothing, QUICK)
    assert not certificate.passed and certificate.timings is None
    assert not of(certificate, Outcome.PASSED)
    assert "OSError: no disk" in certificate.as_text()


def test_the_same_seed_gives_the_same_certificate() -> None:
    first, again = (certify(stores.make_memory, QUICK) for _ in range(2))
    assert first == again
    assert json.loads(first.as_json())["passed"] is True


def test_a_suite_of_ones_own_can_be_certified() -> None:
    assert find_target("tests.testing.test_suites:TestMemoryStore") is MemorySuite
    certificate = certify(MemorySuite, QUICK)
    assert certificate.store == "aggmaint.stores.memory.MemoryStore" and certificate.passed


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nocolon", "give module:factory"),
        ("no.such.module:make", "can not be imported"),
        ("tests.testing.stores:nothing_there", "has no 'nothing_there'"),
        ("tests.testing.stores:__name__", "is no factory"),
    ],
)
def test_what_can_not_be_found_is_said(target: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["certify", target])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("factory", "code"), [("make_memory", 0), ("make_boastful", 1)])
def test_the_exit_code_says_whether_it_conforms(factory: str, code: int, capsys: Any) -> None:
    arguments = ["certify", f"tests.testing.stores:{factory}", "--examples=2", "--steps=10", "--no-timings", "--seed=3"]
    assert main(arguments) == code
    assert "seed 3" in capsys.readouterr().out
