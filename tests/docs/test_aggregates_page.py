"""docs/explanation/aggregates.md: its examples make one configuration that runs, and shows what the page says."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from aggmaint.aggregates.naming import schema_name
from aggmaint.cli.app import cli

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "aggregates.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)

TABLES = """
CREATE TABLE trades AS SELECT DATE '2024-01-01' + CAST(n * 3 AS INTEGER) AS day,
  ['oslo', 'rome', 'lima'][1 + n % 3] AS seller,
  ['bari', 'rome'][1 + n % 2] AS buyer, ['EU', 'US', 'APAC', NULL][1 + n % 4] AS region,
  CAST(n AS DECIMAL(9, 2)) AS amount, CAST(1000 - n AS DECIMAL(9, 2)) AS balance FROM range(120) AS numbers(n);
CREATE TABLE cities AS SELECT * FROM (VALUES ('oslo', 'no'), ('rome', 'it'), ('bari', 'it')) AS v(city, country)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(TABLES)
    (tmp_path / "aggmaint.toml").write_text("\n".join(EXAMPLES), encoding="utf-8")
    return tmp_path


def run(place: Path) -> None:
    result = CliRunner().invoke(cli, ["run", "acme"])
    assert result.exit_code == 0, result.output


def ask(place: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(place / "warehouse.duckdb")) as connection:
        return connection.execute(sql.replace("agg.", f"{schema_name('acme')}.")).fetchall()


def test_the_examples_show_what_plain_sql_shows(place: Path) -> None:
    run(place)
    for view, plain in {
        'SELECT seller, amount, trades, average, buyers, closing FROM agg."sales__by seller"': """
            SELECT seller, sum(amount), count(*), avg(amount), count(DISTINCT buyer), arg_max(balance, day)
            FROM trades GROUP BY seller""",
        'SELECT "from", "to", sum(amount) FROM agg.sales__flows GROUP BY ALL': """
            SELECT a.country, b.country, sum(amount) FROM trades LEFT JOIN cities a ON a.city = seller
            LEFT JOIN cities b ON b.city = buyer GROUP BY ALL""",
        'SELECT region, amount FROM agg."sales__by region"': "SELECT region, sum(amount) FROM trades GROUP BY region",
        'SELECT month, best FROM agg."sales__best months"': """
            SELECT month, max(amount) FROM (SELECT date_trunc('month', day) AS month, sum(amount) AS amount
            FROM trades GROUP BY month, seller) GROUP BY month""",
    }.items():
        assert sorted(map(str, ask(place, view))) == sorted(map(str, ask(place, plain))), view


def test_a_change_of_one_row_costs_its_partitions(place: Path) -> None:
    run(place)
    ask(place, "UPDATE trades SET amount = amount + 1 WHERE day = DATE '2024-02-06'")
    run(place)
    anew = ask(
        place,
        "SELECT label, string_agg(period_key, ',') FROM agg.aggmaint_partition p JOIN agg.aggmaint_instance i "
        "ON i.id = p.instance_id WHERE p.published_at = i.published_at AND i.published_at > i.built_at GROUP BY label",
    )
    assert dict(anew) == {
        "sales.by seller": "2024-02",
        "sales.by month": "2024-02",
        "sales.flows": "2024-02",
        "sales.by region": "EU",
        "sales.best months": "all",
    }
