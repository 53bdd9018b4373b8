"""What the SQL parser answered is kept for the next process, and believed only if the same code would answer so."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aggmaint._config_answers import answers_path, keep_answers, read_answers
from aggmaint.aggregates import remembered
from aggmaint.aggregates.dialects import DialectName, DuckDBDialect
from aggmaint.aggregates.expressions import ExpressionError, column_paths, rendered
from aggmaint.aggregates.model import AggregateDefinition
from aggmaint.aggregates.parts import Measure
from aggmaint.aggregates.source import Source
from aggmaint.aggregates.sql import select_sql

CONFIG = """
[warehouse]
duckdb = "warehouse.duckdb"
create = true
[organizations]
ids = ["acme"]
[sources.sales]
file = "sales.csv"
where = "qty > 0"
[[aggregate]]
cube = "sales"
name = "by_month"
source = "sales"
attributes = [{ name = "month", expression = "date_trunc('month', sales.day)" }]
measures = [{ name = "n", function = "count", filter = "sales.qty > 1" }]
partition = { expression = "sales.day", by = "month" }
"""

RUN = (
    "import sys\n"
    "from aggmaint.cli.app import cli\n"
    "try: cli(['run'])\n"
    "except SystemExit as end: assert not end.code, end.code\n"
    "print('parser', 'sqlglot' in sys.modules)\n"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "aggmaint.toml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "sales.csv").write_text("day,qty\n2024-01-31,1\n2024-01-02,2\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Nothing is remembered yet."""
    known: dict[str, Any] = {}
    monkeypatch.setattr(remembered, "_ANSWERS", known)
    return known


def run(place: Path) -> str:
    done = subprocess.run([sys.executable, "-c", RUN], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_second_run_needs_no_parser(place: Path) -> None:
    assert "parser True" in run(place)
    second = run(place)
    assert "nothing to do" in second
    assert "parser False" in second
    (place / "sales.csv").write_text("day,qty\n2024-02-29,7\n2024-01-02,2\n", encoding="utf-8")
    third = run(place)
    assert "1 refreshed" in third
    assert "parser False" in third


def test_a_changed_expression_is_parsed(place: Path) -> None:
    run(place)
    changed = CONFIG.replace("sales.qty > 1", "sales.qty > 5")
    (place / "aggmaint.toml").write_text(changed, encoding="utf-8")
    assert "parser True" in run(place)
    assert "parser False" in run(place)


@pytest.mark.parametrize("kept", ["", "[]", '{"code": "other", "answers": {"a": "b"}}', '{"answers": 7}'])
def test_what_other_code_answered_is_not_believed(place: Path, kept: str, forgetful: dict[str, Any]) -> None:
    store = place / "aggmaint.db"
    answers_path(store).write_text(kept, encoding="utf-8")
    assert read_answers(store) == 0
    assert forgetful == {}


def test_answers_of_the_same_code_are_learnt(place: Path, forgetful: dict[str, Any]) -> None:
    store = place / "aggmaint.db"
    store.touch()
    texts = ["a + 1", "sales.day", "date_trunc('month', \"Day\")", "CASE WHEN a IS NULL THEN 'x' END"]
    fresh = [(rendered(text, "duckdb"), column_paths(text, "duckdb")) for text in texts]
    keep_answers(store, 0)
    before = dict(forgetful)
    forgetful.clear()
    assert read_answers(store) == len(before)
    assert forgetful == before
    assert [(rendered(text, "duckdb"), column_paths(text, "duckdb")) for text in texts] == fresh
    assert forgetful == before, "nothing was asked anew"


def test_an_answer_is_of_its_dialect_and_its_function(forgetful: dict[str, Any]) -> None:
    class Other(DuckDBDialect):
        pass

    rendered("a", "duckdb")
    rendered("a", DialectName(Other()))
    column_paths("a", "duckdb")
    assert len(forgetful) == 3


def test_errors_are_not_kept(forgetful: dict[str, Any]) -> None:
    for _ in range(2):
        with pytest.raises(ExpressionError):
            rendered("now()", "duckdb")
    assert forgetful == {}


def test_a_file_that_can_not_be_written_is_no_error(place: Path, forgetful: dict[str, Any]) -> None:
    store = place / "aggmaint.db"
    store.touch()
    answers_path(store).mkdir()
    rendered("a", "duckdb")
    keep_answers(store, 0)
    assert [path.name for path in place.iterdir() if path.name.startswith("aggmaint.db.")] == [answers_path(store).name]
    assert json.dumps(dict(forgetful))


def test_two_dialects_of_one_name_are_two() -> None:
    """What is remembered of the one is not given for the other."""

    class Ones(DuckDBDialect):
        def quote(self, name: str) -> str:
            return f"<{name}>"

    ones, duckdb = DialectName(Ones()), DialectName(DuckDBDialect())
    assert ones != duckdb
    assert ones != "duckdb"
    assert duckdb == DialectName(DuckDBDialect())
    definition = AggregateDefinition(
        organization_id="acme",
        cube="sales",
        name="totals",
        source=Source(table="sales"),
        measures=[Measure("n", "count")],
    )
    assert "<sales>" in select_sql(definition, ones)
    assert '"sales"' in select_sql(definition, duckdb)
