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


def blocks(language: str) -> list[str]:
    return [str(found) for found in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)]


def test_the_declarations_are_read(tmp_path: Path) -> None:
    path = tmp_path / "aggmaint.toml"
    sources = []
    for toml in blocks("toml"):
        path.write_text(toml + REST, encoding="utf-8")
        sources.append(load_config(path, {}).definitions("acme")[0].source)
    updated, appended = sources
    assert (updated.declared, str(updated.deletes)) == ("changed_at", "soft")
    assert (appended.declared, appended.marks_commit_in_order) == ("id", True)


def test_the_warehouse_with_snapshots_says_so() -> None:
    names: dict[str, object] = {}
    (python,) = blocks("python")
    exec(python, names)
    warehouse = names["warehouse"]
    assert isinstance(warehouse, DuckDBWarehouse)
    assert warehouse.capabilities.source_tokens
