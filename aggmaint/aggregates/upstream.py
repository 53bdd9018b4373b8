"""Aggregates that read other aggregates: which read which, in what order they are done, and what holds one back.

Theory of operation
-------------------
A source may name another aggregate of the organisation (`Source.aggregate`, "cube.name"). What is read is its *view*: the
stable name, whose rows stay the same when a new table takes the place of the old one. So the one that reads it
(*downstream*) needs no rules of its own for staleness: the view is a source like any other, and its token is that of its
rows as they are. Who reads whom must not go round in a circle.

**One run suffices, whatever the depth.** A plan is of one snapshot, and in this snapshot the view of an aggregate that is
about to be written is old, damaged or not there at all. Nothing is computed from it then: its downstream waits
(UPSTREAM_FIRST) until the steps of the plan are done, is looked at again, in a snapshot of its own, planned and done. Each
round of this does all whose upstream is current, so there are at most as many rounds as the longest chain is long. An
aggregate is *current* if the plan found nothing to do that changes what its view shows, or if that was done in this run.

**Nothing wrong is passed on.** If upstream can not be used (blocked, deactivated, invalid, its sources gone, its step
failed), its downstream is left as it is, and says so (UPSTREAM_UNAVAILABLE): it stays what it was, a right answer of an
earlier state. If upstream was left to a later run (a budget, a job that was asked for something else), downstream waits.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum

from attrs import evolve

from .decisions import (
    Action,
    AdoptStep,
    BuildStep,
    Decision,
    MaintenancePlan,
    RedefineStep,
    RefreshStep,
    Step,
    Subject,
    ViewStep,
)
from .model import AggregateDefinition, Problem, Source
from .naming import schema_name
from .reasons import Reason


def with_upstream(definitions: Iterable[AggregateDefinition]) -> tuple[AggregateDefinition, ...]:
    """The definitions, in whose sources the views of the aggregates that they name are filled in, where there is one."""
    listed = tuple(definitions)
    by_label = _by_label(listed)

    def resolved(source: Source) -> Source:
        named = by_label.get((source.aggregate or "").casefold(), ())
        if source.aggregate is None or len(named) != 1:
            return source
        return evolve(source, view=(schema_name(named[0].organization_id), named[0].view_name))

    return tuple(
        evolve(
            each,
            source=resolved(each.source),
            joins=tuple(evolve(join, source=resolved(join.source)) for join in each.joins),
            dependencies=tuple(resolved(source) for source in each.dependencies),
        )
        if _named(each)
        else each
        for each in listed
    )


def upstream_of(
    definitions: Sequence[AggregateDefinition],
) -> dict[str, tuple[AggregateDefinition, ...]]:
    """By definition id, the aggregates that it reads, as far as they are known; only of those that read any."""
    by_label = _by_label(definitions)
    return {
        each.id: tuple(found for name in _named(each) for found in by_label.get(name.casefold(), ())[:1])
        for each in definitions
        if _named(each)
    }


def _named(definition: AggregateDefinition) -> list[str]:
    sources = (*definition.sources, *definition.dependencies)
    return list(dict.fromkeys(each.aggregate for each in sources if each.aggregate is not None))


def _by_label(definitions: Iterable[AggregateDefinition]) -> dict[str, list[AggregateDefinition]]:
    found: dict[str, list[AggregateDefinition]] = {}
    for each in definitions:
        found.setdefault(each.label.casefold(), []).append(each)
    return found


# -- what is wrong with them -------------------------------------------------------------------------------------------


def upstream_problems(definitions: Sequence[AggregateDefinition]) -> tuple[Problem, ...]:
    """A problem for each name that is no aggregate's, or several ones', and for each aggregate that reads itself."""
    by_label, upstream = _by_label(definitions), upstream_of(definitions)
    problems = []
    for each in definitions:
        for name in _named(each):
            found = len(by_label.get(name.casefold(), ()))
            if found != 1:
                problems.append(
                    Problem(
                        each.label,
                        "source aggregate",
                        name,
                        _remedy(name, found, [d.label for d in definitions if d is not each]),
                    )
                )
        path = _way_back(each, upstream)
        if path is not None:
            words = f"aggregates read each other in a circle: {' -> '.join(path)}; let one of them read a table"
            problems.append(Problem(each.label, "source aggregate", path[1], words))
    return tuple(problems)


def _remedy(name: str, found: int, known: Sequence[str]) -> str:
    if found:
        return f"{found} aggregates are called so; give one of them another name"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the others are {', '.join(known[:10]) or 'none'}"
    return f"there is no such aggregate; {hint}"


def _way_back(start: AggregateDefinition, upstream: Mapping[str, tuple[AggregateDefinition, ...]]) -> list[str] | None:
    """The shortest way from an aggregate through what it reads back to itself, as labels; None if there is none."""
    ways = [[start]]
    seen: set[str] = set()
    for way in ways:
        for each in upstream.get(way[-1].id, ()):
            if each.id == start.id:
                return [step.label for step in (*way, start)]
            if each.id not in seen:
                seen.add(each.id)
                ways.append([*way, each])
    return None


# -- what holds one back -----------------------------------------------------------------------------------------------


class Standing(StrEnum):
    """How an aggregate stands for those that read it. Ordered: the last one that occurs among several decides."""

    CURRENT = "current"
    WAITS = "waits"
    UNAVAILABLE = "unavailable"


_Computing = BuildStep | RefreshStep | RedefineStep | ViewStep | AdoptStep
"""The steps that change what a view shows."""

_CURRENT = frozenset({Reason.DEFINITION_FRESH, Reason.DEFINITION_UNAFFECTED})


def hold_back(
    plan: MaintenancePlan,
    definitions: Sequence[AggregateDefinition],
    *,
    done: Collection[str] = (),
    failed: Collection[str] = (),
) -> MaintenancePlan:
    """The plan, in which no aggregate is computed from one that is not current: it waits, or is refused.

    done, failed  the ids of definitions whose steps came to their end in this run. Of a plan that was applied, only those
                  that wait are judged again.
    """
    upstream = upstream_of(definitions)
    applied = bool(done or failed)
    for each in _downstream_last(definitions, upstream):
        decision = _decision_of(plan, each.id)
        if decision is None or (applied and decision.reason is not Reason.UPSTREAM_FIRST):
            continue
        standings = {read: _standing(read, plan, done, failed) for read in upstream[each.id]}
        worst = max(standings.values(), key=list(Standing).index, default=Standing.CURRENT)
        if not _stays(decision, worst):
            labels = ", ".join(sorted(read.label for read, standing in standings.items() if standing is worst))
            plan = _replaced(plan, decision, worst, labels)
    return plan


def waiting(
    plan: MaintenancePlan, definitions: Sequence[AggregateDefinition], done: Collection[str]
) -> tuple[AggregateDefinition, ...]:
    """Those that wait, and all of whose upstream is current now: they can be looked at again."""
    upstream = upstream_of(definitions)
    return tuple(
        each
        for each in definitions
        if each.id in upstream
        and (decision := _decision_of(plan, each.id)) is not None
        and decision.reason is Reason.UPSTREAM_FIRST
        and all(_standing(read, plan, done, ()) is Standing.CURRENT for read in upstream[each.id])
    )


_PARTLY = frozenset({Reason.DEFINITION_MIXED})
"""Refreshed, but not to its end: old and new partitions side by side are no state of the base."""


def outcome(plan: MaintenancePlan, results: Iterable[tuple[Step, str | None]]) -> tuple[frozenset[str], frozenset[str]]:
    """(done, failed): definition ids by the (step, error) of what was tried. Done is what the plan left nothing of."""
    tried = [(step.definition.id, error) for step, error in results if isinstance(step, _Computing)]
    failed = frozenset(key for key, error in tried if error is not None)
    left = {each.definition_id for each in plan.decisions if each.action is Action.DEFER or each.reason in _PARTLY}
    return frozenset(key for key, _ in tried) - failed - left, failed


def with_follow_up(plan: MaintenancePlan, later: MaintenancePlan) -> MaintenancePlan:
    """One plan of two, for the report: what the later one decided of definitions takes the place of their waiting."""
    again = {each.definition_id for each in later.decisions if each.subject is Subject.DEFINITION}
    kept = tuple(each for each in plan.decisions if each.definition_id not in again or each.subject is Subject.INSTANCE)
    return evolve(
        plan,
        decisions=(*kept, *later.decisions),
        steps=(*plan.steps, *later.steps),
        left_out=plan.left_out + later.left_out,
    )


def still_waiting(plan: MaintenancePlan) -> MaintenancePlan:
    """The plan at the end of a run: what waits now is left to a later one."""
    left = sum(each.reason is Reason.UPSTREAM_FIRST for each in plan.decisions)
    return evolve(plan, left_out=plan.left_out + left)


def _downstream_last(
    definitions: Sequence[AggregateDefinition], upstream: Mapping[str, tuple[AggregateDefinition, ...]]
) -> list[AggregateDefinition]:
    """Those that read others, each after all that it reads. Members of a circle come in any order."""
    ordered: dict[str, AggregateDefinition] = {}
    open_ids: set[str] = set()

    def visit(each: AggregateDefinition) -> None:
        if each.id in ordered or each.id in open_ids:
            return
        open_ids.add(each.id)
        for read in upstream.get(each.id, ()):
            visit(read)
        ordered[each.id] = each

    for each in definitions:
        visit(each)
    return [each for each in ordered.values() if each.id in upstream]


def _decision_of(plan: MaintenancePlan, definition_id: str) -> Decision | None:
    return next(
        (each for each in plan.decisions if each.subject is Subject.DEFINITION and each.definition_id == definition_id),
        None,
    )


_NEARER = frozenset({Reason.DEFINITION_INVALID, Reason.VIEW_NAME_TAKEN})
"""Troubles of its own, which are told rather than those of what it reads."""


def _stays(decision: Decision, standing: Standing) -> bool:
    """True if the plan's own decision about a definition is the one to tell, whatever it reads."""
    if decision.action in {Action.NONE, Action.RETIRE} and decision.reason not in _CURRENT:
        return True  # blocked or deactivated
    return standing is Standing.CURRENT or (standing is Standing.UNAVAILABLE and decision.reason in _NEARER)


def _standing(
    read: AggregateDefinition, plan: MaintenancePlan, done: Collection[str], failed: Collection[str]
) -> Standing:
    decision = _decision_of(plan, read.id)
    if decision is None or read.id in failed:
        return Standing.UNAVAILABLE
    if read.id in done:
        return Standing.CURRENT
    if decision.reason in _CURRENT:
        writes = any(_changes_view(step, read.id) for step in plan.steps)
        return Standing.WAITS if writes else Standing.CURRENT
    if decision.action in {Action.NONE, Action.REFUSE, Action.RETIRE}:
        return Standing.UNAVAILABLE
    return Standing.WAITS


def _changes_view(step: Step, definition_id: str) -> bool:
    if not _computes(step, definition_id):
        return False
    return not isinstance(step, RefreshStep) or bool(step.partitions)


def _computes(step: Step, definition_id: str) -> bool:
    return isinstance(step, _Computing) and step.definition.id == definition_id


def _replaced(plan: MaintenancePlan, decision: Decision, standing: Standing, labels: str) -> MaintenancePlan:
    """The plan without what was to be done about a definition, and its reason instead."""
    if standing is Standing.WAITS:
        reason, action, words = Reason.UPSTREAM_FIRST, Action.DEFER, f"it reads {labels}, brought up to date first"
    else:
        words = f"it reads {labels}, which can not be used now"
        reason, action = Reason.UPSTREAM_UNAVAILABLE, Action.REFUSE
    definition_id = decision.definition_id or ""
    instead = evolve(decision, reason=reason, action=action, words=words)
    decisions = (
        instead if each is decision else each
        for each in plan.decisions
        if each is decision
        or each.definition_id != definition_id
        or each.subject not in {Subject.PARTITION, Subject.VIEW}
    )
    steps = tuple(step for step in plan.steps if not _computes(step, definition_id))
    return evolve(plan, decisions=tuple(decisions), steps=steps)
