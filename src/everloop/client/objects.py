"""The object store of a server, over HTTP: the same promises, and every byte that arrives is checked here too."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from everloop.client.transport import Transport
from everloop.errors import Corrupted, NotFound
from everloop.store.objects.contract import Fault, Source, Stored

BASE = "/api/v1/objects"
PIECE = 1 << 20
"""Bytes read or sent at a time."""
FRAME = struct.Struct("<Q")
"""A batch is a sequence of objects, each preceded by its length; or by `RELIED`, when its digest follows in place of its bytes:
the server has it already, or takes nothing of the batch."""
RELIED = (1 << 64) - 1


class RemoteObjects:
    """`Objects` behind a server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def put(self, source: Source) -> Stored:
        with _stream(source) as stream:
            return msgspec.json.decode(self._transport.put(BASE, _pieces(stream)), type=Stored)

    @contextmanager
    def writer(self) -> Iterator[BatchWriter]:
        with tempfile.TemporaryFile() as spool:
            batch = BatchWriter(spool, self.missing)
            yield batch
            if batch.count:
                spool.seek(0)
                self._transport.put(f"{BASE}/batch", _pieces(spool))

    def open(self, digest: str) -> BinaryIO:
        return io.BufferedReader(_RemoteReader(self._transport, digest, self.stat(digest).size), PIECE)

    def read(self, digest: str) -> bytes:
        with self._transport.stream(f"{BASE}/{digest}") as pieces:
            content = b"".join(pieces)
        if sha256(content).hexdigest() != digest:
            raise Corrupted(
                f"object {digest} did not arrive whole from {self._transport.url}", hint="try again"
            )
        return content

    def read_many(self, digests: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        return ((digest, self.read(digest)) for digest in dict.fromkeys(digests))

    def stat(self, digest: str) -> Stored:
        return msgspec.json.decode(self._transport.get(f"{BASE}/{digest}/stat"), type=Stored)

    def missing(self, digests: Iterable[str]) -> set[str]:
        body = msgspec.json.encode(sorted(set(digests)))
        return set(msgspec.json.decode(self._transport.post(f"{BASE}/missing", body), type=list[str]))

    def digests(self) -> Iterator[str]:
        with self._transport.stream(BASE) as pieces:
            yield from _lines(pieces)

    def verify(self) -> Iterator[Fault]:
        with self._transport.stream(f"{BASE}/faults") as pieces:
            for line in _lines(pieces):
                yield msgspec.json.decode(line, type=Fault)


class BatchWriter:
    """Gathers objects in a temporary file until its block ends; nothing is sent before."""

    def __init__(self, spool: BinaryIO, missing: Callable[[Iterable[str]], set[str]]) -> None:
        self._spool = spool
        self._missing = missing
        self.count = 0

    def present(self, digests: Iterable[str]) -> set[str]:
        """What the server has. It may be collected there before the batch arrives: then the block ends with Conflict."""
        asked = set(digests)
        there = asked - self._missing(asked) if asked else set()
        for digest in there:
            self._spool.write(FRAME.pack(RELIED) + bytes.fromhex(digest))
        return there

    def add_many(self, contents: Sequence[bytes]) -> list[Stored]:
        return [self.add(each) for each in contents]

    def add(self, source: Source) -> Stored:
        start = self._spool.tell()
        self._spool.write(FRAME.pack(0))
        digest, size = sha256(), 0
        with _stream(source) as stream:
            for piece in _pieces(stream):
                digest.update(piece)
                size += len(piece)
                self._spool.write(piece)
        self._spool.seek(start)
        self._spool.write(FRAME.pack(size))
        self._spool.seek(0, io.SEEK_END)
        self.count += 1
        return Stored(digest.hexdigest(), size)


class _RemoteReader(io.RawIOBase):
    """Ranges of a remote object as a seekable stream. The server checks each piece against its digest before it sends it."""

    def __init__(self, transport: Transport, digest: str, size: int) -> None:
        self._transport, self._digest, self._size = transport, digest, size
        self._position = 0

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
        end = min(self._position + len(view), self._size)
        if end <= self._position:
            return 0
        data = self._transport.get(f"{BASE}/{self._digest}", {"Range": f"bytes={self._position}-{end - 1}"})
        if len(data) != end - self._position:
            raise Corrupted(
                f"object {self._digest} did not arrive whole from {self._transport.url}", hint="try again"
            )
        view[: len(data)] = data
        self._position = end
        return len(data)


@contextmanager
def _stream(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, Path):
        try:
            opened: BinaryIO = source.open("rb")
        except FileNotFoundError:
            raise NotFound(f"there is no file {source}") from None
        with opened:
            yield opened
    else:
        yield cast(BinaryIO, source)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        yield piece


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode() for line in whole)
