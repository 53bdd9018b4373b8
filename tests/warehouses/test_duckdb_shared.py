"""What sessions remember for each other is believed only on evidence; a slow catalogue is shared, and never for long."""

from collections.abc import Mapping

import pytest
from attrs import define, field

from aggmaint.errors import WarehouseQueryError
from aggmaint.warehouses._duckdb_shared import SHARED_FOR, SHARED_FROM, SINGLE_LISTINGS, Kept, Listed, Shared

from ..maintenance.support import Lab, reasons


@define
class SlowCatalogue:
    """A catalogue that takes a second to read, on a clock that a test moves."""

    now_s: float = 0.0
    took_s: float = 1.0
    schemas: dict[str, Listed] = field(factory=dict)
    reads: list[str | None] = field(factory=list)

    def read(self, schema: str | None) -> Mapping[str, Listed]:
        self.reads.append(schema)
        self.now_s += self.took_s
        return {name: listed for name, listed in self.schemas.items() if schema in (None, name)}


def listed(*names: str) -> Listed:
    return Listed(tuple((name, "table", None) for name in names))


@pytest.fixture
def slow() -> SlowCatalogue:
    many = listed(*(f"t{number}" for number in range(SHARED_FROM)))
    return SlowCatalogue(schemas={"agg_one": listed("a"), "agg_two": listed("b"), "agg_many": many})


def after_single_listings(slow: SlowCatalogue) -> Shared:
    """One that has just listed all, for the first time."""
    shared = Shared(clock=lambda: slow.now_s)
    for _ in range(int(SINGLE_LISTINGS)):
        assert shared.listed("agg_one", slow.read) == slow.schemas["agg_one"]
    assert slow.reads == ["agg_one"] * int(SINGLE_LISTINGS) + [None]
    slow.reads.clear()
    return shared


def test_after_many_single_listings_all_are_listed_once_for_all_schemas(slow: SlowCatalogue) -> None:
    shared = after_single_listings(slow)
    assert shared.listed("agg_one", slow.read) == listed("a")
    assert shared.listed("agg_two", slow.read) == listed("b")
    assert shared.listed("agg_three", slow.read) == Listed()
    assert slow.reads == []


def test_a_catalogue_serves_for_a_time_then_single_listings_must_be_worth_it_again(slow: SlowCatalogue) -> None:
    shared = after_single_listings(slow)
    slow.schemas["agg_two"] = listed("b", "foreign")
    slow.now_s += SHARED_FOR - 2
    assert shared.listed("agg_two", slow.read) == listed("b")
    slow.now_s += 1
    assert shared.listed("agg_two", slow.read) == listed("b", "foreign")
    assert slow.reads == ["agg_two", None], "one listing took as long as listing all did"
    assert shared.listed("agg_two", slow.read) == listed("b", "foreign")
    assert slow.reads == ["agg_two", None]


def test_a_schema_that_we_changed_is_read_anew(slow: SlowCatalogue) -> None:
    shared = after_single_listings(slow)
    slow.schemas["agg_two"] = listed("b", "ours")
    shared.changed("agg_two")
    assert shared.listed("agg_two", slow.read) == listed("b", "ours")
    assert shared.listed("agg_one", slow.read) == listed("a")
    assert slow.reads == ["agg_two"]


def test_a_small_catalogue_is_read_each_time_however_slow_the_machine_is(slow: SlowCatalogue) -> None:
    del slow.schemas["agg_many"]
    shared = after_single_listings(slow)
    slow.schemas["agg_one"] = listed("a", "foreign")
    for _ in range(int(SHARED_FOR) - 1):
        assert shared.listed("agg_one", slow.read) == listed("a", "foreign")
    assert None not in slow.reads, "nor is its size asked for all the time"


def test_a_schema_that_is_not_named_as_ours_are_is_always_read(slow: SlowCatalogue) -> None:
    """Strangers' schemas, however many, are not kept."""
    slow.schemas["theirs"] = listed("c")
    shared = after_single_listings(slow)
    assert shared.listed("theirs", slow.read) == listed("c")
    assert slow.reads == ["theirs"]


def test_a_value_is_kept_for_its_evidence_only() -> None:
    kept: Kept[str] = Kept()
    kept.keep("key", (1, 2), "value")
    assert kept.get("key", (1, 2)) == "value"
    assert kept.get("key", (1, 3)) is None
    assert kept.get("other", (1, 2)) is None


def test_a_ledger_that_somebody_changed_is_read_anew() -> None:
    lab = Lab()
    lab.seed()
    lab.run()
    lab.run()
    lab.execute(f"UPDATE \"{lab.schema}\".aggmaint_partition SET row_count = 7 WHERE period_key = '2024-02'")
    report = lab.run()
    assert {each["code"] for each in report.details["findings"]} == {"instance_ledger_wrong"}
    lab.assert_right()


def test_a_source_that_changed_is_bound_anew() -> None:
    lab = Lab()
    lab.seed()
    lab.run()
    lab.execute("ALTER TABLE sales RENAME COLUMN amount TO gone")
    report = lab.run()
    assert reasons(report)["by_month"] == "definition_invalid"
    lab.execute("ALTER TABLE sales RENAME COLUMN gone TO amount")
    assert lab.run().complete
    lab.assert_right()


def test_of_many_tables_the_unreadable_one_is_named() -> None:
    """They are read in one statement; the others stay in service."""
    lab = Lab()
    lab.seed()
    lab.run()
    table = lab.table_of("by_region")
    bad = f'"{lab.schema}"."{table}"'

    def broken(sql: str) -> None:
        if bad in sql and "aggmaint_c" in sql:
            raise WarehouseQueryError("bad block")

    lab.before = broken
    report = lab.run()
    lab.before = lambda _sql: None
    codes = {(each["code"], each["aggregate"]) for each in report.details["findings"]}
    assert ("instance_unreadable", "sales.by_region") in codes
    assert {aggregate for _, aggregate in codes} == {"sales.by_region"}
