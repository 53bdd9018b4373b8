"""The warehouses of a configuration: DuckDB files, or what a factory of somebody's own makes.

A factory is named `module:callable`, is called with an organisation's id, and returns a Warehouse. It is asked once for each
organisation; to share a warehouse among several, it returns the same object.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, cast

from ._config_reading import Section
from ._config_templates import check_template, fill_org
from .errors import InvalidValueError
from .warehouse import Warehouse

if TYPE_CHECKING:
    from .config import Config


def read_warehouse(section: Section, base: Any) -> tuple[str, str | None, Literal["run", "process"], bool]:
    """(DuckDB path or "", factory, hold, create); problems are noted."""
    path, factory = "", section.text("factory")
    if factory is not None:
        for key in ("duckdb", "hold", "create"):
            if key in section:
                section.problems.add(section.key(key), "is for DuckDB files; with a factory, leave it out")
        return path, factory, "run", False
    path = str(base / section.required_text("duckdb", 'name the DuckDB file, e.g. "warehouse.duckdb"'))
    check_template(section, "duckdb", path)
    hold = section.text("hold", "run")
    if hold not in ("run", "process"):
        section.problems.add(section.key("hold"), f'{hold!r} must be "run" or "process"')
    return path, None, "process" if hold == "process" else "run", section.boolean("create", False)


def factory_of(name: str) -> Callable[[str], Warehouse]:
    """What `module:callable` names. Raises InvalidValueError that says what is missing."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InvalidValueError(f'{name!r} must be "module:callable", such as "mypackage.warehouses:for_organization"')
    try:
        found = getattr(import_module(module_name), attribute, None)
    except ImportError as problem:
        raise InvalidValueError(f"{name!r} can not be imported ({problem}); install it, or set PYTHONPATH") from problem
    if not callable(found):
        raise InvalidValueError(f"{name!r}: module {module_name} has no function {attribute!r}")
    return cast(Callable[[str], Warehouse], found)


class Warehouses:
    """The warehouse of an organisation: one object for each file, so that one that is held stays held. For all threads."""

    def __init__(self, config: "Config") -> None:
        self._config = config
        self._made: dict[str, Warehouse] = {}

    def __call__(self, org_id: str) -> Warehouse:
        factory = self._config.warehouse_factory
        key = org_id if factory is not None else fill_org(self._config.warehouse_path, org_id, "path")
        if key not in self._made:
            made = self._duckdb(key) if factory is None else factory_of(factory)(org_id)
            self._made.setdefault(key, made)  # of two threads' the first stays; a warehouse opens nothing by itself
        return self._made[key]

    def _duckdb(self, path: str) -> Warehouse:
        from .warehouses.duckdb import DuckDBWarehouse

        return DuckDBWarehouse(path, hold=self._config.hold, create=self._config.warehouse_create)
