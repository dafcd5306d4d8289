"""How a file of a checkout comes to be: as a clone of the file system, a hard link, or a copy."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import sys
from pathlib import Path

from everloop.domain.datasets import Link
from everloop.errors import InvalidInput

_FICLONE = 0x40049409  # linux/fs.h
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h


def chosen_link(asked: Link | None, cache: Path, target: Path) -> Link:
    """The way to be used: what was asked for, if this file system can do it; else a reflink where that works, else a copy.

    A hard link is never taken unasked: whoever writes to it writes to the workspace's own file, and read-only permission does not
    stop root. Raises InvalidInput for a way that does not work here.
    """
    if asked is Link.COPY:
        return Link.COPY
    if asked is Link.HARDLINK:
        if cache.stat().st_dev != target.stat().st_dev:
            raise InvalidInput(
                f"{target} is on another file system than {cache}, so it cannot hold hard links to it",
                hint="leave --link out, or check out on the workspace's file system",
            )
        return Link.HARDLINK
    if _can_clone(cache, target):
        return Link.REFLINK
    if asked is Link.REFLINK:
        raise InvalidInput(
            f"the file system of {target} cannot share the blocks of two files (reflink)",
            hint="leave --link out to copy; Btrfs, XFS and APFS can do it",
        )
    return Link.COPY


def clone(source: str, target: str) -> None:
    """Make `target` a file with the blocks of `source`. Raises OSError where that cannot be done."""
    if sys.platform == "darwin":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.clonefile(os.fsencode(source), os.fsencode(target), 0):
            raise OSError(ctypes.get_errno(), "cannot clone", target)
        return
    import fcntl

    with open(source, "rb") as given, open(target, "xb") as made:
        fcntl.ioctl(made.fileno(), _FICLONE, given.fileno())


def exchange(first: Path, second: Path) -> bool:
    """Let two folders change their names, in one step that is done or not. False where the system cannot do that."""
    function = _renameat2()
    if function is None:
        return False
    failed = function(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    if failed:
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EINVAL):  # an old kernel, or a file system that does not know it
            return False
        raise OSError(code, os.strerror(code), str(first))
    return True


@functools.cache
def _renameat2() -> ctypes._NamedFuncPointer | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def _can_clone(cache: Path, target: Path) -> bool:
    """Whether a trial works: no other question to the system has a sure answer."""
    given, made = cache / f".trial-{os.getpid()}", target / f".trial-{os.getpid()}"
    try:
        given.write_bytes(b"trial")
        clone(str(given), str(made))
    except OSError:
        return False
    else:
        return True
    finally:
        for each in (given, made):
            with contextlib.suppress(OSError):
                each.unlink(missing_ok=True)
