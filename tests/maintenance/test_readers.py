"""Readers that loop over a view through refreshes and rebuilds see no error, nothing missing, and nothing mixed."""

from datetime import date
from decimal import Decimal
from threading import Event, Thread

import pytest
from attrs import evolve

from .support import Lab, definitions


def test_readers_see_no_gap_and_no_mixture() -> None:
    """Rows move between months all the time, their sum never changes: neither may the sum that readers see."""
    lab = Lab(wanted=definitions()[:1])
    lab.seed()
    lab.run()
    constant = sum((row.amount or Decimal(0) for row in lab.rows.values()), Decimal(0))
    stop = Event()
    wrong: list[object] = []
    reads = [0, 0]
    query = f'SELECT SUM(amount), SUM(n) FROM "{lab.schema}".sales__by_month'

    def read(index: int) -> None:
        cursor = lab.connection.cursor()
        while not stop.is_set():
            try:
                answer = cursor.execute(query).fetchall()
            except Exception as problem:
                wrong.append(problem)
                return
            if answer != [(constant, 13)]:
                wrong.append(answer)
                return
            reads[index] += 1

    readers = [Thread(target=read, args=(index,)) for index in range(2)]
    for reader in readers:
        reader.start()
    try:
        for round_number in range(12):
            row = lab.rows[round_number]
            lab.connection.begin()
            lab.connection.execute("UPDATE sales SET day = ? WHERE id = ?", [date(2025, 1 + round_number, 3), row.id])
            lab.connection.commit()
            lab.rows[row.id] = evolve(row, day=date(2025, 1 + round_number, 3))
            if round_number % 4 == 3:
                source = evolve(lab.wanted[0].source, where=f"id > -{round_number + 1}")
                lab.wanted = [evolve(lab.wanted[0], source=source)]
            assert lab.run().complete
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert min(reads) > 5
    lab.assert_right()


def test_a_base_that_changes_during_the_run_is_never_published_mixed() -> None:
    """A row moves to another month after the look and before the computation: the snapshot does not see it."""
    lab = Lab(wanted=definitions()[:1])
    lab.seed()
    lab.run()
    lab.put(evolve(lab.rows[1], amount=Decimal("11.00")))
    frozen = dict(lab.rows)
    moved = [False]

    def move(sql: str) -> None:
        if sql.startswith("CREATE TEMP TABLE") and not moved[0]:
            moved[0] = True
            lab.put(evolve(lab.rows[0], day=lab.rows[1].day))

    lab.before = move
    assert lab.run().complete
    lab.before = lambda _sql: None
    assert moved[0]
    lab.rows, now = frozen, lab.rows
    shown = lab.view("by_month")
    assert sum(row[3] for row in shown) == 13, "the moved row is neither doubled nor missing"
    lab.rows = now
    lab.run()
    lab.assert_right()


@pytest.mark.parametrize("at", ["CREATE TABLE", "SELECT GROUPING"])
def test_a_base_that_changes_during_a_build_is_seen_by_the_next_run(at: str) -> None:
    """Before the data is read, or before the tokens are: tokens are never of later than their data."""
    lab = Lab(wanted=definitions()[:1])
    lab.seed()
    changed = [False]

    def change(sql: str) -> None:
        if sql.startswith(at) and "GROUP BY" in sql and not changed[0]:
            changed[0] = True
            lab.put(evolve(lab.rows[0], amount=Decimal("99.00")))

    lab.before = change
    lab.run()
    assert changed[0]
    lab.before = lambda _sql: None
    lab.run()
    lab.assert_right()
    assert lab.run().details["steps"] == []
