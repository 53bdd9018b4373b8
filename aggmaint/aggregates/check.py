"""What can be known to be wrong with definitions before a warehouse is asked: every problem, in words, at once.

`check_definition` looks at one definition, `check_definitions` at all of one organisation. Both answer a list, empty when
all is well, and never raise: a configuration shows all problems together, a maintenance run leaves out the sick ones
and goes on. Unknown columns and types need the warehouse, and are found by the observation.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from .expressions import ExpressionError, expressions_of, parameters_in, rendered, rendered_filter
from .measures import measure_columns
from .model import RESERVED_PREFIX, VIEW_NAME_BYTES_MAX, AggregateDefinition, Problem, Source
from .nesting import period_is_free
from .sql import source_sql
from .upstream import upstream_problems, with_upstream

DEFAULT_DIALECT = "duckdb"


def check_definition(definition: AggregateDefinition, dialect: str = DEFAULT_DIALECT) -> tuple[Problem, ...]:
    """All problems of one definition that can be seen without a warehouse."""
    expression_problems = tuple(_expression_problems(definition, dialect))
    problems = [
        *_structure_problems(definition),
        *_source_problems(definition, dialect),
        *expression_problems,
    ]
    if not expression_problems:
        refused = tuple(_measure_problems(definition, dialect))
        problems.extend([*_column_name_problems(definition, dialect), *refused])
        problems.extend(() if refused else _merge_problems(definition, dialect))
    return tuple(problems)


def check_definitions(
    definitions: Sequence[AggregateDefinition], dialect: str = DEFAULT_DIALECT
) -> tuple[Problem, ...]:
    """All problems of all definitions of one organisation: each one's own, and names that are used twice."""
    resolved = with_upstream(definitions)
    own = [problem for each in resolved for problem in check_definition(each, dialect)]
    return (*own, *problems_between(resolved))


def problems_between(definitions: Sequence[AggregateDefinition]) -> tuple[Problem, ...]:
    """What can only be seen of an organisation's definitions together: names used twice, what they read of each other."""
    return (*duplicates(definitions), *upstream_problems(definitions))


def duplicates(definitions: Sequence[AggregateDefinition]) -> tuple[Problem, ...]:
    """A problem for each definition whose id or view name another one has too, compared case-folded."""
    views = Counter(each.view_name.casefold() for each in definitions)
    ids = Counter(each.id for each in definitions)
    problems = []
    for each in definitions:
        if views[each.view_name.casefold()] > 1:
            problems.append(
                Problem(each.label, "name", each.name, "two aggregates of one cube have this name; rename one")
            )
        elif ids[each.id] > 1:
            problems.append(Problem(each.label, "id", each.id, "two aggregates have this id; give one another id"))
    return tuple(problems)


def _structure_problems(definition: AggregateDefinition) -> Iterator[Problem]:
    label = definition.label
    if not definition.measures:
        yield Problem(label, "measures", "", "give at least one measure, such as a count")
    if len(definition.view_name.encode("utf-8")) > VIEW_NAME_BYTES_MAX:
        yield Problem(
            label,
            "name",
            definition.view_name,
            f"cube and name together have over {VIEW_NAME_BYTES_MAX} bytes; shorten",
        )
    aliases = Counter(source.alias.casefold() for source in definition.sources)
    for alias, count in aliases.items():
        if count > 1:
            yield Problem(label, "alias", alias, "two sources have this alias; give one of them another alias")


def _source_problems(definition: AggregateDefinition, dialect: str) -> Iterator[Problem]:
    for source in (*definition.sources, *definition.dependencies):
        if source.aggregate is not None and source.view is None:
            continue  # no such aggregate: told by upstream_problems
        try:
            source_sql(source, dialect)
        except ExpressionError as problem:
            yield Problem(definition.label, f"source {source.alias!r}", source.label, str(problem))
            continue
        yield from _parameter_problems(definition, source, dialect)


def _parameter_problems(definition: AggregateDefinition, source: Source, dialect: str) -> Iterator[Problem]:
    if source.where is None:
        return
    try:
        names = parameters_in(source.where, dialect)
    except ExpressionError:
        return  # told with the expressions
    for name in names:
        if name not in definition.bound:
            yield Problem(
                definition.label, f"source {source.alias!r} where", source.where, f"give parameters a value for :{name}"
            )


def _expression_problems(definition: AggregateDefinition, dialect: str) -> Iterator[Problem]:
    for each in expressions_of(definition):
        try:
            (rendered if each.alias is None else rendered_filter)(each.text, dialect)
        except ExpressionError as problem:
            yield Problem(definition.label, each.key, each.text, str(problem))


def _column_name_problems(definition: AggregateDefinition, dialect: str) -> Iterator[Problem]:
    names: list[tuple[str, str]] = [("attribute", each.name) for each in definition.attributes]
    for measure in definition.measures:
        names.extend(("measure", name) for name in dict.fromkeys((measure.name, *measure.columns)))
    partition = definition.partition
    if partition is not None and not partition.merge and period_is_free(definition, dialect):
        names.append(("partition name", partition.name))
    yield from _name_problems(definition.label, names)


def _measure_problems(definition: AggregateDefinition, dialect: str) -> Iterator[Problem]:
    """Measures that the dialect can not make."""
    for measure in definition.measures:
        try:
            measure_columns(measure, dialect)
        except ExpressionError as problem:
            yield Problem(definition.label, f"measure {measure.name!r}", measure.function.value, str(problem))


def _merge_problems(definition: AggregateDefinition, dialect: str) -> Iterator[Problem]:
    """Measures that a view can not merge over periods, where it would have to."""
    if definition.partition is None or not definition.partition.merge or not period_is_free(definition, dialect):
        return
    for measure in definition.measures:
        if any(column.merge_sql is None for column in measure_columns(measure, dialect)):
            yield Problem(
                definition.label,
                f"measure {measure.name!r}",
                measure.function.value,
                "it does not merge over periods: the same value may be in two of them; use approx_count_distinct, show "
                "the period (merge = false), or leave the partition out",
            )


def _name_problems(label: str, names: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for kind, name in names:
        folded = name.casefold()
        if folded.startswith(RESERVED_PREFIX):
            yield Problem(label, kind, name, f"names that begin with {RESERVED_PREFIX} are reserved; choose another")
        elif folded in seen:
            yield Problem(label, kind, name, f"there is a column of this name already ({seen[folded]}); choose another")
        seen.setdefault(folded, kind)
