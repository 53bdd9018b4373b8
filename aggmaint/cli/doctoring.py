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
from ..config import Config
from ..errors import AggmaintError, WarehouseBusyError
from ..warehouse import ManagedSchema
from . import show
from .exits import Exit
from .hosting import Reader, open_reader
from .options import config_option, json_option

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
def doctor(config_path: str, as_json: bool) -> None:
    """Check the configuration, the job store, the clock and the warehouses. Exit code 1 if there is a problem."""
    reader = open_reader(config_path)
    checks = list(_checks(reader))
    if as_json:
        show.document({"checks": [asdict(check) for check in checks]})
    else:
        show.table(("check", "status", "found"), [(check.name, check.status, check.words) for check in checks])
    if any(check.status == "problem" for check in checks):
        raise SystemExit(Exit.STEP_FAILED)


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
    """Each file once. Looking holds it for a moment, and never makes one."""
    seen = dict.fromkeys(fill_org(config.warehouse_path, org_id, "path") for org_id in config.organizations)
    for path in seen:
        yield _warehouse(Path(path))


def _warehouse(path: Path) -> Check:
    from ..warehouses.duckdb import DuckDBWarehouse

    if not path.exists():
        return Check("warehouse", "warning", f"{path} does not exist (yet)")
    schema = ManagedSchema("doctor", "doctor", "doctor")
    try:
        DuckDBWarehouse(path).open(schema, read_only=True).close()
    except WarehouseBusyError as exc:
        return Check("warehouse", "warning", exc.message)
    except AggmaintError as exc:
        return Check("warehouse", "problem", exc.message)
    return Check("warehouse", "ok", f"{path} opens")
