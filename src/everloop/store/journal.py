"""An append-only file of records that survives the death of its writer.

    header   b"EVLJRNL\\x00", u32 version                      12 bytes
    record   u32 length, u32 CRC-32, payload                   8 bytes and the payload

Numbers are little-endian. The CRC-32 covers the length and the payload: of the payload alone it would make
zeros, which a power cut can leave at the end of a file, look like empty records.

A record goes to the kernel in one `write`, so it is there when `append` returns,
even if the process is killed at once; `sync` brings it to stable storage, for the day the machine goes off.

What a crash can leave is a *torn tail*: a record at the end of the file that is not there whole. Opening for
append cuts it off and says so. A damaged record *before* whole ones is no accident of writing: nothing is
cut then, and reading ends with an error that names the place, after all records before it.
"""

from __future__ import annotations

import errno
import fcntl
import heapq
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from everloop.errors import Conflict, Corrupted, NotFound, StorageError, TooLarge

VERSION = 1
LARGEST_RECORD = 64 * 1024 * 1024
"""Bytes of the largest payload: a length beyond it in a file is damage, not a record."""

_MAGIC = b"EVLJRNL\x00"
_HEADER = struct.Struct("<8sI")
_FRAME = struct.Struct("<II")
_pack, _crc32 = struct.Struct("<I").pack, zlib.crc32
HEADER = _HEADER.pack(_MAGIC, VERSION)


_SEARCHED = 4 * 1024 * 1024
"""How far behind a record that cannot be read whole ones are looked for, in bytes."""

_TRIED = 1000
"""How many places that might start a record are tried there, those of the shortest records first."""


class Recovery(msgspec.Struct, frozen=True):
    """What was found in a journal.

    records: whole records before the first that is not.
    kept_bytes: where the last of them ends; the size of the file after a cut.
    cut_bytes: bytes of a torn tail, which were cut off; 0 when nothing was cut.
    reason: why something was cut or cannot be read, in a sentence; empty for a whole journal.
    damaged_at: the byte where a damaged record stands in front of whole ones, which were left alone.
    """

    records: int
    kept_bytes: int
    cut_bytes: int
    reason: str
    damaged_at: int | None = None


class JournalWriter:
    """Appends records to a journal, which is made when it is missing.

    One writer a file: a second one, in this process or another, gets `Conflict`. A writer may be used by
    several threads. Raises `Corrupted` when the file is damaged in front of whole records or is no journal,
    and `StorageError` when the disk is full: nothing of the record stays in the file then, and the writer can
    go on when there is room.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = threading.Lock()
        self._file = _open_locked(path, os.O_CREAT)
        try:
            self.recovery = _recover(self._file, path)
            """What was found on opening: how many records, and whether a torn tail was cut."""
            if self.recovery.damaged_at is not None:
                raise _corrupted(path, self.recovery.damaged_at)
            self._end = self.recovery.kept_bytes
            if self._end == 0:
                self._write(HEADER)
        except BaseException:
            self.close()
            raise

    def append(self, payload: bytes) -> int:
        """Add one record; returns where it ends, which is the offset to read on from."""
        return self._write(_frame(payload))

    def append_many(self, payloads: Iterable[bytes]) -> int:
        """Add records in one write; returns where the last ends. A crash may keep the first few of them."""
        return self._write(b"".join(map(_frame, payloads)))

    def _write(self, data: bytes) -> int:
        with self._thread:
            try:
                written = os.write(self._file, data)
            except OSError as error:
                raise _no_room(self.path, error) from error
            if written < len(data):
                # The kernel takes a part when the disk is nearly full. Left in the middle of the file, it
                # would hide all that is appended after it.
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise _no_room(self.path, None)
            self._end = end = self._end + written
            return end

    def sync(self) -> None:
        """Bring everything appended so far to stable storage."""
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of the file. Closing twice is no error, appending after it is one."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(path: Path, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The whole records that start at `offset` or after it, each with the offset at which it ends.

    offset: 0, or an end that was handed out before; any other place is not the start of a record.

    A record at the end that is not there whole (yet) ends the reading without an error, so a journal can be
    read while it is written. Raises `Corrupted` at a damaged record in front of whole ones, after everything
    before it was handed out; `NotFound` when there is no file.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if not _starts_as_journal(file, path):
            return
        end = max(offset, len(HEADER))
        for end, payload in _records(file, end):  # noqa: B020 (goes on from the last end)
            yield end, payload
        if end < size and (damage := _damage(file, end, size)):
            raise _corrupted(path, damage)


def recover(path: Path) -> Recovery:
    """Look through a journal that nobody writes, and cut off a torn tail.

    Raises `Conflict` when it is being written, `Corrupted` when it is no journal, `NotFound` without a file.
    """
    file = _open_locked(path, 0)
    try:
        return _recover(file, path)
    finally:
        os.close(file)


def _frame(payload: bytes) -> bytes:
    length = len(payload)
    if length > LARGEST_RECORD:
        raise TooLarge(
            f"a record of {length} bytes is too large for a journal",
            hint=f"at most {LARGEST_RECORD} bytes; larger things belong into the object store",
        )
    head = _pack(length)
    return head + _pack(_crc32(payload, _crc32(head))) + payload


def _check(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(len(payload).to_bytes(4, "little")))


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=1 << 20)
    except FileNotFoundError as error:
        raise NotFound(f"there is no journal {path}") from error
    except OSError as error:
        raise StorageError(f"the journal {path} cannot be read: {error.strerror}") from error


def _open_locked(path: Path, flags: int) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o644)
    except FileNotFoundError as error:
        raise NotFound(f"there is no journal {path}") from error
    except OSError as error:
        raise StorageError(f"the journal {path} cannot be written: {error.strerror}") from error
    try:
        # Held until the file is closed, by whatever closes it: a killed writer leaves no lock behind.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise Conflict(f"the journal {path} is being written", hint="it has one writer at a time") from error
    return file


def _recover(handle: int, path: Path) -> Recovery:
    with os.fdopen(os.dup(handle), "rb", buffering=1 << 20) as file:
        size = os.fstat(handle).st_size
        if not _starts_as_journal(file, path):
            kept = records = 0
            damage = None
        else:
            records, kept = _run(file, len(HEADER))
            damage = _damage(file, kept, size) if kept < size else None
    if damage is not None:
        return Recovery(
            records, kept, 0, f"a damaged record at byte {damage} stands before whole ones", damage
        )
    if kept < size:
        os.ftruncate(handle, kept)
        return Recovery(records, kept, size - kept, f"the last record, at byte {kept}, was not written whole")
    return Recovery(records, kept, 0, "")


def _starts_as_journal(file: BinaryIO, path: Path) -> bool:
    """False for a file whose very header was torn off, or not yet written."""
    found = file.read(len(HEADER))
    if found == HEADER:
        return True
    if HEADER.startswith(found):
        return False
    magic, version = _HEADER.unpack(found.ljust(len(HEADER), b"\x00"))
    if magic == _MAGIC and version > VERSION:
        raise StorageError(
            f"the journal {path} has format {version}; this version of Everloop knows format {VERSION}",
            hint="use a newer version of Everloop",
        )
    raise Corrupted(f"{path} is not a journal, or its first bytes are damaged")


def _records(file: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    """End and payload of whole records, one after the other, up to the first that is not."""
    file.seek(start)
    end = start
    while len(head := file.read(_FRAME.size)) == _FRAME.size:
        length, check = _FRAME.unpack(head)
        if length > LARGEST_RECORD:
            return
        payload = file.read(length)
        if len(payload) < length or _check(payload) != check:
            return
        end += _FRAME.size + length
        yield end, payload


def _run(file: BinaryIO, start: int) -> tuple[int, int]:
    """How many whole records follow one another from `start` on, and where the last of them ends."""
    count, end = 0, start
    for each, _ in _records(file, start):
        count, end = count + 1, each
    return count, end


def _damage(file: BinaryIO, at: int, size: int) -> int | None:
    """`at` when whole records follow the one there, which cannot be read; None when it is a torn tail."""
    file.seek(at)
    rest = file.read(_SEARCHED)
    if len(rest) < _FRAME.size:
        return None
    stated = at + _FRAME.size + _FRAME.unpack_from(rest)[0]
    if stated < size and next(_records(file, stated), None):
        return at
    # The length itself may be what is damaged. Whole records count only when they reach to the end of the
    # file: a payload may well hold the bytes of another journal.
    candidates = heapq.nsmallest(
        _TRIED,
        (
            (length, at + start)
            for start in range(1, len(rest) - _FRAME.size + 1)
            if (length := _FRAME.unpack_from(rest, start)[0]) <= size - at - start - _FRAME.size
        ),
    )
    return at if any(_run(file, start)[1] == size for _, start in candidates) else None


def _corrupted(path: Path, at: int) -> Corrupted:
    return Corrupted(
        f"the journal {path} is damaged at byte {at}, before whole records",
        hint="what stands before that byte can be read; move the file away to begin a new journal",
    )


def _no_room(path: Path, error: OSError | None) -> StorageError:
    # A short write has no error of its own; the next one would say that the disk is full.
    if error is None or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageError(
            f"the disk is full: nothing more can be added to the journal {path}",
            hint="free some space, then try again; what was added before is whole",
        )
    return StorageError(f"the journal {path} cannot be written: {error.strerror}")
