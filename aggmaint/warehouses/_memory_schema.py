"""A managed schema in memory: its ledger, its tables and views, and what each publication makes of them.

Theory of operation
-------------------
A `SchemaState` holds everything of one schema. Values in it are frozen, and a transaction works on a copy of its
dictionaries that takes the place of the old state only at its end; so a writer that fails, at whatever point, has written
nothing, and readers see the old state or the new one. `Writer` checks what the port wants checked: that the ledger is as
the plan saw it, and that an object is ours, by its tag as it is now, before it is replaced or dropped.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import define, evolve, field, frozen

from ..aggregates.decisions import (
    AdoptStep,
    DisownStep,
    DropStep,
    ForgetStep,
    RecordStep,
    RedefineStep,
    RetireStep,
)
from ..aggregates.life import DefinitionRecord
from ..aggregates.model import INSTANCE_PREDECESSORS, AggregateDefinition, InstanceStatus
from ..aggregates.naming import Tag
from ..aggregates.observation import Column, ControlState, InstanceRecord, ObjectKind, PartitionRecord
from ..aggregates.reasons import Reason
from ..errors import FenceLostError, WarehouseQueryError
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
)
from ._memory_adopt import Proof
from ._memory_compute import Computation, Row, Step, Tables


@frozen
class Thing:
    """A table or a view. A view shows the rows of the table `over`, as its `definition` says; a stranger's is a table."""

    name: str
    kind: ObjectKind
    tag: Tag | None = None
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    over: str | None = None
    definition: AggregateDefinition | None = None


@define
class SchemaState:
    """One schema. `things` are by case-folded name."""

    control: ControlState | None = None
    instances: dict[str, InstanceRecord] = field(factory=dict)
    records: dict[str, DefinitionRecord] = field(factory=dict)
    things: dict[str, Thing] = field(factory=dict)

    def copy(self) -> "SchemaState":
        return SchemaState(self.control, dict(self.instances), dict(self.records), dict(self.things))

    def thing(self, name: str) -> Thing | None:
        return self.things.get(name.casefold())

    def put(self, thing: Thing) -> None:
        self.things[thing.name.casefold()] = thing

    def active(self, definition_id: str) -> list[InstanceRecord]:
        return [
            each
            for each in self.instances.values()
            if each.definition_id == definition_id and each.status is InstanceStatus.ACTIVE
        ]


def intent_of(request: BuildRequest, control: ControlState, at: datetime) -> InstanceRecord:
    """The ledger row of an instance before its table exists."""
    definition = request.definition
    return InstanceRecord(
        id=request.instance_id,
        definition_id=definition.id,
        label=definition.label,
        table_name=request.table_name,
        view_name=definition.view_name,
        status=InstanceStatus.INPROGRESS,
        since_at=at,
        generation=control.generation,
        fence=control.fence,
        definition_hash=definition.definition_hash,
        structure_hash=definition.structure_hash,
        build_id="",
        started_at=at,
        parts=tuple(sorted(definition.part_hashes.items())),
        measures=definition.measures,
    )


class Writer:
    """Writes publications into a draft. `stages`: staged rows by handle; `step` is called between parts and may raise."""

    def __init__(
        self, draft: SchemaState, schema: ManagedSchema, tables: Tables, stages: Mapping[str, tuple[Row, ...]]
    ) -> None:
        self._draft = draft
        self._schema = schema
        self._tables = tables
        self._stages = stages
        self._step: Step = tables.step

    def apply(self, publication: Publication, at: datetime, build_id: str) -> None:
        match publication:
            case Refresh():
                self._refresh(publication, at, build_id)
            case Switch():
                self._switch(publication, at, build_id)
            case RestoreView(definition, instance):
                self._require_active(instance)
                self._make_view(definition, instance.id, instance.table_name)
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
                if self._draft.instances[instance.id].status is InstanceStatus.DELETED:
                    del self._draft.instances[instance.id]
            case RecordStep(records, forgotten):
                new = {each.definition_id: each for each in records}
                old = {key: each for key, each in self._draft.records.items() if key not in forgotten}
                self._draft.records = {**old, **new}
            case Failures(builds):
                self._fail(builds, at)

    def _fail(self, builds: Sequence[Failed], at: datetime) -> None:
        for each in builds:
            status = InstanceStatus.CANCELLED if each.cancelled else InstanceStatus.FAILED
            self._move(each.instance_id, status, at, message=each.message)

    # -- publications --------------------------------------------------------------------------------------------------

    def _refresh(self, publication: Refresh, at: datetime, build_id: str) -> None:
        instance = publication.instance
        found = self._draft.instances.get(instance.id)
        if found is None or (found.status, found.build_id) != (InstanceStatus.ACTIVE, instance.build_id):
            raise FenceLostError(f"table {instance.table_name} was published since it was observed; rolled back")
        table = self._own(ObjectKind.TABLE, instance.table_name, instance)
        computation = Computation(publication.definition, self._tables)
        rows = [row for row in table.rows if computation.period(row) not in publication.replaced]
        kept = [each for each in found.partitions if each.period not in publication.replaced]
        self._step()
        if publication.staged is not None:
            rows.extend(self._stages[publication.staged.handle])
            kept.extend(_partitions(publication.written, at, build_id))
        self._draft.put(evolve(table, rows=tuple(rows)))
        self._step()
        self._draft.instances[instance.id] = evolve(
            found,
            build_id=build_id,
            published_at=at,
            partitions=_in_order(kept),
            rows=sum(each.rows for each in kept),
            source_tokens=tuple(sorted(publication.source_tokens)),
        )

    def _switch(self, publication: Switch, at: datetime, build_id: str) -> None:
        built, old = publication.built, publication.supersedes
        definition, request = built.request.definition, built.request
        serving = [(each.id, each.build_id) for each in self._draft.active(definition.id)]
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
        self._step()
        if old is not None:
            self._move(old.id, InstanceStatus.INVALID, at, reason="superseded", partitions=(), source_tokens=())
            if old.view_name.casefold() != definition.view_name.casefold():
                self._drop_own(ObjectKind.VIEW, old.view_name, old)
        self._step()
        self._make_view(definition, request.instance_id, request.table_name)

    def _make_view(self, definition: AggregateDefinition, instance_id: str, table_name: str) -> None:
        """Point the view at a table; refuses to replace an object that is not ours."""
        name = definition.view_name
        there = self._draft.thing(name)
        ours = there is not None and there.tag is not None and self._is_ours(there.tag, definition.id)
        if there is not None and not ours:
            raise WarehouseQueryError(
                f"{there.kind.value} {name!r} in schema {self._schema.name} is not ours and has the name of the view; "
                "rename or remove it",
                definition_id=definition.id,
            )
        tag = Tag(self._schema.installation, definition.id, instance_id)
        self._draft.put(Thing(name, ObjectKind.VIEW, tag, over=table_name, definition=definition))

    def _end(self, instance: InstanceRecord, status: InstanceStatus, reason: Reason, at: datetime) -> None:
        self._move(instance.id, status, at, reason=reason.value, partitions=(), source_tokens=())
        self._step()

    def _redefine(self, definition: AggregateDefinition, instance: InstanceRecord) -> None:
        """Let an instance serve its changed definition, where only the view differs."""
        self._require_active(instance)
        found = self._draft.instances[instance.id]
        self._draft.instances[instance.id] = evolve(
            found,
            label=definition.label,
            view_name=definition.view_name,
            definition_hash=definition.definition_hash,
            structure_hash=definition.structure_hash,
            parts=tuple(sorted(definition.part_hashes.items())),
            measures=definition.measures,
        )
        if instance.view_name.casefold() != definition.view_name.casefold():
            self._drop_own(ObjectKind.VIEW, instance.view_name, instance)
        self._make_view(definition, instance.id, instance.table_name)

    def begin(self, request: BuildRequest, at: datetime) -> None:
        """Write the intent of a build; of one that was begun, that we go on with it."""
        control = self._draft.control
        assert control is not None, "guarded"
        if not request.begun:
            self._draft.instances[request.instance_id] = intent_of(request, control, at)
        elif self._draft.instances[request.instance_id].status is not InstanceStatus.INPROGRESS:
            raise FenceLostError(f"instance {request.instance_id} is not as the plan saw it; rolled back")

    def _adopt(self, step: AdoptStep, at: datetime, build_id: str) -> None:
        definition, instance = step.definition, step.instance
        table = self._draft.thing(instance.table_name)
        tag = None if table is None else table.tag
        if table is None or tag is None or (tag.definition_id, tag.instance_id) != (definition.id, instance.id):
            raise FenceLostError(f"table {instance.table_name} is no longer the one that was observed; rolled back")
        if self._draft.active(definition.id) or instance.id in self._draft.instances:
            raise FenceLostError(f"aggregate {definition.label} is in the ledger already; rolled back")
        proof = Proof.of(step, table.columns, table.rows, self._tables)
        self._draft.instances[instance.id] = evolve(
            instance,
            status=InstanceStatus.ACTIVE,
            since_at=at,
            started_at=at,
            built_at=at,
            published_at=at,
            build_id=build_id,
            message="adopted, not built",
            rows=len(table.rows),
            partitions=_in_order(_partitions(proof.written, at, build_id)),
            source_tokens=proof.source_tokens,
        )
        self._make_view(definition, instance.id, instance.table_name)

    def _disown(self, instance: InstanceRecord) -> None:
        self._require_active(instance)
        del self._draft.instances[instance.id]
        for name in (instance.table_name, instance.view_name):
            thing = self._draft.thing(name)
            if thing is not None and thing.tag is not None and thing.tag.instance_id == instance.id:
                self._draft.put(evolve(thing, tag=None))

    # -- the ledger and the proofs -------------------------------------------------------------------------------------

    def _move(self, instance_id: str, to: InstanceStatus, at: datetime, **more: Any) -> None:
        found = self._draft.instances.get(instance_id)
        if found is None or found.status not in INSTANCE_PREDECESSORS[to]:
            raise FenceLostError(f"instance {instance_id} is not as the plan saw it; rolled back")
        self._draft.instances[instance_id] = evolve(found, status=to, since_at=at, **more)

    def _require_active(self, instance: InstanceRecord) -> None:
        if instance.id not in {each.id for each in self._draft.active(instance.definition_id)}:
            raise FenceLostError(f"table {instance.table_name} is no longer in service; rolled back")

    def _is_ours(self, tag: Tag, definition_id: str) -> bool:
        return (tag.installation, tag.definition_id) == (self._schema.installation, definition_id)

    def _own(self, kind: ObjectKind, name: str, instance: InstanceRecord) -> Thing:
        """The object of this name, proved to be this instance's (a table) or definition's (a view)."""
        there = self._draft.thing(name)
        if there is not None and there.kind is kind and there.tag is not None:
            exact = kind is ObjectKind.VIEW or there.tag.instance_id == instance.id
            if exact and self._is_ours(there.tag, instance.definition_id):
                return there
        raise FenceLostError(f"{kind.value} {name} is no longer the one that was observed; rolled back")

    def _drop_own(self, kind: ObjectKind, name: str, instance: InstanceRecord) -> None:
        if self._draft.thing(name) is not None:
            self._own(kind, name, instance)
            del self._draft.things[name.casefold()]


def _partitions(writes: Iterable[PartitionWrite], at: datetime, build_id: str) -> list[PartitionRecord]:
    return [PartitionRecord(each.period, each.rows, each.token, each.content, build_id, at) for each in writes]


def _in_order(partitions: Sequence[PartitionRecord]) -> tuple[PartitionRecord, ...]:
    return tuple(sorted(partitions, key=lambda each: each.period.key))
