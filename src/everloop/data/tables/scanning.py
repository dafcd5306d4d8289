"""A version as one table to pyarrow and DuckDB, and the DuckDB that rooms use."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.dataset as pds

from everloop.data.tables.arrow_files import is_stream, stream_table
from everloop.data.tables.csv_files import PARSING
from everloop.data.tables.formats import Format, format_of
from everloop.data.tables.json_files import json_table
from everloop.domain import partitions
from everloop.domain.datasets import Column, FileEntry
from everloop.errors import Corrupted, InvalidInput, StorageError

if TYPE_CHECKING:
    from everloop.data.tables.file_contents import FileContents

NATIVE = 4 << 20
"""Files from this many bytes on are scanned as files of this machine, smaller ones in memory."""
FEW = 256
"""Small files beside large ones that are worth taking out too."""


def scan(contents: FileContents, files: Iterable[FileEntry]) -> pds.Dataset:
    """Files of one format and schema as a dataset that decodes only the columns and rows asked for.

    Small files are held in memory as they are stored, compressed; large ones are taken out of the store once, checked, and from
    then on read by Arrow itself. Handing Arrow a Python file instead, to fetch pieces as it goes, deadlocks under DuckDB: a
    thread of Arrow waits for Python's lock to read, while the one that has the lock waits for that thread to end.
    """
    listed = list(files)
    stored = [file for file in listed if not file.source]
    large = [file for file in stored if file.size >= NATIVE]
    # A few small ones beside large ones are taken out too: DuckDB's own reader takes a table of files only.
    taken_out = _taken_out(contents, stored if len(stored) <= FEW else large) if large else {}

    def held(file: FileEntry) -> Path | bytes:
        if file.digest in taken_out:
            return Path(taken_out[file.digest])
        return contents.path(file) if file.source else contents.read(file)

    return table_of([(file.path, held(file)) for file in listed])


def _taken_out(contents: FileContents, files: Sequence[FileEntry]) -> dict[str, str]:
    """Where the files are on this machine; nowhere when there is no room for them, or nothing may be written."""
    try:
        return {digest: kept.path for digest, kept in contents.cache.kept(files).items()}
    except Corrupted:
        raise
    except StorageError:  # then they are held in memory
        return {}


def scan_pieces(contents: FileContents, files: Sequence[FileEntry]) -> pds.Dataset | None:
    """The files as a dataset that fetches, of large Parquet files that are not on this machine yet, only what is read: a few
    columns of them cost these columns' bytes. None where there is nothing to gain. For Arrow's own reading only, never to be
    registered with DuckDB (see `scan`)."""
    if any(file.source or format_of(file.path) is not Format.PARQUET for file in files):
        return None
    large = {file.digest for file in files if file.size >= NATIVE}
    if not large or contents.cache.holds(large):
        return None
    return table_of(
        [(file.path, contents.open(file) if file.digest in large else contents.read(file)) for file in files]
    )


def table_of(files: Sequence[tuple[str, Path | bytes | BinaryIO]]) -> pds.Dataset:
    """Files as one table: for each its name, and where it is or what it holds. What the names of folders spell (``month=1/``)
    are columns too. Files of several formats, such as CSV to which a table was appended, are read by the types of the first."""
    runs = [list(run) for _, run in itertools.groupby(files, lambda each: format_of(each[0]))]
    if len(runs) > 1:
        tables = [table_of(run) for run in runs]
        schema = tables[0].schema
        return pds.UnionDataset(schema, [table.replace_schema(schema) for table in tables])
    fmt = format_of(files[0][0])
    spelled = partitions.columns_of(path for path, _ in files)
    if fmt in (Format.JSON, Format.LINES):
        tables = [
            with_partitions(_rows(path, held), path, spelled)
            for path, held in files
            if isinstance(held, Path | bytes)
        ]
        return pds.dataset(pa.concat_tables(tables))
    if fmt is Format.ARROW and any(is_stream(held) for _, held in files):
        streams = [with_partitions(_arrow_table(held), path, spelled) for path, held in files]
        return pds.dataset(pa.concat_tables(streams))
    kind = _file_format(fmt)
    system = pa.fs.LocalFileSystem()
    fragments = []
    for path, held in files:
        values = partitions.typed(partitions.values_of(path), spelled)
        known = {} if not spelled else {"partition_expression": _expression(values, spelled)}
        if isinstance(held, bytes):
            # Arrow takes a header that no line end follows for nothing at all.
            ended = held + b"\n" if fmt in PARSING and b"\n" not in held else held
            fragments.append(kind.make_fragment(pa.py_buffer(ended), **known))
        elif not isinstance(held, Path):
            fragments.append(kind.make_fragment(pa.PythonFile(held, mode="r"), **known))
        elif fmt in PARSING and held.stat().st_size < NATIVE and b"\n" not in (text := held.read_bytes()):
            fragments.append(kind.make_fragment(pa.py_buffer(text + b"\n"), **known))
        else:
            fragments.append(kind.make_fragment(str(held.absolute()), system, **known))
    schema = fragments[0].physical_schema
    for column in spelled:
        schema = schema.append(pa.field(column.name, _type(column.type)))
    return pds.FileSystemDataset(fragments, schema, kind, system)


def partitioned(paths: Iterable[str], schema: pa.Schema) -> pa.Schema:
    """The schema of a table whose files have this one, with what the names of folders spell. Raises InvalidInput when a column
    is in both."""
    for column in partitions.columns_of(paths):
        if column.name in schema.names:
            raise InvalidInput(
                f"the column '{column.name}' is in the files and in the names of their folders",
                hint="rename the folders or the column",
            )
        schema = schema.append(pa.field(column.name, _type(column.type)))
    return schema


def _file_format(fmt: Format | None) -> pds.FileFormat:
    match fmt:
        case Format.CSV | Format.TSV:
            return pds.CsvFileFormat(parse_options=PARSING[fmt])
        case Format.ARROW:
            return pds.IpcFileFormat()
        case _:
            return pds.ParquetFileFormat()


def _expression(values: dict[str, Any], spelled: Iterable[Column]) -> pds.Expression:
    whole = None
    for column in spelled:
        field, value = pds.field(column.name), values[column.name]
        one = field.is_null() if value is None else field == pa.scalar(value, _type(column.type))
        whole = one if whole is None else whole & one
    return whole


def with_partitions(table: pa.Table, path: str, spelled: Iterable[Column]) -> pa.Table:
    """The table of one file with the columns that the names of its folders spell."""
    columns = list(spelled)
    values = partitions.typed(partitions.values_of(path), columns)
    for column in columns:
        whole = pa.repeat(pa.scalar(values[column.name], _type(column.type)), table.num_rows)
        table = table.append_column(column.name, whole)
    return table


def _rows(path: str, held: Path | bytes) -> pa.Table:
    table = json_table(path, held)
    if table is None:
        raise InvalidInput(f"{path} is not a list of rows")
    return table


def _arrow_table(held: Path | bytes | BinaryIO) -> pa.Table:
    if is_stream(held):
        return stream_table(held)
    with pa.BufferReader(held) if isinstance(held, bytes) else pa.memory_map(str(held)) as source:
        return pa.ipc.open_file(source).read_all()


def _type(name: str) -> pa.DataType:
    return pa.int64() if name == "int64" else pa.string()


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
    # It would be drawn on standard output after two seconds, into the middle of --json.
    con.execute("set enable_progress_bar = false")
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
