"""A user's own Parquet file, from nothing to fresh aggregates, by the command alone."""

import json

from .conftest import CONFIGURATION, Place

EXPECTED = """
    SELECT date_trunc('month', order_date)::DATE, status, count(*), sum(price * quantity)
    FROM read_parquet('{}') GROUP BY ALL ORDER BY 1, 2"""


def assert_equal_to_plain_sql(place: Place) -> None:
    view = place.run("status", "--json").json["organizations"][0]["aggregates"][0]["view"]
    schema, name = view.split(".", 1)
    found = place.query(f'SELECT month::DATE, status, orders, revenue FROM "{schema}"."{name}" ORDER BY 1, 2')
    assert found == place.query(EXPECTED.format(place.path / "orders.parquet"))
    assert found


def test_plan_run_run_change_plan_run(place: Place) -> None:
    plan = place.run("plan", "acme")
    assert plan.code == 0
    assert "never built" in plan.out
    assert not (place.path / "warehouse.duckdb").exists(), "plan makes nothing"

    first = place.run("run", "acme", "--json")
    assert first.code == 0, first.err
    assert [step["action"] for step in first.json["report"]["details"]["steps"]] == ["build"]
    assert_equal_to_plain_sql(place)

    again = place.run("run", "acme", "--json")
    assert again.json["report"]["details"]["steps"] == []

    place.write_orders("UPDATE orders SET price = price + 1 WHERE order_date = DATE '2024-03-05'")
    (step,) = place.run("plan", "acme", "--json").json["steps"]
    assert (step["action"], step["partitions"]) == ("refresh", ["2024-03"])
    why = [d for d in place.run("plan", "--json").json["decisions"] if d["partitions"] == ["2024-03"]]
    assert [decision["reason"] for decision in why] == ["partition_changed"]

    assert place.run("run", "acme").code == 0
    assert_equal_to_plain_sql(place)


def test_a_deleted_month_leaves_the_aggregate(place: Place) -> None:
    place.run("run")
    place.write_orders("DELETE FROM orders WHERE date_trunc('month', order_date) = DATE '2024-02-01'")
    assert place.run("run").code == 0
    assert_equal_to_plain_sql(place)


def test_a_run_without_changes_leaves_the_file_as_it_is(place: Place) -> None:
    place.run("run")
    before = (place.path / "warehouse.duckdb").read_bytes()
    assert place.run("run").code == 0
    assert (place.path / "warehouse.duckdb").read_bytes() == before


def test_a_changed_definition_is_rebuilt(place: Place) -> None:
    place.run("run")
    place.write_config(CONFIGURATION.replace("price * quantity", "price"))
    plan = place.run("plan", "--json").json
    assert [step["action"] for step in plan["steps"]] == ["build"]
    assert place.run("run").code == 0
    assert place.run("plan", "--json").json["steps"] == []


def test_one_template_serves_two_organisations_with_a_bound_filter(place: Place) -> None:
    text = CONFIGURATION.replace('ids = ["acme"]', """ids = ["new", "it's; DROP TABLE x"]""")
    place.write_config(text.replace('file = "orders.parquet"', 'file = "orders.parquet"\nwhere = "status = :org"'))
    for org, rows in (("new", 7), ("it's; DROP TABLE x", 0)):
        assert place.run("run", org).code == 0
        (found,) = place.run("status", org, "--json").json["organizations"]
        assert found["aggregates"][0]["rows"] == rows


def test_why_tells_what_the_last_job_decided(place: Place) -> None:
    place.run("run")
    place.run("run")
    for arguments in (("orders by month",), ("acme", "sales.orders by month"), ("acme", "ORDERS BY MONTH")):
        result = place.run("why", *arguments)
        assert result.code == 0
        assert "definition_fresh" in result.out
    one = place.run("why", "orders by month", "--partition", "2024-03", "--json").json
    assert [decision["reason"] for decision in one["decisions"]] == ["partition_fresh"]
    assert place.run("why", "orders by month", "--partition", "2031-01").code == 2
    assert "'sales.orders by month'" in place.run("why", "nope").err


def test_what_is_piped_is_plain_and_what_is_json_is_one_document(place: Place) -> None:
    for arguments in (("plan",), ("run",), ("status",), ("history",), ("why", "orders by month"), ("doctor",)):
        plain = place.run(*arguments, FORCE_COLOR="")
        assert "\x1b" not in plain.out + plain.err
        assert json.loads(place.run(*arguments, "--json").out), arguments


def test_a_sick_aggregate_stops_no_other(place: Place) -> None:
    sick = CONFIGURATION[CONFIGURATION.index("[[aggregate]]") : CONFIGURATION.index("[jobs]")]
    place.write_config(CONFIGURATION + sick.replace('"orders by month"', '"sick"').replace("price *", "prize *"))
    result = place.run("run")
    assert result.code == 1
    assert "prize" in result.out
    assert "Traceback" not in result.err
    by_name = {each["name"]: each for each in place.run("status", "--json").json["organizations"][0]["aggregates"]}
    assert by_name["orders by month"]["status"] == "active"
    assert by_name["sick"]["status"] == "invalid"
    assert_equal_to_plain_sql(place)
