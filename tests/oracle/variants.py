"""How a kind may be changed by its owner: other rows, other measures, other columns, another view, other partitions."""

from collections.abc import Callable, Mapping

from attrs import evolve

from aggmaint.aggregates.model import Attribute, PartitionBy

from .kinds import KINDS
from .model import Kind, month, shop, total, year


def narrowed(kind: Kind) -> Kind:
    """The same aggregate over some of the rows: the columns stay, the contents do not."""
    source = kind.definition.source
    where = "id % 2 = 0" if source.where is None else f"({source.where}) AND id % 2 = 0"
    definition = evolve(kind.definition, source=evolve(source, where=where))
    return evolve(kind, definition=definition, passes=lambda row: kind.passes(row) and row.id % 2 == 0)


def shortened(kind: Kind) -> Kind:
    """The same aggregate without its first measure (it has more): the columns change, the others can be copied."""
    first = kind.definition.measures[0].name
    definition = evolve(kind.definition, measures=kind.definition.measures[1:])
    return evolve(kind, definition=definition, measures=_without(kind, first))


def _without(kind: Kind, measure: str) -> dict[str, Callable[..., object]]:
    return {name: each for name, each in kind.measures.items() if name.partition("__")[0] != measure}


def turned(kind: Kind) -> Kind:
    """The measures in another order: only the view changes."""
    measures = kind.definition.measures[::-1]
    shown = {each.name: kind.measures[each.name] for each in measures}
    parts = {name: each for each in measures for name in kind.measures if name.startswith(f"{each.name}__")}
    definition = evolve(kind.definition, measures=measures)
    return evolve(kind, definition=definition, measures={**shown, **{name: kind.measures[name] for name in parts}})


def renamed_period(kind: Kind) -> Kind:
    """The period has another name in the view."""
    partition = kind.definition.partition
    assert partition is not None and kind.period_shown
    return evolve(kind, definition=evolve(kind.definition, partition=evolve(partition, name="part")))


def by_year(kind: Kind) -> Kind:
    """Partitioned otherwise, by year."""
    partition = kind.definition.partition
    assert partition is not None
    definition = evolve(kind.definition, partition=evolve(partition, granularity="year", name="year"))
    return evolve(kind, definition=definition, period=year)


def by_month(kind: Kind) -> Kind:
    """Partitioned by months that the view merges: only for measures that merge."""
    definition = evolve(kind.definition, partition=PartitionBy("day", "month", merge=True))
    return evolve(kind, definition=definition, period=month, merged=True, period_shown=False)


def recomputed(kind: Kind) -> Kind:
    """A measure is computed otherwise under its old name: the structure changes though no name does."""
    measures = [evolve(each, expression="-qty") if each.name == "qty" else each for each in kind.definition.measures]
    negative = {"qty": total(lambda row: None if row.qty is None else -row.qty)}
    return evolve(kind, definition=evolve(kind.definition, measures=measures), measures={**kind.measures, **negative})


def with_shop(kind: Kind) -> Kind:
    """One more attribute."""
    attributes = [*kind.definition.attributes, Attribute("shop")]
    return evolve(kind, definition=evolve(kind.definition, attributes=attributes), keys=(*kind.keys, shop))


Change = Callable[[Kind], Kind]

_MEASURES: tuple[Change, ...] = (shortened, turned)

CHANGES: Mapping[str, tuple[Change, ...]] = {
    "by_month": (narrowed, turned),  # others read its measures
    "totals": (narrowed, *_MEASURES),
    "by_day": (narrowed, *_MEASURES, renamed_period),
    "by_week": (narrowed, recomputed, by_year, with_shop),
    "by_shop": (narrowed, renamed_period),
    "by_region": (narrowed, *_MEASURES),
    "weights": (narrowed,),
    "by_place": (narrowed, *_MEASURES, renamed_period),
    "each_shop": (narrowed, *_MEASURES),
    "merged": (narrowed, *_MEASURES, by_year),
    "grand": (narrowed, *_MEASURES, with_shop),
    "latest": (narrowed, *_MEASURES, by_year, by_month),
    "events_by_month": (narrowed, *_MEASURES, by_year, lambda kind: narrowed(turned(kind))),
    "accounts_by_month": (narrowed, *_MEASURES, by_year, renamed_period),
    "all_events": (narrowed, *_MEASURES),
    "all_accounts": (narrowed, *_MEASURES),
    "events_by_region": (narrowed, *_MEASURES),
    "grown_months": (narrowed, *_MEASURES, by_year),
    "grown_merged": (narrowed, *_MEASURES, by_year),
    "grown_whole": (narrowed, *_MEASURES),
    "grown_totals": (narrowed, *_MEASURES),
    "grown_regions": (narrowed, *_MEASURES),
    "over_months": (turned,),
    "over_years": _MEASURES,
}
assert set(CHANGES) == set(KINDS), "every kind has its changes"


def variants(name: str) -> list[Kind]:
    """What the definition of this name may become: itself, and each of its changes."""
    return [KINDS[name], *(change(KINDS[name]) for change in CHANGES[name])]
