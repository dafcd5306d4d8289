"""The record file that TensorFlow and TensorBoard write.

    record   u64 length, u32 check of the length, the bytes, u32 check of the bytes          little-endian
    check    CRC-32C, rotated right by 15 bits and raised by 0xa282ead8

The records are protocol buffers: see `everloop.domain.protobuf`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import BinaryIO

from everloop.errors import Corrupted

LONGEST = 1 << 30
"""A record that claims to be longer is damage that its check did not show."""
_HEAD = struct.Struct("<QI")
_CHECK = struct.Struct("<I")


def records(stream: BinaryIO) -> Iterator[bytes]:
    """The records of a file. One that breaks off ends it (its writer was killed); one whose check fails raises Corrupted."""
    number = 0
    while len(head := stream.read(_HEAD.size)) == _HEAD.size:
        length, check = _HEAD.unpack(head)
        if check != masked_crc32c(head[:8]) or length > LONGEST:
            raise Corrupted(f"record {number} is damaged: its length does not match its checksum")
        data, tail = stream.read(length), stream.read(_CHECK.size)
        if len(data) < length or len(tail) < _CHECK.size:
            return
        if _CHECK.unpack(tail)[0] != masked_crc32c(data):
            raise Corrupted(f"record {number} is damaged: its bytes do not match their checksum")
        yield data
        number += 1


def masked_crc32c(data: bytes) -> int:
    """The check of these bytes (here of RFC 3720's test vector, 32 zeros, whose CRC-32C is 0x8a9136aa).

    >>> hex(masked_crc32c(bytes(32)))
    '0xfd7fffa'
    """
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _table() -> list[int]:
    """For each byte, what it does to the check: Castagnoli's polynomial, reflected."""
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table
