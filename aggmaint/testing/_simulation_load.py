"""What happens in a simulated world: requests of people and cubes, the default task, and faults.

Theory of operation. All chance comes from generators that the seed makes. Each seed switches a random half of the kinds of
fault on (*swarm* testing: a fault that happens all the time hides what happens without it). Clients like round instants,
at which schedules fire too, so that many calls meet at the same moment, where the stepper shuffles them.
"""

import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Final

from attrs import evolve, fields, frozen

from ..clock import Clock
from ..core.outcomes import IfBusy, Queued, Refused, Started
from ..core.trigger import CubeUpdate
from ..engine import MaintenanceEngine
from ..errors import AggmaintError, StoreUnavailableError, TaskFailedError
from ..task import MaintenanceReport, TaskContext
from ._simulation_oracle import Oracle
from .stepped import Stepper

CUBES: Final = ("sales", "stock")
EXPRESSIONS: Final = ("*/15 * * * *", "0 0 * ? * *", "30 4 * * *", "0 0/20 6-18 * * ?", "@hourly")
ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York")
ROUND_S: Final = 900.0


@frozen
class Faults:
    """How often things go wrong. Probabilities are per store call; rates (`…_per_day`) per process or world.

    unavailable   the store can not be reached, or the answer of a read is lost.
    unknown       a commit took place (in whole, in part or not at all) and its outcome is not told.
    delay         a call takes up to `delay_s`.
    foreign       somebody else's commit comes in between.
    stalls        a process stands still right before or after one of its commits, as in `freezes`.
    freezes       a process stands still for up to four leases, or up to six hours, and goes on (a zombie).
    deaths        a process dies (kill −9) and is started anew.
    restarts      a process is shut down cleanly and started anew.
    wall_steps    the wall clock is set, by up to three hours either way.
    reboots       the machine is started anew: all processes die, the steady clock begins another life.
    failovers     the store begins another life (its steady clock too) while the processes live on.
    """

    unavailable: float = 0.01
    unknown: float = 0.02
    delay: float = 0.02
    delay_s: float = 30.0
    foreign: float = 0.01
    stalls: float = 0.002
    freezes_per_day: float = 6.0
    deaths_per_day: float = 4.0
    restarts_per_day: float = 2.0
    wall_steps_per_day: float = 3.0
    reboots_per_day: float = 0.5
    failovers_per_day: float = 0.5

    def swarm(self, chance: random.Random) -> "Faults":
        """The same with about half of the kinds of fault switched off."""
        kinds = [name for name in ("unavailable", "unknown", "delay", "foreign", "stalls") if chance.random() < 0.5]
        kinds += [f"{name}_per_day" for name in RATES if chance.random() < 0.5]
        return evolve(self, **dict.fromkeys(kinds, 0.0))


RATES: Final = ("freezes", "deaths", "restarts", "wall_steps", "reboots", "failovers")
NO_FAULTS: Final = Faults(*([0.0] * len(fields(Faults))))


class DefaultTask:
    """Random steps of random length with publishes; fails, is incomplete, hangs and does not listen now and then."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._seed = seed
        self.calm = False

    def run(self, context: TaskContext) -> MaintenanceReport:
        chance = random.Random(f"{self._seed}|{context.org_id}|{context.fence.number}")
        kind = "calm" if self.calm else chance.choices(KINDS, WEIGHTS)[0]
        steps = chance.randint(1, 4)
        for step in range(steps):
            seconds = chance.choice((0.0, 0.5, 5.0, 40.0, 200.0))
            self._clock.sleep(4000.0 if kind == "hangs" else seconds)
            if kind != "deaf":
                context.progress("build", done=step, total=steps)
            self._publish(context, step, chance)
        if kind == "fails":
            raise TaskFailedError("as it was drawn", cause="drawn")
        return MaintenanceReport(complete=kind != "incomplete", summary=kind, inventory={"fence": context.fence.number})

    def _publish(self, context: TaskContext, step: int, chance: random.Random) -> None:
        if chance.random() < 0.2:
            context.confirm()

        def write(connection: dict[str, Any]) -> None:
            connection[f"{context.org_id}/{step}"] = context.fence
            if chance.random() < 0.1:
                self._clock.sleep(chance.choice((0.01, 2.0)))

        context.publish(write)


KINDS: Final = ("well", "fails", "incomplete", "hangs", "deaf")
WEIGHTS: Final = (71, 12, 8, 2, 7)


class Client:
    """Somebody who asks engines for things at random, and believes what they answer; the oracle checks the answers."""

    def __init__(
        self, engine: Callable[[], tuple[str, MaintenanceEngine]], orgs: list[str], oracle: Oracle, who: str
    ) -> None:
        self._engine = engine
        self._orgs = orgs
        self._oracle = oracle
        self._who = who

    def live(self, stepper: Stepper, chance: random.Random, mean_s: float) -> None:
        """Ask now and then. Each request runs in the process that it is made to, and freezes or dies with it."""
        while True:
            stepper.sleep(_until_next(stepper, chance, mean_s))
            process, engine = self._engine()
            stepper.spawn(self._who, partial(self.act, engine, chance), group=process)

    def act(self, engine: MaintenanceEngine, chance: random.Random) -> None:
        """One request, drawn at random."""
        org_id = chance.choice(self._orgs)
        verb = chance.choices(list(VERBS), [weight for weight, _ in VERBS.values()])[0]
        self._oracle.seen[f"asked: {verb}"] += 1
        try:
            VERBS[verb][1](self, engine, org_id, chance)
        except StoreUnavailableError:
            self._oracle.seen["unavailable"] += 1
        except AggmaintError as exc:
            self._oracle.seen[type(exc).__name__] += 1

    # -- requests whose answers are checked ----------------------------------------------------------------------------

    def run(self, engine: MaintenanceEngine, org_id: str, chance: random.Random) -> None:
        if_busy = chance.choice((IfBusy.FOLD, IfBusy.FOLD, IfBusy.REJECT, IfBusy.JOIN))
        self._request(org_id, lambda: engine.run_immediately(org_id, if_busy=if_busy))

    def update(self, engine: MaintenanceEngine, org_id: str, chance: random.Random) -> None:
        cube, change = chance.choice(CUBES), chance.choice(list(CubeUpdate))
        for _ in range(chance.choice((1, 1, 2, 5))):
            answer = self._request(org_id, lambda: engine.cube_updated(org_id, cube_id=cube, change=change))
            if answer is not None and not isinstance(answer, Refused):
                self._oracle.acknowledged(org_id, cube)

    def _request(self, org_id: str, ask: Callable[[], Any]) -> Any:
        """I9: what the answer says is what was done."""
        grants = self._oracle.grants_to(org_id)
        with self._oracle.watching(org_id) as made:
            try:
                answer = ask()
            except StoreUnavailableError:
                self._oracle.check(
                    "I9", not made.changes, lambda: f"{org_id}: told that nothing was changed; it was: {made}"
                )
                raise
        if isinstance(answer, Started):
            self._oracle.check(
                "I9", answer.job.id in made.granted, lambda: f"{org_id}: Started, and nothing was granted"
            )
        elif isinstance(answer, Queued):
            newer = self._oracle.grants_to(org_id) > grants
            waits = self._oracle.waits(org_id)
            self._oracle.check("I9", waits or newer, lambda: f"{org_id}: Queued, and nothing waits")
        else:
            self._oracle.check("I9", not made.granted, lambda: f"{org_id}: {answer}, and a job was granted")
        self._oracle.seen[f"answered: {type(answer).__name__}"] += 1
        return answer

    # -- the other requests --------------------------------------------------------------------------------------------

    def cancel(self, engine: MaintenanceEngine, org_id: str, _chance: random.Random) -> None:
        job = engine.get_current_job(org_id)
        if job is not None:
            engine.cancel(org_id, job.id)

    def abandon(self, engine: MaintenanceEngine, org_id: str, _chance: random.Random) -> None:
        job = engine.get_current_job(org_id)
        if job is not None:
            engine.abandon(org_id, job.id, reason="drawn", by="operator")

    def pause(self, engine: MaintenanceEngine, org_id: str, _chance: random.Random) -> None:
        engine.pause(org_id, reason="drawn")

    def resume(self, engine: MaintenanceEngine, org_id: str, _chance: random.Random) -> None:
        engine.resume(org_id)
        engine.enable(org_id)

    def disable(self, engine: MaintenanceEngine, org_id: str, _chance: random.Random) -> None:
        engine.enable(org_id, enabled=False)

    def add_schedule(self, engine: MaintenanceEngine, org_id: str, chance: random.Random) -> None:
        if len(engine.get_organization(org_id).schedules) < 3:
            expression, zone = chance.choice(EXPRESSIONS), chance.choice(ZONES)
            engine.add_schedule(org_id, expression, zone=zone, spread_s=chance.choice((0.0, 0.0, 600.0)))

    def change_schedule(self, engine: MaintenanceEngine, org_id: str, chance: random.Random) -> None:
        schedules = engine.get_organization(org_id).schedules
        if not schedules:
            return
        schedule = chance.choice(schedules).id
        what = chance.choice((engine.activate_schedule, engine.activate_schedule, engine.resume_schedule))
        if chance.random() < 0.15:
            engine.remove_schedule(org_id, schedule)
        elif chance.random() < 0.3:
            engine.pause_schedule(org_id, schedule, reason="drawn")
        elif chance.random() < 0.3:
            engine.activate_schedule(org_id, schedule, active=False)
        else:
            what(org_id, schedule)

    def mark(self, engine: MaintenanceEngine, org_id: str, chance: random.Random) -> None:
        engine.mark_changed(org_id, chance.choice(CUBES))

    def read(self, engine: MaintenanceEngine, org_id: str, chance: random.Random) -> None:
        jobs = engine.list_jobs(org_id, limit=chance.randint(1, 5), offset=chance.choice((0, 0, 2))).jobs
        numbers = [job.fence.number for job in jobs]
        dense = all(later == earlier - 1 for earlier, later in pairwise(numbers))
        self._oracle.check("I3", dense, lambda: f"{org_id}: a page of history has holes: {numbers}")


Verb = Callable[[Client, MaintenanceEngine, str, random.Random], None]
VERBS: Final[dict[str, tuple[int, Verb]]] = {
    "run": (20, Client.run),
    "update": (26, Client.update),
    "cancel": (4, Client.cancel),
    "abandon": (1, Client.abandon),
    "pause": (3, Client.pause),
    "resume": (8, Client.resume),
    "disable": (1, Client.disable),
    "add schedule": (6, Client.add_schedule),
    "change schedule": (8, Client.change_schedule),
    "mark": (4, Client.mark),
    "read": (5, Client.read),
}


def _until_next(stepper: Stepper, chance: random.Random, mean_s: float) -> float:
    wait_s = chance.expovariate(1 / mean_s)
    if chance.random() < 0.5:  # the next round instant after it
        at_s = stepper.now_s + wait_s
        wait_s += (ROUND_S - at_s % ROUND_S) % ROUND_S
    return wait_s
