"""The database file: opened per run or held, missing, foreign, held by another process; and data in files."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from aggmaint.aggregates.model import AggregateDefinition, Attribute, Join, Measure, PartitionBy, Source
from aggmaint.errors import (
    InvalidValueError,
    TaskFailedError,
    WarehouseBusyError,
    WarehouseUnavailableError,
)
from aggmaint.maintenance import AggregateMaintenance
from aggmaint.warehouse import ManagedSchema
from aggmaint.warehouses.duckdb import DuckDBOptions, DuckDBWarehouse

from ..maintenance.support import NOON, ORG, WRITES, FakeContext, refreshed

SCHEMA = ManagedSchema("default", ORG, "agg_0_acme")

HOLDER = """
import duckdb, sys
con = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def over(source: Source, **more: object) -> AggregateDefinition:
    values: dict[str, object] = {
        "organization_id": ORG,
        "cube": "c",
        "name": "a",
        "source": source,
        "attributes": [Attribute("day")],
        "measures": [Measure("v", "sum", "v")],
        "partition": PartitionBy("day", "month"),
        **more,
    }
    return AggregateDefinition(**values)  # type: ignore[arg-type]  # each case changes one part


def maintenance(warehouse: DuckDBWarehouse, *wanted: AggregateDefinition, known: bool = False) -> AggregateMaintenance:
    return AggregateMaintenance(
        definitions={ORG: wanted}, warehouse_for=lambda _org: warehouse, knows_instances=lambda _org: known
    )


def context(number: int = 1) -> FakeContext:
    return FakeContext(ORG, number, [NOON + timedelta(minutes=number)])


def test_a_missing_file_is_named_and_not_created(tmp_path: Path) -> None:
    path = tmp_path / "gone.duckdb"
    task = maintenance(DuckDBWarehouse(path), over(Source(table="t")))
    with pytest.raises(TaskFailedError, match=r"gone\.duckdb does not exist; .*create=true") as refused:
        task.run(context())
    assert refused.value.cause == "warehouse_unavailable"
    with pytest.raises(WarehouseUnavailableError):
        task.plan(ORG, now=NOON)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_created_when_allowed_but_not_by_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "new.duckdb"
    task = maintenance(DuckDBWarehouse(path, create=True), over(Source(table="t")))
    assert task.plan(ORG, now=NOON).decisions[0].reason.value == "source_unavailable"
    assert not path.exists()
    assert not task.run(context()).complete
    assert path.exists()


def test_with_data_in_files_only_the_warehouse_is_begun_unless_it_was_there(tmp_path: Path) -> None:
    data = tmp_path / "t.csv"
    data.write_text("day,v\n2024-01-05,1\n")
    path = tmp_path / "new.duckdb"
    lost = maintenance(DuckDBWarehouse(path), over(Source(file=str(data))), known=True)
    with pytest.raises(TaskFailedError, match="does not exist"):
        lost.run(context())
    created_but_lost = maintenance(DuckDBWarehouse(path, create=True), over(Source(file=str(data))), known=True)
    with pytest.raises(TaskFailedError, match="does not exist"):
        created_but_lost.run(context())
    assert not path.exists()
    assert maintenance(DuckDBWarehouse(path), over(Source(file=str(data)))).run(context()).complete
    assert path.exists()


@pytest.mark.parametrize("hold", ["run", "process"])
def test_another_process_holds_the_file(tmp_path: Path, hold: str) -> None:
    path = tmp_path / "w.duckdb"
    duckdb.connect(str(path)).close()
    warehouse = DuckDBWarehouse(path, hold=hold)  # type: ignore[arg-type]  # both words are tried
    task = maintenance(warehouse, over(Source(table="t")))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(WarehouseBusyError, match=f"held by process {holder.pid}") as busy:
            task.plan(ORG, now=NOON)
        assert busy.value.pid == holder.pid
        assert isinstance(busy.value.__cause__, duckdb.IOException)
        with pytest.raises(TaskFailedError) as failed:
            task.run(context())
        assert failed.value.cause == "warehouse_busy"
    finally:
        holder.stdin.close()
        holder.stdout.close()
        holder.wait()
    assert task.run(context(2)) is not None
    warehouse.close()


def test_per_run_the_file_is_let_go_and_per_process_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    duckdb.connect(str(path)).close()
    probe = [sys.executable, "-c", f"import duckdb; duckdb.connect({str(path)!r})"]
    for hold, free in (("run", True), ("process", False)):
        warehouse = DuckDBWarehouse(path, hold=hold)  # type: ignore[arg-type]  # both words are tried
        maintenance(warehouse).run(context())
        assert (subprocess.run(probe, capture_output=True, check=False).returncode == 0) is free
        warehouse.close()
        warehouse.close()
        assert subprocess.run(probe, capture_output=True, check=False).returncode == 0


def test_organisations_run_at_once_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    base = duckdb.connect(str(path))
    base.execute(
        "CREATE TABLE t AS SELECT DATE '2024-01-01' + CAST(i AS INTEGER) AS day, i % 7 AS v, i % 4 AS org "
        "FROM range(99) AS r(i)"
    )
    base.close()
    orgs = [str(each) for each in range(4)]
    warehouse = DuckDBWarehouse(path)
    task = AggregateMaintenance(
        definitions=lambda org: [over(Source(table="t", where="org = CAST(:org AS INTEGER)"), organization_id=org)],
        warehouse_for=lambda _org: warehouse,
    )

    def job(org: str) -> bool:
        runs = [task.run(FakeContext(org, number, [NOON])).complete for number in (1, 2, 3)]
        return all(runs) and task.verify(org)[0].equal

    with ThreadPoolExecutor(len(orgs)) as pool:
        assert all(pool.map(job, orgs))


def test_not_a_database_and_no_such_directory(tmp_path: Path) -> None:
    path = tmp_path / "text.duckdb"
    path.write_text("hello " * 2000)
    with pytest.raises(WarehouseUnavailableError, match="can not be opened"):
        DuckDBWarehouse(path).open(SCHEMA)
    with pytest.raises(WarehouseUnavailableError, match="can not be opened"):
        DuckDBWarehouse(tmp_path / "no" / "x.duckdb", create=True).open(SCHEMA)


def test_open_in_this_process_with_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    duckdb.connect(str(path)).close()
    mine = duckdb.connect(str(path), read_only=True)
    with pytest.raises(WarehouseUnavailableError, match="with other settings; give that connection"):
        DuckDBWarehouse(path).open(SCHEMA)
    mine.close()


def test_wrong_arguments() -> None:
    with pytest.raises(InvalidValueError, match="exactly one"):
        DuckDBWarehouse()
    with pytest.raises(InvalidValueError, match="memory database"):
        DuckDBWarehouse(":memory:")
    with pytest.raises(InvalidValueError, match="hold='ever'"):
        DuckDBWarehouse("x", hold="ever")  # type: ignore[arg-type]  # that is the case


def test_attached_databases_are_sources(tmp_path: Path) -> None:
    other = duckdb.connect(str(tmp_path / "other.duckdb"))
    other.execute("CREATE TABLE t AS SELECT DATE '2024-01-05' AS day, 1 AS v")
    other.close()
    options = DuckDBOptions(attach={"o": tmp_path / "other.duckdb"}, config={"threads": "1"})
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", create=True, options=options)
    task = maintenance(warehouse, over(Source(table="o.main.t")))
    assert task.run(context()).complete
    assert all(each.equal for each in task.verify(ORG))
    (tmp_path / "other.duckdb").unlink()
    with pytest.raises(TaskFailedError, match=r"attached database 'o'.*does not exist"):
        task.run(context(2))


def parquet(path: Path, rows: str) -> None:
    duckdb.connect().execute(f"COPY (SELECT * FROM (VALUES {rows}) AS t(day, v, k)) TO '{path}' (FORMAT parquet)")


def test_parquet_and_csv_from_first_build_to_a_changed_row(tmp_path: Path) -> None:
    fact, other = tmp_path / "fact-1.parquet", tmp_path / "fact-2.parquet"
    parquet(fact, "(DATE '2024-01-05', 1, 1), (DATE '2024-02-05', 2, 2), (NULL, 3, 1)")
    parquet(other, "(DATE '2024-03-05', 4, 2)")
    dims = tmp_path / "dims.csv"
    dims.write_text("k,name\n1,one\n2,two\n")
    joined = over(
        Source(file=str(tmp_path / "fact-*.parquet")),
        name="b",
        joins=[Join(source=Source(file=str(dims)), on="fact.k = dims.k")],
        attributes=[Attribute("name")],
    )
    seen: list[str] = []
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", options=DuckDBOptions(on_statement=seen.append))
    task = maintenance(warehouse, over(Source(file=str(tmp_path / "fact-*.parquet"))), joined)
    assert task.run(context(1)).complete
    assert all(each.equal and each.rows_found for each in task.verify(ORG))
    seen.clear()
    assert task.run(context(2)).details["steps"] == []
    assert not [sql for sql in seen if WRITES.match(sql)]
    parquet(other, "(DATE '2024-03-05', 40, 2), (DATE '2024-03-06', 1, 1)")
    plan = task.plan(ORG, now=NOON)
    changed = [each for each in plan.decisions if each.reason.value == "partition_changed"]
    assert {(each.aggregate, key) for each in changed for key in each.partitions} == {
        ("c.a", "2024-03"),
        ("c.b", "2024-03"),
    }
    assert refreshed(task.run(context(3))) == {"a": {"2024-03"}, "b": {"2024-03"}}
    assert all(each.equal for each in task.verify(ORG))


def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_run(tmp_path: Path) -> None:
    """Its token is of before, its data might be of after: neither is published."""
    fact = tmp_path / "fact.parquet"
    parquet(fact, "(DATE '2024-01-05', 1, 1)")
    armed = [False]

    def replace(sql: str) -> None:
        if armed[0] and sql.startswith(("CREATE TEMP TABLE", "CREATE TABLE")) and "READ_PARQUET" in sql:
            armed[0] = False
            parquet(fact, "(DATE '2024-01-05', 7, 1), (DATE '2024-02-05', 8, 1)")

    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", options=DuckDBOptions(on_statement=replace))
    task = maintenance(warehouse, over(Source(file=str(fact))))
    for number in (1, 4):
        parquet(fact, f"(DATE '2024-01-05', {number}, 1)")
        armed[0] = True
        report = task.run(context(number))
        assert not armed[0]
        assert not report.complete
        assert "changed while it was read" in report.errors[0].message
        assert task.run(context(number + 1)).complete
        assert all(each.equal for each in task.verify(ORG))


def test_a_variable_of_ours_is_not_taken_for_a_table(tmp_path: Path) -> None:
    """DuckDB's Python client would read it in place of a table that is not there; the host still may."""
    host = duckdb.connect()
    host.execute("SET GLOBAL python_scan_all_frames = true")
    gone = host.sql("SELECT DATE '2024-01-01' AS day, 1 AS v")  # noqa: F841 - the trap
    assert host.execute("SELECT count(*) FROM gone").fetchone() == (1,)
    warehouse = DuckDBWarehouse(connection=host)
    wanted = [over(Source(table="gone"))]
    plan = AggregateMaintenance(definitions={ORG: wanted}, warehouse_for=lambda _: warehouse).plan(ORG, now=NOON)
    assert [each.reason.value for each in plan.decisions] == ["source_unavailable"]
