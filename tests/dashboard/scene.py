"""A fleet to look at: real maintenance over DuckDB in memory, weeks of it, on a clock that is moved by hand.

`acme` has aggregates by month, quarter and day, changed data, marks and a sick definition; the others stand for one state
each. Progress moves the clock, so that runs take time without anybody waiting. To look at it:

    python -m tests.dashboard.scene            (then open http://127.0.0.1:8399/)
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import duckdb
from attrs import define, field

from aggmaint import MaintenanceEngine, MaintenanceReport, TaskContext
from aggmaint.aggregates.model import AggregateDefinition, Attribute, Measure, PartitionBy, Source
from aggmaint.errors import TaskFailedError
from aggmaint.maintenance import AggregateMaintenance
from aggmaint.stores.memory import MemoryStore
from aggmaint.task import ContextWrapper
from aggmaint.testing.clocks import ManualClock
from aggmaint.warehouses.duckdb import DuckDBWarehouse

START = datetime(2026, 11, 3, 4, 0, tzinfo=UTC)
DAYS = 21
FLEET = ("acme", "globex", "hooli", "initech", "massive-dynamic", "soylent", "stark-industries", "umbrella", "wayne")

BASE = """
CREATE TABLE lineitem AS SELECT
    i AS l_orderkey, DATE '2019-01-01' + CAST(sqrt(i * 7919 % 9001) * 30 AS INTEGER) AS l_shipdate,
    ['AIR', 'RAIL', 'SHIP', 'TRUCK'][1 + i % 4] AS l_shipmode, CAST(i * i % 211 AS INTEGER) AS l_custkey,
    CAST(10 + i * 31 % 9000 AS DECIMAL(15, 2)) AS l_extendedprice, CAST('0.05' AS DECIMAL(15, 2)) AS l_discount
FROM range(9000) AS numbers(i);
CREATE TABLE visits AS SELECT DATE '2026-09-01' + CAST(i * 37 % 83 AS INTEGER) AS day,
    ['web', 'app'][1 + i % 2] AS channel, CAST(i * 53 % 900 AS VARCHAR) AS visitor FROM range(4000) AS numbers(i);
"""


def aggregates(org_id: str) -> list[AggregateDefinition]:
    revenue = Measure("revenue", "sum", "l_extendedprice * (1 - l_discount)")
    found = [
        AggregateDefinition(
            organization_id=org_id,
            cube="sales",
            name="revenue by month",
            source=Source(table="lineitem"),
            attributes=[Attribute("month", "date_trunc('month', l_shipdate)"), Attribute("l_custkey")],
            measures=[revenue, Measure("lines", "count"), Measure("largest line", "max", "l_extendedprice")],
            partition=PartitionBy("l_shipdate", "month"),
        ),
        AggregateDefinition(
            organization_id=org_id,
            cube="sales",
            name="revenue by quarter",
            source=Source(table="lineitem", where="l_shipmode <> 'SHIP'"),
            attributes=[Attribute("l_shipmode")],
            measures=[revenue],
            partition=PartitionBy("l_shipdate", "quarter"),
        ),
    ]
    if org_id == "acme":
        found += [
            AggregateDefinition(
                organization_id=org_id,
                cube="web",
                name="visits by day",
                source=Source(table="visits"),
                attributes=[Attribute("channel")],
                measures=[Measure("visits", "count"), Measure("visitors", "count_distinct", "visitor")],
                partition=PartitionBy("day", "day"),
            ),
            AggregateDefinition(
                organization_id=org_id,
                cube="web",
                name="visitors",
                source=Source(table="visits"),
                attributes=[],
                measures=[Measure("largest id", "max", "CAST(visitor AS INTEGER)")],
            ),
        ]
    return found


class _TakesTime(ContextWrapper):
    """Every sign of progress costs a little time."""

    def __init__(self, context: TaskContext, clock: ManualClock) -> None:
        super().__init__(context)
        self._clock = clock

    def now(self) -> datetime:
        self._clock.pass_s(0.4)
        return super().now()

    def progress(self, step: str, *, done: int = 0, total: int | None = None, detail: str = "") -> None:
        self._clock.pass_s(1.7 if step in ("build", "compute", "refresh") else 0.15)
        super().progress(step, done=done, total=total, detail=detail)


@define
class Scene:
    """The fleet's engine; `body` runs in place of maintenance for an organisation that has one."""

    clock: ManualClock = field(factory=lambda: ManualClock(START))
    bodies: dict[str, Callable[[TaskContext], MaintenanceReport]] = field(factory=dict)
    connections: dict[str, duckdb.DuckDBPyConnection] = field(factory=dict)
    store: MemoryStore = field(init=False)
    maintenance: AggregateMaintenance = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = MemoryStore(clock=self.clock)
        self.maintenance = AggregateMaintenance(definitions=aggregates, warehouse_for=self._warehouse)

    def _warehouse(self, org_id: str) -> DuckDBWarehouse:
        return DuckDBWarehouse(connection=self.connection(org_id))

    def connection(self, org_id: str) -> duckdb.DuckDBPyConnection:
        if org_id not in self.connections:
            self.connections[org_id] = duckdb.connect(config={"threads": "1"})
            self.connections[org_id].execute(BASE)
        return self.connections[org_id]

    def run(self, context: TaskContext) -> MaintenanceReport:
        body = self.bodies.get(context.org_id)
        return body(context) if body else self.maintenance.run(_TakesTime(context, self.clock))

    def engine(self, *, inline: bool = True) -> MaintenanceEngine:
        """An engine over the scene's store. `inline`: jobs run inside the call that starts them."""
        if inline:
            return MaintenanceEngine(store=self.store, task=self, scheduler=None, executor=None, clock=self.clock)
        return MaintenanceEngine(store=self.store, task=self, scheduler=None, jobs_max=4, clock=self.clock)

    def write(self, org_id: str, sql: str) -> None:
        self.connection(org_id).execute(sql)


def held(_context: TaskContext) -> MaintenanceReport:
    raise TaskFailedError(
        "warehouse /data/globex.duckdb is held by process 4711 (python); stop it", cause="warehouse_busy"
    )


def fleet() -> Scene:
    """Three weeks of the fleet."""
    scene = Scene()
    engine = scene.engine()
    engine.register_organizations([org for org in FLEET if org != "stark-industries"])
    for day in range(DAYS):
        scene.clock.pass_until(START + timedelta(days=day))
        _change(scene, day)
        engine.tick()
    scene.bodies["globex"] = held
    for _ in range(3):
        engine.run_immediately("globex")
    scene.clock.pass_s(4 * 3600)
    engine.register_organizations(["stark-industries"])
    engine.add_schedule("acme", "0 30 2 ? * MON-FRI", zone="Europe/Berlin", created_by_user="ada")
    engine.mark_changed(
        "acme", "lineitem", starts_at=datetime(2023, 3, 1, tzinfo=UTC), ends_at=datetime(2023, 5, 1, tzinfo=UTC)
    )
    engine.pause("initech", reason="moving to another warehouse until Friday", by="ada")
    engine.enable("umbrella", enabled=False)
    return scene


def _change(scene: Scene, day: int) -> None:
    """What happens to the sources of acme: late rows, corrections, new days; at last a value that is no number."""
    if day % 3 == 1:
        scene.write(
            "acme", f"UPDATE lineitem SET l_discount = 0.04 WHERE l_orderkey BETWEEN {day * 310} AND {day * 310 + 9}"
        )
    if day % 2 == 0:
        scene.write("acme", f"INSERT INTO visits SELECT DATE '2026-11-01' + {day}, 'web', '7' FROM range({20 + day})")
    if day % 4 == 2:
        scene.write(
            "acme",
            f"INSERT INTO lineitem SELECT 20000 + i, DATE '2026-11-01' + {day}, 'AIR', i, 100, 0.05 "
            f"FROM range({day * 3}) AS numbers(i)",
        )
    if day == DAYS - 1:
        scene.write("acme", "INSERT INTO visits VALUES (DATE '2026-11-21', 'app', 'n/a')")
        scene.write("acme", "DELETE FROM lineitem WHERE l_shipdate = DATE '2025-06-11'")


def main() -> None:
    from aggmaint.asgi import Anonymous, create_app, serve
    from aggmaint.asgi.dashboard import Dashboard

    engine = fleet().engine(inline=False)
    serve(create_app(engine, authorize=Anonymous(), mounted=[Dashboard()]), port=8399, on_listening=print)


if __name__ == "__main__":
    main()
