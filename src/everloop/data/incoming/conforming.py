"""Rows that are appended, in the types that the dataset has.

Files are kept as they are, so theirs must be the dataset's own, type by type. A table is written by us, so it may come in types
that hold less: whole numbers for wider or floating ones, 32-bit floats for 64, a column of nothing but nulls, texts in a
dictionary or not; and its columns in any order. Anything else is refused: no column comes or goes by an append, and no value
changes.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from pyarrow import types

from everloop.data.incoming.sources import Part
from everloop.data.tables.parquet import columns_of
from everloop.domain.datasets import Column


def conforming(part: Part, columns: list[Column], schema: Callable[[], pa.Schema]) -> Part:
    """A part as the dataset's columns say, where that loses nothing; else as it is, to be refused. schema: of the dataset, asked
    for only when its columns differ from the part's."""
    if part.shape is None or not isinstance(part.source, pa.Table):
        return part
    mine = {column.name: column.type for column in columns_of(part.shape[0])}
    theirs = {column.name: column.type for column in columns}
    if mine.keys() != theirs.keys():
        return part
    source = part.source.select(list(theirs))
    if mine == theirs:
        return Part(part.path, source, (source.schema, source.num_rows))
    wanted = schema()
    fields = list(source.schema)
    if not all(_holds(field.type, wanted.field(field.name).type) for field in fields):
        return part
    try:
        table = source.cast(pa.schema([field.with_type(wanted.field(field.name).type) for field in fields]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # a value does not fit: 2**53 + 1 into a double
        return part
    return Part(part.path, table, (table.schema, table.num_rows))


def _holds(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of a type may be had in another; that each of them fits is for the cast to say.

    >>> _holds(pa.int64(), pa.float64()), _holds(pa.float64(), pa.int64()), _holds(pa.float64(), pa.float32())
    (True, False, False)
    """
    kind, wanted = _plain(kind), _plain(wanted)
    if kind == wanted or types.is_null(kind):
        return True
    if types.is_integer(kind):
        return bool(types.is_integer(wanted) or types.is_floating(wanted))
    if types.is_floating(kind):
        return bool(types.is_floating(wanted) and wanted.bit_width >= kind.bit_width)
    if types.is_timestamp(kind) and types.is_timestamp(wanted):
        return bool(kind.tz == wanted.tz)
    return _is_text(kind) and _is_text(wanted)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
