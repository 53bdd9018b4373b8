"""The books of a managed schema as values: what a claim, the guard and every publication make of the ledger.

For adapters that can read and write a ledger as a whole (the memory warehouse, the one of the how-to): they bring a
transaction, a place for the books, and `Hands` for what is done to tables and views; the rules are here.

Theory of operation
-------------------
`Books` hold the control row, the instances and the records of definitions, all frozen values. A transaction reads them (or
copies them) after it has locked the control row, lets `claim`, `guard` or `release` judge, writes a publication through a
`Bookkeeper`, and stores what is left, or nothing. So every check that the port wants is made on what the transaction itself
saw: that the claim still stands, that the ledger is as the plan saw it, and that an object is ours, by its tag as it is
now, before it is replaced or dropped.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

from attrs import define, evolve, field

from ..aggregates.decisions import AdoptStep, DisownStep, DropStep, ForgetStep, RecordStep, RedefineStep, RetireStep
from ..aggregates.life import DefinitionRecord
from ..aggregates.model import INSTANCE_PREDECESSORS, AggregateDefinition, InstanceStatus
from ..aggregates.naming import Tag
from ..aggregates.observation import ControlState, InstanceRecord, ObjectKind, PartitionRecord, SchemaObject
from ..aggregates.reasons import Reason
from ..core.job import Fence
from ..errors import FenceLostError, ForeignSchemaError, WarehouseQueryError
from ..warehouse import (
    BuildRequest,
    Failed,
    Failures,
    ManagedSchema,
    PartitionWrite,
    Publication,
    Refresh,
    RestoreView,
    Switch,
    fence_behind,
)
from .intents import intent_of
from .proving import Proof


@define
class Books:
    """The ledger of one schema: the control row (None: there is none yet), instances and records by id."""

    control: ControlState | None = None
    instances: dict[str, InstanceRecord] = field(factory=dict)
    records: dict[str, DefinitionRecord] = field(factory=dict)

    def active(self, definition_id: str) -> list[InstanceRecord]:
        found = (each for each in self.instances.values() if each.definition_id == definition_id)
        return [each for each in found if each.status is InstanceStatus.ACTIVE]

    def in_order(self) -> tuple[InstanceRecord, ...]:
        """The instances as an observation lists them."""
        return tuple(sorted(self.instances.values(), key=lambda each: (each.started_at, each.id)))

    def records_in_order(self) -> tuple[DefinitionRecord, ...]:
        return tuple(sorted(self.records.values(), key=lambda each: each.definition_id))

    # -- the control row: call these in the transaction that locked it ------------------------------------------------

    def required(self, schema: ManagedSchema) -> ControlState | None:
        """The control row, if it is ours. Raises ForeignSchemaError."""
        control, where = self.control, f"schema {schema.name}"
        if control is None:
            return None
        if control.installation not in (schema.installation, schema.adopt_from):
            raise ForeignSchemaError(
                f"{where} belongs to installation {control.installation!r}, not to {schema.installation!r}"
            )
        if control.org_id != schema.org_id:
            raise ForeignSchemaError(f"{where} belongs to organisation {control.org_id!r}, not to {schema.org_id!r}")
        return control

    def claim(self, schema: ManagedSchema, fence: Fence, seen: ControlState | None, *, anyway: bool) -> bool:
        """See the port's `claim`. True: the control row has this fence now, and is open."""
        control = self.required(schema)
        if control is not None and seen is None and not anyway:
            return False
        if control is not None and (control.generation, control.fence) >= (fence.generation, fence.number):
            raise FenceLostError(fence_behind(schema.name, control, fence))
        if control is not None and seen is not None and not anyway and control.touch != seen.touch:
            return False
        touch, build = (1, "") if control is None else (control.touch + 1, control.build)
        self.control = ControlState(
            schema.installation, schema.org_id, fence.generation, fence.number, touch, True, build
        )
        return True

    def guard(self, schema: ManagedSchema, fence: Fence | None, build_id: str) -> None:
        """Prove that the claim still stands, and note the write. Raises FenceLostError."""
        if fence is None:
            raise FenceLostError("this session holds no claim; claim before you write")
        control = self.control
        if control is None or (control.installation, control.org_id) != (schema.installation, schema.org_id):
            raise FenceLostError(f"schema {schema.name} is not ours any more; rolled back")
        if (control.generation, control.fence, control.open) != (fence.generation, fence.number, True):
            raise FenceLostError(
                f"job fence {fence.generation}.{fence.number} no longer holds schema {schema.name}; rolled back"
            )
        self.control = evolve(control, touch=control.touch + 1, build=build_id)

    def release(self, fence: Fence) -> None:
        """Give the claim back, if it is still this fence's."""
        control = self.control
        if control is not None and (control.generation, control.fence) == (fence.generation, fence.number):
            self.control = evolve(control, open=False)

    def intend(self, requests: Iterable[BuildRequest], at: datetime) -> None:
        """Write the intents of builds; of those that were begun, that we go on. Under the guard."""
        assert self.control is not None, "guarded"
        for request in requests:
            if not request.begun:
                self.instances[request.instance_id] = intent_of(
                    request, Fence(self.control.generation, self.control.fence), at
                )
            elif self.instances[request.instance_id].status is not InstanceStatus.INPROGRESS:
                raise FenceLostError(f"instance {request.instance_id} is not as the plan saw it; rolled back")


class Hands(Protocol):
    """What a publication does beside the books, inside the same transaction."""

    def object(self, name: str) -> SchemaObject | None:
        """The table or view of the schema that has this name now, without regard to case, with the tag that it has now."""

    def replace(self, publication: Refresh) -> None:
        """Delete the rows of the `replaced` periods from the instance's table and insert those that are `staged`."""

    def show(self, definition: AggregateDefinition, table_name: str, tag: Tag) -> None:
        """Make the definition's view over this table, or replace it, with this tag."""

    def drop(self, found: SchemaObject) -> None:
        """Drop a table or view. Never CASCADE."""

    def untag(self, found: SchemaObject) -> None:
        """Take the tag off a table or view, and leave it otherwise as it is."""

    def prove(self, step: AdoptStep) -> Proof:
        """Compare a table with a recomputation. Raises WarehouseQueryError if it does not fit at all."""


class Bookkeeper:
    """Writes publications into books, by the rules of the port; what is to be done to tables and views is the hands'."""

    def __init__(self, books: Books, schema: ManagedSchema, hands: Hands) -> None:
        self._books = books
        self._schema = schema
        self._hands = hands

    def apply(self, publication: Publication, at: datetime, build_id: str) -> None:
        """Raises FenceLostError if the books are not as the plan saw them, WarehouseQueryError if a name is taken."""
        match publication:
            case Refresh():
                self._refresh(publication, at, build_id)
            case Switch():
                self._switch(publication, at, build_id)
            case RestoreView(definition, instance):
                self._require_active(instance)
                self._show(definition, instance.id, instance.table_name)
            case RedefineStep(definition, instance):
                self._redefine(definition, instance)
            case AdoptStep():
                self._adopt(publication, at, build_id)
            case DisownStep(instance):
                self._disown(instance)
            case _:
                self._keep_books(publication, at)

    def _keep_books(
        self, publication: RetireStep | DropStep | ForgetStep | Failures | RecordStep, at: datetime
    ) -> None:
        """What ends, is forgotten or noted."""
        books = self._books
        match publication:
            case RetireStep(instance, status, reason, drop_view):
                self._end(instance, status, reason, at)
                if drop_view:
                    self._drop_own(ObjectKind.VIEW, instance.view_name, instance)
            case DropStep(instance, drop_table, reason):
                self._end(instance, InstanceStatus.DELETED, reason, at)
                if drop_table:
                    self._drop_own(ObjectKind.TABLE, instance.table_name, instance)
            case ForgetStep(instance):
                found = books.instances.get(instance.id)
                if found is not None and found.status is InstanceStatus.DELETED:
                    del books.instances[instance.id]
            case RecordStep(records, forgotten):
                kept = {key: each for key, each in books.records.items() if key not in forgotten}
                books.records = {**kept, **{each.definition_id: each for each in records}}
            case Failures(builds):
                self._fail(builds, at)

    def _fail(self, builds: Sequence[Failed], at: datetime) -> None:
        for each in builds:
            status = InstanceStatus.CANCELLED if each.cancelled else InstanceStatus.FAILED
            self._move(each.instance_id, status, at, message=each.message)

    def _end(self, instance: InstanceRecord, status: InstanceStatus, reason: Reason, at: datetime) -> None:
        self._move(instance.id, status, at, reason=reason.value, partitions=(), source_tokens=())

    def _refresh(self, publication: Refresh, at: datetime, build_id: str) -> None:
        instance = publication.instance
        found = self._books.instances.get(instance.id)
        if found is None or (found.status, found.build_id) != (InstanceStatus.ACTIVE, instance.build_id):
            raise FenceLostError(f"table {instance.table_name} was published since it was observed; rolled back")
        self._own(ObjectKind.TABLE, instance.table_name, instance)
        self._hands.replace(publication)
        kept = [each for each in found.partitions if each.period not in publication.replaced]
        if publication.staged is not None:
            kept.extend(_partitions(publication.written, at, build_id))
        self._books.instances[instance.id] = evolve(
            found,
            build_id=build_id,
            published_at=at,
            partitions=_in_order(kept),
            rows=sum(each.rows for each in kept),
            source_tokens=tuple(sorted(publication.source_tokens)),
        )

    def _switch(self, publication: Switch, at: datetime, build_id: str) -> None:
        built, old = publication.built, publication.supersedes
        request, definition = built.request, built.request.definition
        serving = [(each.id, each.build_id) for each in self._books.active(definition.id)]
        if serving != ([] if old is None else [(old.id, old.build_id)]):
            raise FenceLostError(f"aggregate {definition.label} was published since it was observed; rolled back")
        self._move(
            request.instance_id,
            InstanceStatus.ACTIVE,
            at,
            build_id=build_id,
            built_at=at,
            published_at=at,
            rows=built.rows,
            columns=built.columns,
            partitions=_in_order(_partitions(built.partitions, at, build_id)),
            source_tokens=tuple(sorted(built.source_tokens)),
        )
        if old is not None:
            self._move(old.id, InstanceStatus.INVALID, at, reason="superseded", partitions=(), source_tokens=())
            if old.view_name.casefold() != definition.view_name.casefold():
                self._drop_own(ObjectKind.VIEW, old.view_name, old)
        self._show(definition, request.instance_id, request.table_name)

    def _redefine(self, definition: AggregateDefinition, instance: InstanceRecord) -> None:
        """Let an instance serve its changed definition, where only the view differs."""
        self._require_active(instance)
        self._books.instances[instance.id] = evolve(
            self._books.instances[instance.id],
            label=definition.label,
            view_name=definition.view_name,
            definition_hash=definition.definition_hash,
            structure_hash=definition.structure_hash,
            parts=tuple(sorted(definition.part_hashes.items())),
            measures=definition.measures,
        )
        if instance.view_name.casefold() != definition.view_name.casefold():
            self._drop_own(ObjectKind.VIEW, instance.view_name, instance)
        self._show(definition, instance.id, instance.table_name)

    def _adopt(self, step: AdoptStep, at: datetime, build_id: str) -> None:
        definition, instance = step.definition, step.instance
        found = self._hands.object(instance.table_name)
        tag = None if found is None or found.kind is not ObjectKind.TABLE else found.tag
        if tag is None or (tag.definition_id, tag.instance_id) != (definition.id, instance.id):
            raise FenceLostError(f"table {instance.table_name} is no longer the one that was observed; rolled back")
        if self._books.active(definition.id) or instance.id in self._books.instances:
            raise FenceLostError(f"aggregate {definition.label} is in the ledger already; rolled back")
        proof = self._hands.prove(step)
        self._books.instances[instance.id] = evolve(
            instance,
            status=InstanceStatus.ACTIVE,
            since_at=at,
            started_at=at,
            built_at=at,
            published_at=at,
            build_id=build_id,
            message="adopted, not built",
            rows=sum(each.rows for each in proof.written),
            partitions=_in_order(_partitions(proof.written, at, build_id)),
            source_tokens=proof.source_tokens,
        )
        self._show(definition, instance.id, instance.table_name)

    def _disown(self, instance: InstanceRecord) -> None:
        self._require_active(instance)
        del self._books.instances[instance.id]
        for name in (instance.table_name, instance.view_name):
            found = self._hands.object(name)
            mine = (self._schema.installation, instance.id)
            if found is not None and found.tag is not None and (found.tag.installation, found.tag.instance_id) == mine:
                self._hands.untag(found)

    # -- the proofs ---------------------------------------------------------------------------------------------------

    def _show(self, definition: AggregateDefinition, instance_id: str, table_name: str) -> None:
        """Point the view at a table; refuses to replace an object that is not ours."""
        name = definition.view_name
        there = self._hands.object(name)
        if there is not None and not self._is_ours(there, definition.id):
            raise WarehouseQueryError(
                f"{there.kind.value} {name!r} in schema {self._schema.name} is not ours and has the name of the view; "
                "rename or remove it",
                definition_id=definition.id,
            )
        self._hands.show(definition, table_name, Tag(self._schema.installation, definition.id, instance_id))

    def _move(self, instance_id: str, to: InstanceStatus, at: datetime, **more: Any) -> None:
        found = self._books.instances.get(instance_id)
        if found is None or found.status not in INSTANCE_PREDECESSORS[to]:
            raise FenceLostError(f"instance {instance_id} is not as the plan saw it; rolled back")
        self._books.instances[instance_id] = evolve(found, status=to, since_at=at, **more)

    def _require_active(self, instance: InstanceRecord) -> None:
        if instance.id not in {each.id for each in self._books.active(instance.definition_id)}:
            raise FenceLostError(f"table {instance.table_name} is no longer in service; rolled back")

    def _is_ours(self, found: SchemaObject, definition_id: str) -> bool:
        tag = found.tag
        return tag is not None and (tag.installation, tag.definition_id) == (self._schema.installation, definition_id)

    def _own(self, kind: ObjectKind, name: str, instance: InstanceRecord) -> SchemaObject:
        """The object of this name, proved to be this instance's (a table) or definition's (a view)."""
        there = self._hands.object(name)
        if there is not None and there.kind is kind and self._is_ours(there, instance.definition_id):
            exact = kind is ObjectKind.VIEW or (there.tag is not None and there.tag.instance_id == instance.id)
            if exact:
                return there
        raise FenceLostError(f"{kind.value} {name} is no longer the one that was observed; rolled back")

    def _drop_own(self, kind: ObjectKind, name: str, instance: InstanceRecord) -> None:
        if self._hands.object(name) is not None:
            self._hands.drop(self._own(kind, name, instance))


def _partitions(writes: Iterable[PartitionWrite], at: datetime, build_id: str) -> list[PartitionRecord]:
    return [
        PartitionRecord(each.period, each.rows, each.token, each.content, build_id, at, each.mark, each.computed_at)
        for each in writes
    ]


def _in_order(partitions: Sequence[PartitionRecord]) -> tuple[PartitionRecord, ...]:
    return tuple(sorted(partitions, key=lambda each: each.period.key))
