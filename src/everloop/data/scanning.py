"""A version as one table to pyarrow and DuckDB, and the DuckDB that rooms use."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.dataset

from everloop.data.csv_files import PARSING
from everloop.domain.datasets import FileEntry
from everloop.errors import Corrupted, InvalidInput

if TYPE_CHECKING:
    from everloop.store.objects import Objects


def scan(objects: Objects, files: Iterable[FileEntry]) -> pa.dataset.Dataset:
    """Parquet or CSV files, all of one kind and schema, as a dataset that decodes only the columns and rows asked for.

    The files' bytes are fetched, checked and held in memory as they are stored, compressed. Handing Arrow a Python file
    instead, to fetch pieces as it goes, deadlocks under DuckDB: a thread of Arrow waits for Python's lock to read, while the one
    that has the lock waits for that thread to end.
    """
    listed = list(files)
    is_csv = listed[0].path.lower().endswith(".csv")
    kind = pa.dataset.CsvFileFormat(parse_options=PARSING) if is_csv else pa.dataset.ParquetFileFormat()
    stored = (objects.read(file.digest) for file in listed)
    # Arrow takes a header that no line end follows for nothing at all.
    ended = (data + b"\n" if is_csv and b"\n" not in data else data for data in stored)
    fragments = [kind.make_fragment(pa.py_buffer(data)) for data in ended]
    return pa.dataset.FileSystemDataset(fragments, fragments[0].physical_schema, kind)


@contextmanager
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB of its own, in memory, in UTC: nothing depends on the time zone of the machine."""
    with _connect() as con:
        yield con


class KeptConnection:
    """A connection for an owner that asks often, for making one takes 10 to 20 ms. Closed with its owner, or when the process
    ends."""

    def __init__(self) -> None:
        self._open: list[duckdb.DuckDBPyConnection] = []
        weakref.finalize(self, _close_all, self._open)

    def get(self) -> duckdb.DuckDBPyConnection:
        if not self._open:
            self._open.append(_connect())
        return self._open[0]


def _connect() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("set TimeZone = 'UTC'")
    # SQL sees what was registered, not variables of this program.
    con.execute("set python_enable_replacements = false")
    return con


def _close_all(connections: list[duckdb.DuckDBPyConnection]) -> None:
    while connections:
        connections.pop().close()


@contextmanager
def sql_errors(what: str) -> Iterator[None]:
    """DuckDB's complaints about what a user wrote, as InvalidInput that names it."""
    try:
        yield
    except (duckdb.Error, duckdb.NotImplementedException) as error:
        damaged = _corruption(error)
        if damaged is not None:
            raise damaged from error
        raise InvalidInput(f"{what}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """What DuckDB says, without the drawing of the query below it."""
    return str(error).split("\n\n")[0].splitlines()[0]


def quoted(name: str) -> str:
    """A name as an SQL identifier.

    >>> quoted('team "a"')
    '"team ""a\"""'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(value: bool | int | float | str | None) -> str:
    """A value as an SQL literal.

    >>> literal("it's"), literal(3), literal(True)
    ("'it''s'", '3', 'true')
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return (
                f"{value!r}::double"
                if value == value and abs(value) != float("inf")
                else f"'{value}'::double"
            )
        case _:
            return "'" + value.replace("'", "''") + "'"


def _corruption(error: BaseException) -> Corrupted | None:
    """The damage below a driver's error, when that is what happened."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Corrupted):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
