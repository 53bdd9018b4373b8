"""`context.on_stop`: who listens hears of a stop at once, exactly once, and can do no harm."""

from collections.abc import Sequence
from queue import SimpleQueue

from aggmaint import MaintenanceEngine, TaskContext
from aggmaint.core.ids import OrgId
from aggmaint.core.settings import JobSettings
from aggmaint.errors import JobCancelledError, LeaseLostError, ShutdownError, StopWorkError, StoreUnavailableError
from aggmaint.store import Loaded
from aggmaint.stores.memory import MemoryStore
from aggmaint.testing.clocks import ManualClock
from tests.support.tasks import PATIENCE_S, GateTask

ORG = "acme"


def running(task: GateTask) -> tuple[MaintenanceEngine, TaskContext, str]:
    engine = MaintenanceEngine(store=MemoryStore(), task=task, scheduler=None)
    engine.register_organizations([ORG])
    engine.run_immediately(ORG)
    context = task.next_entered()
    return engine, context, context.job.id


def test_a_listener_hears_of_a_cancellation_before_cancel_returns() -> None:
    task = GateTask()
    engine, context, job_id = running(task)
    heard: list[StopWorkError] = []
    context.on_stop(heard.append)
    engine.cancel(ORG, job_id)
    assert [type(each) for each in heard] == [JobCancelledError]
    engine.close(timeout_s=20)
    assert len(heard) == 1, "the first reason stays, and is told once"


def test_a_listener_that_comes_late_hears_at_once_and_one_that_left_hears_nothing() -> None:
    task = GateTask(deaf=True)
    engine, context, _ = running(task)
    left: list[StopWorkError] = []
    late: list[StopWorkError] = []
    take_off = context.on_stop(left.append)
    take_off()
    take_off()
    engine.close(timeout_s=0)
    context.on_stop(late.append)
    task.open()
    assert left == []
    assert [type(each) for each in late] == [ShutdownError]


def test_a_listener_that_fails_stops_no_other() -> None:
    task = GateTask()
    engine, context, job_id = running(task)
    heard: list[StopWorkError] = []

    def fail(_reason: StopWorkError) -> None:
        raise OSError("no")

    context.on_stop(fail)
    context.on_stop(heard.append)
    engine.cancel(ORG, job_id)
    assert len(heard) == 1
    engine.close(timeout_s=20)


class Unreachable(MemoryStore):
    """Answers until `away` is set."""

    away = False

    def load(self, org_ids: Sequence[OrgId]) -> Loaded:
        if self.away:
            raise StoreUnavailableError
        return super().load(org_ids)


def test_a_worker_that_can_not_renew_hears_when_its_trust_in_the_lease_ends() -> None:
    """The store says nothing, and the task is in a query: the worker's own clock must do."""
    clock = ManualClock()
    store, task = Unreachable(clock=clock), GateTask(deaf=True)
    settings = JobSettings(lease_s=60, heartbeat_s=0.4)
    engine = MaintenanceEngine(store=store, task=task, scheduler=None, clock=clock, settings=settings)
    engine.register_organizations([ORG])
    engine.run_immediately(ORG)
    heard: SimpleQueue[StopWorkError] = SimpleQueue()
    task.next_entered().on_stop(heard.put)
    store.away = True
    clock.pass_s(61)
    assert isinstance(heard.get(timeout=PATIENCE_S), LeaseLostError)
    store.away = False
    task.open()
    engine.close(timeout_s=PATIENCE_S)
