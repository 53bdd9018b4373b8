"""Observing for the maintenance: what can be asked of the warehouse, and what is known to be wrong without asking."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import evolve

from .aggregates.check import check_definition, problems_between
from .aggregates.looking import Hints, SourceMark, verified_of
from .aggregates.model import AggregateDefinition
from .aggregates.observation import DefinitionFacts, Failure, FailureKind, Observation
from .aggregates.policy import Policy
from .task import ChangeMark
from .warehouse import WarehouseSession


def sound_and_sick(
    definitions: Sequence[AggregateDefinition], dialect: str
) -> tuple[list[AggregateDefinition], dict[str, str]]:
    """Definitions that a warehouse may be asked about (unblocked ones), and by id what is wrong with the others."""
    sick: dict[str, str] = {}
    by_label = {problem.aggregate: str(problem) for problem in problems_between(definitions)}
    for each in definitions:
        problems = check_definition(each, dialect)
        if problems:
            sick[each.id] = str(problems[0])
        elif each.label in by_label:
            sick[each.id] = by_label[each.label]
    sound = [each for each in definitions if each.id not in sick and not each.blocked]
    return sound, sick


def observe_with_problems(
    session: WarehouseSession,
    definitions: Sequence[AggregateDefinition],
    dialect: str,
    only: Collection[str] | None = None,
    **more: Any,
) -> Observation:
    """An observation whose facts include what `sound_and_sick` found. `only`: of the definitions with these ids."""
    sound, sick = sound_and_sick(definitions, dialect)
    sound = [each for each in sound if only is None or each.id in only]
    observation = session.observe(sound, **{"sick": {}, **more})
    invalid = {key: DefinitionFacts(failure=Failure(FailureKind.DEFINITION, words)) for key, words in sick.items()}
    return evolve(observation, definitions={**observation.definitions, **invalid})


def stopped_by_gate(observation: Observation, ids: Collection[str]) -> Observation:
    """The observation, in which what did not pass the gate says so."""
    facts = {
        key: evolve(each, failure=evolve(each.failure, kind=FailureKind.GATE)) if key in ids and each.failure else each
        for key, each in observation.definitions.items()
    }
    return evolve(observation, definitions=facts)


def hints_of(
    policy: Policy, now: datetime, marks: Sequence[ChangeMark], last_inventory: Mapping[str, Any] | None
) -> Hints:
    """What is known before a run looks, in the words of the aggregate half."""
    return Hints(
        now=now,
        marks=tuple(SourceMark.of(each) for each in marks),
        verified_at=verified_of(last_inventory),
        audit_days=policy.audit_days,
        compared_rows_max=policy.compared_rows_max,
    )
