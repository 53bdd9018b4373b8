"""SQL expressions of definitions over plain Python rows: a subset, evaluated as DuckDB would.

Theory of operation
-------------------
sqlglot parses the expression, and `evaluate` walks its tree. (sqlglot has an executor in Python; it knows no third truth
value and no dates, so that `NOT NULL = 1` or a month come out otherwise than in a warehouse.) NULL is None; logic has
three values. Decimals stay decimal, a float on either side makes both floats, `/` is a division of floats, and a division
by zero is NULL. A text that is compared with a date is read as one.

The subset is the keys of `_RULES`. Anything else is refused when a definition is bound, by `require_supported`, which
names it: a wrong answer in a test is worse than none.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from attrs import frozen

from ..aggregates.expressions import ExpressionError, parse
from ..aggregates.parts import Granularity
from ..aggregates.periods import start_of

if TYPE_CHECKING:
    from sqlglot import exp

DIALECT = "duckdb"

Values = Mapping[str, Mapping[str, Any]]
"""By alias, the columns of one row; aliases and columns case-folded."""


@frozen
class Scope:
    """What an expression may read: one row of each source, and the values of parameters."""

    rows: Values
    parameters: Mapping[str, Any]

    def column(self, node: "exp.Column") -> Any:
        path = [part.name.casefold() for part in node.parts]
        if len(path) == 2 and path[0] in self.rows:
            return self.rows[path[0]][path[1]]
        return next(row[path[0]] for row in self.rows.values() if path[0] in row)


def evaluate(text: str, scope: Scope, *, parameters: bool = False) -> Any:
    """The value of an expression that `require_supported` has passed. Raises ValueError, TypeError or
    ArithmeticError for values that do not fit."""
    return _value(parse(text, DIALECT, parameters=parameters), scope)


@lru_cache(maxsize=4096)
def require_supported(text: str, *, parameters: bool = False) -> None:
    """Raises ExpressionError, which names the part that is not in the subset."""
    for node in parse(text, DIALECT, parameters=parameters).walk():
        if not _is_supported(node):
            raise ExpressionError(
                f"the memory warehouse can not evaluate {node.sql(dialect=DIALECT)} ({type(node).__name__}); "
                "say it otherwise (docs/reference/memory-warehouse.md lists what it can), or test with DuckDB"
            )


def _is_supported(node: "exp.Expr") -> bool:
    from sqlglot import exp

    match node:
        case exp.DataType() | exp.Identifier() | exp.Var():
            return True
        case exp.If():
            return isinstance(node.parent, exp.Case)
        case exp.Column():
            return len(node.parts) <= 2
        case exp.In():
            return bool(node.expressions)
        case exp.Cast():
            return type(node) is exp.Cast and _cast_type(node) in _CASTS
        case exp.TimestampTrunc() | exp.DateTrunc():
            return node.text("unit").lower() in set(Granularity) and node.args.get("zone") is None
    return type(node).__name__ in _RULES


def is_true(value: Any) -> bool:
    """Whether a filter or a join condition lets a row pass."""
    if value is None or isinstance(value, bool):
        return value is True
    raise ValueError(f"{value!r} is no truth value")


def period_start(value: Any, granularity: Granularity) -> date | None:
    """The first day of the period that a date or an instant (in civil time) lies in."""
    if value is None:
        return None
    if not isinstance(value, date):
        raise TypeError(f"{value!r} is no date")
    day = value.date() if isinstance(value, datetime) else value
    return start_of(day, granularity)


# -- values --------------------------------------------------------------------------------------------------------------


def _value(node: "exp.Expr", scope: Scope) -> Any:
    return _RULES[type(node).__name__](node, scope)


def _literal(node: Any, _scope: Scope) -> Any:
    if node.is_string:
        return node.this
    return int(node.this) if node.this.isdigit() else _number(node.this)


def _number(text: str) -> Any:
    return float(text) if "e" in text.lower() else Decimal(text)


def _alike(one: Any, other: Any) -> tuple[Any, Any]:
    """Both as values that can be compared and counted with."""
    if isinstance(one, str) and isinstance(other, date):
        return _alike(_as_date(one, other), other)
    if isinstance(other, str) and isinstance(one, date):
        return _alike(one, _as_date(other, one))
    if isinstance(one, datetime) != isinstance(other, datetime) and isinstance(one, date) and isinstance(other, date):
        return _as_instant(one), _as_instant(other)
    if isinstance(one, float) and isinstance(other, Decimal | int) and not isinstance(other, bool):
        return one, float(other)
    if isinstance(other, float) and isinstance(one, Decimal | int) and not isinstance(one, bool):
        return float(one), other
    kinds = {_family(one), _family(other)}
    if len(kinds) > 1:
        raise ValueError(f"{one!r} and {other!r} are of different types")
    return one, other


def _family(value: Any) -> str:
    for kind, name in ((bool, "truth"), (int | float | Decimal, "number"), (str, "text"), (date, "date")):
        if isinstance(value, kind):
            return name
    return type(value).__name__


def _as_date(text: str, like: date) -> date:
    return datetime.fromisoformat(text) if isinstance(like, datetime) else date.fromisoformat(text[:10])


def _as_instant(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time())


def _number_of(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TypeError(f"{value!r} is no number")
    return value


def _divided(one: Any, other: Any) -> Any:
    return None if other == 0 else float(one) / float(other)


def _remainder(one: Any, other: Any) -> Any:
    """With the sign of what is divided, as SQL has it."""
    if other == 0:
        return None
    if isinstance(one, float):
        return math.fmod(one, other)
    left = abs(one) % abs(other)
    return -left if one < 0 else left


# -- rules: one per kind of node -----------------------------------------------------------------------------------------

Rule = Callable[[Any, Scope], Any]


def _binary(work: Callable[[Any, Any], Any], prepare: Callable[[Any], Any] = lambda value: value) -> Rule:
    """A rule over both sides; NULL if one of them is."""

    def rule(node: Any, scope: Scope) -> Any:
        one, other = _value(node.this, scope), _value(node.expression, scope)
        if one is None or other is None:
            return None
        return work(*_alike(prepare(one), prepare(other)))

    return rule


def _unary(work: Callable[[Any], Any]) -> Rule:
    """A rule over one value; NULL if it is."""

    def rule(node: Any, scope: Scope) -> Any:
        value = _value(node.this, scope)
        return None if value is None else work(value)

    return rule


def _and(node: Any, scope: Scope) -> Any:
    values = [_value(node.this, scope), _value(node.expression, scope)]
    if any(value is not None and not is_true(value) for value in values):
        return False
    return None if None in values else True


def _or(node: Any, scope: Scope) -> Any:
    values = [_value(node.this, scope), _value(node.expression, scope)]
    if any(value is not None and is_true(value) for value in values):
        return True
    return None if None in values else False


def _is(node: Any, scope: Scope) -> Any:
    value, other = _value(node.this, scope), _value(node.expression, scope)
    return value is None if other is None else (value is not None and is_true(value) == is_true(other))


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    first, second = _alike(one, other)
    return bool(first == second)


def _in(node: Any, scope: Scope) -> Any:
    value = _value(node.this, scope)
    listed = [_value(each, scope) for each in node.expressions]
    if value is not None and any(each is not None and _same(value, each) for each in listed):
        return True
    return None if value is None or None in listed else False


def _between(node: Any, scope: Scope) -> Any:
    value, low, high = (_value(node.args[name], scope) for name in ("this", "low", "high"))
    above = None if value is None or low is None else operator.ge(*_alike(value, low))
    below = None if value is None or high is None else operator.le(*_alike(value, high))
    if False in (above, below):
        return False
    return None if None in (above, below) else True


def _case(node: Any, scope: Scope) -> Any:
    for branch in node.args["ifs"]:
        condition = _value(branch.this, scope)
        if node.this is not None:
            subject = _value(node.this, scope)
            condition = subject is not None and condition is not None and _same(subject, condition)
        if condition is not None and is_true(condition):
            return _value(branch.args["true"], scope)
    default = node.args.get("default")
    return None if default is None else _value(default, scope)


def _coalesce(node: Any, scope: Scope) -> Any:
    for each in (node.this, *node.expressions):
        value = _value(each, scope)
        if value is not None:
            return value
    return None


def _nullif(node: Any, scope: Scope) -> Any:
    value, other = _value(node.this, scope), _value(node.expression, scope)
    return None if value is not None and other is not None and _same(value, other) else value


def _like(one: str, pattern: str) -> bool:
    parts = ["." if c == "_" else ".*" if c == "%" else re.escape(c) for c in pattern]
    return re.fullmatch("".join(parts), one, re.DOTALL) is not None


def _trunc(node: Any, scope: Scope) -> Any:
    value = _value(node.this, scope)
    return None if value is None else period_start(_instant_of(value), Granularity(node.text("unit").lower()))


def _instant_of(value: Any) -> date:
    if not isinstance(value, date):
        raise TypeError(f"{value!r} is no date")
    return value


def _cast_type(node: "exp.Cast") -> str:
    name = node.to.this
    return str(getattr(name, "value", name)) if not node.to.expressions else ""


def _cast(node: Any, scope: Scope) -> Any:
    value = _value(node.this, scope)
    return None if value is None else _CASTS[_cast_type(node)](value)


def _to_date(value: Any) -> date:
    if isinstance(value, str):
        return date.fromisoformat(value)
    return value.date() if isinstance(value, datetime) else _instant_of(value)


def _to_timestamp(value: Any) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else _as_instant(_instant_of(value))


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | date) and not isinstance(value, datetime):
        return str(value)
    raise ValueError(f"{value!r} is not written as text here; the warehouses differ in how they write it")


def _to_whole(value: Any) -> int:
    if isinstance(value, bool | int | str):
        return int(value)
    raise ValueError(f"{value!r} is not made a whole number here; the warehouses differ in how they round")


_CASTS: Mapping[str, Callable[[Any], Any]] = {
    "DATE": _to_date,
    "TIMESTAMP": _to_timestamp,
    "VARCHAR": _to_text,
    "TEXT": _to_text,
    "INT": _to_whole,
    "BIGINT": _to_whole,
    "DOUBLE": float,
}

_RULES: Mapping[str, Rule] = {
    "Literal": _literal,
    "Null": lambda _node, _scope: None,
    "Boolean": lambda node, _scope: bool(node.this),
    "Column": lambda node, scope: scope.column(node),
    "Placeholder": lambda node, scope: scope.parameters[node.name],
    "Paren": lambda node, scope: _value(node.this, scope),
    "Neg": _unary(lambda value: -_number_of(value)),
    "Add": _binary(operator.add, _number_of),
    "Sub": _binary(operator.sub, _number_of),
    "Mul": _binary(operator.mul, _number_of),
    "Div": _binary(_divided, _number_of),
    "Mod": _binary(_remainder, _number_of),
    "EQ": _binary(operator.eq),
    "NEQ": _binary(operator.ne),
    "GT": _binary(operator.gt),
    "GTE": _binary(operator.ge),
    "LT": _binary(operator.lt),
    "LTE": _binary(operator.le),
    "NullSafeEQ": lambda node, scope: _same(_value(node.this, scope), _value(node.expression, scope)),
    "NullSafeNEQ": lambda node, scope: not _same(_value(node.this, scope), _value(node.expression, scope)),
    "Is": _is,
    "Not": _unary(lambda value: not is_true(value)),
    "And": _and,
    "Or": _or,
    "In": _in,
    "Between": _between,
    "Case": _case,
    "Coalesce": _coalesce,
    "Nullif": _nullif,
    "Like": _binary(_like),
    "ILike": _binary(lambda one, pattern: _like(one.lower(), pattern.lower())),
    "Cast": _cast,
    "TimestampTrunc": _trunc,
    "DateTrunc": _trunc,
    "Year": _unary(lambda value: _instant_of(value).year),
    "Month": _unary(lambda value: _instant_of(value).month),
    "Day": _unary(lambda value: _instant_of(value).day),
    "Quarter": _unary(lambda value: (_instant_of(value).month + 2) // 3),
    "Lower": _unary(str.lower),
    "Upper": _unary(str.upper),
    "Length": _unary(len),
    "DPipe": _binary(operator.add, _to_text),
    "Abs": _unary(lambda value: abs(_number_of(value))),
}
