"""What a plan's steps publish."""

from collections.abc import Mapping

from .aggregates.decisions import BuildStep, RefreshStep, Step, ViewStep
from .aggregates.observation import PartitionContent
from .aggregates.tokens import TokenKind, token_kind
from .warehouse import Merge, PartitionWrite, Publication, Refresh, RestoreView, Staged, StageRequest


def request_of(step: RefreshStep) -> StageRequest:
    """What is to be computed aside for a refresh: periods anew, or merged with their new rows."""
    since = next((each.new.since for each in step.partitions if each.new is not None), None)
    merge = None if since is None else Merge(step.instance, step.merged, since)
    return StageRequest(step.definition, step.computed, merge=merge)


def publication_of(step: Step, staged: Mapping[str, Staged]) -> Publication:
    """What a plan's step publishes; a builds' `Switch` comes from its build."""
    if isinstance(step, BuildStep):
        raise TypeError("a build has its publication when it is built")
    if isinstance(step, RefreshStep):
        return _refresh(step, staged.get(step.definition.id))
    return RestoreView(step.definition, step.instance) if isinstance(step, ViewStep) else step


def _refresh(step: RefreshStep, staged: Staged | None) -> Refresh:
    contents = staged.contents if staged is not None else ()
    return Refresh(
        definition=step.definition,
        instance=step.instance,
        staged=staged,
        replaced=tuple(each.period for each in step.partitions if each.new is None),
        written=tuple(_write(step, each) for each in contents),
        source_tokens=step.source_tokens,
        merged=step.merged,
    )


def _write(step: RefreshStep, content: PartitionContent) -> PartitionWrite:
    """A token over the content is the content, which for merged periods is known only now. See additive.py."""
    planned = next(each for each in step.partitions if each.period == content.period)
    before = next((each for each in step.instance.partitions if each.period == content.period), None)
    token = planned.token or ""
    if token_kind(token) is TokenKind.CONTENT:
        token = content.content
    computed_at = before.last_computed_at if planned.new is not None and before is not None else None
    return PartitionWrite(content.period, content.rows, token, content.content, planned.mark, computed_at)
