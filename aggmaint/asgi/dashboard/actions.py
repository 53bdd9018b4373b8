"""What a button does, what it asks before, and what is said afterwards: a table.

Every action is done by the engine's own verb, which decides. An action that is dear or hard to take back asks first, by a
page of its own; scripts show that page as a dialog. Asking happens on the server, so a form that was sent without the
answer is asked too.
"""

from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from ...aggregates.options import TaskOptions
from ...core.ids import OrgId
from ...core.organization import OrgSnapshot
from ...core.outcomes import Joined, Queued, RequestOutcome, Started
from ...core.schedule import DEFAULT_TIME_EXPRESSION
from ...engine import MaintenanceEngine
from . import links

Form = Mapping[str, str]


@frozen
class Field:
    """A text that the question asks for."""

    name: str
    label: str
    hint: str
    value: str = ""
    length_max: int = 200


@frozen
class Question:
    """What is asked before. `danger`: the answer destroys work or stops something."""

    title: str
    text: str
    confirm: str
    fields: tuple[Field, ...] = ()
    danger: bool = False


@frozen
class Order:
    """An action that was asked for and confirmed: for whom, with what, by whom."""

    engine: MaintenanceEngine
    org_id: OrgId
    form: Form
    by: str

    def given(self, name: str) -> str:
        return self.form.get(name, "").strip()


@frozen
class Done:
    """Where to go afterwards, and the notice to show there."""

    page: str
    notice: str


@frozen
class Action:
    """`ask`: the question, or None when it may go ahead. `do` raises what the engine raises."""

    ask: Callable[[OrgSnapshot, Form], Question | None]
    do: Callable[[Order], Done]


NOTICES: Final[Mapping[str, tuple[str, str]]] = {
    "started": ("good", "The run has started."),
    "queued": ("good", "The run waits for a free place; it starts by itself."),
    "follows": ("good", "A run is in progress. One more follows when it ends."),
    "refused": ("bad", "Maintenance is switched off for this organisation, so nothing was started."),
    "cancelling": ("good", "The run was told to stop. What it has published stays."),
    "not_running": ("plain", "That run had ended already."),
    "paused": ("good", "Scheduled runs are paused. Runs by hand and by events still go."),
    "resumed": ("good", "Scheduled runs go on."),
    "disabled": ("good", "Maintenance is switched off."),
    "enabled": ("good", "Maintenance is switched on."),
    "schedule_on": ("good", "The schedule is active."),
    "schedule_off": ("good", "The schedule is inactive: it starts nothing."),
    "schedule_added": ("good", "The schedule was added."),
    "schedule_removed": ("good", "The schedule was removed. Its runs stay in the history."),
}
"""By code: tone and words. A code that a link brings and that is not here shows nothing."""


def _organization(order: Order, notice: str) -> Done:
    return Done(links.to("organization", org=order.org_id), notice)


def _nothing(_document: OrgSnapshot, _form: Form) -> None:
    return None


# -- runs --------------------------------------------------------------------------------------------------------------


def _ask_run(document: OrgSnapshot, _form: Form) -> Question | None:
    if document.paused is None:
        return None
    return Question(
        title="Run although paused?",
        text=f"{document.paused.by} paused scheduled runs: {document.paused.reason}. A run by hand goes ahead anyway.",
        confirm="Run now",
    )


def _run(order: Order) -> Done:
    return _started(order, order.engine.run_immediately(order.org_id))


def _started(order: Order, outcome: RequestOutcome) -> Done:
    match outcome:
        case Started():
            return Done(links.to("job", org=order.org_id, job=outcome.job.id), "started")
        case Queued(behind=None):
            return _organization(order, "queued")
        case Queued() | Joined():
            return _organization(order, "follows")
    return _organization(order, "refused")


def _ask_rebuild(_document: OrgSnapshot, form: Form) -> Question:
    partition = form.get("partition", "")
    what = f"the partition {partition} is" if partition else "all of the aggregate is"
    return Question(
        title="Rebuild the partition?" if partition else "Rebuild the aggregate?",
        text=f"Fresh or not, {what} computed again from its sources, which may take long. What is published now is served "
        "until then. The run does nothing else.",
        confirm="Rebuild",
    )


def _rebuild(order: Order) -> Done:
    partition = order.given("partition")
    wanted = TaskOptions(rebuild={order.form.get("aggregate", ""): [partition] if partition else None})
    return _started(order, order.engine.run_immediately(order.org_id, options=wanted.to_json()))


def _ask_cancel(_document: OrgSnapshot, _form: Form) -> Question:
    return Question(
        title="Cancel this run?",
        text="The work that it has not published yet is lost. Aggregates stay as they are: wholly old or wholly new.",
        confirm="Cancel the run",
        danger=True,
    )


def _cancel(order: Order) -> Done:
    job_id = order.given("job")
    cancelled = order.engine.cancel(order.org_id, job_id)
    return Done(links.to("job", org=order.org_id, job=job_id), "cancelling" if cancelled else "not_running")


# -- the organisation --------------------------------------------------------------------------------------------------


def _ask_pause(document: OrgSnapshot, _form: Form) -> Question:
    count = sum(each.active for each in document.schedules)
    return Question(
        title="Pause scheduled runs?",
        text=f"{count} active {'schedule starts' if count == 1 else 'schedules start'} nothing until somebody resumes. "
        "Data may grow stale. Runs by hand and by events still go.",
        confirm="Pause",
        fields=(Field("reason", "Reason", "Shown to everybody who wonders why nothing runs.", length_max=500),),
    )


def _pause(order: Order) -> Done:
    order.engine.pause(order.org_id, reason=order.given("reason"), by=order.by)
    return _organization(order, "paused")


def _resume(order: Order) -> Done:
    order.engine.resume(order.org_id)
    return _organization(order, "resumed")


def _ask_disable(_document: OrgSnapshot, _form: Form) -> Question:
    return Question(
        title="Switch maintenance off?",
        text="No run starts any more: not by schedule, not by events, not by hand. A run in progress goes on to its end.",
        confirm="Switch off",
        danger=True,
    )


def _disable(order: Order) -> Done:
    order.engine.enable(order.org_id, enabled=False)
    return _organization(order, "disabled")


def _enable(order: Order) -> Done:
    order.engine.enable(order.org_id)
    return _organization(order, "enabled")


# -- schedules ---------------------------------------------------------------------------------------------------------


def _ask_add(_document: OrgSnapshot, form: Form) -> Question:
    return Question(
        title="Add a schedule",
        text="Quartz form, seconds first. Every day at 04:00: 0 0 4 ? * * * · weekdays at 02:30: 0 30 2 ? * MON-FRI",
        confirm="Add",
        fields=(
            Field(
                "expression",
                "Time expression",
                "Five-field cron works too.",
                form.get("expression", DEFAULT_TIME_EXPRESSION),
            ),
            Field("zone", "Time zone", "An IANA name such as Europe/Berlin.", form.get("zone", "UTC")),
        ),
    )


def _add(order: Order) -> Done:
    order.engine.add_schedule(
        order.org_id, order.given("expression"), zone=order.given("zone"), created_by_user=order.by
    )
    return _organization(order, "schedule_added")


def _ask_remove(document: OrgSnapshot, form: Form) -> Question:
    schedule = document.schedule(form.get("schedule", ""))
    expression = schedule.time_expression if schedule else "this schedule"
    return Question(
        title="Remove the schedule?",
        text=f"“{expression}” is gone for good. To keep it for later, make it inactive instead.",
        confirm="Remove",
        danger=True,
    )


def _remove(order: Order) -> Done:
    order.engine.remove_schedule(order.org_id, order.given("schedule"))
    return _organization(order, "schedule_removed")


def _activate(order: Order) -> Done:
    order.engine.activate_schedule(order.org_id, order.given("schedule"))
    return _organization(order, "schedule_on")


def _deactivate(order: Order) -> Done:
    order.engine.activate_schedule(order.org_id, order.given("schedule"), active=False)
    return _organization(order, "schedule_off")


ACTIONS: Final[Mapping[str, Action]] = {
    "run": Action(_ask_run, _run),
    "rebuild": Action(_ask_rebuild, _rebuild),
    "cancel": Action(_ask_cancel, _cancel),
    "pause": Action(_ask_pause, _pause),
    "resume": Action(_nothing, _resume),
    "disable": Action(_ask_disable, _disable),
    "enable": Action(_nothing, _enable),
    "schedule-add": Action(_ask_add, _add),
    "schedule-remove": Action(_ask_remove, _remove),
    "schedule-on": Action(_nothing, _activate),
    "schedule-off": Action(_nothing, _deactivate),
}
