"""`[warehouse] factory`: a configuration over a warehouse that is not aggmaint's own, from the file to the view."""

import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from aggmaint.aggregates.naming import schema_name
from aggmaint.cli.app import cli
from aggmaint.config import load_config
from aggmaint.errors import ConfigurationError
from tests.examples.sqlite_warehouse import SQLiteWarehouse

CONFIG = """
[warehouse]
factory = "tests.config.test_factory:for_organization"

[organizations]
ids = ["acme"]

[sources.sales]
table = "sales"

[[aggregate]]
cube = "sales"
name = "by_month"
source = "sales"
attributes = ["shop"]
measures = [{ name = "mean", function = "avg", expression = "qty" }]
partition = { expression = "day", by = "month" }
"""


def for_organization(org_id: str) -> SQLiteWarehouse:
    assert org_id == "acme"
    return SQLiteWarehouse("sales.sqlite")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    connection = sqlite3.connect("sales.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE sales (day DATE, shop TEXT, qty INTEGER)")
    connection.execute("INSERT INTO sales VALUES ('2024-01-31', 'north', 1), ('2024-01-02', 'north', 2)")
    connection.close()
    (tmp_path / "aggmaint.toml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def shown() -> list[tuple[object, ...]]:
    connection = sqlite3.connect("sales.sqlite")
    connection.execute(f"ATTACH '{schema_name('acme')}.sqlite' AS {schema_name('acme')}")
    rows = connection.execute(f"SELECT month, shop, mean FROM {schema_name('acme')}.sales__by_month").fetchall()
    connection.close()
    return sorted(rows)


def test_run_plan_verify_and_doctor_work_over_a_factory(place: Path) -> None:
    run("run", "acme")
    assert shown() == [("2024-01-01", "north", 1.5)]
    connection = sqlite3.connect(place / "sales.sqlite")
    connection.execute("INSERT INTO sales VALUES ('2024-02-29', 'south', 7)")
    connection.commit()
    connection.close()
    assert "2024-02" in run("plan", "acme")
    run("run", "acme")
    assert shown() == [("2024-01-01", "north", 1.5), ("2024-02-01", "south", 7.0)]
    run("verify", "acme")
    assert "SQLiteWarehouse opens" in run("doctor")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"tests.config.test_factory:for_organization"', '"tests.config.test_factory"', 'must be "module:callable"'),
        ("test_factory:for_organization", "no_such_module:make", "can not be imported"),
        ("test_factory:for_organization", "test_factory:make", "has no function 'make'"),
        ("[organizations]", "create = true\n[organizations]", "warehouse.create: is for DuckDB files"),
        ('"avg"', '"approx_count_distinct"', "SQLite makes no sketches"),
        ('"qty"', '"qty +"', "not valid SQL"),
        ('table = "sales"', 'file = "sales.parquet"', "SQLite reads no files"),
    ],
)
def test_a_mistake_is_told_when_the_file_is_read(place: Path, old: str, new: str, words: str) -> None:
    (place / "aggmaint.toml").write_text(CONFIG.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        load_config("aggmaint.toml")
    assert words in str(raised.value)


def test_those_who_only_read_jobs_do_not_import_the_factory(place: Path) -> None:
    (place / "aggmaint.toml").write_text(CONFIG.replace("test_factory:", "no_such_module:"), encoding="utf-8")
    assert (
        load_config("aggmaint.toml", parse_sql=False).warehouse_factory
        == "tests.config.no_such_module:for_organization"
    )
