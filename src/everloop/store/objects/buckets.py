"""The thin layer under the store: named files that are put whole, read in ranges, and listed."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from everloop.errors import EverloopError, InvalidInput, StorageError
from everloop.store.objects.guards import FileGuard, Guard

STALE_AFTER = 24 * 3600.0
"""Seconds after which a staged file that nobody put is a leftover of a killed process."""


class Dated(NamedTuple):
    """A file of a bucket; `modified` is when it was put or touched, in seconds since 1970."""

    key: str
    size: int
    modified: float


class Bucket(Protocol):
    """Files under keys such as `packs/ab12.pack`. Keys are made by the store, so they hold no surprises.

    A file is there whole or not at all; when a `put` returns, it is on stable storage. Files are never
    changed, and a key determines its content, so putting a key that exists keeps what is there. Safe for
    threads and processes.
    """

    @property
    def name(self) -> str:
        """What people call this place: a folder, or an address."""
        ...

    @property
    def staging(self) -> Path:
        """A local folder for files that will be put by `put_file`. It is not part of the bucket."""
        ...

    def put(self, key: str, data: bytes) -> bool:
        """Store bytes; False when the key existed already."""
        ...

    def put_file(self, key: str, staged: Path) -> bool:
        """Store a file of `staging` that is on stable storage already, and take it away; False when the key
        existed.
        """
        ...

    def get(self, key: str, offset: int, length: int) -> bytes | None:
        """A range of a file, shorter where the file ends before; None when there is no such file."""
        ...

    def size(self, key: str) -> int | None:
        """The size of a file in bytes; None when there is no such file."""
        ...

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Key and size of each file below `prefix`, which ends in a slash or is empty."""
        ...

    def dated(self, prefix: str) -> Iterator[Dated]:
        """The same with the time of each file."""
        ...

    def touch(self, key: str) -> None:
        """Make a file young, where a store can: somebody relies on it again. Nothing happens when there is none."""
        ...

    def age(self, key: str, modified: float) -> None:
        """Give a file the time of the one it was made from, where a store can."""
        ...

    def modified(self, key: str) -> float | None:
        """The time of a file; None when there is no such file."""
        ...

    def delete(self, key: str) -> None:
        """Remove a file; nothing happens when there is none."""
        ...

    @property
    def guard(self) -> Guard:
        """What keeps writers and the collector apart."""
        ...


@contextlib.contextmanager
def storage_errors(place: str) -> Iterator[None]:
    """Turn what the operating system says about `place` into sentences for people."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, place) from error


def storage_error(error: OSError, place: str) -> EverloopError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"the disk is full: nothing more can be stored in {place}",
            hint="free some space, then try again; what was stored before is whole",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(
            f"{place} cannot be written or read: {os.strerror(error.errno)}",
            hint="check who owns the folder and whether the disk is mounted read-only",
        )
    return StorageError(f"{place} cannot be used: {error.strerror or error}")


def stage(folder: Path) -> Path:
    """A name in a staging folder that nobody else uses."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not an identifier of anything: it only has to differ between processes and is gone when the file is put.
    return folder / f"{os.getpid()}-{uuid.uuid4().hex}"


def sweep(folder: Path, now: float) -> int:
    """Remove staged files that were left by killed processes; returns how many.

    now: seconds since 1970, as in a file's time.
    """
    removed = 0
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):  # another process sweeps too, or has just put it
                if now - entry.stat().st_mtime > STALE_AFTER:
                    os.unlink(entry.path)
                    removed += 1
    return removed


class LocalBucket:
    """A bucket in a folder: written under a temporary name, synced, then renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if root.exists() and not root.is_dir():
            raise InvalidInput(f"{root} is a file; objects are kept in a folder")

    @property
    def name(self) -> str:
        return str(self.root)

    @property
    def staging(self) -> Path:
        return self.root / "staging"

    def put(self, key: str, data: bytes) -> bool:
        if (self.root / key).exists():
            return False
        with storage_errors(self.name):
            staged = stage(self.staging)
            try:
                with staged.open("xb", buffering=0) as file:
                    _write(file.fileno(), data)
                    os.fsync(file.fileno())
                return self.put_file(key, staged)
            finally:
                staged.unlink(missing_ok=True)

    def put_file(self, key: str, staged: Path) -> bool:
        target = self.root / key
        with storage_errors(self.name):
            if target.exists():
                staged.unlink()
                return False
            _make_folders(target.parent, self.root)
            # Another process may have put the same key since; it holds the same bytes, so replacing it
            # changes nothing.
            os.replace(staged, target)
            _sync_folder(target.parent)
        return True

    def get(self, key: str, offset: int, length: int) -> bytes | None:
        try:
            file = os.open(self.root / key, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, str(self.root / key)) from error
        try:
            with storage_errors(str(self.root / key)):
                data = os.pread(file, length, offset)
                while 0 < len(data) < length and (
                    more := os.pread(file, length - len(data), offset + len(data))
                ):
                    data += more
                return data
        finally:
            os.close(file)

    def size(self, key: str) -> int | None:
        try:
            return os.stat(self.root / key).st_size
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return ((each.key, each.size) for each in self.dated(prefix))

    def dated(self, prefix: str) -> Iterator[Dated]:
        try:
            entries = sorted(os.scandir(self.root / prefix), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self.dated(f"{prefix}{entry.name}/")
            else:
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat()
                    yield Dated(prefix + entry.name, found.st_size, found.st_mtime)

    def touch(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError), storage_errors(self.name):
            os.utime(self.root / key)

    def age(self, key: str, modified: float) -> None:
        with contextlib.suppress(FileNotFoundError), storage_errors(self.name):
            os.utime(self.root / key, (modified, modified))

    def modified(self, key: str) -> float | None:
        try:
            return os.stat(self.root / key).st_mtime
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        with storage_errors(self.name):
            (self.root / key).unlink(missing_ok=True)

    @property
    def guard(self) -> Guard:
        return FileGuard(self.root / "guard")


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _make_folders(folder: Path, root: Path) -> None:
    """Like mkdir -p, but each new name is on stable storage, or a synced file in it could vanish with its
    folder.
    """
    if folder.is_dir():
        return
    if folder != root:
        _make_folders(folder.parent, root)
    folder.mkdir(parents=folder == root, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
