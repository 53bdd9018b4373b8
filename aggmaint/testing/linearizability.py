"""Is a history of overlapping calls what *some* order of them, one after the other, could have answered (I22)?

    history = History()
    history.call(committer, org_id, Ask())        # from many threads, in place of committer.change
    assert history.explain() == []                # the organisations whose history has no such order

Theory of operation. Each call is recorded with its operation, the ticks of one counter before it was made and after it had
answered, and its answer. Organisations are independent, so each is searched by itself (Wing & Gong's search with a memory,
as Porcupine and Knossos do): from a document, any call may be next that began before every other unanswered one had ended;
its operation is decided on the document by the core's own rules (which are the sequential specification) and must give the
recorded answer. Search goes depth first and never visits the same set of calls with the same document twice.

A call whose outcome is unknown may have taken effect once, at any time after it began, or never. One that was told that
nothing changed is left out. Time must stand still while a history is recorded (a ManualClock): then no rule depends on
the instant, and the decisions of the search are the decisions of the calls.
"""

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import asdict, evolve, field, frozen

from .._committing import Committer
from ..core.ids import JobId, OrgId
from ..core.instants import StoreTime
from ..core.organization import OrgSnapshot
from ..core.outcomes import Finished, Joined, Queued, Refused, Renewed, Started
from ..core.settings import JobSettings
from ..core.steps import Basis, Decision, Grant
from ..errors import ContentionError, StoreUnavailableError, UnknownOutcomeError
from .operations import Operation

UNKNOWN: Final = "unknown"
FOR_EVER: Final = float("inf")


@frozen
class Call:
    """One call of a history: what was asked, with which offer, when it began and ended (ticks), and the answer."""

    number: int
    org_id: OrgId
    operation: Operation
    grant: Grant
    began: int
    ended: float
    answer: Any = field(eq=False)


class History:
    """Records calls from many threads, and judges them."""

    def __init__(self, settings: JobSettings | None = None) -> None:
        self._settings = settings or JobSettings()
        self._ticks = itertools.count()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._starts: dict[OrgId, tuple[OrgSnapshot, StoreTime]] = {}

    def begin(self, committer: Committer, org_id: OrgId) -> None:
        """Take the document as it is as the beginning of this organisation's history; before the first call."""
        self._starts[org_id] = committer.load(org_id)

    def call(self, committer: Committer, org_id: OrgId, operation: Operation, grant: Grant) -> Any:
        """Change the document through `committer` by this operation, and record it. The answer, or UNKNOWN."""

        def decide(document: OrgSnapshot, basis: Basis) -> Decision[Any]:
            return operation.decide(document, basis, grant)

        began = next(self._ticks)
        answer: Any = UNKNOWN
        ended = FOR_EVER
        try:
            answer = committer.change(org_id, decide).answer
            ended = next(self._ticks)
        except UnknownOutcomeError:
            pass
        except (StoreUnavailableError, ContentionError):
            return UNKNOWN  # nothing was changed: not part of the history
        call = Call(next(self._numbers), org_id, operation, grant, began, ended, answer)
        with self._lock:
            self._calls.append(call)
        return answer

    @property
    def calls(self) -> Sequence[Call]:
        with self._lock:
            return tuple(self._calls)

    def explain(self) -> list[OrgId]:
        """The organisations for whose calls no order explains the answers; empty: the history is linearizable."""
        return [
            org_id
            for org_id, (document, time) in self._starts.items()
            if not is_linearizable(
                [call for call in self.calls if call.org_id == org_id], document, time, self._settings
            )
        ]


def is_linearizable(calls: Sequence[Call], document: OrgSnapshot, time: StoreTime, settings: JobSettings) -> bool:
    """Whether some order of `calls` that respects who ended before whom began gives every answer, from `document` on."""
    ordered = sorted(calls, key=lambda call: call.began)
    must = frozenset(index for index, call in enumerate(ordered) if call.answer is not UNKNOWN)
    specification = _Specification(time, settings)
    visited: set[tuple[int, str]] = set()
    stack: list[tuple[int, OrgSnapshot]] = [(0, document)]
    while stack:
        done, state = stack.pop()
        if all(done >> index & 1 for index in must):
            return True
        for index in _may_be_next(ordered, done):
            following = specification.apply(state, ordered[index])
            if following is None:
                continue
            key = done | 1 << index, _key(following)
            if key not in visited:
                visited.add(key)
                stack.append((key[0], following))
    return False


def _may_be_next(ordered: Sequence[Call], done: int) -> Iterator[int]:
    """Calls that are not done and began before any other that is not done had ended; the earliest to end last."""
    first_end = min((call.ended for index, call in enumerate(ordered) if not done >> index & 1), default=FOR_EVER)
    candidates = []
    for index, call in enumerate(ordered):
        if call.began > first_end:
            break
        if not done >> index & 1:
            candidates.append(index)
    yield from sorted(candidates, key=lambda index: -ordered[index].ended)


@frozen
class _Specification:
    """The sequential specification: the core's rules on one document, at a time that stands still."""

    time: StoreTime
    settings: JobSettings

    def apply(self, document: OrgSnapshot, call: Call) -> OrgSnapshot | None:
        """The document after the call, or None if its answer is not the recorded one."""
        basis = Basis(self.time, f"change-{call.number}", self.settings)
        decision = call.operation.decide(document, basis, call.grant)
        if call.answer is not UNKNOWN and told(decision.answer) != told(call.answer):
            return None
        if decision.change is None:
            return document
        return evolve(decision.change.document, revision=0, change_ids=())


def told(answer: Any) -> Any:
    """What an answer says, without what depends on the instant or on the spelling of ids that the engine draws."""
    if isinstance(answer, Started | Joined | Finished):
        return type(answer).__name__, answer.job.id, answer.job.fence, answer.job.status
    if isinstance(answer, Queued):
        return "Queued", _id(answer.behind), answer.requests_folded
    if isinstance(answer, Refused):
        return "Refused", answer.reason, _id(answer.running)
    if isinstance(answer, Renewed):
        return "Renewed", answer.running.job.id, answer.cancel_requested, answer.past_deadline
    return answer if isinstance(answer, bool | int | str | None) else type(answer).__name__


def _id(job: Any) -> JobId | None:
    return None if job is None else job.id


def _key(document: OrgSnapshot) -> str:
    return repr(asdict(evolve(document, revision=0, change_ids=()), recurse=False))
