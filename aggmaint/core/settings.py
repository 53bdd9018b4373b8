"""The job half's settings, validated when made. Durations are seconds."""

from attrs import frozen

from ..errors import InvalidValueError


@frozen
class JobSettings:
    """How long leases, deadlines, graces and back-offs last (design/jobs.md, Lease and Schedules).

    lease_s           a job whose worker did not renew for this long may be rescued.
    heartbeat_s       how often a worker renews; at most half the lease, so that one lost renewal costs no job.
    deadline_s        the longest that a job may take; renewals do not move it.
    grace_s           a slot noticed later than this is missed, not run.
    backoff_base_s    the first wait of automatic starts after a failure; doubles with each failure in a row …
    backoff_cap_s     … up to this.
    pause_after_failures   after so many failures in a row scheduled runs are paused (0: never).
    history_jobs_max  so many of the newest jobs are kept; older ones are pruned …
    history_age_s     … and so are jobs that ended longer ago than this. The newest one is always kept.
    """

    lease_s: float = 60.0
    heartbeat_s: float = 20.0
    deadline_s: float = 6 * 3600.0
    grace_s: float = 3600.0
    backoff_base_s: float = 30.0
    backoff_cap_s: float = 3600.0
    pause_after_failures: int = 0
    history_jobs_max: int = 100
    history_age_s: float = 30 * 86400.0

    def __attrs_post_init__(self) -> None:
        for name in ("lease_s", "heartbeat_s", "deadline_s", "backoff_base_s", "backoff_cap_s", "history_age_s"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise InvalidValueError(f"{name}={value!r} must be a finite number of seconds above 0")
        if not 0 <= self.grace_s < float("inf"):
            raise InvalidValueError(f"grace_s={self.grace_s!r} must be a finite number of seconds, 0 or more")
        if self.pause_after_failures < 0 or self.history_jobs_max < 1:
            raise InvalidValueError(
                f"pause_after_failures={self.pause_after_failures} must be 0 or more, and "
                f"history_jobs_max={self.history_jobs_max} 1 or more"
            )
        if not 2 * self.heartbeat_s < self.lease_s:
            raise InvalidValueError(
                f"heartbeat_s={self.heartbeat_s} is too long for lease_s={self.lease_s}: twice the heartbeat must be "
                "below the lease"
            )
        if self.deadline_s < self.lease_s:
            raise InvalidValueError(f"deadline_s={self.deadline_s} is shorter than lease_s={self.lease_s}")
