"""Claim and guard: a schema has one writer, and a worker that lost its job publishes nothing."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from threading import Barrier, Thread

import pytest

from aggmaint.aggregates.decisions import RefreshStep
from aggmaint.aggregates.naming import table_name
from aggmaint.aggregates.observation import Observation
from aggmaint.aggregates.plan import plan_maintenance
from aggmaint.aggregates.policy import Policy
from aggmaint.core.job import Fence
from aggmaint.errors import FenceLostError, TaskFailedError, WarehouseUnavailableError
from aggmaint.warehouse import BuildRequest, ManagedSchema, PartitionWrite, Refresh, StageRequest, Switch
from aggmaint.warehouses._duckdb_session import DuckDBSession
from aggmaint.warehouses.duckdb import DuckDBOptions, DuckDBWarehouse

from ..maintenance.support import NOON, ORG, WRITES, Lab, Sale, definitions, multiset


class StopTestError(Exception):
    pass


@pytest.fixture
def lab() -> Lab:
    lab = Lab(wanted=definitions()[:1])
    lab.seed()
    lab.run()
    lab.put(Sale(50, date(2024, 2, 9), "north", Decimal("1.00"), 1), Sale(51, date(2020, 5, 5), "north", Decimal(2), 2))
    return lab


def session_of(lab: Lab) -> DuckDBSession:
    return lab.warehouse.open(ManagedSchema("default", ORG, lab.schema))


def looked(lab: Lab, session: DuckDBSession) -> tuple[Observation, Refresh]:
    """An observation, and the publication of what it found stale."""
    observation = session.observe(lab.wanted, sick={})
    step = plan_maintenance(lab.wanted, observation, Policy(), NOON).steps[0]
    assert isinstance(step, RefreshStep)
    periods = tuple(each.period for each in step.partitions)
    staged = session.stage([StageRequest(step.definition, periods)])[0]
    tokens = {each.period: each.token or "" for each in step.partitions}
    written = tuple(
        PartitionWrite(each.period, each.rows, tokens[each.period], each.content) for each in staged.contents
    )
    return observation, Refresh(step.definition, step.instance, staged, periods, written, step.source_tokens)


def test_two_claims_of_one_observation_one_of_them_is_refused(lab: Lab) -> None:
    one, two = session_of(lab), session_of(lab)
    seen_one, seen_two = looked(lab, one)[0].control, looked(lab, two)[0].control
    assert one.claim(Fence(0, 10), seen=seen_one)
    assert not two.claim(Fence(0, 11), seen=seen_two), "something was written since"
    assert two.claim(Fence(0, 11), seen=None, anyway=True)
    for session in (one, two):
        session.close()


def test_the_same_fence_claims_once(lab: Lab) -> None:
    one, two = session_of(lab), session_of(lab)
    assert one.claim(Fence(0, 10), seen=looked(lab, one)[0].control)
    with pytest.raises(FenceLostError, match=r"has seen fence 0\.10"):
        two.claim(Fence(0, 10), seen=None, anyway=True)
    with pytest.raises(FenceLostError):
        two.claim(Fence(0, 9), seen=None, anyway=True)
    assert two.claim(Fence(1, 1), seen=None, anyway=True), "a raised generation comes before any number"
    one.close()
    two.close()


def test_a_zombie_publish_after_the_successors_claim_is_rolled_back(lab: Lab) -> None:
    zombie, successor = session_of(lab), session_of(lab)
    observation, publication = looked(lab, zombie)
    assert zombie.claim(Fence(0, 10), seen=observation.control)
    assert successor.claim(Fence(0, 11), seen=None, anyway=True)
    before = multiset(lab.view("by_month"))
    with pytest.raises(FenceLostError, match="no longer holds"):
        zombie.publish(publication, at=NOON, build_id="late")
    assert multiset(lab.view("by_month")) == before
    zombie.close()
    _, mine = looked(lab, successor)
    successor.publish(mine, at=NOON, build_id="mine")
    successor.close()
    lab.assert_right()


def test_a_zombie_that_woke_inside_its_publish_conflicts_with_the_claim(lab: Lab) -> None:
    """Its transaction has begun before the claim, its guard comes after: the same columns are written, so it must fail."""
    zombie, successor = session_of(lab), session_of(lab)
    observation, publication = looked(lab, zombie)
    assert zombie.claim(Fence(0, 10), seen=observation.control)
    armed = [True]

    def claim_now(sql: str) -> None:
        if armed[0] and sql.startswith("UPDATE") and "build = $build" in sql:
            armed[0] = False
            assert successor.claim(Fence(0, 11), seen=None, anyway=True)

    lab.before = claim_now
    before = multiset(lab.view("by_month"))
    with pytest.raises(FenceLostError):
        zombie.publish(publication, at=NOON, build_id="late")
    assert not armed[0]
    assert multiset(lab.view("by_month")) == before
    zombie.close()
    successor.close()


def test_a_claim_during_a_publish_waits_for_it_or_gives_up(lab: Lab) -> None:
    worker, successor = session_of(lab), session_of(lab)
    observation, publication = looked(lab, worker)
    assert worker.claim(Fence(0, 10), seen=observation.control)
    tried: list[BaseException] = []

    def claim_now(sql: str) -> None:
        if sql == "COMMIT" and not tried:
            tried.append(StopTestError())
            try:
                successor.claim(Fence(0, 11), seen=None, anyway=True)
            except WarehouseUnavailableError as refused:
                tried.append(refused)

    lab.before = claim_now
    worker.publish(publication, at=NOON, build_id="mine")
    assert len(tried) == 2, "the claim conflicted as long as the publish was open"
    assert successor.claim(Fence(0, 11), seen=None, anyway=True)
    lab.assert_right()
    worker.close()
    successor.close()


def test_a_conflict_that_passes_is_retried(lab: Lab) -> None:
    """A writer that is at it when the claim comes, and gives way during the pause."""
    other = lab.connection.cursor()
    other.begin()
    other.execute(f'UPDATE "{lab.schema}".aggmaint_control SET touch = touch + 1')
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        other.rollback()

    warehouse = DuckDBWarehouse(connection=lab.connection, options=DuckDBOptions(pause=pause))
    session = warehouse.open(ManagedSchema("default", ORG, lab.schema))
    assert session.claim(Fence(0, 10), seen=None, anyway=True)
    assert len(pauses) == 1
    session.close()


def test_two_workers_race_an_empty_partition_and_it_is_not_doubled(lab: Lab) -> None:
    """Without guard both inserts into the empty period would commit. Both hold a plan of the same moment."""
    one, two = session_of(lab), session_of(lab)
    seen_one, publication_one = looked(lab, one)
    seen_two, publication_two = looked(lab, two)
    assert one.claim(Fence(0, 10), seen=seen_one.control)
    assert not two.claim(Fence(0, 11), seen=seen_two.control)
    with pytest.raises(FenceLostError):
        two.publish(publication_two, at=NOON, build_id="two")
    one.publish(publication_one, at=NOON, build_id="one")
    with pytest.raises(FenceLostError, match="published since"):
        one.publish(publication_one, at=NOON, build_id="one")
    one.close()
    two.close()
    lab.assert_right()


def test_two_first_builds_of_one_aggregate_do_not_both_serve() -> None:
    """The second was planned when nothing served yet; it holds the claim, but its plan is outdated."""
    lab = Lab(wanted=definitions()[:1])
    lab.seed()
    one, two = session_of(lab), session_of(lab)
    for number, session in ((1, one), (2, two)):
        session.observe(lab.wanted, sick={})
        assert session.claim(Fence(0, number), seen=None, anyway=number > 1)
        identity = f"0000000{number}-0000-4000-8000-000000000000"
        request = BuildRequest(lab.wanted[0], identity, table_name(identity, lab.wanted[0].name))
        (built,) = session.build([request], at=NOON)
        if number == 1:
            session.publish(Switch(built, None), at=NOON, build_id="one")
        else:
            with pytest.raises(FenceLostError, match="published since"):
                session.publish(Switch(built, None), at=NOON, build_id="two")
        session.close()
    lab.number = 9
    lab.run()
    lab.assert_right()


def test_a_publish_of_an_outdated_plan_is_refused_even_with_the_claim(lab: Lab) -> None:
    """The ledger is compared inside the publish: a plan made before another publish does not fit any more."""
    one, two = session_of(lab), session_of(lab)
    seen, publication = looked(lab, one)
    _, outdated = looked(lab, two)
    assert one.claim(Fence(0, 10), seen=seen.control)
    one.publish(publication, at=NOON, build_id="one")
    one.close()
    assert two.claim(Fence(0, 11), seen=None, anyway=True)
    with pytest.raises(FenceLostError, match="published since"):
        two.publish(outdated, at=NOON, build_id="two")
    two.close()
    lab.assert_right()


@pytest.mark.parametrize("round_number", range(5))
def test_two_jobs_race_in_threads_and_all_is_right(round_number: int) -> None:
    lab = Lab(wanted=definitions()[:2])
    lab.warehouse = DuckDBWarehouse(connection=lab.connection)  # with its real pauses between two tries
    lab.seed()
    start = Barrier(2)
    outcomes: list[str] = []

    def work(number: int) -> None:
        start.wait()
        lab.number = number
        context = lab.context()
        context.number = 10 + number
        try:
            lab.maintenance.run(context)
            outcomes.append("done")
        except TaskFailedError as refused:
            outcomes.append(refused.cause or "")

    threads = [Thread(target=work, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "done" in outcomes
    assert set(outcomes) <= {"done", "fence_lost", "fence_behind", "warehouse_unavailable"}
    lab.number = 50
    lab.run()
    lab.assert_right()


def run_to_confirm(lab: Lab, at: int, then: Callable[[], None]) -> None:
    """A run in whose confirmation number `at` something happens."""
    count = [0]

    def on_confirm() -> None:
        count[0] += 1
        if count[0] == at:
            then()

    lab.run(on_confirm=on_confirm)


@pytest.mark.parametrize("at", [1, 2])
def test_a_stopped_job_whose_successor_ran_publishes_nothing(lab: Lab, at: int) -> None:
    """It sleeps before its claim, or between its claim and its publish."""

    def successor() -> None:
        context = lab.context()
        context.number = 100
        assert lab.maintenance.run(context).complete

    with pytest.raises(TaskFailedError) as refused:
        run_to_confirm(lab, at, successor)
    assert refused.value.cause == {1: "fence_behind", 2: "fence_lost"}[at]
    lab.assert_right()


def test_a_predecessors_last_publish_makes_the_job_look_again(lab: Lab) -> None:
    """Observed, then something was written by an older job, then claimed: planned anew, nothing is doubled."""
    older = session_of(lab)
    observation, publication = looked(lab, older)
    assert older.claim(Fence(0, 2), seen=observation.control)
    lab.number = 5

    def wake() -> None:
        older.publish(publication, at=NOON, build_id="older")

    run_to_confirm(lab, 1, wake)
    assert not [sql for sql in lab.writes() if sql.startswith("DELETE FROM") and "as_agg" in sql][1:]
    older.close()
    lab.assert_right()


def test_the_claim_is_given_back_at_the_end(lab: Lab) -> None:
    lab.run()
    assert lab.execute(f'SELECT open, fence FROM "{lab.schema}".aggmaint_control') == [(False, lab.number)]


def test_the_guard_is_the_first_statement_of_every_writing_transaction(lab: Lab) -> None:
    lab.execute(f'DROP VIEW "{lab.schema}".sales__by_month')
    lab.run()
    inside = ""
    guarded = 0
    for sql in lab.statements:
        if sql == "BEGIN TRANSACTION":
            inside = "begun"
        elif sql == "COMMIT":
            inside = ""
        elif inside == "begun":
            inside = sql
            guarded += sql.startswith(f'UPDATE "{lab.schema}"."aggmaint_control"')
        if WRITES.match(sql) and "TEMP" not in sql and "temp." not in sql and "open = FALSE" not in sql:
            assert inside.startswith(f'UPDATE "{lab.schema}"."aggmaint_control"'), sql
    assert guarded == 3, "the claim, the refresh and the view"


def test_a_claim_that_was_given_back_is_over(lab: Lab) -> None:
    session = session_of(lab)
    observation, publication = looked(lab, session)
    assert session.claim(Fence(0, 10), seen=observation.control)
    lab.execute(f'UPDATE "{lab.schema}".aggmaint_control SET open = FALSE')
    with pytest.raises(FenceLostError, match="no longer holds"):
        session.publish(publication, at=NOON, build_id="x")
    session.close()


def test_a_session_without_claim_can_not_write(lab: Lab) -> None:
    session = session_of(lab)
    _, publication = looked(lab, session)
    with pytest.raises(FenceLostError, match="claim before you write"):
        session.publish(publication, at=NOON, build_id="x")
    session.close()
