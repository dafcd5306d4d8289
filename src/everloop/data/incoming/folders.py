"""Which files a folder holds, and noticing when one changes while it is read.

What lives in a folder is told apart by the system's word alone (size, times, inode): a folder of 20,000 files is listed in a
tenth of a second, and everything that asks about folders lists them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from everloop.domain.datasets import checked_path
from everloop.errors import Conflict, InvalidInput, NotFound

WORKSPACE = ".everloop"
"""A workspace's own folder is never part of a dataset."""


class Look(NamedTuple):
    """How a file looked to the system, times in nanoseconds: two different looks are two states of the file."""

    size: int
    modified: int
    changed: int
    inode: int


class Found(NamedTuple):
    """A file as it was when its folder was listed: its path within the folder, where it is, how it looked."""

    path: str
    source: str
    look: Look

    @property
    def place(self) -> Path:
        return Path(self.source)


def look_of(status: os.stat_result) -> Look:
    return Look(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def require_source(source: Path) -> os.stat_result:
    """What the file system says of a file or folder that must be there. Raises NotFound, or InvalidInput."""
    try:
        return source.stat()
    except FileNotFoundError:
        raise NotFound(f"there is no file or folder {source}", hint="check the path") from None
    except OSError as error:
        raise InvalidInput(f"{source} cannot be read: {error.strerror}") from None


def list_files(source: Path) -> list[Found]:
    """The files of a folder by path, or the one file. Raises NotFound, or InvalidInput for what cannot be kept: links, devices,
    empty folders, names that are not UTF-8, files that may not be read."""
    top = require_source(source)
    if stat.S_ISREG(top.st_mode):
        files = [Found(checked_path(source.name), str(source), look_of(top))]
    elif stat.S_ISDIR(top.st_mode):
        files = sorted(_walk(str(source), ""))
    else:
        raise InvalidInput(
            f"{source} is a {_kind(top.st_mode)}, which cannot be kept", hint="give a file or a folder"
        )
    if not files:
        raise InvalidInput(f"the folder {source} is empty", hint="a dataset has at least one file")
    for file in files:
        if not os.access(file.source, os.R_OK):
            raise InvalidInput(f"{file.source} cannot be read: Permission denied", hint="may you read it?")
    return files


def list_contents(folder: Path) -> list[Found]:
    """Everything in a folder that is not a folder, by path, whatever it is: for telling what changed there."""
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", hint="check the path")
    return sorted(_contents(str(folder), ""))


def require_unchanged(files: Iterable[Found]) -> None:
    """Raise Conflict when a file is not what it was when it was listed: its content may be half of one and half of another."""
    for file in files:
        try:
            now = look_of(os.stat(file.source))
        except OSError:
            raise Conflict(f"{file.source} went away while it was being added", hint=_AGAIN) from None
        if now != file.look:
            raise changed_meanwhile(file)


def changed_meanwhile(file: Found) -> Conflict:
    return Conflict(f"{file.source} changed while it was being added", hint=_AGAIN)


def read_small(file: Found) -> bytes:
    """The content of a file that fits into memory, in three calls of the system. Raises Conflict when it has got another length
    than it had, and InvalidInput when it cannot be read."""
    try:
        handle = os.open(file.source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = os.read(handle, file.look.size + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise Conflict(f"{file.source} went away while it was being added", hint=_AGAIN) from None
    except OSError as error:
        raise InvalidInput(f"{file.source} cannot be read: {error.strerror}") from None
    if len(content) != file.look.size:
        raise changed_meanwhile(file)
    return content


_AGAIN = "nothing was added; add it again when nothing writes there"


def _walk(folder: str, prefix: str) -> Iterator[Found]:
    entries = _entries(folder)
    if not entries and prefix:
        raise InvalidInput(
            f"{folder} is an empty folder, which cannot be kept", hint="remove it, or put a file in it"
        )
    for entry in entries:
        path = prefix + entry.name
        checked_path(path)
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            yield Found(path, entry.path, look_of(status))
        elif stat.S_ISDIR(status.st_mode):
            yield from _walk(entry.path, path + "/")
        else:
            hint = (
                "put the file itself there" if stat.S_ISLNK(status.st_mode) else "take it out of the folder"
            )
            raise InvalidInput(f"{entry.path} is a {_kind(status.st_mode)}, which cannot be kept", hint=hint)


def _contents(folder: str, prefix: str) -> Iterator[Found]:
    for entry in _entries(folder):
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield from _contents(entry.path, f"{prefix}{entry.name}/")
        else:
            yield Found(prefix + entry.name, entry.path, look_of(status))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if entry.name != WORKSPACE]
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read: {error.strerror}") from None


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "symbolic link",
        stat.S_IFIFO: "named pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return kinds.get(stat.S_IFMT(mode), "special file")
