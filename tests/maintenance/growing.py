"""A world that only grows, for tests of the additive path: `entries` with a serial `id`, aggregates over it, an oracle.

Some keys, amounts and days are NULL. The oracle groups Python rows; it knows nothing of SQL, nor of merging.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb
from attrs import frozen

from aggmaint.aggregates.model import AggregateDefinition, Attribute, Join, Measure, PartitionBy, Source
from aggmaint.aggregates.naming import schema_name
from aggmaint.aggregates.policy import Policy
from aggmaint.core.marks import ChangeMark
from aggmaint.maintenance import AggregateMaintenance
from aggmaint.task import MaintenanceReport
from aggmaint.warehouses.duckdb import DuckDBOptions, DuckDBWarehouse

from .support import NOON, ORG, FakeContext, group, multiset, total

ENTRIES = Source(table="entries", append_only="id", marks_commit_in_order=True)
ALWAYS = Policy(merge_rows_min=0, compared_rows_max=0)
NEVER = Policy(merge_rows_min=10**9, compared_rows_max=0)
"""Whether merging pays. Tables are compared in rotation, as large ones are."""


@frozen
class Entry:
    id: int
    day: date | None
    shop: str | None
    amount: Decimal | None
    qty: int | None
    weight: float


MEASURES = [
    Measure("amount", "sum", "amount"),
    Measure("n", "count"),
    Measure("big", "count", "qty", filter="qty > 2"),
    Measure("mean", "avg", "qty"),
    Measure("least", "min", "amount"),
    Measure("most", "max", "qty"),
    Measure("weight", "sum", "weight"),
    Measure("closing", "last", "qty", order="id"),
]


def definitions(source: Source = ENTRIES, org: str = ORG) -> list[AggregateDefinition]:
    """By month and shop; in one piece; without any attribute; by value; merged over months; and joined, exact and floats."""
    common: dict[str, Any] = {"organization_id": org, "cube": "grow", "source": source}
    shop, month = Attribute("shop", "entries.shop"), PartitionBy("day", "month")
    joined: dict[str, Any] = {
        "joins": [Join(source=Source(table="shops"), on="shops.shop = entries.shop", kind="left")]
    }
    region, days = Attribute("region", "shops.region"), PartitionBy("entries.day", "month")
    exact = [Measure("amount", "sum", "entries.amount"), Measure("n", "count")]
    return [
        AggregateDefinition(**common, name="by_month", attributes=[shop], measures=MEASURES, partition=month),
        AggregateDefinition(**common, name="whole", attributes=[shop], measures=MEASURES),
        AggregateDefinition(**common, name="totals", measures=MEASURES),
        AggregateDefinition(
            **common,
            name="by_value",
            attributes=[Attribute("day")],
            measures=MEASURES,
            partition=PartitionBy("shop", "value", values=["north", "south"], name="place"),
        ),
        AggregateDefinition(
            **common,
            name="merged",
            attributes=[shop],
            measures=MEASURES,
            partition=PartitionBy("day", "month", merge=True),
        ),
        AggregateDefinition(**common, **joined, name="regions", attributes=[region], measures=exact, partition=days),
        AggregateDefinition(
            **common,
            **joined,
            name="loads",
            attributes=[region],
            measures=[Measure("weight", "sum", "entries.weight")],
            partition=days,
        ),
    ]


def named(*names: str, source: Source = ENTRIES) -> list[AggregateDefinition]:
    return [each for each in definitions(source) if each.name in names]


REGIONS = {"north": "cold", "south": "warm", "east": None}


def _month(entry: Entry) -> date | None:
    return None if entry.day is None else entry.day.replace(day=1)


def _place(entry: Entry) -> str | None:
    return entry.shop if entry.shop in {"north", "south", None} else "other"


_KEYS: Mapping[str, Callable[[Entry], tuple[Any, ...]]] = {
    "by_month": lambda entry: (entry.shop, _month(entry)),
    "whole": lambda entry: (entry.shop,),
    "totals": lambda _entry: (),
    "by_value": lambda entry: (entry.day, _place(entry)),
    "merged": lambda entry: (entry.shop,),
    "regions": lambda entry: (REGIONS.get(entry.shop or ""), _month(entry)),
    "loads": lambda entry: (REGIONS.get(entry.shop or ""), _month(entry)),
}


def _measured(name: str, entries: Sequence[Entry]) -> tuple[Any, ...]:
    amounts = [each.amount for each in entries if each.amount is not None]
    if name == "regions":
        return (total(amounts), len(entries))
    weight = total([each.weight for each in entries])
    if name == "loads":
        return (weight,)
    known = [each for each in entries if each.qty is not None]
    qtys = [each.qty or 0 for each in known]
    last = max(known, key=lambda each: each.id, default=None)
    return (
        *(total(amounts), len(entries), sum(qty > 2 for qty in qtys), sum(qtys) / len(qtys) if qtys else None),
        *(min(amounts, default=None), max(qtys, default=None), weight, last and last.qty),
        *(total(qtys), len(qtys), last and last.id),
    )


def expected(name: str, entries: Iterable[Entry]) -> list[str]:
    """What the view must show."""
    groups = group([(_KEYS[name](each), each) for each in entries])
    if name == "totals" and not groups:
        groups = {(): []}
    return multiset([(*key, *_measured(name, mine)) for key, mine in groups.items()])


class Growing:
    """One database and one organisation. Each run is given the inventory of the last."""

    def __init__(
        self,
        wanted: Sequence[AggregateDefinition] | None = None,
        *,
        policy: Policy = ALWAYS,
        connection: duckdb.DuckDBPyConnection | None = None,
        org: str = ORG,
    ) -> None:
        self.connection = connection or duckdb.connect(config={"threads": "1"})
        self.org = org
        self.wanted = list(definitions(org=org) if wanted is None else wanted)
        self.policy = policy
        self.entries: list[Entry] = []
        self.statements: list[str] = []
        self.before: Callable[[str], None] = lambda _sql: None
        self.clock = [NOON]
        self.number = 0
        self.inventory: Mapping[str, Any] | None = None
        self.maintenance = AggregateMaintenance(
            definitions=lambda _org: tuple(self.wanted),
            warehouse_for=lambda _org: DuckDBWarehouse(
                connection=self.connection, options=DuckDBOptions(on_statement=self._say, pause=lambda _s: None)
            ),
            policy=lambda _org: self.policy,
        )
        if connection is None:
            self.sql(
                "CREATE TABLE entries (id BIGINT, day DATE, shop VARCHAR, amount DECIMAL(12, 2), qty INTEGER, weight DOUBLE)"
            )
            self.sql(
                "CREATE TABLE shops AS SELECT * FROM (VALUES ('north', 'cold'), ('south', 'warm'), ('east', NULL))"
            )
            self.sql("ALTER TABLE shops RENAME col0 TO shop")
            self.sql("ALTER TABLE shops RENAME col1 TO region")

    def _say(self, sql: str) -> None:
        self.statements.append(sql)
        self.before(sql)

    def sql(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """As the host would, past our code."""
        cursor = self.connection.cursor()
        try:
            return (cursor.execute(sql, parameters) if parameters is not None else cursor.execute(sql)).fetchall()
        finally:
            cursor.close()

    def append(self, *entries: Entry) -> None:
        for each in entries:
            values = [each.id, each.day, each.shop, each.amount, each.qty, each.weight]
            self.sql("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", values)
        self.entries.extend(entries)

    def seed(self, count: int = 60) -> "Growing":
        """Entries in six months and one without a day, in three shops and none; built."""
        self.append(*(entry(number) for number in range(count)))
        assert self.run().complete
        return self

    def run(self, *marks: ChangeMark, options: Mapping[str, Any] | None = None, **later: float) -> MaintenanceReport:
        self.number += 1
        self.clock[0] += timedelta(**(later or {"seconds": 1}))
        self.statements.clear()
        context = FakeContext(
            self.org, self.number, self.clock, options=options or {}, inventory=self.inventory, marks=marks
        )
        report = self.maintenance.run(context)
        self.inventory = report.inventory
        return report

    @property
    def schema(self) -> str:
        return schema_name(self.org)

    def view(self, name: str) -> list[str]:
        return multiset(self.sql(f'SELECT * FROM "{self.schema}"."grow__{name}"'))

    def table(self, name: str) -> str:
        """The quoted physical table in service."""
        ((found,),) = self.sql(
            f"SELECT table_name FROM \"{self.schema}\".aggmaint_instance WHERE status = 'active' AND label = 'grow.{name}'"
        )
        return f'"{self.schema}"."{found}"'

    def assert_right(self) -> None:
        """Every view shows what the oracle says, a recomputation says so too, and the next run finds nothing to do."""
        for each in self.wanted:
            assert self.view(each.name) == expected(each.name, self.entries), each.name
        assert [each for each in self.maintenance.verify(self.org) if not each.equal] == []

    def assert_quiet(self) -> None:
        """A whole look at everything finds the ledger true."""
        steps = self.run(days=40).details["steps"]
        assert [each for each in steps if each["action"] in ("refresh", "build")] == []


def entry(number: int, **changed: Any) -> Entry:
    """Entry `number`, always the same one."""
    values: dict[str, Any] = {
        "day": None if number % 13 == 12 else date(2024, 1 + number % 6, 1 + number % 28),
        "shop": (None, "north", "south", "east")[number % 4],
        "amount": None if number % 7 == 6 else Decimal(number) + Decimal("0.25"),
        "qty": None if number % 5 == 4 else number % 9,
        "weight": number * 0.125,
        **changed,
    }
    return Entry(id=number, **values)


def merged(report: MaintenanceReport) -> dict[str, set[str]]:
    """The partitions that new rows were merged into, by aggregate."""
    return by_reason(report, "partition_merged")


def by_reason(report: MaintenanceReport, reason: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in report.details["decisions"]:
        if each["subject"] == "partition" and each["reason"] == reason:
            found.setdefault(each["aggregate"].partition(".")[2], set()).update(each["partitions"])
    return found


def words(report: MaintenanceReport, name: str) -> str:
    """What is said of an aggregate."""
    return next(
        str(each["words"])
        for each in report.details["decisions"]
        if each["subject"] == "definition" and each["aggregate"] == f"grow.{name}"
    )
