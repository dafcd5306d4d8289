"""Every rule of the checks against a slow, obvious implementation of it in Python."""

import math
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from everloop.data.tables.scanning import connection
from everloop.domain.checks import AnyCheck, CheckResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Row = dict[str, Any]

# Each example opens a DuckDB of its own, which takes longer than all the rest: checks of the same rows share it.
few = fewer(0.4)

row = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-3, 3),
        "x": st.none() | st.just(math.nan) | st.just(math.inf) | st.integers(-3, 3).map(lambda n: n / 2),
        "s": st.none() | st.text("aB", max_size=3) | st.text("aB1é٣_\n ", max_size=3),
        "d": st.none()
        | st.sampled_from(["2013-01-05", "2013-1-5", "2013-02-30", "05.01.2013", "", "2013-01-05 "]),
        "t": st.none() | st.integers(0, 5).map(lambda days: NOW - timedelta(days=days)),
    }
)
# Few examples, each with enough rows to tell rules apart; and the small ones, where the edges are.
rows = st.lists(row, min_size=15, max_size=25) | st.lists(row, max_size=4)
SCHEMA = pa.schema(
    [
        ("i", pa.int64()),
        ("x", pa.float64()),
        ("s", pa.string()),
        ("d", pa.string()),
        ("t", pa.timestamp("us", "UTC")),
    ]
)
OTHER: list[Row] = [
    {"i": -1, "x": 0.5, "s": "a"},
    {"i": 1, "x": 1.0, "s": None},
    {"i": None, "x": 2.0, "s": "B"},
]
NUMBERS = st.integers(-3, 3)


def table_of(listed: Sequence[Row]) -> pa.Table:
    columns = {field.name: [row.get(field.name) for row in listed] for field in SCHEMA}
    # Not from_pylist, which makes a null of NaN.
    return pa.table(
        {
            name: pa.array(values, SCHEMA.field(name).type, from_pandas=False)
            for name, values in columns.items()
        }
    )


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


@contextmanager
def examination(
    listed: Sequence[Row], checks: Sequence[AnyCheck], earlier: Sequence[Row] | None = None
) -> Iterator[Examination]:
    with connection() as con:
        yield Examination(
            con,
            table_of(listed),
            checks,
            fetch=lambda _: table_of(OTHER),
            now=NOW,
            earlier=None if earlier is None else table_of(earlier),
            project=Path(__file__).parent,
        )


def examined(listed: Sequence[Row], check: AnyCheck) -> CheckResult:
    with examination(listed, [check]) as made:
        _, [result] = made.results()
        return result


def agrees(listed: Sequence[Row], *expected: tuple[AnyCheck, Callable[[Row], bool | None]]) -> None:
    """Beside each check what answers plainly for one row: True passes, False fails, None is not looked at."""
    agree(listed, *((check, [plain(row) for row in listed]) for check, plain in expected))


def agree(
    listed: Sequence[Row],
    *expected: tuple[AnyCheck, Sequence[bool | None]],
    earlier: Sequence[Row] | None = None,
) -> None:
    with examination(listed, [check for check, _ in expected], earlier) as made:
        _, results = made.results()
        for result, (check, answers) in zip(results, expected, strict=True):
            wrong = [number for number, answer in enumerate(answers) if answer is False]
            assert result.error == ""
            assert list(made.failing_rows([check.name])) == wrong
            assert (result.failed_rows, result.of) == (
                len(wrong),
                sum(answer is not None for answer in answers),
            )
            assert [sample["row"] for sample in result.sample] == wrong[:5]
            assert result.passed is (not wrong)


@few
@given(rows)
def test_not_null(listed: list[Row]) -> None:
    agrees(
        listed,
        *(
            (ev.check.not_null(column), lambda row, column=column: not missing(row[column]))
            for column in ("i", "x", "s")
        ),
    )


@few
@given(rows, NUMBERS, NUMBERS, st.sampled_from(["none", "low", "high", "both"]))
def test_in_range(listed: list[Row], low: int, high: int, exclusive: Any) -> None:
    low, high = sorted((low, high))

    def plain(value: Any) -> bool | None:
        if missing(value):
            return None
        above = value > low if exclusive in ("low", "both") else value >= low
        below = value < high if exclusive in ("high", "both") else value <= high
        return above and below

    agrees(
        listed,
        *(
            (
                ev.check.in_range(column, low, high, exclusive=exclusive),
                lambda row, column=column: plain(row[column]),
            )
            for column in ("i", "x")
        ),
    )


@few
@given(rows, st.integers(0, 5))
def test_a_range_of_instants(listed: list[Row], days: int) -> None:
    low = NOW - timedelta(days=days)
    agrees(listed, (ev.check.in_range("t", low), lambda row: None if row["t"] is None else row["t"] >= low))


@few
@given(rows, st.lists(st.integers(-3, 3), max_size=3), st.booleans())
def test_in_set(listed: list[Row], values: list[int], forbidden: bool) -> None:
    agrees(
        listed,
        *(
            (
                ev.check.in_set(column, values, forbidden=forbidden),
                lambda row, column=column: (
                    None if missing(row[column]) else (row[column] in values) is not forbidden
                ),
            )
            for column in ("i", "x")
        ),
    )


PATTERNS = ["a", "a|B", "[aB]+", "^a", "a$", "", "é.*", r"[^a]"]


@few
@given(rows, st.sampled_from(PATTERNS), st.sampled_from(["whole", "start", "anywhere"]), st.booleans())
def test_patterns_of_re2(listed: list[Row], pattern: str, where: Any, forbidden: bool) -> None:
    """These say the same in both dialects, for texts of one line."""
    listed = [row | {"s": row["s"] and row["s"].replace("\n", "b")} for row in listed]
    function = {"whole": re.fullmatch, "start": re.match, "anywhere": re.search}[where]
    agrees(
        listed,
        (
            ev.check.matches("s", pattern, where=where, forbidden=forbidden),
            lambda row: (
                None if row["s"] is None else (function(pattern, row["s"]) is not None) is not forbidden
            ),
        ),
    )


@few
@given(
    rows,
    st.sampled_from([*PATTERNS, r"\d", r"\w+", r"\s", r"a(?!B)", r"(.)\1", r"a$"]),
    st.sampled_from(["whole", "start", "anywhere"]),
    st.booleans(),
)
def test_patterns_of_python(listed: list[Row], pattern: str, where: Any, forbidden: bool) -> None:
    function = {"whole": re.fullmatch, "start": re.match, "anywhere": re.search}[where]
    agrees(
        listed,
        (
            ev.check.matches("s", pattern, where=where, forbidden=forbidden, dialect="python"),
            lambda row: (
                None if row["s"] is None else (function(pattern, row["s"]) is not None) is not forbidden
            ),
        ),
    )


@few
@given(rows, st.integers(0, 3), st.none() | st.integers(0, 3))
def test_lengths(listed: list[Row], low: int, high: int | None) -> None:
    agrees(
        listed,
        (
            ev.check.length("s", low, high),
            lambda row: None if row["s"] is None else low <= len(row["s"]) <= (9 if high is None else high),
        ),
    )


@few
@given(rows)
def test_formats_of_dates(listed: list[Row]) -> None:
    def exactly(text: str | None) -> bool | None:
        if text is None:
            return None
        try:
            return datetime.strptime(text, "%Y-%m-%d").strftime("%Y-%m-%d") == text  # noqa: DTZ007
        except ValueError:
            return False

    def loosely(text: str | None) -> bool | None:
        if text is None:
            return None
        try:
            datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007
        except ValueError:
            return False
        return True

    agrees(
        listed,
        (ev.check.date_format("d", "%Y-%m-%d", name="exactly"), lambda row: exactly(row["d"])),
        (
            ev.check.date_format("d", "%Y-%m-%d", strict=False, name="loosely"),
            lambda row: loosely(row["d"]),
        ),
    )


@few
@given(rows, rows | st.none(), st.sampled_from([("i",), ("x",), ("s",), ("i", "s"), ("x", "i")]))
def test_copies(listed: list[Row], earlier: list[Row] | None, columns: tuple[str, ...]) -> None:
    def answers(of_missing: bool | None) -> list[bool | None]:
        seen = {tuple(row[column] for column in columns) for row in earlier or ()}
        found: list[bool | None] = []
        for row in listed:
            values = tuple(row[column] for column in columns)
            if any(map(missing, values)):
                found.append(of_missing)
            else:
                found.append(values not in seen)
                seen.add(values)
        return found

    agree(
        listed,
        (ev.check.unique(*columns), answers(None)),
        (ev.check.key(*columns), answers(False)),
        earlier=earlier,
    )


@given(rows, rows | st.none(), st.booleans(), st.booleans(), st.sampled_from([(), ("i",), ("i", "s")]))
def test_steps(
    listed: list[Row], earlier: list[Row] | None, decreasing: bool, strictly: bool, by: tuple[str, ...]
) -> None:
    last: dict[tuple[Any, ...], float] = {}
    found: list[bool | None] = []
    for row in [*(earlier or ()), *listed]:
        group, value = tuple(row[column] for column in by), row["x"]
        if missing(value):
            found.append(None)
            continue
        before = last.get(group)
        step = 0 if before is None or before == value else (1 if value > before else -1)
        good = before is None or (-step if decreasing else step) > (0 if strictly else -1)
        found.append(good)
        last[group] = value
    check = ev.check.monotonic("x", decreasing=decreasing, strictly=strictly, by=by)
    agree(listed, (check, found[len(earlier or ()) :]), earlier=earlier)


@few
@given(rows)
def test_foreign_keys(listed: list[Row]) -> None:
    known = {row["i"] for row in OTHER if row["i"] is not None}
    pairs = {(row["i"], row["s"]) for row in OTHER if row["i"] is not None and row["s"] is not None}
    agrees(
        listed,
        (
            ev.check.foreign_key("i", "other", "i"),
            lambda row: None if row["i"] is None else row["i"] in known,
        ),
        (
            ev.check.foreign_key(("i", "s"), "other", ["i", "s"]),
            lambda row: None if row["i"] is None or row["s"] is None else (row["i"], row["s"]) in pairs,
        ),
    )


@few
@given(rows)
def test_expressions_have_three_answers(listed: list[Row]) -> None:
    """Null is no failure: neither when a value is missing, nor when SQL cannot tell."""

    def either(row: Row) -> bool | None:
        x, i = row["x"], row["i"]
        answers = [None if missing(x) else x > 0, None if i is None else i > 0]
        return True if True in answers else (None if None in answers else False)

    agrees(listed, (ev.check.expression("x > 0 or i > 0 -- either", name="either"), either))


@few
@given(rows)
def test_functions(listed: list[Row]) -> None:
    agrees(
        listed,
        (
            ev.check.python("plain_functions.py:small", ["x", "i"]),
            lambda row: None if missing(row["x"]) or row["i"] is None else row["x"] + row["i"] < 3,
        ),
    )


def plain_number(values: list[float], measure: str, everything: int) -> float | None:
    there = sorted(values)
    match measure:
        case "distinct":
            return len(set(there))
        case "null_share":
            return 1 - len(there) / everything if everything else 0
        case "distinct_share":
            return len(set(there)) / len(there) if there else None
        case "stddev":
            return statistics.stdev(there) if len(there) > 1 else None
        case "mean" | "median" | "sum" | "min" | "max" if there:
            return {
                "mean": statistics.fmean,
                "median": statistics.median,
                "sum": sum,
                "min": min,
                "max": max,
            }[measure](there)
        case "quantile" if there:
            return float(np.quantile(there, 0.25))
    return None


MEASURES = [
    "mean",
    "median",
    "stddev",
    "sum",
    "min",
    "max",
    "quantile",
    "distinct",
    "distinct_share",
    "null_share",
]


@few
@given(rows, st.sampled_from(MEASURES), NUMBERS, NUMBERS)
def test_aggregates(listed: list[Row], measure: Any, low: int, high: int) -> None:
    low, high = sorted((low, high))
    listed = [row | {"x": None if row["x"] == math.inf else row["x"]} for row in listed]
    values = [row["x"] for row in listed if not missing(row["x"])]
    expected = plain_number(values, measure, len(listed))
    if expected is not None and any(abs(expected - end) < 1e-9 and expected != end for end in (low, high)):
        return  # the last bit of a sum is nobody's promise
    q = 0.25 if measure == "quantile" else None
    check = ev.check.aggregate("x", measure, low, high, q=q)
    result = examined(listed, check)
    assert result.error == ""
    assert result.passed is (expected is not None and low <= expected <= high)
    if not result.passed:
        [[seen]] = [list(sample.values()) for sample in result.sample]
        assert seen == (None if expected is None else pytest.approx(expected))


@few
@given(rows, st.integers(0, 12), st.integers(0, 12))
def test_volume(listed: list[Row], low: int, high: int) -> None:
    assert examined(listed, ev.check.row_count(low, high)).passed is (low <= len(listed) <= high)


@few
@given(rows, st.integers(0, 5))
def test_freshness(listed: list[Row], days: int) -> None:
    times = [row["t"] for row in listed if row["t"] is not None]
    result = examined(listed, ev.check.freshness("t", timedelta(days=days)))
    assert result.passed is (bool(times) and NOW - max(times) <= timedelta(days=days))


@few
@given(rows)
def test_queries(listed: list[Row]) -> None:
    check = ev.check.query(
        "select i, count(*) as n from rows where i in (select i from other) group by i having n > 1",
        name="known once",
        datasets={"other": "other"},
    )
    result = examined(listed, check)
    known = [row["i"] for row in listed if row["i"] in {-1, 1}]
    assert result.passed is (len(set(known)) == len(known))
    assert all(sample["n"] == known.count(sample["i"]) for sample in result.sample)
