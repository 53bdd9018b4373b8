"""Several processes: who waits, who is refused, who is rescued, and who answers all the same."""

import signal

import pytest

from .conftest import CONFIGURATION, Place, wait_until


def test_readers_answer_while_another_process_holds_the_warehouse(place: Place) -> None:
    place.run("run")
    child = place.start_slow_run()
    (found,) = place.run("status", "--json").json["organizations"]
    assert found["current_job"]["status"] == "inprogress"
    assert found["aggregates"][0]["partitions"] == 7
    assert place.run("history", "--json").json["data"][0]["id"] == found["current_job"]["id"]
    assert place.run("why", "orders by month").code == 0
    doctor = place.run("doctor")
    assert doctor.code == 0
    assert str(child.pid) in doctor.out
    place.open_gate()
    assert child.wait() == 0


def test_plan_names_the_process_that_holds_the_warehouse(place: Place) -> None:
    place.run("run")
    child = place.start_slow_run()
    result = place.run("plan")
    assert result.code == 5
    assert str(child.pid) in result.err
    assert "Traceback" not in result.err


def test_a_second_run_is_told_who_runs(place: Place) -> None:
    child = place.start_slow_run()
    current = place.run("status", "--json").json["organizations"][0]["current_job"]
    result = place.run("run")
    assert result.code == 3
    assert current["id"] in result.err
    assert f"/{child.pid}/" in result.err
    assert len(place.run("history", "--json").json["data"]) == 1, "nothing was made"


def test_a_folded_run_becomes_the_one_follow_up(place: Place) -> None:
    child = place.start_slow_run()
    for _ in range(3):
        assert place.run("run", "--if-busy", "fold").code == 0
    place.open_gate()
    assert child.wait() == 0, "the first process runs the follow-up before it ends"
    jobs = place.run("history", "--json").json["data"]
    assert [job["status"] for job in jobs] == ["done", "done"]


def test_a_killed_run_is_rescued_by_the_next(place: Place) -> None:
    place.run("run")
    before = place.run("status", "--json").json["organizations"][0]["aggregates"]
    place.write_orders("DELETE FROM orders WHERE order_date < DATE '2024-03-01'")
    child = place.start_slow_run()
    child.kill()
    child.wait()
    place.open_gate()
    wait_until(lambda: place.run("run").code == 0, "the lease to lapse and the next run to rescue the job")
    newest, killed, *_ = place.run("history", "--json").json["data"]
    assert newest["status"] == "done"
    assert (killed["status"], killed["errorInformation"]["code"]) == ("failed", "abandoned")
    after = place.run("status", "--json").json["organizations"][0]["aggregates"]
    assert (before[0]["partitions"], after[0]["partitions"]) == (7, 5)


def test_a_terminated_run_ends_as_shutdown(place: Place) -> None:
    child = place.start_slow_run()
    child.send_signal(signal.SIGTERM)
    place.open_gate()
    _, err = child.communicate()
    assert child.returncode == 130
    assert "Traceback" not in err
    (job,) = place.run("history", "--json").json["data"]
    assert (job["status"], job["errorInformation"]["code"]) == ("failed", "shutdown")


ENDLESS = """
[[aggregate]]
cube = "sales"
name = "endless"
source = "orders"
joins = [JOINS]
measures = [{ name = "n", function = "count_distinct", expression = "j1.price + j2.price + j3.price + j4.price" }]
""".replace(
    "JOINS",
    ", ".join(
        f'{{ source = {{ file = "orders.parquet", alias = "j{n}" }}, on = "j{n}.price >= 0" }}' for n in range(1, 5)
    ),
)
"""200 to the power of 5 rows: nothing computes it while a test waits."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_long_query_ends_the_run_at_once(place: Place, number: signal.Signals) -> None:
    place.write_config(CONFIGURATION + ENDLESS)
    child = place.start("-m", "aggmaint", "run", "acme")

    def building() -> bool:
        progress = place.run("status", "--json").json["organizations"][0]["progress"]
        return bool(progress) and progress["detail"] == "sales.endless"

    wait_until(building, "the build of the endless aggregate")
    child.send_signal(number)
    _, err = child.communicate(timeout=10)
    assert child.returncode == 130
    assert "Traceback" not in err
    (job,) = place.run("history", "--json").json["data"]
    assert (job["status"], job["errorInformation"]["code"]) == ("failed", "shutdown")
    schema = place.query("SELECT schema_name FROM duckdb_tables() WHERE table_name = 'aggmaint_control'")[0][0]
    assert place.query(f'SELECT DISTINCT status FROM "{schema}".aggmaint_instance') == [("cancelled",)]
    assert place.query("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'as_agg%'") == []


def test_a_warehouse_held_by_a_stranger_fails_the_job_and_names_him(place: Place) -> None:
    place.run("run")
    holder = place.start(
        "-c", "import duckdb; held = duckdb.connect('warehouse.duckdb'); print('open', flush=True); input()"
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    result = place.run("run")
    assert result.code == 5
    assert str(holder.pid) in result.out
    newest = place.run("history", "--json").json["data"][0]
    assert newest["errorInformation"]["code"] == "error"
    assert newest["errorInformation"]["cause"] == "warehouse_busy"


def test_the_job_store_survives_two_first_runs_at_once(place: Place) -> None:
    """Both processes create the schema; one runs, the other runs or is told that one does."""
    children = [place.start("-m", "aggmaint", "run", "acme") for _ in range(4)]
    codes = sorted(child.wait() for child in children)
    assert codes[0] == 0
    assert set(codes) <= {0, 3, 5}
    assert (place.path / "aggmaint.db").exists()
    statuses = [job["status"] for job in place.run("history", "--json").json["data"]]
    assert statuses.count("done") == codes.count(0)
