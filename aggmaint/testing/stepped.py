"""Concurrency that moves only when it is told to: the calls of many threads, one at a time, in an order that a seed decides.

Theory of operation. Each call runs in a real thread, so that real engine and worker code is what runs; but there is one
*baton*, and only the thread that holds it moves. A thread lets go of it at its *switch points*: store calls, calls of a
job's context, sleeps, its end. Who lets go also picks who is next, so a switch costs one hand-over, or none if the same
call goes on. The pick depends on the seed and on nothing else; so do all that the calls do, if they read no other clock
and no other source of chance. Therefore one seed is one history.

Time is virtual: it stands still while anything can move, and jumps to the next waking when nothing can. Calls belong to
a *group* (a process, say): a frozen group does not move until it is thawed, while its clock goes on; a killed group never
moves again, except to unwind, in which every switch point raises `Killed`.

A call that blocks on something real (a lock that a parked call holds) would stop everything, and calls that move for ever
at one instant would never end: both are errors, told by name.
"""

import heapq
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ..core.instants import StoreTime
from ..engine import TICK_WAIT_MAX_S
from ..errors import AggmaintError
from ..scheduler import Tick

PATIENCE_S: Final = 60.0
MOVES_AT_ONCE_MAX: Final = 20_000
EPOCH: Final = datetime(2026, 3, 2, tzinfo=UTC)


class Killed(BaseException):
    """Raised at every switch point of a call whose group was killed, until the call has unwound."""


class StuckError(AggmaintError, RuntimeError):
    """A stepped call blocks on something real (a lock that a parked call holds), or time stands still for too long."""


class Actor:
    """One call of a Stepper: its thread, and where it stands."""

    def __init__(self, name: str, group: str, call: Callable[[], None]) -> None:
        self.name = name
        self.group = group
        self.call = call
        self.baton = threading.Lock()
        self.baton.acquire()
        self.killed = False
        self.ended = False
        self.ticket = 0
        self.asleep = False


class Stepper:
    """Holds the baton and virtual time. Made and driven by one thread; everything else runs in actors."""

    def __init__(self, seed: int = 0) -> None:
        self.now_s = 0.0
        self.failure: BaseException | None = None
        self.current: Actor | None = None
        self.actors: list[Actor] = []
        self._sweep_at = 64
        self._random = random.Random(seed)
        self._ready: list[Actor] = []
        self._sleeping: list[tuple[float, int, Actor]] = []
        self._tickets = 0
        self._frozen: dict[str, list[Actor]] = {}
        self._main = threading.Lock()
        self._main.acquire()
        self._steps_left: int | None = None
        self._until_s = float("inf")
        self._moves_at_once = 0

    # -- for the one who drives ----------------------------------------------------------------------------------------

    def spawn(self, name: str, call: Callable[[], None], *, group: str = "", delay_s: float = 0.0) -> Actor:
        """A new call, to be picked from now on, or after `delay_s`. An exception of it is the stepper's `failure`."""
        if len(self.actors) >= self._sweep_at:
            self.actors = [each for each in self.actors if not each.ended]
            self._sweep_at = len(self.actors) + 64
        actor = Actor(name, group, call)
        self.actors.append(actor)
        thread = threading.Thread(target=self._live, args=(actor,), name=f"stepped-{name}", daemon=True)
        thread.start()
        if delay_s > 0:
            self._put_to_sleep(actor, delay_s)
        else:
            self._ready.append(actor)
        return actor

    def run(self, *, steps: int | None = None, until_s: float = float("inf")) -> bool:
        """Let calls move: `steps` times from one switch point to the next, or until virtual time would pass `until_s`.

        False: nothing was left to move. Raises what a call failed with, and StuckError.
        """
        self._steps_left, self._until_s = steps, until_s
        following = self._pick()
        if following is not None:
            self._hand_to(following)
            if not self._main.acquire(timeout=PATIENCE_S):
                raise StuckError(f"{self.current and self.current.name} holds on to the baton for {PATIENCE_S:g} s")
        self.current = None
        if self.failure is not None:
            raise self.failure
        if until_s != float("inf") and steps is None:
            self.now_s = max(self.now_s, until_s)
        return bool(self._ready or self._sleeping)

    def fail(self, exc: BaseException) -> None:
        """Stop everything at the next switch point; `run` raises `exc`. The first one stays."""
        if self.failure is None:
            self.failure = exc

    def freeze(self, group: str) -> None:
        """The group does not move until it is thawed."""
        self._frozen.setdefault(group, [])

    def thaw(self, group: str) -> None:
        self._ready += self._frozen.pop(group, [])

    def is_frozen(self, group: str) -> bool:
        return group in self._frozen

    def kill(self, group: str) -> None:
        """The group unwinds and moves no more."""
        for actor in self.actors:
            if actor.group == group and not actor.ended:
                actor.killed = True
                self._rouse(actor)
        self.thaw(group)

    def close(self) -> None:
        """Unwind every call; afterwards no thread is left. Idempotent."""
        self.failure, self._moves_at_once = None, 0
        for actor in self.actors:
            if not actor.ended:
                actor.killed = True
                self._rouse(actor)
        for group in list(self._frozen):
            self.thaw(group)
        self.run()

    # -- for actors ----------------------------------------------------------------------------------------------------

    def switch(self) -> None:
        """A switch point. Does nothing in a thread that is no actor's."""
        me = self.current
        if me is None:
            return
        self._check_alive(me)
        self._ready.append(me)
        self._park(me)

    def sleep(self, seconds: float) -> None:
        """A switch point after which so much virtual time has passed (or the actor was roused)."""
        me = self.current
        if me is None:
            self.now_s += max(0.0, seconds)
            return
        self._check_alive(me)
        self._put_to_sleep(me, seconds)
        self._park(me)

    def rouse(self, actor: Actor) -> None:
        """Wake an actor that sleeps, now."""
        if actor.asleep:
            self._rouse(actor)

    # -- the baton -----------------------------------------------------------------------------------------------------

    def _live(self, actor: Actor) -> None:
        actor.baton.acquire()
        try:
            self._check_alive(actor)
            actor.call()
        except Killed:
            pass
        except BaseException as exc:
            self.fail(exc)
        actor.ended = True
        self._hand_over()

    def _check_alive(self, actor: Actor) -> None:
        if actor.killed:
            raise Killed(actor.name)

    def _put_to_sleep(self, actor: Actor, seconds: float) -> None:
        self._tickets += 1
        actor.ticket, actor.asleep = self._tickets, True
        heapq.heappush(self._sleeping, (self.now_s + max(0.0, seconds), self._tickets, actor))

    def _rouse(self, actor: Actor) -> None:
        if actor.asleep:
            actor.asleep, actor.ticket = False, 0
            self._ready.append(actor)

    def _park(self, me: Actor) -> None:
        following = self._pick()
        if following is not me:
            self._hand_to(following)
            me.baton.acquire()
        self._check_alive(me)

    def _hand_over(self) -> None:
        self._hand_to(self._pick())

    def _hand_to(self, actor: Actor | None) -> None:
        self.current = actor
        (self._main if actor is None else actor.baton).release()

    def _pick(self) -> Actor | None:
        """Who moves next; None: the one who drives."""
        while self.failure is None and self._steps_left != 0:
            if not self._ready and not self._pass_time():
                return None
            index = self._random.randrange(len(self._ready)) if len(self._ready) > 1 else 0
            actor = self._ready.pop(index)
            if actor.group in self._frozen and not actor.killed:
                self._frozen[actor.group].append(actor)
                continue
            if self._steps_left is not None:
                self._steps_left -= 1
            self._moves_at_once += 1
            if self._moves_at_once > MOVES_AT_ONCE_MAX:
                self.fail(StuckError(f"{MOVES_AT_ONCE_MAX} moves at one instant: {actor.name} comes to no end"))
            return actor
        return None

    def _pass_time(self) -> bool:
        """Jump to the next waking; False if there is none within `until_s`."""
        while self._sleeping:
            wake_s, ticket, actor = self._sleeping[0]
            if actor.ticket != ticket:
                heapq.heappop(self._sleeping)
                continue
            if wake_s > self._until_s:
                return False
            self.now_s = max(self.now_s, wake_s)
            self._moves_at_once = 0
            while self._sleeping and self._sleeping[0][0] <= self.now_s:
                _, ticket, actor = heapq.heappop(self._sleeping)
                if actor.ticket == ticket:
                    self._rouse(actor)
            return True
        return False


class SteppedClock:
    """Virtual time as a Clock. `wall_s` and `steady_s` may be stepped; `drift` makes the steady clock run fast or slow."""

    def __init__(self, stepper: Stepper, *, start_at: datetime = EPOCH, drift: float = 0.0) -> None:
        self.boots = 1
        self._stepper = stepper
        self._start_at = start_at
        self._rate = 1.0 + drift
        self._wall_s = 0.0
        self._steady_s = 1000.0
        self._read_at: tuple[float, float, int] | None = None
        self._reading: StoreTime

    def read(self) -> StoreTime:
        now_s = self._stepper.now_s
        key = now_s, self._wall_s, self.boots
        if key != self._read_at:  # time stands still most of the time
            wall_at = self._start_at + timedelta(seconds=now_s + self._wall_s)
            self._read_at = key
            self._reading = StoreTime(wall_at, self._steady_s + now_s * self._rate, f"boot-{self.boots}")
        return self._reading

    def sleep(self, seconds: float) -> None:
        self._stepper.sleep(seconds)

    def step_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock; the steady clock does not care."""
        self._wall_s += seconds

    def reboot(self) -> None:
        """Another life of the steady clock."""
        self.boots += 1
        self._steady_s = 5.0 - self._stepper.now_s * self._rate


class SteppedExecutor(Executor):
    """A thread executor whose calls advance only by `step()` or `run()` (or by its stepper).

    It paces the heart of the engine that uses it as well (aggmaint.worker.Pacemaker), so that renewals are stepped too.
    """

    def __init__(self, stepper: Stepper | None = None, *, group: str = "", beat_s: float = 0.0) -> None:
        self.stepper = stepper or Stepper()
        self.group = group
        self._beat_s = beat_s
        self._open = True

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not self._open:
            raise RuntimeError("this executor takes no new calls")
        future: Future[Any] = Future()

        def call() -> None:
            try:
                answer = fn(*args, **kwargs)
            except Killed:
                raise
            except Exception as exc:
                future.set_exception(exc)
            else:
                future.set_result(answer)

        self.stepper.spawn(getattr(fn, "__name__", "call"), call, group=self.group)
        return future

    def pace(self, beat: Callable[[], bool], period_s: float) -> None:
        """See Pacemaker: calls `beat` once per period of virtual time for as long as it says so."""

        def call() -> None:
            while beat():
                self.stepper.sleep(max(period_s, self._beat_s))

        self.stepper.spawn("heart", call, group=self.group)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - Executor's signature
        self._open = False
        if wait and self.stepper.current is None:
            self.stepper.run()

    def step(self) -> bool:
        """One call moves to its next switch point. False: nothing is left to move."""
        return self.stepper.run(steps=1)

    def run(self) -> None:
        """All calls move to their ends, in an order that the stepper's seed decides."""
        self.stepper.run()

    def moving(self) -> Sequence[str]:
        """The names of the calls that have not ended."""
        return [actor.name for actor in self.stepper.actors if not actor.ended]


class SteppedScheduler:
    """Ticks in virtual time: after what the tick asked for, at most `poll_s`, or when woken.

    A tick that asks for its longest wait has found nothing to come soon; then `idle_s` pass, if that is longer: looking
    every minute is what makes long simulations slow.
    """

    def __init__(
        self, stepper: Stepper, *, group: str = "", poll_s: float = 60.0, idle_s: float = 0.0, retry_s: float = 1.0
    ) -> None:
        self._stepper = stepper
        self._group = group
        self._poll_s = poll_s
        self._idle_s = idle_s
        self._retry_s = retry_s
        self._stopping = False
        self._woken = self._idle = False
        self._actor: Actor | None = None

    def start(self, tick: Callable[[], Tick]) -> None:
        def call() -> None:
            while not self._stopping:
                self._woken = False
                wait_s = self._tick(tick)
                if not self._woken:
                    self._idle = True
                    self._stepper.sleep(wait_s)
                    self._idle = False

        self._actor = self._stepper.spawn("scheduler", call, group=self._group)

    def wake(self) -> None:
        self._woken = True
        if self._actor is not None and self._idle:
            self._stepper.rouse(self._actor)

    def stop(self, timeout_s: float) -> bool:  # noqa: ARG002 - the port's signature
        self._stopping = True
        self.wake()
        return True

    def _tick(self, tick: Callable[[], Tick]) -> float:
        try:
            wait_s = tick().wait_s
            return max(wait_s, self._idle_s) if wait_s >= TICK_WAIT_MAX_S else min(wait_s, self._poll_s)
        except AggmaintError:
            return self._retry_s
