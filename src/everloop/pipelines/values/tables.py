"""Arrow tables and pandas frames: stored as Arrow files, compared by columns, types and values.

How a table is cut into chunks, what stands under its nulls, and where its buffers begin are not part of what it is.
"""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from everloop.errors import InvalidInput


def table_digest(table: pa.Table) -> str:
    """The digest of a table's names, types and values, in order.

    >>> a = pa.table({"x": [1, None, 3]})
    >>> table_digest(a) == table_digest(pa.concat_tables([a.slice(0, 1), a.slice(1)]))
    True
    >>> table_digest(a) == table_digest(pa.table({"x": [1, 0, 3]}))
    False
    """
    hasher = hashlib.sha256(
        repr((table.num_rows, [(each.name, str(each.type)) for each in table.schema])).encode()
    )
    for column in table.columns:
        for chunk in [pa.concat_arrays(column.chunks)] if column.num_chunks else []:
            _update(hasher, chunk)
    return hasher.hexdigest()


def dump(table: pa.Table) -> bytes:
    """An Arrow file of the table."""
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def load(data: bytes) -> pa.Table:
    """The table of `dump`."""
    with pa.ipc.open_file(pa.BufferReader(data)) as reader:
        return reader.read_all()


def from_frame(frame: Any) -> pa.Table:
    """A pandas frame with its index, as a table. Raises InvalidInput for columns of mixed Python objects."""
    try:
        return pa.Table.from_pandas(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise InvalidInput(
            f"a data frame cannot be stored: {str(error).splitlines()[0]}", hint="give each column one type"
        ) from None


def _update(hasher: hashlib._Hash, array: pa.Array) -> None:
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        _update(hasher, array.storage)
        return
    if pa.types.is_dictionary(kind):
        _update(hasher, array.dictionary_decode())
        return
    if pa.types.is_null(kind):
        return
    valid = array.is_valid()
    hasher.update(np.packbits(_numbers(valid.cast(pa.uint8()))).tobytes() if array.null_count else b"all")
    if pa.types.is_struct(kind):
        for child in array.flatten():
            _update(hasher, child)
    elif pa.types.is_map(kind):
        _update(hasher, array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        hasher.update(_numbers(pc.fill_null(pc.list_value_length(array), 0).cast(pa.int64())).tobytes())
        _update(hasher, pc.list_flatten(array))
    elif pa.types.is_boolean(kind):
        hasher.update(_numbers(pc.fill_null(array, False).cast(pa.uint8())).tobytes())
    elif _is_text(kind):
        data = pc.fill_null(array.cast(pa.large_binary()), b"")
        offsets = np.frombuffer(data.buffers()[1], np.int64)[data.offset : data.offset + len(data) + 1]
        hasher.update(np.diff(offsets).tobytes())
        if len(data) and data.buffers()[2] is not None:
            hasher.update(memoryview(data.buffers()[2])[int(offsets[0]) : int(offsets[-1])])
    else:  # elements of one width: numbers, dates, decimals, fixed binary
        width = kind.bit_width // 8
        start = array.offset * width
        content = np.frombuffer(array.buffers()[1] or b"", np.uint8)[start : start + len(array) * width]
        if array.null_count:
            content = content.reshape(len(array), width) * _numbers(valid.cast(pa.uint8()))[:, None]
        hasher.update(content.tobytes())


def _numbers(array: pa.Array) -> np.ndarray[Any, Any]:
    numbers: np.ndarray[Any, Any] = array.to_numpy(zero_copy_only=False)
    return numbers


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests) or kind in (pa.string_view(), pa.binary_view())
