"""What a job brings to the planner besides definitions: uses that wait to be carried, and definitions to bring back."""

from collections.abc import Sequence

from .aggregates.life import Told, UseEntry, names_of
from .aggregates.model import AggregateDefinition
from .errors import TaskFailedError
from .task import TaskContext

ACTIVATE = "activate"
"""A task option: a list of aggregates (id, name or `cube.name`) that were deactivated and are to come back."""


def told_by(context: TaskContext, definitions: Sequence[AggregateDefinition]) -> Told:
    """Raises TaskFailedError (`unknown_aggregate`) where the option names an aggregate that there is not."""
    asked = context.options.get(ACTIVATE, ())
    names = {name for each in definitions for name in names_of(each)}
    unknown = [name for name in asked if name not in names] if isinstance(asked, list | tuple) else [asked]
    if unknown:
        raise TaskFailedError(
            f"the task option {ACTIVATE} names {unknown[0]!r}, which is no aggregate of {context.org_id!r}; give a list of "
            "names, cube.name or ids",
            cause="unknown_aggregate",
        )
    uses = tuple(UseEntry(each.definition, each.born, each.count, each.last_at) for each in context.uses)
    return Told(uses, frozenset(asked))
