"""`context.on_stop`: who listens hears of a stop at once, exactly once, and can do no harm."""

from aggmaint import MaintenanceEngine, TaskContext
from aggmaint.errors import JobCancelledError, ShutdownError, StopWorkError
from aggmaint.stores.memory import MemoryStore
from tests.support.tasks import GateTask

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
