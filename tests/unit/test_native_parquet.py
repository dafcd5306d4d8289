"""DuckDB's own reader of Parquet in the place of Arrow's: the same rows, in the same order, and no other file."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest

import everloop as ev
from everloop.data.checks.checking import Examination
from everloop.data.tables.native_parquet import confine, offer
from everloop.data.tables.scanning import connection
from everloop.features.history.rows import compute_rows

NOW = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)

COLUMNS = {
    "whole": pa.array([1, None, -3], pa.int16()),
    "unsigned": pa.array([1, None, 2**64 - 1], pa.uint64()),
    "floating": pa.array([1.5, None, float("nan")], pa.float32()),
    "text": pa.array(["a", None, "é"]),
    "large": pa.array(["a", None, ""], pa.large_string()),
    "chosen": pa.array(["a", None, "a"]).dictionary_encode(),
    "bytes": pa.array([b"a", None, b""]),
    "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "yes": pa.array([True, None, False]),
    "day": pa.array([date(2013, 1, 1), None, date(1, 1, 1)]),
    "seconds": pa.array([0, None, 1], pa.timestamp("s")),
    "nanoseconds": pa.array([1, None, 1001], pa.timestamp("ns")),
    "instant": pa.array([NOW, None, NOW], pa.timestamp("us", "Europe/Berlin")),
    "fine instant": pa.array([1_500, None, 2_999], pa.timestamp("ns", "UTC")),
    "clock": pa.array([time(1, 2), None, time(23, 59, 59, 999)], pa.time64("us")),
    "span": pa.array([timedelta(days=1), None, timedelta(microseconds=1)]),
    "money": pa.array([Decimal("1.10"), None, Decimal("-99.99")], pa.decimal128(6, 2)),
    "nothing": pa.nulls(3),
    "list": pa.array([[1, None], None, []], pa.list_(pa.int8())),
    "pair": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}]),
}
BY_ARROW = {"span", "pair", "seconds"}
"""Parquet holds them as something else; what they are stands in a note that only Arrow reads."""


def plan(con: duckdb.DuckDBPyConnection) -> str:
    return str(con.sql("explain from t").fetchall()[0][1])


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_reads_as_by_way_of_arrow(tmp_path: Path, name: str) -> None:
    pq.write_table(pa.table({name: COLUMNS[name]}), tmp_path / "a.parquet")
    rows = pds.dataset(tmp_path / "a.parquet")
    with connection() as con:
        con.register("by arrow", rows)
        expected = con.sql('from "by arrow"').to_arrow_table()
        offer(con, "t", rows)
        got = con.sql("from t").to_arrow_table()
        assert got.schema == expected.schema
        assert repr(got.to_pylist()) == repr(expected.to_pylist())
        assert ("PARQUET" in plan(con)) is (name not in BY_ARROW)


def test_files_come_one_after_the_other_and_rows_in_their_order(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{name}.parquet") for name in "zab"]
    for number, path in enumerate(paths):
        part = pa.table({"n": np.arange(number * 40_000, (number + 1) * 40_000)})
        pq.write_table(part, path, row_group_size=3_000)
    rows = pds.dataset(paths, format="parquet")
    check = ev.check.expression("n % 7 <> 0", name="seventh")
    with connection() as con:
        examination = Examination(con, rows, [check], fetch=lambda name: None, now=NOW)
        assert list(examination.failing_rows(["seventh"])) == list(range(0, 120_000, 7))


def test_rows_left_out_of_a_table_stay_out(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1, 2, 3]}), tmp_path / "a.parquet")
    with connection() as con:
        offer(con, "t", pds.dataset(tmp_path / "a.parquet").filter(pds.field("n") > 1))
        assert con.sql("from t").fetchall() == [(2,), (3,)]


def test_a_confined_connection_reads_its_tables_and_no_other_file(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        pq.write_table(pa.table({"n": [1]}), tmp_path / f"{name}.parquet")
    mine = pds.dataset(tmp_path / "mine.parquet")
    with connection() as con:
        confine(con, [mine, None])
        offer(con, "t", mine)
        assert "PARQUET" in plan(con)
        assert con.sql("from t").fetchall() == [(1,)]
        for sql in (f"from '{tmp_path}/other.parquet'", f"from glob('{tmp_path}/*')"):
            with pytest.raises(duckdb.PermissionException):
                con.sql(sql).fetchall()
        with pytest.raises(duckdb.Error):
            con.execute("set allowed_directories = ['/']")
        # What it may not open itself is still handed to it.
        offer(con, "given", pds.dataset(tmp_path / "other.parquet"))
        assert con.sql("from given").fetchall() == [(1,)]


def test_a_view_reads_files_as_it_reads_a_table_and_its_names_are_free_again(tmp_path: Path) -> None:
    times = pa.array([60_000_000 * minute for minute in range(6)], pa.timestamp("us", "UTC"))
    table = pa.table(
        {"k": ["a", "b", None] * 2, "t": times, "x": [1.5, None, 2, 3, 4, 5], "n": range(6), "id": range(6)}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    for features in (["x", "n"], ["k", "x"]):  # of fixed width, and with texts
        view = ev.feature_view(
            "v", entity=ev.entity("e", keys=["id"]), source="rows", event_time="t", features=features
        )
        with connection() as con:
            files = pds.dataset(tmp_path / "a.parquet")
            confine(con, [files])
            by_files, again, by_table = (
                compute_rows(con, view, {"rows": each}) for each in (files, files, table)
            )
            assert con.sql("from duckdb_views() where not internal").fetchall() == []
        for found in (by_files, again):
            assert found.columns == by_table.columns
            assert found.keys == by_table.keys
            assert found.event.tolist() == by_table.event.tolist()
