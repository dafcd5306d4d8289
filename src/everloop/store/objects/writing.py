"""Storing many objects at once: packs are filled beside the store and enter it together at the end.

Packs of nothing but chunks enter when they are full: no object shows before its recipe, which comes last. So a file may be larger
than the room for staging, and after an interruption the chunks that arrived are there and are not sent again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

from everloop.store.objects import chunking, hashing, recipes
from everloop.store.objects.buckets import Bucket, stage, storage_error, storage_errors
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
        self._objects: set[bytes] = set()
        self._pieces: set[bytes] = set()
        self._recipes: list[tuple[bytes, bytes, int]] = []

    def present(self, digests: Iterable[str]) -> set[str]:
        raws = [hashing.parse_digest(digest) for digest in digests]
        places = self._catalog.first_places(raws)
        return {raw.hex() for raw, place in places.items() if self._whole(raw, place)}

    def _whole(self, digest: bytes, place: Place) -> bool:
        """Whether the store has an object, and every chunk of it, and this writer may leave it out."""
        if not self._present(digest, [place]):
            return False
        if place.kind is not Kind.RECIPE:
            return True
        recipe = self._bucket.get(key_of(place, digest), place.offset, place.length)
        try:
            chunks = recipes.decode(recipe or b"")
        except recipes.DamagedRecipe:
            return False
        return all(self._present(chunk.digest, self._catalog.pieces(chunk.digest)) for chunk in chunks)

    def add_many(self, contents: Sequence[bytes]) -> list[Stored]:
        digests = [hashing.sha256(each) for each in contents]
        places = self._catalog.first_places(digests)
        stored = []
        for digest, data in zip(digests, contents, strict=True):
            if len(data) > SMALL:
                stored.append(self.add(data))
            elif digest in self._objects or self._present(
                digest, [places[digest]] if digest in places else []
            ):
                stored.append(Stored(digest.hex(), len(data)))
            else:
                stored.append(self._keep_blob(digest, data))
        return stored

    def add(self, source: Source) -> Stored:
        with opened(source) as stream:
            head = read_up_to(stream, SMALL + 1)
            if len(head) > SMALL:
                return self._add_chunked(head, stream)
            return self._add_blob(head)

    def _add_blob(self, data: bytes) -> Stored:
        digest = hashing.sha256(data)
        if digest in self._objects or self._present(digest, self._catalog.objects(digest)):
            return Stored(digest.hex(), len(data))
        return self._keep_blob(digest, data)

    def _keep_blob(self, digest: bytes, data: bytes) -> Stored:
        self._append(Kind.BLOB, digest, data, len(data))
        self._objects.add(digest)
        self._pieces.add(digest)
        return Stored(digest.hex(), len(data), len(data))

    def _add_chunked(self, head: bytes, rest: BinaryIO) -> Stored:
        whole = hashlib.sha256()
        chunks: list[recipes.Chunk] = []
        size = new = 0
        for piece in chunking.cut(joined(head, rest)):
            whole.update(piece)
            digest = hashing.sha256(piece)
            chunks.append(recipes.Chunk(digest, len(piece)))
            size += len(piece)
            if digest not in self._pieces and not self._present(digest, self._catalog.pieces(digest)):
                self._append(Kind.CHUNK, digest, piece, len(piece))
                self._pieces.add(digest)
                new += len(piece)
        if whole.digest() not in self._objects and not self._present(
            whole.digest(), self._catalog.objects(whole.digest())
        ):
            # Recipes enter the last packs: none can be seen before all of its chunks.
            self._recipes.append((whole.digest(), recipes.encode(chunks), size))
            self._objects.add(whole.digest())
        return Stored(whole.hexdigest(), size, new)

    def _present(self, digest: bytes, places: list[Place]) -> bool:
        """Whether the store has it, and this writer may leave it out."""
        if not places or not self._rely:
            return False
        self._relied_on.add(key_of(places[0], digest))
        return True

    def _append(self, kind: Kind, digest: bytes, payload: bytes | memoryview, size: int) -> None:
        pack = self._pack or self._begun()
        try:  # not `storage_errors`: this is done for every small file
            pack.append(kind, digest, payload, size)
        except OSError as error:
            raise storage_error(error, str(self._bucket.staging)) from error
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
        for file in self._files:
            file.abandon()
