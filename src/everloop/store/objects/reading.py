"""A large object as a seekable stream that fetches and checks its chunks as they are asked for."""

from __future__ import annotations

import bisect
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from everloop.errors import Corrupted, NotFound
from everloop.store.objects.index import Place
from everloop.store.objects.recipes import Chunk

READ_AHEAD = 4 * 1024 * 1024
"""Bytes fetched at once when chunks are read one after the other: on S3 each fetch is a request."""

GAP = 32 * 1024
"""Bytes nobody asked for that are fetched rather than asking twice."""

LARGE_REQUEST = 1024 * 1024
"""Bytes asked for at once that are not from a reader who goes through the object."""

FetchRun = Callable[[Sequence[Chunk]], list[bytes]]
"""Given consecutive chunks: the verified bytes of the first, and of as many more as come with it at no cost.
"""


class ChunkedReader(io.RawIOBase):
    """Holds at most `READ_AHEAD` bytes. Not for use by several threads."""

    def __init__(self, digest: str, chunks: Sequence[Chunk], fetch: FetchRun) -> None:
        self._digest = digest
        self._chunks = chunks
        self._starts = [0, *itertools.accumulate(chunk.length for chunk in chunks)]
        self._fetch = fetch
        self._position = 0
        self._held: list[bytes] = []
        self._large = False
        self._held_from = 0  # the number of the first chunk that is held

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError("seek before the start of the object")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        if self._position >= self._starts[-1] or not view:
            return 0
        number = bisect.bisect_right(self._starts, self._position) - 1
        inside = self._position - self._starts[number]
        data = self._chunk(number, self._position + len(view))[inside : inside + len(view)]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def readall(self) -> bytes:
        pieces = []
        while self._position < self._starts[-1]:
            number = bisect.bisect_right(self._starts, self._position) - 1
            piece = self._chunk(number)[self._position - self._starts[number] :]
            pieces.append(piece)
            self._position += len(piece)
        return b"".join(pieces)

    def _chunk(self, number: int, until: int = 0) -> bytes:
        """A chunk's bytes. `until` is where the reader's request ends: it is fetched at once, as far as that is allowed."""
        if not 0 <= number - self._held_from < len(self._held):
            follows = number == self._held_from + len(self._held)
            # The first access reads ahead too; after a jump only what was asked for is fetched. Who asks for much at once knows
            # what comes next, and is not read ahead for, nor for the rest of it, which a buffer in between asks for by itself.
            large = until - self._starts[number] >= LARGE_REQUEST
            ahead = follows and not large and not self._large
            self._large = large
            last, start = number, self._starts[number]
            while last + 1 < len(self._chunks) and (ahead or self._starts[last + 1] < until):
                if self._starts[last + 2] - start > READ_AHEAD:
                    break
                last += 1
            wanted = self._chunks[number : last + 1]
            try:
                self._held = self._fetch(wanted)
            except (NotFound, Corrupted) as error:
                raise Corrupted(
                    f"object {self._digest} cannot be read at byte {self._starts[number]}: {error.message}",
                    hint=error.hint,
                ) from error
            self._held_from = number
        return self._held[number - self._held_from]


def runs(places: Mapping[bytes, Place]) -> Iterator[list[tuple[bytes, Place]]]:
    """Entries of packs as they lie there, cut into runs that are worth one fetch: little between them that nobody asked for, and
    not more than `READ_AHEAD` bytes at once.
    """
    run: list[tuple[bytes, Place]] = []
    for digest, place in sorted(places.items(), key=lambda each: (each[1].pack or "", each[1].offset)):
        if run:
            first, last = run[0][1], run[-1][1]
            ended = last.offset + last.length
            near = place.pack == last.pack and place.offset - ended <= GAP
            if not near or place.offset + place.length - first.offset > READ_AHEAD:
                yield run
                run = []
        run.append((digest, place))
    if run:
        yield run
