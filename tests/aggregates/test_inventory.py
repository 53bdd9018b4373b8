"""The inventory tells readers what they can not ask the warehouse."""

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from aggmaint.aggregates.inventory import SQL_CHARACTERS_MAX, make_inventory
from aggmaint.aggregates.model import AggregateDefinition, Measure

from .test_plan import NOW, WANTED, World


def test_the_inventory_tells_what_is_read_and_the_sql_that_computes_it() -> None:
    plan = World(instances=[]).plan()

    def told(definition: AggregateDefinition, dialect: str | None) -> Mapping[str, Any]:
        wanted = evolve(definition, id=WANTED.id)
        found: Mapping[str, Any] = make_inventory(plan, [wanted], (), failed={}, observed_at=NOW, dialect=dialect)[
            "definitions"
        ][0]
        return found

    known = told(WANTED, "duckdb")
    assert known["sources"] == [WANTED.source.label]
    assert known["sql"].startswith("SELECT ") and " GROUP BY " in known["sql"]
    assert told(WANTED, None)["sql"] is None
    assert told(evolve(WANTED, measures=[Measure("broken", "sum", "1 +")]), "duckdb")["sql"] is None
    long = told(evolve(WANTED, measures=[Measure("m", "sum", " + ".join(["amount"] * 2000))]), "duckdb")["sql"]
    assert len(long) == SQL_CHARACTERS_MAX and long.endswith("…")
