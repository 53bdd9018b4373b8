"""The engine's buffer of use counts: told often, written to the job store about once a minute.

Theory of operation. `add` only counts, in memory. `flush` takes what was counted of an organisation as one *parcel* and
commits it; while a parcel's outcome is not known nothing joins it, so that it can be found again: the document holds the ids
of its newest changes, and a parcel whose change is among them was counted. So a parcel counts once, whatever the store
answered. Only if so many other changes came in between that nothing tells any more, it is given up: uses are then lost
rather than counted twice.

**What a crash can lose**: what was told since the last flush, at most a minute of it (and what can not be written while
the store is away; it is kept and tried again as long as the process lives). What is flushed is as safe as any commit.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import define, field

from ._committing import Committer
from .core.administering import decide_uses
from .core.ids import OrgId
from .core.organization import CHANGE_IDS_MAX, OrgSnapshot
from .core.steps import Basis, Decision
from .core.use import Use, merge_told
from .errors import StoreError

FLUSH_S: Final = 60.0
FLUSH_BATCH: Final = 500
ORGS_MAX: Final = 100_000
TRIES: Final = 3

_log = logging.getLogger("aggmaint.engine")


@define
class _Parcel:
    """Uses on their way. `tried`: (change id, revision that it was decided on) of commits whose outcome is not known."""

    told: Mapping[str, Use]
    tried: list[tuple[str, int]] = field(factory=list)


class UseBuffer:
    """Uses told to one engine. `register` registers unknown organisations; None: their uses are dropped, with a warning."""

    def __init__(self, committer: Committer, register: Callable[[Sequence[OrgId]], int] | None) -> None:
        self._committer = committer
        self._register = register
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._told: dict[OrgId, dict[str, Use]] = {}
        self._parcels: dict[OrgId, _Parcel] = {}
        self._flushed_at = self._committer.clock.read()

    def _in_this_process(self) -> None:
        if self._pid != os.getpid():
            self._begin()  # a fork: what was told before it is the parent's

    def add(self, org_id: OrgId, told: Mapping[str, Use]) -> None:
        """Count; no store is asked. More than ORGS_MAX organisations at once are not counted, with a warning."""
        self._in_this_process()
        with self._lock:
            if org_id not in self._told and len(self._told) >= ORGS_MAX:
                _log.warning("uses of %r are not counted: %d organisations wait to be written", org_id, ORGS_MAX)
                return
            self._told[org_id] = merge_told(self._told.get(org_id, {}), told)

    def flush_if_due(self) -> None:
        """Flush if the last time is FLUSH_S ago, by the engine's clock."""
        self._in_this_process()
        if self._flushed_at.age_s(self._committer.clock.read()) >= FLUSH_S:
            self.flush()

    def flush(self) -> bool:
        """Write what was told. False: the store could not take it (or not all); it is kept for the next time."""
        self._in_this_process()
        with self._flushing:
            self._flushed_at = self._committer.clock.read()
            for _ in range(TRIES):
                org_ids = self._packed()
                for first in range(0, len(org_ids), FLUSH_BATCH):
                    if not self._send(org_ids[first : first + FLUSH_BATCH]):
                        return False
                if not self._parcels and not self._told:
                    return True
            return False

    def _packed(self) -> list[OrgId]:
        """Make parcels of what was told, but where one is still on its way; the organisations that have one."""
        with self._lock:
            for org_id in [each for each in self._told if each not in self._parcels]:
                self._parcels[org_id] = _Parcel(self._told.pop(org_id))
        return list(self._parcels)

    def _send(self, org_ids: Sequence[OrgId]) -> bool:
        """Commit these parcels together; those that are settled leave. False: the store is away."""
        decided: set[OrgId] = set()

        def decide(document: OrgSnapshot, basis: Basis) -> Decision[bool]:
            decided.add(document.org_id)
            return self._decide(document, basis)

        try:
            settled = self._committer.change_many(org_ids, decide)
            absent = [org_id for org_id in org_ids if org_id not in decided]
            if absent and self._register is not None:
                self._register(absent)
        except StoreError as problem:
            _log.warning("uses of %d organisations are kept for later: %s", len(org_ids), problem)
            return False
        for org_id, answer in settled.items():  # what was decided and is not here has an unknown outcome: asked again
            if answer is None:
                self._parcels[org_id].tried.pop()  # another writer was faster: surely not committed
            else:
                self._drop(org_id, counted=answer.answer)
        if self._register is None:
            for org_id in absent:
                self._drop(org_id, counted=False)
        return True

    def _drop(self, org_id: OrgId, *, counted: bool) -> None:
        del self._parcels[org_id]
        if not counted:
            _log.warning("uses of %r are dropped: it is not registered, or their commit can not be found again", org_id)

    def _decide(self, document: OrgSnapshot, basis: Basis) -> Decision[bool]:
        parcel = self._parcels[document.org_id]
        if any(change_id in document.change_ids for change_id, _ in parcel.tried):
            return Decision(None, True)
        pushed_out = any(document.revision - revision > CHANGE_IDS_MAX for _, revision in parcel.tried)
        if pushed_out or document.removed_at is not None:
            return Decision(None, False)
        parcel.tried.append((basis.change_id, document.revision))
        return Decision(decide_uses(document, parcel.told, basis).change, True)
