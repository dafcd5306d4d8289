"""How predictions are written: one journal record for the rows of a request that one arm answered, column by column.

A record is MessagePack of `Frame`: identifiers as 16 bytes a row, numbers as little-endian 64-bit arrays, text as lists. So a
request of a thousand rows is one small dictionary and a few copies of memory, and reading it back is as cheap.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from everloop.domain.times import micros

FRAME_VERSION = 1


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """A column: `kind` is that of the numpy type (f, i, b, M) with its bytes, or O with a list of text and None."""

    kind: Literal["f", "i", "b", "M", "O"]
    data: bytes | list[str | None]


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that one arm answered together.

    ids: 16 bytes a row. times: when each row happened, microseconds as int64 bytes, or one number for all. received: when the
    server took the request. seconds: what the arm's answer took. error: why there are no outputs, or empty.
    """

    version: int = FRAME_VERSION
    revision: int
    arm: str
    mode: str
    model: str
    received: int
    seconds: float
    ids: bytes
    times: bytes | int
    keys: list[str | None] | None = None
    score: str = ""
    error: str = ""
    features: dict[str, Packed] = {}
    outputs: dict[str, Packed] = {}

    @property
    def rows(self) -> int:
        return len(self.ids) // 16

    def span(self) -> tuple[int, int]:
        """The earliest and the latest time of its rows, in microseconds."""
        if isinstance(self.times, int):
            return self.times, self.times
        times = np.frombuffer(self.times, dtype="<i8")
        return int(times.min()), int(times.max())


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


def encode(frame: Frame) -> bytes:
    return _encoder.encode(frame)


def decode(payload: bytes) -> Frame:
    return _decoder.decode(payload)


def pack(column: NDArray[Any]) -> Packed:
    """A column as it is logged. Labels that are text of a fixed width become plain text.

    >>> unpack(pack(np.array([1.5, 2.5]))).tolist()
    [1.5, 2.5]
    """
    match column.dtype.kind:
        case "f":
            return Packed("f", column.astype("<f8", copy=False).tobytes())
        case "i":
            return Packed("i", column.astype("<i8", copy=False).tobytes())
        case "b":
            return Packed("b", column.tobytes())
        case "M":
            return Packed("M", column.astype("datetime64[us]").astype("<i8").tobytes())
    return Packed("O", [None if value is None else str(value) for value in column.tolist()])


def unpack(packed: Packed) -> NDArray[Any]:
    """The column of `pack`."""
    if isinstance(packed.data, list):
        column = np.empty(len(packed.data), dtype=object)
        column[:] = packed.data
        return column
    return np.frombuffer(packed.data, dtype={"f": "<f8", "i": "<i8", "b": "?", "M": "<M8[us]"}[packed.kind])


def new_ids(rows: int, now: datetime) -> bytes:
    """Identifiers (UUID version 7) for so many rows, 16 bytes each."""
    milliseconds, rest = divmod(micros(now), 1000)
    block = np.frombuffer(os.urandom(8 * rows), dtype=np.uint8).reshape(rows, 8)
    whole = np.empty((rows, 16), dtype=np.uint8)
    head = ((milliseconds << 16) | (0x7 << 12) | (rest * 4096 // 1000)).to_bytes(8, "big")
    whole[:, :8] = np.frombuffer(head, dtype=np.uint8)
    whole[:, 8:] = block
    whole[:, 8] = (whole[:, 8] & 0x3F) | 0x80
    return whole.tobytes()


def hex_ids(ids: bytes) -> list[str]:
    """Identifiers as text.

    >>> hex_ids(bytes(16))
    ['00000000000000000000000000000000']
    """
    text = ids.hex()
    return [text[at : at + 32] for at in range(0, len(text), 32)]


def pack_times(times: Sequence[datetime] | datetime) -> bytes | int:
    """Moments as a frame holds them."""
    if isinstance(times, datetime):
        return micros(times)
    return np.array([micros(each) for each in times], dtype="<i8").tobytes()
