"""Storing many objects at once: packs are filled beside the store and enter it together at the end.

Packs of nothing but chunks enter when they are full: no object shows before its recipe, which comes last. So a file may be larger
than the room for staging, and after an interruption the chunks that arrived are there and are not sent again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import BinaryIO, NamedTuple

from everloop.store.objects import chunking, hashing, recipes
from everloop.store.objects.buckets import Bucket, stage, storage_errors
from everloop.store.objects.catalog import Catalog, key_of, pack_key
from everloop.store.objects.contract import Source, Stored
from everloop.store.objects.index import Place
from everloop.store.objects.packs import Entry, Kind, PackFile
from everloop.store.objects.sources import joined, opened, read_up_to

SMALL = 256 * 1024
"""An object of up to this many bytes is stored in one piece; a larger one is cut."""

_UPLOADS = 4


class _Sealed(NamedTuple):
    file: PackFile
    name: str
    entries: list[Entry]


class PackWriter:
    """Fills packs in the bucket's staging folder. `commit` brings them in, `close` ends it.

    rely: whether what the store has already is left out. If not, everything is stored anew.
    """

    def __init__(self, bucket: Bucket, catalog: Catalog, *, rely: bool = True) -> None:
        self._bucket = bucket
        self._catalog = catalog
        self._rely = rely
        self._relied_on: set[str] = set()
        self._pack: PackFile | None = None
        self._files: list[PackFile] = []
        self._sealing: list[Future[_Sealed]] = []
        # Syncing a full pack takes as long as filling one: it happens beside the filling of the next.
        self._syncer = ThreadPoolExecutor(max_workers=1)
        self._uploads = ThreadPoolExecutor(max_workers=_UPLOADS)
        self._early: list[Future[None]] = []
        # The digest of a large object as a whole is made beside those of its chunks.
        self._hasher = ThreadPoolExecutor(max_workers=1)
        self._objects: set[bytes] = set()
        self._pieces: set[bytes] = set()
        self._recipes: list[tuple[bytes, bytes, int]] = []

    @cached_property
    def _chunker(self) -> chunking.Chunker:
        return chunking.Chunker()

    def present(self, digests: Iterable[str]) -> set[str]:
        raws = [hashing.parse_digest(digest) for digest in digests]
        places = self._catalog.first_places(raws)
        return {raw.hex() for raw, place in places.items() if self._whole(raw, place)}

    def _whole(self, digest: bytes, place: Place) -> bool:
        """Whether the store has an object, and every chunk of it, and this writer may leave it out."""
        if not self._present(digest, place):
            return False
        if place.kind is not Kind.RECIPE:
            return True
        recipe = self._bucket.get(key_of(place, digest), place.offset, place.length)
        try:
            chunks = recipes.decode(recipe or b"")
        except recipes.DamagedRecipe:
            return False
        there = self._catalog.first_pieces([chunk.digest for chunk in chunks])
        return all(self._present(chunk.digest, there.get(chunk.digest)) for chunk in chunks)

    def add_many(self, contents: Sequence[bytes]) -> list[Stored]:
        digests = [hashing.sha256(each) for each in contents]
        there = self._catalog.first_places(digests)
        stored = []
        new: list[tuple[bytes, bytes | memoryview]] = []
        for digest, data in zip(digests, contents, strict=True):
            if len(data) > SMALL:
                stored.append(self.add(data))
            elif digest in self._objects or self._present(digest, there.get(digest)):
                stored.append(Stored(digest.hex(), len(data)))
            else:
                new.append((digest, data))
                self._objects.add(digest)
                stored.append(Stored(digest.hex(), len(data), len(data)))
        self._pieces.update(digest for digest, _ in new)
        self._extend(Kind.BLOB, new)
        return stored

    def add(self, source: Source) -> Stored:
        with opened(source) as stream:
            head = read_up_to(stream, SMALL + 1)
            if len(head) > SMALL:
                return self._add_chunked(head, stream if hasattr(stream, "readinto") else joined(b"", stream))
            return self.add_many([head])[0]

    def _add_chunked(self, head: bytes, rest: BinaryIO) -> Stored:
        whole = hashlib.sha256()
        chunks: list[recipes.Chunk] = []
        new = 0
        for block in self._chunker.cut(rest, head):
            hashed = self._hasher.submit(whole.update, block.read)
            new += self._keep_chunks(block.chunks, chunks)
            hashed.result()
        digest = whole.digest()
        if digest not in self._objects and not self._present(
            digest, next(iter(self._catalog.objects(digest)), None)
        ):
            # Recipes enter the last packs: none can be seen before all of its chunks.
            size = sum(chunk.length for chunk in chunks)
            self._recipes.append((digest, recipes.encode(chunks), size))
            self._objects.add(digest)
        return Stored(digest.hex(), sum(chunk.length for chunk in chunks), new)

    def _keep_chunks(self, pieces: Sequence[memoryview], chunks: list[recipes.Chunk]) -> int:
        """Put pieces down in `chunks`, and those that are not there yet into packs; returns how many bytes these are."""
        digests = [hashing.sha256(piece) for piece in pieces]
        there = self._catalog.first_pieces(digests)
        new: list[tuple[bytes, bytes | memoryview]] = []
        for digest, piece in zip(digests, pieces, strict=True):
            chunks.append(recipes.Chunk(digest, len(piece)))
            if digest not in self._pieces and not self._present(digest, there.get(digest)):
                new.append((digest, piece))
                self._pieces.add(digest)
        self._extend(Kind.CHUNK, new)
        return sum(len(piece) for _, piece in new)

    def _present(self, digest: bytes, place: Place | None) -> bool:
        """Whether the store has it, and this writer may leave it out."""
        if place is None or not self._rely:
            return False
        self._relied_on.add(key_of(place, digest))
        return True

    def _extend(self, kind: Kind, contents: Sequence[tuple[bytes, bytes | memoryview]]) -> None:
        with storage_errors(str(self._bucket.staging)):
            while contents:
                pack = self._pack or self._begun()
                contents = contents[pack.extend(kind, contents) :]
                if pack.full:
                    self._seal()

    def _append(self, kind: Kind, digest: bytes, payload: bytes, size: int) -> None:
        with storage_errors(str(self._bucket.staging)):
            pack = self._pack or self._begun()
            pack.append(kind, digest, payload, size)
            if pack.full:
                self._seal()

    def _begun(self) -> PackFile:
        with storage_errors(str(self._bucket.staging)):
            self._pack = PackFile(stage(self._bucket.staging))
            self._files.append(self._pack)
            if not self._rely:
                # Packs of the same entries have the same name. This one must be another file than any that may go now.
                salt = os.urandom(16)
                self._pack.append(Kind.BLOB, hashing.sha256(salt), salt, len(salt))
            return self._pack

    def _seal(self) -> None:
        if self._pack is not None:
            pack, self._pack = self._pack, None
            self._sealing.append(self._syncer.submit(self._sealed, pack))

    def _sealed(self, pack: PackFile) -> _Sealed:
        with storage_errors(str(self._bucket.staging)):
            sealed = _Sealed(pack, *pack.seal())
        if pack.only_chunks:
            self._early.append(self._uploads.submit(self._publish, sealed))
        return sealed

    def commit(self) -> None:
        """Bring everything into the store."""
        without_recipes = len(self._sealing)
        for digest, payload, size in self._recipes:
            self._append(Kind.RECIPE, digest, payload, size)
        self._seal()
        packs = [future.result() for future in self._sealing]
        first = [pack for pack in packs[:without_recipes] if not pack.file.only_chunks]
        list(self._uploads.map(self._publish, first))
        for future in self._early:
            future.result()
        for pack in packs[without_recipes:]:
            if not pack.file.only_chunks:
                self._publish(pack)
        for key in self._relied_on:
            self._bucket.touch(key)

    def _publish(self, pack: _Sealed) -> None:
        self._bucket.put_file(pack_key(pack.name), pack.file.path)
        self._catalog.add_pack(pack.name, pack.entries)

    def close(self) -> None:
        """Throw away what was not brought in; after `commit` that is nothing."""
        self._syncer.shutdown(cancel_futures=True)
        self._uploads.shutdown(cancel_futures=True)
        self._hasher.shutdown(cancel_futures=True)
        for file in self._files:
            file.abandon()
