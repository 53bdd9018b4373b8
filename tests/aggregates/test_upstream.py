"""Aggregates over aggregates: what is wrong with them, and that nothing is computed from one that is not current."""

from typing import Any

import pytest
from attrs import evolve

from aggmaint.aggregates.check import check_definitions
from aggmaint.aggregates.decisions import BuildStep, RefreshStep, Subject
from aggmaint.aggregates.model import AggregateDefinition, Join, Source
from aggmaint.aggregates.naming import schema_name
from aggmaint.aggregates.observation import DefinitionFacts, Failure, FailureKind
from aggmaint.aggregates.reasons import Reason
from aggmaint.aggregates.sql import source_sql
from aggmaint.aggregates.upstream import hold_back, outcome, upstream_problems, waiting, with_follow_up, with_upstream
from aggmaint.errors import InvalidDefinitionError

from .test_model import definition
from .test_plan import (
    ACTIVE,
    FEBRUARY,
    JANUARY,
    MOVED,
    WANTED,
    World,
    facts,
    failing,
    instance,
    joined,
    record,
    token,
    with_tokens,
)


def over(name: str, *read: str, **parts: Any) -> AggregateDefinition:
    """An aggregate that reads others: the first one as its source, further ones as joins."""
    joins = [Join(source=Source(aggregate=each), on="a = b") for each in read[1:]]
    return definition(name=name, source=Source(aggregate=read[0]), joins=joins, **parts)


def problems(*definitions: AggregateDefinition) -> list[str]:
    return [str(each) for each in upstream_problems(definitions)]


@pytest.mark.parametrize(
    ("definitions", "words"),
    [
        ([over("a", "sales.b")], "there is no such aggregate; the others are none"),
        (
            [definition(name="daily"), over("a", "sales.dayly")],
            "'sales.dayly': there is no such aggregate; did you mean 'sales.daily'?",
        ),
        ([over("a", "sales.a")], "in a circle: sales.a -> sales.a; let one of them read a table"),
        ([over("a", "sales.b"), over("b", "SALES.A")], "in a circle: sales.a -> sales.b -> sales.a"),
        (
            [over("a", "sales.b"), over("b", "sales.c"), over("c", "sales.a")],
            "in a circle: sales.c -> sales.a -> sales.b -> sales.c",
        ),
        (
            [definition(cube="x.y", name="z"), definition(cube="x", name="y.z"), over("a", "x.y.z")],
            "2 aggregates are called so",
        ),
        ([over("a", "sales.b"), definition(name="b", dependencies=[Source(aggregate="sales.a")])], "in a circle"),
    ],
)
def test_definition_errors_name_the_aggregate_and_the_way(definitions: list[AggregateDefinition], words: str) -> None:
    found = problems(*definitions)
    assert any(words in each for each in found), found
    assert found == [str(each) for each in check_definitions(definitions) if "source aggregate" in str(each)]


def test_reading_one_twice_or_through_two_ways_is_no_circle() -> None:
    assert (
        problems(definition(name="d"), over("b", "sales.d"), over("c", "sales.d"), over("a", "sales.b", "sales.c"))
        == []
    )


def test_only_members_of_a_circle_are_told_of_it() -> None:
    found = upstream_problems([over("x", "sales.a"), over("a", "sales.b"), over("b", "sales.a")])
    assert [each.aggregate for each in found] == ["sales.a", "sales.b"]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"aggregate": "a.b", "table": "t"}, "give exactly one"),
        ({"aggregate": "a.b", "file": "x.csv"}, "give exactly one"),
        ({"aggregate": " "}, "not empty"),
        ({"aggregate": "a.b", "append_only": "id"}, "its rows are replaced; declare nothing"),
        ({"aggregate": "a.b", "updated_at": "at", "deletes": "none"}, "its rows are replaced; declare nothing"),
    ],
)
def test_a_source_is_a_table_or_files_or_an_aggregate(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=words):
        Source(**parts)


def test_the_view_is_read_by_its_stable_name() -> None:
    inner = definition(cube="My Cube", name="by day")
    (_, outer) = with_upstream([inner, over("a", "my cube.BY DAY")])
    assert outer.source.alias == "BY DAY"
    assert source_sql(outer.source, "duckdb") == f'"{schema_name("acme")}"."My Cube__by day"'
    assert outer.definition_hash == over("a", "my cube.BY DAY").definition_hash, "what is filled in changes no hash"


# -- holding back ------------------------------------------------------------------------------------------------------

DAILY = WANTED
WEEKLY = over("weekly", "sales.revenue")
YEARLY = over("yearly", "sales.weekly")


def chain(world: World, *more: AggregateDefinition) -> World:
    """The world's aggregate, and over it healthy current ones."""
    for number, each in enumerate(more, 5):
        world.definitions.append(each)
        world.instances.append(instance(number, each, partitions=(record(JANUARY), record(FEBRUARY))))
    return world


def reasons(world: World) -> dict[str, str]:
    own = [each for each in world.plan().decisions if each.subject is Subject.DEFINITION]
    return {each.aggregate.partition(".")[2]: each.reason.value for each in own}


STALE = ((JANUARY, token(2)), (FEBRUARY, token(3)))


@pytest.mark.parametrize(
    ("world", "upstream", "downstream"),
    [
        (World, "definition_fresh", "definition_fresh"),
        (lambda: with_tokens(*STALE), "definition_stale", "upstream_first"),
        (lambda: World(without={DAILY.view_name}), "definition_fresh", "upstream_first"),
        (lambda: World(without={ACTIVE.table_name}), "build_broken", "upstream_first"),
        (lambda: World(instances=[]), "build_first", "upstream_first"),
        (lambda: World(definitions=[evolve(DAILY, blocked=True)]), "definition_blocked", "upstream_unavailable"),
        (lambda: failing(FailureKind.SOURCE), "source_unavailable", "upstream_unavailable"),
        (lambda: failing(FailureKind.QUERY), "query_failed", "upstream_unavailable"),
        (lambda: failing(FailureKind.DEFINITION), "definition_invalid", "upstream_unavailable"),
    ],
)
def test_what_upstream_is_decides_what_downstream_may(world: Any, upstream: str, downstream: str) -> None:
    found = reasons(chain(world(), WEEKLY, YEARLY))
    assert (found["revenue"], found["weekly"]) == (upstream, downstream)
    assert found["yearly"] == downstream, "and so on down"


def test_the_order_of_names_is_not_the_order_of_reading() -> None:
    """The one that comes first by name reads the one that comes second, which waits."""
    middle = over("b_middle", "sales.revenue")
    assert reasons(chain(with_tokens(*STALE), over("a_last", "sales.b_middle"), middle))["a_last"] == "upstream_first"


def test_who_reads_one_whose_rows_stay_does_not_wait() -> None:
    """A joined source of upstream moved, but none of its partitions: only a token is noted."""
    world = joined(source_tokens=MOVED)
    (upstream,) = world.definitions
    found = reasons(chain(world, over("weekly", upstream.label)))
    assert found == {upstream.name: "definition_unaffected", "weekly": "definition_fresh"}


def test_what_is_held_back_has_no_step_and_no_other_decision() -> None:
    world = chain(with_tokens(*STALE), WEEKLY)
    world.facts[WEEKLY.id] = facts(tokens=STALE)
    plan = world.plan()
    assert [type(step) for step in plan.steps] == [RefreshStep]
    assert {each.subject.value for each in plan.decisions if each.definition_id == WEEKLY.id} == {
        "definition",
        "instance",
    }
    (told,) = [each for each in plan.decisions if each.reason is Reason.UPSTREAM_FIRST]
    assert "sales.revenue" in told.words


def test_a_broken_downstream_is_told_of_its_own_fault_when_upstream_is_no_better() -> None:
    world = chain(failing(FailureKind.SOURCE), WEEKLY)
    world.facts[WEEKLY.id] = DefinitionFacts(failure=Failure(FailureKind.DEFINITION, "no column x"))
    assert reasons(world)["weekly"] == "definition_invalid"


def test_after_the_steps_those_whose_upstream_is_done_come_next_and_failures_reach_the_others() -> None:
    world = chain(with_tokens(*STALE), WEEKLY, YEARLY)
    plan, all_three = world.plan(), world.definitions
    assert waiting(plan, all_three, ()) == ()
    done, failed = outcome(plan, [(plan.steps[0], None)])
    assert (set(done), set(failed)) == ({DAILY.id}, set())
    assert [each.name for each in waiting(plan, all_three, done)] == ["weekly"]
    done, failed = outcome(plan, [(plan.steps[0], "it broke")])
    assert waiting(plan, all_three, done) == ()
    after = hold_back(plan, all_three, done=done, failed=failed)
    told = {each.aggregate: each.reason for each in after.decisions if each.subject is Subject.DEFINITION}
    assert told["sales.weekly"] is told["sales.yearly"] is Reason.UPSTREAM_UNAVAILABLE


def test_the_later_plan_takes_the_place_of_waiting() -> None:
    world = chain(with_tokens(*STALE), WEEKLY)
    plan = world.plan()
    now = chain(World(), WEEKLY).plan().decisions
    about = tuple(d for d in now if d.definition_id == WEEKLY.id and d.subject is not Subject.INSTANCE)
    later = evolve(plan, decisions=about, steps=(BuildStep(WEEKLY, None),))
    both = with_follow_up(plan, later)
    assert [
        d.reason.value for d in both.decisions if d.definition_id == WEEKLY.id and d.subject is Subject.DEFINITION
    ] == ["definition_fresh"]
    assert len([d for d in both.decisions if d.definition_id == WEEKLY.id and d.subject is Subject.INSTANCE]) == 1
    assert both.steps == (*plan.steps, *later.steps)
