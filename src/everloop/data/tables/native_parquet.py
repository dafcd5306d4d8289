"""Parquet files of this machine read by DuckDB itself, where that gives the same table as reading them by way of Arrow.

DuckDB's own reader needs two thirds of the processor time that Arrow's scan and the way from it into DuckDB take, and a third of
the memory: it decodes a vector at a time, and skips what a condition rules out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as pds
from pyarrow.fs import LocalFileSystem

from everloop.data.tables.column_names import require_fit
from everloop.data.tables.scanning import literal, quoted


def files_of(rows: Any) -> list[str]:
    """Where the files of a table are when all are Parquet files of this machine; none for any other table."""
    if not isinstance(rows, pds.FileSystemDataset) or not isinstance(rows.format, pds.ParquetFileFormat):
        return []
    try:
        fragments = list(rows.get_fragments())
    except ValueError:  # some of its rows only
        return []
    on_disk = all(isinstance(each.filesystem, LocalFileSystem) for each in fragments)
    return [each.path for each in fragments] if on_disk else []


def confine(con: duckdb.DuckDBPyConnection, tables: Iterable[Any]) -> None:
    """Keep a connection from every file but those of these tables, for good: its settings cannot be changed any more."""
    con.execute("set allowed_paths = ?", [[path for rows in tables for path in files_of(rows)]])
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")


def widened(rows: Any) -> Any:
    """A table with its numbers of 16 bits, which DuckDB does not take from Arrow, as those of 32 bits: every value stays what it
    is."""
    schema = getattr(rows, "schema", None)
    if not isinstance(schema, pa.Schema) or pa.float16() not in schema.types:
        return rows
    fields = [field.with_type(pa.float32()) if pa.types.is_float16(field.type) else field for field in schema]
    wide = pa.schema(fields, schema.metadata)
    if isinstance(rows, pds.FileSystemDataset):
        return pds.FileSystemDataset(list(rows.get_fragments()), wide, rows.format, rows.filesystem)
    return (rows.to_table() if isinstance(rows, pds.Dataset) else rows).cast(wide)


def offer(con: duckdb.DuckDBPyConnection, name: str, rows: Any) -> dict[str, str]:
    """Let a connection's SQL read a table, anything that DuckDB can register, by a name. Returns its columns with DuckDB's types.

    Types decide how: where the two readers disagree (a duration, say, is a number to DuckDB's own), and where the connection may
    not read the files, the table comes by way of Arrow.
    """
    require_fit(rows)
    rows = widened(rows)
    con.register(name, rows)
    kinds = _described(con, quoted(name))
    if files := files_of(rows):
        source = f"read_parquet([{', '.join(map(literal, files))}])"
        try:
            same = list(_described(con, source).items()) == list(kinds.items())
        except duckdb.Error:  # out of reach, or of a kind that only Arrow reads
            same = False
        if same:
            con.unregister(name)
            con.execute(f"create temp view {quoted(name)} as from {source}")
    return kinds


def relation(con: duckdb.DuckDBPyConnection, rows: pds.Dataset) -> duckdb.DuckDBPyRelation:
    """A table as a relation of a connection, read as `offer` says."""
    require_fit(rows)
    rows = widened(rows)
    by_arrow = con.from_arrow(rows)
    if files := files_of(rows):
        try:
            native = con.read_parquet(files)
        except duckdb.Error:
            return by_arrow
        if (native.columns, native.types) == (by_arrow.columns, by_arrow.types):
            return native
    return by_arrow


@contextmanager
def offered(con: duckdb.DuckDBPyConnection, tables: Mapping[str, Any]) -> Iterator[None]:
    """Let a connection's SQL read tables by their names, as `offer` does, for a while."""
    try:
        for name, rows in tables.items():
            offer(con, name, rows)
        yield
    finally:
        for name in tables:
            con.unregister(name)
            con.execute(f"drop view if exists {quoted(name)}")


def _described(con: duckdb.DuckDBPyConnection, source: str) -> dict[str, str]:
    return {str(row[0]): str(row[1]) for row in con.sql(f"describe from {source}").fetchall()}
