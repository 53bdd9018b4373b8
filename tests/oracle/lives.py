"""Which definitions may be pruned, and what must become of them: uses, absence of use, and the limit of a cube, in Python.

What a crashed job, or an older copy that was put back, has left is not known exactly: then absence of use is an interval,
and only what follows from both of its ends is required.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from attrs import Factory, define, evolve

from aggmaint.aggregates.model import AggregateDefinition
from aggmaint.aggregates.policy import Policy

MARGIN = timedelta(hours=1)
"""So near to its end a time may be over or not: a run takes a while."""

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
GONE = frozenset({"definition_unused", "definition_deactivated"})


@define
class _Life:
    """Of one definition. `since`: between which instants its absence of use began; `rests`: None where nobody knows.

    `uses` by day; those told since the last job (`told`) are carried by the next one, all on the day of the last of them.
    """

    since: tuple[datetime, datetime | None]
    rests: bool | None = None
    may_return: bool = False
    must_return: bool = False
    uses: dict[str, int] = Factory(dict)
    told: int = 0
    told_on: str = ""
    vague: bool = False


@define
class Lives:
    """`subtype`: of all definitions, if they are system-defined; None: they are user-defined, and nothing is pruned."""

    subtype: str | None = None
    _of: dict[str, _Life] = Factory(dict)
    _first_at: datetime | None = None
    _began_at: datetime = LONG_AGO
    _certain: bool = True
    _uses_known: bool = True

    def __copy__(self) -> "Lives":
        mine = {name: evolve(life, uses=dict(life.uses)) for name, life in self._of.items()}
        return evolve(self, of=mine)

    def typed(self, definition: AggregateDefinition) -> AggregateDefinition:
        if self.subtype is None:
            return definition
        return evolve(definition, type="system_defined", subtype=self.subtype)

    # -- what happens --------------------------------------------------------------------------------------------------

    def used(self, name: str, uses: int, at: datetime) -> None:
        life = self._of.setdefault(name, _Life((at, None)))
        life.since = (max(at, life.since[0]), None if life.since[1] is None else max(at, life.since[1]))
        life.told, life.told_on = life.told + uses, f"{at:%Y-%m-%d}"
        life.may_return = life.must_return = True

    def redefined(self, name: str) -> None:
        if name in self._of:
            self._of[name].may_return = True

    def shaken(self) -> None:
        """A job may end anywhere now, or another one run."""
        self._certain = False
        for life in self._of.values():
            life.rests, life.must_return = None, False
            life.vague = life.vague or life.told > 0  # a job that was cut off may have carried them

    def forgotten(self) -> None:
        """An older copy was put back: of uses and absences only bounds are known."""
        self.shaken()
        self._uses_known, self._first_at = False, LONG_AGO
        for life in self._of.values():
            life.since = (LONG_AGO, None)

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def job_begins(self, at: datetime) -> None:
        if not self._certain:
            self.shaken()
        self._first_at = self._first_at or at
        self._began_at, self._certain = at, False

    def job_ended(
        self, names: Sequence[str], told: Mapping[str, str], blocked: Collection[str], policy: Policy, at: datetime
    ) -> None:
        """A job came to its end and told this: every word of it that is about lives must be so."""
        if self.subtype is None:
            assert not {reason for reason in told.values() if reason in {*GONE, "definition_over_limit"}}
            return
        mine = [name for name in names if name not in blocked]
        for name in mine:
            self._judge(name, told[f"sales.{name}"], policy, at)
        self._judge_limit({name: told[f"sales.{name}"] for name in mine}, policy, at)
        self._certain = True

    def _judge(self, name: str, reason: str, policy: Policy, at: datetime) -> None:
        life = self._of.setdefault(name, _Life((self._first_at or LONG_AGO, None)))
        life.uses[life.told_on] = life.uses.get(life.told_on, 0) + life.told
        life.told = 0
        days = timedelta(days=policy.unused_days)
        longest, shortest = at - life.since[0], self._began_at - (life.since[1] or at)
        life.since = (life.since[0], life.since[1] or at)
        if reason == "definition_unused":
            assert self.subtype == "demand_defined" and life.rests is not True, name
            assert longest >= days - MARGIN, f"{name} was used not long ago, and is deactivated"
        elif reason == "definition_deactivated":
            assert life.rests is not False, f"{name} rests, and nobody deactivated it"
            assert not (life.rests and life.must_return), f"{name} was used, and still rests"
            return
        elif life.rests:
            assert life.may_return, f"{name} came back, and nobody wanted it"
            life.since = (self._began_at, at)
        elif life.rests is None and life.may_return:
            life.since = (life.since[0], at)
        elif self.subtype == "demand_defined":
            assert shortest < days + MARGIN, f"{name} was not used for {shortest}, and is not deactivated"
        life.rests = reason in {"definition_unused", "definition_over_limit"}
        life.may_return = life.must_return = False

    def _judge_limit(self, told: Mapping[str, str], policy: Policy, at: datetime) -> None:
        """Above limit and excess, so many of the least used go that the limit is met."""
        candidates = [name for name, reason in told.items() if reason not in GONE]
        gone = [name for name in candidates if told[name] == "definition_over_limit"]
        many = len(candidates) > policy.retention_limit + policy.retention_excess
        assert len(gone) == (len(candidates) - policy.retention_limit if many else 0), told
        kept = [name for name in candidates if name not in gone]
        if self._uses_known and gone and kept and not any(self._of[name].vague for name in candidates):
            first = (at - timedelta(days=policy.unused_days - 1)).date().isoformat()
            recent = {
                name: sum(uses for day, uses in self._of[name].uses.items() if day >= first) for name in candidates
            }
            assert max(recent[name] for name in gone) <= min(recent[name] for name in kept), recent
