"""`{org}` in paths and tables' names: what it takes, and what a template becomes for one organisation.

Only ids that are safe in the place where `{org}` stands are filled in; the others are refused with the remedy (a bound row
filter takes any id), so that no organisation can name another one's file or table.
"""

import re
from typing import Final

from attrs import evolve

from ._config_reading import Section
from .aggregates.model import AggregateDefinition, Source
from .errors import InvalidDefinitionError

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
SAFE_IN: Final = {
    "path": re.compile(r"(?!\.+$)[A-Za-z0-9_.-]+", re.ASCII),
    "table": re.compile(r"[A-Za-z0-9_]+", re.ASCII),
}
"""Which organisation ids `{org}` takes, by the place where it stands."""


def check_template(section: Section, key: str, template: str) -> None:
    for name in _PLACEHOLDER.findall(template):
        if name != "org":
            section.problems.add(section.key(key), f"{{{name}}} in {template!r}: only {{org}} is known")


def fill_org(template: str, org_id: str, place: str) -> str:
    """`template` with `{org}` filled in. Raises InvalidDefinitionError for an id that is not safe in this `place`."""
    if "{org}" not in template:
        return template
    if not SAFE_IN[place].fullmatch(org_id):
        raise InvalidDefinitionError(
            f"organisation {org_id!r} can not stand for {{org}} in the {place} {template!r}; "
            'rename it, or select its rows with where = "tenant = :org"'
        )
    return template.replace("{org}", org_id)


def render(template: AggregateDefinition, org_id: str) -> AggregateDefinition:
    """The template for one organisation. Raises InvalidDefinitionError for an id that does not fit `{org}`."""

    def rendered(source: Source) -> Source:
        table = source.table and fill_org(source.table, org_id, "table")
        file = source.file and fill_org(source.file, org_id, "path")
        return evolve(source, table=table, file=file)

    return evolve(
        template,
        organization_id=org_id,
        source=rendered(template.source),
        joins=tuple(evolve(join, source=rendered(join.source)) for join in template.joins),
        dependencies=tuple(rendered(source) for source in template.dependencies),
        id="",
    )
