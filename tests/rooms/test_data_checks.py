"""Checks as a user meets them: verdicts with rows and samples, and bad rows put aside on the way in."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import fewer

import everloop as ev
from everloop.data.checks.checking import Examination
from everloop.data.tables.native_parquet import files_of
from everloop.data.tables.scanning import connection
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
        (ev.check.expression("wind < 0) or (1 = 1", name="unbalanced"), "syntax error"),
        (ev.check.expression("wind < 0, hour < 0", name="two"), "a single expression"),
        (ev.check.expression("origin::int > 3", name="cast"), "Could not convert"),
        (ev.check.freshness("hour", "1h"), "not an instant"),
    ],
)
def test_a_check_that_cannot_be_made_has_not_passed(check: AnyCheck, error: str) -> None:
    report = examine(WEATHER, check, ev.check.in_range("hour", 0, 23))
    assert not report.passed
    assert error in report.checks[0].error
    assert report.checks[1].passed, "the others are made all the same"


def test_two_checks_of_one_name_are_never_taken_for_one_another() -> None:
    """Else one would pass by the other's verdict."""
    strict, lenient = ev.check.in_range("hour", 0, 1), ev.check.in_range("hour", 0, 23)
    assert strict.name == lenient.name
    with pytest.raises(InvalidDefinition, match=r"two different checks are called 'hour.in_range'"):
        examine(WEATHER, strict, lenient)
    assert examine(WEATHER, lenient, lenient).passed
    with pytest.raises(InvalidDefinition, match="begins at 23 and ends at 0"):
        ev.check.in_range("hour", 23, 0)


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
@fewer(0.4)
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

    def test_severities_side_by_side(self, workspace: LocalWorkspace) -> None:
        """A warning and a check that is met mostly leave rows where they are; only what did not pass is put aside."""
        suite = [
            ev.check.in_range("distance", 1, 5000, severity="quarantine", mostly=0.8, name="mostly near"),
            ev.check.in_range("id", 1, severity="warn"),
            ev.check.foreign_key("dest", "airports", "faa", severity="quarantine"),
        ]
        bad = flights(0, (2, "distance", 9000), (5, "dest", "XXX"))
        added = workspace.data.add(bad, "flights", checks=suite)
        assert added.report is not None
        assert [(each.passed, each.failed_rows) for each in added.report.checks] == [
            (True, 1),
            (False, 1),
            (False, 1),
        ]
        assert ev.data("flights/quarantine").to_arrow()["failed_checks"].to_pylist() == [["dest.foreign_key"]]
        assert ev.data("flights").to_arrow()["id"].to_pylist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]

    def test_too_many_bad_rows_are_refused(self, workspace: LocalWorkspace) -> None:
        """The same condition twice: a few bad rows go aside, many mean that something larger is wrong."""
        near = ev.check.in_range("distance", 1, 5000, severity="quarantine")
        few = ev.check.in_range("distance", 1, 5000, mostly=0.8, name="few are far")
        few_bad = flights(0, (2, "distance", 9000))
        assert workspace.data.add(few_bad, "flights", checks=[near, few]).quarantined_rows == 1
        many_bad = flights(10, *((row, "distance", 9000) for row in range(3)))
        with pytest.raises(Refused, match="few are far"):
            workspace.data.add(many_bad, "flights", append=True, checks=[near, few])

    def test_a_check_that_cannot_find_its_bad_rows_lets_none_in(self, workspace: LocalWorkspace) -> None:
        gone = ev.check.foreign_key("dest", "nowhere", "faa", severity="quarantine")
        with pytest.raises(Refused, match="no dataset is called 'nowhere'"):
            workspace.data.add(flights(0), "flights", checks=[gone])


class TestAgainstOtherVersions:
    """Volume and distribution, compared with the version before or one that is named."""

    def test_volume(self, workspace: LocalWorkspace) -> None:
        steady = [ev.check.row_change(-0.5, 0.5)]
        first = workspace.data.add(flights(0), "flights", checks=steady)
        assert first.report is not None
        assert first.report.passed
        assert "none before it" in first.report.checks[0].note
        with pytest.raises(Refused, match="row_change"):
            workspace.data.add(flights(0).slice(0, 4), "flights", checks=steady)
        assert workspace.data.add(flights(0).slice(0, 5), "flights", checks=steady).version == 2
        with pytest.raises(Refused, match="row_change"):
            workspace.data.add(flights(50), "flights", append=True, checks=steady)
        report = workspace.data.check("flights@v2", [ev.check.row_change(low=-0.4)])
        assert report.checks[0].sample == [
            {"rows": 5, "before": 10, "reference": "data:flights@v1", "change": -0.5}
        ]

    @pytest.mark.parametrize("kind", [pa.float64(), pa.int64(), pa.timestamp("us", "UTC"), pa.string()])
    def test_distribution(self, workspace: LocalWorkspace, kind: pa.DataType) -> None:
        def table(low: int, high: int) -> pa.Table:
            return pa.table({"x": pa.array([low + n % (high - low) for n in range(2000)]).cast(kind)})

        same = [ev.check.distribution("x", limit=0.1)]
        assert workspace.data.add(table(0, 10), "t", checks=same).report.checks[0].note
        assert workspace.data.add(table(0, 10).slice(5, 1500), "t", checks=same).report.passed
        with pytest.raises(Refused, match=r"x\.distribution"):
            workspace.data.add(table(3, 13), "t", checks=same)
        workspace.data.add(table(3, 13), "t")
        report = workspace.data.check("t", [ev.check.distribution("x", "t@v1")])
        [seen] = report.checks[0].sample
        assert (report.passed, seen["reference"], seen["p"] < 0.01) == (False, "t@v1", True)

    @pytest.mark.parametrize(
        ("column", "reference", "error"),
        [
            ("id", "t@v9", "has no version 9"),
            ("id", "gone", "no dataset is called"),
            ("distance", "airports", "no column 'distance'"),
        ],
    )
    def test_a_missing_reference_is_a_failure(
        self, workspace: LocalWorkspace, column: str, reference: str, error: str
    ) -> None:
        workspace.data.add(AIRPORTS, "airports")
        workspace.data.add(flights(0), "t")
        report = workspace.data.check("t", [ev.check.distribution(column, reference)])
        assert not report.passed
        assert error in report.checks[0].error


EVERY = [
    ev.check.not_null("origin"),
    ev.check.in_range("wind", 0, 200),
    ev.check.in_set("origin", ["EWR"]),
    ev.check.matches("origin", "[A-Z]+"),
    ev.check.matches("origin", r"\w+", dialect="python", name="python"),
    ev.check.length("origin", 3, 3),
    ev.check.date_format("origin", "%Y"),
    ev.check.unique("hour"),
    ev.check.key("origin", "hour"),
    ev.check.monotonic("time"),
    ev.check.foreign_key("origin", "airports", "faa"),
    ev.check.expression("wind > 0", name="windy"),
    ev.check.query("select * from rows where wind > 300", name="storms"),
]


def test_no_rows_and_nothing_but_missing_values() -> None:
    """Nothing looked at is nothing wrong; but what must be there is missing, and a number of nothing is in no range."""
    empty = examine(WEATHER.slice(0, 0), *EVERY)
    assert [(each.name, each.error) for each in empty.failed] == []
    assert empty.rows == 0
    missing = pa.table({field.name: pa.nulls(3, field.type) for field in WEATHER.schema})
    assert [each.name for each in examine(missing, *EVERY).failed] == ["origin.not_null", "origin+hour.key"]
    numbers = [ev.check.aggregate("wind", "mean", 0, 10), ev.check.aggregate("wind", "max", high=10)]
    for table in (WEATHER.slice(0, 0), missing):
        assert [each.passed for each in examine(table, *numbers).checks] == [False, False]
    assert examine(WEATHER.slice(0, 0), ev.check.null_share("wind", 0)).passed
    # What no row could be held against is found without one.
    [wrong] = examine(WEATHER.slice(0, 0), ev.check.in_set("wind", ["calm", "strong"])).failed
    assert "Could not convert string 'calm' to DOUBLE" in str(wrong.error)


@pytest.mark.parametrize(
    ("check", "error"),
    [
        (ev.check.aggregate("origin", "mean", 0, 1), "No function matches"),
        (ev.check.query("drop view rows", name="q"), "not one query"),
        (ev.check.query("select 1; select 2", name="q"), "not one query"),
        (ev.check.query("select * from read_csv('/etc/hosts')", name="q"), "disabled by configuration"),
        (ev.check.expression("(select count(*) from read_text('/etc/hosts')) = 1", name="e"), "disabled"),
        (ev.check.matches("origin", "a(?=b)"), "invalid perl operator"),
        (ev.check.matches("origin", "a(", dialect="python"), "no regular expression"),
        (ev.check.python("plain_functions:fails", ["hour"]), "ZeroDivisionError: as it happens"),
        (ev.check.python("plain_functions:says_little", ["hour"]), "answered 1 times for 5 rows"),
        (ev.check.python("plain_functions:says_numbers", ["hour"]), "answered int64, not true or false"),
        (ev.check.python("plain_functions:absent", ["hour"]), "no function 'absent'"),
        (ev.check.python("plain_functions:small", ["hour"], whole=True), 'Field "x" does not exist'),
        (ev.check.monotonic("hour", by=["gone"]), "there is no column 'gone'"),
        (ev.check.date_format("hour", "%Y"), "No function matches"),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else value,
)
def test_every_kind_of_check_that_cannot_be_made_says_why(
    check: AnyCheck, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    report = examine(WEATHER, check, ev.check.in_range("hour", 0, 23))
    assert error in report.checks[0].error
    assert not report.passed
    assert report.checks[1].passed


def test_a_function_for_the_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    check = ev.check.python("plain_functions:in_order", ["hour"], whole=True)
    assert examine(WEATHER, check).passed
    assert not examine(WEATHER.take([1, 0, 4, 2, 3]), check).passed


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        (ev.check.has_columns("hour", "origin"), True),
        (ev.check.has_columns("hour", "origin", ordered=True), False),
        (ev.check.has_columns("origin", "wind", ordered=True), True),
        (ev.check.has_columns("origin", exact=True), False),
        (ev.check.has_columns("origin", "gone"), False),
        (ev.check.has_columns("time", "wind", "hour", "origin", exact=True), True),
        (ev.check.column_count(4, 4), True),
        (ev.check.column_count(5), False),
        (ev.check.has_type("hour", "integer"), True),
        (ev.check.has_type("hour", ["int32", "text"]), False),
        (ev.check.has_type("time", "instant"), True),
        (ev.check.has_type("time", ["date", "timestamp"]), True),
        (ev.check.has_type("wind", "number"), True),
        (ev.check.has_type("origin", "text"), True),
    ],
    ids=lambda value: str(value)[:60],
)
def test_columns_and_types(check: AnyCheck, passed: bool) -> None:
    assert examine(WEATHER, check).passed is passed


def test_an_aggregate_of_instants() -> None:
    newest = ev.check.aggregate("time", "max", low=NOW)
    [result] = examine(WEATHER, newest).checks
    assert (result.passed, result.sample) == (False, [{"max": NOW - timedelta(hours=5)}])


def test_rows_appended_to_a_large_version_are_checked_with_it(workspace: LocalWorkspace) -> None:
    rng = np.random.default_rng(0)
    first = pa.table({"x": rng.normal(size=600_000)})
    workspace.data.add(first, "numbers")  # more than scanning holds in memory
    grown = workspace.data.add(pa.table({"x": [1.0, None, 99.0]}), "numbers", append=True)
    assert len(files_of(workspace.data.dataset(grown.reference).scan())) == 2  # as DuckDB reads best
    report = workspace.data.check(grown.reference, [ev.check.in_range("x", -10, 10), ev.check.not_null("x")])
    found = {each.name: each.sample for each in report.checks}
    assert [[row["row"] for row in sample] for sample in found.values()] == [[600_002], [600_001]]
