"""Where an aggregate's rows come from: sources and joins, and the checks that all parts of the model share."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from attrs import Attribute as AttrsAttribute
from attrs import field, frozen

from ..errors import InvalidDefinitionError


def require_text(instance: Any, attribute: "AttrsAttribute[Any]", value: Any) -> None:
    """attrs validator: a non-empty string without NUL or lone surrogates."""
    what = f"{type(instance).__name__}.{attribute.name}"
    if not isinstance(value, str) or not value.strip():
        raise InvalidDefinitionError(f"{what}={value!r}: give a text that is not empty")
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidDefinitionError(f"{what}={value!r} holds NUL or a lone surrogate; use plain Unicode text")


def require_text_or_none(instance: Any, attribute: "AttrsAttribute[Any]", value: Any) -> None:
    if value is not None:
        require_text(instance, attribute, value)


E = TypeVar("E", bound=StrEnum)


def one_of(kind: type[E], value: E | str, what: str) -> E:
    """`value` as a member of `kind`; names the allowed words otherwise."""
    try:
        return kind(value)
    except ValueError:
        words = ", ".join(member.value for member in kind)
        raise InvalidDefinitionError(f"{what}={value!r} is not one of: {words}") from None


FILE_FORMATS: Mapping[str, str] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".tsv.gz": "csv",
}
"""How a file source is read, by how its name ends."""


@frozen(kw_only=True)
class Source:
    """Rows to read: a table or view of the warehouse, or Parquet or CSV files.

    table   `lineitem`, `sales.lineitem` or `"My Schema"."T"`, as the warehouse writes it.
    file    a path or a glob: `/data/lineitem-*.parquet`. Give exactly one of table and file. The format follows from
            the name (see FILE_FORMATS); relative paths are relative to the process, so give absolute ones.
    alias   the name by which expressions say `alias.column`. Default: the last part of the table's name, or the file's
            name up to the first character that is no letter, digit or underscore. Two uses of one source need two aliases.
    where   a row filter over the source's own columns, with parameters: `tenant_id = :org`. `:org` is the organisation's
            id; others come from the definition's `parameters`. Parameters are bound, never pasted.
    """

    table: str | None = field(default=None, validator=require_text_or_none)
    file: str | None = field(default=None, validator=require_text_or_none)
    alias: str = field(default="")
    where: str | None = field(default=None, validator=require_text_or_none)

    def __attrs_post_init__(self) -> None:
        if (self.table is None) == (self.file is None):
            raise InvalidDefinitionError(
                f"source with table={self.table!r} and file={self.file!r}: give exactly one of the two"
            )
        if self.file is not None and self.file_format is None:
            endings = ", ".join(FILE_FORMATS)
            raise InvalidDefinitionError(f"file={self.file!r} ends in none of {endings}; name a Parquet or CSV file")
        if not self.alias:
            object.__setattr__(self, "alias", self._default_alias())

    @property
    def file_format(self) -> str | None:
        """`parquet` or `csv`; None for a table."""
        name = (self.file or "").lower()
        return next((form for ending, form in FILE_FORMATS.items() if name.endswith(ending)), None)

    @property
    def label(self) -> str:
        """The table or the path, for people."""
        return self.table or self.file or ""

    def _default_alias(self) -> str:
        if self.table is not None:
            return self.table.rsplit(".", 1)[-1].strip().strip('"')
        stem = re.split(r"[\\/]", self.file or "")[-1]
        match = re.match(r"\w+", stem)
        return match.group().rstrip("_") if match else "source"


class JoinKind(StrEnum):
    INNER = "inner"
    LEFT = "left"


def _join_kind(value: JoinKind | str) -> JoinKind:
    return one_of(JoinKind, value, "join kind")


@frozen(kw_only=True)
class Join:
    """One more source, joined to those before it: `on` is an SQL condition such as `orders.o_orderkey = l_orderkey`."""

    source: Source
    on: str = field(validator=require_text)
    kind: JoinKind = field(default=JoinKind.INNER, converter=_join_kind)
