"""One aggregate: each of its partitions, why those that are not fresh are not, how it grew, and what computes it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from attrs import frozen

from ....core.job import MaintenanceJob
from .. import links
from ..charts import BuildChart, build_chart
from ..facts import AggregateFacts, InstanceFacts
from ..heatmap import HeatMap, heat_map
from ..points import BuildPoint, build_points
from ..reading import AggregateData
from ..sqltext import Token, tokens
from ..states import Freshness, PartitionState, State, freshness, meaning, partition_states


@frozen
class Group:
    """Partitions that are not fresh for one and the same reason."""

    state: State
    reason: str
    why: str
    meaning: str
    keys: tuple[tuple[str, str], ...]
    more: int


@frozen
class AggregatePage:
    org_id: str
    org_link: str
    now: datetime
    facts: AggregateFacts
    freshness: Freshness
    segments: tuple[tuple[State, int], ...]
    observed_at: datetime | None
    job_link: str
    meaning: str
    map: HeatMap
    links: Mapping[str, str]
    chosen: PartitionState | None
    asked: str
    groups: tuple[Group, ...]
    points: tuple[BuildPoint, ...]
    point_links: Mapping[str, str]
    chart: BuildChart | None
    sql: tuple[Token, ...]
    instances: tuple[InstanceFacts, ...]
    may_manage: bool
    running: MaintenanceJob | None


KEYS_MAX = 24


def aggregate_page(
    data: AggregateData, definition_id: str, *, partition: str, may_manage: bool
) -> AggregatePage | None:
    """None when the newest inventory knows no such aggregate."""
    facts = data.found.inventory.find(definition_id) if data.found else None
    if facts is None or data.found is None:
        return None
    org_id, found = data.document.org_id, data.found
    states = partition_states(facts, found.report, data.document.marks)
    standing = freshness(facts, states)
    instances = tuple(each for each in found.inventory.instances if each.definition_id == facts.id)
    points = build_points(facts.id, data.past, instances)
    here: Mapping[str, links.Value] = {"org": org_id, "id": facts.id}
    running = data.document.running
    return AggregatePage(
        org_id=org_id,
        org_link=links.to("organization", org=org_id),
        now=data.now,
        facts=facts,
        freshness=standing,
        segments=tuple((state, standing.counts[state]) for state in reversed(State) if standing.counts.get(state)),
        observed_at=found.inventory.observed_at,
        job_link=links.to("job", org=org_id, job=found.inventory.job_id),
        meaning=meaning(facts.reason),
        map=heat_map(states, facts.granularity),
        links={each.key: links.change("aggregate", here, partition=each.key) + "#partition" for each in states},
        chosen=next((each for each in states if each.key == partition), None),
        asked=partition,
        groups=_groups(states, here),
        points=points,
        point_links={each.job_id: links.to("job", org=org_id, job=each.job_id) for each in points},
        chart=build_chart(points),
        sql=tokens(facts.sql) if facts.sql else (),
        instances=instances,
        may_manage=may_manage,
        running=running.job if running else None,
    )


def _groups(states: Sequence[PartitionState], here: Mapping[str, links.Value]) -> tuple[Group, ...]:
    """What is not fresh, the worst first; partitions of one reason and one finding together."""
    grouped: dict[tuple[State, str, str, str], list[str]] = {}
    for each in states:
        if each.state is not State.FRESH:
            grouped.setdefault((each.state, each.reason, each.why, each.meaning), []).append(each.key)
    order = list(State)
    return tuple(
        Group(
            state=state,
            reason=reason,
            why=why,
            meaning=general,
            keys=tuple((key, links.change("aggregate", here, partition=key) + "#partition") for key in keys[:KEYS_MAX]),
            more=max(0, len(keys) - KEYS_MAX),
        )
        for (state, reason, why, general), keys in sorted(grouped.items(), key=lambda each: order.index(each[0][0]))
    )
