"""`doctor`: is everything in place? Each check says what it looked at, and a failed one what to do."""

import os
import platform
import shutil
import sqlite3
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import click
from attrs import asdict, frozen

from .._config_templates import fill_org
from .._config_warehouses import Warehouses
from ..config import Config, load_config
from ..errors import AggmaintError, WarehouseBusyError
from ..warehouse import ManagedSchema, Warehouse
from . import show
from .exits import Exit
from .hosting import Reader, make_engine, open_reader
from .options import config_option, json_option
from .patience import patiently

FREE_BYTES_MIN: Final = 100 * 1024 * 1024


@frozen
class Check:
    """One look: `status` is ok, warning or problem."""

    name: str
    status: str
    words: str


@click.command()
@config_option
@json_option
@click.option("--recover", "org", metavar="ORG", help="Let ORG's jobs outrank what its warehouse has seen.")
def doctor(config_path: str, as_json: bool, org: str | None) -> None:
    """Check the configuration, the job store, the clock and the warehouses. Exit code 1 if there is a problem.

    With --recover: after the job store was lost or restored from an older copy, its jobs are refused by the warehouse,
    which has seen newer ones. This raises the generation of ORG, so that they are newest again.
    """
    if org is not None:
        _recover(config_path, org, as_json=as_json)
        return
    reader = open_reader(config_path)
    checks = list(_checks(reader))
    if as_json:
        show.document({"checks": [asdict(check) for check in checks]})
    else:
        show.table(("check", "status", "found"), [(check.name, check.status, check.words) for check in checks])
    if any(check.status == "problem" for check in checks):
        raise SystemExit(Exit.STEP_FAILED)


def _recover(config_path: str, org: str, *, as_json: bool) -> None:
    """Raise the generation, if the warehouse has seen a newer fence than the job store has granted, and no job runs."""
    config = load_config(config_path)
    org_id = config.known(org)
    task = config.task()
    control = patiently(lambda: task.control(org_id))
    engine = make_engine(config, task, executor=None)
    engine.register_organizations([org_id])
    document = engine.get_organization(org_id)
    before = document.generation
    behind = control is not None and (control.generation, control.fence) > (before, document.last_fence)
    after = engine.raise_generation(org_id, at_least=control.generation + 1) if control and behind else before
    seen = None if control is None else f"{control.generation}.{control.fence}"
    if as_json:
        show.document({"organization_id": org_id, "warehouse_has_seen": seen, "before": before, "after": after})
    elif behind:
        words = f"the warehouse has seen fence {seen}, the job store was at {before}.{document.last_fence}"
        show.say(f"{words}; jobs of {org_id} are now of generation {after}, and outrank it. Try: aggmaint run {org_id}")
    else:
        show.say(f"nothing to recover: the jobs of {org_id} outrank what its warehouse has seen ({seen or 'nothing'})")


def _checks(reader: Reader) -> Iterator[Check]:
    config = reader.config
    yield Check("versions", "ok", _versions())
    yield Check("configuration", "ok", f"{config.path}: {len(config.templates)} aggregates for {_count(config)}")
    yield _clock()
    yield _store(reader)
    yield _disk(config)
    yield from _jobs(reader)
    yield from _warehouses(config)


def _count(config: Config) -> str:
    count = len(config.organizations)
    return f"{count} organisation{'' if count == 1 else 's'}"


def _versions() -> str:
    def installed(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"{name} missing"

    packages = [installed(name) for name in ("aggmaint", "duckdb", "sqlglot", "croniter", "sqlite-utils")]
    return ", ".join([*packages, f"SQLite {sqlite3.sqlite_version}", f"Python {platform.python_version()}"])


def _clock() -> Check:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return Check("clock", "ok", "leases are judged by CLOCK_BOOTTIME, which no change of the wall clock moves")
    return Check("clock", "warning", "no CLOCK_BOOTTIME here: leases are judged by the monotonic clock of this machine")


def _store(reader: Reader) -> Check:
    path = reader.config.store_path
    if reader.engine is None:
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            return Check(
                "job store", "problem", f"{path.parent} is not a directory that this user may write to; make it"
            )
        return Check("job store", "ok", f"{path} will be made by the first run")
    return Check("job store", "ok", f"{path} opens, its schema is this version's")


def _disk(config: Config) -> Check:
    place = config.store_path.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError as exc:
        return Check("disk", "problem", f"{place}: {exc}")
    words = f"{free // (1024 * 1024):,} MiB free at {place}"
    return Check("disk", "ok" if free >= FREE_BYTES_MIN else "warning", words)


def _jobs(reader: Reader) -> Iterator[Check]:
    """Jobs whose worker is gone: they are no fault, but somebody may wonder."""
    engine = reader.engine
    if engine is None:
        return
    now = engine.store_time()
    for org_id in reader.config.organizations:
        document = reader.document(org_id)
        running = document.running if document else None
        if running and running.lease.lapsed(now):
            words = f"job {running.job.id} of {running.job.holder} was abandoned; the next run of {org_id!r} rescues it"
            yield Check("jobs", "warning", words)
        elif running:
            words = f"{org_id!r}: {running.job.holder} runs job {running.job.id}"
            yield Check("jobs", "ok", words)


def _warehouses(config: Config) -> Iterator[Check]:
    """Each file once. Looking holds it for a moment, and never makes one. Of a factory's warehouses, each once."""
    if config.warehouse_factory is not None:
        warehouses = Warehouses(config)
        made = {id(warehouse): warehouse for warehouse in map(warehouses, config.organizations)}
        yield from (_opens(each, type(each).__name__) for each in made.values())
        return
    seen = dict.fromkeys(fill_org(config.warehouse_path, org_id, "path") for org_id in config.organizations)
    for path in seen:
        yield _warehouse(Path(path))


def _warehouse(path: Path) -> Check:
    from ..warehouses.duckdb import DuckDBWarehouse

    if not path.exists():
        return Check("warehouse", "warning", f"{path} does not exist (yet)")
    return _opens(DuckDBWarehouse(path), str(path))


def _opens(warehouse: Warehouse, name: str) -> Check:
    try:
        warehouse.open(ManagedSchema("doctor", "doctor", "doctor"), read_only=True).close()
    except WarehouseBusyError as exc:
        return Check("warehouse", "warning", exc.message)
    except AggmaintError as exc:
        return Check("warehouse", "problem", exc.message)
    return Check("warehouse", "ok", f"{name} opens")
