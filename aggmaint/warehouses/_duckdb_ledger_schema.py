"""The ledger's tables in DuckDB, by version, and how an older ledger becomes this version's.

Reading never changes a ledger: an older one is read with what it lacks left empty. The first job that has something to write
migrates it in the transaction of its claim, so that it happens once, under the job's fence, whole or not at all. A ledger
that a newer version wrote is refused. A column is only ever added, at the end.

    1  control, instances, partitions, sources
    2  the parts and the measures of an instance's definition; records of definitions
    3  up to which mark of its source a partition was published, and when it was last computed whole
"""

from collections.abc import Callable

from ..aggregates.naming import LEDGER_TABLES

LEDGER_VERSION = 3
OLDEST = 1

CONTROL, INSTANCE, PARTITION, SOURCE, DEFINITION = LEDGER_TABLES

TABLES = {
    INSTANCE: (
        "id VARCHAR, definition_id VARCHAR, label VARCHAR, table_name VARCHAR, view_name VARCHAR, status VARCHAR, "
        "since_at TIMESTAMP, generation BIGINT, fence BIGINT, definition_hash VARCHAR, structure_hash VARCHAR, "
        "build_id VARCHAR, started_at TIMESTAMP, built_at TIMESTAMP, published_at TIMESTAMP, row_count BIGINT, "
        "column_list VARCHAR, reason VARCHAR, message VARCHAR, parts VARCHAR, measures VARCHAR"
    ),
    PARTITION: (
        "instance_id VARCHAR, period_key VARCHAR, starts_on VARCHAR, starts_at TIMESTAMP, ends_at TIMESTAMP, "
        "row_count BIGINT, token VARCHAR, content VARCHAR, build_id VARCHAR, published_at TIMESTAMP, mark VARCHAR, "
        "computed_at TIMESTAMP"
    ),
    SOURCE: "instance_id VARCHAR, source_key VARCHAR, token VARCHAR",
    DEFINITION: (
        "definition_id VARCHAR, label VARCHAR, created_at TIMESTAMP, counted_from_at TIMESTAMP, use_count BIGINT, "
        "last_used_at TIMESTAMP, use_days VARCHAR, carried VARCHAR, deactivated_at TIMESTAMP, deactivated_reason VARCHAR, "
        "deactivated_hash VARCHAR"
    ),
    CONTROL: (
        "installation VARCHAR, org VARCHAR, generation BIGINT, fence BIGINT, touch BIGINT, open BOOLEAN, build VARCHAR, "
        "version INTEGER"
    ),
}

EVIDENCE = {
    INSTANCE: "id, status, table_name, build_id, row_count",
    PARTITION: "instance_id, period_key, row_count, token, content",
    SOURCE: "instance_id, source_key, token",
    DEFINITION: "definition_id, use_count, deactivated_at",
}
"""What is hashed to see that a table is as it was. The control row is looked at as well, and each transaction of ours
changes it: so it is only a stranger's change that shows here."""


def ledger_tables(version: int) -> set[str]:
    """The tables that a ledger of this version has."""
    return set(LEDGER_TABLES) - ({DEFINITION} if version < 2 else set())


def migrate_ledger(run: Callable[[str], object], table: Callable[[str], str], version: int) -> None:
    """Bring a ledger of `version` to this one's, inside the caller's guarded transaction. Idempotent."""
    for name, columns in TABLES.items():
        run(f"CREATE TABLE IF NOT EXISTS {table(name)} ({columns})")
    if version < 2:
        for column in ("parts", "measures"):
            run(f"ALTER TABLE {table(INSTANCE)} ADD COLUMN IF NOT EXISTS {column} VARCHAR")
    if version < 3:
        for column in ("mark VARCHAR", "computed_at TIMESTAMP"):
            run(f"ALTER TABLE {table(PARTITION)} ADD COLUMN IF NOT EXISTS {column}")
    run(f"UPDATE {table(CONTROL)} SET version = {LEDGER_VERSION}")
