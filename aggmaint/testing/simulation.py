"""Deterministic simulation: days of many processes over one store in a fraction of a second, with everything going wrong.

    Simulation(seed=7).run()                                  # raises InvariantBrokenError with the seed and the trace
    Simulation(seed=7, task=lambda clock: MyTask(clock)).run()  # your own task: it passes time with clock.sleep(…)

Theory of operation. Real engines and real workers run over a MemoryStore, in threads of which one moves at a time
(`stepped.py`), in virtual time. A seed decides everything: requests, lengths of jobs, faults, and who moves next at every
store call; so one seed is one history, and `trace_hash` says so. An oracle sees every change that the store applies, every
publish, event and answer, and checks the invariants of design/jobs.md at each of them. At the end faults stop: everybody
thaws, what was switched off is switched on, and within some hours all demand must be covered, nothing may be stuck, and
every organisation must be able to run a job.
"""

import hashlib
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from attrs import frozen

from ..clock import Clock
from ..core.ids import OrgId
from ..core.job import Fence
from ..core.settings import JobSettings
from ..core.trigger import CubeUpdate
from ..engine import MaintenanceEngine
from ..store import JobStore
from ..stores.memory import MemoryStore
from ..task import MaintenanceTask
from ._simulation_chance import seeded_chance
from ._simulation_load import NO_FAULTS, RATES, Client, DefaultTask, Faults
from ._simulation_oracle import InvariantBrokenError, Oracle
from ._simulation_rules import has_lapsed
from ._simulation_world import Node, Trace, Witness, World
from .faulty import SeededPlan
from .stepped import Actor, SteppedClock, Stepper, StuckError

__all__ = ["Faults", "InvariantBrokenError", "Simulation", "SimulationResult", "SimulationSize"]

TAIL: Final = 40
DAY_S: Final = 86_400.0
REPLAY: Final = "python -m aggmaint.testing.simulation"
SETTINGS: Final = JobSettings(deadline_s=3600.0, grace_s=1800.0, history_jobs_max=20)


@frozen
class SimulationSize:
    """How much is simulated. `request_mean_s`: the mean time between two requests of one of the clients."""

    hours: float = 24.0
    nodes: int = 3
    clients: int = 3
    organizations: int = 2
    jobs_max: int = 2
    request_mean_s: float = 3600.0
    idle_s: float = 600.0
    quiet_hours: float = 3.0


@frozen
class SimulationResult:
    """What a simulation came to. `seen` counts what happened: a day in which nothing happens proves nothing."""

    seed: int
    trace_hash: str
    seen: Mapping[str, int]
    trace: tuple[str, ...]


class Simulation:
    """One world, made from a seed. `run` it once.

    task      makes the task of a process from its clock, whose `sleep` passes virtual time. Default: a random one.
    faults    what goes wrong how often; about half of the kinds are switched off by the seed unless `swarm` is False.
    settings  of all engines.
    """

    def __init__(
        self,
        seed: int,
        *,
        task: Callable[[Clock], MaintenanceTask] | None = None,
        size: SimulationSize | None = None,
        faults: Faults | None = None,
        swarm: bool = True,
        settings: JobSettings | None = None,
    ) -> None:
        self.seed = seed
        self.size = size or SimulationSize()
        self._chance = random.Random(f"world {seed}")
        self._faults = (faults or Faults()).swarm(self._chance) if swarm else faults or Faults()
        self.stepper = Stepper(seed)
        self.clock = SteppedClock(self.stepper)
        self.trace = Trace(self.stepper)
        self.oracle = Oracle(self.stepper.fail, self._actor)
        self._foreigners: list[Actor | None] = []
        store = MemoryStore(clock=self.clock)
        self.witness = Witness(store, self.oracle, self.stepper, self._who, self.trace)
        self._tasks: list[DefaultTask] = []
        self.world = World(
            stepper=self.stepper,
            clock=self.clock,
            store=store,
            witness=self.witness,
            oracle=self.oracle,
            trace=self.trace,
            settings=settings or SETTINGS,
            chance=random.Random(f"listeners {seed}"),
            make_task=task or self._default_task,
            jobs_max=self.size.jobs_max,
            idle_s=self.size.idle_s,
            stalls=self._faults.stalls,
            stall=self._stall,
        )
        self.orgs = [f"org-{number}" for number in range(self.size.organizations)]
        self.nodes = [
            Node(f"node-{number}", SteppedClock(self.stepper, drift=self._chance.uniform(-0.01, 0.01)))
            for number in range(self.size.nodes)
        ]
        self._plans = 0
        self._stormy = True

    def run(self) -> SimulationResult:
        """Simulate it all. Raises InvariantBrokenError; its message has the seed and the end of the trace."""
        with seeded_chance(self.seed):
            try:
                self._storm()
                self._quiesce()
                self._wish()
                self._settle()
            except StuckError as exc:
                raise InvariantBrokenError("I26", self._told(str(exc))) from exc
            except InvariantBrokenError as exc:
                raise InvariantBrokenError(exc.rule, self._told(str(exc))) from exc
            finally:
                self.stepper.close()
        digest = hashlib.sha256("\n".join(self.trace.lines).encode()).hexdigest()
        return SimulationResult(self.seed, digest, Counter(self.oracle.seen), tuple(self.trace.lines))

    # -- a day ---------------------------------------------------------------------------------------------------------

    def _storm(self) -> None:
        for node in self.nodes:
            self._start(node)
        self._register()
        for number in range(self.size.clients):
            client = Client(self._some_engine(number), self.orgs, self.oracle, f"client-{number}")
            chance = random.Random(f"client {self.seed} {number}")
            self.stepper.spawn(f"client-{number}", self._client(client, chance), group=f"client-{number}")
        for kind in RATES:
            rate = getattr(self._faults, f"{kind}_per_day")
            if rate > 0:
                self.stepper.spawn(kind, self._weather(kind, DAY_S / rate), group="weather")
        self.stepper.run(until_s=self.size.hours * 3600)

    def _register(self) -> None:
        """All organisations, registered by an engine whose line does not fail."""
        setup = MaintenanceEngine(
            store=self.witness,
            task=DefaultTask(self.clock, 0),
            scheduler=None,
            executor=None,
            settings=self.world.settings,
        )
        setup.register_organizations(self.orgs)

    def _client(self, client: Client, chance: random.Random) -> Callable[[], None]:
        return lambda: client.live(self.stepper, chance, self.size.request_mean_s)

    def _some_engine(self, number: int) -> Callable[[], tuple[str, MaintenanceEngine]]:
        chance = random.Random(f"engine {self.seed} {number}")

        def choose() -> tuple[str, MaintenanceEngine]:
            node = chance.choice(self.nodes)
            assert node.engine is not None
            return node.process, node.engine

        return choose

    def _actor(self) -> Actor | None:
        """Who commits now; None for somebody else's commit on another's line."""
        return None if self.stepper.current in self._foreigners else self.stepper.current

    def _who(self) -> str:
        if self.stepper.current in self._foreigners:
            return "foreigner"
        return self.stepper.current.group if self.stepper.current else "setup"

    def _default_task(self, clock: Clock) -> MaintenanceTask:
        task = DefaultTask(clock, self.seed)
        task.calm = not self._stormy
        self._tasks.append(task)
        return task

    def _start(self, node: Node) -> None:
        self._plans += 1
        faults = self._faults if self._stormy else NO_FAULTS
        plan = SeededPlan(
            hash((self.seed, self._plans)),
            unavailable=faults.unavailable,
            unknown=faults.unknown,
            delay=faults.delay,
            delay_s=faults.delay_s,
            foreign=(faults.foreign, self._foreign),
        )
        self.world.start(node, plan)

    # -- weather -------------------------------------------------------------------------------------------------------

    def _weather(self, kind: str, mean_s: float) -> Callable[[], None]:
        chance = random.Random(f"{kind} {self.seed}")

        def blow() -> None:
            while True:
                self.stepper.sleep(chance.expovariate(1 / mean_s))
                self.oracle.seen[kind] += 1
                getattr(self, f"_{kind}")(chance)

        return blow

    def _freezes(self, chance: random.Random) -> None:
        self._freeze(chance.choice(self.nodes).process, chance)

    def _stall(self, process: str) -> None:
        """Freeze a process, or set the clock, right where it is: before or after a commit."""
        if self._stormy and not self.stepper.is_frozen(process):
            self.oracle.seen["stalls"] += 1
            chance = random.Random(self.world.chance.random())
            if self._faults.wall_steps_per_day and chance.random() < 0.3:
                self._wall_steps(chance)
                return
            self.stepper.freeze(process)
            self.stepper.spawn("stall", partial(self._freeze, process, chance), group="weather")

    def _freeze(self, process: str, chance: random.Random) -> None:
        lease_s = self.world.settings.lease_s
        seconds = chance.choice((lease_s * 0.5, lease_s * 1.1, lease_s * 4 * chance.random(), 21_600 * chance.random()))
        self.trace(f"{process} freezes for {seconds:.0f} s")
        self.stepper.freeze(process)
        self.stepper.sleep(seconds)
        self.trace(f"{process} thaws")
        self.stepper.thaw(process)

    def _deaths(self, chance: random.Random) -> None:
        self._die(chance.choice(self.nodes))

    def _die(self, node: Node) -> None:
        self.trace(f"{node.process} dies")
        self.stepper.kill(node.process)
        self._start(node)

    def _restarts(self, chance: random.Random) -> None:
        node = chance.choice(self.nodes)
        engine, process = node.engine, node.process
        assert engine is not None

        def close() -> None:
            engine.close(timeout_s=0)

        self.trace(f"{process} shuts down")
        self.stepper.spawn("close", close, group=process)
        self._start(node)

    def _wall_steps(self, chance: random.Random) -> None:
        seconds = chance.choice((-10_800.0, 10_800.0, chance.uniform(-10_800, 10_800), 30.0, -30.0))
        self.trace(f"the wall clock is stepped by {seconds:.0f} s")
        self.clock.step_wall(seconds)

    def _reboots(self, _chance: random.Random) -> None:
        self.trace("the machine reboots")
        for node in self.nodes:
            self.stepper.kill(node.process)
        self.clock.reboot()
        for node in self.nodes:
            self._start(node)

    def _failovers(self, _chance: random.Random) -> None:
        self.trace("the store begins another life")
        self.clock.reboot()

    def _foreign(self, store: JobStore) -> None:
        """Somebody else's commit: a mark, told on a line that does not fail."""
        chance = self.world.chance
        other = MaintenanceEngine(
            store=store, task=DefaultTask(self.clock, 0), scheduler=None, executor=None, settings=self.world.settings,
            clock=self.clock,
        )  # fmt: skip
        self._foreigners.append(self.stepper.current)
        try:
            other.mark_changed(chance.choice(self.orgs), "foreign")
        finally:
            self._foreigners.remove(self.stepper.current)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _quiesce(self) -> None:
        """No more faults; what is frozen thaws, what is off is on; then demand is covered in the end (I24, I25)."""
        self._stormy = False
        for group in ("weather", *(f"client-{number}" for number in range(self.size.clients))):
            self.stepper.kill(group)
        for node in self.nodes:
            self.stepper.kill(node.process)
        for task in self._tasks:
            task.calm = True
        for node in self.nodes:
            self._start(node)
        self.trace("the storm is over")
        engine = self.nodes[0].engine
        assert engine is not None
        for org_id in self.orgs:
            self._do(partial(engine.enable, org_id))
            self._do(partial(engine.resume, org_id))
        self._pass(self.size.quiet_hours * 3600)
        for org_id in self.orgs:
            document = self.oracle.last[OrgId(org_id)]
            lapsed = document.running is not None and has_lapsed(document.running.lease, self.clock.read())
            self.oracle.check("I24", not lapsed, f"{org_id}: {document.running} lapsed and was not rescued")
            self.oracle.check("I25", not document.uncovered, f"{org_id}: {dict(document.uncovered)} is not covered")
            now = self.clock.read().wall_at
            waits_s = (now - document.waiting.at).total_seconds() if document.waiting else 0.0
            self.oracle.check("I25", waits_s < DAY_S / 24, f"{org_id}: {document.pending} still waits")
        self._raise()

    def _wish(self) -> None:
        """From every state public calls lead to a start (I26), and to the end of what was asked for."""
        engine = self.nodes[0].engine
        assert engine is not None
        before = {org_id: self.oracle.grants_to(org_id) for org_id in self.orgs}
        for org_id in self.orgs:
            self._do(partial(engine.run_immediately, org_id))
            self._do(partial(engine.cube_updated, org_id, cube_id="last", change=CubeUpdate.STATIC_CUBE_UPDATED))
        self._pass(self.world.settings.lease_s + self.size.quiet_hours * 1800)
        for org_id in self.orgs:
            self.oracle.check("I26", self.oracle.grants_to(org_id) > before[org_id], f"{org_id}: no job came")
            covered = not self.oracle.last[OrgId(org_id)].uncovered
            self.oracle.check("I25", covered, f"{org_id}: the last update is not covered")
        self._raise()

    def _settle(self) -> None:
        keep = self.world.settings.history_jobs_max
        self.oracle.reconcile(self.world.store)
        for org_id in self.orgs:
            rows = self.world.store.load([OrgId(org_id)]).snapshots[OrgId(org_id)]
            kept = rows.last_fence - rows.pruned_through
            self.oracle.check("I27", kept <= keep + 1, f"{org_id} keeps {kept} jobs, {keep} are wanted")
            published = [
                fence
                for key, fence in self.witness.data.items()
                if key.startswith(f"{org_id}/") and isinstance(fence, Fence)
            ]
            newest = self.oracle.history(OrgId(org_id)).published
            self.oracle.check(
                "I8", not published or max(published) == newest, f"{org_id}: {published} against {newest}"
            )
        self._raise()

    def _do(self, call: Callable[[], Any]) -> None:
        self.stepper.spawn("operator", lambda: call() and None, group=self.nodes[0].process)
        self.stepper.run(until_s=self.stepper.now_s)

    def _pass(self, seconds: float) -> None:
        self.stepper.run(until_s=self.stepper.now_s + seconds)

    def _raise(self) -> None:
        if self.stepper.failure is not None:
            raise self.stepper.failure

    def _told(self, message: str) -> str:
        lines = "\n".join(self.trace.lines[-TAIL:])
        return f"{message}\nseed {self.seed} (replay: {REPLAY} {self.seed})\n{lines}"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        result = Simulation(int(argument)).run()
        sys.stdout.write(f"seed {result.seed}: no violation; trace {result.trace_hash[:16]}, {dict(result.seen)}\n")
