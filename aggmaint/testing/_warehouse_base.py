"""What the checks of `WarehouseSuite` stand on: a bench with base rows, sessions, and what the views must show.

Theory of operation. Each check gets a new bench, with three aggregates over two base tables: one partitioned, one in one
piece, one joined. What their views must show is computed here by grouping Python rows. Checks drive the verbs of the port
as a maintenance run would: observe, plan (the real planner), stage, claim, publish.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from attrs import evolve

from ..aggregates.decisions import DropStep, ForgetStep, RefreshStep, RetireStep
from ..aggregates.model import AggregateDefinition, InstanceStatus
from ..aggregates.naming import schema_name, table_name
from ..aggregates.observation import InstanceRecord, Observation, active_instance
from ..aggregates.parts import Attribute, Measure, PartitionBy
from ..aggregates.plan import plan_maintenance
from ..aggregates.policy import Policy
from ..aggregates.reasons import Reason
from ..aggregates.source import Join, Source
from ..core.job import Fence
from ..warehouse import (
    BuildRequest,
    Built,
    ManagedSchema,
    PartitionWrite,
    Publication,
    Refresh,
    RestoreView,
    StageRequest,
    Switch,
    Warehouse,
    WarehouseSession,
)
from ._expect import equal, holds, present
from .clocks import NOON
from .warehouse_bench import SALES, SHOPS, BaseRow, WarehouseBench

ACME, KIT = "acme", "kit"


def _row(
    day: date | None, sold_at: str | None, shop: str | None, amount: str | None, qty: int | None, code: str
) -> BaseRow:
    at = None if sold_at is None else datetime.fromisoformat(sold_at)
    money = None if amount is None else Decimal(amount)
    return {"day": day, "sold_at": at, "shop": shop, "amount": money, "qty": qty, "code": code}


BASE: tuple[BaseRow, ...] = (
    _row(date(2024, 1, 5), "2024-01-05 12:00:00", "north", "1.50", 1, "1"),
    _row(date(2024, 1, 31), "2024-01-31 23:30:00", "north", "2.25", 2, "1"),
    _row(date(2024, 2, 1), "2024-02-01 00:10:00", "south", "4.00", None, "2"),
    _row(date(2024, 2, 29), "2024-02-29 23:59:00", None, None, 4, "2"),
    _row(None, None, "north", "8.00", 6, "3"),
)
SHOP_ROWS: tuple[BaseRow, ...] = (
    {"shop": "north", "region": "cold"},
    {"shop": "south", "region": None},
    {"shop": "moon", "region": "far"},
)


def definition(name: str, **parts: Any) -> AggregateDefinition:
    common: dict[str, Any] = {"organization_id": ACME, "cube": "kit", "name": name, "source": Source(table=SALES)}
    return AggregateDefinition(**{**common, **parts})


BY_MONTH = definition(
    "by_month",
    attributes=[Attribute("shop")],
    measures=[Measure("amount", "sum", "amount"), Measure("n", "count"), Measure("mean", "avg", "qty")],
    partition=PartitionBy("day", "month"),
)
TOTALS = definition("totals", measures=[Measure("amount", "sum", "amount"), Measure("shops", "count_distinct", "shop")])
BY_REGION = definition(
    "by_region",
    joins=[Join(source=Source(table=SHOPS), on=f"{SHOPS}.shop = {SALES}.shop", kind="left")],
    attributes=[Attribute("region", f"{SHOPS}.region")],
    measures=[Measure("n", "count")],
    partition=PartitionBy(f"{SALES}.day", "month"),
)
ALL = (BY_MONTH, TOTALS, BY_REGION)


def canonical(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows in one order and spelling, whatever types and order of columns a warehouse gives."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.date().isoformat()
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            return float(f"{float(value):.9g}")
        return value

    return sorted(repr({name: plain(row[name]) for name in sorted(row)}) for row in rows)


def must_show(what: AggregateDefinition, rows: Sequence[BaseRow], shops: Sequence[BaseRow]) -> list[str]:
    """The rows of the aggregate's view, by grouping Python rows."""
    groups: dict[Any, list[BaseRow]] = {}
    if what.name == TOTALS.name:
        amounts = [row["amount"] for row in rows if row["amount"] is not None]
        named = {row["shop"] for row in rows if row["shop"] is not None}
        return canonical([{"amount": sum(amounts) if amounts else None, "shops": len(named)}])
    regions = {row["shop"]: row["region"] for row in shops}
    for row in rows:
        month = row["day"] and row["day"].replace(day=1)
        key = row["shop"] if what.name == BY_MONTH.name else regions.get(row["shop"])
        groups.setdefault((month, key), []).append(row)
    if what.name == BY_REGION.name:
        return canonical([{"region": key, "month": month, "n": len(found)} for (month, key), found in groups.items()])
    shown = []
    for (month, shop), found in groups.items():
        amounts = [row["amount"] for row in found if row["amount"] is not None]
        qtys = [row["qty"] for row in found if row["qty"] is not None]
        total = sum(qtys) if qtys else None
        mean = None if total is None else total / len(qtys)
        amount = sum(amounts) if amounts else None
        columns = {"month": month, "shop": shop, "amount": amount, "n": len(found), "mean": mean}
        shown.append({**columns, "mean__sum": total, "mean__count": len(qtys)})
    return canonical(shown)


class WarehouseSuiteBase:
    """Fixtures of one check. pytest makes one instance for each test method; so does the certificate."""

    factory: ClassVar[Callable[..., WarehouseBench]]
    location: ClassVar[str | None] = None

    def setup_method(self) -> None:
        self._base = TemporaryDirectory(prefix="aggmaint-", dir=self.location, ignore_cleanup_errors=True)
        self._bench: WarehouseBench | None = None
        self._sessions: list[WarehouseSession] = []
        self._numbers = 0
        self.rows: list[BaseRow] = []
        self.shops: list[BaseRow] = []

    def teardown_method(self) -> None:
        if self._bench is not None:
            self._bench.watch(None)
        for session in self._sessions:
            with suppress(Exception):  # closing is a check of its own
                session.close()
        if self._bench is not None:
            with suppress(Exception):
                self._bench.close()
        self._base.cleanup()

    # -- the bench -------------------------------------------------------------------------------------------------------

    @property
    def bench(self) -> WarehouseBench:
        """A new bench, whose base tables have the kit's rows."""
        if self._bench is None:
            if not hasattr(self, "factory"):
                raise TypeError(f"{type(self).__name__} needs a factory: `factory = staticmethod(make_bench)`")
            self._bench = self.factory(self._base.name)
            self.put(BASE, SHOP_ROWS)  # asks for the bench again, which is there by now
        return self._bench

    @property
    def warehouse(self) -> Warehouse:
        return self.bench.warehouse

    @property
    def breaks(self) -> AggregateDefinition:
        """Breaks on the data as soon as a code is no number."""
        code = Attribute("code", self.bench.breaking)
        return definition("breaks", attributes=[code], measures=[Measure("n", "count")])

    def put(self, rows: Sequence[BaseRow], shops: Sequence[BaseRow] | None = None) -> None:
        """Change the base."""
        bench = self.bench
        self.rows = list(rows)
        bench.put(SALES, self.rows)
        if shops is not None:
            self.shops = list(shops)
            bench.put(SHOPS, self.shops)

    def change(self, index: int, **values: Any) -> None:
        """Change one base row."""
        rows = list(self.rows or BASE)
        rows[index] = {**rows[index], **values}
        self.put(rows)

    # -- sessions --------------------------------------------------------------------------------------------------------

    @property
    def schema(self) -> ManagedSchema:
        return ManagedSchema(KIT, ACME, schema_name(ACME))

    def open(self, schema: ManagedSchema | None = None, *, read_only: bool = False) -> WarehouseSession:
        session = self.bench.warehouse.open(schema or self.schema, create=True, read_only=read_only)
        self._sessions.append(session)
        return session

    def fence(self, generation: int = 1) -> Fence:
        """The next job's."""
        self._numbers += 1
        return Fence(generation, self._numbers)

    def number(self) -> str:
        """An id for an instance or a build."""
        self._numbers += 1
        return f"{self._numbers:08x}-0000-4000-8000-000000000000"

    def at(self) -> datetime:
        return NOON + timedelta(seconds=self._numbers)

    def claimed(self, *definitions: AggregateDefinition) -> WarehouseSession:
        """A session that has observed and claimed."""
        session = self.open()
        seen = session.observe(definitions, sick={}).control
        holds(session.claim(self.fence(), seen=seen), "a claim of what was just observed succeeds")
        return session

    def observed(self, *definitions: AggregateDefinition) -> Observation:
        """What a session of its own sees."""
        session = self.open(read_only=True)
        try:
            return session.observe(definitions or ALL, sick={})
        finally:
            session.close()

    def active(self, what: AggregateDefinition) -> InstanceRecord:
        return present(
            active_instance(what.id, self.observed(what).instances), f"an instance of {what.label} in service"
        )

    # -- a run by hand ---------------------------------------------------------------------------------------------------

    def requests(self, *definitions: AggregateDefinition) -> list[BuildRequest]:
        ids = [self.number() for _ in definitions]
        pairs = zip(definitions, ids, strict=True)
        return [BuildRequest(each, identity, table_name(identity, each.name)) for each, identity in pairs]

    def build(self, session: WarehouseSession, *definitions: AggregateDefinition) -> tuple[Built, ...]:
        """Build beside, in no view yet."""
        session.observe(definitions, sick={})
        return session.build(self.requests(*definitions), at=self.at())

    def serve(self, session: WarehouseSession, *definitions: AggregateDefinition) -> None:
        """Build and switch."""
        before = self.observed(*definitions).instances
        for built in self.build(session, *definitions):
            self.publish(session, Switch(built, active_instance(built.request.definition.id, before)))

    def ready(self, *definitions: AggregateDefinition) -> None:
        """Aggregates in service, built by a job that has ended."""
        session = self.claimed(*(definitions or ALL))
        self.serve(session, *(definitions or ALL))
        session.close()

    def publish(self, session: WarehouseSession, publication: Publication) -> None:
        session.publish(publication, at=self.at(), build_id=self.number())

    def refresh(self, session: WarehouseSession, what: AggregateDefinition) -> tuple[Observation, Refresh]:
        """What the planner finds stale, staged, as a publication that is not published yet."""
        observation = session.observe([what], sick={})
        steps = plan_maintenance([what], observation, Policy(), self.at()).steps
        step = next((each for each in steps if isinstance(each, RefreshStep)), None)
        return observation, self.staged(session, present(step, f"something to refresh of {what.label}"))

    @staticmethod
    def staged(session: WarehouseSession, step: RefreshStep) -> Refresh:
        """What a step of a plan publishes, computed now."""
        what = step.definition
        wanted = tuple(each.period for each in step.partitions if each.token is not None)
        staged = session.stage([StageRequest(what, wanted)])[0] if wanted else None
        tokens = {each.period: each.token or "" for each in step.partitions}
        contents = staged.contents if staged else ()
        written = tuple(PartitionWrite(each.period, each.rows, tokens[each.period], each.content) for each in contents)
        periods = tuple(each.period for each in step.partitions)
        return Refresh(what, step.instance, staged, periods, written, step.source_tokens)

    def publications(self, session: WarehouseSession) -> dict[str, Callable[[], Publication]]:
        """One publication of each sort that a session may try on BY_MONTH in service; made when they are called for."""

        def built() -> Publication:
            return Switch(self.build(session, BY_MONTH)[0], self.active(BY_MONTH))

        return {
            "refresh": lambda: self.refresh(session, BY_MONTH)[1],
            "switch": built,
            "restore view": lambda: RestoreView(BY_MONTH, self.active(BY_MONTH)),
            "retire": lambda: self.retire(self.active(BY_MONTH)),
            "drop": lambda: DropStep(
                evolve(self.active(BY_MONTH), status=InstanceStatus.INVALID), True, Reason.INSTANCE_RETIRED_EXPIRED
            ),
            "forget": lambda: ForgetStep(self.active(BY_MONTH)),
        }

    @staticmethod
    def retire(instance: InstanceRecord) -> RetireStep:
        return RetireStep(instance, InstanceStatus.INVALID, Reason.INSTANCE_UNDEFINED, True)

    # -- what is there ---------------------------------------------------------------------------------------------------

    def view(self, what: AggregateDefinition) -> list[str]:
        return canonical(self.bench.read(self.schema.name, what.view_name))

    def has_view(self, what: AggregateDefinition) -> bool:
        return what.view_name in self.bench.names(self.schema.name)

    def must(self, what: AggregateDefinition) -> list[str]:
        return must_show(what, self.rows, self.shops)

    def right(self, *definitions: AggregateDefinition) -> None:
        """The views show the base as it is now."""
        for what in definitions or ALL:
            equal(self.view(what), self.must(what), f"the view of {what.label}")

    def everything(self) -> dict[str, Any]:
        """All that a write could change, but for the control row: ledger, objects, and the rows of what is there."""
        found = self.observed()
        names = sorted(each.name for each in found.objects if not each.name.startswith("aggmaint_"))
        rows = {name: canonical(self.bench.read(self.schema.name, name)) for name in names}
        return {"instances": found.instances, "records": found.records, "objects": found.objects, "rows": rows}

    def need_watching(self, before: Callable[[str], None] | None = None) -> None:
        if not self.bench.watch(before):
            pytest.skip("the bench can not watch the warehouse's statements")
