"""A scheduler on the host's APScheduler 3: maintenance ticks beside the host's other jobs.

Theory of operation. One APScheduler job, `aggmaint-tick`, with `max_instances=1` and `coalesce=True`. Each tick sets the
job's next run to when it asked to come again, but not later than `poll_s`; `wake` sets it to now. APScheduler only wakes
us: schedules, exclusion and history stay in the job store, so a lost or doubled wake-up does no harm.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from ..errors import InvalidValueError
from ..scheduler import Tick

if TYPE_CHECKING:
    from apscheduler.schedulers.base import BaseScheduler

_log = logging.getLogger("aggmaint.scheduler")


class APSchedulerScheduler:
    """Ticks from `host`, an APScheduler 3 scheduler that the host starts and shuts down."""

    def __init__(self, host: "BaseScheduler", *, poll_s: float = 5.0, retry_s: float = 1.0) -> None:
        if poll_s <= 0 or retry_s <= 0:
            raise InvalidValueError(f"poll_s={poll_s} and retry_s={retry_s} must be above 0")
        self._host = host
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._id = f"aggmaint-tick-{uuid4().hex[:8]}"
        self._lock = threading.Lock()
        self._ticking = threading.Lock()
        self._woken = False
        self._stopping = False

    def start(self, tick: Callable[[], Tick]) -> None:
        self._host.add_job(
            self._run,
            "interval",
            seconds=self._poll_s,
            args=(tick,),
            id=self._id,
            next_run_time=datetime.now(UTC),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )

    def wake(self) -> None:
        with self._lock:
            if self._stopping:
                return
            self._woken = True
            if not self._ticking.locked():
                self._come_in(0.0)

    def stop(self, timeout_s: float) -> bool:
        from apscheduler.jobstores.base import JobLookupError

        with self._lock:
            self._stopping = True
        try:
            self._host.remove_job(self._id)
        except JobLookupError:
            _log.debug("the host removed %s itself", self._id)
        if not self._ticking.acquire(timeout=timeout_s):
            return False
        self._ticking.release()
        return True

    def _run(self, tick: Callable[[], Tick]) -> None:
        with self._ticking:
            with self._lock:
                if self._stopping:
                    return
                self._woken = False
            wait_s = self._tick(tick)
        with self._lock:
            if not self._stopping:
                self._come_in(0.0 if self._woken else wait_s)

    def _tick(self, tick: Callable[[], Tick]) -> float:
        try:
            return min(tick().wait_s, self._poll_s)
        except Exception:
            _log.exception("tick failed; trying again in %s s", self._retry_s)
            return self._retry_s

    def _come_in(self, seconds: float) -> None:
        from apscheduler.jobstores.base import JobLookupError

        try:
            self._host.modify_job(self._id, next_run_time=datetime.now(UTC) + timedelta(seconds=seconds))
        except JobLookupError:
            _log.debug("the host removed %s", self._id)
