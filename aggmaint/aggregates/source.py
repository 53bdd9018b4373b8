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


def _require_flag(instance: Any, attribute: "AttrsAttribute[Any]", value: Any) -> None:
    if not isinstance(value, bool):
        what = f"{type(instance).__name__}.{attribute.name}"
        raise InvalidDefinitionError(f"{what}={value!r} must be true or false")


FILE_FORMATS: Mapping[str, str] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".tsv.gz": "csv",
}
"""How a file source is read, by how its name ends."""


class Deletes(StrEnum):
    """What becomes of deleted rows of a source with `updated_at`: there are none, or they are flagged and so updated."""

    NONE = "none"
    SOFT = "soft"


def _deletes(value: Deletes | str | None) -> Deletes | None:
    return None if value is None else one_of(Deletes, value, "deletes")


@frozen(kw_only=True)
class Source:
    """Rows to read: a table or view of the warehouse, Parquet or CSV files, or another aggregate.

    table   `lineitem`, `sales.lineitem` or `"My Schema"."T"`, as the warehouse writes it.
    file    a path or a glob: `/data/lineitem-*.parquet`. Give exactly one of table, file and aggregate. The format follows
            from the name (see FILE_FORMATS); relative paths are relative to the process, so give absolute ones.
    aggregate  `cube.name` of an aggregate of the same organisation; its view is read. See upstream.py.
    alias   the name by which expressions say `alias.column`. Default: the last part of the table's or aggregate's name, or
            the file's name up to the first character that is no letter, digit or underscore. Two uses of one source need
            two aliases.
    where   a row filter over the source's own columns, with parameters: `tenant_id = :org`. `:org` is the organisation's
            id; others come from the definition's `parameters`. Parameters are bound, never pasted.

    What the host promises of the source makes looking for changes cheap (`declared.py` says what is then looked at). Where
    it is only depended on it is hashed all the same: no audit of periods could find such a promise false.

    append_only  a column that grows: rows are only ever added, with greater values than all that were there before. Rows
                 are never changed nor deleted.
    updated_at   a column that is set anew, to a greater value, whenever a row is inserted or changed. Needs `deletes`.
    deletes      with `updated_at`: "none" (rows never vanish), or "soft" (a deleted row stays, and is updated).
    marks_commit_in_order  with `append_only`: no row is committed whose value is less than one that was committed before, so
                 that what is beyond the greatest known value is all that is new. Then new rows may be merged into what is
                 published (`additive.py`). Not true of a sequence or a clock that several writers draw from at once.
    """

    table: str | None = field(default=None, validator=require_text_or_none)
    file: str | None = field(default=None, validator=require_text_or_none)
    alias: str = field(default="")
    where: str | None = field(default=None, validator=require_text_or_none)
    append_only: str | None = field(default=None, validator=require_text_or_none)
    updated_at: str | None = field(default=None, validator=require_text_or_none)
    deletes: Deletes | None = field(default=None, converter=_deletes)
    aggregate: str | None = field(default=None, validator=require_text_or_none)
    marks_commit_in_order: bool = field(default=False, validator=_require_flag)
    view: tuple[str, str] | None = None
    """(schema, name) of the aggregate's view; filled in by `upstream.with_upstream`, not for hand."""

    def __attrs_post_init__(self) -> None:
        self._check_declarations()
        if sum(each is not None for each in (self.table, self.file, self.aggregate)) != 1:
            raise InvalidDefinitionError(
                f"source with table={self.table!r}, file={self.file!r}, aggregate={self.aggregate!r}: give exactly one"
            )
        if self.file is not None and self.file_format is None:
            endings = ", ".join(FILE_FORMATS)
            raise InvalidDefinitionError(f"file={self.file!r} ends in none of {endings}; name a Parquet or CSV file")
        if not self.alias:
            object.__setattr__(self, "alias", self._default_alias())

    def _check_declarations(self) -> None:
        what = f"source {self.label!r}"
        if self.aggregate is not None and self.declared is not None:
            raise InvalidDefinitionError(
                f"{what} is an aggregate and declares {self.declared!r}: its rows are replaced; declare nothing"
            )
        if self.append_only is not None and self.updated_at is not None:
            raise InvalidDefinitionError(
                f"{what} declares append_only={self.append_only!r} and updated_at={self.updated_at!r}: give one of the two; "
                "where rows are changed it is updated_at"
            )
        if self.updated_at is not None and self.deletes is None:
            raise InvalidDefinitionError(
                f'{what} declares updated_at={self.updated_at!r} without deletes: write deletes = "none" if rows never '
                'vanish, "soft" if a deleted row is flagged and updated; if rows are deleted, declare nothing'
            )
        if self.updated_at is None and self.deletes is not None:
            raise InvalidDefinitionError(
                f"{what} declares deletes={self.deletes.value!r} without updated_at; leave it out"
            )
        if self.marks_commit_in_order and self.append_only is None:
            remedy = (
                f"with updated_at={self.updated_at!r} rows are changed, and can not be told from new ones; leave it out"
                if self.updated_at is not None
                else "name the column that grows by append_only, or leave it out"
            )
            raise InvalidDefinitionError(f"{what} declares marks_commit_in_order=True without append_only: {remedy}")

    @property
    def declared(self) -> str | None:
        """The column whose growth tells of changes; None if nothing is declared."""
        return self.append_only or self.updated_at

    @property
    def file_format(self) -> str | None:
        """`parquet` or `csv`; None for a table."""
        name = (self.file or "").lower()
        return next((form for ending, form in FILE_FORMATS.items() if name.endswith(ending)), None)

    @property
    def label(self) -> str:
        """The table, the path or the aggregate, for people."""
        return self.table or self.file or self.aggregate or ""

    def _default_alias(self) -> str:
        if self.file is None:
            return self.label.rsplit(".", 1)[-1].strip().strip('"')
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
