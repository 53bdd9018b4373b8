"""What a plan's steps publish."""

from collections.abc import Mapping

from .aggregates.decisions import BuildStep, RefreshStep, Step, ViewStep
from .aggregates.periods import Period
from .warehouse import PartitionWrite, Publication, Refresh, RestoreView, Staged


def wanted_periods(step: RefreshStep) -> list[Period]:
    """The periods that are to be computed: those that the sources have rows of."""
    return [each.period for each in step.partitions if each.token is not None]


def publication_of(step: Step, staged: Mapping[str, Staged]) -> Publication:
    """What a plan's step publishes; a builds' `Switch` comes from its build."""
    if isinstance(step, BuildStep):
        raise TypeError("a build has its publication when it is built")
    if isinstance(step, RefreshStep):
        return _refresh(step, staged.get(step.definition.id))
    return RestoreView(step.definition, step.instance) if isinstance(step, ViewStep) else step


def _refresh(step: RefreshStep, staged: Staged | None) -> Refresh:
    tokens = {each.period: each.token for each in step.partitions if each.token is not None}
    contents = staged.contents if staged is not None else ()
    return Refresh(
        definition=step.definition,
        instance=step.instance,
        staged=staged,
        replaced=tuple(each.period for each in step.partitions),
        written=tuple(PartitionWrite(each.period, each.rows, tokens[each.period], each.content) for each in contents),
        source_tokens=step.source_tokens,
    )
