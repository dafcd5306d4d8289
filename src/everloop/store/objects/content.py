"""The object store: contents under their SHA-256, on any bucket.

Below the bucket's root:

    format                   the version of this layout
    loose/ab/cdef…           a small object that was put alone; its bytes as they are
    packs/<name>.pack        small objects, chunks of large ones, and recipes (see packs.py, recipes.py)
    guard, guards/           what keeps writers and the collector apart (see guards.py)
    notes/…                  small texts that were put with the objects (see `put_note`)
    users/…                  the ledgers whose objects these are, where that is not the one beside the store
    staging/                 local buckets only: files on their way in, and leftovers of killed processes

Where each object is stands in an index (index.py), which is derived and can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from everloop.errors import Conflict, Corrupted, EverloopError, NotFound, StorageError, Unavailable
from everloop.store.objects import hashing, recipes
from everloop.store.objects.buckets import Bucket, LocalBucket, sweep
from everloop.store.objects.catalog import Catalog, describe, key_of, loose_key, pack_key
from everloop.store.objects.collecting import Collection
from everloop.store.objects.contract import Fault, Source, Stored
from everloop.store.objects.index import Index, Place
from everloop.store.objects.mending import Inspection, discard_damage, file_of
from everloop.store.objects.packs import Kind
from everloop.store.objects.reading import ChunkedReader, runs
from everloop.store.objects.sources import joined, opened, read_up_to
from everloop.store.objects.verifying import FORMAT_KEY, Verification, intact
from everloop.store.objects.writing import SMALL, PackWriter

FORMAT_VERSION = 1
FORMAT = f"everloop objects {FORMAT_VERSION}\n".encode()
_PATIENCE = 60.0
"""Seconds to wait for a collection, which takes moments."""
_HINT = "`everloop audit verify` names every fault; put the file back from a copy of the store"


class ContentStore:
    """`Objects` on a bucket.

    index_path: a local file for the index, made when it is missing. Processes on one machine should share it.
    clock: seconds since 1970, to tell leftovers of killed processes from files on their way in.
    user: what names the ledger whose objects these are, where others may use the store too.
    """

    def __init__(
        self, bucket: Bucket, index_path: Path, *, clock: Callable[[], float] = time.time, user: str = ""
    ) -> None:
        self._bucket = bucket
        self._catalog = Catalog(bucket, Index(index_path))
        self._clock = clock
        self._user = user
        self._format_checked = False
        self._ready_to_write = False

    def close(self) -> None:
        """Let go of the index. A store that is used after that opens it again."""
        self._catalog.close()

    # Storing

    def put(self, source: Source) -> Stored:
        with opened(source) as stream:
            head = read_up_to(stream, SMALL + 1)
            if len(head) > SMALL:
                with self.writer() as writer:
                    return writer.add(joined(head, stream))
        digest = hashing.sha256(head)
        self._prepare_to_write()
        with self._bucket.guard.putting():
            for place in self._catalog.objects(digest):
                if self._catalog.present(place, digest):
                    self._bucket.touch(key_of(place, digest))
                    return Stored(digest.hex(), len(head))
            new = self._bucket.put(loose_key(digest), head)
            if not new:
                self._bucket.touch(loose_key(digest))
            self._catalog.add_loose(digest, len(head))
        return Stored(digest.hex(), len(head), len(head) if new else 0)

    @contextlib.contextmanager
    def writer(self) -> Iterator[PackWriter]:
        self._prepare_to_write()
        with self._bucket.guard.writing() as rely:
            # The writer takes the index's word for what is here already, so that word is checked against the
            # bucket first.
            self._catalog.refresh(loose=True)
            writer = PackWriter(self._bucket, self._catalog, rely=rely)
            try:
                yield writer
                writer.commit()
            finally:
                writer.close()

    def _prepare_to_write(self) -> None:
        if not self._ready_to_write:
            self._check_format()
            self._bucket.put(FORMAT_KEY, FORMAT)
            if self._user:
                self._bucket.put(_user_key(self._user), self._user.encode())
            sweep(self._bucket.staging, self._clock())
            self._ready_to_write = True

    # Reading

    def open(self, digest: str) -> BinaryIO:
        place, payload = self._fetch(hashing.parse_digest(digest), self._catalog.objects)
        if place.kind is not Kind.RECIPE:
            return io.BytesIO(payload)
        return io.BufferedReader(self._chunked(digest, payload), 128 * 1024)

    def read(self, digest: str) -> bytes:
        place, payload = self._fetch(hashing.parse_digest(digest), self._catalog.objects)
        if place.kind is not Kind.RECIPE:
            return payload
        content = self._chunked(digest, payload).readall()
        if hashlib.sha256(content).hexdigest() != digest:
            where = describe(place, bytes.fromhex(digest))
            raise Corrupted(
                f"object {digest} is damaged: the recipe at {where} makes other bytes", hint=_HINT
            )
        return content

    def read_many(self, digests: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        self._check_format()
        asked = list(dict.fromkeys(map(hashing.parse_digest, digests)))
        places = self._catalog.first_places(asked)
        for digest in asked:
            if (place := places.get(digest)) is None or place.pack is None or place.kind is not Kind.BLOB:
                places.pop(digest, None)
                yield digest.hex(), self.read(digest.hex())
        for run in runs(places):
            first, last = run[0][1], run[-1][1]
            start, end = first.offset, last.offset + last.length
            data = self._bucket.get(key_of(first, run[0][0]), start, end - start) or b""
            for digest, place in run:
                content = data[place.offset - start : place.offset - start + place.length]
                # Whatever is wrong with this copy, the slow way finds another one or says what it is.
                yield (
                    digest.hex(),
                    content if intact(Kind.BLOB, digest, content) else self.read(digest.hex()),
                )

    def stat(self, digest: str) -> Stored:
        raw = hashing.parse_digest(digest)
        self._check_format()
        for _ in range(2):  # a second time when what the index named is gone: it may be elsewhere
            for place in self._catalog.find(raw, self._catalog.objects):
                if self._catalog.present(place, raw):
                    return Stored(digest, place.size)
                self._catalog.forget(place, raw)
        raise self._not_found(digest)

    def missing(self, digests: Iterable[str]) -> set[str]:
        self._check_format()
        self._catalog.refresh(loose=True)
        asked = {hashing.parse_digest(digest): digest for digest in digests}
        there = self._catalog.objects_among(list(asked))
        return {digest for raw, digest in asked.items() if raw not in there}

    def missing_pieces(self, digests: Iterable[str]) -> set[str]:
        """Those of `digests` that are here neither as an object nor as a chunk of one."""
        self._check_format()
        self._catalog.refresh(loose=True)
        asked = {hashing.parse_digest(digest): digest for digest in digests}
        there = self._catalog.first_pieces(list(asked))
        return {digest for raw, digest in asked.items() if raw not in there}

    def chunks(self, digest: str) -> list[recipes.Chunk]:
        """The chunks that an object is stored as; one, if it is stored in one piece."""
        raw = hashing.parse_digest(digest)
        place, payload = self._fetch(raw, self._catalog.objects)
        return recipes.decode(payload) if place.kind is Kind.RECIPE else [recipes.Chunk(raw, len(payload))]

    def assembled(
        self, digest: str, chunks: Sequence[recipes.Chunk], other: Callable[[recipes.Chunk], bytes | None]
    ) -> BinaryIO:
        """An object that comes from elsewhere, as a stream: those of its chunks that are here are read here.

        other: the bytes of a chunk, or None when they are to be read here. Whoever reads the stream makes sure that the whole has
        the digest it should have.
        """

        def fetch(wanted: Sequence[recipes.Chunk]) -> list[bytes]:
            given = list(itertools.takewhile(lambda data: data is not None, map(other, wanted)))
            if given:
                return [data for data in given if data is not None]
            return self._fetch_run(list(itertools.takewhile(lambda chunk: other(chunk) is None, wanted)))

        self._check_format()
        return io.BufferedReader(ChunkedReader(digest, chunks, fetch), 128 * 1024)

    def digests(self) -> Iterator[str]:
        self._check_format()
        self._catalog.refresh(loose=True)
        return (digest.hex() for digest in self._catalog.digests())

    def verify(self) -> Iterator[Fault]:
        return Verification(self._bucket, self._catalog, FORMAT, self._chunked).faults()

    @property
    def far(self) -> bool:
        return not isinstance(self._bucket, LocalBucket)

    @property
    def name(self) -> str:
        """What people call this store: a folder, or an address."""
        return self._bucket.name

    # Freeing

    def collection(self) -> Collection:
        """A collection of this store: see collecting.py, and `everloop.data.stores.collecting` for who needs what."""
        self._check_format()
        return Collection(self._bucket, self._catalog)

    def removing(self) -> AbstractContextManager[None]:
        """A block in which a collection removes. Raises `Busy`, without waiting, while writers are at work."""
        return self._bucket.guard.removing()

    def other_users(self) -> list[str]:
        """Other ledgers that keep their objects in this store."""
        others = [each for each in self._bucket.list("users/") if each[0] != _user_key(self._user)]
        return sorted(
            (self._bucket.get(key, 0, size) or b"").decode(errors="replace") for key, size in others
        )

    # Mending

    def inspection(self, *, full: bool) -> Inspection:
        """A look at single objects: see mending.py."""
        self._check_format()
        self._catalog.refresh(loose=True)
        return Inspection(self._bucket, self._catalog, full=full)

    def store_anew(self, digest: str, source: Source) -> Stored:
        """Store an object once more, whatever is there under its digest. Raises Corrupted when the source is another object."""
        self._prepare_to_write()
        with self._bucket.guard.writing():
            writer = PackWriter(self._bucket, self._catalog, rely=False)
            try:
                stored = writer.add(source)
                if stored.digest != digest:
                    raise Corrupted(f"object {digest} did not arrive whole", hint="try again")
                writer.commit()
            finally:
                writer.close()
        return stored

    def discard_damage(self, faults: Iterable[Fault]) -> list[str]:
        """Take the damaged files of these faults out, where their content is whole elsewhere in the store. Raises `Busy` while
        writers are at work."""
        with self.removing():
            return discard_damage(self._bucket, self._catalog, sorted({file_of(fault) for fault in faults}))

    # Notes: small named texts beside the objects, for stores that are shared without a ledger

    def put_note(self, name: str, note: bytes, *, needs: Iterable[str] = ()) -> bytes:
        """Keep a note; returns what stands there now, which is what somebody else wrote before.

        needs: the objects that it speaks of. None of them is removed before the note is there; Conflict when one is not here.
        """
        self._prepare_to_write()
        key = f"notes/{name}"
        needed = set(needs)
        with self._undisturbed() if needed else contextlib.nullcontext():
            if gone := self.missing(needed):
                raise Conflict(f"{len(gone)} objects are not in {self.name}", hint="send them again")
            if self._bucket.put(key, note):
                return note
        size = self._bucket.size(key)
        return self._bucket.get(key, 0, size or 0) or b""

    def drop_note(self, name: str) -> None:
        """Take a note away; nothing happens when there is none."""
        self._bucket.delete(f"notes/{name}")

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """A moment in which nothing is removed. Collections take moments too, so it waits for one."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            with self._bucket.guard.writing() as alone:
                if alone:
                    yield
                    return
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.name} is being collected", hint="try again later")
            time.sleep(0.05)

    def notes(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """Name and content of each note below `prefix`, which ends in a slash or is empty."""
        self._check_format()
        for key, size in self._bucket.list(f"notes/{prefix}"):
            yield key.removeprefix("notes/"), self._bucket.get(key, 0, size) or b""

    def now(self) -> float:
        """The time by the store's clock, in seconds since 1970."""
        return self._clock()

    def _chunked(self, digest: str, recipe: bytes) -> ChunkedReader:
        return ChunkedReader(digest, recipes.decode(recipe), self._fetch_run)

    def _fetch(self, digest: bytes, kind: Callable[[bytes], list[Place]]) -> tuple[Place, bytes]:
        """The checked bytes of an entry from the first copy that is whole, and where that is."""
        self._check_format()
        damaged: list[Place] = []
        for _ in range(2):  # a second time when the index turns out to be wrong
            damaged.clear()
            index_was_wrong = False
            for place in self._catalog.find(digest, kind):
                payload = self._bucket.get(key_of(place, digest), place.offset, place.length)
                if payload is None:
                    self._catalog.forget(place, digest)
                    index_was_wrong = True
                elif intact(place.kind, digest, payload):
                    return place, payload
                elif place.pack is not None and self._catalog.recheck(place.pack):
                    index_was_wrong = True
                else:
                    damaged.append(place)
            if not index_was_wrong:
                break
        if damaged:
            where = " and ".join(describe(place, digest) for place in damaged)
            raise Corrupted(
                f"object {digest.hex()} is damaged: {where} in {self._bucket.name} does not match its digest",
                hint=_HINT,
            )
        raise self._not_found(digest.hex())

    def _fetch_run(self, chunks: Sequence[recipes.Chunk]) -> list[bytes]:
        """The first of these chunks, and as many of the next as lie right behind it in the same pack."""
        run: list[Place] = []
        for chunk in chunks:
            place = next(iter(self._catalog.pieces(chunk.digest)), None)
            if place is None or (run and not run[-1].followed_by(place)):
                break
            run.append(place)
        whole: list[bytes] = []
        if run:
            start, end = run[0].offset, run[-1].offset + run[-1].length
            data = self._bucket.get(key_of(run[0], chunks[0].digest), start, end - start) or b""
            for place, chunk in zip(run, chunks, strict=False):
                piece = data[place.offset - start : place.offset - start + place.length]
                if not intact(Kind.CHUNK, chunk.digest, piece):
                    break
                whole.append(piece)
        # Whatever is wrong with the first one, the slow way finds another copy or says what it is.
        return whole or [self._fetch(chunks[0].digest, self._catalog.pieces)[1]]

    # Refusing

    def _check_format(self) -> None:
        if self._format_checked:
            return
        found = self._bucket.get(FORMAT_KEY, 0, 64)
        if found is not None and found != FORMAT:
            version = re.fullmatch(rb"everloop objects (\d+)\n", found)
            if version is None:
                raise Corrupted(
                    f"the file '{FORMAT_KEY}' of the object store {self._bucket.name} is damaged",
                    hint=f"it should hold one line: {FORMAT.decode().strip()}",
                )
            raise StorageError(
                f"the object store {self._bucket.name} has format {int(version[1])}; "
                f"this version of Everloop knows format {FORMAT_VERSION}",
                hint="use a newer version of Everloop",
            )
        self._format_checked = True

    def _not_found(self, digest: str) -> EverloopError:
        for name, reason in self._catalog.unreadable.items():
            return Corrupted(
                f"object {digest} is not in {self._bucket.name}, or it is in {pack_key(name)}, "
                f"which cannot be read: {reason}",
                hint=_HINT,
            )
        return NotFound(
            f"there is no object {digest} in {self._bucket.name}", hint="is this the right workspace?"
        )


def _user_key(user: str) -> str:
    return f"users/{hashlib.sha256(user.encode()).hexdigest()[:32]}"
