"""A version as one table to pyarrow and DuckDB: columns and rows are read from the object store as they are needed."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs

from everloop.domain.datasets import FileEntry
from everloop.errors import Corrupted, InvalidInput

if TYPE_CHECKING:
    from everloop.store.objects import Objects


def scan(objects: Objects, files: Iterable[FileEntry], schema: pa.Schema | None = None) -> pa.dataset.Dataset:
    """Parquet or CSV files, all of one kind and schema, as a dataset that pushes down columns and filters."""
    listed = list(files)
    filesystem = pa.fs.PyFileSystem(_StoredFiles(objects, listed))
    kind = "csv" if listed[0].path.lower().endswith(".csv") else "parquet"
    return pa.dataset.dataset(
        [file.path for file in listed], schema=schema, format=kind, filesystem=filesystem
    )


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


class _StoredFiles(pa.fs.FileSystemHandler):
    """The files of a version as Arrow's file system wants them. Arrow reads one file from several threads but asks it for one
    piece at a time."""

    def __init__(self, objects: Objects, files: Iterable[FileEntry]) -> None:
        self._objects = objects
        self._files = {file.path: file for file in files}

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def get_type_name(self) -> str:
        return "everloop"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[Any]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        return [self._info(path) for path in self._files]

    def open_input_file(self, path: str) -> Any:
        return pa.PythonFile(self._stream(path), mode="r")

    def open_input_stream(self, path: str) -> Any:
        return pa.PythonFile(self._stream(path), mode="r")

    def _info(self, path: str) -> Any:
        file = self._files.get(path)
        if file is None:
            return pa.fs.FileInfo(path, pa.fs.FileType.NotFound)
        return pa.fs.FileInfo(path, pa.fs.FileType.File, size=file.size)

    def _stream(self, path: str) -> BinaryIO:
        if path not in self._files:
            raise FileNotFoundError(path)
        return self._objects.open(self._files[path].digest)

    def _read_only(self, *_: object) -> None:
        raise PermissionError("a dataset version is never written to")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _read_only
    move = copy_file = open_output_stream = open_append_stream = _read_only
