"""Reading Protocol Buffers' wire format, as far as small messages need it: fields by their numbers, no schema compiler.

The format: https://protobuf.dev/programming-guides/encoding/
"""

import struct
from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Value = int | bytes
"""A whole number as it stands (signed ones by `signed`), or the bytes of a text, a message, or a fixed field."""


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a message in their order. Raises ValueError where it is none.

    >>> list(fields(bytes([0x08, 0x96, 0x01, 0x12, 0x02]) + b"hi"))
    [(1, 150), (2, b'hi')]
    >>> list(fields(bytes([0x12, 0x09]) + b"hi"))
    Traceback (most recent call last):
    ValueError: the message ends within a field
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind, value = key & 7, 0
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field is of kind {kind}, which there is not")
        if at + length > len(data):
            raise ValueError("the message ends within a field")
        yield key >> 3, data[at : at + length]
        at += length


def signed(value: Value) -> int:
    """An int64, which is written as if it were unsigned."""
    if not isinstance(value, int):
        raise ValueError("a number is needed")
    return value - 2**64 if value >= 2**63 else value


def numbers(packed: Value) -> list[int]:
    """The varints that a field holds one behind the other, or its only one.

    >>> numbers(bytes([0x01, 0x96, 0x01]))
    [1, 150]
    """
    if isinstance(packed, int):
        return [packed]
    found, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        found.append(value)
    return found


def fixed64(value: Value) -> int:
    return int(struct.unpack("<Q", plain(value))[0]) if len(plain(value)) == 8 else 0


def double(value: Value) -> float:
    return float(struct.unpack("<d", plain(value))[0]) if len(plain(value)) == 8 else 0.0


def text(value: Value) -> str:
    return plain(value).decode(errors="replace").replace("\0", "")


def plain(value: Value) -> bytes:
    """The bytes of a field. Raises ValueError for a number."""
    if isinstance(value, int):
        raise ValueError("bytes are needed")
    return value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("the message ends within a field")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & (2**64 - 1), at
