"""Large builds in pieces: they go on where they stopped, keep only what is still true, and switch to one state."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from aggmaint.aggregates.decisions import Subject
from aggmaint.aggregates.policy import Policy
from aggmaint.errors import JobCancelledError

from .support import ORG, Lab, Sale, actions, definitions, reasons

DAYS = 9


class DiedError(Exception):
    """The process died at a statement."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = new_lab()
    yield made
    made.connection.close()


def new_lab() -> Lab:
    """One aggregate with 9 months and rows without a date, built two partitions at a time: five pieces."""
    made = Lab(wanted=definitions()[:1], policy=Policy(build_partitions_per_publish=2))
    sales = [Sale(n, date(2024, 1 + n % DAYS, 1 + n), "north", Decimal(n), n % 5, 0.5) for n in range(2 * DAYS)]
    made.put(*sales, Sale(99, None, "south", Decimal(7), 1, 1.5))
    return made


def is_right(lab: Lab) -> bool:
    return all(each.equal for each in lab.maintenance.verify(ORG))


def inserts(lab: Lab) -> list[str]:
    """The pieces that were computed in the last run."""
    return [sql for sql in lab.writes() if sql.startswith("INSERT") and "GROUP BY" in sql]


def recorded(lab: Lab) -> int:
    return int(lab.execute(f'SELECT COUNT(*) FROM "{lab.schema}".aggmaint_partition')[0][0])


def stop_after(lab: Lab, pieces: int, act: Callable[[], None]) -> Callable[[str], None]:
    seen: list[str] = []

    def before(sql: str) -> None:
        if sql.startswith("INSERT") and "GROUP BY" in sql:
            seen.append(sql)
            if len(seen) > pieces:
                act()

    return before


def die() -> None:
    raise DiedError


def test_a_large_aggregate_is_built_in_pieces_and_is_right(lab: Lab) -> None:
    report = lab.run()
    assert report.complete and actions(report) == [("build", "by_month")]
    assert len(inserts(lab)) == 5 and recorded(lab) == DAYS + 1
    lab.assert_right()
    assert report.details["steps"][0]["rows"] == len(lab.view("by_month"))
    assert lab.run().details["steps"] == []


@pytest.mark.parametrize("per_publish", [0, DAYS + 1])
def test_a_small_one_and_one_that_is_not_to_be_cut_is_one_statement(lab: Lab, per_publish: int) -> None:
    lab.policy = Policy(build_partitions_per_publish=per_publish)
    assert lab.run().complete and inserts(lab) == []
    lab.assert_right()


def test_what_was_built_before_a_crash_is_not_built_again(lab: Lab) -> None:
    lab.before = stop_after(lab, 3, die)
    with pytest.raises(DiedError):
        lab.run()
    lab.before = lambda _sql: None
    assert recorded(lab) == 6 and ("sales__by_month", "VIEW") not in lab.objects(), "nothing is half in service"
    report = lab.run()
    assert report.complete and reasons(report, Subject.INSTANCE) == {"by_month": "instance_resumed"}
    assert len(inserts(lab)) == 2, "the other two pieces only"
    lab.assert_right()
    assert len([name for name, _ in lab.objects() if name.startswith("as_agg")]) == 1
    assert lab.run().details["steps"] == []


def test_a_cancelled_build_goes_on_in_the_next_job(lab: Lab) -> None:
    pieces: list[int] = []

    def cancel() -> None:
        pieces.append(1)
        if len(pieces) == 5:  # the claim, the batch, two pieces
            raise JobCancelledError

    with pytest.raises(JobCancelledError):
        lab.run(on_confirm=cancel)
    assert recorded(lab) == 4
    assert lab.run().complete and len(inserts(lab)) == 3
    lab.assert_right()


def test_pieces_whose_source_moved_are_built_again_and_only_those(lab: Lab) -> None:
    lab.before = stop_after(lab, 3, die)
    with pytest.raises(DiedError):
        lab.run()
    lab.before = lambda _sql: None
    changed = lab.rows[0]  # of 2024-01, which is built
    lab.put(evolve(changed, amount=Decimal(1000)))
    lab.remove(1, 1 + DAYS)  # all of 2024-02, which is built
    lab.put(Sale(200, date(1999, 5, 5), "north", Decimal(1), 1, 1.0))  # a month that nobody saw
    report = lab.run()
    assert report.complete
    assert "4 partitions" not in report.summary and len(inserts(lab)) == 3, "five months are missing: three pieces"
    lab.assert_right()
    assert lab.run().details["steps"] == []


def test_a_source_that_moves_between_two_pieces_is_seen(lab: Lab) -> None:
    """At the switch everything is of one state: what moved while the build went on is built again in it."""
    moved: list[int] = []

    def move(_step: str, detail: str) -> None:
        if "8 of 10" in detail and not moved:
            moved.append(1)
            first = lab.rows[0]
            lab.put(evolve(first, amount=Decimal(1000)))

    lab.run(on_progress=move)
    assert moved and len(inserts(lab)) == 6, "one piece more"
    lab.assert_right()


def test_damaged_pieces_are_built_again(lab: Lab) -> None:
    lab.before = stop_after(lab, 3, die)
    with pytest.raises(DiedError):
        lab.run()
    lab.before = lambda _sql: None
    table = next(name for name, _ in lab.objects() if name.startswith("as_agg"))
    lab.execute(f'UPDATE "{lab.schema}"."{table}" SET amount = 0 WHERE "month" = DATE \'2024-01-01\'')
    assert lab.run().complete and is_right(lab)
    lab.assert_right()


def test_a_changed_definition_begins_anew_and_drops_what_there_was(lab: Lab) -> None:
    lab.before = stop_after(lab, 2, die)
    with pytest.raises(DiedError):
        lab.run()
    lab.before = lambda _sql: None
    lab.wanted = [evolve(lab.wanted[0], measures=lab.wanted[0].measures[:1])]
    report = lab.run()
    assert reasons(report, Subject.INSTANCE) == {"by_month": "instance_abandoned"}
    assert len(inserts(lab)) == 5 and is_right(lab)
    assert len([name for name, _ in lab.objects() if name.startswith("as_agg")]) == 1


def test_a_zombie_that_goes_on_with_its_pieces_is_fenced_off(lab: Lab) -> None:
    """A second job resumes the build while the first one stands still before a piece."""
    done: list[Any] = []

    def stand_still() -> None:
        done.append(1)
        if len(done) == 4:
            lab.before = lambda _sql: None
            done.append(lab.maintenance.run(lab.context()))

    with pytest.raises(Exception, match=r"fence|holds|claim"):
        lab.run(on_confirm=stand_still)
    assert done[-1].complete
    lab.assert_right()
    assert lab.run().details["steps"] == []


def test_every_crash_of_a_build_in_pieces_is_gone_on_from() -> None:
    """Dies before the n-th statement, for every n; the next run ends right, with one table and no more work."""
    died = 0
    while True:
        lab = new_lab()
        left = [died + 1]

        def before(_sql: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise DiedError

        lab.before = before
        try:
            lab.run()
            break
        except DiedError:
            died += 1
        lab.before = lambda _sql: None
        assert lab.run().complete, died
        lab.assert_right()
        lab.clock[0] += timedelta(days=1)
        lab.run()
        assert len([name for name, _ in lab.objects() if name.startswith("as_agg")]) == 1, died
        assert lab.run().details["steps"] == [], died
        lab.connection.close()
    assert died > 60, "every statement of the run was one to die at"


def test_large_rebuilds_beside_keep_the_old_one_in_service(lab: Lab) -> None:
    lab.policy = Policy()
    lab.run()
    before = sorted(map(repr, lab.view("by_month")))
    lab.policy = Policy(build_partitions_per_publish=2)
    lab.execute("ALTER TABLE sales ALTER amount TYPE DECIMAL(18, 4)")
    lab.before = stop_after(lab, 3, die)
    with pytest.raises(DiedError):
        lab.run()
    lab.before = lambda _sql: None
    assert sorted(map(repr, lab.view("by_month"))) == before
    assert lab.run().complete and len(inserts(lab)) == 2
    lab.assert_right()


def test_a_budget_stops_between_pieces_and_the_next_runs_go_on(lab: Lab) -> None:
    lab.policy = Policy(build_partitions_per_publish=2, run_partitions_max=4)
    first = lab.run()
    assert (
        not first.complete
        and first.progressed
        and recorded(lab) == 4
        and ("sales__by_month", "VIEW") not in lab.objects()
    )
    assert reasons(first) == {"by_month": "definition_over_budget"}
    second = lab.run()
    assert not second.complete and recorded(lab) == 8
    assert "goes on where it stopped, with 4 partitions" in next(
        each["words"] for each in second.details["decisions"] if each["subject"] == "definition"
    )
    assert lab.run().complete
    lab.assert_right()
    assert lab.run().details["steps"] == []


def test_a_rebuild_in_pieces_does_not_wait_for_those_that_are_small(lab: Lab) -> None:
    """In one batch the small ones are switched at once; the large one is cut after them."""
    lab.wanted = definitions()
    lab.set_region("north", "cold")
    report = lab.run()
    assert report.complete and [name for _, name in actions(report)][-1] == "by_month"
    lab.assert_right()
