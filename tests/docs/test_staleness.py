"""The page about staleness keeps its word: its configuration is read, its Python runs."""

import re
from pathlib import Path

from aggmaint.config import load_config
from aggmaint.warehouses.duckdb import DuckDBWarehouse

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "staleness.md").read_text(encoding="utf-8")
REST = """
[warehouse]
duckdb = "warehouse.duckdb"
[organizations]
ids = ["acme"]
[[aggregate]]
cube = "sales"
name = "n"
source = "orders"
measures = [{ name = "n", function = "count" }]
"""


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_declaration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "aggmaint.toml"
    path.write_text(block("toml") + REST, encoding="utf-8")
    source = load_config(path, {}).definitions("acme")[0].source
    assert (source.declared, str(source.deletes)) == ("changed_at", "soft")


def test_the_warehouse_with_snapshots_says_so() -> None:
    names: dict[str, object] = {}
    exec(block("python"), names)
    warehouse = names["warehouse"]
    assert isinstance(warehouse, DuckDBWarehouse)
    assert warehouse.capabilities.source_tokens
