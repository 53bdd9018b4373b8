"""aggmaint.toml: what it may say, and that everything wrong is told at once, with its key and the remedy."""

import sqlite3
from pathlib import Path

import pytest

from aggmaint._config_warehouses import Warehouses
from aggmaint.aggregates.naming import schema_name
from aggmaint.config import Config, load_config
from aggmaint.errors import ConfigurationError, InvalidDefinitionError

GOOD = """
installation = "test"
[store]
sqlite = "jobs.db"
[warehouse]
duckdb = "warehouse.duckdb"
[organizations]
ids = ["acme", "globex"]
[sources.lines]
file = "data/{org}/lines-*.parquet"
[sources.orders]
table = "raw_{org}.orders"
where = "tenant = :org"
updated_at = "changed_at"
deletes = "soft"
[[aggregate]]
cube = "sales"
name = "revenue"
source = "lines"
joins = [{ source = "orders", on = "orders.id = lines.order_id", kind = "left" }]
attributes = ["status", { name = "month", expression = "date_trunc('month', day)" }]
measures = [
  { name = "lines", function = "count" },
  { name = "revenue", function = "sum", expression = "price", filter = "price > 0" },
]
partition = { expression = "day", by = "month", zone = "Europe/Berlin", name = "berlin_month" }
[jobs]
jobs_max = 2
lease_s = 30
heartbeat_s = 5.5
[policy]
retired_grace_s = 60
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "aggmaint.toml"
    path.write_text(text, encoding="utf-8")
    return path


def load(directory: Path, text: str, **environment: str) -> Config:
    return load_config(write(directory, text), environment)


def problems_of(directory: Path, text: str, **environment: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(directory, text, **environment)
    return caught.value.problems


def test_marks_that_commit_in_order_are_read_and_refused_where_they_promise_nothing(tmp_path: Path) -> None:
    declared = GOOD.replace('file = "data/{org}/lines-*.parquet"', 'table = "lines"\nappend_only = "id"\nMARKS')
    (definition,) = load(tmp_path, declared.replace("MARKS", "marks_commit_in_order = true")).definitions("acme")
    assert definition.source.marks_commit_in_order
    (wrong,) = problems_of(tmp_path, declared.replace("MARKS", 'marks_commit_in_order = "yes"'))
    assert wrong == "sources.lines.marks_commit_in_order: must be true or false, not 'yes'"
    updated = GOOD.replace('deletes = "soft"', 'deletes = "soft"\nmarks_commit_in_order = true')
    wrong = "\n".join(problems_of(tmp_path, updated))
    assert "marks_commit_in_order=True without append_only" in wrong and "leave it out" in wrong


def test_everything_that_the_file_says_arrives(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.organizations == ("acme", "globex")
    assert config.store_path == tmp_path / "jobs.db"
    assert config.warehouse_path == str(tmp_path / "warehouse.duckdb")
    assert (config.jobs_max, config.settings.lease_s, config.settings.heartbeat_s) == (2, 30, 5.5)
    assert config.policy.retired_grace_s == 60
    (definition,) = config.definitions("globex")
    assert definition.organization_id == "globex"
    assert definition.source.file == str(tmp_path / "data/globex/lines-*.parquet")
    (join,) = definition.joins
    assert (join.source.table, join.source.where, join.kind.value) == ("raw_globex.orders", "tenant = :org", "left")
    assert (join.source.updated_at, str(join.source.deletes)) == ("changed_at", "soft")
    assert [each.name for each in definition.attributes] == ["status", "month"]
    assert definition.measures[1].filter == "price > 0"
    assert definition.partition is not None
    assert definition.partition.zone == "Europe/Berlin"


MODEL = GOOD.replace(
    "[jobs]",
    """
[sources.monthly]
aggregate = "sales.by region"
[[aggregate]]
cube = "sales"
name = "by region"
source = "orders"
attributes = ["customer"]
measures = [
  { name = "closing", function = "last", expression = "balance", order = "day" },
  { name = "buyers", function = "approx_count_distinct", expression = "buyer" },
]
partition = { expression = "region", by = "value", values = ["EU", 5], merge = true }
[[aggregate]]
cube = "sales"
name = "all regions"
source = "monthly"
measures = [{ name = "closing", function = "sum", expression = "closing" }]
[jobs]""",
)


def test_the_whole_model_can_be_written(tmp_path: Path) -> None:
    config = load(tmp_path, MODEL)
    _, regions, everything = config.definitions("acme")
    assert regions.measures[0].order == "day"
    assert regions.measures[1].columns == ("buyers__sketch",)
    assert regions.partition is not None
    assert (regions.partition.values, regions.partition.merge) == (("EU", "5"), True)
    assert everything.source.aggregate == "sales.by region"
    assert config.task().definitions("acme")[2].source.view == (schema_name("acme"), "sales__by region")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('order = "day"', 'ordre = "day"', "is not a known key; did you mean 'order'?"),
        (', order = "day"', "", "last needs an order, such as the date of a balance"),
        ('function = "approx_count_distinct"', 'function = "count_distinct"', "it does not merge over periods"),
        ('values = ["EU", 5]', 'values = ["EU", "EU"]', "partition value 'EU' is there twice"),
        ('values = ["EU", 5]', 'values = ["other"]', "'other' stands for the rest"),
        ('values = ["EU", 5]', "values = [true]", "give texts or whole numbers"),
        ('values = ["EU", 5]', 'valuess = ["EU"]', "is not a known key; did you mean 'values'?"),
        ('by = "value", values', 'by = "month", values', "a list of values is for granularity value"),
        ('by = "value",', 'by = "value", zone = "Europe/Berlin",', "values have no time zone"),
        ("merge = true", "merge = 1", "partition.merge: must be true or false"),
        ('aggregate = "sales.by region"', 'aggregate = "sales.by regoin"', "did you mean 'sales.by region'?"),
        ('aggregate = "sales.by region"', 'aggregate = "sales.all regions"', "sales.all regions -> sales.all regions"),
        ('aggregate = "sales.by region"', 'agregate = "sales.by region"', "did you mean 'aggregate'?"),
    ],
)
def test_each_mistake_of_the_model_is_told_with_the_remedy(tmp_path: Path, before: str, after: str, told: str) -> None:
    assert before in MODEL, "the case must change something"
    problems = problems_of(tmp_path, MODEL.replace(before, after))
    assert any(told in problem for problem in problems), problems


def test_definitions_of_two_organisations_have_their_own_ids(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.definitions("acme")[0].id != config.definitions("globex")[0].id
    assert config.definitions("acme")[0].id == config.definitions("acme")[0].id


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            'installation = "test"',
            'instalation = "test"',
            "instalation: is not a known key; did you mean 'installation'?",
        ),
        ('sqlite = "jobs.db"', "sqlite = 5", "store.sqlite: must be a text that is not empty, not 5"),
        ('duckdb = "warehouse.duckdb"', "", "warehouse.duckdb: is missing"),
        ('"warehouse.duckdb"', '"w.duckdb"\nhold = "ever"', "warehouse.hold: 'ever' must be"),
        ('"warehouse.duckdb"', '"w-{tenant}.duckdb"', "{tenant} in"),
        ('ids = ["acme", "globex"]', "ids = []", "organizations: there is none"),
        ('ids = ["acme", "globex"]', 'ids = ["acme", "acme"]', "'acme' is named twice"),
        ('ids = ["acme", "globex"]', 'ids = [""]', "organisation id ''"),
        ('ids = ["acme", "globex"]', 'ids = "acme"', "organizations.ids: must be a list"),
        ('ids = ["acme", "globex"]', 'ids = ["../etc"]', "'../etc' can not stand for {org} in the path"),
        ('ids = ["acme", "globex"]', 'ids = ["a b"]', "'a b' can not stand for {org}"),
        ('source = "lines"\njoins', 'source = "liens"\njoins', "'liens' is not one of [sources]"),
        ('source = "orders", on', 'source = "order", on', "'order' is not one of [sources]"),
        ('function = "count"', 'function = "total"', "is not one of: sum, count"),
        ('function = "sum", expression = "price"', 'function = "sum"', "sum needs an expression"),
        ('expression = "price"', 'expression = "price +"', "is not valid SQL"),
        ('by = "month"', 'by = "fortnight"', "is not one of: day, week"),
        ('"Europe/Berlin"', '"Mars/Base"', "'Mars/Base' is not a time zone"),
        ("lease_s = 30", 'lease_s = "long"', "jobs.lease_s: must be a number"),
        ("heartbeat_s = 5.5", "heartbeat_s = 25", "twice the heartbeat must be below the lease"),
        ("jobs_max = 2", "jobs_max = 0", "jobs_max"),
        ("retired_grace_s = 60", "retired_grace_s = -1", "retired_grace_s=-1"),
        ('where = "tenant = :org"', "where = \"tenant = '{org}'\"", "write :org"),
        ('where = "tenant = :org"', 'where = "tenant = :who"', ":who"),
        ('table = "raw_{org}.orders"', 'table = "raw"\nfile = "x.parquet"', "give exactly one"),
        ('"data/{org}/lines-*.parquet"', '"data/lines.xlsx"', "name a Parquet or CSV file"),
        ("[[aggregate]]", "[aggregate]", "aggregate: must be a list"),
    ],
)
def test_each_mistake_is_told_with_key_and_remedy(tmp_path: Path, before: str, after: str, told: str) -> None:
    assert before in GOOD, "the case must change something"
    problems = problems_of(tmp_path, GOOD.replace(before, after))
    assert any(told in problem for problem in problems), problems


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('"Europe/Berlin"', '"Mars/Base"').replace("lease_s = 30", "lease_s = true")
    assert len(problems_of(tmp_path, text.replace("[store]", "[stores]"))) == 3


def test_two_aggregates_of_one_name_are_told(tmp_path: Path) -> None:
    twice = GOOD + GOOD[GOOD.index("[[aggregate]]") : GOOD.index("[jobs]")].replace('"revenue"\n', '"Revenue"\n')
    assert any("have this name" in problem for problem in problems_of(tmp_path, twice))


def test_environment_variables_are_filled_in(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD.replace('"jobs.db"', '"${STATE}/jobs.db"'), STATE="/state")
    assert config.store_path == Path("/state/jobs.db")


def test_a_missing_environment_variable_is_told(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, GOOD.replace('"jobs.db"', '"${STATE}/jobs.db"'))
    assert problem.startswith("store.sqlite: environment variable STATE is not set")


def test_a_doubled_dollar_is_literal(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD.replace('"jobs.db"', '"$${STATE}.db"'))
    assert config.store_path == tmp_path / "${STATE}.db"


def test_organisations_come_from_a_query(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "host.db") as connection:
        connection.execute("CREATE TABLE tenant(id TEXT)")
        connection.executemany("INSERT INTO tenant VALUES(?)", [("b",), ("a",)])
    connection.close()
    text = GOOD.replace('ids = ["acme", "globex"]', 'query = "SELECT id FROM tenant ORDER BY id"\nsqlite = "host.db"')
    assert load(tmp_path, text).organizations == ("a", "b")


@pytest.mark.parametrize(
    ("query", "told"),
    [("SELECT id FROM nowhere", "no such table"), ("DELETE FROM tenant", "readonly"), ("", "must be a text")],
)
def test_a_query_that_fails_is_told(tmp_path: Path, query: str, told: str) -> None:
    with sqlite3.connect(tmp_path / "host.db") as connection:
        connection.execute("CREATE TABLE tenant(id TEXT)")
    connection.close()
    text = GOOD.replace('ids = ["acme", "globex"]', f'query = "{query}"\nsqlite = "host.db"')
    assert any(told in problem for problem in problems_of(tmp_path, text))


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="aggmaint init"):
        load_config(tmp_path / "nope.toml")


@pytest.mark.parametrize("content", [b"[x", b"\xff\xfe", b"x = 1\nx = 2\n"])
def test_a_file_that_is_no_toml_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "aggmaint.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"aggmaint\.toml"):
        load_config(path, {})


def test_an_organisation_that_is_not_configured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="known: acme, globex"):
        load(tmp_path, GOOD).known("initech")


def test_hostile_ids_never_reach_a_path(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    for hostile in ("..", "a/b", "a\\b", "a;b", "", "x" * 200 + "/"):
        with pytest.raises(InvalidDefinitionError):
            config.definitions(hostile)


def test_reading_without_parsing_sql_leaves_mistakes_in_it_alone(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace('expression = "price"', 'expression = "price +"'))
    assert load_config(path, {}, parse_sql=False).templates[0].measures[1].expression == "price +"


def test_the_template_of_init_is_valid(tmp_path: Path) -> None:
    from importlib.resources import files

    text = files("aggmaint.cli").joinpath("template.toml").read_text(encoding="utf-8")
    assert load(tmp_path, text).organizations == ("acme",)


def test_one_warehouse_object_stands_for_each_file(tmp_path: Path) -> None:
    shared = Warehouses(load(tmp_path, GOOD))
    assert shared("acme") is shared("globex")
    own = Warehouses(load(tmp_path, GOOD.replace('"warehouse.duckdb"', '"{org}.duckdb"\nhold = "process"')))
    assert own("acme") is own("acme")
    assert own("acme") is not own("globex")
