"""Tables as sketches: what a profile is made of, batch by batch, in memory that depends on the columns and not on the rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from everloop.data.tables.parquet import PARQUET
from everloop.domain import partitions
from everloop.domain.datasets import FileEntry
from everloop.errors import InvalidInput
from everloop.stats.arrays import Counts
from everloop.stats.sketches import ColumnSketch, Kind, TableSketch, hash_numbers, hash_texts
from everloop.stats.sketches.columns import CORRELATED, Batch
from everloop.stats.sketches.distinct import Value, starts
from everloop.stats.sketches.hashing import Hashes, hash_rows

if TYPE_CHECKING:
    from everloop.data.tables.file_contents import FileContents

Scanned = Callable[[Sequence[FileEntry]], Any]
"""Files as one `pyarrow.dataset.Dataset`."""

CELLS = 1 << 22
"""Of a batch: many columns make short batches."""
READ_AT_ONCE = 1 << 20
MOST_ROWS, LEAST_ROWS = 1 << 17, 1 << 12

DAY = 86_400_000_000
"""Microseconds."""

_INTEGERS = (1 << 63) - 1
_NULL, _NAN = np.uint64(0x6E756C6C), np.uint64(0x6E616E)


def profile_files(contents: FileContents, files: Sequence[FileEntry], scanned: Scanned) -> TableSketch:
    """The state of the table that these files make up, read once: a batch at a time, of Parquet the bytes of a batch only.

    scanned: how other files are read, and those whose folders spell columns.
    """
    spelled = partitions.columns_of(file.path for file in files)
    if spelled or not all(file.path.lower().endswith(PARQUET) for file in files):
        source = scanned(files)
        rows = _rows(source.schema)
        batches = source.to_batches(batch_size=rows, batch_readahead=2, fragment_readahead=1)
        return profile_batches(source.schema, batches)
    with contents.open(files[0]) as stored:
        schema = pq.read_schema(stored)
    return profile_batches(
        schema, (batch for file in files for batch in _batches(contents, file, _rows(schema)))
    )


def _batches(contents: FileContents, file: FileEntry, rows: int) -> Iterator[pa.RecordBatch]:
    with (
        contents.open(file) as stored,
        pq.ParquetFile(stored, buffer_size=READ_AT_ONCE, pre_buffer=False) as table,
    ):
        yield from table.iter_batches(batch_size=rows)


def _rows(schema: pa.Schema) -> int:
    """Of a batch."""
    return max(LEAST_ROWS, min(MOST_ROWS, CELLS // max(1, len(schema.names))))


def _gathered(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches that are worth their while: many small files make few of them."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= rows // 2:
            yield pa.concat_batches(waiting) if len(waiting) > 1 else batch
            waiting = []
    if waiting:
        yield pa.concat_batches(waiting)


def profile_batches(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> TableSketch:
    """The state of a table that comes in batches."""
    repeated = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if repeated is not None:
        raise InvalidInput(f"the table has two columns called '{repeated}'", hint="rename one of them")
    kinds = {field.name: kind_of(field.type) for field in schema}
    numeric = [name for name, kind in kinds.items() if kind in ("number", "boolean")][:CORRELATED]

    def whole(rows: int, seen: Iterable[_Seen]) -> TableSketch:
        by_name = dict(zip(kinds, seen, strict=True))
        columns = {name: each.sketch for name, each in by_name.items()}
        hashes = hash_rows([each.rows for each in by_name.values()], rows)
        numbers = np.array([by_name[name].numbers for name in numeric]) if numeric else np.empty((0, 0))
        return TableSketch.of(columns, hashes, numeric, numbers)

    nothing = pa.RecordBatch.from_pylist([], schema=schema)
    state = whole(0, map(_seen, nothing.columns, kinds.values()))
    # Sorting and hashing happen outside of Python's lock: a thread for each core, which has the next batch's columns to look at
    # while the columns of one are put together here.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        before: tuple[int, Iterator[_Seen]] | None = None
        for batch in _gathered(batches, _rows(schema)):
            if batch.num_rows:
                begun = batch.num_rows, pool.map(_seen, batch.columns, kinds.values())
                if before is not None:
                    state = state.merge(whole(*before))
                before = begun
        if before is not None:
            state = state.merge(whole(*before))
    return state


def kind_of(type_: pa.DataType) -> Kind:
    """How a column is profiled.

    >>> kind_of(pa.int16()), kind_of(pa.dictionary(pa.int8(), pa.string())), kind_of(pa.list_(pa.int8()))
    ('number', 'text', 'other')
    """
    if pa.types.is_dictionary(type_):
        return kind_of(type_.value_type)
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "text"
    if pa.types.is_date(type_) or pa.types.is_timestamp(type_):
        return "time"
    return "other"


class _Seen(NamedTuple):
    """A column of a batch: its state, a hash a row, and its numbers a row with NaN where there is none."""

    sketch: ColumnSketch
    rows: Hashes
    numbers: Any


def _seen(array: pa.Array, kind: Kind) -> _Seen:
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    match kind:
        case "number":
            return _numbers(array)
        case "boolean":
            return _booleans(array)
        case "time":
            return _times(array)
        case "text":
            return _texts(array.cast(pa.large_string()), "text")
        case _:
            values = [None if value is None else _told(value) for value in array.to_pylist()]
            return _texts(pa.array(values, pa.large_string()), "other")


def _numbers(array: pa.Array) -> _Seen:
    missing = np.asarray(array.is_null())
    if pa.types.is_decimal(array.type):
        # Text tells apart what a float cannot.
        hashes = _texts(array.cast(pa.string()).cast(pa.large_string()), "other").rows
        values = array.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
    else:
        plain = array.cast(pa.float32()) if pa.types.is_float16(array.type) else array
        values = plain.fill_null(0).to_numpy(zero_copy_only=False)
        hashes = hash_numbers(values)
    not_numbers = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.size, bool)
    not_numbers &= ~missing
    there = ~(missing | not_numbers)
    all_there = bool(there.all())
    whole = values.dtype.kind in "iu"
    different = _Different.of(values if all_there else values[there])
    batch = Batch(
        rows=len(array),
        nulls=int(missing.sum()),
        nans=int(not_numbers.sum()),
        hashes=different.hashes,
        counts=different.counts,
        witness=lambda places: [int(each) if whole else float(each) for each in different.values[places]],
        numbers=different.ordered.astype(np.float64),
    )
    if not all_there:
        hashes[missing], hashes[not_numbers] = _NULL, _NAN
        values = np.where(there, values, np.nan)
    return _Seen(ColumnSketch.of("number", batch, whole=whole), hashes, values)


def _booleans(array: pa.Array) -> _Seen:
    missing = np.asarray(array.is_null())
    values = array.fill_null(False).to_numpy(zero_copy_only=False)
    different = _Different.of(values[~missing])
    batch = Batch(
        rows=len(array),
        nulls=int(missing.sum()),
        nans=0,
        hashes=different.hashes,
        counts=different.counts,
        witness=lambda places: [bool(each) for each in different.values[places]],
    )
    rows = np.where(missing, _NULL, hash_numbers(values))
    return _Seen(
        ColumnSketch.of("boolean", batch), rows, np.where(missing, np.nan, values.astype(np.float64))
    )


def _times(array: pa.Array) -> _Seen:
    missing = np.asarray(array.is_null())
    zone = array.type.tz if pa.types.is_timestamp(array.type) else None
    instants = array.cast(pa.timestamp("us", zone), safe=False)
    values = instants.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    days_only = pa.types.is_date(array.type)
    different = _Different.of(values[~missing])
    batch = Batch(
        rows=len(array),
        nulls=int(missing.sum()),
        nans=0,
        hashes=different.hashes,
        counts=different.counts,
        witness=lambda places: [instant(each, days_only=days_only) for each in different.values[places]],
        numbers=different.ordered.astype(np.float64),
        days=(different.ordered // DAY).astype("datetime64[D]"),
    )
    nothing = np.full(len(array), np.nan)
    return _Seen(ColumnSketch.of("time", batch), np.where(missing, _NULL, hash_numbers(values)), nothing)


def _texts(array: pa.Array, kind: Kind) -> _Seen:
    encoded = array.dictionary_encode()
    different: pa.Array = encoded.dictionary
    places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    there = places >= 0
    of_rows = places[there]
    counts = np.bincount(of_rows, minlength=len(different)).astype(np.int64)
    hashes = np.empty(0, np.uint64)
    if len(different):
        _, offsets, data = different.buffers()
        ends = np.frombuffer(offsets, np.int64)[different.offset : different.offset + len(different) + 1]
        hashes = hash_texts(np.frombuffer(data or b"", np.uint8), ends)

    def witness(wanted: NDArray[np.intp]) -> list[Value]:
        found = different.take(pa.array(wanted, pa.int64())).cast(pa.large_binary())
        return [value.decode("utf-8", "replace") for value in found.to_pylist()]

    lengths = pc.utf8_length(different).to_numpy(zero_copy_only=False)
    trimmed = pc.binary_length(pc.utf8_trim_whitespace(different)).to_numpy(zero_copy_only=False)
    batch = Batch(
        rows=len(array),
        nulls=len(array) - of_rows.size,
        nans=0,
        hashes=hashes,
        counts=counts,
        witness=witness,
        numbers=_in_order(lengths, counts) if kind == "text" else None,
        empty=int(counts[lengths == 0].sum()),
        blank=int(counts[(trimmed == 0) & (lengths > 0)].sum()),
    )
    rows = np.full(len(array), _NULL)
    rows[there] = hashes[of_rows]
    return _Seen(ColumnSketch.of(kind, batch), rows, np.full(len(array), np.nan))


class _Different(NamedTuple):
    """Values in order (n,); the different ones of them, their hashes, and how often each occurs."""

    ordered: NDArray[Any]
    values: NDArray[Any]
    hashes: Hashes
    counts: Counts

    @classmethod
    def of(cls, values: NDArray[Any]) -> _Different:
        if values.dtype.kind in "iu" and values.size:
            low, high = int(values.min()), int(values.max())
            if high - low < values.size and high <= _INTEGERS:
                # Counting is less work than sorting where there is a place for each value that may occur.
                counts = np.bincount(values.astype(np.int64) - low)
                found = np.flatnonzero(counts)
                counts = counts[found].astype(np.int64)
                some = (found + low).astype(values.dtype)
                return cls(np.repeat(some, counts), some, hash_numbers(some), counts)
        ordered = values if (values[1:] >= values[:-1]).all() else np.sort(values)
        first = starts(ordered)
        counts = np.diff(np.append(first, ordered.size)).astype(np.int64)
        return cls(ordered, ordered[first], hash_numbers(ordered[first]), counts)


def _in_order(lengths: NDArray[Any], counts: Counts) -> NDArray[np.float64]:
    """The lengths (k,) of texts that occur so often, in order, one for each time."""
    order = np.argsort(lengths, kind="stable")
    return np.repeat(lengths[order].astype(np.float64), counts[order])


def instant(micros: float, *, days_only: bool = False) -> str:
    """Microseconds since 1970 as ISO 8601.

    >>> instant(1_356_998_400_000_000), instant(1_356_998_400_000_000, days_only=True)
    ('2013-01-01T00:00:00', '2013-01-01')
    """
    moment = np.datetime64(round(micros), "us")
    if days_only:
        return str(moment.astype("datetime64[D]"))
    text = str(moment)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _told(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
