"""Names in the warehouse, and the tag that proves whose an object is.

Theory of operation
-------------------
Each organisation has a schema of its own. Its name carries 16 hex digits of the hash of the organisation's id, because
warehouses fold case ("Acme" and "acme" must not share one), and a readable slug. Within it:

* `as_agg_<8 hex>_<up to 14 characters>` is a physical table: the first eight digits of the *instance* id and the
  beginning of the aggregate's name (published rule). A name alone proves nothing: anybody can write one.
* `<cube>__<name>` is the view that queries read.
* `aggmaint_*` are the ledger's tables.

Every table and view that we make carries a *tag* as its comment: installation, definition and instance, and a line for
people. We drop an object only if the ledger names it, its name fits, and its tag says the same.
"""

import hashlib
import json
import re
from uuid import UUID

from attrs import frozen

__all__ = [
    "LEDGER_TABLES",
    "TABLE_NAME_PATTERN",
    "Tag",
    "format_tag",
    "is_table_of",
    "parse_tag",
    "schema_name",
    "table_name",
]

LEDGER_TABLES = (
    "aggmaint_control",
    "aggmaint_instance",
    "aggmaint_partition",
    "aggmaint_source",
    "aggmaint_definition",
)
"""The tables of the ledger, in each managed schema."""

SCHEMA_PREFIX = "agg_"
"""How the names of all managed schemas begin."""

TABLE_NAME_PATTERN = re.compile(r"as_agg_([0-9a-f]{8})_(.{1,14})", re.DOTALL)
_TAG_PREFIX = "aggmaint:"


def schema_name(org_id: str) -> str:
    """The organisation's schema: `agg_<16 hex of sha256(org_id)>_<ASCII slug of at most 20>`."""
    digest = hashlib.sha256(org_id.encode("utf-8")).hexdigest()[:16]
    slug = re.sub(r"[^a-z0-9]+", "_", org_id.lower()).strip("_")[:20].strip("_")
    return f"{SCHEMA_PREFIX}{digest}_{slug or 'org'}"


def table_name(instance_id: str, aggregate_name: str) -> str:
    """The physical table of an instance: `as_agg_<8 hex of its id>_<up to 14 characters of the aggregate's name>`."""
    short = re.sub(r"\W+", "_", aggregate_name.lower()).strip("_")[:14].strip("_")
    return f"as_agg_{UUID(instance_id).hex[:8]}_{short or 'aggregate'}"


def is_table_of(name: str, instance_id: str) -> bool:
    """Whether a table has the name of this instance's. A tag can be copied to another table; no name is there twice.

    Not by the aggregate's name: that may have changed since. `instance_id` may be any text, as a tag has it.
    """
    match = TABLE_NAME_PATTERN.fullmatch(name)
    return match is not None and match[1] == instance_id.replace("-", "")[:8]


@frozen
class Tag:
    """Whose an object is: written as its comment."""

    installation: str
    definition_id: str
    instance_id: str


def format_tag(tag: Tag, words: str) -> str:
    """The comment of an object: the tag for machines, then a line for people."""
    body = {"installation": tag.installation, "definition": tag.definition_id, "instance": tag.instance_id}
    return f"{_TAG_PREFIX}{json.dumps(body, separators=(',', ':'))}\n{words}"


def parse_tag(comment: str | None) -> Tag | None:
    """The tag that a comment begins with; None if it holds none."""
    if comment is None or not comment.startswith(_TAG_PREFIX):
        return None
    try:
        body = json.loads(comment[len(_TAG_PREFIX) :].split("\n", 1)[0])
        return Tag(str(body["installation"]), str(body["definition"]), str(body["instance"]))
    except (ValueError, KeyError, TypeError):
        return None
