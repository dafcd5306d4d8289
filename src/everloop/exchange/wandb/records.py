"""The record file that Weights & Biases' client keeps of a run: LevelDB's log format under a header of its own.

    header   ":W&B", u16 0xbee1, u8 version 0                                                        little-endian
    record   u32 check, u16 length, u8 kind, the bytes: in blocks of 32 KiB, no record across two of them
    kind     1 whole, 2 first part, 3 middle part, 4 last part
    check    CRC-32 of the kind and the bytes

LevelDB's format: https://github.com/google/leveldb/blob/main/doc/log_format.md
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from everloop.errors import Corrupted

BLOCK = 32_768
HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
_PART = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def records(stream: BinaryIO) -> Iterator[bytes]:
    """The records of a file. One that breaks off ends it (its writer was killed); other damage raises Corrupted."""
    first = stream.read(len(HEADER))
    if first != HEADER[: len(first)]:
        raise Corrupted("it does not begin as a file of Weights & Biases does")
    at, number = len(first), 0
    begun: list[bytes] | None = None
    while True:
        left = BLOCK - at % BLOCK
        if left < _PART.size:
            stream.read(left)
            at += left
        head = stream.read(_PART.size)
        if len(head) < _PART.size or not any(head):  # zeros: the rest of a block that was set aside
            return
        check, length, kind = _PART.unpack(head)
        part = stream.read(length)
        if len(part) < length:
            return
        if check != zlib.crc32(part, zlib.crc32(bytes([kind]))):
            raise Corrupted(f"record {number} is damaged: its bytes do not match their checksum")
        at += _PART.size + length
        if (kind in {_MIDDLE, _LAST}) != (begun is not None) or not _WHOLE <= kind <= _LAST:
            raise Corrupted(f"record {number} is damaged: a part of it is missing")
        begun = [*(begun or ()), part]
        if kind in {_WHOLE, _LAST}:
            yield b"".join(begun)
            begun, number = None, number + 1
