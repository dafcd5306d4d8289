"""Where a large object is cut: FastCDC with the parameters that are part of Everloop's format.

A boundary depends on the bytes around it only, so an insertion or an append changes the chunks it touches
and leaves the others, which are then stored once. The function (Xia et al., "The Design of Fast
Content-Defined Chunking for Data Deduplication Based Storage Systems", IEEE TPDS 31(9), 2020; normalised to
level 1):

    gear[b]  the first 8 bytes, big-endian, of the MD5 of 64 bytes b
    h        0 at byte SMALLEST of the chunk; from there on, for each byte b, h = 2 h + gear[b] modulo 2**64
    cut      before the byte at which h & mask is 0; at LARGEST bytes in any case
    mask     0x0000d90703537000 up to byte AVERAGE, 0x0000d90f03530000 after it

The bytes below SMALLEST are skipped, so the mean length of a chunk of random data is AVERAGE + SMALLEST,
80 KiB. Data that never meets the mask, such as zeros, is cut at LARGEST.

`pyfastcdc` computes it; `tests/unit/store/test_chunking.py` pins boundaries and holds the package to the
definition above. Any change of it would store every large object anew, so it needs a new version of the
store's format.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from everloop.errors import StorageError

SMALLEST = 16 * 1024
AVERAGE = 64 * 1024
LARGEST = 256 * 1024

BLOCK = 4 * 1024 * 1024
"""Bytes that are held at once: many chunks, so that what is asked of the system and of the index is asked once for all."""


class Block(NamedTuple):
    """The next chunks of a stream, and the bytes that were read for them.

    Both are views of one memory that is used again for the next block: copy what must live longer. The last bytes read are in the
    next block's chunks when their end is not known yet, so over a whole stream both are the same bytes.
    """

    read: memoryview
    chunks: list[memoryview]


class Chunker:
    """Cuts streams, one after the other. Belongs to one thread."""

    def __init__(self) -> None:
        module = importlib.import_module("pyfastcdc")
        if module.FastCDC.__module__ != "pyfastcdc.cy.fastcdc":
            # Its pure-Python stand-in cuts at the same places, but at 12 MB/s: a store that is 300 times too slow
            # looks broken.
            raise StorageError(
                "the compiled part of the package pyfastcdc is missing, so large files cannot be stored",
                hint="install it from a wheel for this platform: pip install --force-reinstall pyfastcdc",
            )
        self._chunker: Any = module.FastCDC(
            avg_size=AVERAGE, min_size=SMALLEST, max_size=LARGEST, normalized_chunking=1, seed=0
        )
        self._memory = memoryview(bytearray(BLOCK))

    def cut(self, source: BinaryIO, head: bytes = b"") -> Iterator[Block]:
        """The chunks of `head` (fewer than `BLOCK` bytes) and of a stream from where it stands to its end, in order.

        >>> import io
        >>> [[len(chunk) for chunk in block.chunks] for block in Chunker().cut(io.BytesIO(bytes(600_000)))]
        [[262144, 262144, 75712]]
        """
        memory = self._memory
        memory[: len(head)] = head
        held, more = 0, len(head)
        ended = False
        while not ended:
            filled = held + more
            while filled < BLOCK and (count := source.readinto(memory[filled:])):  # type: ignore[attr-defined]
                filled += count
            ended = filled < BLOCK
            chunks, end = self._chunks(memory[:filled], ended)
            if filled:
                yield Block(memory[held:filled], chunks)
            held, more = filled - end, 0
            memory[:held] = memory[end:filled]

    def _chunks(self, data: memoryview, ended: bool) -> tuple[list[memoryview], int]:
        """The chunks of these bytes, and where the last one ends: where a chunk ends may depend on its `LARGEST` first bytes."""
        chunks: list[memoryview] = []
        sure = len(data) if ended else len(data) - LARGEST
        for chunk in self._chunker.cut_buf(data):
            if chunk.offset > sure:
                return chunks, chunk.offset
            chunks.append(chunk.data)
        return chunks, len(data)
