"""A small world for maintenance tests: a memory DuckDB with sales and shops, aggregates over them, and an oracle.

The oracle knows nothing of our SQL: it groups Python rows. So a test that compares a view with it tests everything
between the definition and the view.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
from attrs import define, field, frozen

from aggmaint.aggregates.decisions import Subject
from aggmaint.aggregates.model import AggregateDefinition, Attribute, Join, Measure, PartitionBy, Source
from aggmaint.aggregates.naming import schema_name
from aggmaint.aggregates.policy import Policy
from aggmaint.core.ids import OrgId
from aggmaint.core.job import Fence, MaintenanceJob
from aggmaint.core.marks import ChangeMark
from aggmaint.core.use import DefinitionUse
from aggmaint.errors import StopWorkError
from aggmaint.maintenance import AggregateMaintenance
from aggmaint.task import MaintenanceReport
from aggmaint.warehouses.duckdb import DuckDBOptions, DuckDBWarehouse

WRITES = re.compile(
    r"\s*(INSERT|UPDATE|DELETE|CREATE(?! TEMP)|DROP(?! TABLE (IF EXISTS )?temp\.)|COMMENT|ALTER|COPY|MERGE|TRUNCATE)\b",
    re.IGNORECASE,
)
"""What changes the database; TEMP tables are the session's own."""

ORG = "acme"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@define
class FakeContext:
    """A TaskContext of a job that nothing disturbs, unless a test hooks `on_confirm` or `on_progress`."""

    org: str
    number: int
    clock: list[datetime]
    options: Mapping[str, Any] = field(factory=dict)
    on_confirm: Callable[[], None] = lambda: None
    on_progress: Callable[[str, str], None] = lambda _step, _detail: None
    seen: list[tuple[str, int, int | None, str]] = field(factory=list)
    generation: int = 0
    manual: bool = True
    inventory: Mapping[str, Any] | None = None
    told: Sequence[DefinitionUse] = ()
    listeners: list[Callable[[StopWorkError], None]] = field(factory=list)
    marks: Sequence[ChangeMark] = ()

    def last_inventory(self) -> Mapping[str, Any] | None:
        return self.inventory

    @property
    def org_id(self) -> OrgId:
        return OrgId(self.org)

    @property
    def job(self) -> MaintenanceJob:
        raise NotImplementedError("the aggregate half does not look at the job")

    @property
    def fence(self) -> Fence:
        return Fence(self.generation, self.number)

    @property
    def uses(self) -> Sequence[DefinitionUse]:
        return self.told

    @property
    def lost(self) -> bool:
        return False

    def on_stop(self, listener: Callable[[StopWorkError], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def publish(self, write: Callable[[Any], Any]) -> Any:
        raise NotImplementedError("the aggregate half publishes in its warehouse")

    def now(self) -> datetime:
        self.clock[0] += timedelta(milliseconds=1)
        return self.clock[0]

    def progress(self, step: str, *, done: int = 0, total: int | None = None, detail: str = "") -> None:
        self.seen.append((step, done, total, detail))
        self.on_progress(step, detail)

    def check(self) -> None:
        return

    def confirm(self) -> None:
        self.on_confirm()


@frozen
class Sale:
    """One base row. `id` makes equal sales distinct rows for the test; no aggregate reads it."""

    id: int
    day: date | None
    shop: str | None
    amount: Decimal | None
    qty: int | None
    weight: float | None = None


def definitions(org: str = ORG) -> list[AggregateDefinition]:
    """Five aggregates: partitioned, unpartitioned, joined (exact and with floats), and one whose period is shown."""
    sales = Source(table="sales")
    shops = Join(source=Source(table="shops"), on="shops.shop = sales.shop", kind="left")
    amount = Measure("amount", "sum", "amount")
    common: dict[str, Any] = {"organization_id": org, "cube": "sales"}
    return [
        AggregateDefinition(
            **common,
            name="by_month",
            source=sales,
            attributes=[Attribute("month", "date_trunc('month', day)"), Attribute("shop")],
            measures=[
                amount,
                Measure("n", "count"),
                Measure("big", "count", filter="qty > 2"),
                Measure("avg_qty", "avg", "qty"),
                Measure("least", "min", "qty"),
                Measure("most", "max", "amount"),
            ],
            partition=PartitionBy("day", "month"),
        ),
        AggregateDefinition(
            **common, name="totals", source=sales, measures=[amount, Measure("shops", "count_distinct", "shop")]
        ),
        AggregateDefinition(
            **common,
            name="by_region",
            source=sales,
            joins=[shops],
            attributes=[Attribute("region", "shops.region")],
            measures=[Measure("amount", "sum", "sales.amount"), Measure("n", "count")],
            partition=PartitionBy("sales.day", "month"),
        ),
        AggregateDefinition(
            **common,
            name="weights",
            source=sales,
            joins=[shops],
            attributes=[Attribute("region", "shops.region"), Attribute("year", "year(sales.day)")],
            measures=[Measure("weight", "sum", "sales.weight")],
            partition=PartitionBy("sales.day", "year"),
        ),
    ]


def plain(value: Any) -> Any:
    """DuckDB's answers and the oracle's in one spelling."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, Decimal):
        return f"{value:.4f}"
    if isinstance(value, float):
        return round(value, 6)
    return value


def group(rows: Sequence[tuple[tuple[Any, ...], Any]]) -> dict[tuple[Any, ...], list[Any]]:
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for key, row in rows:
        groups.setdefault(key, []).append(row)
    return groups


def total(values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def month_of(day: date | None) -> date | None:
    return None if day is None else day.replace(day=1)


def expected(name: str, rows: Sequence[Sale], regions: Mapping[str, str | None]) -> list[tuple[Any, ...]]:
    """What the view of an aggregate must show, computed in Python."""
    answer: list[tuple[Any, ...]] = []
    if name == "by_month":
        for (month, shop), sales in group([((month_of(r.day), r.shop), r) for r in rows]).items():
            qtys = [r.qty for r in sales if r.qty is not None]
            amounts = [r.amount for r in sales if r.amount is not None]
            average = sum(qtys) / len(qtys) if qtys else None
            big = sum(1 for q in qtys if q > 2)
            answer.append(
                (
                    *(month, shop, total(amounts), len(sales), big, average, min(qtys, default=None)),
                    *(max(amounts, default=None), total(qtys), len(qtys)),
                )
            )
    elif name == "totals":
        answer.append((total([r.amount for r in rows]), len({r.shop for r in rows if r.shop is not None})))
    else:
        joined = [(None if r.shop is None else regions.get(r.shop), r) for r in rows]
        if name == "by_region":
            for (region, month), sales in group([((g, month_of(r.day)), r) for g, r in joined]).items():
                answer.append((region, month, total([r.amount for r in sales]), len(sales)))
        else:
            for (region, year), sales in group([((g, r.day and r.day.year), r) for g, r in joined]).items():
                answer.append((region, year, total([r.weight for r in sales])))
    return answer


def multiset(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    return sorted(repr(tuple(plain(value) for value in row)) for row in rows)


class Lab:
    """A world: one memory database, one maintenance over it. Time moves a millisecond at each look at the clock."""

    def __init__(self, *, policy: Policy | None = None, wanted: Sequence[AggregateDefinition] | None = None) -> None:
        self.connection = duckdb.connect(config={"threads": "1"})
        self.rows: dict[int, Sale] = {}
        self.regions: dict[str, str | None] = {}
        self.statements: list[str] = []
        self.before: Callable[[str], None] = lambda _sql: None
        self.clock = [NOON]
        self.number = 0
        self.wanted = list(definitions() if wanted is None else wanted)
        self.policy = policy or Policy()
        self.execute(
            "CREATE TABLE sales (id INTEGER, day DATE, shop VARCHAR, amount DECIMAL(12, 2), qty INTEGER, weight DOUBLE)"
        )
        self.execute("CREATE TABLE shops (shop VARCHAR, region VARCHAR)")
        self.warehouse = self.make_warehouse()
        self.maintenance = self.make_maintenance()

    def make_warehouse(self) -> DuckDBWarehouse:
        options = DuckDBOptions(on_statement=self._statement, pause=lambda _seconds: None)
        return DuckDBWarehouse(connection=self.connection, options=options)

    def make_maintenance(self, installation: str = "default") -> AggregateMaintenance:
        return AggregateMaintenance(
            definitions=lambda _org: tuple(self.wanted),
            warehouse_for=lambda _org: self.warehouse,
            policy=lambda _org: self.policy,
            installation=installation,
        )

    def _statement(self, sql: str) -> None:
        self.statements.append(sql)
        self.before(sql)

    def execute(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """As the host or a stranger would, past our code."""
        cursor = self.connection.cursor()
        try:
            return (cursor.execute(sql, parameters) if parameters is not None else cursor.execute(sql)).fetchall()
        finally:
            cursor.close()

    # -- the base -----------------------------------------------------------------------------------------------------

    def put(self, *sales: Sale) -> None:
        self.execute("DELETE FROM sales WHERE id IN (SELECT UNNEST(?))", [[sale.id for sale in sales]])
        values = [[sale.id, sale.day, sale.shop, sale.amount, sale.qty, sale.weight] for sale in sales]
        marks = ", ".join("(?, ?, ?, ?, ?, ?)" for _ in values)
        self.execute(f"INSERT INTO sales VALUES {marks}", [each for row in values for each in row])
        self.rows.update({sale.id: sale for sale in sales})

    def remove(self, *ids: int) -> None:
        for each in ids:
            self.execute("DELETE FROM sales WHERE id = ?", [each])
            del self.rows[each]

    def set_region(self, shop: str, region: str | None) -> None:
        self.execute("DELETE FROM shops WHERE shop = ?", [shop])
        self.execute("INSERT INTO shops VALUES (?, ?)", [shop, region])
        self.regions[shop] = region

    def seed(self) -> None:
        """Twelve sales in four months and one without a date, in three shops of two regions."""
        self.set_region("north", "cold")
        self.set_region("south", "warm")
        sales = []
        for index in range(12):
            shop = ("north", "south", "east")[index % 3]
            day = date(2024, 1 + index % 4, 1 + index)
            qty = None if index == 11 else index % 5
            sales.append(Sale(index, day, shop, Decimal(index) + Decimal("0.25"), qty, index * 0.5))
        self.put(*sales, Sale(12, None, "north", Decimal("7.00"), 1, 1.5))

    # -- running ------------------------------------------------------------------------------------------------------

    def context(self, **more: Any) -> FakeContext:
        self.number += 1
        return FakeContext(ORG, self.number, self.clock, **more)

    def run(self, **more: Any) -> MaintenanceReport:
        self.statements.clear()
        return self.maintenance.run(self.context(**more))

    def writes(self) -> list[str]:
        """The write statements of the last run."""
        return [sql for sql in self.statements if WRITES.match(sql)]

    @property
    def schema(self) -> str:
        return schema_name(ORG)

    def view(self, name: str) -> list[tuple[Any, ...]]:
        return self.execute(f'SELECT * FROM "{self.schema}"."sales__{name}"')

    def table_of(self, name: str) -> str:
        """The physical table in service."""
        found = self.execute(
            f"SELECT table_name FROM \"{self.schema}\".aggmaint_instance WHERE status = 'active' AND label = 'sales.{name}'"
        )
        assert len(found) == 1
        return str(found[0][0])

    def assert_right(self, *names: str) -> None:
        """Every aggregate (or these) equals the oracle, and our own comparison agrees."""
        for name in names or [each.name for each in self.wanted]:
            assert multiset(self.view(name)) == multiset(expected(name, list(self.rows.values()), self.regions)), name
        for difference in self.maintenance.verify(ORG):
            if not names or difference.aggregate.partition(".")[2] in names:
                assert difference.equal, difference

    def objects(self) -> set[tuple[str, str]]:
        rows = self.execute(
            "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = ?", [self.schema]
        )
        return {(str(name), str(kind)) for name, kind in rows}


def refreshed(report: MaintenanceReport) -> dict[str, set[str]]:
    """The partitions that were refreshed, by aggregate."""
    return {
        step["aggregate"].partition(".")[2]: set(step["partitions"])
        for step in report.details["steps"]
        if step["action"] == "refresh"
    }


def reasons(report: MaintenanceReport, subject: Subject = Subject.DEFINITION) -> dict[str, str]:
    """The reason of each aggregate's decision."""
    return {
        entry["aggregate"].partition(".")[2]: entry["reason"]
        for entry in report.details["decisions"]
        if entry["subject"] == subject.value
    }


def actions(report: MaintenanceReport) -> list[tuple[str, str]]:
    return [(step["action"], step["aggregate"].partition(".")[2]) for step in report.details["steps"]]
