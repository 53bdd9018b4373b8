"""Everything that is wrong ends in one paragraph with a remedy, the right exit code, and nothing half done."""

import os
import pwd
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import CONFIGURATION, Place, Result


def assert_one_paragraph(result: Result, code: int, *words: str) -> None:
    assert result.code == code, result
    assert "Traceback" not in result.err
    assert result.err.startswith("aggmaint: "), result.err
    assert "\n\n" not in result.err.strip()
    for word in words:
        assert word in result.err, result.err


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("price * quantity", "price *", ("orders by month", "revenue", "price *", "valid SQL")),
        ('name = "revenue"', 'name = "Orders"', ("Orders", "choose another")),
        ('duckdb = "warehouse.duckdb"', "", ("warehouse.duckdb", "missing")),
        ('source = "orders"', 'source = "order"', ("'order'", "[sources]")),
        ("[warehouse]", "[warehouse", ("is not TOML",)),
    ],
)
def test_a_wrong_configuration_runs_nothing(place: Place, before: str, after: str, words: tuple[str, ...]) -> None:
    place.write_config(CONFIGURATION.replace(before, after))
    for command in ("plan", "run"):
        assert_one_paragraph(place.run(command), 2, *words)
    assert sorted(path.name for path in place.path.iterdir()) == ["aggmaint.toml", "orders.parquet"]


def test_two_aggregates_of_one_name_are_refused(place: Place) -> None:
    block = CONFIGURATION[CONFIGURATION.index("[[aggregate]]") : CONFIGURATION.index("[jobs]")]
    place.write_config(CONFIGURATION + block.replace('"orders by month"', '"Orders By Month"'))
    assert_one_paragraph(place.run("run"), 2, "orders by month", "rename one")


def test_an_unknown_column_is_named(place: Place) -> None:
    place.write_config(CONFIGURATION.replace("price *", "prize *"))
    result = place.run("run")
    assert result.code == 1
    assert "prize" in result.out
    assert "Traceback" not in result.out + result.err
    assert place.run("plan").code == 0


def test_a_missing_source_file_is_named(place: Place) -> None:
    (place.path / "orders.parquet").unlink()
    result = place.run("run")
    assert result.code == 1
    assert "orders.parquet" in result.out


def test_a_vanished_warehouse_is_not_made_anew(place: Place) -> None:
    place.run("run")
    (place.path / "warehouse.duckdb").unlink()
    result = place.run("run")
    assert result.code == 1
    assert "warehouse.duckdb does not exist" in result.out
    assert not (place.path / "warehouse.duckdb").exists()
    assert_one_paragraph(place.run("plan"), 1, "warehouse.duckdb does not exist")
    assert place.run("status", "--json").json["organizations"][0]["aggregates"][0]["rows"] == 14, "nothing is condemned"


def test_a_vanished_warehouse_is_begun_anew_when_the_configuration_says_so(place: Place) -> None:
    """The remedy that the error names."""
    place.run("run")
    (place.path / "warehouse.duckdb").unlink()
    assert "create=true" in place.run("run").out
    place.write_config(
        CONFIGURATION.replace('duckdb = "warehouse.duckdb"', 'duckdb = "warehouse.duckdb"\ncreate = true')
    )
    result = place.run("run")
    assert result.code == 0, result
    assert place.run("plan", "--json").json["steps"] == []


def test_a_missing_directory_of_the_warehouse_is_named(place: Place) -> None:
    place.write_config(CONFIGURATION.replace('"warehouse.duckdb"', '"nowhere/warehouse.duckdb"'))
    result = place.run("run")
    assert result.code == 1
    assert "nowhere" in result.out
    assert "Traceback" not in result.out + result.err


def corrupt(path: Path) -> None:
    path.write_bytes(b"this is no database, whatever its name says" * 100)


def newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO _sqlite_migrations(migration_set, name, applied_at) VALUES('aggmaint', 'm999_later', '')"
    )
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (corrupt, 1, ("aggmaint.db", "is not an SQLite database", "restore")),
        (newer, 4, ("aggmaint.db", "m999_later", "pip install -U aggmaint")),
    ],
)
def test_a_damaged_or_newer_job_store_is_refused(
    place: Place, damage: Callable[[Path], None], code: int, words: tuple[str, ...]
) -> None:
    place.run("run")
    for path in place.path.glob("aggmaint.db-*"):
        path.unlink()
    damage(place.path / "aggmaint.db")
    content = (place.path / "aggmaint.db").read_bytes()
    for command in ("run", "status", "history"):
        assert_one_paragraph(place.run(command), code, *words)
    assert (place.path / "aggmaint.db").read_bytes() == content


def test_a_directory_that_can_not_be_written_is_named(place: Place) -> None:
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        _reachable(place.path)
        place.path.chmod(0o555)
        script = (  # a plan first, as ourselves: it writes nothing, and imports what `nobody` may not read
            "import os, sys, concurrent.futures.thread, encodings.ascii, aggmaint.stores.sqlite, aggmaint.cli.working\n"
            "from aggmaint.cli import app; sys.argv[1:] = ['plan']\n"
            "try: app.cli()\n"
            "except SystemExit: pass\n"
            f"os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid}); sys.argv[1:] = ['run']; app.cli()"
        )
        child = place.start("-c", script)
    else:
        place.path.chmod(0o555)
        child = place.start("-m", "aggmaint", "run")
    _, err = child.communicate()
    place.path.chmod(0o755)
    assert_one_paragraph(Result(child.returncode, "", err), 1, "aggmaint.db", "can not be opened")
    assert sorted(path.name for path in place.path.iterdir()) == ["aggmaint.toml", "orders.parquet"]


def _reachable(path: Path) -> None:
    """pytest's directories are for their owner only; let another user come as far as `path`."""
    for parent in path.parents:
        if parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)


def test_organisations_must_be_named_when_there_are_several(place: Place) -> None:
    place.write_config(CONFIGURATION.replace('["acme"]', '["acme", "globex"]'))
    assert_one_paragraph(place.run("run"), 2, "acme, globex")
    assert_one_paragraph(place.run("run", "initech"), 2, "initech", "known: acme, globex")
    assert place.run("status", "--json").code == 0, "status shows all"


def test_reading_before_the_first_run_says_what_to_do(place: Place) -> None:
    assert "aggmaint run acme" in place.run("status").out
    assert "aggmaint run acme" in place.run("history").out
    assert_one_paragraph(place.run("why", "orders by month"), 2, "aggmaint run acme")
    assert not (place.path / "aggmaint.db").exists(), "readers make no files"


def test_init_writes_a_file_that_is_valid_and_overwrites_none(place: Place) -> None:
    assert_one_paragraph(place.run("init"), 2, "--force")
    (place.path / "aggmaint.toml").unlink()
    assert place.run("init").code == 0
    assert place.run("status").code == 0


@pytest.mark.parametrize("arguments", [("plan", "--bogus"), ("fly",), ("history", "--limit", "0"), ("why",)])
def test_wrong_usage_exits_with_2(place: Place, arguments: tuple[str, ...]) -> None:
    assert place.run(*arguments).code == 2
