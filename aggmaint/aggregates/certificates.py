"""A freshness certificate: how current an aggregate is, partition by partition, with the tokens that prove it.

Theory of operation
-------------------
A certificate is made from one observation: each partition with the source's token that it was published from, its own
content token, its build, and when it was last found equal to its source (`verified_at`; null where it was not). The
digest covers everything else, so that a certificate that was kept can be told from one that was changed. Later it is
checked against a new one of the same aggregate: what was published anew, what moved, what is gone.

JSON: {"version": 1, "organization_id", "aggregate", "definition_id", "definition_hash", "schema", "view", "table",
       "instance_id", "columns": [[name, type]], "made_at", "fresh",
       "partitions": [{"key", "starts_at", "ends_at", "rows", "token", "content", "build_id", "published_at",
                       "verified_at": null | instant, "reason"}], "digest": 64 hex digits}
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from attrs import asdict, frozen

from ..errors import InvalidValueError
from .decisions import MaintenancePlan, Subject
from .model import AggregateDefinition
from .observation import Observation, PartitionRecord, active_instance
from .reasons import Reason

VERSION = 1


@frozen
class CertifiedPartition:
    """See the module's docstring; instants are ISO-8601 texts in UTC."""

    key: str
    starts_at: str | None
    ends_at: str | None
    rows: int
    token: str
    content: str
    build_id: str
    published_at: str
    verified_at: str | None
    reason: str


@frozen
class Certificate:
    """See the module's docstring."""

    organization_id: str
    aggregate: str
    definition_id: str
    definition_hash: str
    schema: str
    view: str
    table: str
    instance_id: str
    columns: tuple[tuple[str, str], ...]
    made_at: str
    partitions: tuple[CertifiedPartition, ...]

    @property
    def fresh(self) -> bool:
        """Whether every partition was found equal to its source when the certificate was made."""
        return all(each.verified_at is not None for each in self.partitions)

    @property
    def digest(self) -> str:
        text = json.dumps(self._body(), separators=(",", ":"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _body(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self), "fresh": self.fresh}

    def to_json(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(json.dumps(self._body()))
        return {**body, "digest": self.digest}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Certificate":
        """Raises InvalidValueError for what is no certificate, or one that was changed since it was made."""
        try:
            parts = {
                key: value[key] for key in value if key not in ("version", "fresh", "digest", "columns", "partitions")
            }
            certificate = cls(
                **parts,
                columns=tuple((name, kind) for name, kind in value["columns"]),
                partitions=tuple(CertifiedPartition(**each) for each in value["partitions"]),
            )
            digest = value["digest"]
        except (KeyError, TypeError, ValueError) as problem:
            raise InvalidValueError(f"this is not a certificate: {problem}") from problem
        if certificate.digest != digest:
            raise InvalidValueError("the certificate was changed since it was made: its digest does not fit")
        return certificate


def make_certificate(
    definition: AggregateDefinition, observation: Observation, plan: MaintenancePlan, now: datetime
) -> Certificate:
    """Raises InvalidValueError if the aggregate has no table in service. `plan` is made from this observation."""
    instance = active_instance(definition.id, observation.instances)
    if instance is None:
        raise InvalidValueError(f"aggregate {definition.label!r} has no table in service; there is nothing to certify")
    decisions = [each for each in plan.decisions if each.definition_id == definition.id]
    reasons = {each.partition: each.reason for each in decisions if each.subject is Subject.PARTITION}
    whole = next(each.reason for each in decisions if each.subject is Subject.DEFINITION)
    return Certificate(
        organization_id=observation.org_id,
        aggregate=definition.label,
        definition_id=definition.id,
        definition_hash=instance.definition_hash,
        schema=observation.schema,
        view=instance.view_name,
        table=instance.table_name,
        instance_id=instance.id,
        columns=tuple((each.name, each.type) for each in instance.columns),
        made_at=_instant(now) or "",
        partitions=tuple(_certified(each, reasons.get(each.period.key, whole), now) for each in instance.partitions),
    )


def _certified(record: PartitionRecord, reason: Reason, now: datetime) -> CertifiedPartition:
    return CertifiedPartition(
        key=record.period.key,
        starts_at=_instant(record.period.starts_at),
        ends_at=_instant(record.period.ends_at),
        rows=record.rows,
        token=record.token,
        content=record.content,
        build_id=record.build_id,
        published_at=_instant(record.published_at) or "",
        verified_at=_instant(now) if reason is Reason.PARTITION_FRESH else None,
        reason=reason.value,
    )


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")


class Change(StrEnum):
    """What became of a certified partition, or of the whole. `stale`: its source moved since; `same`: still current."""

    SAME = "same"
    REPUBLISHED = "republished"
    STALE = "stale"
    GONE = "gone"
    ADDED = "added"


@frozen
class CertificateCheck:
    """What an old certificate is still worth. `partitions`: (key, change) of all that either names, by key."""

    definition_changed: bool
    table_replaced: bool
    partitions: tuple[tuple[str, Change], ...]

    @property
    def holds(self) -> bool:
        """Whether all that was certified is still there, as it was, and current."""
        whole = not self.definition_changed and not self.table_replaced
        return whole and all(change is Change.SAME for _, change in self.partitions)


def check_certificate(before: Certificate, now: Certificate) -> CertificateCheck:
    """Compare a kept certificate with one that was made now. Raises InvalidValueError if they are of two aggregates."""
    if (before.organization_id, before.definition_id) != (now.organization_id, now.definition_id):
        raise InvalidValueError(
            f"the certificate is for {before.aggregate} of {before.organization_id!r}, not for {now.aggregate} of "
            f"{now.organization_id!r}"
        )
    old, new = {each.key: each for each in before.partitions}, {each.key: each for each in now.partitions}
    return CertificateCheck(
        definition_changed=before.definition_hash != now.definition_hash,
        table_replaced=before.instance_id != now.instance_id,
        partitions=tuple((key, _change(old.get(key), new.get(key))) for key in sorted({*old, *new})),
    )


def _change(old: CertifiedPartition | None, new: CertifiedPartition | None) -> Change:
    if old is None:
        return Change.ADDED
    if new is None:
        return Change.GONE
    if new.verified_at is None:
        return Change.STALE
    if (old.token, old.content) != (new.token, new.content):
        return Change.REPUBLISHED
    return Change.SAME
