"""What a changed definition costs: the two definitions' parts are compared, and the dearest change decides.

Theory of operation
-------------------
An instance keeps the hashes of its definition's parts (`AggregateDefinition.part_hashes`), because the definition that it
was built from is not there any more when it matters. Each part that differs is of one kind, and the kinds are ordered:
whatever a change of a cheap kind needs, a change of a dearer kind does on its way. A measure whose computation changed
counts as structure: its column holds another thing, so that old and new values must never stand side by side.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from attrs import frozen


class ChangeKind(StrEnum):
    """From cheap to dear.

    same              nothing that is served changed.
    view              the table is right as it is; only the view is made again.
    measures_removed  the table has columns that nobody wants any more; the view is made again without them.
    measures_added    the rows are right, columns are missing: they can be backfilled period by period.
    dependencies      other sources make it stale; what is published may be right, but nobody knows.
    rows              other rows are read: every period is computed anew, in the same columns.
    partition         the periods are other ones: a new table.
    structure         other columns, or others in their place: a new table.
    """

    SAME = "same"
    VIEW = "view"
    MEASURES_REMOVED = "measures_removed"
    MEASURES_ADDED = "measures_added"
    DEPENDENCIES = "dependencies"
    ROWS = "rows"
    PARTITION = "partition"
    STRUCTURE = "structure"


_ORDER = tuple(ChangeKind)
_PLAIN = {
    "view": ChangeKind.VIEW,
    "dependencies": ChangeKind.DEPENDENCIES,
    "rows": ChangeKind.ROWS,
    "partition": ChangeKind.PARTITION,
}
_MEASURE = "measure:"


@frozen
class DefinitionChange:
    """How a definition differs from the one that a table was built from. `parts`: the names that differ, sorted."""

    kind: ChangeKind
    parts: tuple[str, ...] = ()
    measures_added: tuple[str, ...] = ()
    measures_removed: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The change, for people: which parts, the first five."""
        shown = ", ".join(part.replace(":", " ", 1) for part in self.parts[:5])
        return shown + (", …" if len(self.parts) > 5 else "")


def classify_change(before: Mapping[str, str], after: Mapping[str, str]) -> DefinitionChange:
    """Compare the part hashes of an old definition with a new one's. An empty `before` (unknown) is a changed structure."""
    differing = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if not differing:
        return DefinitionChange(ChangeKind.SAME)
    kinds = {_kind_of(name, before, after) for name in differing}
    return DefinitionChange(
        max(kinds, key=_ORDER.index) if before else ChangeKind.STRUCTURE,
        tuple(differing),
        tuple(_measures(name for name in differing if name not in before)),
        tuple(_measures(name for name in differing if name not in after)),
    )


def _kind_of(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> ChangeKind:
    if name in _PLAIN:
        return _PLAIN[name]
    if name.startswith(_MEASURE) and name not in before:
        return ChangeKind.MEASURES_ADDED
    if name.startswith(_MEASURE) and name not in after:
        return ChangeKind.MEASURES_REMOVED
    return ChangeKind.STRUCTURE


def _measures(names: Iterable[str]) -> Iterable[str]:
    return (name.removeprefix(_MEASURE) for name in names if name.startswith(_MEASURE))
