"""The object store of a server, over HTTP: the same promises, and every byte that arrives is checked here too."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import BinaryIO

import msgspec

from everloop import errors
from everloop.client.batches import FRAME, PIECE, BatchWriter
from everloop.client.transport import NotOffered, Transport
from everloop.errors import Corrupted
from everloop.store.objects.contract import Fault, Source, Stored
from everloop.store.objects.hashing import DIGEST_SIZE
from everloop.store.objects.recipes import Chunk
from everloop.store.objects.sources import joined, opened, read_up_to
from everloop.store.objects.writing import SMALL

BASE = "/api/v1/objects"
UNREADABLE = (1 << 64) - 1
"""In place of a length: the object that is asked for cannot be read. The error follows, and nothing after it."""

_ASKED_AT_ONCE = 1_000
_BUFFER = 128 * 1024
_CHUNKS = msgspec.json.Decoder(list[tuple[str, int]])


class RemoteObjects:
    """`Objects` behind a server. What an older server does not offer is done with what it has: many objects one by one, large
    ones whole."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def put(self, source: Source) -> Stored:
        with opened(source) as stream:
            head = read_up_to(stream, SMALL + 1)
            if len(head) <= SMALL:
                return msgspec.json.decode(self._transport.put(BASE, head), type=Stored)
            with tempfile.TemporaryFile() as spool:
                batch = self._batch(spool)
                added = batch.add(joined(head, stream))
                return next(iter(batch.send(self._put_batch)), added)

    @contextmanager
    def writer(self) -> Iterator[BatchWriter]:
        with tempfile.TemporaryFile() as spool:
            batch = self._batch(spool)
            yield batch
            batch.send(self._put_batch)

    def _batch(self, spool: BinaryIO) -> BatchWriter:
        return BatchWriter(spool, self.missing, self._missing_pieces_if_known)

    def _put_batch(self, body: Iterator[bytes]) -> list[Stored]:
        return msgspec.json.decode(self._transport.put(f"{BASE}/batch", body), type=list[Stored])

    def open(self, digest: str) -> BinaryIO:
        return io.BufferedReader(_RemoteReader(self._transport, digest, self.stat(digest).size), _BUFFER)

    def read(self, digest: str) -> bytes:
        with self._transport.stream(f"{BASE}/{digest}") as pieces:
            content = b"".join(pieces)
        if sha256(content).hexdigest() != digest:
            raise self._broken(digest)
        return content

    def read_many(self, digests: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        asked = list(dict.fromkeys(digests))
        for at in range(0, len(asked), _ASKED_AT_ONCE):
            together = asked[at : at + _ASKED_AT_ONCE]
            try:
                with self._transport.stream(f"{BASE}/read", msgspec.json.encode(together)) as pieces:
                    yield from self._contents(_Bytes(pieces))
            except NotOffered:
                yield from ((digest, self.read(digest)) for digest in together)

    def _contents(self, arriving: _Bytes) -> Iterator[tuple[str, bytes]]:
        while raw := arriving.read(DIGEST_SIZE):
            (length,) = FRAME.unpack(arriving.read(FRAME.size))
            if length == UNREADABLE:
                raise errors.from_dict(msgspec.json.decode(arriving.read()))
            content = arriving.read(length)
            if sha256(content).digest() != raw:
                raise self._broken(raw.hex())
            yield raw.hex(), content

    def stat(self, digest: str) -> Stored:
        return msgspec.json.decode(self._transport.get(f"{BASE}/{digest}/stat"), type=Stored)

    def missing(self, digests: Iterable[str]) -> set[str]:
        body = msgspec.json.encode(sorted(set(digests)))
        return set(msgspec.json.decode(self._transport.post(f"{BASE}/missing", body), type=list[str]))

    def missing_pieces(self, digests: Iterable[str]) -> set[str]:
        """Those of `digests` that are there neither as an object nor as a chunk of one."""
        body = msgspec.json.encode(sorted(set(digests)))
        return set(msgspec.json.decode(self._transport.post(f"{BASE}/missing-pieces", body), type=list[str]))

    def _missing_pieces_if_known(self, digests: Iterable[str]) -> set[str] | None:
        try:
            return self.missing_pieces(digests)
        except NotOffered:
            return None

    def chunks(self, digest: str) -> list[Chunk]:
        """The chunks that an object is stored as there; one, if it is stored in one piece or the server does not say."""
        try:
            found = self._transport.get(f"{BASE}/{digest}/chunks")
        except NotOffered:
            return [Chunk(bytes.fromhex(digest), self.stat(digest).size)]
        return [Chunk(bytes.fromhex(each), size) for each, size in _CHUNKS.decode(found)]

    def digests(self) -> Iterator[str]:
        with self._transport.stream(BASE) as pieces:
            yield from _lines(pieces)

    def verify(self) -> Iterator[Fault]:
        with self._transport.stream(f"{BASE}/faults") as pieces:
            for line in _lines(pieces):
                yield msgspec.json.decode(line, type=Fault)

    @property
    def far(self) -> bool:
        return True

    def _broken(self, digest: str) -> Corrupted:
        return Corrupted(f"object {digest} did not arrive whole from {self._transport.url}", hint="try again")


class _Bytes:
    """Bytes as they are asked for, from pieces as they arrive."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = bytearray()

    def read(self, size: int | None = None) -> bytes:
        """The next `size` bytes, or all that come. Fewer only at the end."""
        while size is None or len(self._held) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held += piece
        taken = bytes(self._held[:size])
        del self._held[: len(taken)]
        return taken


class _RemoteReader(io.RawIOBase):
    """Ranges of a remote object as a seekable stream. The server checks each piece against its digest before it sends it.

    Who reads on where the last read ended gets `PIECE` bytes ahead; after a jump only what is asked for is fetched.
    """

    def __init__(self, transport: Transport, digest: str, size: int) -> None:
        self._transport, self._digest, self._size = transport, digest, size
        self._position = 0
        self._held = b""
        self._held_from = -1

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("seek before the start of the object")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        if not view or self._position >= self._size:
            return 0
        inside = self._position - self._held_from
        if not 0 <= inside < len(self._held):
            ahead = PIECE if inside == len(self._held) else 0
            end = min(self._position + max(len(view), ahead), self._size)
            self._held = self._range(self._position, end)
            self._held_from, inside = self._position, 0
        data = self._held[inside : inside + len(view)]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _range(self, start: int, end: int) -> bytes:
        data = self._transport.get(f"{BASE}/{self._digest}", {"Range": f"bytes={start}-{end - 1}"})
        if len(data) != end - start:
            raise Corrupted(
                f"object {self._digest} did not arrive whole from {self._transport.url}", hint="try again"
            )
        return data


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode() for line in whole)
