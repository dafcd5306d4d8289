"""Who may be in a store at once: any number of writers, or one collector.

A writer that finds a chunk in the store leaves it out of its own packs: until its recipe is there, nothing shows that the
chunk is needed. So while writers are at work nothing is removed, and while something is removed no writer begins. The
collector holds a store for moments only: everything slow is done before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from everloop.errors import Conflict

if TYPE_CHECKING:
    from everloop.store.objects.buckets import Bucket

STALE_AFTER = 24 * 3600.0
"""Seconds after which a marker in a remote store was left by a process that is gone."""

_FOLDER = "guards/"
_COLLECTING = f"{_FOLDER}collecting"


class Busy(Exception):
    """Writers are at work in the store."""


class Guard(Protocol):
    """Keeps writers and the collector of one store apart, over processes and machines."""

    def writing(self) -> AbstractContextManager[bool]:
        """A block in which many objects are stored. It gives True when the writer may rely on what is in the store already;
        False while something may be removed: then it stores all it needs anew.

        Raises `Conflict` at its end when it took so long that it was counted as dead.
        """
        ...

    def putting(self) -> AbstractContextManager[None]:
        """A moment in which one object in one piece is stored."""
        ...

    def removing(self) -> AbstractContextManager[None]:
        """A block in which objects are removed. Raises `Busy`, without waiting, while writers are at work."""
        ...


class FileGuard:
    """A lock on a file, which the operating system lets go of when a process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def writing(self) -> Iterator[bool]:
        with self._locked(fcntl.LOCK_SH):
            yield True

    def putting(self) -> AbstractContextManager[None]:
        return self._locked(fcntl.LOCK_SH)

    @contextlib.contextmanager
    def removing(self) -> Iterator[None]:
        try:
            block = self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB)
            block.__enter__()
        except BlockingIOError:
            raise Busy from None
        with contextlib.ExitStack() as stack:
            stack.push(block)
            yield

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        from everloop.store.objects.buckets import storage_errors

        with storage_errors(str(self._path.parent)):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._opened()
        try:
            fcntl.flock(file, how)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # a child that was forked meanwhile has the lock too
        finally:
            os.close(file)

    def _opened(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except (
            PermissionError
        ):  # another user's file in a store that is shared: to read it is enough for a lock
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)


class MarkerGuard:
    """Markers in a bucket whose answers are never older than its last change, as S3 promises.

    Each side puts its own marker first and looks for the other's then: whichever comes second sees the first. Times are the
    server's, so that clocks of machines do not matter. One collector at a time is the caller's care.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @contextlib.contextmanager
    def writing(self) -> Iterator[bool]:
        own = f"{_FOLDER}writing-{uuid.uuid4().hex}"
        self._bucket.put(own, b"")
        try:
            found = {each.key: each.modified for each in self._bucket.dated(_FOLDER)}
            began = found.get(_COLLECTING)
            yield began is None or found.get(own, began) - began > STALE_AFTER
            # A collector that took this writer for dead has removed its marker before it looked at recipes.
            if self._bucket.size(own) is None:
                raise Conflict(
                    f"the store {self._bucket.name} was collected while this was being stored",
                    hint="store it again; one batch should take less than a day",
                )
        finally:
            self._bucket.delete(own)

    def putting(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def removing(self) -> Iterator[None]:
        if not self._bucket.put(_COLLECTING, b""):  # of a collector that was killed: its time is too old
            self._bucket.delete(_COLLECTING)
            self._bucket.put(_COLLECTING, b"")
        try:
            found = {each.key: each.modified for each in self._bucket.dated(_FOLDER)}
            now = found.pop(_COLLECTING)
            for key, began in found.items():
                if now - began <= STALE_AFTER:
                    raise Busy
                self._bucket.delete(key)
            yield
        finally:
            self._bucket.delete(_COLLECTING)
