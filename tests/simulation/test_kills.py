"""kill −9 and SIGSTOP zombies: real processes over one SQLite file, judged by what the database itself recorded.

AGGMAINT_KILLS=500 is the figure of the issue, AGGMAINT_DEEP=1 the long run (50,000).
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from aggmaint import JobStatus, MaintenanceEngine
from tests.simulation.depth import KILLS
from tests.simulation.killing import ORGS, SCHEMA, SETTINGS, PublishingTask, Torture, make_store, violations
from tests.support.tasks import until


def test_I1_I3_I4_I8_and_I26_under_kill_9_and_zombies(tmp_path: Path) -> None:
    """No publish of a failed or late job, ever; and afterwards every organisation runs and covers its demand."""
    path = tmp_path / "jobs.db"
    store = make_store(path)
    engine = MaintenanceEngine(store=store, task=PublishingTask(), scheduler=None, executor=None, settings=SETTINGS)
    engine.register_organizations(ORGS)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
    torture = Torture(path, processes=4, seed=KILLS)
    torture.run(KILLS)
    assert torture.kills == KILLS and torture.stops > 0
    with closing(sqlite3.connect(path)) as connection:
        assert violations(connection) == []
        ((published,),) = connection.execute("SELECT count(*) FROM published").fetchall()
        ((rescued,),) = connection.execute("SELECT count(*) FROM told WHERE after = 'failed'").fetchall()
        assert published > KILLS and rescued > 0, "nothing happened"
    for org_id in ORGS:
        until(lambda org_id=org_id: settled(engine, org_id), org_id)  # type: ignore[misc]
        outcome = engine.run_immediately(org_id)
        (job,) = engine.list_jobs(org_id, limit=1).jobs
        assert job.status is not JobStatus.INPROGRESS, outcome
    with closing(sqlite3.connect(path)) as connection:
        assert violations(connection) == []
    store.close()


def settled(engine: MaintenanceEngine, org_id: str) -> bool:
    """Rescued, and all demand covered (I24, I25)."""
    engine.tick()
    document = engine.get_organization(org_id)
    return document.running is None and not document.uncovered
