"""The page about the life of an aggregate keeps its word: its configuration is read, its Python runs, its numbers hold."""

import re
from pathlib import Path

from aggmaint import MaintenanceEngine
from aggmaint.aggregates.policy import Policy
from aggmaint.aggregates.reasons import Reason
from aggmaint.config import load_config
from aggmaint.stores.memory import MemoryStore
from tests.support.tasks import FunctionTask

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "life-cycle.md").read_text(encoding="utf-8")
REST = """
[warehouse]
duckdb = "warehouse.duckdb"
[organizations]
ids = ["acme"]
[sources.orders]
table = "orders"
"""


def blocks(language: str) -> list[str]:
    return [str(found) for found in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)]


def test_the_configuration_is_read_and_states_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "aggmaint.toml"
    path.write_text(REST + blocks("toml")[0], encoding="utf-8")
    config = load_config(path, {})
    (aggregate,) = config.definitions("acme")
    assert (aggregate.type.value, aggregate.subtype.value) == ("system_defined", "demand_defined")
    assert config.policy == Policy(query_max_s=600)


def test_the_python_runs() -> None:
    task = FunctionTask()
    engine = MaintenanceEngine(store=MemoryStore(), task=task, scheduler=None, executor=None)
    engine.register_organizations(["acme"])
    for each in blocks("python"):
        exec(each, {"engine": engine})
    engine.flush_uses()
    assert [(use.definition, use.count) for use in engine.get_organization("acme").uses] == [("sales.by_day", 12)]
    assert task.contexts[0].options == {"activate": ["sales.by_day"]}
    engine.close()


def test_the_reasons_and_the_numbers_that_it_names_are_ours() -> None:
    named = set(re.findall(r"`((?:build|view|instance)_[a-z_]+)`", PAGE)) - {"build_partitions_per_publish"}
    assert named and named <= {reason.value for reason in Reason}
    policy = Policy()
    assert f"`build_partitions_per_publish` ({policy.build_partitions_per_publish})" in PAGE
    assert f"`retired_max` ({policy.retired_max})" in PAGE and f"({policy.unused_days}; 10 to 365)" in PAGE
