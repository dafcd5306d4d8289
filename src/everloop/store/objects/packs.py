"""A pack: one file that holds many small objects, chunks and recipes.

    header   b"EVLPACK\\x00", u32 version                             12 bytes
    entries  their bytes, one after the other, nothing between
    footer   an entry: u8 kind, SHA-256, u64 length, u64 size         49 each
    trailer  u32 count, SHA-256 of the footer, b"EVLPEND\\x00"         44

Numbers are little-endian. `length` is the bytes in the pack; `size` is the bytes of the object, which differs
for a recipe only. The pack is named by the SHA-256 of its footer. The footer names the content of every
entry, header and trailer follow from it: so equal names mean equal packs, and every byte of a pack can be
checked against its name.
"""

from __future__ import annotations

import contextlib
import enum
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from everloop.store.objects import hashing

VERSION = 1
LIMIT = 48 * 1024 * 1024
"""A pack is closed when its entries reach this many bytes."""

_HEADER = struct.Struct("<8sI")
_ENTRY = struct.Struct("<B32sQQ")
_TRAILER = struct.Struct("<I32s8s")
HEADER = _HEADER.pack(b"EVLPACK\x00", VERSION)
_END = b"EVLPEND\x00"
_PIECES = 1000
"""Pieces of memory in one call of the system, which takes 1,024 on Linux and macOS."""
TRAILER_SIZE = _TRAILER.size


class Kind(enum.IntEnum):
    """What an entry is. A chunk is a piece of large objects, not an object itself."""

    BLOB = 1
    CHUNK = 2
    RECIPE = 3


_KINDS = frozenset(Kind)


class Entry(NamedTuple):
    """One entry of a pack. `digest` is the object's, so for a recipe it is not the digest of the entry's own
    bytes.
    """

    kind: Kind
    digest: bytes
    offset: int
    length: int
    size: int


class DamagedPack(ValueError):
    """A pack's frame (header, footer, trailer) is not as it was written; `offset` says where."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


class PackFile:
    """A pack being written to a file that nobody else knows yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.only_chunks = True
        """Whether no object is in it: chunks are pieces of objects that nobody sees before their recipe."""
        self._entries: list[Entry] = []
        self._end = len(HEADER)
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._write([HEADER])

    @property
    def full(self) -> bool:
        return self._end >= LIMIT

    def append(self, kind: Kind, digest: bytes, payload: bytes | memoryview, size: int) -> None:
        self._write([payload])
        self._enter(kind, digest, len(payload), size)

    def extend(self, kind: Kind, contents: Sequence[tuple[bytes, bytes | memoryview]]) -> int:
        """Append blobs or chunks, each with its digest, until the pack is full; returns how many."""
        taken: list[bytes | memoryview] = []
        for digest, payload in contents:
            if self._end >= LIMIT:
                break
            taken.append(payload)
            self._enter(kind, digest, len(payload), len(payload))
        self._write(taken)
        return len(taken)

    def seal(self) -> tuple[str, list[Entry]]:
        """Write the footer, bring every byte to stable storage; returns the pack's name and its entries."""
        footer = b"".join(_ENTRY.pack(e.kind, e.digest, e.length, e.size) for e in self._entries)
        name = hashing.sha256(footer)
        self._write([footer, _TRAILER.pack(len(self._entries), name, _END)])
        os.fsync(self._open)
        self._close()
        return name.hex(), self._entries

    def abandon(self) -> None:
        """Throw away what was written; harmless after `seal` and when called again."""
        with contextlib.suppress(OSError):  # what a full disk does not take is not wanted any more
            self._close()
        self.path.unlink(missing_ok=True)

    def _enter(self, kind: Kind, digest: bytes, length: int, size: int) -> None:
        if kind is not Kind.CHUNK:
            self.only_chunks = False
        self._entries.append(Entry(kind, digest, self._end, length, size))
        self._end += length

    def _write(self, pieces: list[bytes | memoryview]) -> None:
        """As few calls of the system as can be, and no copy."""
        for at in range(0, len(pieces), _PIECES):
            some = pieces[at : at + _PIECES]
            written = os.writev(self._open, some)
            if written < sum(map(len, some)):
                rest = memoryview(b"".join(some))[written:]
                while rest:
                    rest = rest[os.write(self._open, rest) :]

    @property
    def _open(self) -> int:
        if self._file is None:
            raise ValueError(f"{self.path} is written to after its end")
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)


def footer_span(trailer: bytes, pack_size: int, name: str) -> tuple[int, int]:
    """Where the footer is, (offset, length), from the last `TRAILER_SIZE` bytes of a pack."""
    at = pack_size - TRAILER_SIZE
    if len(trailer) != TRAILER_SIZE or at < len(HEADER):
        raise DamagedPack(0, f"a pack of {pack_size} bytes is cut short")
    count, footer_digest, end = _TRAILER.unpack(trailer)
    length = count * _ENTRY.size
    if end != _END or footer_digest.hex() != name or length > at - len(HEADER):
        raise DamagedPack(at, "the trailer of the pack is damaged")
    return at - length, length


def parse_footer(footer: bytes, name: str, footer_at: int) -> list[Entry]:
    """The entries of a pack, from its footer, which starts at byte `footer_at`."""
    if hashing.sha256(footer).hex() != name:
        raise DamagedPack(footer_at, "the footer of the pack does not match its name")
    entries: list[Entry] = []
    offset = len(HEADER)
    for kind, digest, length, size in _ENTRY.iter_unpack(footer):
        if kind not in _KINDS:
            raise DamagedPack(
                footer_at, f"an entry is of kind {kind}, which this version of Everloop does not know"
            )
        entries.append(Entry(Kind(kind), digest, offset, length, size))
        offset += length
    if offset != footer_at:
        raise DamagedPack(min(offset, footer_at), "bytes were added to the pack or are missing from it")
    return entries


def check_header(data: bytes) -> None:
    if data[: len(HEADER)] != HEADER:
        raise DamagedPack(0, "the header of the pack is damaged or of another version")


def parse(data: bytes, name: str) -> list[Entry]:
    """The entries of a pack, from all of its bytes."""
    at, length = footer_span(data[-TRAILER_SIZE:], len(data), name)
    return parse_footer(data[at : at + length], name, at)


def size_of(entries: Sequence[Entry]) -> int:
    """The size in bytes of a pack with these entries."""
    return len(HEADER) + sum(entry.length + _ENTRY.size for entry in entries) + TRAILER_SIZE
