"""The tables of the SQLite store, as migrations of sqlite-utils.

Names carry the prefix `aggmaint_`, so that they can live in a host's own database. The second guard, beside the revision
that every commit compares: one job in progress per organisation is a partial unique index (I1), ended jobs and the
identity of any job are immutable by trigger (I4, I5), and fences never go back (I3). A bug in the rules then is an error,
never two jobs at once.

A migration that has been released is never edited; a new one is added below it. The names that were applied are kept by
sqlite-utils in `_sqlite_migrations`; a name that this version does not know means that a newer aggmaint was here.
"""

import sqlite3

from sqlite_utils import Migrations
from sqlite_utils.db import Database

from ._sqlite_applied import KNOWN, SET

MIGRATIONS = Migrations(SET)

_TABLES = """
CREATE TABLE aggmaint_organization(
  org_id           TEXT PRIMARY KEY NOT NULL CHECK(length(org_id) BETWEEN 1 AND 255),
  revision         INTEGER NOT NULL CHECK(revision > 0),
  change_ids       TEXT NOT NULL,               -- JSON, the newest 32
  generation       INTEGER NOT NULL,
  last_fence       INTEGER NOT NULL,
  job_id           TEXT,                        -- the job in progress, with its lease in steady seconds of lease_boot
  lease_boot       TEXT,
  lease_until_s    REAL,
  deadline_s       REAL,
  lapse_s          REAL,                        -- the lesser of the two
  cancel_requested INTEGER NOT NULL CHECK(cancel_requested IN (0, 1)),
  run              TEXT,                        -- JSON: options, demand seen, progress of the job in progress
  pending          TEXT,                        -- JSON: the request that waits
  demand           TEXT NOT NULL,               -- JSON: {cube: number}
  covered          TEXT NOT NULL,               -- JSON: {cube: number}
  schedules        TEXT NOT NULL,               -- JSON
  enabled          INTEGER NOT NULL CHECK(enabled IN (0, 1)),
  paused           TEXT,                        -- JSON: who, why, since
  failure_streak   INTEGER NOT NULL,
  not_before_us    INTEGER,                     -- instants are UTC epoch microseconds
  inventory_job_id TEXT,
  marks            TEXT NOT NULL,               -- JSON: change marks
  last_mark        INTEGER NOT NULL,
  pruned_through   INTEGER NOT NULL,
  oldest_ended_us  INTEGER,
  removed_at_us    INTEGER,
  notice_at_us     INTEGER,                     -- when the next slot is to be noticed
  claim_at_us      INTEGER,                     -- since when a request waits or, if held, from when on it may go
  claim_held       INTEGER CHECK(claim_held IN (0, 1)),
  CHECK((job_id IS NULL) = (lapse_s IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX aggmaint_organization_notice ON aggmaint_organization(notice_at_us, org_id) WHERE notice_at_us IS NOT NULL;
CREATE INDEX aggmaint_organization_claim ON aggmaint_organization(claim_held, claim_at_us, org_id)
  WHERE claim_held IS NOT NULL;
CREATE INDEX aggmaint_organization_lapse ON aggmaint_organization(lease_boot, lapse_s) WHERE job_id IS NOT NULL;
CREATE TABLE aggmaint_job(
  org_id           TEXT NOT NULL REFERENCES aggmaint_organization(org_id),
  fence            INTEGER NOT NULL CHECK(fence > 0),
  generation       INTEGER NOT NULL,
  id               TEXT NOT NULL UNIQUE,
  trigger_type     TEXT NOT NULL,
  status           TEXT NOT NULL CHECK(status IN ('inprogress', 'done', 'failed')),
  created_us       INTEGER NOT NULL,
  started_us       INTEGER NOT NULL,
  ended_us         INTEGER,
  holder           TEXT NOT NULL,
  requests_folded  INTEGER NOT NULL,
  schedule_id      TEXT,
  slot             INTEGER,
  complete         INTEGER,
  error            TEXT,                        -- JSON
  PRIMARY KEY(org_id, fence),
  CHECK((status = 'inprogress') = (ended_us IS NULL)),
  CHECK((status = 'failed') = (error IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX aggmaint_job_one_inprogress ON aggmaint_job(org_id) WHERE status = 'inprogress';
CREATE TABLE aggmaint_report(
  job_id           TEXT PRIMARY KEY NOT NULL,
  body             BLOB NOT NULL                -- JSON, zlib
) STRICT, WITHOUT ROWID;
CREATE TABLE aggmaint_inventory(
  org_id           TEXT PRIMARY KEY NOT NULL,
  job_id           TEXT NOT NULL,
  body             BLOB NOT NULL                -- JSON, zlib
) STRICT, WITHOUT ROWID;
"""

_GUARDS = (
    """CREATE TRIGGER aggmaint_job_absorbing BEFORE UPDATE ON aggmaint_job WHEN OLD.status <> 'inprogress'
    BEGIN SELECT RAISE(ABORT, 'aggmaint: an ended job never changes (I4)'); END""",
    """CREATE TRIGGER aggmaint_job_identity
    BEFORE UPDATE OF id, org_id, fence, generation, trigger_type, created_us, started_us, schedule_id, slot ON aggmaint_job
    BEGIN SELECT RAISE(ABORT, 'aggmaint: the identity of a job never changes (I5)'); END""",
    """CREATE TRIGGER aggmaint_job_no_delete_live BEFORE DELETE ON aggmaint_job WHEN OLD.status = 'inprogress'
    BEGIN SELECT RAISE(ABORT, 'aggmaint: a job in progress is never deleted (I1)'); END""",
    """CREATE TRIGGER aggmaint_organization_monotone BEFORE UPDATE ON aggmaint_organization
    WHEN NEW.revision <> OLD.revision + 1 OR NEW.generation < OLD.generation OR NEW.last_fence < OLD.last_fence
    BEGIN SELECT RAISE(ABORT, 'aggmaint: revisions and fences never go back (I3)'); END""",
)


@MIGRATIONS()
def m001_first(db: Database) -> None:
    # not executescript: that would commit the transaction which we are in
    for statement in (*_TABLES.split(";\n"), *_GUARDS):
        if statement.strip():
            db.conn.execute(statement)


@MIGRATIONS()
def m002_uses(db: Database) -> None:
    db.conn.execute("ALTER TABLE aggmaint_organization ADD COLUMN uses TEXT NOT NULL DEFAULT '[]'")  # JSON
    db.conn.execute("ALTER TABLE aggmaint_organization ADD COLUMN last_use INTEGER NOT NULL DEFAULT 0")


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is pending. In the caller's transaction."""
    MIGRATIONS.apply(Database(connection, execute_plugins=False))


assert tuple(each.name for each in MIGRATIONS.pending(Database(memory=True))) == KNOWN, "each is known at the start"
