"""aggmaint.toml: what to maintain, for whom, and where; read whole, checked whole, then turned into an engine.

Theory of operation. One file describes a fleet: each `[[aggregate]]` is a *template* that holds for every organisation.
What differs per organisation is `{org}` in a path or a table's name, or the parameter `:org` in a row filter. Loading
renders every template for the first organisation and checks it, so that a mistake is found before anything runs; the
definitions of the others are made when they are needed. `{org}` takes only ids that are safe in that place.

`load_config` gives a frozen `Config` or raises one ConfigurationError with every problem. `Config.store()` and `.task()`
make the parts; this is the one module that knows every adapter, and imports each when it is named.
The same from Python needs none of this: see `MaintenanceEngine` and `AggregateMaintenance`.
"""

import json
import os
import sqlite3
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

from attrs import fields, frozen

from ._config_answers import keep_answers, read_answers
from ._config_reading import Problems, Section
from ._config_templates import check_template, fill_org, render
from ._config_warehouses import Warehouses, factory_of, read_warehouse
from .aggregates.model import (
    AggregateDefinition,
    Attribute,
    Granularity,
    Join,
    Measure,
    MeasureFunction,
    PartitionBy,
    Source,
)
from .aggregates.policy import Policy
from .core.ids import OrgId, parse_org_id
from .core.settings import JobSettings
from .errors import AggmaintError, ConfigurationError, InvalidDefinitionError, InvalidValueError, JobNotFoundError

if TYPE_CHECKING:
    from .maintenance import AggregateMaintenance
    from .stores.sqlite import SQLiteStore

T = TypeVar("T")

CONFIG_NAME: Final = "aggmaint.toml"


@frozen
class Config:
    """A valid configuration. Paths are absolute; `{org}` in them is filled in when an organisation is named.

    warehouse_path     of DuckDB files; empty if a factory makes the warehouses.
    warehouse_factory  `module:callable`; see _config_warehouses.py.
    """

    path: Path
    store_path: Path
    warehouse_path: str
    warehouse_factory: str | None
    warehouse_create: bool
    hold: Literal["run", "process"]
    installation: str
    organizations: tuple[OrgId, ...]
    templates: tuple[AggregateDefinition, ...]
    settings: JobSettings
    policy: Policy
    jobs_max: int
    answers_known: int = 0
    """How many answers of the SQL parser were read: see _config_answers.py."""

    def store(self) -> "SQLiteStore":
        """The job store; its file is made when it is prepared."""
        from .stores.sqlite import SQLiteStore

        return SQLiteStore(self.store_path)

    def definitions(self, org_id: str) -> tuple[AggregateDefinition, ...]:
        """The organisation's aggregates, from the templates."""
        return tuple(render(template, org_id) for template in self.templates)

    def task(self) -> "AggregateMaintenance":
        from .maintenance import AggregateMaintenance

        return AggregateMaintenance(
            definitions=self.definitions,
            warehouse_for=Warehouses(self),
            policy=self.policy,
            installation=self.installation,
            knows_instances=self.knows_instances,
        )

    def knows_instances(self, org_id: str) -> bool:
        """Whether the job store remembers aggregates of this organisation, so that its warehouse can not be a new one.

        Not asked where the configuration says `create = true`: then a new one may be begun.
        """
        if self.warehouse_create or not self.store_path.is_file():
            return False
        store = self.store()
        document = store.load([OrgId(org_id)]).snapshots.get(OrgId(org_id))
        if document is None or document.inventory_job_id is None:
            return False
        try:
            inventory = store.get_job(document.org_id, document.inventory_job_id).inventory
        except JobNotFoundError:
            return True  # pruned, but there was one: in doubt nothing is begun anew
        finally:
            store.close()
        return inventory is not None and any(i["status"] == "active" for i in json.loads(inventory)["instances"])

    def keep_answers(self) -> None:
        """Let the next process know what this one had parsed."""
        keep_answers(self.store_path, self.answers_known)

    def known(self, org_id: str) -> OrgId:
        """The id if the configuration names it. Raises ConfigurationError with the known ones."""
        if org_id not in self.organizations:
            some = ", ".join(self.organizations[:5]) + (", …" if len(self.organizations) > 5 else "")
            raise ConfigurationError(f"organisation {org_id!r} is not in {self.path}; known: {some}")
        return OrgId(org_id)


def load_config(path: str | Path, environment: Mapping[str, str] | None = None, *, parse_sql: bool = True) -> Config:
    """Read and check the whole file. Raises ConfigurationError with every problem in `problems`; runs nothing.

    `parse_sql=False` leaves the SQL in definitions unparsed, for those who only read jobs: the parser takes half a second.
    """
    place = Path(path).absolute()
    problems = Problems()
    root = Section(_parse(place), "", problems, os.environ if environment is None else environment)
    config = _read(root, place, parse_sql=parse_sql)
    root.finish()
    if problems.found:
        count = len(problems.found)
        head = f"{place} has {count} problem{'s' if count > 1 else ''}; nothing was run"
        raise ConfigurationError("\n  - ".join([head, *problems.found]), tuple(problems.found))
    assert config is not None, "a configuration without problems is complete"
    return config


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist; write one with: aggmaint init") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path} can not be read: {exc}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{path} is not TOML: {exc}") from exc


def _read(root: Section, place: Path, *, parse_sql: bool) -> Config | None:
    base = place.parent
    store, warehouse, jobs = root.section("store"), root.section("warehouse"), root.section("jobs")
    store_path = base / (store.text("sqlite", "aggmaint.db") or "")
    warehouse_path, factory, hold, create = read_warehouse(warehouse, base)
    organizations = _organizations(root, base)
    sources = _sources(root, base)
    templates = tuple(_aggregate(section, sources, base) for section in root.sections("aggregate"))
    if not root.raw("aggregate"):
        root.problems.add("aggregate", "there is none; write at least one [[aggregate]]")
    jobs_max = jobs.integer("jobs_max", 4)
    if jobs_max < 1:
        root.problems.add("jobs.jobs_max", f"{jobs_max} must be 1 or more")
    settings = _values(jobs, JobSettings)
    policy = _values(root.section("policy"), Policy)
    installation = root.text("installation", "default") or "default"
    for section in (store, warehouse, jobs):
        section.finish()
    made = tuple(template for template in templates if template is not None)
    _check_organizations(root, organizations, made, warehouse_path)
    known = read_answers(store_path) if parse_sql else 0
    if parse_sql and not root.problems.found:
        _check_sql(root, organizations[0], made, factory)
    if root.problems.found or settings is None or policy is None:
        return None
    where = (place, store_path, warehouse_path, factory, create, hold)
    return Config(*where, installation, organizations, made, settings, policy, jobs_max, known)


def _organizations(root: Section, base: Path) -> tuple[OrgId, ...]:
    section = root.section("organizations")
    ids: list[Any] = list(section.items("ids"))
    if "query" in section:
        ids += _query_organizations(section, base)
    section.finish(("ids", "query", "sqlite"))
    if not ids and not root.problems.found:
        root.problems.add("organizations", 'there is none; write ids = ["acme"], or a query')
    parsed: dict[OrgId, None] = {}
    for value in ids:
        try:
            org_id = parse_org_id(value)
        except InvalidValueError as exc:
            root.problems.add("organizations", exc.message)
            continue
        if org_id in parsed:
            root.problems.add("organizations", f"{org_id!r} is named twice; remove one")
        parsed[org_id] = None
    return tuple(parsed)


def _query_organizations(section: Section, base: Path) -> list[Any]:
    """The first column of a query on an SQLite file, which is opened for reading only."""
    query = section.text("query") or ""
    path = base / section.required_text("sqlite", "name the SQLite file that the query reads")
    if not path.is_file():
        section.problems.add(section.key("sqlite"), f"{path} does not exist")
        return []
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return [row[0] for row in connection.execute(query)]
    except (sqlite3.Error, sqlite3.Warning) as exc:
        section.problems.add(section.key("query"), f"{query!r} failed on {path}: {exc}")
        return []
    finally:
        connection.close()


def _sources(root: Section, base: Path) -> dict[str, Source]:
    section = root.section("sources")
    made = {name: _source(section.section(name), base, alias=name) for name in section.names()}
    return {name: source for name, source in made.items() if source is not None}


def _source(section: Section, base: Path, *, alias: str = "") -> Source | None:
    table, file, where = section.text("table"), section.text("file"), section.text("where")
    aggregate = section.text("aggregate")
    alias = section.text("alias", alias) or alias
    promises: dict[str, Any] = {key: section.text(key) for key in ("append_only", "updated_at", "deletes")}
    promises["marks_commit_in_order"] = section.boolean("marks_commit_in_order", False)
    section.finish()
    if where is not None and "{org}" in where:
        section.problems.add(section.key("where"), f"{where!r}: write :org, which is bound, instead of {{org}}")
    if file is not None:
        file = file if "://" in file else str(base / file)
        check_template(section, "file", file)
    if table is not None:
        check_template(section, "table", table)
    places: dict[str, Any] = {"table": table, "file": file, "aggregate": aggregate}
    return _made(section, lambda: Source(**places, where=where, alias=alias, **promises))


def _source_of(section: Section, key: str, value: Any, sources: Mapping[str, Source], base: Path) -> Source | None:
    """A source that is named, or written out in place."""
    if isinstance(value, dict):
        return _source(section.sub(value, key), base)
    if isinstance(value, str) and value in sources:
        return sources[value]
    known = ", ".join(sources) or "none"
    section.problems.add(section.key(key), f"{value!r} is not one of [sources] ({known}); define it there")
    return None


def _aggregate(section: Section, sources: Mapping[str, Source], base: Path) -> AggregateDefinition | None:
    name = section.required_text("name", "give the aggregate a name")
    cube = section.required_text("cube", "name the cube that it belongs to")
    if name:
        section.name = f"aggregate {name!r}"
    source = _source_of(section, "source", section.raw("source"), sources, base)
    joins = [_join(each, sources, base) for each in section.sections("joins")]
    attributes = [_attribute(section, value) for value in section.items("attributes")]
    measures = [_measure(each) for each in section.sections("measures")]
    dependencies = [_source_of(section, "dependencies", each, sources, base) for each in section.items("dependencies")]
    partition = _partition(section.section("partition")) if "partition" in section else None
    parameters = section.raw("parameters") or {}
    project, blocked = section.text("project", "default") or "default", section.boolean("blocked", False)
    kind, subkind = section.text("type", "user_defined") or "", section.text("subtype", "manual") or ""
    section.finish(("joins", "attributes", "measures", "dependencies", "partition", "parameters", "project", "blocked"))
    if source is None:
        return None
    return _made(
        section,
        lambda: AggregateDefinition(
            organization_id="{org}",
            project=project,
            cube=cube,
            name=name,
            source=source,
            joins=tuple(filter(None, joins)),
            attributes=tuple(filter(None, attributes)),
            measures=tuple(filter(None, measures)),
            dependencies=tuple(filter(None, dependencies)),
            partition=partition,
            parameters=parameters,
            blocked=blocked,
            type=kind,
            subtype=subkind,
        ),
    )


def _join(section: Section, sources: Mapping[str, Source], base: Path) -> Join | None:
    source = _source_of(section, "source", section.raw("source"), sources, base)
    on = section.required_text("on", 'write the condition, e.g. "orders.id = lines.order_id"')
    kind = section.text("kind") or "inner"
    section.finish()
    return None if source is None else _made(section, lambda: Join(source=source, on=on, kind=kind))


def _attribute(section: Section, value: Any) -> Attribute | None:
    """A column's name, or a table with `name` and `expression`."""
    if isinstance(value, str):
        return _made(section, lambda: Attribute(value))
    part = section.sub(value, "attributes")
    name, expression = part.required_text("name", "name the attribute"), part.text("expression", "")
    part.finish()
    return _made(part, lambda: Attribute(name, expression or ""))


def _measure(section: Section) -> Measure | None:
    name = section.required_text("name", "name the measure")
    function = section.required_text("function", f"one of {', '.join(MeasureFunction)}")
    expression, condition, order = section.text("expression"), section.text("filter"), section.text("order")
    section.finish()
    if not name or not function:
        return None
    return _made(section, lambda: Measure(name, function, expression, condition, order=order))


def _partition(section: Section) -> PartitionBy | None:
    expression = section.required_text("expression", "the date or timestamp that decides the partition")
    by = section.required_text("by", f"one of {', '.join(Granularity)}")
    zone, name = section.text("zone", "UTC") or "UTC", section.text("name", "") or ""
    values, merge = tuple(section.items("values")), section.boolean("merge", False)
    section.finish()
    if not expression or not by:
        return None
    return _made(section, lambda: PartitionBy(expression, by, zone, name, values=values, merge=merge))


def _values(section: Section, kind: type[T]) -> T | None:
    """A class of validated numbers and flags, its fields being the keys."""
    given: dict[str, Any] = {}
    for attribute in fields(cast(Any, kind)):
        if attribute.name in section:
            given[attribute.name] = _taker(section, attribute.default)(attribute.name, attribute.default)
    section.finish([attribute.name for attribute in fields(cast(Any, kind))])
    return _made(section, lambda: kind(**given))


def _taker(section: Section, default: Any) -> Callable[[str, Any], Any]:
    """How a key is read, by the type of its default."""
    if isinstance(default, bool):
        return section.boolean
    return section.integer if isinstance(default, int) else section.number


def _made(section: Section, make: Callable[[], T]) -> T | None:
    try:
        return make()
    except (AggmaintError, TypeError) as exc:
        section.problems.add(section.name, str(exc))
        return None


def _check_organizations(
    root: Section, organizations: tuple[OrgId, ...], templates: tuple[AggregateDefinition, ...], warehouse_path: str
) -> None:
    """Check that every `{org}` takes every organisation."""
    if root.problems.found:
        return
    for org_id in organizations:
        try:
            fill_org(warehouse_path, org_id, "path")
            for template in templates:
                render(template, org_id)
        except InvalidDefinitionError as exc:
            root.problems.add("organizations", exc.message)


def _check_sql(root: Section, org_id: OrgId, templates: tuple[AggregateDefinition, ...], factory: str | None) -> None:
    from .aggregates.check import DEFAULT_DIALECT, check_definitions

    dialect = DEFAULT_DIALECT
    if factory is not None:
        try:
            dialect = factory_of(factory)(org_id).capabilities.dialect
        except AggmaintError as problem:
            root.problems.add("warehouse.factory", problem.message)
            return
    rendered = [render(template, org_id) for template in templates]
    root.problems.found.extend(str(problem) for problem in check_definitions(rendered, dialect))
