"""What may happen to a job: its process, its connection, its store, its owner. Parts for worlds and machines."""

from typing import TYPE_CHECKING, Any

import duckdb

from aggmaint.errors import StoreUnavailableError
from aggmaint.stores.memory import MemoryStore, _Org
from aggmaint.task import ContextWrapper

from .model import ORG
from .tap import CrashError

if TYPE_CHECKING:
    from .world import World


class Mortal(MemoryStore):
    """A job store that outlives the process; a dead process can not write to it. It can be copied, and put back."""

    dead = False

    def copy(self) -> Any:
        return {org_id: (org.document, dict(org.jobs)) for org_id, org in self._orgs.items()}

    def put_back(self, copy: Any) -> None:
        for org_id, (document, jobs) in copy.items():
            self._orgs[org_id] = _Org(document, dict(jobs))

    def load(self, org_ids: Any) -> Any:
        self._require_life()
        return super().load(org_ids)

    def commit(self, changes: Any) -> Any:
        self._require_life()
        return super().commit(changes)

    def _require_life(self) -> None:
        if self.dead:
            raise CrashError


class Deaf(ContextWrapper):
    """A worker that slept through the loss of its job: it asks nobody before it publishes. Only the guard can stop it."""

    def progress(self, step: str, *, done: int = 0, total: int | None = None, detail: str = "") -> None:
        return

    def check(self) -> None:
        return

    def confirm(self) -> None:
        return


def break_connection(world: "World") -> None:
    """All cursors are gone. After a commit this is a lost acknowledgement."""
    for cursor in world.tap.cursors:
        cursor.real.close()
    raise duckdb.ConnectionException("Connection Error: the connection was closed")


def fail_statement(_world: "World") -> None:
    raise duckdb.IOException("IO Error: could not write: no space left on device")


def lose_store(_world: "World") -> None:
    raise StoreUnavailableError("the job store is away")


def cancel_job(world: "World") -> None:
    newest = world.newest_job()
    if newest is not None:
        world.make_engine().cancel(ORG, newest.id)
    world.clock.pass_s(2.0)
