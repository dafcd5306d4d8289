"""One digest for the rows of a table, whatever their order and however they are spread over files.

Two versions with the same digest hold the same rows, each as often, under the same columns of the same types. It is a sum, so
parts of a table are digested on their own and added: an append costs what is appended. All arithmetic is on unsigned 64-bit
numbers and wraps around:

    mix(x)      the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014)
    w(i)        mix((i + 1) * 0x9E3779B97F4A7C15) | 1, the weight of position i
    word(v)     of a number, time or truth value its bits, extended to 64 with their sign; a float is widened to 64 bits, and
                -0.0 is 0.0, every NaN the same; a decimal as its two or four words, below one another as in a list
                of text or bytes, of n bytes b_i: mix(n) + sum of (b_i + 1) * w(i)
                of a list of n values: mix(n) + sum of mix(word(v_i)) * w(i)
                of a structure: sum of mix(word(field) + key(field))
                of a missing value 0x6E756C6C
    key(c)      first 8 bytes, little-endian, of SHA-256 of the column's name, a zero byte, and its type
    row         mix(sum over columns c of mix(word(v_c) + key(c)))
    digest      16 hexadecimal digits each of: the first 8 bytes of SHA-256 of all columns' keys, sorted; the sum of the rows;
                the sum of mix(row + 1); the number of rows

It finds every difference that is not made on purpose; the proof is the version's own digest, a SHA-256 of its files.
"""

from __future__ import annotations

import functools
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Words = npt.NDArray[np.uint64]

_NULL = np.uint64(0x6E756C6C)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_MASK = (1 << 64) - 1
BATCH = 1 << 14
"""Rows that are digested at once: their words fit into the processor's cache."""


class RowDigest:
    """The digest of the batches that were added so far."""

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = [(field.name, _key(field.name, field.type)) for field in schema]
        self._rows = self._first = self._second = 0

    def add(self, batch: pa.RecordBatch) -> None:
        for start in range(0, batch.num_rows, BATCH):
            self._add(batch.slice(start, BATCH))

    def _add(self, batch: pa.RecordBatch) -> None:
        total = np.zeros(batch.num_rows, np.uint64)
        for (_, key), column in zip(self._columns, batch.columns, strict=True):
            words = _words(column)
            words += key
            total += _mix(words)
        rows = _mix(total)
        self._rows += batch.num_rows
        self._first = (self._first + int(rows.sum())) & _MASK
        rows += np.uint64(1)
        self._second = (self._second + int(_mix(rows).sum())) & _MASK

    @property
    def hex(self) -> str:
        keys = b"".join(sorted(int(key).to_bytes(8, "little") for _, key in self._columns))
        schema = int.from_bytes(sha256(keys).digest()[:8], "little")
        return "".join(f"{each:016x}" for each in (schema, self._first, self._second, self._rows))


def row_digest(source: Any) -> str:
    """The digest of a table, a record batch reader or a `pyarrow.dataset.Dataset`, 64 hexadecimal digits.

    >>> row_digest(pa.table({"a": [1, 2], "b": ["x", None]})) == row_digest(pa.table({"b": [None, "x"], "a": [2, 1]}))
    True
    """
    digest = RowDigest(source.schema)
    for batch in source if isinstance(source, pa.RecordBatchReader) else source.to_batches():
        digest.add(batch)
    return digest.hex


def combined(first: str, second: str) -> str:
    """The digest of the rows of two tables together. Raises ValueError when they have other columns.

    >>> whole = pa.table({"a": [1, 2, 3]})
    >>> combined(row_digest(whole.slice(0, 1)), row_digest(whole.slice(1))) == row_digest(whole)
    True
    """
    a, b = ([int(each[at : at + 16], 16) for at in range(0, 64, 16)] for each in (first, second))
    if a[0] != b[0]:
        raise ValueError("tables with other columns have no digest together")
    return "".join(
        f"{each:016x}" for each in (a[0], *((x + y) & _MASK for x, y in zip(a[1:], b[1:], strict=True)))
    )


def _mix(words: Words) -> Words:
    """In place."""
    words ^= words >> _S30
    words *= _M1
    words ^= words >> _S27
    words *= _M2
    words ^= words >> _S31
    return words


@functools.lru_cache(8)
def _weights(count: int) -> Words:
    return _mix(np.arange(1, count + 1, dtype=np.uint64) * _STEP) | np.uint64(1)


def _key(name: str, kind: pa.DataType) -> np.uint64:
    digest = sha256(name.encode() + b"\0" + _type_name(kind).encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def _type_name(kind: pa.DataType) -> str:
    """The type as Arrow prints it, without how it is laid out: a dictionary of strings, large strings and views are strings."""
    kind = _plain(kind)
    if pa.types.is_list(kind):
        return f"list<{_type_name(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return "struct<" + ", ".join(f"{field.name}: {_type_name(field.type)}" for field in kind) + ">"
    return str(kind)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type in which values of this type are digested."""
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_map(kind):
        return pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))
    if types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(kind.value_type)
    return kind


def _words(array: pa.Array) -> Words:
    """A word for each value. The caller may change it."""
    types = pa.types
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if types.is_dictionary(array.type):
        indices = pc.fill_null(array.indices, len(array.dictionary)).to_numpy(zero_copy_only=False)
        return np.append(_words(array.dictionary), _NULL)[indices]
    if types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    kind = array.type
    if types.is_null(kind):
        return np.full(len(array), _NULL, np.uint64)
    if types.is_struct(kind):
        words = np.zeros(len(array), np.uint64)
        for field, child in zip(kind, array.flatten(), strict=True):
            part = _words(child)
            part += _key(field.name, field.type)
            words += _mix(part)
    elif (
        types.is_map(kind)
        or types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    ):
        if types.is_map(kind):
            array = _as_list(array)
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        words = _sequences(_mix(_words(array.flatten())), lengths.astype(np.int64))
    elif not types.is_primitive(kind) and not types.is_decimal(kind):
        words = _texts(array)
    else:
        words = _numbers(array)
    if array.null_count:
        words[array.is_null().to_numpy(zero_copy_only=False)] = _NULL
    return words


def _as_list(array: pa.MapArray) -> pa.ListArray:
    """A map as a list of its pairs."""
    if array.offset:  # which `from_arrays` cannot take
        array = array.take(pa.array(np.arange(len(array))))
    pairs = pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])
    return pa.ListArray.from_arrays(array.offsets, pairs, mask=array.is_null() if array.null_count else None)


def _texts(array: pa.Array) -> Words:
    binary = array.cast(pa.large_binary()) if not pa.types.is_large_binary(array.type) else array
    if binary.null_count:  # a missing value may have bytes all the same, which must not count
        binary = pc.fill_null(binary, b"")
    _, offsets, data = binary.buffers()
    ends = np.frombuffer(offsets, np.int64, len(binary) + 1, binary.offset * 8)
    lengths = np.diff(ends)
    count = int(ends[-1] - ends[0])
    values = np.frombuffer(data, np.uint8, count, int(ends[0])) if count else np.zeros(0, np.uint8)
    words = values.astype(np.uint64)
    words += np.uint64(1)
    return _sequences(words, lengths)


def _sequences(values: Words, lengths: npt.NDArray[np.int64]) -> Words:
    """For each sequence mix(length) + the weighted sum of its values, which stand one behind the other in `values`."""
    words = _mix(lengths.astype(np.uint64))
    if not len(values):
        return words
    starts = np.cumsum(lengths) - lengths
    longest = int(lengths.max())
    weights = _weights(1 << max(4, (longest - 1).bit_length()))
    if longest == int(lengths.min()):
        words += values.reshape(-1, longest) @ weights[:longest] if longest else np.uint64(0)
        return words
    positions = np.arange(len(values)) - np.repeat(starts, lengths)
    values = values * weights[positions]
    filled = lengths > 0
    words[filled] += np.add.reduceat(values, starts[filled])
    return words


def _numbers(array: pa.Array) -> Words:
    kind, types = array.type, pa.types
    if types.is_boolean(kind):
        return array.fill_null(False).to_numpy(zero_copy_only=False).astype(np.uint64)
    if types.is_decimal(kind):
        width = kind.bit_width // 64
        if width == 0:
            array, width = array.cast(pa.decimal128(38, kind.scale)), 2
        data = array.buffers()[1]
        parts = np.frombuffer(data, np.uint64, len(array) * width, array.offset * width * 8)
        return _sequences(parts.copy(), np.full(len(array), width, np.int64)) if len(array) else parts.copy()
    if types.is_floating(kind):
        values = array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
        values += 0.0  # a negative zero becomes zero
        values[np.isnan(values)] = np.nan
        return values.view(np.uint64)
    if array.null_count:
        array = array.fill_null(
            pa.scalar(0, pa.int64()).cast(kind) if types.is_integer(kind) else _zero(kind)
        )
    data = array.buffers()[1]
    if kind == pa.month_day_nano_interval():
        parts = np.frombuffer(data, np.uint64, len(array) * 2, array.offset * 16)
        return _sequences(parts.copy(), np.full(len(array), 2, np.int64)) if len(array) else parts.copy()
    storage = f"{'u' if types.is_unsigned_integer(kind) else 'i'}{kind.bit_width // 8}"
    stored = np.frombuffer(data, storage, len(array), array.offset * kind.bit_width // 8)
    return stored.astype(np.int64 if storage[0] == "i" else np.uint64).view(np.uint64)


def _zero(kind: pa.DataType) -> pa.Scalar:
    return pa.array([0], pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)[0]
