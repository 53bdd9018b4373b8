"""Use counts: what waits in the document adds up, stays bounded, and is carried once whatever fails and repeats."""

import random
from datetime import timedelta
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from aggmaint.core.administering import decide_remove, decide_uses
from aggmaint.core.deciding import decide_finish, decide_register, decide_request
from aggmaint.core.ids import JobId, OrgId, ScheduleId
from aggmaint.core.job import ErrorInformation, FailureCode
from aggmaint.core.organization import OrgSnapshot, Request
from aggmaint.core.settings import JobSettings
from aggmaint.core.steps import Basis, Ending, Grant
from aggmaint.core.trigger import MANUAL
from aggmaint.core.use import ANY, USES_MAX, DefinitionUse, Use, add_uses, merge_told, not_carried
from aggmaint.errors import InvalidValueError
from aggmaint.testing.clocks import NOON, ManualClock

HOUR = timedelta(hours=1)


@define
class Organisation:
    """One document, changed by the real rules; `carried` is a ledger that adds what entries have grown by."""

    clock: ManualClock = field(factory=ManualClock)
    count: int = 0
    doc: OrgSnapshot = field(init=False)
    seen: dict[tuple[str, str], int] = field(factory=dict)
    carried: dict[str, int] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.doc = OrgSnapshot(OrgId("acme"))
        self.apply(decide_register(None, OrgId("acme"), ScheduleId("s"), self.basis()))

    def basis(self) -> Basis:
        self.count += 1
        return Basis(self.clock.read(), f"c{self.count}", JobSettings())

    def apply(self, decision: Any) -> Any:
        if decision.change is not None:
            self.doc = decision.change.document
        return decision.answer

    def use(self, **told: int) -> None:
        now = self.clock.wall_at
        self.apply(decide_uses(self.doc, {name: Use(count, now) for name, count in told.items()}, self.basis()))

    def start(self) -> None:
        request = Request(MANUAL, self.clock.wall_at, automatic=False)
        self.apply(decide_request(self.doc, request, self.basis(), grant=Grant(JobId(f"j{self.count}"), "h")))
        self.at_start = self.doc.uses

    def carry(self) -> None:
        """What the running job writes to its ledger; it may do so and fail then."""
        for each in self.at_start:
            key = (each.definition, each.born)
            grown = each.count - self.seen.get(key, 0)
            self.carried[each.definition] = self.carried.get(each.definition, 0) + grown
            self.seen[key] = max(each.count, self.seen.get(key, 0))

    def finish(self, *, failed: bool = False, complete: bool = True) -> None:
        assert self.doc.running is not None
        error = ErrorInformation(FailureCode.ERROR, "x") if failed else None
        self.apply(decide_finish(self.doc, self.doc.running.job.id, Ending(error, complete), self.basis()))

    at_start: tuple[DefinitionUse, ...] = ()


def waiting(org: Organisation) -> dict[str, int]:
    return {use.definition: use.count for use in org.doc.uses}


def test_uses_wait_until_a_complete_job_has_carried_them() -> None:
    org = Organisation()
    org.use(a=2, b=1)
    org.start()
    org.finish(failed=True)
    assert waiting(org) == {"a": 2, "b": 1}, "a failed job keeps them"
    org.start()
    org.finish(complete=False)
    assert waiting(org) == {"a": 2, "b": 1}, "an incomplete one too"
    org.start()
    org.finish()
    assert waiting(org) == {} and org.doc.last_use == 1


def test_what_is_used_while_a_job_runs_is_for_the_next() -> None:
    org = Organisation()
    org.use(a=2, b=1)
    org.start()
    org.use(a=5)
    org.carry()
    org.finish()
    assert [(u.definition, u.count) for u in org.doc.uses] == [("a", 7)], (
        "it stays, with what was carried of it already"
    )
    org.start()
    org.carry()
    org.finish()
    assert org.carried == {"a": 7, "b": 1} and waiting(org) == {}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.sampled_from("abc"), st.integers(0, 5)),
        st.tuples(st.just("start")),
        st.tuples(st.just("carry")),
        st.tuples(st.just("finish"), st.booleans(), st.booleans()),
    ),
    max_size=40,
)


@given(steps)
def test_every_use_is_carried_exactly_once(todo: list[tuple[Any, ...]]) -> None:
    """Whatever fails, repeats or comes in between: at the end the ledger holds what was told."""
    org = Organisation()
    told: dict[str, int] = {}
    carries = False
    for verb, *args in todo:
        running = org.doc.running is not None
        if verb == "use":
            told[args[0]] = told.get(args[0], 0) + args[1]
            org.use(**{args[0]: args[1]})
        elif verb == "start" and not running:
            org.start()
            carries = False
        elif verb == "carry" and running:
            org.carry()
            carries = True
        elif verb == "finish" and running:
            org.finish(failed=args[0], complete=args[1] and carries)
    if org.doc.running is not None:
        org.finish(failed=True)
    org.start()
    org.carry()
    org.finish()
    assert {name: count for name, count in org.carried.items() if count} == {n: c for n, c in told.items() if c}
    assert waiting(org) == {}


def test_an_instant_in_the_future_is_taken_for_now() -> None:
    kept = add_uses((), {"a": Use(1, NOON + HOUR)}, number=1, change_id="c", now=NOON)
    assert kept[0].last_at == NOON
    kept = add_uses(kept, {"a": Use(1, NOON - HOUR)}, number=2, change_id="d", now=NOON)
    assert kept == (DefinitionUse("a", "c", 2, 2, NOON),), "and an older one changes nothing but the count"


@st.composite
def many(draw: st.DrawFn) -> dict[str, Use]:
    """Uses of up to twice as many definitions as are kept."""
    chance = random.Random(draw(st.integers()))
    names = chance.sample([ANY, *(f"d{n:03}" for n in range(2 * USES_MAX))], draw(st.integers(0, 2 * USES_MAX)))
    return {name: Use(chance.randint(0, 9), NOON - chance.randint(0, 99) * HOUR) for name in names}


@given(many(), many())
def test_too_many_definitions_fold_and_none_looks_unused(first: dict[str, Use], second: dict[str, Use]) -> None:
    entries = add_uses((), first, number=1, change_id="c1", now=NOON)
    entries = add_uses(entries, second, number=2, change_id="c2", now=NOON)
    assert len(entries) <= USES_MAX and len({each.definition for each in entries}) == len(entries)
    kept = {each.definition: each for each in entries}
    for name, use in [*first.items(), *second.items()]:
        assert max(kept[n].last_at for n in (name, ANY) if n in kept) >= use.last_at
    total = sum(use.count for use in [*first.values(), *second.values()])
    assert sum(each.count for each in entries) == total
    assert tuple(sorted(entries, key=lambda each: each.definition)) == entries, "one order, so that stores agree"
    merged = merge_told(first, second)
    assert len(merged) <= USES_MAX and sum(use.count for use in merged.values()) == total
    for name, use in [*first.items(), *second.items()]:
        assert max(merged[n].last_at for n in (name, ANY) if n in merged) >= use.last_at


def test_removing_an_organisation_forgets_its_uses_and_nothing_told_writes_nothing() -> None:
    org = Organisation()
    assert decide_uses(org.doc, {}, org.basis()).change is None
    org.use(a=1)
    org.apply(decide_remove(org.doc, org.basis()))
    assert waiting(org) == {} and org.doc.last_use == 1
    assert not_carried((DefinitionUse("a", "c", 3, 1, NOON),), 3) == ()


@pytest.mark.parametrize("count", [-1, 1.5, True, None, "3"])
def test_counts_that_are_none(count: Any) -> None:
    with pytest.raises(InvalidValueError, match="use count"):
        Use(count, NOON)
