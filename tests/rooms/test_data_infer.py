"""Proposed checks: they pass on the table they came from, are written as TOML and Python that say the same, and catch faults."""

import math
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import fewer

import everloop as ev
from everloop.data.checks.checking import Examination
from everloop.data.checks.inferring import infer
from everloop.data.tables.scanning import connection
from everloop.domain.checks import CheckReport, Suite
from everloop.domain.checks.written import read_toml, to_python, to_toml
from everloop.governance.definitions import declared, load
from everloop.workspace.local import LocalWorkspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def proposed(table: pa.Table) -> Suite:
    with connection() as con:
        return infer(con, table, "t", "t")


@cache
def proposed_for_good() -> Suite:
    return proposed(GOOD)


def judged(table: pa.Table, suite: Suite) -> CheckReport:
    with connection() as con:
        return Examination(con, table, suite.checks, fetch=lambda _: None, now=NOW).report("data:t@v1", "t")


def columns(rows: int) -> st.SearchStrategy[pa.Array]:
    """A column of any type, with missing values or without."""
    kinds: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
        (pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)),
        (pa.uint8(), st.integers(0, 255)),
        (pa.float64(), st.floats() | st.integers(-5, 5).map(float)),
        (pa.float32(), st.floats(width=32)),
        (pa.bool_(), st.booleans()),
        (pa.string(), st.text(max_size=5) | st.sampled_from(["AB-12", "CD-345", "ef-6"])),
        (pa.string(), st.dates().map(str) | st.just("a@b.de")),
        (pa.date32(), st.dates()),
        (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
        (pa.timestamp("s"), st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1))),  # noqa: DTZ001
        (pa.decimal128(10, 2), st.decimals(-1000, 1000, places=2)),
        (pa.list_(pa.int64()), st.lists(st.integers(0, 3), max_size=2)),
        (pa.binary(), st.binary(max_size=3)),
    ]

    def column(kind: tuple[pa.DataType, st.SearchStrategy[Any]]) -> st.SearchStrategy[pa.Array]:
        values = st.lists(kind[1], min_size=rows, max_size=rows)
        missing = st.lists(kind[1] | st.none(), min_size=rows, max_size=rows)
        ordered = values.map(_sorted)
        return (values | missing | ordered).map(lambda listed: pa.array(listed, kind[0], from_pandas=False))

    return st.sampled_from(kinds).flatmap(column)


def _sorted(listed: list[Any]) -> list[Any]:
    return sorted(listed, key=lambda value: (value != value, value))


tables = st.sampled_from([0, 1, 2, 11, 40]).flatmap(
    lambda rows: st.lists(columns(rows), min_size=1, max_size=4).map(
        lambda made: pa.table({f"column {at}": array for at, array in enumerate(made)})
    )
)


@given(tables)
@fewer(0.4)
def test_what_is_proposed_passes_where_it_came_from(table: pa.Table) -> None:
    suite = proposed(table)
    report = judged(table, suite)
    assert [(each.name, each.error, each.sample) for each in report.failed] == []
    assert read_toml(to_toml(suite), "t.toml") == suite


GOOD = pa.table(
    {
        "id": range(1000, 1060),
        "time": [NOW + timedelta(hours=hour) for hour in range(60)],
        "origin": ["JFK", "EWR", "LGA"] * 20,
        "delay": [float(n % 7) for n in range(60)],
        "tail": [f"N{n:03}AA" for n in range(60)],
        "day": [str(date(2013, 1, 1) + timedelta(days=n)) for n in range(60)],
        "mail": [f"p{n}@example.org" for n in range(60)],
        "note": [None if n < 6 else "x" * (n + 1) for n in range(60)],
        "gate": [n % 6 for n in range(60)],
    }
)


def changed(column: str, values: list[Any]) -> pa.Table:
    at = GOOD.column_names.index(column)
    rest = GOOD[column].to_pylist()[len(values) :]
    kind = GOOD.schema.field(column).type
    return GOOD.set_column(at, column, pa.array(values + rest, kind, from_pandas=False))


FAULTS: list[tuple[str, pa.Table, str]] = [
    ("a missing column", GOOD.drop_columns(["day"]), "has_columns"),
    ("another type", GOOD.set_column(3, "delay", GOOD["delay"].cast(pa.string())), "delay.has_type"),
    ("a copied row", changed("id", [1001]), "id.key"),
    ("out of order", changed("time", [NOW + timedelta(days=9)]), "time.monotonic"),
    ("a new airport", changed("origin", ["XXX"]), "origin.in_set"),
    ("another unit", changed("delay", [360.0]), "delay.in_range"),
    ("a sign", changed("delay", [-1.0]), "delay.in_range"),
    ("NaN", changed("delay", [math.nan]), "delay.not_null"),
    ("another code", changed("tail", ["n001aa"]), "tail.matches"),
    ("another format of dates", changed("day", ["01.01.2013"]), "day.date_format"),
    ("no address", changed("mail", ["nobody"]), "mail is an email"),
    ("half of it missing", changed("note", [None] * 30), "note.null_share"),
    ("a text cut together", changed("note", ["x" * 900]), "note.length"),
    ("no rows", GOOD.slice(0, 0), "row_count"),
]


def test_it_passes_without_a_fault() -> None:
    assert judged(GOOD, proposed_for_good()).passed


@pytest.mark.parametrize(("table", "caught"), [each[1:] for each in FAULTS], ids=[each[0] for each in FAULTS])
def test_planted_faults_are_caught(table: pa.Table, caught: str) -> None:
    suite = proposed_for_good()
    assert caught in [each.name for each in judged(table, suite).failed]


def test_two_columns_make_a_key_where_none_does() -> None:
    table = pa.table({"day": sorted([*range(20)] * 3), "place": ["a", "b", "c"] * 20, "x": [1.5] * 60})
    assert "day+place.key" in [each.name for each in proposed(table).checks]


def test_few_rows_say_little() -> None:
    names = {each.name for each in proposed(GOOD.slice(0, 5)).checks}
    assert not {"id.key", "time.monotonic", "origin.in_set", "tail.matches"} & names


def test_the_next_month_passes_too() -> None:
    """Margins are for what grows by itself: keys and times."""
    later = GOOD.set_column(0, "id", pa.array(range(2000, 2060)))
    later = later.set_column(
        1, "time", pa.array([NOW + timedelta(days=30, hours=hour) for hour in range(60)])
    )
    assert judged(later, proposed_for_good()).passed


def test_the_same_in_toml_and_python(workspace: LocalWorkspace, tmp_path: Path) -> None:
    workspace.data.add(GOOD, "flights")
    suite = workspace.data.infer("flights")
    assert (suite.name, suite.dataset) == ("flights", "flights")
    (tmp_path / "inferred_flights.py").write_text(to_python(suite))
    assert declared(load(str(tmp_path / "inferred_flights.py"), tmp_path), Suite) == [suite]
    assert read_toml(to_toml(suite), "flights.toml") == suite
    assert ev.data("flights").check(suite).passed


# Slow: one query of eight thousand expressions takes 12 s.
@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.slow)])
def test_thousands_of_columns(count: int) -> None:
    wide = pa.table({f"c{n}": pa.array([n, None, n + 1.5] * 5) for n in range(count)})
    suite = proposed(wide)
    worse = wide.set_column(7, "c7", pa.array([1e9] * 15))
    report = judged(worse, suite)
    assert len(report.checks) > 3 * count
    assert [each.name for each in report.failed] == ["c7.in_range"]
