"""Comparing an aggregate in memory with a recomputation of its sources: what `aggregates/differences.py` is to SQL."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..aggregates.model import AggregateDefinition
from ..aggregates.nesting import period_is_free
from ..aggregates.sql import PERIOD_COLUMN
from ..warehouse import Cells, CompareRequest, Difference, DifferenceKind, RowDifference
from ._memory_compute import Computation, Row, Tables, physical_columns
from ._memory_evaluate import DIALECT
from ._memory_schema import SchemaState


def compared(definition: AggregateDefinition, what: CompareRequest, state: SchemaState, tables: Tables) -> Difference:
    """See the port's `compare`."""
    active = state.active(definition.id)
    if not active:
        return Difference(definition.id, definition.label, 0, 0, 0, 0, 0, "it has no table in service; run its job")
    view = state.thing(definition.view_name)
    name = active[0].table_name if what.periods is not None else (view.over if view is not None else None)
    table = None if name is None else state.thing(name)
    if table is None or table.columns != physical_columns(definition):
        words = "its view or table is gone or has other columns; run its job"
        return Difference(definition.id, definition.label, 0, 0, 0, 0, 0, words)
    computation = Computation(definition, tables)

    def wanted(row: Row) -> bool:
        return what.periods is None or (computation.period(row) in what.periods) != what.others

    expected = [row for rows in computation.grouped().values() for row in rows if wanted(row)]
    return _difference(definition, what, expected, [row for row in table.rows if wanted(row)])


def _difference(
    definition: AggregateDefinition, what: CompareRequest, expected: Sequence[Row], found: Sequence[Row]
) -> Difference:
    width = len(definition.attributes) + (definition.partition is not None)
    must = {row[:width]: row[width:] for row in expected}
    seen = Counter(row[:width] for row in found)
    missing = [key for key in must if key not in seen]
    extra = [row for row in found if row[:width] not in must]
    repeated = sum(times - 1 for key, times in seen.items() if key in must)
    wrong = [row for row in found if row[:width] in must and must[row[:width]] != row[width:]]
    samples: list[RowDifference] = []
    most = what.samples_max
    spell = _Spelling(definition)
    samples += [spell.row(DifferenceKind.EXTRA, row[:width], None, row[width:]) for row in extra][:most]
    samples += [spell.row(DifferenceKind.MISSING, key, must[key], None) for key in missing][:most]
    samples += [spell.row(DifferenceKind.WRONG, row[:width], must[row[:width]], row[width:]) for row in wrong][:most]
    return Difference(
        definition.id,
        definition.label,
        len(expected),
        len(found),
        len(missing),
        len(extra) + repeated,
        len(wrong),
        samples=tuple(samples),
    )


class _Spelling:
    """Rows as the cells of a difference."""

    def __init__(self, definition: AggregateDefinition) -> None:
        partition = definition.partition
        period = partition.name if partition and period_is_free(definition, DIALECT) else None
        names = [each.name for each in physical_columns(definition)]
        width = len(definition.attributes) + (partition is not None)
        self._keys = [period if name == PERIOD_COLUMN else name for name in names[:width]]
        self._measures = names[width:]

    def row(self, kind: DifferenceKind, key: Row, expected: Row | None, found: Row | None) -> RowDifference:
        cells = [(name, _text(value)) for name, value in zip(self._keys, key, strict=True) if name is not None]
        return RowDifference(kind, tuple(cells), self._cells(expected), self._cells(found))

    def _cells(self, values: Row | None) -> Cells | None:
        return None if values is None else tuple(zip(self._measures, map(_text, values), strict=True))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
