"""Plans to apply, aggregates to rebuild, adopt and give away, proofs to keep: by the command alone."""

import json
import shutil
from pathlib import Path

import pytest

from .conftest import CONFIGURATION, Place

CHANGE = "UPDATE orders SET price = price + 1 WHERE order_date = DATE '2024-03-05'"
NAME = "orders by month"


def execute(place: Place, sql: str) -> None:
    import duckdb

    with duckdb.connect(str(place.path / "warehouse.duckdb")) as connection:
        connection.execute(sql)


def schema(place: Place) -> str:
    view: str = place.run("status", "--json").json["organizations"][0]["aggregates"][0]["view"]
    return view.split(".", 1)[0]


def tables(place: Place) -> set[str]:
    return {name for (name,) in place.query("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'as_agg%'")}


def test_a_plan_is_written_applied_and_refused_a_second_time(place: Place) -> None:
    assert place.run("plan", "--out", "plan.json").code == 0
    unasked = place.run("apply", "plan.json")
    assert unasked.code == 2
    assert "--yes" in unasked.err
    assert place.run("apply", "plan.json", "--yes").code == 0
    place.write_orders(CHANGE)
    shown = place.run("plan", "--sql", "--out", "plan.json").out
    assert "DELETE FROM" in shown
    assert "INSERT INTO" in shown
    assert "about 2 rows" in shown
    place.write_orders(f"{CHANGE}; {CHANGE.replace('03-05', '02-05')}")
    applied = place.run("apply", "plan.json", "--yes", "--json")
    assert applied.code == 0, "that February is left is no failure of the apply"
    assert [step["partitions"] for step in applied.json["report"]["details"]["steps"]] == [["2024-03"]]
    again = place.run("apply", "plan.json", "--yes")
    assert again.code == 1
    assert "make a new plan" in again.out
    assert place.run("history", "--json").json["data"][0]["errorInformation"]["cause"] == "ledger_moved"


@pytest.mark.parametrize("text", ["{}", "no json", None])
def test_what_is_no_plan_is_one_paragraph(place: Place, text: str | None) -> None:
    if text is not None:
        (place.path / "plan.json").write_text(text)
    result = place.run("apply", "plan.json", "--yes")
    assert result.code == 2
    assert "plan" in result.err
    assert "Traceback" not in result.err


def test_a_rebuild_in_whole_and_in_part(place: Place) -> None:
    place.run("run")
    before = tables(place)
    assert place.run("rebuild", NAME, "--dry-run").code == 0
    assert tables(place) == before
    part = place.run("rebuild", NAME, "--partition", "2024-02", "--yes", "--json").json
    assert [step["partitions"] for step in part["report"]["details"]["steps"]] == [["2024-02"]]
    assert tables(place) == before
    assert place.run("rebuild", "acme", NAME, "--yes").code == 0
    assert len(tables(place) - before) == 1
    assert place.run("rebuild", "nope", "--yes").code == 1
    assert place.run("plan", "--json").json["steps"] == []


def test_a_lost_ledger_is_adopted_without_a_rebuild(place: Place) -> None:
    place.run("run")
    before, home = tables(place), schema(place)
    for name in ("instance", "partition", "source", "control"):
        execute(place, f'DROP TABLE "{home}".aggmaint_{name}')
    lost = place.run("run")
    assert lost.code == 1
    assert "aggmaint adopt acme" in lost.out
    dry = place.run("adopt", "--dry-run", "--json").json
    assert [step["action"] for step in dry["steps"]] == ["adopt"]
    assert place.run("adopt", "--yes").code == 0
    assert tables(place) == before
    assert place.run("run", "--json").json["report"]["details"]["steps"] == []
    assert place.run("verify").code == 0


def test_another_installations_schema_is_taken_over_by_name(place: Place) -> None:
    place.run("run")
    place.write_config('installation = "new"\n' + CONFIGURATION)
    refused = place.run("plan")
    assert refused.code == 1
    assert "aggmaint adopt acme --from default" in refused.err
    assert place.run("adopt", "--from", "default", "--yes").code == 0
    assert place.run("plan", "--json").json["steps"] == []


def test_a_disowned_aggregate_is_maintained_no_more(place: Place) -> None:
    place.run("run")
    home = schema(place)
    assert place.run("disown", "acme", NAME, "--yes").code == 0
    place.write_orders("DELETE FROM orders")
    place.write_config(CONFIGURATION.replace(f'name = "{NAME}"', 'name = "another"'))
    assert place.run("run").code == 0
    assert place.query(f'SELECT COUNT(*) FROM "{home}"."sales__{NAME}"') == [(14,)]


def test_verify_shows_what_differs_and_ends_with_1(place: Place) -> None:
    place.run("run")
    assert place.run("verify").code == 0
    assert place.run("verify", "acme", NAME, "--mode", "sample").code == 0
    assert place.run("verify", NAME, "--budget-s", "60").code == 0
    (table,) = tables(place)
    execute(place, f'UPDATE "{schema(place)}"."{table}" SET orders = orders + 1 WHERE month = DATE \'2024-02-01\'')
    found = place.run("verify", "--json")
    assert found.code == 1
    (verified,) = found.json["verified"]
    assert (verified["wrong"], verified["equal"], verified["complete"]) == (2, False, True)
    sample = verified["samples"][0]
    assert sample["kind"] == "wrong"
    assert int(sample["found"]["orders"]) == int(sample["expected"]["orders"]) + 1
    assert "expected orders=" in place.run("verify").out
    assert place.run("verify", "--partition", "2024-01").code == 0
    assert place.run("verify", "--partition", "2024-02").code == 1
    assert place.run("verify", "--partition", "1999-01").code == 2


def test_a_certificate_holds_until_something_moves(place: Place) -> None:
    place.run("run")
    assert place.run("certificate", NAME, "--out", "kept.json").code == 0
    assert json.loads((place.path / "kept.json").read_text())["fresh"] is True
    assert place.run("certificate", NAME, "--check", "kept.json").code == 0
    place.write_orders(CHANGE)
    checked = place.run("certificate", NAME, "--check", "kept.json", "--json")
    assert checked.code == 1
    changed = {key: change for key, change in checked.json["partitions"].items() if change != "same"}
    assert changed == {"2024-03": "stale"}


def test_why_not_answers_without_the_warehouse(place: Place) -> None:
    place.run("run")
    place.write_config(CONFIGURATION + "[policy]\nrun_partitions_max = 1\n")
    place.write_orders(CHANGE + "; UPDATE orders SET price = price + 1 WHERE order_date = DATE '2024-05-05'")
    assert place.run("run").code == 1, "a part is left"
    (place.path / "warehouse.duckdb").rename(place.path / "away")
    answers = place.run("why-not", NAME, "--partition", "2024-05", "--json").json["answers"]
    assert [each["code"] for each in answers] == ["partition_over_budget"]
    assert "[done]" in place.run("why-not", "acme", NAME, "--partition", "2024-03").out
    assert "definition_mixed" in place.run("why", NAME).out
    assert place.run("why-not", "nope").code == 2


def test_a_restored_job_store_is_recovered_by_the_doctor(place: Place) -> None:
    place.run("run")
    copy(place, "aggmaint.db", "older.db")
    for _ in range(3):
        assert place.run("rebuild", NAME, "--yes").code == 0
    copy(place, "older.db", "aggmaint.db")
    place.write_orders(CHANGE)
    refused = place.run("run")
    assert refused.code == 1
    assert "aggmaint doctor --recover acme" in refused.out
    recovered = place.run("doctor", "--recover", "acme", "--json").json
    assert recovered["after"] == recovered["before"] + 1
    assert place.run("run").code == 0
    again = place.run("doctor", "--recover", "acme")
    assert again.code == 0
    assert "nothing to recover" in again.out
    assert place.run("doctor", "--recover", "nobody").code == 2


def copy(place: Place, source: str, target: str) -> None:
    for path in place.path.glob(f"{target}*"):
        path.unlink()
    for path in place.path.glob(f"{source}*"):
        shutil.copy(path, place.path / path.name.replace(source, target))


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify",),
        ("certificate", NAME),
        ("apply", "plan.json", "--yes"),
        ("rebuild", NAME, "--yes"),
        ("adopt", "--yes"),
        ("disown", "acme", NAME, "--yes"),
        ("doctor", "--recover", "acme"),
    ],
)
def test_a_held_warehouse_ends_with_5_and_names_the_process(place: Place, arguments: tuple[str, ...]) -> None:
    place.run("run")
    place.write_orders(CHANGE)
    place.run("plan", "--out", "plan.json")
    holder = place.start(
        "-c", "import duckdb; held = duckdb.connect('warehouse.duckdb'); print('open', flush=True); input()"
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    result = place.run(*arguments)
    assert result.code == 5, result
    assert str(holder.pid) in result.out + result.err


def test_the_store_is_not_made_by_asking(place: Place) -> None:
    assert place.run("why-not", NAME).code == 2
    assert not Path(place.path / "aggmaint.db").exists()


def test_a_deactivated_aggregate_comes_back_when_asked_for(place: Place) -> None:
    path = place.path / "aggmaint.toml"
    lines = CONFIGURATION.split("\n[[aggregate]]\n", 1)
    second = lines[1].split("[jobs]")[0].replace("orders by month", "second").replace("cube =", "cube =", 1)
    system = 'type = "system_defined"\nsubtype = "demand_defined"\n'
    policy = "[policy]\nretention_limit = 1\nretention_excess = 1\n"
    third = second.replace('"second"', '"third"')
    aggregates = "".join(f"[[aggregate]]\n{system}{each}" for each in (second, third, lines[1].split("[jobs]")[0]))
    path.write_text(f"{lines[0]}\n{policy}{aggregates}", encoding="utf-8")
    assert place.run("run").code == 0
    shown = place.run("status", "--json").json["organizations"][0]["aggregates"]
    gone = [each["name"] for each in shown if each["status"] == "invalid"]
    assert len(gone) == 2
    unknown = place.run("run", "--activate", "nobody")
    assert unknown.code == 1
    assert "names 'nobody'" in unknown.out
    back = place.run("run", "--activate", gone[0], "--json")
    assert back.code == 0
    reasons = {each["reason"] for each in back.json["report"]["details"]["decisions"]}
    assert "build_reactivated" in reasons
