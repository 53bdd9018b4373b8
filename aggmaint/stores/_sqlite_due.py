"""What needs attention, from three partial indexes: jobs in progress, slots to notice, requests that wait.

Each query reads at most as many rows as it gives, but for the jobs in progress, of which there are few; so a look costs
what is due, not what there is (I27).
"""

import sqlite3
from heapq import merge

from ..core.ids import OrgId
from ..core.instants import StoreTime
from ..store import DueOrgs
from . import _codec as codec

_LAPSED = """
    SELECT org_id FROM aggmaint_organization INDEXED BY aggmaint_organization_lapse
    WHERE job_id IS NOT NULL AND (lease_boot <> ? OR lapse_s <= ?) ORDER BY org_id LIMIT ?"""
_NOTICING = """
    SELECT org_id FROM aggmaint_organization INDEXED BY aggmaint_organization_notice
    WHERE notice_at_us <= ? ORDER BY notice_at_us, org_id LIMIT ?"""
_WAITING = """
    SELECT claim_at_us, org_id FROM aggmaint_organization INDEXED BY aggmaint_organization_claim
    WHERE claim_held = 0 ORDER BY claim_at_us, org_id LIMIT ?"""
_HELD = """
    SELECT claim_at_us, org_id FROM aggmaint_organization INDEXED BY aggmaint_organization_claim
    WHERE claim_held = 1 AND claim_at_us <= ? ORDER BY claim_at_us, org_id LIMIT ?"""
_LATER = """
    SELECT min(at) FROM (
      SELECT min(notice_at_us) AS at FROM aggmaint_organization WHERE notice_at_us > ?1
      UNION ALL SELECT min(claim_at_us) FROM aggmaint_organization WHERE claim_held = 1 AND claim_at_us > ?1)"""


def find_due(connection: sqlite3.Connection, time: StoreTime, at_us: int, orgs_max: int) -> DueOrgs:
    """See the port; `at_us` is the wall instant in microseconds. Run it in one snapshot."""
    waiting = connection.execute(_WAITING, (orgs_max,)).fetchall()
    held = connection.execute(_HELD, (at_us, orgs_max)).fetchall()
    (later,) = connection.execute(_LATER, (at_us,)).fetchone()
    return DueOrgs(
        lapsed=_ids(connection.execute(_LAPSED, (time.boot, time.steady_s, orgs_max)).fetchall()),
        noticing=_ids(connection.execute(_NOTICING, (at_us, orgs_max)).fetchall()),
        claiming=tuple(OrgId(org_id) for _, org_id in list(merge(waiting, held))[:orgs_max]),
        next_wake_at=codec.opt_from_us(later),
    )


def _ids(rows: list[tuple[str]]) -> tuple[OrgId, ...]:
    return tuple(OrgId(org_id) for (org_id,) in rows)
