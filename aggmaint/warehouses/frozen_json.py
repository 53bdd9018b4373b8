"""Frozen values of the ledger as JSON and back, for adapters that keep them as text: instances, records, control rows."""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from inspect import isclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from attrs import fields, has

T = TypeVar("T")


def dumps(value: Any) -> str:
    """A frozen value as JSON."""
    return json.dumps(_plain(value), ensure_ascii=True, separators=(",", ":"))


def loads(kind: type[T], text: str) -> T:
    """The value of this type that `dumps` wrote. Fields that an older version did not have get their default."""
    value: T = _read(kind, json.loads(text))
    return value


def _plain(value: Any) -> Any:
    if has(type(value)):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(type(value))}
    if isinstance(value, datetime):
        return value.isoformat()
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _read(kind: Any, data: Any) -> Any:
    if data is None or kind is Any:
        return data
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if parts[-1] is Ellipsis:
            return tuple(_read(parts[0], each) for each in data)
        return tuple(_read(part, each) for part, each in zip(parts, data, strict=True))
    if isclass(kind) and has(kind):
        return kind(**{name: _read(part, data[name]) for name, part in _hints(kind).items() if name in data})
    if kind is datetime:
        return datetime.fromisoformat(data)
    return kind(data) if isclass(kind) and issubclass(kind, Enum) else data


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind)}
