"""The planner, rule by rule: each reason comes out of an observation made for it, and no candidate has two."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import define, evolve, field

from aggmaint.aggregates.budget import ration
from aggmaint.aggregates.decisions import (
    BuildStep,
    Decision,
    DropStep,
    MaintenancePlan,
    NewRows,
    PartitionRefresh,
    RefreshStep,
    RetireStep,
    Subject,
    decisions_about,
)
from aggmaint.aggregates.growth import Grown, Hindered, Hindrance
from aggmaint.aggregates.inventory import make_inventory
from aggmaint.aggregates.life import Deactivated, Deactivation, DefinitionRecord, Told
from aggmaint.aggregates.looking import SourceMark
from aggmaint.aggregates.model import AggregateDefinition, InstanceStatus, Join, Measure, Source
from aggmaint.aggregates.naming import Tag, table_name
from aggmaint.aggregates.observation import (
    Cause,
    Column,
    ControlState,
    DefinitionFacts,
    Failure,
    FailureKind,
    InstanceRecord,
    ObjectKind,
    Observation,
    PartitionContent,
    PartitionRecord,
    SchemaObject,
    TableFacts,
    Vouch,
)
from aggmaint.aggregates.options import Adopt, TaskOptions, resolve
from aggmaint.aggregates.periods import NULL_PERIOD, Period, period_of
from aggmaint.aggregates.plan import plan_maintenance
from aggmaint.aggregates.policy import Policy
from aggmaint.aggregates.reasons import Reason
from aggmaint.aggregates.shaping import ACTING, shape
from aggmaint.aggregates.tokens import TokenKind, make_token

from .test_model import definition

NOW = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = (Column("aggmaint_period", "DATE"), Column("shop", "VARCHAR"), Column("amount", "DECIMAL(38,2)"))
WANTED = definition()
JANUARY = period_of("2024-01-01", WANTED.partition)
FEBRUARY = period_of("2024-02-01", WANTED.partition)


def token(rows: int, hashes: int = 5, engine: str = "duckdb2", kind: TokenKind = TokenKind.SOURCE) -> str:
    return make_token(engine, kind, ("a",), rows, hashes)


def content(rows: int, hashes: int = 9) -> str:
    return make_token("duckdb2", TokenKind.CONTENT, ("b",), rows, hashes)


def instance(number: int = 1, wanted: AggregateDefinition = WANTED, **parts: Any) -> InstanceRecord:
    identity = f"0000000{number}-0000-4000-8000-000000000000"
    values = {
        "id": identity,
        "definition_id": wanted.id,
        "label": wanted.label,
        "table_name": table_name(identity, wanted.name),
        "view_name": wanted.view_name,
        "status": InstanceStatus.ACTIVE,
        "since_at": NOW - timedelta(minutes=5),
        "generation": 0,
        "fence": 3,
        "definition_hash": wanted.definition_hash,
        "structure_hash": wanted.structure_hash,
        "build_id": "b",
        "started_at": NOW - timedelta(minutes=10 - number),
        "columns": COLUMNS,
        "rows": sum(each.rows for each in parts.get("partitions", ())),
        **parts,
    }
    return InstanceRecord(**values)


def record(period: Period, rows: int = 2) -> PartitionRecord:
    return PartitionRecord(period, rows, token(rows), content(rows), "b", NOW)


@define
class World:
    """An observation in the making; by default one healthy instance with two current partitions."""

    definitions: list[AggregateDefinition] = field(factory=lambda: [WANTED])
    instances: list[InstanceRecord] = field(factory=lambda: [instance(partitions=(record(JANUARY), record(FEBRUARY)))])
    extra: list[SchemaObject] = field(factory=list)
    without: set[str] = field(factory=set)
    tables: dict[str, TableFacts] = field(factory=dict)
    facts: dict[str, DefinitionFacts] = field(factory=dict)
    control: ControlState | None = field(factory=lambda: ControlState("here", "acme", 0, 3, 7, False, "b"))
    reader: tuple[int, int] | None = (0, 4)
    policy: Policy = field(factory=Policy)
    now: datetime = NOW
    records: list[DefinitionRecord] = field(factory=list)
    told: Told = field(factory=Told)
    marks: tuple[SourceMark, ...] = ()
    options: TaskOptions = field(factory=TaskOptions)

    def observation(self) -> Observation:
        objects = [SchemaObject("aggmaint_control", ObjectKind.TABLE)]
        for each in self.instances:
            if each.status in {InstanceStatus.ACTIVE, InstanceStatus.INVALID, InstanceStatus.FAILED}:
                objects.append(SchemaObject(each.table_name, ObjectKind.TABLE, tag(each)))
            if each.status is InstanceStatus.ACTIVE:
                objects.append(SchemaObject(each.view_name, ObjectKind.VIEW, tag(each)))
        shown = tuple(each for each in objects if each.name not in self.without) + tuple(self.extra)
        tables = {
            each.id: TableFacts(
                each.columns, None, tuple(PartitionContent(p.period, p.rows, p.content) for p in each.partitions)
            )
            for each in self.instances
            if each.status is InstanceStatus.ACTIVE
        }
        facts = {
            each.id: DefinitionFacts(COLUMNS, (), ((JANUARY, token(2)), (FEBRUARY, token(2))))
            for each in self.definitions
        }
        return Observation(
            "agg_x",
            "here",
            "acme",
            self.control,
            self.reader,
            tuple(self.instances),
            shown,
            {**tables, **self.tables},
            {**facts, **self.facts},
            tuple(self.records),
        )

    def plan(self) -> MaintenancePlan:
        observation = self.observation()
        plan = plan_maintenance(self.definitions, observation, self.policy, self.now, self.told, self.marks)
        wishes = resolve(self.options, self.definitions)
        return ration(shape(plan, self.definitions, observation, wishes, self.now), self.policy)


def tag(each: InstanceRecord) -> Tag:
    return Tag("here", each.definition_id, each.id)


def facts(**parts: Any) -> DefinitionFacts:
    return DefinitionFacts(**{"columns": COLUMNS, "tokens": ((JANUARY, token(2)), (FEBRUARY, token(2))), **parts})


def failing(kind: FailureKind) -> World:
    return World(facts={WANTED.id: DefinitionFacts(failure=Failure(kind, "because"))})


def with_tokens(*tokens: tuple[Period, str], **parts: Any) -> World:
    return World(facts={WANTED.id: facts(tokens=tokens, **parts)})


def with_looks(*looked: tuple[Period, str, Cause], vouch: Vouch = Vouch.WHOLE) -> World:
    """Only these periods were looked at, each for its cause; `vouch` speaks for the others."""
    return World(
        facts={
            WANTED.id: facts(
                tokens=tuple((period, found) for period, found, _ in looked) or None,
                cause=None,
                looked=tuple((period, cause) for period, _, cause in looked),
                vouch=vouch,
            )
        }
    )


def held(status: InstanceStatus, **parts: Any) -> World:
    """The healthy instance, and an older one in some status."""
    world = World()
    world.instances.append(instance(2, status=status, **parts))
    return world


ACTIVE = World().instances[0]
GONE = instance(3, definition(name="gone"))
OLD = NOW - timedelta(days=60)
JOINED = definition(joins=[Join(source=Source(table="shops"), on="a = b")])


def joined(**parts: Any) -> World:
    mine = instance(
        1,
        JOINED,
        partitions=(record(JANUARY), record(FEBRUARY)),
        source_tokens=(("source:sales", token(1)), ("source:shops", token(1))),
    )
    return World(definitions=[JOINED], instances=[mine], facts={JOINED.id: facts(**parts)})


def lost(columns: tuple[Column, ...] = COLUMNS) -> World:
    """The table and the view are there, with our tags; the ledger is empty."""
    return World(
        instances=[],
        extra=[
            SchemaObject(ACTIVE.table_name, ObjectKind.TABLE, tag(ACTIVE)),
            SchemaObject(ACTIVE.view_name, ObjectKind.VIEW, tag(ACTIVE)),
        ],
        tables={ACTIVE.id: TableFacts(columns)},
    )


def two_to_build() -> World:
    return World(definitions=[WANTED, definition(name="other")], instances=[], control=None)


def both_stale() -> World:
    return with_tokens((JANUARY, token(3)), (FEBRUARY, token(3)))


STILL = (("source:sales", token(1)), ("source:shops", token(1)))
MOVED = (("source:sales", token(1)), ("source:shops", token(2)))

DEMANDED = evolve(WANTED, type="system_defined", subtype="demand_defined")


def living(*wanted: AggregateDefinition, age_days: int = 44, **parts: Any) -> World:
    """System-defined aggregates in service, known for so many days, and not used since."""
    then = NOW - timedelta(days=age_days)
    mine = wanted or (DEMANDED,)
    instances = [
        instance(1, each, id=each.id, table_name=f"as_agg_{n:08x}_x", partitions=(record(JANUARY), record(FEBRUARY)))
        for n, each in enumerate(mine)
    ]
    records = [DefinitionRecord(each.id, each.label, then, then) for each in mine]
    return World(definitions=list(mine), instances=instances, records=records, **parts)


def deactivated(at: datetime = NOW - timedelta(days=1), definition_hash: str = DEMANDED.definition_hash) -> World:
    gone = Deactivation(at, Deactivated.UNUSED, definition_hash)
    return World(
        definitions=[DEMANDED],
        instances=[],
        records=[DefinitionRecord(DEMANDED.id, DEMANDED.label, OLD, OLD, deactivation=gone)],
    )


def crowded() -> World:
    three = [evolve(definition(name=f"s{n}"), type="system_defined") for n in range(3)]
    return living(*three, policy=Policy(retention_limit=1, retention_excess=1))


def changed(before: AggregateDefinition = WANTED, **parts: Any) -> World:
    """An aggregate in service that was built from `before`, and whose definition has changed since."""
    built: dict[str, Any] = {
        "definition_hash": before.definition_hash,
        "parts": tuple(sorted(before.part_hashes.items())),
        "measures": before.measures,
    }
    wanted = evolve(WANTED, **parts)
    return World(definitions=[wanted], instances=[evolve(ACTIVE, **built)])


def stopped(**parts: Any) -> World:
    """A first build that stopped after one partition."""
    begun = instance(2, **{"status": InstanceStatus.INPROGRESS, "partitions": (record(JANUARY),), **parts})
    return World(instances=[begun], extra=[SchemaObject(begun.table_name, ObjectKind.TABLE, tag(begun))])


READER = definition(name="reader", source=Source(aggregate="sales.revenue"))


CASES: dict[Reason, Callable[[], World]] = {
    Reason.DEFINITION_FRESH: World,
    Reason.DEFINITION_STALE: lambda: with_tokens((JANUARY, token(2)), (FEBRUARY, token(3))),
    Reason.DEFINITION_UNAFFECTED: lambda: joined(source_tokens=MOVED),
    Reason.DEFINITION_BLOCKED: lambda: World(definitions=[evolve(WANTED, blocked=True)], instances=[]),
    Reason.DEFINITION_INVALID: lambda: failing(FailureKind.DEFINITION),
    Reason.SOURCE_UNAVAILABLE: lambda: failing(FailureKind.SOURCE),
    Reason.QUERY_FAILED: lambda: failing(FailureKind.QUERY),
    Reason.VIEW_NAME_TAKEN: lambda: World(
        without={WANTED.view_name}, extra=[SchemaObject("SALES__revenue", ObjectKind.TABLE)]
    ),
    Reason.TOO_MANY_PARTITIONS: lambda: evolve(World(), policy=Policy(partitions_max=1)),
    Reason.BUILD_FIRST: lambda: World(instances=[], control=None),
    Reason.BUILD_AGAIN: lambda: World(instances=[instance(status=InstanceStatus.FAILED, message="it broke")]),
    Reason.BUILD_BROKEN: lambda: World(without={ACTIVE.table_name}),
    Reason.BUILD_DEFINITION_CHANGED: lambda: World(instances=[evolve(ACTIVE, definition_hash="other")]),
    Reason.BUILD_SOURCE_TYPES_CHANGED: lambda: World(facts={WANTED.id: facts(columns=COLUMNS[:2])}),
    Reason.PARTITION_MERGED: lambda: only_grew(Policy(merge_rows_min=0)),
    Reason.PARTITION_MERGE_SMALL: lambda: only_grew(Policy()),
    Reason.PARTITION_MERGE_REFUSED: lambda: World(
        facts={
            WANTED.id: facts(
                tokens=((FEBRUARY, token(3)),),
                cause=None,
                looked=((FEBRUARY, Cause.DECLARED),),
                vouch=Vouch.DECLARED,
                hindered=Hindered(Hindrance.REFUSED, "merging its new rows failed"),
            )
        }
    ),
    Reason.UPSTREAM_FIRST: lambda: World(definitions=[WANTED, READER], instances=[]),
    Reason.UPSTREAM_UNAVAILABLE: lambda: World(definitions=[evolve(WANTED, blocked=True), READER], instances=[]),
    Reason.PARTITION_FRESH: World,
    Reason.PARTITION_NEW: lambda: with_tokens((JANUARY, token(2)), (FEBRUARY, token(2)), (NULL_PERIOD, token(1))),
    Reason.PARTITION_CHANGED: lambda: with_tokens((JANUARY, token(2)), (FEBRUARY, token(2, 6))),
    Reason.PARTITION_EMPTIED: lambda: with_tokens((JANUARY, token(2))),
    Reason.PARTITION_DAMAGED: lambda: World(
        tables={ACTIVE.id: TableFacts(COLUMNS, None, (PartitionContent(JANUARY, 2, content(2)),))}
    ),
    Reason.PARTITION_UNVERIFIABLE: lambda: with_tokens((JANUARY, token(2, 5, "duckdb3")), (FEBRUARY, token(2))),
    Reason.DEPENDENCY_CHANGED: lambda: World(facts={WANTED.id: facts(source_tokens=(("dependency:rates", token(1)),))}),
    Reason.INSTANCE_HEALTHY: World,
    Reason.INSTANCE_MISSING: lambda: World(without={ACTIVE.table_name}),
    Reason.INSTANCE_REPLACED: lambda: World(
        without={ACTIVE.table_name}, extra=[SchemaObject(ACTIVE.table_name, ObjectKind.TABLE)]
    ),
    Reason.INSTANCE_COLUMNS_DIFFER: lambda: World(tables={ACTIVE.id: TableFacts(COLUMNS[:2])}),
    Reason.INSTANCE_UNREADABLE: lambda: World(tables={ACTIVE.id: TableFacts(COLUMNS, "bad block")}),
    Reason.INSTANCE_DEACTIVATED: lambda: World(definitions=[evolve(WANTED, blocked=True)]),
    Reason.INSTANCE_UNDEFINED: lambda: World(instances=[ACTIVE, GONE]),
    Reason.MASS_DROP_REFUSED: lambda: World(definitions=[]),
    Reason.INSTANCE_BUILDING: lambda: evolve(
        held(InstanceStatus.INPROGRESS), reader=None, control=ControlState("here", "acme", 0, 3, 7, True, "b")
    ),
    Reason.INSTANCE_ABANDONED: lambda: held(InstanceStatus.INPROGRESS),
    Reason.INSTANCE_FAILED_KEPT: lambda: held(InstanceStatus.CANCELLED),
    Reason.INSTANCE_FAILED_EXPIRED: lambda: held(InstanceStatus.FAILED, since_at=OLD),
    Reason.INSTANCE_RETIRED_KEPT: lambda: held(InstanceStatus.INVALID),
    Reason.INSTANCE_RETIRED_EXPIRED: lambda: held(InstanceStatus.INVALID, since_at=OLD),
    Reason.INSTANCE_LEFT_OVER: lambda: evolve(
        held(InstanceStatus.DELETED, since_at=OLD),
        extra=[SchemaObject(instance(2).table_name, ObjectKind.TABLE, tag(instance(2)))],
    ),
    Reason.INSTANCE_DELETED: lambda: held(InstanceStatus.DELETED),
    Reason.INSTANCE_FORGOTTEN: lambda: held(InstanceStatus.DELETED, since_at=OLD),
    Reason.VIEW_CURRENT: World,
    Reason.VIEW_MISSING: lambda: World(without={WANTED.view_name}),
    Reason.PARTITION_VOUCHED: lambda: with_looks(vouch=Vouch.DECLARED),
    Reason.PARTITION_MARKED: lambda: with_looks((JANUARY, token(3), Cause.MARK)),
    Reason.PARTITION_UNDECLARED_CHANGE: lambda: with_looks((JANUARY, token(3), Cause.AUDIT), vouch=Vouch.ENGINE),
    Reason.PARTITION_UNVERIFIED: lambda: evolve(
        with_tokens((JANUARY, token(2, 5, "duckdb3")), (FEBRUARY, token(2, 5, "duckdb3"))),
        policy=Policy(reverified_max=1),
    ),
    Reason.MARK_UNKNOWN: lambda: World(marks=(SourceMark("salez"),)),
    Reason.OBJECT_FOREIGN: lambda: World(extra=[SchemaObject("as_agg_deadbeef_x", ObjectKind.TABLE)]),
    Reason.DEFINITION_UNUSED: lambda: living(age_days=45),
    Reason.DEFINITION_OVER_LIMIT: crowded,
    Reason.DEFINITION_DEACTIVATED: deactivated,
    Reason.BUILD_REACTIVATED: lambda: deactivated(definition_hash="another"),
    Reason.BUILD_REQUESTED: lambda: evolve(World(), options=TaskOptions(rebuild={"revenue": None})),
    Reason.DEFINITION_OVER_BUDGET: lambda: evolve(two_to_build(), policy=Policy(run_partitions_max=1)),
    Reason.DEFINITION_MIXED: lambda: evolve(both_stale(), policy=Policy(run_partitions_max=1)),
    Reason.PARTITION_OVER_BUDGET: lambda: evolve(both_stale(), policy=Policy(run_partitions_max=1)),
    Reason.DEFINITION_DISOWNED: lambda: evolve(World(), options=TaskOptions(disown=["revenue"])),
    Reason.GATE_FAILED: lambda: failing(FailureKind.GATE),
    Reason.LEDGER_LOST: lambda: lost(),
    Reason.ADOPT_TABLE: lambda: evolve(lost(), options=TaskOptions(adopt=Adopt())),
    Reason.ADOPT_REFUSED: lambda: evolve(lost(COLUMNS[:2]), options=TaskOptions(adopt=Adopt())),
    Reason.PARTITION_REQUESTED: lambda: evolve(World(), options=TaskOptions(rebuild={"revenue": ["2024-01"]})),
    Reason.INSTANCE_LEDGER_WRONG: lambda: World(instances=[evolve(ACTIVE, rows=ACTIVE.rows + 1)]),
    Reason.OBJECT_LOST: lambda: lost(),
    Reason.NOT_COVERED: lambda: evolve(two_to_build(), options=TaskOptions(rebuild={"revenue": None})),
    Reason.BUILD_MEASURES_ADDED: lambda: changed(measures=[*WANTED.measures, Measure("n", "count")]),
    Reason.BUILD_MEASURES_REMOVED: lambda: changed(
        before=evolve(WANTED, measures=[*WANTED.measures, Measure("n", "count")])
    ),
    Reason.BUILD_STRUCTURE_CHANGED: lambda: changed(attributes=[]),
    Reason.BUILD_PARTITION_CHANGED: lambda: changed(partition=None),
    Reason.VIEW_CHANGED: lambda: changed(name="renamed"),
    Reason.INSTANCE_RESUMED: lambda: stopped(),
}


def candidate(decision: Decision) -> tuple[Any, ...]:
    if decision.subject in {Subject.OBJECT, Subject.SOURCE}:
        return decision.subject, decision.aggregate
    return decision.subject, decision.definition_id, decision.partition, decision.instance_id


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_is_emitted_and_no_candidate_has_two(reason: Reason) -> None:
    world = CASES[reason]()
    plan = world.plan()
    assert reason in {each.reason for each in plan.decisions}
    counted = Counter(candidate(each) for each in plan.decisions)
    assert max(counted.values()) == 1
    assert {d.definition_id for d in plan.decisions if d.subject is Subject.DEFINITION} == {
        d.id for d in world.definitions
    }
    assert {d.instance_id for d in plan.decisions if d.subject is Subject.INSTANCE} == {i.id for i in world.instances}
    assert plan.writes is any(d.action in ACTING for d in plan.decisions)
    assert hash(plan) == hash(world.plan())
    assert all(each.words for each in plan.decisions)


def steps(world: World) -> list[str]:
    return [type(step).__name__ for step in world.plan().steps]


def test_a_fresh_world_has_no_step() -> None:
    assert steps(World()) == []
    assert steps(joined(source_tokens=STILL, tokens=None)) == []


def test_what_is_broken_leaves_before_it_is_built() -> None:
    plan = World(without={ACTIVE.table_name}).plan()
    retire, build = plan.steps
    assert isinstance(retire, RetireStep)
    assert (retire.status, retire.drop_view) == (InstanceStatus.UNRELIABLE, True)
    assert isinstance(build, BuildStep)
    assert build.supersedes is None


def test_a_changed_definition_keeps_the_old_one_in_service() -> None:
    plan = World(instances=[evolve(ACTIVE, definition_hash="other")]).plan()
    (build,) = plan.steps
    assert isinstance(build, BuildStep)
    assert build.supersedes is not None


@pytest.mark.parametrize(
    ("parts", "copies"),
    [
        ({"measures": [*WANTED.measures, Measure("n", "count")]}, True),
        ({"measures": [Measure("n", "count")]}, True),
        ({"measures": [Measure(WANTED.measures[0].name, "min", "amount")]}, False),
        ({"attributes": []}, False),
        ({"partition": None}, False),
        ({"source": Source(table="other")}, False),
        ({"dependencies": [Source(table="rates")]}, False),
    ],
)
def test_only_where_measures_alone_differ_the_old_table_is_copied_from(parts: dict[str, Any], copies: bool) -> None:
    (build,) = changed(**parts).plan().steps
    assert isinstance(build, BuildStep) and build.supersedes is not None
    assert (build.before is not None) is copies
    assert build.before is None or build.before.measures == WANTED.measures


def test_a_build_that_stopped_goes_on_only_as_what_it_was() -> None:
    (build,) = stopped().plan().steps
    assert isinstance(build, BuildStep) and build.resumes is not None and build.before is None
    others = [
        stopped(partitions=()),
        stopped(definition_hash="another"),
        evolve(stopped(), extra=[]),
        evolve(stopped(), extra=[SchemaObject(instance(2).table_name, ObjectKind.TABLE)]),
    ]
    for world in others:
        assert steps(world) == ["BuildStep", "DropStep"], "it is dropped, and the build begins anew"
        assert all(not isinstance(each, BuildStep) or each.resumes is None for each in world.plan().steps)
    blocked = evolve(stopped(), definitions=[evolve(WANTED, blocked=True)])
    assert steps(blocked) == ["DropStep"]
    two = stopped()
    older = instance(1, status=InstanceStatus.INPROGRESS, partitions=(record(JANUARY),))
    two.instances.append(older)
    two.extra.append(SchemaObject(older.table_name, ObjectKind.TABLE, tag(older)))
    assert [each.reason for each in two.plan().decisions if each.subject is Subject.INSTANCE] == [
        Reason.INSTANCE_ABANDONED,
        Reason.INSTANCE_RESUMED,
    ]


def test_a_renamed_aggregate_is_refreshed_and_gets_its_view_in_one_run() -> None:
    world = changed(name="renamed")
    world.facts[WANTED.id] = facts(tokens=((JANUARY, token(2)), (FEBRUARY, token(5))))
    assert steps(world) == ["RefreshStep", "RedefineStep"]
    unknown = changed(name="renamed")
    unknown.instances = [evolve(unknown.instances[0], parts=())]
    assert {d.reason for d in unknown.plan().decisions} >= {Reason.BUILD_DEFINITION_CHANGED}, "nobody knows what it was"


def test_columns_in_another_order_are_copied_into_it() -> None:
    world = changed(before=evolve(WANTED, name="other"))
    world.facts[WANTED.id] = facts(columns=COLUMNS[::-1])
    (build,) = world.plan().steps
    assert isinstance(build, BuildStep) and build.before is not None


def test_a_failure_condemns_nothing() -> None:
    for kind in FailureKind:
        assert steps(failing(kind)) == []


def only_grew(policy: Policy, mark: str | None = "7", **more: Any) -> World:
    """Three rows more in February, beyond mark 7."""
    grown = Grown("7", ((FEBRUARY, token(3, 2)),))
    told: dict[str, Any] = {"tokens": None, "cause": None, "vouch": Vouch.DECLARED, "grown": grown, **more}
    records = tuple(evolve(record(each), mark=mark) for each in (JANUARY, FEBRUARY))
    return World(instances=[instance(partitions=records)], facts={WANTED.id: facts(**told)}, policy=policy)


def planned(world: World) -> PartitionRefresh:
    (step,) = world.plan().steps
    assert isinstance(step, RefreshStep)
    (refresh,) = step.partitions
    return refresh


def test_new_rows_are_added_to_the_published_token_merged_or_not() -> None:
    merged, computed = (planned(only_grew(policy)) for policy in (Policy(merge_rows_min=0), Policy()))
    assert (merged.token, computed.token) == (token(5, 7), token(5, 7))
    assert (merged.new, computed.new) == (NewRows("7", 3), None)


def test_a_period_that_is_ahead_of_the_mark_is_judged_by_its_whole_fingerprint_only() -> None:
    for mark in (None, "8"):
        looked: dict[str, Any] = {"looked": ((FEBRUARY, Cause.DECLARED),), "tokens": ((FEBRUARY, token(5, 7)),)}
        refresh = planned(only_grew(Policy(merge_rows_min=0), mark, **looked))
        assert (refresh.reason, refresh.token, refresh.new) == (Reason.PARTITION_CHANGED, token(5, 7), None)
        current: dict[str, Any] = {"looked": ((FEBRUARY, Cause.DECLARED),), "tokens": ((FEBRUARY, token(2)),)}
        assert steps(only_grew(Policy(merge_rows_min=0), mark, **current)) == []


@pytest.mark.parametrize("cause", [Cause.AUDIT, Cause.MARK])
def test_a_period_that_grew_is_compared_with_what_it_must_be_when_it_is_looked_at(cause: Cause) -> None:
    wrong = Reason.PARTITION_MARKED if cause is Cause.MARK else Reason.PARTITION_UNDECLARED_CHANGE
    for now, reason in ((token(5, 7), Reason.PARTITION_CHANGED), (token(5, 8), wrong)):
        looked: dict[str, Any] = {"looked": ((FEBRUARY, cause),), "tokens": ((FEBRUARY, now),)}
        refresh = planned(only_grew(Policy(merge_rows_min=0), **looked))
        assert (refresh.reason, refresh.token, refresh.new) == (reason, now, None)


def test_damage_is_mended_with_the_token_that_is_current() -> None:
    world = CASES[Reason.PARTITION_DAMAGED]()
    (step,) = world.plan().steps
    assert isinstance(step, RefreshStep)
    assert [(each.period, each.token) for each in step.partitions] == [(FEBRUARY, token(2))]
    of_joins = joined(source_tokens=STILL, tokens=None)
    mine = of_joins.instances[0]
    of_joins.tables[mine.id] = TableFacts(COLUMNS, None, (PartitionContent(JANUARY, 2, content(2, 8)),))
    (step,) = of_joins.plan().steps
    assert isinstance(step, RefreshStep)
    assert [(each.period, each.token) for each in step.partitions] == [(JANUARY, token(2)), (FEBRUARY, token(2))]


def test_rows_that_nobody_published_are_removed() -> None:
    unknown = period_of("1999-01-01", WANTED.partition)
    kept = tuple(PartitionContent(p.period, p.rows, p.content) for p in ACTIVE.partitions)
    world = World(tables={ACTIVE.id: TableFacts(COLUMNS, None, (*kept, PartitionContent(unknown, 1, content(1))))})
    (step,) = world.plan().steps
    assert isinstance(step, RefreshStep)
    assert [(each.period, each.token) for each in step.partitions] == [(unknown, None)]


@pytest.mark.parametrize(
    ("gone", "kept", "policy", "refused"),
    [
        (1, 1, Policy(), False),
        (1, 0, Policy(), True),
        (2, 1, Policy(), True),
        (2, 1, Policy(retired_share_max=0.7), False),
        (2, 9, Policy(retired_max=1), True),
        (20, 20, Policy(), False),
        (21, 40, Policy(), True),
        (0, 0, Policy(retired_max=0, retired_share_max=0), False),
    ],
)
def test_the_brake(gone: int, kept: int, policy: Policy, refused: bool) -> None:
    lost = [instance(1, definition(name=f"g{n}"), id=f"g{n}", table_name=f"as_agg_{n:08x}_g") for n in range(gone)]
    mine = [definition(name=f"k{n}") for n in range(kept)]
    there = [instance(1, each, id=each.name, table_name=f"as_agg_{n:08x}_k") for n, each in enumerate(mine)]
    plan = World(definitions=mine, instances=lost + there, policy=policy).plan()
    retired = sum(isinstance(step, RetireStep) for step in plan.steps)
    assert retired == (0 if refused else gone)
    assert any(each.reason is Reason.MASS_DROP_REFUSED for each in plan.decisions) is refused


@pytest.mark.parametrize(
    "spoil",
    [
        lambda thing: evolve(thing, tag=None),
        lambda thing: evolve(thing, tag=evolve(thing.tag, installation="there")),
        lambda thing: evolve(thing, tag=evolve(thing.tag, instance_id="other")),
        lambda thing: evolve(thing, tag=evolve(thing.tag, definition_id="other")),
        lambda thing: evolve(thing, kind=ObjectKind.VIEW),
    ],
)
def test_without_all_proofs_nothing_is_dropped(spoil: Callable[[SchemaObject], SchemaObject]) -> None:
    expired = instance(2, status=InstanceStatus.INVALID, since_at=OLD)
    thing = SchemaObject(expired.table_name, ObjectKind.TABLE, tag(expired))

    def planned(there: SchemaObject) -> DropStep:
        world = World(without={expired.table_name}, extra=[there])
        world.instances.append(expired)
        (step,) = world.plan().steps
        assert isinstance(step, DropStep)
        return step

    assert planned(thing).drop_table
    assert not planned(spoil(thing)).drop_table


@pytest.mark.parametrize(("age_s", "dropped"), [(3599, False), (3600, True)])
def test_graces_end_at_their_second(age_s: int, dropped: bool) -> None:
    world = held(InstanceStatus.INVALID, since_at=NOW - timedelta(seconds=age_s))
    assert (steps(world) == ["DropStep"]) is dropped


def test_steps_come_in_the_order_of_the_rules() -> None:
    other = definition(name="other")
    broken = instance(5, other)
    world = World(
        definitions=[WANTED, other, definition(name="new")],
        instances=[ACTIVE, broken, instance(2, status=InstanceStatus.INVALID, since_at=OLD), GONE],
        without={broken.table_name, WANTED.view_name},
        facts={WANTED.id: facts(tokens=((JANUARY, token(3)), (FEBRUARY, token(2))))},
    )
    assert steps(world) == ["RetireStep", "RetireStep", "RefreshStep", "ViewStep", "BuildStep", "BuildStep", "DropStep"]


def test_the_json_folds_partitions_and_answers_why() -> None:
    plan = with_tokens((JANUARY, token(2)), (FEBRUARY, token(5))).plan()
    body = plan.to_json()
    assert body["writes"] is True
    assert body["planned_at"] == "2026-03-01T00:00:00Z"
    assert body["steps"] == [
        {
            "action": "refresh",
            "aggregate": "sales.revenue",
            "definition_id": WANTED.id,
            "instance_id": ACTIVE.id,
            "table": ACTIVE.table_name,
            "partitions": ["2024-02"],
        }
    ]
    why = decisions_about(body["decisions"], "revenue", "2024-02")
    assert [each["words"] for each in why] == ["5 rows, 3 more than when it was published"]
    assert {each["subject"] for each in decisions_about(body["decisions"], "sales.revenue")} == {
        "definition",
        "partition",
        "instance",
        "view",
    }
    assert decisions_about(body["decisions"], WANTED.id, "1999-01") == []


def test_the_inventory_tells_stale_from_fresh() -> None:
    plan = with_tokens((JANUARY, token(2)), (FEBRUARY, token(5))).plan()

    def states(failed: dict[str, str]) -> list[str]:
        body = make_inventory(plan, [WANTED], (ACTIVE,), failed=failed, observed_at=NOW)
        return [each["state"] for each in body["definitions"][0]["partition_states"]]

    assert states({}) == ["fresh", "fresh"]
    assert states({WANTED.id: "it broke"}) == ["fresh", "stale"]
    unknown = make_inventory(failing(FailureKind.SOURCE).plan(), [WANTED], (ACTIVE,), failed={}, observed_at=NOW)[
        "definitions"
    ][0]
    assert (unknown["status"], unknown["stale_partitions"]) == ("active", 2)
    never = make_inventory(World(instances=[]).plan(), [WANTED], (), failed={}, observed_at=NOW)["definitions"][0]
    assert (never["status"], never["last_build"], never["partitions"]) == ("pending", None, 0)
