"""Answering a whole file: rows in, the same rows with the answers beside them out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from everloop.errors import InvalidInput, NotFound, StorageError

if TYPE_CHECKING:
    from everloop.registry.version import ModelVersion

ROWS_AT_ONCE = 50_000


def predict_file(model: ModelVersion, source: Path, out: Path) -> int:
    """Answer a Parquet or CSV file chunk by chunk, and write Parquet or CSV by the name of `out`. Nothing is
    left of a failed one.

    An answer whose name is taken by a column of the file is called ``output.NAME``.
    """
    if out.suffix not in {".parquet", ".csv"}:
        raise InvalidInput(f"{out} is neither .parquet nor .csv", hint="name the output by what it should be")
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    rows = 0
    writer: pq.ParquetWriter | csv.CSVWriter | None = None
    try:
        for chunk in _chunks(source):
            answered = _answered(model, chunk)
            if writer is None:
                make = pq.ParquetWriter if out.suffix == ".parquet" else csv.CSVWriter
                writer = make(partial, answered.schema)
            writer.write_table(answered)
            rows += chunk.num_rows
        if writer is None:
            raise InvalidInput(f"{source} has no rows", hint="give rows to answer")
        writer.close()
        partial.replace(out)
    except OSError as error:
        raise StorageError(
            f"cannot write {out}: {error.strerror or error}", hint="is there room on the disk?"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return rows


def _answered(model: ModelVersion, chunk: pa.Table) -> pa.Table:
    for name, column in model.predict(chunk).items():
        called = f"output.{name}" if name in chunk.column_names else name
        chunk = chunk.append_column(called, pa.array(column, from_pandas=True))
    return chunk


def _chunks(source: Path) -> Iterator[pa.Table]:
    if not source.is_file():
        raise NotFound(f"there is no file {source}", hint="name a .parquet or .csv file with the rows")
    try:
        if source.suffix == ".csv":
            table = csv.read_csv(source, convert_options=csv.ConvertOptions(strings_can_be_null=True))
            for at in range(0, table.num_rows, ROWS_AT_ONCE):
                yield table.slice(at, ROWS_AT_ONCE)
            return
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE):
                yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{source} cannot be read: {error}", hint="give a Parquet or CSV file") from None
