"""README keeps its word: its two commands, its configuration and its Python run as they are written."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

ORDERS = """
COPY (SELECT DATE '2024-01-01' + INTERVAL (n) DAY AS order_date, ['new', 'paid'][1 + n % 2] AS status,
             CAST(n AS DECIMAL(9, 2)) AS price, 1 + n % 3 AS quantity FROM range(200) AS numbers(n))
TO 'orders.parquet'"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the orders.parquet that README speaks of."""
    import duckdb

    monkeypatch.chdir(tmp_path)
    with duckdb.connect() as connection:
        connection.execute(ORDERS)
    return tmp_path


def test_the_two_commands_are_the_documented_ones() -> None:
    commands = [block.strip() for block in blocks("sh")[:2]]
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install '.[demo]' && .venv/bin/aggmaint demo",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/python -m pytest",
    ]


def test_ci_runs_the_very_same_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in blocks("sh")[:2]:
        for part in command.strip().split(" && "):
            assert part.replace("install ", "install -q ", 1) in script


def test_the_configuration_of_the_readme_maintains_the_aggregate(place: Path) -> None:
    from click.testing import CliRunner

    from aggmaint.cli.app import cli

    (place / "aggmaint.toml").write_text(blocks("toml")[0], encoding="utf-8")
    runner = CliRunner()
    for arguments in (["plan", "acme"], ["run", "acme"], ["run", "acme"], ["status"], ["history", "acme"]):
        result = runner.invoke(cli, arguments)
        assert result.exit_code == 0, f"{arguments}: {result.output}"
    why = runner.invoke(cli, ["why", "acme", "orders by month"])
    assert why.exit_code == 0, why.output
    assert "fresh" in why.output


def test_the_python_of_the_readme_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out.strip() == "done"


def test_every_linked_page_exists() -> None:
    for link in re.findall(r"\]\(((?:docs/|CHANGELOG)[^)#]*)", README):
        assert (ROOT / link).is_file(), link
