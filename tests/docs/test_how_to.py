"""docs/how-to/{operate,recover}.md keep their word: their blocks run, in order, in one place, and end as the pages say."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from aggmaint.cli.app import COMMANDS, cli

from .test_readme import ORDERS, ROOT, blocks

EXIT = re.compile(r"#.*\bexit (\d+)")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import duckdb

    monkeypatch.chdir(tmp_path)
    with duckdb.connect() as connection:
        connection.execute(ORDERS)
    (tmp_path / "aggmaint.toml").write_text(blocks("toml")[0], encoding="utf-8")
    return tmp_path


def run_line(line: str) -> None:
    """One command of a page; a comment that says `exit 1` is a promise."""
    said = EXIT.search(line)
    program, *arguments = shlex.split(line, comments=True)
    assert program == "aggmaint"
    result = CliRunner().invoke(cli, arguments)
    conditional = "once" in line
    expected = int(said.group(1)) if said and not conditional else 0
    assert result.exit_code == expected, f"{line}\n{result.output}\n{result.exception!r}"


@pytest.mark.parametrize("page", ["operate.md", "recover.md"])
def test_the_page_runs_as_it_is_written(place: Path, page: str) -> None:
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    ran = 0
    for language, code in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            exec(compile(code, page, "exec"), {"__name__": "page"})
        else:
            assert language == "sh"
            for line in filter(None, code.splitlines()):
                run_line(line)
                ran += 1
    assert ran > 8


def test_every_command_of_the_line_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if f"`aggmaint {name}" not in readme]
