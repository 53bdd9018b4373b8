"""SQL expressions of definitions: parsed once, checked, and asked which columns they read.

Theory of operation
-------------------
An expression is a text of a person. It is parsed (sqlglot) and written out again from the tree; the text itself never
reaches a warehouse, so a `;` or a comment in it can not become a statement. What is written is an expression of one
source row: no subquery (it would read rows that no token covers), no aggregate or window function (they belong to
measures), nothing that answers differently tomorrow (a token can not see time pass). Parameters are allowed in row
filters only.

Column names are resolved against the sources' columns as the warehouse names them, without regard to case. This is what
finds unknown and ambiguous names, with the expression they are in, and what tells a fingerprint which columns count.
"""

import difflib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from attrs import frozen

from ..errors import MissingExtraError
from .model import AggregateDefinition
from .remembered import remembered

if TYPE_CHECKING:
    from sqlglot import exp

UNSTABLE_FUNCTIONS = frozenset(
    {
        *("now", "today", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"),
        *("get_current_time", "get_current_timestamp", "transaction_timestamp", "statement_timestamp"),
        *("clock_timestamp", "random", "rand", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "setseed"),
        *("nextval", "currval", "txid_current", "pg_backend_pid", "current_user", "session_user"),
    }
)
"""Functions whose answer depends on when, where or how often they are asked."""


class ExpressionError(Exception):
    """The text is not an expression that we can use; the message is a remedy."""


@frozen
class Expression:
    """One expression of a definition: its key (`measures.revenue.filter`), its text, and whether parameters may be in it."""

    key: str
    text: str
    alias: str | None = None
    """The one source it may read; None: all sources of the definition."""


def expressions_of(definition: AggregateDefinition) -> Iterator[Expression]:
    """Every expression of the definition, with its key."""
    for source in definition.sources:
        if source.where is not None:
            yield Expression(f"source {source.alias!r} where", source.where, source.alias)
    for join in definition.joins:
        yield Expression(f"join {join.source.alias!r} on", join.on)
    for attribute in definition.attributes:
        yield Expression(f"attribute {attribute.name!r}", attribute.expression)
    for measure in definition.measures:
        if measure.expression is not None:
            yield Expression(f"measure {measure.name!r}", measure.expression)
        if measure.filter is not None:
            yield Expression(f"measure {measure.name!r} filter", measure.filter)
        if measure.order is not None:
            yield Expression(f"measure {measure.name!r} order", measure.order)
    if definition.partition is not None:
        yield Expression("partition", partition_expression(definition))


def partition_expression(definition: AggregateDefinition) -> str:
    """The SQL of the partition: where it names an attribute, that attribute's."""
    if definition.partition is None:
        return ""
    wanted = definition.partition.expression.strip().strip('"').casefold()
    for attribute in definition.attributes:
        if attribute.name.casefold() == wanted:
            return attribute.expression
    return definition.partition.expression


@lru_cache(maxsize=4096)
def parse(text: str, dialect: str, *, parameters: bool = False) -> "exp.Expr":
    """The tree of one expression; do not change it. Raises ExpressionError with a remedy. See the module's docstring."""
    try:
        import sqlglot
        from sqlglot import errors, exp
    except ImportError as missing:
        raise MissingExtraError("sqlglot", "duckdb") from missing
    try:
        trees = [tree for tree in sqlglot.parse(text, read=str(dialect)) if tree is not None]
    except (errors.ParseError, errors.TokenError) as problem:
        raise ExpressionError(f"this is not valid SQL ({_first_words(problem)}); correct it") from problem
    if len(trees) != 1 or not isinstance(trees[0], exp.Condition):
        raise ExpressionError("write one SQL expression: no statement, no alias, no list")
    tree = trees[0]
    _refuse(tree, parameters)
    return tree


def rendered(text: str, dialect: str) -> str:
    """An expression as it is written to the warehouse. Raises ExpressionError."""
    return _rendered(text, "", dialect)


def rendered_filter(text: str, dialect: str) -> str:
    """A row filter, in which parameters are allowed, as it is written to the warehouse. Raises ExpressionError."""
    return _rendered(text, "parameters", dialect)


@remembered
def _rendered(text: str, parameters: str, dialect: str) -> str:
    return write(parse(text, dialect, parameters=bool(parameters)), dialect)


@remembered
def rendered_bare(text: str, alias: str, dialect: str) -> str:
    """An expression with `alias.column` written as `column`. Raises ExpressionError."""
    from sqlglot import exp

    def bare(node: "exp.Expr") -> "exp.Expr":
        if isinstance(node, exp.Column) and len(node.parts) > 1 and node.parts[0].name.casefold() == alias.casefold():
            rest = [part.copy() for part in node.parts[1:]]
            return exp.Dot.build([exp.Column(this=rest[0]), *rest[1:]]) if len(rest) > 1 else exp.Column(this=rest[0])
        return node

    return write(parse(text, dialect).transform(bare), dialect)


def write(tree: "exp.Expr", dialect: str) -> str:
    """The SQL of a tree, all names quoted: what is a reserved word differs between versions of an engine."""
    return tree.sql(dialect=str(dialect), comments=False, identify=True)


def _first_words(problem: Exception) -> str:
    details = getattr(problem, "errors", None)
    if details:
        first = details[0]
        return f"{first.get('description', '').rstrip('.')} at column {first.get('col')}"
    return str(problem).splitlines()[0]


def _refuse(tree: "exp.Expr", parameters: bool) -> None:
    from sqlglot import exp

    for node in tree.walk():
        match node:
            case exp.Query() | exp.Exists():
                raise ExpressionError("a subquery reads rows whose changes would go unnoticed; join the table instead")
            case exp.AggFunc() | exp.Window():
                raise ExpressionError("an aggregate or window function is not allowed here; use a measure's function")
            case exp.Star() | exp.Columns():
                raise ExpressionError("name the columns; a star is not an expression")
            case exp.Placeholder() | exp.Parameter() if not parameters or not node.name or not node.name.isidentifier():
                raise ExpressionError("parameters such as :org are allowed in a source's where only, and have a name")
            case exp.Func() if _function_name(node) in UNSTABLE_FUNCTIONS:
                raise ExpressionError(
                    f"{_function_name(node)}() answers differently each time, which no fingerprint can see; "
                    "use a column or a parameter"
                )


def _function_name(node: "exp.Func") -> str:
    from sqlglot import exp

    return (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).lower()


def parameters_in(text: str, dialect: str) -> tuple[str, ...]:
    """The names of the parameters of a row filter, sorted."""
    return tuple(_parameters_in(text, dialect))


@remembered
def _parameters_in(text: str, dialect: str) -> list[str]:
    from sqlglot import exp

    tree = parse(text, dialect, parameters=True)
    return sorted({node.name for node in tree.find_all(exp.Placeholder)})


def column_paths(text: str, dialect: str) -> tuple[tuple[str, ...], ...]:
    """The dotted names that an expression reads, part by part, as written."""
    return tuple(tuple(path) for path in _column_paths(text, dialect))


@remembered
def _column_paths(text: str, dialect: str) -> list[list[str]]:
    from sqlglot import exp

    tree = parse(text, dialect, parameters=True)
    return [list(path) for path in sorted({tuple(p.name for p in node.parts) for node in tree.find_all(exp.Column)})]


@frozen
class Unresolved:
    """A name that is no column, or more than one: where, which, and what to do."""

    key: str
    text: str
    remedy: str


@frozen
class ColumnsRead:
    """Which columns of each source a definition reads (by alias, sorted), and the names that could not be resolved."""

    by_alias: Mapping[str, tuple[str, ...]]
    unresolved: tuple[Unresolved, ...]


def columns_read(definition: AggregateDefinition, columns: Mapping[str, tuple[str, ...]], dialect: str) -> ColumnsRead:
    """Resolve every name of the definition against `columns`, the sources' columns by alias."""
    found: dict[str, set[str]] = {source.alias: set() for source in definition.sources}
    unresolved: list[Unresolved] = []
    for each in expressions_of(definition):
        scope = columns if each.alias is None else {each.alias: columns[each.alias]}
        for path in column_paths(each.text, dialect):
            answer = _resolve(path, scope)
            if isinstance(answer, str):
                unresolved.append(Unresolved(each.key, each.text, answer))
            else:
                found[answer[0]].add(answer[1])
    return ColumnsRead({alias: tuple(sorted(names)) for alias, names in found.items()}, tuple(unresolved))


def _resolve(path: tuple[str, ...], scope: Mapping[str, tuple[str, ...]]) -> tuple[str, str] | str:
    """(alias, column) that the dotted name means, or a remedy. `x.y` is column y of source x, else field y of column x."""
    if len(path) > 1:
        for alias, names in scope.items():
            if alias.casefold() == path[0].casefold():
                return _one_column(path[1], {alias: names})
    return _one_column(path[0], scope)


def _one_column(name: str, scope: Mapping[str, tuple[str, ...]]) -> tuple[str, str] | str:
    hits = [(alias, each) for alias, names in scope.items() for each in names if each.casefold() == name.casefold()]
    if len(hits) == 1:
        return hits[0]
    if hits:
        where = " or ".join(f"{alias}.{each}" for alias, each in hits)
        return f"column {name!r} is ambiguous; write {where}"
    known = [each for names in scope.values() for each in names]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(known[:20])}"
    return f"there is no column {name!r} in {' or '.join(scope)}; {hint}"
