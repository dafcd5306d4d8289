"""Which files a folder holds, and noticing when one changes while it is read.

What lives in a folder is told apart by the system's word alone (size, times, inode): a folder of 20,000 files is listed in a
tenth of a second, and everything that asks about folders lists them.
"""

from __future__ import annotations

import gc
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from everloop.domain.datasets import SymbolicLink, checked_link, checked_path
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
    """A file as it was when its folder was listed: its path within the folder, where it is, how it looked, and whether its owner
    may run it."""

    path: str
    source: str
    look: Look
    executable: bool = False

    @property
    def place(self) -> Path:
        return Path(self.source)


class FoundLink(NamedTuple):
    """A symbolic link of a folder: its path within it, where it is, how it looked, what it points to."""

    path: str
    source: str
    look: Look
    target: str


class Listing(NamedTuple):
    """What a folder holds, each by path: its files, symbolic links, folders with nothing in them, and what is none of these."""

    files: list[Found]
    links: list[FoundLink]
    folders: list[str]
    others: list[Found]


@contextmanager
def many_things() -> Iterator[None]:
    """A block that makes some small things for each of many files. None of them refers to itself, yet Python's collector of such
    would look at all of them again and again, for a tenth of the time: it pauses."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


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


def list_files(source: Path) -> Listing:
    """What a folder holds, or the one file. Raises NotFound, or InvalidInput for what cannot be kept: devices, links that lead
    out of the folder, names that are not UTF-8, files that may not be read, a folder without files."""
    top = require_source(source)
    if stat.S_ISREG(top.st_mode):
        file = Found(source.name, str(source), look_of(top), bool(top.st_mode & stat.S_IXUSR))
        listing, unsure = Listing([file], [], [], []), [file]
    elif stat.S_ISDIR(top.st_mode):
        listing, unsure = _listed(str(source))
    else:
        raise InvalidInput(
            f"{source} is a {_kind(top.st_mode)}, which cannot be kept", hint="give a file or a folder"
        )
    for other in listing.others:
        kind = _kind(os.lstat(other.source).st_mode)
        raise InvalidInput(
            f"{other.source} is a {kind}, which cannot be kept", hint="take it out of the folder"
        )
    if not listing.files:
        raise InvalidInput(f"the folder {source} has no files", hint="a dataset has at least one file")
    for file in listing.files:
        if not _PLAIN(file.path):
            checked_path(file.path)
    for path in listing.folders:
        checked_path(path)
    for link in listing.links:
        checked_link(SymbolicLink(link.path, link.target))
    for file in unsure:
        if not os.access(file.source, os.R_OK):
            raise InvalidInput(f"{file.source} cannot be read: Permission denied", hint="may you read it?")
    return listing


def list_contents(folder: Path) -> Listing:
    """Everything in a folder, whatever it is: for telling what changed there."""
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", hint="check the path")
    return _listed(str(folder))[0]


def require_unchanged(files: Iterable[Found], links: Iterable[FoundLink] = ()) -> None:
    """Raise Conflict when a file is not what it was when it was listed: its content may be half of one and half of another."""
    for file in files:
        try:
            now = os.stat(file.source)
        except OSError:
            raise Conflict(f"{file.source} went away while it was being added", hint=_AGAIN) from None
        if (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino) != file.look:
            raise changed_meanwhile(file)
    for link in links:
        try:
            target = os.readlink(link.source)
        except OSError:
            target = ""
        if target != link.target:
            raise changed_meanwhile(link)


def changed_meanwhile(file: Found | FoundLink) -> Conflict:
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


_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*").fullmatch
"""Most paths, told at one look; the others are looked at closely."""
_READABLE = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


def _listed(top: str) -> tuple[Listing, list[Found]]:
    """What a folder holds, and those of its files that not everybody may read."""
    listing, unsure = Listing([], [], [], []), []
    files = listing.files
    waiting = [(top, "")]
    while waiting:
        folder, prefix = waiting.pop()
        entries = _entries(folder)
        if prefix and not entries:
            listing.folders.append(prefix[:-1])
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # it went away since the folder was read
                continue
            mode, path = status.st_mode, prefix + entry.name
            if stat.S_ISDIR(mode):
                waiting.append((entry.path, path + "/"))
                continue
            found = Found(path, entry.path, look_of(status), bool(mode & stat.S_IXUSR))
            if stat.S_ISREG(mode):
                files.append(found)
                if mode & _READABLE != _READABLE:
                    unsure.append(found)
            elif stat.S_ISLNK(mode):
                listing.links.append(FoundLink(*found[:3], os.readlink(entry.path)))
            else:
                listing.others.append(found)
    for each in listing:
        each.sort()
    return listing, unsure


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if entry.name != WORKSPACE]
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read: {error.strerror}") from None


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "named pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return kinds.get(stat.S_IFMT(mode), "special file")
