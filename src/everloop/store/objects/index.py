"""Where each object is: a SQLite file derived from the packs' footers and the listing of loose files.

It is a cache. Deleting it loses nothing: it is built again from the store. Nothing is believed because the
index says so; readers check digests of bytes, and `ContentStore` asks the bucket before it takes an object
for present.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from everloop.errors import EverloopError, StorageError, Unavailable
from everloop.store.objects.buckets import stage, storage_error
from everloop.store.objects.packs import Entry, Kind

_VERSION = 1
_LOOSE = 0  # the pack number of loose files
_SCHEMA = """
create table pack (number integer primary key, name text not null unique, size integer not null);
create table entry (digest blob not null, kind integer not null, pack integer not null,
    offset integer not null, length integer not null, size integer not null,
    primary key (digest, kind, pack)) without rowid;
create index entry_pack on entry (pack);
"""
_OBJECTS = f"({int(Kind.BLOB)}, {int(Kind.RECIPE)})"
_AT_ONCE = 900
"""Digests in one query: SQLite takes 999 values at least, whatever its build."""
_BYTES = f"({int(Kind.BLOB)}, {int(Kind.CHUNK)})"


_KIND = {kind.value: kind for kind in Kind}


_LEFT_ALONE: list[sqlite3.Connection | None] = []


class Place(NamedTuple):
    """Where the bytes of an entry are. `pack` is the name of a pack, None for a loose file."""

    kind: Kind
    pack: str | None
    offset: int
    length: int
    size: int

    def followed_by(self, other: Place) -> bool:
        """Whether the other entry starts in the same pack where this one ends."""
        return self.pack is not None and (other.pack, other.offset) == (self.pack, self.offset + self.length)


class Index:
    """One connection, guarded by a lock; any number of processes may have the same file open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._process = 0
        self._writable = True
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
                self._connection = None

    def __del__(self) -> None:
        self.close()  # a store that nobody closed is no mistake worth a warning

    # Reading

    def object_places(self, digest: bytes) -> list[Place]:
        """The copies of an object, whole (blob) or as a recipe."""
        return self._places(digest, _OBJECTS)

    def byte_places(self, digest: bytes) -> list[Place]:
        """The copies of these bytes, be they an object or a chunk."""
        return self._places(digest, _BYTES)

    def _places(self, digest: bytes, kinds: str) -> list[Place]:
        query = f"""select kind, name, offset, length, entry.size from entry left join pack on number = pack
            where digest = ? and kind in {kinds} and (pack = {_LOOSE} or name is not null) order by pack"""
        with self._open() as connection:
            return [Place(Kind(kind), *rest) for kind, *rest in connection.execute(query, (digest,))]

    def objects_among(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those of `digests` that are objects: one question for many."""
        found: set[bytes] = set()
        with self._open() as connection:
            for at in range(0, len(digests), _AT_ONCE):
                some = digests[at : at + _AT_ONCE]
                query = f"""select digest from entry left join pack on number = pack
                    where digest in ({",".join("?" * len(some))}) and kind in {_OBJECTS}
                    and (pack = {_LOOSE} or name is not null)"""
                found.update(digest for (digest,) in connection.execute(query, some))
        return found

    def first_places(self, digests: Sequence[bytes]) -> dict[bytes, Place]:
        """One copy of each object that the index knows, for many at once."""
        return self._first(digests, _OBJECTS)

    def first_pieces(self, digests: Sequence[bytes]) -> dict[bytes, Place]:
        """One copy of each of these bytes, be they an object or a chunk, for many at once."""
        return self._first(digests, _BYTES)

    def _first(self, digests: Sequence[bytes], kinds: str) -> dict[bytes, Place]:
        found: dict[bytes, Place] = {}
        with self._open() as connection:
            for at in range(0, len(digests), _AT_ONCE):
                some = digests[at : at + _AT_ONCE]
                query = f"""select digest, kind, name, offset, length, entry.size
                    from entry left join pack on number = pack
                    where digest in ({",".join("?" * len(some))}) and kind in {kinds}
                    and (pack = {_LOOSE} or name is not null)"""
                for digest, kind, *rest in connection.execute(query, some):
                    found.setdefault(digest, Place(_KIND[kind], *rest))
        return found

    def digests(self, after: bytes, limit: int) -> list[bytes]:
        """The next objects in order of their digests, each once."""
        query = f"""select distinct digest from entry where digest > ? and kind in {_OBJECTS}
            order by digest limit ?"""
        with self._open() as connection:
            return [digest for (digest,) in connection.execute(query, (after, limit))]

    def packs(self) -> dict[str, int]:
        """Name and size of each pack that the index knows."""
        with self._open() as connection:
            return dict(connection.execute("select name, size from pack").fetchall())

    def entries(self, pack: str) -> list[Entry]:
        """What the index holds of a pack, in the pack's order."""
        query = """select kind, digest, offset, length, entry.size from entry join pack on number = pack
            where name = ? order by offset, digest"""
        with self._open() as connection:
            return [Entry(Kind(kind), *rest) for kind, *rest in connection.execute(query, (pack,))]

    def loose(self) -> dict[bytes, int]:
        """Digest and size of each loose file that the index knows."""
        with self._open() as connection:
            return dict(
                connection.execute("select digest, size from entry where pack = ?", (_LOOSE,)).fetchall()
            )

    # Writing

    def add_pack(self, name: str, size: int, entries: Sequence[Entry]) -> None:
        with self._open(write=True) as connection:
            known = connection.execute("select number from pack where name = ?", (name,)).fetchone()
            if known is not None:
                return
            number = connection.execute("insert into pack (name, size) values (?, ?)", (name, size)).lastrowid
            connection.executemany(
                "insert or ignore into entry values (?, ?, ?, ?, ?, ?)",
                # In the order of the table, which is many times faster to fill so.
                sorted((e.digest, e.kind.value, number, e.offset, e.length, e.size) for e in entries),
            )

    def drop_pack(self, name: str) -> None:
        with self._open(write=True) as connection:
            connection.execute(
                "delete from entry where pack = (select number from pack where name = ?)", (name,)
            )
            connection.execute("delete from pack where name = ?", (name,))

    def add_loose(self, found: Iterable[tuple[bytes, int]]) -> None:
        with self._open(write=True) as connection:
            connection.executemany(
                "insert or ignore into entry values (?, ?, ?, 0, ?, ?)",
                ((digest, int(Kind.BLOB), _LOOSE, size, size) for digest, size in found),
            )

    def drop_loose(self, digests: Iterable[bytes]) -> None:
        with self._open(write=True) as connection:
            connection.executemany(
                "delete from entry where digest = ? and pack = ?", ((digest, _LOOSE) for digest in digests)
            )

    # The connection

    @contextlib.contextmanager
    def _open(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection, inside a transaction when `write`. An index that cannot be read is built anew."""
        with self._lock:
            try:
                connection = self._connected()
                if write:
                    connection.execute("begin immediate")
                yield connection
                if write:
                    connection.execute("commit")
            except sqlite3.DatabaseError as error:
                if self._connection is not None and self._connection.in_transaction:
                    self._connection.rollback()
                if _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    self._discard()
                    raise StaleIndex from error
                if _code(error) == sqlite3.SQLITE_READONLY and self._writable:
                    self._writable = False
                    self.close()
                    raise StaleIndex from error
                raise self._error(error) from error
            except BaseException:
                if self._connection is not None and self._connection.in_transaction:
                    self._connection.rollback()
                raise

    def _error(self, error: sqlite3.DatabaseError) -> EverloopError:
        code = _code(error)
        if code == sqlite3.SQLITE_FULL:
            return storage_error(OSError(errno.ENOSPC, ""), str(self._path.parent))
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Unavailable(
                f"the index of the object store, {self._path}, is locked by another process",
                hint="try again when the other process has finished",
            )
        return StorageError(
            f"the index of the object store, {self._path}, cannot be used: {error}",
            hint="it is only a cache: it may be deleted while no process uses the store",
        )

    def _connected(self) -> sqlite3.Connection:
        if self._process != os.getpid():
            # A connection does not survive a fork. A child opens its own and leaves its parent's alone: closing
            # it would let go of the parent's locks.
            _LEFT_ALONE.append(self._connection)
            self._connection, self._process = None, os.getpid()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if self._writable:
            try:
                if not self._path.exists():
                    _create(self._path)
                return _connect(str(self._path))
            except OSError:
                pass
            except sqlite3.OperationalError as error:
                if _code(error) not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
                    raise
        # A store on a read-only disk can be read: its index is kept in memory.
        self._writable = False
        return _connect(":memory:")

    def _discard(self) -> None:
        self.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)


class StaleIndex(Exception):
    """The index file was damaged or cannot be written, so there is an empty one now: fill it, then ask again."""


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of the Python module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
    connection.execute("pragma synchronous = normal")
    if connection.execute("pragma user_version").fetchone()[0] != _VERSION:
        connection.execute("begin immediate")
        # Again inside the transaction: another process may have made the tables meanwhile.
        if connection.execute("pragma user_version").fetchone()[0] != _VERSION:
            for (table,) in connection.execute(
                "select name from sqlite_master where type = 'table'"
            ).fetchall():
                connection.execute(f"drop table {table}")
            for statement in _SCHEMA.split(";")[:-1]:
                connection.execute(statement)
            connection.execute(f"pragma user_version = {_VERSION}")
        connection.execute("commit")
    return connection


def _create(path: Path) -> None:
    """Make an empty index, unless another process makes it first.

    Turning WAL on fails at once, without waiting, when another process has the file open. So it is done beside,
    and the file gets its name when it is ready.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = stage(path.parent / "staging")
    connection = _connect(str(beside))
    try:
        connection.execute("pragma journal_mode = wal")
    finally:
        connection.close()
    with contextlib.suppress(FileExistsError):
        os.link(beside, path)
    beside.unlink()
