"""From a configuration file to what a command works with."""

from typing import Any

from attrs import frozen

from ..config import Config, load_config
from ..core.ids import OrgId
from ..core.organization import OrgSnapshot
from ..engine import MaintenanceEngine
from ..errors import ConfigurationError, OrganizationNotFoundError, TaskFailedError
from ..task import MaintenanceReport, MaintenanceTask, TaskContext


class _NoTask:
    """For engines that only read."""

    def run(self, context: TaskContext) -> MaintenanceReport:
        raise TaskFailedError(f"this engine only reads; it was asked to run {context.job.id}", cause="reads_only")


@frozen
class Reader:
    """Reads the job store of a configuration; never opens the warehouse, never makes a file."""

    config: Config
    engine: MaintenanceEngine | None

    @classmethod
    def of(cls, config: Config) -> "Reader":
        exists = config.store_path.is_file()
        return cls(config, make_engine(config, _NoTask(), executor=None) if exists else None)

    def document(self, org_id: OrgId) -> OrgSnapshot | None:
        """The organisation's document; None when nothing was ever run or registered for it."""
        try:
            return self.engine.get_organization(org_id) if self.engine else None
        except OrganizationNotFoundError:
            return None


def open_reader(config_path: str) -> Reader:
    return Reader.of(load_config(config_path, parse_sql=False))


def make_engine(config: Config, task: MaintenanceTask, **how: Any) -> MaintenanceEngine:
    """An engine on the configured store; without a scheduler unless one is given."""
    how.setdefault("scheduler", None)
    return MaintenanceEngine(store=config.store(), task=task, settings=config.settings, **how)


def the_org(config: Config, org: str | None) -> OrgId:
    """The organisation that a command is about; may be left out when there is exactly one."""
    if org is not None:
        return config.known(org)
    if len(config.organizations) == 1:
        return config.organizations[0]
    some = ", ".join(config.organizations[:5]) + (", …" if len(config.organizations) > 5 else "")
    raise ConfigurationError(f"name one of the {len(config.organizations)} organisations of {config.path}: {some}")
