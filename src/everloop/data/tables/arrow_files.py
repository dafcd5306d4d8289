"""Arrow's two formats for the disk, which go by the same endings: the file, with an index at its end, and the stream."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

_STREAM = b"\xff\xff\xff\xff"
"""A stream begins with a message, and each of these with this mark."""


def is_stream(held: Path | bytes | BinaryIO) -> bool:
    """Whether this is a stream, by its first bytes; neither what is empty nor what is neither of the two is.

    >>> sink = pa.BufferOutputStream()
    >>> pa.ipc.new_stream(sink, pa.schema([("a", pa.int64())])).close()
    >>> is_stream(sink.getvalue().to_pybytes()), is_stream(b"ARROW1"), is_stream(b"")
    (True, False, False)
    """
    if isinstance(held, bytes):
        return held.startswith(_STREAM)
    if isinstance(held, Path):
        with held.open("rb") as opened:
            return opened.read(len(_STREAM)) == _STREAM
    at = held.tell()
    try:
        return held.read(len(_STREAM)) == _STREAM
    finally:
        held.seek(at)


def stream_table(held: Path | bytes | BinaryIO) -> pa.Table:
    """The table of a stream. What is a file of this machine is mapped, not read into memory, unless it is compressed."""
    if isinstance(held, Path):
        source: pa.NativeFile = pa.memory_map(str(held))
    else:
        source = pa.BufferReader(held if isinstance(held, bytes) else held.read())
    return pa.ipc.open_stream(source).read_all()
