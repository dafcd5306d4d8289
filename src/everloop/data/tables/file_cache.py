"""Files of versions as files of this machine: taken out of the object store, checked, kept read-only.

Packs and chunks cannot be linked to, and Arrow's own code cannot read them. What wants a file to link to, or to map into
memory, finds it here: below the workspace's folder, under its digest. A file is trusted as long as size, time of modification
and inode are those it had when it was checked; if not, it is read and checked again, and one that was written to (root may write
to read-only files) is thrown away and made anew. The whole folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

from everloop.data.incoming.addresses import open_address, source_changed
from everloop.domain.datasets import FileEntry
from everloop.errors import Corrupted, StorageError
from everloop.store.objects.buckets import storage_error, sweep

if TYPE_CHECKING:
    from everloop.store.objects import Objects

SMALL = 256 * 1024
"""Files of up to this many bytes are fetched many at a time."""
LIMIT = 32 << 30
"""Bytes that are kept; when there are more, what was not used for longest goes."""

_SCHEMA = """create table if not exists file (digest text primary key, size integer not null, modified integer not null,
    inode integer not null, used integer not null) without rowid"""
_COPY = 1 << 20
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Answer = TypeVar("Answer")
log = logging.getLogger("everloop.data")


class Kept(NamedTuple):
    """A file of the cache, and its look: bytes, time of modification in nanoseconds, inode."""

    path: str
    size: int
    modified: int
    inode: int


class FileCache:
    """The cache of one workspace. Any number of processes may use it at once.

    limit: bytes to keep. clock: seconds since 1970, to tell what killed processes left from files on their way in.
    """

    def __init__(
        self, folder: Path, objects: Objects, *, limit: int = LIMIT, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder = folder / "cache"
        self._files = folder / "cache" / "files"
        self._top = str(self._files)
        self._staging = folder / "cache" / "staging"
        self._index = folder / "cache" / "files.sqlite"
        self._objects = objects
        self._limit = limit
        self._clock = clock

    def path(self, file: FileEntry) -> Path:
        """One file, checked."""
        return Path(self.kept([file])[file.digest].path)

    def holds(self, digests: Collection[str]) -> bool:
        """Whether all of these are here already, and can be trusted without reading them."""
        if not self._index.exists():
            return False
        return len(self._ask(lambda index: self._trusted(index, digests))) == len(digests)

    def kept(self, files: Sequence[FileEntry]) -> dict[str, Kept]:
        """The file of this cache with the content of each digest, checked. What is not here yet is fetched."""
        wanted = {file.digest: file for file in files}
        with self._storage_errors():
            return self._ask(lambda index: self._kept(index, wanted))

    def _kept(self, index: sqlite3.Connection, wanted: Mapping[str, FileEntry]) -> dict[str, Kept]:
        kept = self._trusted(index, wanted.keys())
        intact = {digest for digest in wanted.keys() - kept.keys() if self._intact(digest)}
        absent = [file for digest, file in wanted.items() if digest not in kept and digest not in intact]
        if absent:
            sweep(self._staging, self._clock())
            self._staging.mkdir(exist_ok=True)
        for folder in {self._place(file.digest)[:-63] for file in absent}:
            os.makedirs(folder, exist_ok=True)
        self._fetch([file for file in absent if file.size <= SMALL and not file.source])
        for file in absent:
            if file.size > SMALL or file.source:
                self._extract(file)
        kept |= self._trust(index, [*intact, *(file.digest for file in absent)])
        if absent:
            self._trim(index, keep=wanted.keys())
        return kept

    def forget(self, gone: Callable[[Iterable[str]], set[str]]) -> None:
        """Remove the files of those digests here that `gone` answers: what went from the object store is nowhere then."""
        if not self._index.exists():
            return

        def forget(index: sqlite3.Connection) -> None:
            for digest in gone([row[0] for row in index.execute("select digest from file").fetchall()]):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._place(digest))
                index.execute("delete from file where digest = ?", (digest,))

        with self._storage_errors():
            self._ask(forget)

    # Trust

    def _trusted(self, index: sqlite3.Connection, wanted: Collection[str]) -> dict[str, Kept]:
        """Those that look as they did when they were checked."""
        query = "select digest, size, modified, inode from file"
        if len(wanted) > 500:
            rows = index.execute(query).fetchall()
        else:
            rows = index.execute(
                f"{query} where digest in ({','.join('?' * len(wanted))})", list(wanted)
            ).fetchall()
        trusted, asked = {}, set(wanted)
        for digest, *look in rows:
            if digest in asked and (kept := self._look(digest)) is not None and list(kept[1:]) == look:
                trusted[digest] = kept
        return trusted

    def _look(self, digest: str) -> Kept | None:
        place = self._place(digest)
        try:
            status = os.lstat(place)
        except OSError:
            return None
        return Kept(place, status.st_size, status.st_mtime_ns, status.st_ino)

    def _intact(self, digest: str) -> bool:
        """Whether a file that nobody vouches for holds what it should; if not, it is taken away."""
        place = self._place(digest)
        try:
            with open(place, "rb") as stream:
                if file_digest(stream, "sha256").hexdigest() == digest:
                    return True
            os.unlink(place)
        except FileNotFoundError:
            pass
        return False

    def _trust(self, index: sqlite3.Connection, digests: Iterable[str]) -> dict[str, Kept]:
        kept = {digest: look for digest in digests if (look := self._look(digest)) is not None}
        index.executemany(
            "insert or replace into file values (?, ?, ?, ?, cast(strftime('%s', 'now') as integer))",
            ((digest, *look[1:]) for digest, look in kept.items()),
        )
        return kept

    def _trim(self, index: sqlite3.Connection, keep: Iterable[str]) -> None:
        kept, total = set(keep), index.execute("select sum(size) from file").fetchone()[0]
        if total <= self._limit:
            return
        for digest, size in index.execute("select digest, size from file order by used").fetchall():
            if total <= self._limit * 0.8:
                break
            if digest not in kept:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._place(digest))
                index.execute("delete from file where digest = ?", (digest,))
                total -= size

    # Fetching

    def _fetch(self, files: Sequence[FileEntry]) -> None:
        for digest, content in self._objects.read_many(file.digest for file in files):
            staged = self._staged(digest)
            handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o444)
            try:
                if os.write(handle, content) != len(content):
                    raise OSError(28, "No space left on device")
            finally:
                os.close(handle)
            os.rename(staged, self._place(digest))

    def _extract(self, file: FileEntry) -> None:
        staged, digest = self._staged(file.digest), sha256()
        try:
            with self._opened(file) as source, open(staged, "wb") as target:
                while piece := source.read(_COPY):
                    digest.update(piece)
                    target.write(piece)
            if digest.hexdigest() != file.digest:
                if file.source:
                    raise source_changed(file)
                raise Corrupted(f"object {file.digest} is damaged: its pieces make other bytes")
            os.chmod(staged, 0o444)
            os.rename(staged, self._place(file.digest))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)

    def _opened(self, file: FileEntry) -> BinaryIO:
        if not file.source:
            return self._objects.open(file.digest)
        return open_address(file.source)

    def _staged(self, digest: str) -> str:
        return f"{self._staging}/{os.getpid()}-{digest}"

    def _place(self, digest: str) -> str:
        return f"{self._top}/{digest[:2]}/{digest[2:]}"

    # The index

    def _ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """What a question to the index gives. One that is damaged is begun anew: then files are read and checked again."""
        try:
            with self._open() as index:
                return question(index)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                raise
            log.warning("the index of the cache %s was damaged and is made anew", self._index)
            self._index.unlink(missing_ok=True)
        with self._open() as index:
            self._adopt(index)
            return question(index)

    def _adopt(self, index: sqlite3.Connection) -> None:
        """Know of the files that are there, so that they are freed some day; none of them is trusted before it was read."""
        index.executemany(
            "insert or ignore into file values (?, ?, -1, -1, 0)",
            ((f"{file.parent.name}{file.name}", file.stat().st_size) for file in self._files.glob("??/*")),
        )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The index inside a transaction."""
        self._files.mkdir(parents=True, exist_ok=True)
        index = self._connected()
        try:
            with index:
                yield index
        finally:
            index.close()

    def _connected(self) -> sqlite3.Connection:
        index = sqlite3.connect(self._index, timeout=60)
        index.execute(_SCHEMA)
        return index

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(error, str(self._files)) from None
        except sqlite3.Error as error:
            raise StorageError(
                f"the index of the cache {self._index} cannot be used: {error}",
                hint=f"the folder {self._files.parent} may be deleted",
            ) from None
