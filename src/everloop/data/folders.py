"""Which files a folder holds, and noticing when one changes while it is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from everloop.domain.datasets import checked_path
from everloop.errors import Conflict, InvalidInput, NotFound

WORKSPACE = ".everloop"
"""A workspace's own folder is never part of a dataset."""


class Found(NamedTuple):
    """A file as it was when the folder was listed."""

    path: str
    source: Path
    size: int
    modified: int
    changed: int
    inode: int

    @property
    def print(self) -> tuple[int, int, int, int]:
        return self.size, self.modified, self.changed, self.inode


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
    empty folders, names that are not UTF-8."""
    top = require_source(source)
    if stat.S_ISREG(top.st_mode):
        return [_found(checked_path(source.name), source, top)]
    if not stat.S_ISDIR(top.st_mode):
        raise InvalidInput(
            f"{source} is a {_kind(top.st_mode)}, which cannot be kept", hint="give a file or a folder"
        )
    files = sorted(_walk(source, ""))
    if not files:
        raise InvalidInput(f"the folder {source} is empty", hint="a dataset has at least one file")
    return files


def list_contents(folder: Path) -> list[Found]:
    """Everything in a folder that is not a folder, by path, whatever it is: for telling what changed there."""
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", hint="check the path")
    found = []
    for place, folders, names in os.walk(folder):
        if WORKSPACE in folders:
            folders.remove(WORKSPACE)
        for name in names:
            source = Path(place, name)
            found.append(_found(source.relative_to(folder).as_posix(), source, source.lstat()))
    return sorted(found)


def require_unchanged(files: list[Found]) -> None:
    """Raise Conflict when a file is not what it was when it was listed: its content may be half of one and half of another."""
    for file in files:
        try:
            now = _found(file.path, file.source, file.source.stat())
        except OSError:
            raise Conflict(f"{file.source} went away while it was being added", hint=_AGAIN) from None
        if now.print != file.print:
            raise Conflict(f"{file.source} changed while it was being added", hint=_AGAIN)


_AGAIN = "nothing was added; add it again when nothing writes there"


def _walk(folder: Path, prefix: str) -> Iterator[Found]:
    empty = True
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read: {error.strerror}") from None
    for entry in entries:
        if entry.name == WORKSPACE:
            continue
        empty = False
        place = Path(entry.path)
        path = checked_path(prefix + entry.name)
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            yield _found(path, place, status)
        elif stat.S_ISDIR(status.st_mode):
            yield from _walk(place, path + "/")
        else:
            hint = (
                "put the file itself there" if stat.S_ISLNK(status.st_mode) else "take it out of the folder"
            )
            raise InvalidInput(f"{place} is a {_kind(status.st_mode)}, which cannot be kept", hint=hint)
    if empty and prefix:
        raise InvalidInput(
            f"{folder} is an empty folder, which cannot be kept", hint="remove it, or put a file in it"
        )


def _found(path: str, source: Path, status: os.stat_result) -> Found:
    return Found(path, source, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "symbolic link",
        stat.S_IFIFO: "named pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return kinds.get(stat.S_IFMT(mode), "special file")
