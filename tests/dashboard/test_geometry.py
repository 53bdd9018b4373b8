"""Heat map, charts, SQL text: what is drawn where."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggmaint.asgi.dashboard.charts import HEIGHT, build_chart, job_strip
from aggmaint.asgi.dashboard.heatmap import APART_MAX, LEVELS, ROWS_MAX, Cell, HeatMap, heat_map
from aggmaint.asgi.dashboard.points import BuildPoint
from aggmaint.asgi.dashboard.sqltext import tokens
from aggmaint.asgi.dashboard.states import PartitionState, State
from aggmaint.core.ids import JobId, OrgId
from aggmaint.core.job import ErrorInformation, FailureCode, Fence, JobStatus, MaintenanceJob
from aggmaint.core.trigger import MANUAL

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def state(key: str, rows: int = 1, kind: State = State.FRESH) -> PartitionState:
    return PartitionState(key, kind, "", "", "", rows)


def places(found: HeatMap) -> dict[str, tuple[str, int]]:
    return {
        cell.partition.key: (row.name, column)
        for row in found.rows
        for column, cell in enumerate(row.cells)
        if cell is not None
    }


@pytest.mark.parametrize(
    ("granularity", "keys", "expected"),
    [
        (
            "month",
            ["2024-01", "2024-12", "2023-06"],
            {"2024-01": ("2024", 0), "2024-12": ("2024", 11), "2023-06": ("2023", 5)},
        ),
        ("quarter", ["2024-Q1", "2024-Q4"], {"2024-Q1": ("2024", 0), "2024-Q4": ("2024", 3)}),
        ("day", ["2024-02-29", "2024-02-01"], {"2024-02-29": ("2024-02", 28), "2024-02-01": ("2024-02", 0)}),
        (
            "week",
            ["2020-12-28", "2021-01-04", "2024-12-30"],
            {"2020-12-28": ("2020", 52), "2021-01-04": ("2021", 0), "2024-12-30": ("2025", 0)},
        ),
        ("year", ["1999", "2000"], {"1999": ("1990s", 9), "2000": ("2000s", 0)}),
    ],
)
def test_each_period_has_its_place(granularity: str, keys: list[str], expected: dict[str, tuple[str, int]]) -> None:
    found = heat_map([state(key) for key in keys], granularity)
    assert places(found) == expected
    assert [row.name for row in found.rows] == sorted({row for row, _ in expected.values()}, reverse=True)
    assert {len(row.cells) for row in found.rows} == {len(found.columns)}


@pytest.mark.parametrize("granularity", ["day", "week", "month", "quarter", "year", None, "fortnight"])
@given(
    keys=st.sets(
        st.one_of(st.text(max_size=12), st.sampled_from(["null", "all", "2024-13", "2024-Q5", "infinity"])), max_size=8
    )
)
def test_no_partition_is_lost_whatever_its_key(granularity: str | None, keys: set[str]) -> None:
    found = heat_map([state(key) for key in keys], granularity)
    assert {*places(found), *(cell.partition.key for cell in found.apart)} == keys


def test_what_is_too_much_is_counted() -> None:
    months = [f"{1900 + index // 12:04d}-{index % 12 + 1:02d}" for index in range((ROWS_MAX + 2) * 12)]
    odd = [f"odd {index}" for index in range(APART_MAX + 5)]
    found = heat_map([state(key) for key in (*months, *odd)], "month")
    assert (len(found.rows), len(found.apart), found.hidden) == (ROWS_MAX, APART_MAX, 24 + 5)
    assert found.rows[0].name == str(1900 + ROWS_MAX + 1)  # the newest are kept


def test_levels_compare_fresh_partitions_with_each_other() -> None:
    def levels(sizes: list[int]) -> list[int]:
        cells: list[Cell | None] = [
            *heat_map([state(str(2000 + i), rows) for i, rows in enumerate(sizes)], "year").rows[0].cells
        ]
        return [cell.level for cell in cells if cell is not None]

    assert levels([1, 10, 100, 1000]) == [1, 2, 3, 4]
    assert levels([7, 7, 7]) == [3, 3, 3]
    assert levels([1, 1, 1, 1, 1, 1, 1, 9]) == [2, 2, 2, 2, 2, 2, 2, LEVELS]


def job(seconds: float, *, failed: bool = False, complete: bool = True, number: int = 1) -> MaintenanceJob:
    return MaintenanceJob(
        JobId(str(number)),
        OrgId("acme"),
        Fence(1, number),
        MANUAL,
        NOON,
        NOON,
        "host",
        status=JobStatus.FAILED if failed else JobStatus.DONE,
        ended_at=NOON + timedelta(seconds=seconds),
        error=ErrorInformation(FailureCode.ERROR, "broken") if failed else None,
        complete=None if failed else complete,
    )


def test_the_strip_has_the_newest_job_at_its_right_end() -> None:
    strip = job_strip([job(100), job(25, failed=True), job(0, complete=False)], 10)
    assert strip is not None
    assert [bar.tone for bar in strip.bars] == ["partial", "failed", "done"]
    assert strip.bars[-1].x + strip.bars[-1].width == pytest.approx(strip.width - 1.5)
    assert strip.bars[-1].height == pytest.approx(HEIGHT)  # the longest
    assert 50 < strip.bars[1].height < 55  # a quarter of the time is half of the height
    assert strip.longest == "1 min 40 s" and strip.since == "3 runs since 1 Mar"
    assert job_strip([], 10) is None


def test_no_bar_leaves_its_chart() -> None:
    for seconds in ([0.0], [0.0, 0.0], [5.0, 1e9], [3.0] * 60):
        strip = job_strip([job(each) for each in seconds], 48)
        assert strip is not None
        for bar in strip.bars:
            assert bar.x >= 0 and bar.x + bar.width <= strip.width
            assert bar.y >= 0 and bar.y + bar.height == pytest.approx(HEIGHT)


def point(seconds: float, rows: int | None, *, failed: bool = False) -> BuildPoint:
    return BuildPoint("j", NOON, "refresh", seconds, 1, 1, rows, failed)


def test_builds_are_bars_and_known_sizes_a_line() -> None:
    chart = build_chart([point(4, 100), point(1, None), point(9, 300, failed=True)])
    assert chart is not None
    assert [bar.tone for bar in chart.bars] == ["refresh", "refresh", "failed"]
    assert chart.line.count("L") == 1  # two known sizes
    assert chart.rows_most == "300" and chart.longest == "9.0 s"
    alone = build_chart([point(1, 5)])
    assert alone is not None and alone.line == ""
    assert build_chart([]) is None


@given(st.text(alphabet="SELECT FROM,()'\"ab1\n*-", max_size=60))
def test_laying_sql_out_changes_white_space_only(sql: str) -> None:
    assert "".join("".join(token.text for token in tokens(sql)).split()) == "".join(sql.split())


def test_sql_is_broken_before_clauses_and_between_columns() -> None:
    sql = 'SELECT SUM(a, b) AS "x, y", COUNT(*) AS n FROM t AS t INNER JOIN u ON t.a = u.a '
    sql += "WHERE s = 'FROM x' GROUP BY 1, 2"
    laid_out = "".join(token.text for token in tokens(sql))
    assert laid_out.splitlines() == [
        "SELECT",
        '  SUM(a, b) AS "x, y",',
        "  COUNT(*) AS n",
        "FROM t AS t",
        "INNER JOIN u ON t.a = u.a",
        "WHERE s = 'FROM x'",
        "GROUP BY 1, 2",
    ]
    kinds = {token.text: token.kind for token in tokens(sql)}
    assert (kinds["SELECT"], kinds["SUM"], kinds["'FROM x'"], kinds["1"]) == ("keyword", "function", "string", "number")
