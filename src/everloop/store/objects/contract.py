"""What every object store of Everloop promises; `tests/contracts/test_objects_*.py` holds each one to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from everloop.store.objects.recipes import Chunk

Source = bytes | bytearray | memoryview | Path | BinaryIO
"""What can be stored: bytes in memory, a file by its path, or a stream read from where it stands to its end.
"""


class Stored(msgspec.Struct, frozen=True):
    """An object in the store.

    digest: SHA-256 of the whole content, 64 lower-case hexadecimal digits.
    size: bytes of the content.
    new_bytes: bytes of the content that were not in the store before; 0 from `stat`.
    """

    digest: str
    size: int
    new_bytes: int = 0


class Fault(msgspec.Struct, frozen=True):
    """Something stored that is not what it should be.

    place: the file's name below the store's root; for part of a file, `name@offset`, where the damaged part
    starts. digest: the digest of the object or chunk that is hurt, when it is known.
    """

    place: str
    digest: str | None
    message: str


class Writer(Protocol):
    """Adds many objects at once. Belongs to the thread and the `with` block that opened it."""

    def add(self, source: Source) -> Stored:
        """Take one object in. It can be read from the store when the block has ended, not before."""
        ...

    def present(self, digests: Iterable[str]) -> set[str]:
        """Those of `digests` that are in the store already, and stay there as if their content had been added: for a caller who
        knows what a file holds without reading it.
        """
        ...

    def add_many(self, contents: Sequence[bytes]) -> list[Stored]:
        """Take many small objects in, each as `add` does, for less than that costs one by one."""
        ...


class Objects(Protocol):
    """Bytes under the SHA-256 of their content.

    **Whole or absent.** An object is visible entirely or not at all, whatever kills the process or the
    machine; when `put` or the block of `writer` returns, it is on stable storage. A writer's objects become
    visible together at the end of its block, and none of them does when the block raises. Should the process
    be killed during that last step, some may be visible and others not, each of them whole.

    **Verified.** Every byte handed out was checked against a digest. Stored bytes that do not match raise
    `Corrupted`.

    **Threads and processes.** All methods may be called by several threads and by several processes on the
    same store at once. A `Writer` and an opened object belong to one thread each.

    **Ownership.** The store never closes a stream it was given; the caller closes what `open` returned.

    **Errors.** `NotFound`: no such object, or no such source file. `Corrupted`: stored bytes are damaged;
    names digest and place. `StorageError`: the store cannot do it (disk full, read-only). `Unavailable`: a
    remote store does not answer. `PermissionDenied`: it refuses. `InvalidInput`: not a digest, or a source
    that cannot be read as a file. After any error the store is whole and usable.
    """

    def put(self, source: Source) -> Stored:
        """Store one object; storing what is there already changes nothing."""
        ...

    def writer(self) -> AbstractContextManager[Writer]:
        """A block that stores many objects, grouped into few files: the way to store more than a handful."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """The content as a seekable stream. A large object is fetched and checked piece by piece, as it is
        read.
        """
        ...

    def read(self, digest: str) -> bytes:
        """The whole content in memory."""
        ...

    def read_many(self, digests: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The content of each object once, in whatever order is quickest: what lies together is fetched at
        once. For small objects: each is in memory whole.
        """
        ...

    def stat(self, digest: str) -> Stored:
        """The size of an object, without reading its content."""
        ...

    def chunks(self, digest: str) -> list[Chunk]:
        """The chunks that an object is stored as; one, if it is stored in one piece."""
        ...

    @property
    def far(self) -> bool:
        """Whether bytes are read over a network: who has them nearby reads them there."""
        ...

    def missing(self, digests: Iterable[str]) -> set[str]:
        """Those of `digests` that are not objects here."""
        ...

    def digests(self) -> Iterator[str]:
        """Every object here, in no particular order, each once."""
        ...

    def verify(self) -> Iterator[Fault]:
        """Read every stored byte and yield what is wrong. Nothing yielded: the store is whole."""
        ...
