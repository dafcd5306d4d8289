"""Objects on their way to a server: what it has is left out, down to the chunks of large objects.

A batch is a sequence of frames. Each begins with a u64; numbers are little-endian:

    a length     the bytes of an object follow
    RELIED       the digest of an object follows, which the server has
    CUT          a large object follows as its chunks: its digest, a u32 that counts them, for each its digest, its u32 length
                 and a byte that is 1 when it is sent; then the chunks that are sent, in this order. The server has the others,
                 or they were sent before in the batch

The server takes all of a batch, or nothing of it when it has not what it should have. It makes the digest of every object itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from typing import BinaryIO, NamedTuple

from everloop.errors import Conflict
from everloop.store.objects.chunking import Chunker
from everloop.store.objects.contract import Source, Stored
from everloop.store.objects.recipes import Chunk
from everloop.store.objects.sources import joined, opened, read_up_to
from everloop.store.objects.writing import SMALL

FRAME = struct.Struct("<Q")
RELIED = (1 << 64) - 1
CUT = (1 << 64) - 2
CUT_HEAD = struct.Struct("<32sI")
CUT_CHUNK = struct.Struct("<32sIB")

PIECE = 1 << 20
"""Bytes read or sent at a time."""
WORTH_ASKING = 64 * 1024
"""A batch of fewer bytes is sent as it is: to ask what of it is there takes as long."""
ATTEMPTS = 3


class _Whole(NamedTuple):
    digest: bytes
    at: int
    length: int


class _Cut(NamedTuple):
    digest: bytes
    chunks: list[Chunk]


class BatchWriter:
    """Gathers objects in a temporary file until its block ends; nothing is sent before.

    missing, missing_pieces: those of some digests that the server has not as objects, and not as objects or chunks; the second
    answers None for a server that takes only whole objects.
    """

    def __init__(
        self,
        spool: BinaryIO,
        missing: Callable[[Iterable[str]], set[str]],
        missing_pieces: Callable[[Iterable[str]], set[str] | None],
    ) -> None:
        self._spool = spool
        self._missing = missing
        self._missing_pieces = missing_pieces
        self._objects: dict[bytes, _Whole | _Cut] = {}
        self._pieces: dict[bytes, int] = {}  # where the bytes of each chunk are in the spool
        self._relied: set[bytes] = set()
        self._end = 0

    @cached_property
    def _chunker(self) -> Chunker:
        return Chunker()

    def present(self, digests: Iterable[str]) -> set[str]:
        """What the server has. It may be collected there before the batch arrives: then the block ends with Conflict."""
        asked = set(digests)
        there = asked - self._missing(asked) if asked else set()
        self._relied.update(map(bytes.fromhex, there))
        return there

    def add_many(self, contents: Sequence[bytes]) -> list[Stored]:
        return [self.add(each) for each in contents]

    def add(self, source: Source) -> Stored:
        with opened(source) as stream:
            head = read_up_to(stream, SMALL + 1)
            if len(head) > SMALL:
                return self._add_cut(head, stream if hasattr(stream, "readinto") else joined(b"", stream))
        digest = sha256(head).digest()
        if digest not in self._objects:
            self._objects[digest] = _Whole(digest, self._keep(head), len(head))
        return Stored(digest.hex(), len(head))

    def _add_cut(self, head: bytes, rest: BinaryIO) -> Stored:
        whole = sha256()
        chunks: list[Chunk] = []
        for block in self._chunker.cut(rest, head):
            whole.update(block.read)
            for piece in block.chunks:
                digest = sha256(piece).digest()
                if digest not in self._pieces:
                    self._pieces[digest] = self._keep(piece)
                chunks.append(Chunk(digest, len(piece)))
        self._objects.setdefault(whole.digest(), _Cut(whole.digest(), chunks))
        return Stored(whole.hexdigest(), sum(chunk.length for chunk in chunks))

    def _keep(self, data: bytes | memoryview) -> int:
        at = self._end
        self._spool.write(data)
        self._end += len(data)
        return at

    def send(self, put: Callable[[Iterator[bytes]], list[Stored]]) -> list[Stored]:
        """Send what was gathered; gives what the server stored. Raises Conflict when something `present` has gone there; what was
        added here is here to be sent again.
        """
        if not self._objects:
            return []
        for attempt in range(ATTEMPTS):
            try:
                return put(_gathered(self._frames(*self._lacking())))
            except Conflict:
                if self._relied or attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _lacking(self) -> tuple[set[bytes], set[bytes] | None]:
        """Of what was added: the objects that the server has not, and those of their chunks that it has not; None when it knows
        no chunks."""
        absent = set(self._objects)
        if self._end > WORTH_ASKING:
            absent = set(map(bytes.fromhex, self._missing([digest.hex() for digest in self._objects])))
        cut = [each for each in self._objects.values() if isinstance(each, _Cut) and each.digest in absent]
        pieces = {chunk.digest.hex() for each in cut for chunk in each.chunks}
        lacking = self._missing_pieces(pieces) if pieces else set()
        return absent, None if lacking is None else set(map(bytes.fromhex, lacking))

    def _frames(self, absent: set[bytes], unsent: set[bytes] | None) -> Iterator[bytes]:
        for digest in (self._relied | self._objects.keys()) - absent:
            yield FRAME.pack(RELIED) + digest
        for each in self._objects.values():
            if each.digest not in absent:
                continue
            if isinstance(each, _Whole):
                yield FRAME.pack(each.length)
                yield self._read(each.at, each.length)
                continue
            if unsent is None:
                yield FRAME.pack(sum(chunk.length for chunk in each.chunks))
                for chunk in each.chunks:
                    yield self._read(self._pieces[chunk.digest], chunk.length)
                continue
            yield FRAME.pack(CUT) + CUT_HEAD.pack(each.digest, len(each.chunks))
            sent: dict[bytes, int] = {}
            for chunk in each.chunks:
                yield CUT_CHUNK.pack(chunk.digest, chunk.length, chunk.digest in unsent)
                if chunk.digest in unsent:
                    unsent.remove(chunk.digest)
                    sent[chunk.digest] = chunk.length
            for digest, length in sent.items():
                yield self._read(self._pieces[digest], length)

    def _read(self, at: int, length: int) -> bytes:
        self._spool.seek(at)
        return self._spool.read(length)


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer, larger parts: each is sent by itself."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= PIECE:
            yield b"".join(held)
            held.clear()
            size = 0
    if held:
        yield b"".join(held)
