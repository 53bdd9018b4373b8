"""What the ledger says of a build before its table exists: the same for all warehouses."""

from datetime import datetime

from ..aggregates.model import InstanceStatus
from ..aggregates.observation import InstanceRecord
from ..core.job import Fence
from ..warehouse import BuildRequest


def intent_of(request: BuildRequest, fence: Fence, at: datetime) -> InstanceRecord:
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
        generation=fence.generation,
        fence=fence.number,
        definition_hash=definition.definition_hash,
        structure_hash=definition.structure_hash,
        build_id="",
        started_at=at,
        parts=tuple(sorted(definition.part_hashes.items())),
        measures=definition.measures,
    )
