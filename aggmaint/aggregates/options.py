"""What a job can be asked for besides a plain run: the task options, as a value, and as the JSON that a request carries.

Theory of operation
-------------------
The job half keeps a request's options without reading them; here is what they mean. A job that is asked to apply, rebuild,
adopt or disown does *only that*: everything else that it finds to do is told, deferred to the next run, and the job's report
is not complete. `approve_mass_drop` only releases a brake, `activate` only brings deactivated aggregates back. An option
that is not known is refused, because a misspelt one would silently do something else.

JSON, all optional: {"approve_mass_drop": bool, "activate": [aggregates], "rebuild": {aggregate: [partition keys]},
"adopt": {"from": null | installation, "aggregates": [aggregates]}, "disown": [aggregates], "apply": plan}
null among keys or aggregates stands for all of them, so that what two requests ask for is the union of their lists.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from ..errors import InvalidValueError
from .model import AggregateDefinition
from .plans import Plan

KEYS = ("approve_mass_drop", "activate", "rebuild", "adopt", "disown", "apply")


def _rebuilds(
    value: Mapping[str, Iterable[str] | None] | Iterable[tuple[str, Iterable[str] | None]],
) -> tuple[tuple[str, tuple[str, ...] | None], ...]:
    pairs = value.items() if isinstance(value, Mapping) else value
    return tuple((name, _some(keys)) for name, keys in pairs)


def _some(names: Iterable[str | None] | None) -> tuple[str, ...] | None:
    """None, or None among the names: all."""
    given = (None,) if names is None else tuple(names)
    return None if None in given else tuple(name for name in given if name is not None)


def _list(names: Sequence[str] | None) -> list[str | None]:
    return [None] if names is None else list(names)


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen
class Adopt:
    """Put tables in service that carry our tag, but that the ledger does not name.

    take_over_from  the installation whose schema this is, if it is another one's: its control row and tags become ours.
                    To name it is the confirmation.
    aggregates      only these (names, `cube.name` or ids); None: all.
    """

    take_over_from: str | None = None
    aggregates: tuple[str, ...] | None = None


@frozen(kw_only=True)
class TaskOptions:
    """See the module's docstring. Aggregates are named by name, `cube.name` or id.

    approve_mass_drop  retire aggregates without definition, however many there are at once.
    activate           bring these aggregates back, which were deactivated.
    rebuild            (aggregate, partition keys) pairs, or a mapping of them; None as keys: the whole aggregate.
    adopt, disown      see Adopt; disown gives the aggregates' tables and views to their owner.
    apply              a plan: its steps are done, and nothing else.
    """

    approve_mass_drop: bool = False
    activate: tuple[str, ...] = field(default=(), converter=_names)
    rebuild: tuple[tuple[str, tuple[str, ...] | None], ...] = field(default=(), converter=_rebuilds)
    adopt: Adopt | None = None
    disown: tuple[str, ...] = field(default=(), converter=_names)
    apply: Plan | None = None

    @property
    def limited(self) -> bool:
        """Whether the job does only what was asked for."""
        return bool(self.rebuild or self.adopt or self.disown or self.apply)

    @property
    def take_over_from(self) -> str | None:
        return self.adopt.take_over_from if self.adopt else None

    def to_json(self) -> dict[str, Any]:
        """For `engine.run_immediately(org_id, options=…)`. A plan is carried by its essence, packed."""
        options: dict[str, Any] = {}
        if self.approve_mass_drop:
            options["approve_mass_drop"] = True
        if self.activate:
            options["activate"] = list(self.activate)
        if self.rebuild:
            options["rebuild"] = {name: _list(keys) for name, keys in self.rebuild}
        if self.adopt is not None:
            names = self.adopt.aggregates
            options["adopt"] = {
                "from": self.adopt.take_over_from,
                "aggregates": _list(names),
            }
        if self.disown:
            options["disown"] = list(self.disown)
        if self.apply is not None:
            options["apply"] = {"digest": self.apply.digest, "plan": _pack(self.apply)}
        return options

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TaskOptions":
        """Raises InvalidValueError for what `to_json` would not write."""
        unknown = sorted(set(value) - set(KEYS))
        if unknown:
            raise InvalidValueError(f"task option {unknown[0]!r} is not known; there are {', '.join(KEYS)}")
        try:
            adopt, apply = value.get("adopt"), value.get("apply")
            names = adopt["aggregates"] if adopt else None
            asked = value.get("activate", ())
            return cls(
                approve_mass_drop=value.get("approve_mass_drop") is True,
                activate=_names(asked if isinstance(asked, list | tuple) else ()),  # the run refuses what is no list
                rebuild=_rebuilds(value.get("rebuild", {})),
                adopt=Adopt(adopt["from"], _some(names)) if adopt else None,
                disown=tuple(value.get("disown", ())),
                apply=_unpack(apply) if apply else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            if isinstance(problem, InvalidValueError):
                raise
            raise InvalidValueError(f"the task options {dict(value)!r} can not be read: {problem}") from problem


def _pack(plan: Plan) -> str:
    text = json.dumps(plan.essence(), separators=(",", ":"), sort_keys=True)
    return base64.b85encode(zlib.compress(text.encode(), 9)).decode("ascii")


def _unpack(value: Mapping[str, Any]) -> Plan:
    try:
        plan = Plan.from_json(json.loads(zlib.decompress(base64.b85decode(value["plan"]))))
    except zlib.error as problem:
        raise InvalidValueError("the packed plan is damaged; apply it anew") from problem
    if plan.digest != value["digest"]:
        raise InvalidValueError("the packed plan is not the one that its digest names; apply it anew")
    return plan


@frozen
class Wishes:
    """Options, with aggregates resolved to definition ids. `adopt` None: not asked for."""

    rebuild: Mapping[str, tuple[str, ...] | None]
    adopt: frozenset[str] | None
    disown: frozenset[str]
    plan: Plan | None
    limited: bool


def resolve(options: TaskOptions, definitions: Sequence[AggregateDefinition]) -> Wishes:
    """Raises InvalidValueError for an aggregate that is not known, or whose name is not enough."""

    def ids(names: Iterable[str]) -> frozenset[str]:
        return frozenset(find_definition(definitions, name).id for name in names)

    adopt: frozenset[str] | None = None
    if options.adopt is not None:
        names = options.adopt.aggregates
        adopt = frozenset(each.id for each in definitions) if names is None else ids(names)
    rebuild: dict[str, tuple[str, ...] | None] = {}
    for name, keys in options.rebuild:
        key = find_definition(definitions, name).id
        before = rebuild.get(key, ())
        rebuild[key] = None if before is None or keys is None else tuple(dict.fromkeys((*before, *keys)))
    return Wishes(
        rebuild=rebuild,
        adopt=adopt,
        disown=ids(options.disown),
        plan=options.apply,
        limited=options.limited,
    )


def find_definition(definitions: Sequence[AggregateDefinition], name: str) -> AggregateDefinition:
    """The definition of this name, `cube.name` or id; compared case-folded. Raises InvalidValueError."""
    folded = name.casefold()
    fitting = [each for each in definitions if folded in (each.id, each.label.casefold(), each.name.casefold())]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(repr(each.label) for each in definitions) or "none"
    problem = "is in several cubes; write cube.name" if fitting else "is not known"
    raise InvalidValueError(f"aggregate {name!r} {problem}; there are: {known}")
