"""The record file that TensorFlow and TensorBoard write, and the messages in it.

    record   u64 length, u32 check of the length, the bytes, u32 check of the bytes          little-endian
    check    CRC-32C, rotated right by 15 bits and raised by 0xa282ead8

The records are protocol buffers; `fields` takes one apart without a description of it.
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
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5

Value = int | bytes
"""A varint as a number, anything else as its bytes."""


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


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a message as (number, value). Raises Corrupted where it is none.

    >>> list(fields(bytes([0x08, 0x96, 0x01, 0x12, 0x02]) + b"hi"))
    [(1, 150), (2, b'hi')]
    """
    at = 0
    try:
        while at < len(message):
            key, at = _varint(message, at)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                value, at = _varint(message, at)
                yield number, value
                continue
            size = {_EIGHT: 8, _FOUR: 4}.get(kind, -1)
            if kind == _BYTES:
                size, at = _varint(message, at)
            if size < 0 or at + size > len(message):
                raise Corrupted("a message in it breaks off")
            yield number, message[at : at + size]
            at += size
    except IndexError:
        raise Corrupted("a message in it breaks off") from None


def signed(value: int) -> int:
    """A varint as the signed number it stands for.

    >>> signed(2**64 - 1)
    -1
    """
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise Corrupted("a message in it is none")
