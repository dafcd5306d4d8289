"""Tables in files: Parquet as Everloop writes it, and what the columns of a file are."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from everloop.data.tables.arrow_files import is_stream
from everloop.data.tables.column_names import unfit
from everloop.data.tables.csv_files import PARSING, inspect_csv, require_json
from everloop.data.tables.formats import Format, format_of
from everloop.data.tables.json_files import json_table
from everloop.domain.datasets import Column
from everloop.errors import InvalidInput, NotFound, StorageError

PARQUET = ".parquet"
CSV = ".csv"
TABULAR = (PARQUET, CSV)

# One row group cut by content: an append or an insertion then changes few chunks of the object store. Cutting row groups by
# number would undo it. Compression only within Parquet, for the same reason.
WRITING: dict[str, Any] = {
    "compression": "zstd",
    "row_group_size": 1 << 30,
    "use_content_defined_chunking": {
        "min_chunk_size": 32 * 1024,
        "max_chunk_size": 128 * 1024,
        "norm_level": 0,
    },
}


def is_arrow(source: object) -> bool:
    """Whether a source is a table of any library that speaks Arrow: pyarrow, DuckDB relations, pandas, polars."""
    return hasattr(source, "__arrow_c_stream__")


def arrow_table(source: Any) -> pa.Table:
    """The table, whole in memory."""
    table = source if isinstance(source, pa.Table) else pa.table(source)
    if not table.num_columns:
        raise InvalidInput("the table has no columns")
    if wrong := unfit(table.column_names):
        raise InvalidInput(f"the table has {wrong}", hint="name its columns otherwise")
    return table


@contextmanager
def as_parquet(table: pa.Table, folder: Path) -> Iterator[BufferedRandom]:
    """The table as a Parquet file without a name in `folder`, at its start."""
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            pq.write_table(table, file, **WRITING)
            file.seek(0)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InvalidInput(f"the table cannot be written as Parquet: {error}") from None
        except OSError as error:
            raise StorageError(
                f"the table cannot be written: {error}", hint="free some space and try again"
            ) from None
        yield file


def columns_of(schema: pa.Schema) -> list[Column]:
    """Names and types of a table."""
    return [Column(field.name, str(field.type)) for field in schema]


def inspect(name: str, file: Path) -> tuple[pa.Schema, int] | None:
    """Schema and rows of a file that will be called `name`, or None when it is no table by its ending. A Parquet, CSV or
    JSON file that is not what its ending says is refused: InvalidInput; so is one whose columns cannot be told apart."""
    found = _inspected(name, file)
    if found is not None and (wrong := unfit(found[0].names)):
        if format_of(name) in (Format.JSON, Format.LINES):
            return None  # objects may have any keys
        raise InvalidInput(
            f"{name} cannot be read as a table: it has {wrong}",
            hint="name its columns otherwise; or keep its bytes as they are with --as-file (as_file=True)",
        )
    return found


def _inspected(name: str, file: Path) -> tuple[pa.Schema, int] | None:
    match format_of(name):
        case Format.PARQUET:
            with _readable(name, "Parquet"), pq.ParquetFile(file) as found:
                return found.schema_arrow, found.metadata.num_rows
        case Format.ARROW:
            with _readable(name, "Arrow"), pa.memory_map(str(file)) as mapped:
                if is_stream(file):
                    stream = pa.ipc.open_stream(mapped)
                    return stream.schema, sum(batch.num_rows for batch in stream)
                opened = pa.ipc.open_file(mapped)
                return opened.schema, sum(
                    opened.get_batch(number).num_rows for number in range(opened.num_record_batches)
                )
        case Format.CSV | Format.TSV:
            return inspect_csv(name, file)
        case Format.JSON | Format.LINES:
            require_json(name, file)
            table = json_table(name, file)
            return None if table is None else (table.schema, table.num_rows)
    return None


@contextmanager
def _readable(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, EOFError) as error:
        raise InvalidInput(
            f"{name} is not readable {what}: {str(error).splitlines()[0]}",
            hint="write it again; or keep its bytes as they are with --as-file (as_file=True)",
        ) from None


def read_table(path: Path) -> pa.Table:
    """A Parquet or CSV file of the user's, whole. Raises NotFound or InvalidInput."""
    if not path.is_file():
        raise NotFound(f"there is no file {path}", hint="check the path")
    ending = path.suffix.lower()
    if ending not in TABULAR:
        raise InvalidInput(
            f"{path} is neither Parquet nor CSV by its ending", hint="end its name in .parquet or .csv"
        )
    try:
        return (
            pq.read_table(path)
            if ending == PARQUET
            else pa.csv.read_csv(path, parse_options=PARSING[Format.CSV])
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InvalidInput(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet or CSV file for the user, whole or not at all."""
    ending = path.suffix.lower()
    if ending not in TABULAR:
        raise InvalidInput(
            f"{path} is neither Parquet nor CSV by its ending", hint="end its name in .parquet or .csv"
        )
    beside = path.with_name(f".{path.name}.new")
    try:
        if ending == PARQUET:
            pq.write_table(table, beside, compression="zstd")
        else:
            pa.csv.write_csv(table, beside)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StorageError(
            f"{path} cannot be written: {error}", hint="is there room, and may you write there?"
        ) from None
