"""Checks as a user meets them: verdicts with rows and samples, and bad rows put aside on the way in."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everloop as ev
from everloop.data.checking import Examination
from everloop.data.scanning import connection
from everloop.domain.checks import AnyCheck, CheckReport
from everloop.errors import InvalidDefinition, Refused
from everloop.workspace.local import LocalWorkspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEATHER = pa.table(
    {
        "origin": ["EWR", "EWR", "JFK", "LGA", None],
        "hour": [1, 1, 2, 3, 4],
        "wind": [10.0, 1048.36, math.nan, None, 12.0],
        "time": pa.array(
            [NOW - timedelta(hours=hours) for hours in (9, 8, 7, 6, 5)], pa.timestamp("us", "UTC")
        ),
    }
)
AIRPORTS = pa.table({"faa": ["EWR", "LGA", None]})


def examine(table: pa.Table, *checks: AnyCheck, earlier: pa.Table | None = None) -> CheckReport:
    with connection() as con:
        return Examination(con, table, checks, fetch=lambda _: AIRPORTS, now=NOW, earlier=earlier).report(
            "data:t@v1", ""
        )


@pytest.mark.parametrize(
    ("check", "failed", "of", "sample"),
    [
        (ev.check.not_null("wind"), 2, 5, [{"row": 2, "wind": None}, {"row": 3, "wind": None}]),
        (ev.check.in_range("wind", 0, 200), 1, 3, [{"row": 1, "wind": 1048.36}]),
        (ev.check.in_range("wind", low=11), 1, 3, [{"row": 0, "wind": 10.0}]),
        (
            ev.check.in_range("time", NOW - timedelta(hours=8)),
            1,
            5,
            [{"row": 0, "time": NOW - timedelta(hours=9)}],
        ),
        (ev.check.in_set("origin", ["EWR", "LGA"]), 1, 4, [{"row": 2, "origin": "JFK"}]),
        (
            ev.check.matches("origin", "[A-Z]W."),
            2,
            4,
            [{"row": 2, "origin": "JFK"}, {"row": 3, "origin": "LGA"}],
        ),
        (ev.check.foreign_key("origin", "airports", "faa"), 1, 4, [{"row": 2, "origin": "JFK"}]),
        (ev.check.unique("origin", "hour"), 1, 4, [{"row": 1, "origin": "EWR", "hour": 1}]),
        (ev.check.unique("hour"), 1, 5, [{"row": 1, "hour": 1}]),
        (
            ev.check.expression("wind < hour * 20", name="calm"),
            1,
            3,
            [{"row": 1, "wind": 1048.36, "hour": 1}],
        ),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else None,
)
def test_failing_rows_are_counted_and_shown(
    check: AnyCheck, failed: int, of: int, sample: list[dict[str, Any]]
) -> None:
    report = examine(WEATHER, check)
    [result] = report.checks
    assert (result.failed_rows, result.of, result.passed) == (failed, of, False)
    assert [dict(sorted(row.items())) for row in result.sample] == [
        dict(sorted(row.items())) for row in sample
    ]
    assert not report.passed
    assert report.rows == 5


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        (ev.check.row_count(5, 5), True),
        (ev.check.row_count(6), False),
        (ev.check.has_type("hour", "int64"), True),
        (ev.check.has_type("hour", "string"), False),
        (ev.check.freshness("time", "5h"), True),
        (ev.check.freshness("time", "4h"), False),
    ],
)
def test_checks_of_the_table(check: AnyCheck, passed: bool) -> None:
    assert examine(WEATHER, check).passed is passed


def test_mostly_and_warnings() -> None:
    report = examine(
        WEATHER,
        ev.check.in_range("wind", 0, 200, mostly=0.6),
        ev.check.not_null("origin", severity="warn"),
    )
    assert [check.passed for check in report.checks] == [True, False]
    assert report.checks[0].failed_rows == 1
    assert report.passed, "a warning is written down and no more"


@pytest.mark.parametrize(
    ("check", "error"),
    [
        (ev.check.not_null("wnd"), "there is no column 'wnd'"),
        (ev.check.expression("wind <", name="cut"), "syntax error"),
        (ev.check.expression("origin::int > 3", name="cast"), "Could not convert"),
        (ev.check.freshness("hour", "1h"), "not an instant"),
    ],
)
def test_a_check_that_cannot_be_made_has_not_passed(check: AnyCheck, error: str) -> None:
    report = examine(WEATHER, check, ev.check.in_range("hour", 0, 23))
    assert not report.passed
    assert error in report.checks[0].error
    assert report.checks[1].passed, "the others are made all the same"


def test_rows_that_are_there_already_are_not_unique() -> None:
    earlier = pa.table({"origin": ["LGA"], "hour": [3]})
    [result] = examine(WEATHER, ev.check.unique("origin", "hour"), earlier=earlier).checks
    assert (result.failed_rows, [row["row"] for row in result.sample]) == (2, [1, 3])


def test_one_column_is_compared_with_the_rows_that_are_there() -> None:
    [result] = examine(WEATHER, ev.check.unique("hour"), earlier=pa.table({"hour": [4]})).checks
    alone = examine(WEATHER, ev.check.unique("hour")).checks[0].failed_rows
    assert result.error == ""
    assert result.failed_rows == alone + WEATHER["hour"].to_pylist().count(4)


def test_two_checks_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidDefinition, match=r"two checks .* called 'x\.not_null'"):
        ev.checks("s", dataset="d", checks=[ev.check.not_null("x"), ev.check.not_null("x")])
    with pytest.raises(InvalidDefinition, match="no limit"):
        ev.check.in_range("x")


values = st.lists(
    st.one_of(st.none(), st.just(math.nan), st.floats(-5, 5), st.integers(-3, 3).map(float)), max_size=30
)


@given(values, st.integers(-3, 0), st.integers(0, 3))
@settings(max_examples=30)
def test_ranges_and_uniqueness_against_a_plain_loop(column: list[float | None], low: int, high: int) -> None:
    table = pa.table({"x": pa.array(column, pa.float64(), from_pandas=False)})
    there = [(row, x) for row, x in enumerate(column) if x is not None and not math.isnan(x)]
    outside = [row for row, x in there if not low <= x <= high]
    repeated = [
        row for position, (row, x) in enumerate(there) if x in [earlier for _, earlier in there[:position]]
    ]
    checks = [ev.check.in_range("x", low, high), ev.check.unique("x"), ev.check.not_null("x")]
    with connection() as con:
        examination = Examination(con, table, checks, fetch=lambda _: None, now=NOW)
        _, results = examination.results()
        failing = examination.failing_rows([check.name for check in checks])
    assert [result.failed_rows for result in results] == [
        len(outside),
        len(repeated),
        len(column) - len(there),
    ]
    assert [row for row, names in failing.items() if "x.in_range" in names] == outside
    assert [row for row, names in failing.items() if "x.unique" in names] == repeated
    assert [row["row"] for row in results[0].sample] == outside[:5]


FLIGHTS = ev.checks(
    "flights",
    dataset="flights",
    checks=[
        ev.check.in_range("distance", 1, 5000, severity="quarantine"),
        ev.check.foreign_key("dest", "airports", "faa", severity="quarantine"),
        ev.check.not_null("id"),
    ],
)


def flights(first: int, *bad: tuple[int, str, Any]) -> pa.Table:
    rows = [{"id": first + n, "dest": "EWR", "distance": 100} for n in range(10)]
    for row, column, value in bad:
        rows[row][column] = value
    return pa.Table.from_pylist(
        rows, pa.schema([("id", pa.int64()), ("dest", pa.string()), ("distance", pa.int32())])
    )


class TestQuarantine:
    @pytest.fixture(autouse=True)
    def airports(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(AIRPORTS, "airports")

    def test_bad_rows_go_aside_and_good_ones_on(self, workspace: LocalWorkspace) -> None:
        bad = flights(0, (2, "distance", 9000), (5, "dest", "XXX"), (5, "distance", 0))
        added = workspace.data.add(bad, "flights", checks=FLIGHTS, file="jan.parquet")
        assert (added.rows, added.quarantine, added.quarantined_rows) == (8, "data:flights/quarantine@v1", 2)
        assert added.report is not None
        assert {check.name: check.failed_rows for check in added.report.checks} == {
            "distance.in_range": 2,
            "dest.foreign_key": 1,
            "id.not_null": 0,
        }
        aside = ev.data("flights/quarantine").to_arrow()
        assert aside["id"].to_pylist() == [2, 5]
        assert aside["failed_checks"].to_pylist() == [
            ["distance.in_range"],
            ["distance.in_range", "dest.foreign_key"],
        ]
        good = ev.data("flights").to_arrow()
        assert good["id"].to_pylist() == [0, 1, 3, 4, 6, 7, 8, 9]
        assert good.schema == bad.schema

    @pytest.mark.parametrize("file", ["jan.parquet", ""])
    def test_a_second_time_changes_nothing(self, workspace: LocalWorkspace, file: str) -> None:
        """Not even with a check of uniqueness: the rows that are there already are these rows."""
        bad = flights(0, (2, "distance", 9000))
        suite = ev.checks("f", dataset="flights", checks=[*FLIGHTS.checks, ev.check.unique("id")])
        workspace.data.add(bad, "flights", checks=suite, file=file)
        again = workspace.data.add(bad, "flights", append=True, checks=suite, file=file)
        assert (again.unchanged, again.reference, again.quarantine) == (
            True,
            "data:flights@v1",
            "data:flights/quarantine@v1",
        )

    def test_quarantine_grows_with_appends(self, workspace: LocalWorkspace) -> None:
        for month in range(3):
            table = flights(10 * month, (month, "distance", 9000))
            added = workspace.data.add(table, "flights", append=True, checks=FLIGHTS, file=f"{month}.parquet")
        assert (added.rows, added.quarantine) == (27, "data:flights/quarantine@v3")
        assert ev.data("flights/quarantine").rows == 3
        assert ev.data("flights/quarantine").to_arrow()["id"].to_pylist() == [0, 11, 22]

    def test_clean_rows_make_no_quarantine(self, workspace: LocalWorkspace) -> None:
        added = workspace.data.add(flights(0), "flights", checks=FLIGHTS)
        assert (added.quarantine, added.quarantined_rows) == (None, 0)
        assert [each.name for each in workspace.data.datasets()] == ["airports", "flights"]

    def test_a_failing_check_of_severity_fail_adds_nothing(self, workspace: LocalWorkspace) -> None:
        with pytest.raises(Refused, match=r"id\.not_null failed for 1 of 10 rows"):
            workspace.data.add(flights(0, (3, "id", None)), "flights", checks=FLIGHTS)
        with pytest.raises(Refused, match="every row failed"):
            workspace.data.add(
                flights(0, *((n, "distance", 0) for n in range(10))), "flights", checks=FLIGHTS
            )
        assert [each.name for each in workspace.data.datasets()] == ["airports"]

    def test_files_keep_their_bytes_where_nothing_is_wrong(
        self, workspace: LocalWorkspace, tmp_path: Any
    ) -> None:
        import pyarrow.parquet as pq

        folder = tmp_path / "months"
        folder.mkdir()
        pq.write_table(flights(0), folder / "1.parquet")
        pq.write_table(flights(10, (4, "dest", "XXX")), folder / "2.parquet")
        added = workspace.data.add(folder, "flights", checks=FLIGHTS)
        assert (added.files, added.rows, added.quarantined_rows) == (2, 19, 1)
        assert ev.data("flights").open("1.parquet").read() == (folder / "1.parquet").read_bytes()
        assert ev.data("flights").to_arrow()["id"].to_pylist() == [n for n in range(20) if n != 14]
        assert ev.data("flights/quarantine").to_arrow()["id"].to_pylist() == [14]

    def test_verdicts_are_kept_with_the_version(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(flights(0), "flights", checks=FLIGHTS)
        report = ev.data("flights").check([ev.check.row_count(100)])
        assert not report.passed
        assert [(each.suite, each.passed) for each in workspace.data.reports("flights@v1")] == [
            ("", False),
            ("flights", True),
        ]
        assert workspace.governance.definition("checks", "flights").version == 1
        assert "data.checked" in [event.action for event in workspace.governance.log(limit=100)]
