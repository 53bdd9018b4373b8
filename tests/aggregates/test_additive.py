"""The rule of the additive path: what can be merged, what adds up, and when it pays."""

from typing import Any

import pytest
from attrs import evolve

from aggmaint.aggregates.additive import (
    Beyond,
    ahead,
    grown_token,
    judge_additive,
    merge_pays,
    newer,
    only_grew,
    unmergeable,
)
from aggmaint.aggregates.declared import Tail, declared_token
from aggmaint.aggregates.growth import Hindered, Hindrance
from aggmaint.aggregates.looking import Hints, SourceMark
from aggmaint.aggregates.measures import MERGED_AS_STORED, measure_columns
from aggmaint.aggregates.model import AggregateDefinition, Join, Measure, MeasureFunction, PartitionBy, Source
from aggmaint.aggregates.observation import PartitionRecord
from aggmaint.aggregates.periods import NULL_PERIOD, Period, period_of
from aggmaint.aggregates.sql import select_sql
from aggmaint.aggregates.tokens import TokenKind, add_tokens, make_token
from aggmaint.errors import InvalidValueError

from .test_plan import NOW, instance

MONTH = PartitionBy("day", "month")
JANUARY = period_of("2024-01-01", MONTH)
SALES = Source(table="sales", append_only="id", marks_commit_in_order=True)
COLUMNS = ("day", "id")


def wanted(**parts: Any) -> AggregateDefinition:
    measures = [Measure("n", "count")]
    given: dict[str, Any] = {"organization_id": "acme", "cube": "c", "name": "x", "source": SALES, "measures": measures}
    return AggregateDefinition(**{**given, "partition": MONTH, **parts})


def at(mark: str | None, rows: int = 9, tail_rows: int = 1, hashes: int = 5, engine: str = "duckdb2") -> str:
    return declared_token(engine, COLUMNS, Tail(rows, mark, tail_rows, hashes))


BEFORE = (("source:sales", at("7")),)
NOW_MORE = (("source:sales", at("8", 12)),)


def judge(definition: AggregateDefinition | None = None, hints: Hints = Hints(), **more: Any) -> Any:  # noqa: B008 - frozen
    tokens = {"before": BEFORE, "now": NOW_MORE, **more}
    chosen = definition or wanted()
    return judge_additive(chosen, instance(wanted=chosen, source_tokens=tokens["before"]), tokens["now"], hints)


def test_a_promise_a_mark_and_measures_that_merge_are_all_it_needs() -> None:
    every = [
        Measure(each.value, each, "a", order="b" if each is MeasureFunction.LAST else None) for each in MERGED_AS_STORED
    ]
    assert judge(wanted(measures=every)) == Beyond("7", at("7"))
    assert unmergeable(wanted(measures=every)) is None


@pytest.mark.parametrize("function", ["count_distinct", "approx_count_distinct"])
def test_what_is_new_is_known_where_a_measure_can_not_be_merged(function: str) -> None:
    definition = wanted(measures=[Measure("n", "count"), Measure("u", function, "a")])
    assert judge(definition) == Beyond("7", at("7"))
    verdict = unmergeable(definition)
    assert verdict is not None and verdict.hindrance is Hindrance.MEASURES
    assert f"'u' ({function})" in verdict.words


UNDECLARED = wanted(source=evolve(SALES, marks_commit_in_order=False))
JOINED = wanted(joins=[Join(source=Source(table="shops"), on="TRUE")])


@pytest.mark.parametrize(
    ("hindrance", "given"),
    [
        (Hindrance.UNDECLARED, {"definition": UNDECLARED}),
        (Hindrance.SOURCES, {"now": (*NOW_MORE, ("dependency:rates", "a:1:2"))}),
        (
            Hindrance.SOURCES,
            {"before": (*BEFORE, ("source:shops", "a:1:2")), "now": (*NOW_MORE, ("source:shops", "a:1:3"))},
        ),
        (Hindrance.MARK, {"before": (("source:sales", at(None)),)}),
        (Hindrance.MARK, {"before": (("source:sales", make_token("duckdb2", TokenKind.SOURCE, COLUMNS, 9, 5)),)}),
        (Hindrance.MARK, {"now": (("source:sales", "duckdb2-snapshot:0:17"),)}),
        (Hindrance.MARK, {"before": ()}),
        (Hindrance.MARKED, {"hints": Hints(marks=(SourceMark("sales"),))}),
        (Hindrance.MARKED, {"definition": JOINED, "hints": Hints(marks=(SourceMark("shops", NOW, NOW),))}),
        (Hindrance.REFUSED, {"hints": Hints(unmerged={wanted().id: "it did not pass"})}),
    ],
)
def test_anything_else_hinders_and_says_what(hindrance: Hindrance, given: dict[str, Any]) -> None:
    verdict = judge(**given)
    assert isinstance(verdict, Hindered) and verdict.hindrance is hindrance
    assert verdict.words


def test_a_mark_on_single_periods_hinders_nothing() -> None:
    assert judge(hints=Hints(marks=(SourceMark("sales", NOW, NOW),))) == Beyond("7", at("7"))


@pytest.mark.parametrize(
    ("there", "added", "engine", "hindrance"),
    [
        (Tail(12, "7", 1, 5), 3, "duckdb2", None),
        (Tail(13, "7", 1, 5), 3, "duckdb2", Hindrance.ROWS),  # a late commit below the mark
        (Tail(11, "7", 1, 5), 3, "duckdb2", Hindrance.ROWS),  # a row is gone
        (Tail(13, "7", 2, 5), 3, "duckdb2", Hindrance.ROWS),  # one more at the mark, of a hash of 0
        (Tail(12, "7", 1, 6), 3, "duckdb2", Hindrance.ROWS),  # another one at the mark
        (Tail(12, "7", 1, 5), 3, "duckdb3", Hindrance.SOURCES),  # hashes can not be compared
    ],
)
def test_only_grew_is_one_comparison(there: Tail, added: int, engine: str, hindrance: Hindrance | None) -> None:
    verdict = only_grew(Beyond("7", at("7")), engine, COLUMNS, there, added)
    assert (verdict.hindrance if verdict else None) is hindrance


def token(rows: int, hashes: int, kind: TokenKind = TokenKind.SOURCE, engine: str = "duckdb2") -> str:
    return make_token(engine, kind, ("a",), rows, hashes)


def record(period: Period, mark: str | None, rows: int = 2, source_rows: int = 2, **more: Any) -> PartitionRecord:
    return PartitionRecord(
        period, rows, token(source_rows, 5, **more), token(rows, 9, TokenKind.CONTENT), "b", NOW, mark
    )


def test_periods_of_another_mark_or_scheme_are_ahead() -> None:
    records = (record(JANUARY, "7"), record(NULL_PERIOD, "8"))
    old = instance(wanted=wanted(), partitions=records)
    new = period_of("2024-05-01", MONTH)
    added = tuple((each, token(1, 1)) for each in (JANUARY, NULL_PERIOD, new))
    assert ahead(old, added, "7") == {NULL_PERIOD}
    unknown = evolve(old, partitions=(record(JANUARY, None), record(NULL_PERIOD, "7", engine="duckdb1")))
    assert ahead(unknown, added, "7") == {JANUARY, NULL_PERIOD}


def test_tokens_add_up_and_can_be_taken_apart() -> None:
    assert add_tokens(token(2, 2**64 + 5), token(3, 2**64 - 1)) == token(5, 2**65 + 4)
    assert add_tokens(token(5, 2**65 + 4), token(3, 2**64 - 1), taken_out=True) == token(2, 2**64 + 5)
    for other in (token(1, 1, engine="duckdb3"), token(1, 1, TokenKind.JOINED), "unverified:1:0"):
        with pytest.raises(InvalidValueError, match="can not be added"):
            add_tokens(token(2, 5), other)
    with pytest.raises(InvalidValueError):
        add_tokens("unverified:1:0", "unverified:1:0")


def test_a_token_of_the_content_waits_for_the_content() -> None:
    published = token(2, 9, TokenKind.CONTENT)
    assert grown_token(published, token(4, 1, TokenKind.CONTENT)) == published
    with pytest.raises(InvalidValueError):
        grown_token(published, token(4, 1))


@pytest.mark.parametrize(
    ("rows", "source_rows", "new", "pays"),
    [
        (5_000_000, 6_000_000, 60_000, True),
        (5_000_000, 6_000_000, 1_200_000, False),  # so many are new that most is touched
        (60_000, 70_000, 700, False),  # too small
        (60_000, 800_000, 8_000, True),
        (4, 6_000_000, 60_000, True),  # a small result of a large source
        (4, 400_000, 4_000, False),
    ],
)
def test_merging_pays_where_much_is_published_and_little_is_new(
    rows: int, source_rows: int, new: int, pays: bool
) -> None:
    records = {JANUARY: record(JANUARY, "7", rows, source_rows)}
    assert merge_pays(records, [(JANUARY, token(new, 1))], 75_000) is pays
    assert merge_pays(records, [(JANUARY, token(new, 1))], 0)


def test_many_small_periods_pay_together_and_new_ones_alone_do_not() -> None:
    periods = [period_of(f"20{year}-01-01", PartitionBy("day", "year")) for year in range(10, 90)]
    records = {each: record(each, "7", 2_000, 2_000) for each in periods}
    assert merge_pays(records, [(each, token(20, 1)) for each in periods], 75_000)
    assert not merge_pays(records, [(each, token(20, 1)) for each in periods[:20]], 75_000)
    assert not merge_pays({}, [(JANUARY, token(10**6, 1))], 75_000)


def test_the_new_rows_are_a_source_of_their_own() -> None:
    source = evolve(SALES, where="tenant = :org OR shop = 'x' -- every shop")
    sql = select_sql(newer(wanted(source=source), "7", "duckdb", "BIGINT"), "duckdb")
    assert """WHERE ("tenant" = $org OR "shop" = 'x') AND "id" > CAST($aggmaint_mark AS BIGINT)) AS""" in sql
    shown = select_sql(newer(wanted(), "o'clock", "duckdb"), "duckdb")
    assert "\"id\" > 'o''clock'" in shown


def test_what_merges_exactly_is_what_has_a_merge_but_for_sketches() -> None:
    for function in MeasureFunction:
        measure = Measure("m", function, "a", order="b" if function is MeasureFunction.LAST else None)
        merges = all(each.merge_sql is not None for each in measure_columns(measure, "duckdb"))
        assert (function in MERGED_AS_STORED) is (merges and function is not MeasureFunction.APPROX_COUNT_DISTINCT)
