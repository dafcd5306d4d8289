"""A recipe: how a large object is put together from its chunks.

    magic   b"EVLRCP\\x00\\x01"             8 bytes
    count   u32                            4
    chunks  count x (SHA-256, u32 length)  36 each
    check   SHA-256 of all of the above    32

Numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from everloop.store.objects import hashing

MAGIC = b"EVLRCP\x00\x01"
_HEAD = struct.Struct("<8sI")
_CHUNK = struct.Struct("<32sI")


class Chunk(NamedTuple):
    digest: bytes
    length: int


class DamagedRecipe(ValueError):
    """These bytes are not a recipe."""


def encode(chunks: Sequence[Chunk]) -> bytes:
    """The bytes of a recipe.

    >>> decode(encode([Chunk(b"d" * 32, 5)]))
    [Chunk(digest=b'dddddddddddddddddddddddddddddddd', length=5)]
    """
    body = _HEAD.pack(MAGIC, len(chunks)) + b"".join(_CHUNK.pack(*chunk) for chunk in chunks)
    return body + hashing.sha256(body)


def decode(payload: bytes) -> list[Chunk]:
    """The chunks of a recipe; raises `DamagedRecipe` when one bit of it is not as it was written."""
    body, check = payload[: -hashing.DIGEST_SIZE], payload[-hashing.DIGEST_SIZE :]
    if hashing.sha256(body) != check:
        raise DamagedRecipe("the recipe does not match its checksum")
    magic, count = _HEAD.unpack_from(body)
    if magic != MAGIC or len(body) != _HEAD.size + count * _CHUNK.size:
        raise DamagedRecipe("this is not a recipe")
    return [Chunk(*fields) for fields in _CHUNK.iter_unpack(body[_HEAD.size :])]
